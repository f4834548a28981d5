"""Values for tickets and codes that prove who created them, and when they expire (internal).

They contain a message authentication code. The server rejects made-up and expired values without asking the store. Only
the store knows whether a value was already used, and the data that belongs to it.
"""

from __future__ import annotations

import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode

from roomkey.stores.records import SingleUseKind

__all__ = ["is_signed_value", "new_signed_value"]

NONCE, TIME, TAG = 12, 4, 16  # bytes: 96 random bits, seconds since the epoch, 128 bits of HMAC-SHA256


def new_signed_value(key: bytes, kind: SingleUseKind, expires_at: int) -> str:
    """Return a new value: 43 characters of base64url.

    Args:
        key: the key of all servers that accept the value, at least 32 bytes.
        kind: what the value is for.
        expires_at: when it can no longer be used, in seconds since the epoch.
    """
    body = secrets.token_bytes(NONCE) + expires_at.to_bytes(TIME, "big")
    return urlsafe_b64encode(body + _tag(key, kind, body)).rstrip(b"=").decode()


def is_signed_value(key: bytes, kind: SingleUseKind, text: str, now: float) -> bool:
    """Return True if :func:`new_signed_value` created a text with this key and kind, and it has not expired.

    Args:
        key: the key of the servers.
        kind: what the value is for.
        text: the value that a client presents.
        now: seconds since the epoch.
    """
    try:
        value = urlsafe_b64decode(text + "=")
    except ValueError:
        return False
    body, tag = value[: NONCE + TIME], value[NONCE + TIME :]
    # Another spelling of the same bytes would be another value for the store, so only the canonical one is accepted.
    if urlsafe_b64encode(value).rstrip(b"=") != text.encode() or len(tag) != TAG:
        return False
    return hmac.compare_digest(tag, _tag(key, kind, body)) and int.from_bytes(body[NONCE:], "big") > now


def _tag(key: bytes, kind: SingleUseKind, body: bytes) -> bytes:
    return hmac.digest(key, b"roomkey " + kind.encode() + b"\0" + body, "sha256")[:TAG]
