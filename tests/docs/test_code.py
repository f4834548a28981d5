"""The code in the documentation runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.live import Raw, serve

from roomkey import Issuer, Key

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
WITH_CODE = [page for page in PAGES if BLOCK.search(page.read_text())]


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.name)
async def test_the_python_of_a_page_runs(page, monkeypatch, tmp_path):
    monkeypatch.setenv("ROOMKEY_SECRET", "kT9vX2mQ8rL4wZ7yB1nC6dF3gH5jP0sA")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    for block in BLOCK.findall(page.read_text()):
        exec(compile(block, str(page), "exec"), names)
    if "put_out" in names:
        assert await names["put_out"]() == 0


async def test_the_readmes_server_admits_and_refuses(monkeypatch):
    import socketio

    secret = "kT9vX2mQ8rL4wZ7yB1nC6dF3gH5jP0sA"
    monkeypatch.setenv("ROOMKEY_SECRET", secret)
    readme = (ROOT / "README.md").read_text()
    names: dict[str, object] = {"__name__": "server"}
    exec(BLOCK.findall(readme)[0], names)
    one_liner = re.search(r"python -c '(import os, roomkey; .*?)'$", readme, re.MULTILINE)[1]
    token = subprocess.check_output([sys.executable, "-c", one_liner], text=True, env=os.environ).strip()
    async with serve(socketio.ASGIApp(names["sio"])) as host:
        ada, nobody = await Raw.open(host), await Raw.open(host)
        assert (await ada.ask({"token": token})).startswith("40")
        assert (await nobody.ask()).startswith("44")
        for number, (room, allowed) in enumerate([("red", True), ("blue", False)]):
            await ada.event("join-room", room, ack=number)
            assert (await ada.expect_ack(number))[0]["ok"] is allowed
        assert await nobody.is_closed()
        await ada.close()


@pytest.mark.parametrize(("page", "number"), [("README.md", 1), ("docs/hub.md", 0)])
async def test_the_hub_of_a_page_admits_and_refuses(monkeypatch, page, number):
    secret = "kT9vX2mQ8rL4wZ7yB1nC6dF3gH5jP0sA"
    monkeypatch.setenv("ROOMKEY_SECRET", secret)
    names: dict[str, object] = {"__name__": "hub"}
    exec(BLOCK.findall((ROOT / page).read_text())[number], names)
    token = Issuer(Key.from_secret(secret), audience="chat").issue("ada", rooms=["red"])
    async with serve(names["hub"]) as host:
        ada, nobody = await Raw.open(host), await Raw.open(host)
        assert (await ada.ask({"token": token})).startswith("40")
        assert (await nobody.ask()).startswith("44")
        await ada.event("message", "hello", ack=1)
        assert await ada.expect_ack(1) == ["delivered"]
        assert await nobody.is_closed()
        await ada.close()


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target
