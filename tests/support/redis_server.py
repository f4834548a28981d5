"""A Redis server for tests."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.rawsocket import PATIENCE

__all__ = ["redis_server"]


def start_redis(program: str, folder: str) -> tuple[int, subprocess.Popen[bytes]]:
    """Start Redis on a free port. If another process takes the port first, Redis exits, and the next port is tried."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        process = subprocess.Popen(
            [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder],
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        if any(b"Ready to accept connections" in line for line in process.stdout):
            return port, process
        process.wait()
    raise AssertionError("Redis did not start")


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start Redis. Yields its URL and process.

    It is not on a Unix socket: if such a Redis is lost, the oldest python-socketio tries again without a pause.
    """
    program = shutil.which("redis-server")
    if program is None:
        message = "redis-server is missing: apt install redis-server"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    port, process = start_redis(program, str(tmp_path))
    yield f"redis://127.0.0.1:{port}/0", process
    process.kill()
    process.communicate()
