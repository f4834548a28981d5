"""Running a hub on a port of its own, on uvicorn and picows."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import socket
from typing import TYPE_CHECKING, Any

import uvicorn

from roomkey.hub.asgi import ASGIApp
from roomkey.hub.switch import Switches

if TYPE_CHECKING:
    from roomkey.hub.hub import Hub

STOP_SECONDS = 3


def config(hub: Hub, app: Any = None, **settings: Any) -> uvicorn.Config:
    """uvicorn's configuration for a hub.

    Args:
        hub: the hub.
        app: an ASGI application for every path that is not Socket.IO's.
        settings: those of ``uvicorn.Config``; they win over what is set here.
    """
    chosen: dict[str, Any] = {
        "http": Switches(hub),
        "ws": "none",  # WebSockets are picows' before uvicorn hears of them
        "loop": "uvloop" if importlib.util.find_spec("uvloop") else "asyncio",
        "access_log": False,  # it would write query strings, where some clients put their token
        "proxy_headers": False,
        "server_header": False,
        "timeout_graceful_shutdown": STOP_SECONDS,
    }
    return uvicorn.Config(ASGIApp(hub, app), **{**chosen, **settings})


class Server(uvicorn.Server):
    """uvicorn, with a stop that closes the hub's connections first.

    Args:
        hub: the hub.
        config: from :func:`config`.
    """

    def __init__(self, hub: Hub, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._hub = hub

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close what is open, so that a waiting poll is answered and clients see a close, not a cut."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hub.close(), STOP_SECONDS)
        await super().shutdown(sockets)


def run(hub: Hub, **settings: Any) -> None:
    """Serve until SIGINT or SIGTERM; the arguments are those of :func:`config`."""
    with contextlib.suppress(KeyboardInterrupt):
        Server(hub, config(hub, **settings)).run()
