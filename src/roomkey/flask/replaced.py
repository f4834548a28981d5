"""What happens to a server that ``socketio.init_app()`` creates after the application was protected."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import flask_socketio

LOG = logging.getLogger("roomkey.flask")


def close_replacements(socketio: flask_socketio.SocketIO) -> None:
    """Let every later ``socketio.init_app()`` create a server that refuses all clients until it is protected, too.

    Flask-SocketIO creates a server at each call. The new one has no guard.
    """
    inner = socketio.init_app
    if inner.__name__ == "init_app_closed":
        return  # an application factory protects several applications with one object

    def init_app_closed(*arguments: Any, **options: Any) -> None:
        inner(*arguments, **options)
        engine = socketio.server.eio
        socketio.server.roomkey_closed = engine.handlers["connect"]
        engine.on("connect", _refuse)

    socketio.init_app = init_app_closed


@contextmanager
def protecting(server: Any) -> Iterator[None]:
    """Let a server accept clients again, while and after it is protected; not if that fails."""
    accept = getattr(server, "roomkey_closed", None)
    if accept is None:
        yield
        return
    server.eio.on("connect", accept)
    try:
        yield
    except BaseException:  # whatever ends the body, the server stays closed
        server.eio.on("connect", _refuse)
        raise
    del server.roomkey_closed


def _refuse(*_arguments: Any) -> bool:
    LOG.error(
        "refused a client: socketio.init_app() was called after RoomKey, and created a server that is not protected; "
        "call roomkey.init_app(app, socketio) after it"
    )
    return False
