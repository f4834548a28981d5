"""The official JavaScript client and synchronous servers: each WSGI server that people use, over each transport."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from hosts.host import Options
from hosts.processes import OnWSGI
from support.clock import FakeClock
from support.tokens import issuer_at

pytestmark = [pytest.mark.long, pytest.mark.asyncio(loop_scope="module")]

SERVERS = ("threading", "gevent", "gunicorn-gthread", "gunicorn-gevent", "gunicorn-geventwebsocket")


@asynccontextmanager
async def serving(server: str) -> AsyncIterator[Any]:
    clock = FakeClock()
    host = OnWSGI("flask", server)
    async with host.start(Options(), clock) as running:
        yield SimpleNamespace(
            url=f"http://{running.address}", path="/socket.io", running=running, clock=clock, issuer=issuer_at(clock)
        )


@pytest.mark.parametrize("transport", ["polling", "websocket", "upgrade"])
@pytest.mark.parametrize("server", SERVERS)
async def test_javascript_client_connects_renews_and_ends(server: str, transport: str, js_process: Any) -> None:
    async with serving(server) as site:
        first, second = ({"token": site.issuer.issue("ada", rooms=["red"], expires_in=life)} for life in (100, 900))
        socket = js_process.open(site, ("current", transport), auths=[first, second], reconnection=True)
        await socket.opened(("current", transport))
        assert (await socket.call("join-room", "red"))[0]["ok"] is True
        assert await socket.call("enter", "red") == ["entered"]
        assert (await socket.call("enter", "blue"))[0]["error"]["code"] == "permission_denied"
        assert await socket.call("echo", {"text": "hello"}) == [{"text": "hello"}]
        await site.running.emit("news", 1, room="red")
        await socket.event("news", 1)

        site.clock.advance(126)  # beyond the expiry and the grace period
        await site.running.clock_has_moved()
        report = await socket.expect("event", name="unauthorized")
        assert report["args"][0]["data"]["reason"] == "token_expired"
        assert (await socket.expect("disconnect", active=True))["reason"] in ("transport close", "transport error")
        await socket.opened(("current", transport))  # with the second token
        assert await socket.call("echo", 2) == [2]

        assert await site.running.revoke(subject="ada") == 1
        report = await socket.expect("event", name="unauthorized")
        assert report["args"][0]["data"]["reason"] == "token_revoked"
        await socket.expect("disconnect", reason="io server disconnect", active=False)

        refused = js_process.open(site, ("current", transport), auth={"token": "a.b.c"}, reconnection=False)
        await refused.expect("connect_error", message="invalid token", active=False)
        assert [call[:3] for call in site.running.calls if call[0] == "connect"] == [("connect", "/", "ada")] * 2
        js_process.close_all()
        await asyncio.sleep(0)
