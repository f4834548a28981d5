"""The code in the documentation runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import httpx
import pytest
from fastapi import FastAPI
from support.live import Raw, serve
from support.redis_server import redis_server

from roomkey import Issuer, Key, KeySet
from roomkey.auth import jwks_router
from roomkey.keysets import verify_waiting

__all__ = ["redis_server"]

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
PROJECTS = {"django.md"}  # pages with the files of a project, which tests/e2e runs
WITH_CODE = [page for page in PAGES if BLOCK.search(page.read_text()) and page.name not in PROJECTS]


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.name)
async def test_python_code_of_each_page_runs(page, monkeypatch, tmp_path):
    monkeypatch.setenv("ROOMKEY_SECRET", "kT9vX2mQ8rL4wZ7yB1nC6dF3gH5jP0sA")
    monkeypatch.setenv("CLUSTER_SECRET", "Zr9Ysi1gR0nPBf3YDx3lD3ZqB1oS7cJm4Vv0d8QhWkE")
    monkeypatch.setenv("SSO_SECRET", "the secret of this server at a provider")
    monkeypatch.chdir(tmp_path)
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "app", module)  # tests on a page import from its first block
    monkeypatch.setitem(sys.modules, "page", module)  # some frameworks look there for the names in annotations
    names = vars(module)
    for block in BLOCK.findall(page.read_text()):
        exec(compile(block, f"<{page.name}>", "exec"), names)  # a real file's name would make inspect read it as code
    if "start_both" in names:  # two hubs of one cluster
        await names["start_both"]()
        assert (await names["one"].sockets()).missing == frozenset()
        for hub in (names["one"], names["other"]):
            await hub.close()
    if "revoke_access" in names:
        assert await names["revoke_access"]() == 0


async def test_readme_server_admits_valid_tokens_only(monkeypatch):
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
async def test_hub_of_each_page_admits_valid_tokens_only(monkeypatch, page, number):
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
        for number, (room, allowed) in enumerate([("red", True), ("blue", False)], start=2):
            await ada.event("join-room", room, ack=number)
            assert (await ada.expect_ack(number))[0]["ok"] is allowed
        assert await nobody.is_closed()
        await ada.close()


async def test_hub_page_program_runs_on_two_nodes(monkeypatch, redis_server):
    secret = "kT9vX2mQ8rL4wZ7yB1nC6dF3gH5jP0sA"
    monkeypatch.setenv("ROOMKEY_SECRET", secret)
    monkeypatch.setenv("CLUSTER_SECRET", "Zr9Ysi1gR0nPBf3YDx3lD3ZqB1oS7cJm4Vv0d8QhWkE")
    blocks = BLOCK.findall((ROOT / "docs/hub.md").read_text())
    program = next(block for block in blocks if block.startswith("# node.py"))
    nodes = []
    for _ in range(2):
        names: dict[str, object] = {"__name__": "node"}
        exec(program.replace("redis://localhost:6379", redis_server.url), names)
        nodes.append(names["node"])
    issuer = Issuer(Key.from_secret(secret), audience="chat")
    async with serve(nodes[0]) as one, serve(nodes[1]) as other:
        ada, bob = await Raw.open(one), await Raw.open(other)
        for client, name in ((ada, "ada"), (bob, "bob")):
            assert (await client.ask({"token": issuer.issue(name, rooms=["staff"])})).startswith("40")
            await client.event("join-room", "staff", ack=1)
            assert (await client.expect_ack(1))[0]["ok"]
        await bob.event("announce", "hello")
        for client in (bob, ada, ada, ada):  # ada: as everybody, as a member of the room, and as herself
            assert await client.expect_event("news") == ["hello"]
        await bob.event("who-is-in", "staff", ack=2)
        assert await bob.expect_ack(2) == [["ada", "bob"]]
        await ada.close()
        await bob.close()


async def test_guard_page_application_verifies_tokens_for_routes():
    names: dict[str, object] = {"__name__": "page"}
    for block in BLOCK.findall((ROOT / "docs" / "guard.md").read_text()):
        exec(compile(block, "guard.md", "exec"), names)
    issuer = Issuer(Key.from_secret(names["SECRET"]), audience="chat")
    tokens = (
        issuer.issue("ada", roles=["editor"]),
        issuer.issue("ada"),
        issuer.issue("ada", roles=["editor"], expires_in=-60),
    )
    good, plain, stale = ({"Authorization": f"Bearer {token}"} for token in tokens)
    async with serve(names["asgi"]) as host, httpx.AsyncClient(base_url=f"http://{host}") as http:
        ada = await Raw.open(host)
        assert (await ada.ask({"token": issuer.issue("ada")})).startswith("40")
        for headers, status in (({}, 401), (stale, 401), (plain, 403)):
            refused = await http.post("/news", params={"text": "hello"}, headers=headers)
            assert refused.status_code == status
            assert refused.headers["www-authenticate"].startswith("Bearer")
        assert (await http.get("/me", headers=plain)).json() == "ada"
        assert (await http.post("/news", params={"text": "hello"}, headers=good)).status_code == 200
        assert await ada.receive() == '42["news",{"from":"ada","text":"hello"}]'
        await ada.close()


async def test_tokens_page_verifies_with_fetched_keys():
    names: dict[str, object] = {"__name__": "page"}
    [block] = [block for block in BLOCK.findall((ROOT / "docs" / "tokens.md").read_text()) if "Verifier.jwks(" in block]
    key = Key.generate("ES256")
    token = Issuer(key, issuer="https://login.example", audience="chat").issue("ada")
    app = FastAPI()
    app.include_router(jwks_router(KeySet([key])))
    async with serve(app) as host:
        exec(compile(block.replace("https://login.example/.", f"http://{host}/."), "tokens.md", "exec"), names)
        who = await verify_waiting(lambda: names["verifier"].verify(token, time.time()))
    assert who.subject == "ada"


LINKING = [
    *PAGES,
    *(ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted(ROOT.glob("docs/*/*.md")),
    *sorted(ROOT.glob("examples/*/README.md")),
]


def anchors(page):
    """Return the anchors of a page's headings, as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", LINKING, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_have_targets(page):
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page.read_text()):
        found = page.parent / target if target else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), f"{target}#{anchor}"


@pytest.mark.parametrize(
    "page", [ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/internals/*.md"))], ids=lambda page: page.name
)
def test_files_that_contributors_are_sent_to_exist(page):
    source = ROOT / "src" / "roomkey"
    text = re.sub(r"^```\n.*?^```", "", page.read_text(), flags=re.M | re.S)
    named = re.findall(r"`((?:[\w-]+/)*(?:[\w-]+\.(?:py|js|md)|[\w-]+/))`", text)
    assert {name for name in named if not (ROOT / name).exists() and not list(source.rglob(name))} == set()
