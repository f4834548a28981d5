"""Werkzeug's server with threads, in a thread of this process: that of ``socketio.run`` in its mode ``threading``."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support.rawsocket import PATIENCE
from werkzeug.serving import make_server

__all__ = ["serve"]


@contextmanager
def serve(app: Any, **options: Any) -> Iterator[str]:
    """Serve a WSGI application on a free port, and yield ``127.0.0.1:PORT``.

    Args:
        options: further arguments of Werkzeug's ``make_server``.
    """
    server = make_server("127.0.0.1", 0, app, threaded=True, **options)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(PATIENCE)
        server.server_close()
