"""The paths of Unix sockets."""

from __future__ import annotations

import os
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
