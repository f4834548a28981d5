"""Refresh tokens: opaque, and kept nowhere but with the client.

The first of a login is random. Each successor is derived from the token that was presented and a key of the server, so
that it can be given once more, when an answer was lost, without having been stored. What is stored are hashes.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64encode

__all__ = ["hash_of", "looks_like_refresh_token", "new_refresh_token", "successor"]

_FORM = re.compile(r"[A-Za-z0-9_-]{43}")


def new_refresh_token() -> str:
    """256 random bits in base64url, 43 characters."""
    return secrets.token_urlsafe(32)


def successor(key: bytes, token: str) -> str:
    """The token after this one, in the same form.

    Args:
        key: the server's, at least 32 bytes: who has it and one token can make all that follow.
        token: the one that was presented.
    """
    return urlsafe_b64encode(hmac.digest(key, token.encode(), "sha256")).rstrip(b"=").decode()


def hash_of(token: str) -> str:
    """What is stored instead of a token: its SHA-256 in hexadecimal. It needs no salt, since no two are alike."""
    return hashlib.sha256(token.encode()).hexdigest()


def looks_like_refresh_token(token: str) -> bool:
    """True if it has the form of one."""
    return _FORM.fullmatch(token) is not None
