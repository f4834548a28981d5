"""The page about the login server: what its first and its last application do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.live import Raw, serve
from support.login_server import HASHED, PASSWORD

from roomkey.stores.accounts import Account, SqlAccounts

BLOCKS = re.findall(
    r"^```python\n(.*?)^```", (Path(__file__).parents[2] / "docs" / "login.md").read_text(), re.MULTILINE | re.DOTALL
)


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROOMKEY_SECRET", "kT9vX2mQ8rL4wZ7yB1nC6dF3gH5jP0sA")


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("blocks", [1, len(BLOCKS)], ids=["the first", "the last"])
async def test_its_application_logs_in_refreshes_and_ends_sockets(blocks: int) -> None:
    names: dict[str, Any] = {"__name__": "page"}
    for block in BLOCKS[:blocks]:
        exec(compile(block, "login.md", "exec"), names)
    await SqlAccounts(names["database"]).add(Account("ada", HASHED))
    transport = httpx.ASGITransport(names["app"])
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://test") as http,
        serve(names["hub"]) as host,
    ):
        tokens = (await http.post("/auth/login", json={"username": "ada", "password": PASSWORD})).json()
        if blocks > 1:
            tokens = await names["refreshed"](http, tokens)
        header = {"Authorization": f"Bearer {tokens['access_token']}"}
        presented = tokens["access_token"]
        if blocks > 1:
            presented = (await http.post("/auth/ticket", headers=header)).json()["ticket"]
        raw = await Raw.open(host)
        assert (await raw.ask({"token": presented})).startswith("40")
        assert (await http.post("/auth/logout", headers=header)).json() == {"sockets": 1}
        assert await raw.is_closed()
        await raw.close()
    await names["hub"].close()
    await names["database"].close()
