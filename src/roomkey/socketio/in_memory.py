"""An ASGI application for an asyncio server of any framework, so that tests can call it in memory."""

from __future__ import annotations

from typing import Any

import socketio
from engineio.async_drivers import asgi


def asgi_app(sio: Any) -> Any:
    """Return an ASGI application that serves a ``socketio.AsyncServer``.

    A server for another framework, such as aiohttp, reads that framework's requests. From now on, it reads those of
    ASGI instead.
    """
    sio.eio._async = asgi._async
    return socketio.ASGIApp(sio)
