"""Refresh tokens: opaque strings that only the client stores (internal).

The first token of a login session is random. Each successor is derived from the presented token and a key of the
server, so that the server can return it again if a response was lost, without storing it. The database contains hashes.
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
    """Return 256 random bits in base64url, which are 43 characters."""
    return secrets.token_urlsafe(32)


def successor(key: bytes, token: str) -> str:
    """Return the token that follows a token, in the same form.

    Args:
        key: the server's key, at least 32 bytes. With the key and one token, all later tokens can be computed.
        token: the token that was presented.
    """
    return urlsafe_b64encode(hmac.digest(key, token.encode(), "sha256")).rstrip(b"=").decode()


def hash_of(token: str) -> str:
    """Return the value that the database stores for a token: its SHA-256 in hexadecimal. Random tokens need no salt."""
    return hashlib.sha256(token.encode()).hexdigest()


def looks_like_refresh_token(token: str) -> bool:
    """Return True if a text has the form of a refresh token."""
    return _FORM.fullmatch(token) is not None
