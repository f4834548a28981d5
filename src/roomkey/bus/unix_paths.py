"""The paths of Unix sockets, and servers that listen there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

from roomkey.errors import ConfigError

MAX_PATH = 103
"""The longest path of a Unix socket in bytes, on macOS and BSD. Linux allows four more."""


def socket_path(folder: Path, name: str) -> Path:
    """Return the path of a socket.

    Args:
        folder: where it is.
        name: its name.

    Raises:
        ConfigError: the path is too long.
    """
    path = folder / name
    if len(os.fsencode(path)) > MAX_PATH:
        raise ConfigError(f"the path of {folder} is too long for Unix sockets; use a shorter one")
    return path


async def serve_at(path: Path, draft: Path, accept: Callable[[], asyncio.BaseProtocol]) -> asyncio.Server:
    """Return a server on a new socket, which others can find only once it accepts connections.

    A socket that refuses connections seems to be left by a killed process, and another process could remove it.

    Args:
        path: where the others find it.
        draft: its path until then, in the same folder.
        accept: makes the protocol of a connection.

    Raises:
        OSError: the socket cannot be made there.
    """
    listener = _listen(path, draft)
    try:
        return await asyncio.get_running_loop().create_unix_server(accept, sock=listener)
    except BaseException:  # also if it is canceled: nobody else would close it
        listener.close()
        raise


def _listen(path: Path, draft: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(draft))
        draft.chmod(0o600)
        listener.listen(128)
        draft.rename(path)
    except OSError:
        listener.close()
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
    return listener
