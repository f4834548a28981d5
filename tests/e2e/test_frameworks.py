"""The examples for asyncio frameworks, run as the page says: their own servers, and the official JavaScript client."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import pytest_asyncio
from support.brokers import free_port
from support.server_process import PATIENCE

from roomkey import Issuer, Key

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.long]

PAGE = (Path(__file__).parents[2] / "docs" / "frameworks.md").read_text()
PROGRAMS: dict[str, str] = dict(re.findall(r"^## (\w+)\n\n```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
SECRET = secrets.token_urlsafe(32)
ISSUER = Issuer(Key.from_secret(SECRET), audience="chat")
FORGED = Issuer(Key.from_secret(secrets.token_urlsafe(32)), audience="chat").issue("ada")


@asynccontextmanager
async def served(program: str, folder: Path) -> AsyncIterator[Any]:
    """Run a program of the page on a free port. Its sockets have no grace period."""
    port = free_port()
    assert program.count("8000") == 1
    program = program.replace("8000", str(port)).replace('audience="chat"))', 'audience="chat"), grace=0)')
    (folder / "server.py").write_text(program)
    environment = os.environ | {"ROOMKEY_SECRET": SECRET}
    process = await asyncio.create_subprocess_exec(sys.executable, "server.py", cwd=folder, env=environment)
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    break
                except OSError:
                    assert process.returncode is None
                    await asyncio.sleep(0.05)
        writer.close()
        yield SimpleNamespace(url=f"http://127.0.0.1:{port}", path="/socket.io")
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest_asyncio.fixture(loop_scope="module")
async def js(js_process: Any) -> AsyncIterator[Any]:
    """Return the Node process that runs clients. They disconnect before the server stops."""
    yield js_process
    js_process.close_all()


async def test_page_has_a_program_for_each_framework() -> None:
    assert list(PROGRAMS) == ["FastAPI", "Starlette", "aiohttp", "Sanic", "Tornado", "Quart", "Litestar"]


@pytest.mark.parametrize("name", PROGRAMS)
async def test_framework_serves_guarded_sockets_and_routes(name: str, js: Any, tmp_path: Path) -> None:
    token = ISSUER.issue("ada")
    async with served(PROGRAMS[name], tmp_path) as site, httpx.AsyncClient(base_url=site.url) as http:
        for transports in ("polling", "websocket", "upgrade"):
            await admits_valid_tokens_only(js, site, ("current", transports), token)
        await asyncio.gather(*(disconnects_at_expiry(js, site, ("current", kind)) for kind in ("polling", "upgrade")))
        await protects_its_route(http, token)


async def admits_valid_tokens_only(js: Any, site: Any, kind: tuple[str, str], token: str) -> None:
    ada = js.open(site, kind, auth={"token": token})
    await ada.opened(kind)
    ada.emit("message", "hello")
    await ada.event("message", {"from": "ada", "text": "hello"})
    for auth, message in (({"token": FORGED}, "invalid signature"), ({}, "no token provided")):
        stranger = js.open(site, kind, auth=auth, reconnection=False)
        await stranger.expect("connect_error", message=message, active=False)
    ada.close()


async def disconnects_at_expiry(js: Any, site: Any, kind: tuple[str, str]) -> None:
    for expires_in in (2, 8, 20):
        brief = js.open(site, kind, auth={"token": ISSUER.issue("bob", expires_in=expires_in)}, reconnection=False)
        if (await brief.expect_any())["what"] == "connect":  # on a busy machine, the token can expire before it arrives
            break
    *_, told = await brief.skip_to("disconnect")
    assert (told["name"], told["args"][0]["data"]["reason"]) == ("unauthorized", "token_expired")


async def protects_its_route(http: httpx.AsyncClient, token: str) -> None:
    def bearer(sent: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {sent}"}

    answer = await http.get("/me", headers=bearer(token))
    assert (answer.status_code, answer.json()) == (200, {"subject": "ada"})
    answer = await http.get("/me")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="roomkey"')
    for sent in (FORGED, ISSUER.issue("ada", expires_in=-60)):
        answer = await http.get("/me", headers=bearer(sent))
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == 'Bearer realm="roomkey", error="invalid_token"'
    both = [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {ISSUER.issue('bob')}")]
    assert (await http.get("/me", headers=both)).status_code == 401
