"""A server's own secret in a file: random, made once, and readable by its owner alone."""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path

from roomkey.errors import ConfigError
from roomkey.keysets.files import make_folder, read_private, write_private

__all__ = ["load_or_create_secret"]

SIZE = 32


def load_or_create_secret(path: Path) -> bytes:
    """Read a secret, and make it where there is none.

    Args:
        path: the file; its folder is made, too.

    Returns:
        32 random bytes.

    Raises:
        ConfigError: others can read it, or it cannot be made, or it is no such secret.
    """
    make_folder(path.parent)
    if not path.exists():
        with contextlib.suppress(ConfigError):  # another process may have been faster: what is there counts
            write_private(path, secrets.token_hex(SIZE).encode() + b"\n")
    try:
        secret = bytes.fromhex(read_private(path).decode("ascii"))
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path} holds no secret: move it away, and a new one is made (all logins end)") from None
    if len(secret) != SIZE:
        raise ConfigError(f"{path} holds no secret of {SIZE} bytes: move it away, and a new one is made")
    return secret
