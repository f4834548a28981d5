"""The path of Socket.IO: the same for both transports, in each way to run a hub."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount
from support.live import serve
from support.rawsocket import RawSocket, upgrade

from roomkey import Issuer
from roomkey.hub import ASGIApp, Hub

DESK = Issuer.ephemeral(audience="chat")


def mounted(hub: Hub, prefix: str, framework: str = "fastapi", **settings: Any) -> Any:
    if framework == "starlette":
        return Starlette(routes=[Mount(prefix, app=hub.asgi)])
    app = FastAPI(**settings)
    app.mount(prefix, hub.asgi)
    return app


# How the hub runs, uvicorn's settings, the hub's path, and the path that clients use.
WAYS = {
    "run": (lambda hub: hub, {}, "/socket.io", "/socket.io/"),
    "run with an app": (lambda hub: (hub, FastAPI()), {}, "/live", "/live/"),
    "run behind a proxy that removes its prefix": (lambda hub: hub, {"root_path": "/ws"}, "/socket.io", "/socket.io/"),
    "in front of an app": (lambda hub: ASGIApp(hub, FastAPI()), {}, "/socket.io", "/socket.io/"),
    "in front of an app, behind a proxy": (
        lambda hub: ASGIApp(hub, FastAPI()),
        {"root_path": "/ws"},
        "/socket.io",
        "/socket.io/",
    ),
    "mounted": (lambda hub: mounted(hub, "/ws"), {}, "/socket.io", "/ws/socket.io/"),
    "mounted twice": (lambda hub: mounted_twice(hub), {}, "/socket.io", "/a/b/socket.io/"),
    "mounted in Starlette": (lambda hub: mounted(hub, "/ws", "starlette"), {}, "/socket.io", "/ws/socket.io/"),
    "mounted at the root": (lambda hub: mounted(hub, "/"), {}, "/socket.io", "/socket.io/"),
    "mounted at the whole path": (lambda hub: mounted(hub, "/socket.io"), {}, "/", "/socket.io/"),
    "mounted behind a proxy": (lambda hub: mounted(hub, "/ws"), {"root_path": "/p"}, "/socket.io", "/ws/socket.io/"),
    "mounted, the proxy named in FastAPI": (
        lambda hub: mounted(hub, "/ws", root_path="/p"),
        {},
        "/socket.io",
        "/ws/socket.io/",
    ),
}


def mounted_twice(hub: Hub) -> Any:
    outer = FastAPI()
    outer.mount("/a", mounted(hub, "/b"))
    return outer


async def statuses(host: str, path: str) -> tuple[int, int]:
    """Open one session by polling and one by WebSocket. Return both statuses."""
    async with httpx.AsyncClient(base_url=f"http://{host}", timeout=5) as http:
        polling = await http.get(f"{path}?EIO=4&transport=polling")
    raw = await RawSocket.open(host)
    await raw.send(upgrade(host).replace(b"/socket.io/", path.encode()))
    answer = await asyncio.wait_for(raw.answer(), 20)
    await raw.close()
    return polling.status_code, answer.status


@pytest.mark.parametrize("way", WAYS)
async def test_hub_serves_both_transports_at_one_path(way):
    build, settings, inner, outer = WAYS[way]
    hub = Hub(DESK.verifier(), path=inner)
    app = build(hub)
    async with AsyncExitStack() as stack:
        if isinstance(app, tuple):
            settings = {"app": app[1], **settings}
            app = app[0]
        host = await stack.enter_async_context(serve(app, **settings))
        stack.push_async_callback(hub.close)
        assert await statuses(host, outer) == (200, 101)
        for elsewhere in (f"{outer}x/", f"/x{outer}"):
            polling, websocket = await statuses(host, elsewhere)
            assert polling == 404
            assert websocket in (403, 404)
