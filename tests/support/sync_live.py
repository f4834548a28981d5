"""A guarded synchronous server on a real port, with threads in this process."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support.rawsocket import PATIENCE
from support.sync_world import SyncWorld
from support.wsgi_thread import serve
from websockets.sync.client import ClientConnection, connect
from werkzeug.serving import WSGIRequestHandler


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        """Write no access log."""


@contextmanager
def serving(world: SyncWorld) -> Iterator[str]:
    """Serve on a free port; yield ``127.0.0.1:PORT``."""
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)  # it reports each connection that ends without a response
    with serve(world.app, request_handler=_Quiet) as host:
        try:
            yield host
        finally:
            world.guard.close()


def open_websocket(host: str, query: str = "") -> ClientConnection:
    """Open a WebSocket. It reads at most 16 messages ahead."""
    return connect(f"ws://{host}/socket.io/?EIO=4&transport=websocket{query}", compression=None, legacy=True)


def join(host: str, token: str) -> ClientConnection:
    """Return an admitted client over WebSocket."""
    client = open_websocket(host)
    client.recv(PATIENCE)
    client.send("40" + json.dumps({"token": token}))
    reply = client.recv(PATIENCE)
    assert str(reply).startswith("40"), reply
    return client
