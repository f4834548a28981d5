"""A Redis server for the measurements."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator


@contextlib.contextmanager
def running_redis(*settings: str) -> Iterator[tuple[str, int]]:
    """Start Redis on a free port, yield its URL and process ID, and stop it.

    Args:
        settings: further arguments. By default, nothing is saved.
    """
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("redis-server is missing: apt install redis-server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder, *settings]
        server = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert server.stdout is not None
        assert any(b"Ready to accept" in line for line in server.stdout)
        try:
            yield f"redis://127.0.0.1:{port}/0", server.pid
        finally:
            server.terminate()
            server.wait()
