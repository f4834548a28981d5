"""A server's secret in a file: random, created once, and readable only by its owner."""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path

from roomkey.errors import ConfigError
from roomkey.keysets.files import make_folder, read_private, write_private

__all__ = ["create_secret", "load_or_create_secret"]

SIZE = 32


def create_secret(path: Path) -> None:
    """Create a file with a random secret in hexadecimal digits, and its folder, unless it exists.

    Raises:
        ConfigError: the folder cannot be created.
    """
    make_folder(path.parent)
    if not path.exists():
        with contextlib.suppress(ConfigError):  # another process may have created it first: then read that
            write_private(path, secrets.token_hex(SIZE).encode() + b"\n")


def load_or_create_secret(path: Path) -> bytes:
    """Read a secret. If the file does not exist, create it with a random secret.

    Args:
        path: the file; its folder is created, too.

    Returns:
        32 random bytes.

    Raises:
        ConfigError: others can read the file, it cannot be created, or it does not contain such a secret.
    """
    create_secret(path)
    try:
        secret = bytes.fromhex(read_private(path).decode("ascii"))
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"{path} does not contain a secret; move it away to create a new one (this ends all logins)"
        ) from None
    if len(secret) != SIZE:
        raise ConfigError(f"{path} does not contain a secret of {SIZE} bytes; move it away to create a new one")
    return secret
