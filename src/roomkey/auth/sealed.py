"""Tickets and codes that show by themselves who made them, and until when they can be used.

They carry a message authentication code. So one that was made up, or is too old, is rejected before any store is asked,
however many come. Whether one was used already, and what it stands for, only the store knows.
"""

from __future__ import annotations

import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Literal

__all__ = ["is_sealed", "seal"]

NONCE, TIME, TAG = 12, 4, 16  # bytes: 96 random bits, seconds since the epoch, 128 bits of HMAC-SHA256

SealedKind = Literal["ticket", "code"]


def seal(key: bytes, kind: SealedKind, expires_at: int) -> str:
    """Return a new name: 43 characters of base64url.

    Args:
        key: of everybody who takes it, at least 32 bytes.
        kind: what it is for.
        expires_at: when it can no longer be used, in seconds since the epoch.
    """
    body = secrets.token_bytes(NONCE) + expires_at.to_bytes(TIME, "big")
    return urlsafe_b64encode(body + _tag(key, kind, body)).rstrip(b"=").decode()


def is_sealed(key: bytes, kind: SealedKind, text: str, now: float) -> bool:
    """Return True if :func:`seal` made a text with this key, for this, and it has not expired.

    Args:
        now: seconds since the epoch.
    """
    try:
        sealed = urlsafe_b64decode(text + "=")
    except ValueError:
        return False
    body, tag = sealed[: NONCE + TIME], sealed[NONCE + TIME :]
    # Written in another way it would be another name, and the store would be asked for it.
    if urlsafe_b64encode(sealed).rstrip(b"=") != text.encode() or len(tag) != TAG:
        return False
    return hmac.compare_digest(tag, _tag(key, kind, body)) and int.from_bytes(body[NONCE:], "big") > now


def _tag(key: bytes, kind: SealedKind, body: bytes) -> bytes:
    return hmac.digest(key, b"roomkey " + kind.encode() + b"\0" + body, "sha256")[:TAG]
