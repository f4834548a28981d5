"""Nonces of a server for DPoP proofs (RFC 9449 section 8), which the server does not have to store.

A nonce is the time at which it was issued, with a MAC. Every node that has the secret accepts it.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode

from roomkey.core.weak_keys import check_secret

NONCE_SECONDS = 60
"""Seconds for which a nonce is valid, and by which the clocks of two nodes may differ."""

_PURPOSE = b"roomkey DPoP nonce"
_TIME_BYTES, _MAC_BYTES = 6, 18
_FORM = re.compile(r"[A-Za-z0-9_-]{32}")


class Nonces:
    """Issues and checks nonces.

    Args:
        secret: at least 32 bytes, the same on every node.

    Raises:
        ConfigError: the secret is short or a placeholder.
    """

    def __init__(self, secret: str | bytes) -> None:
        raw = secret.encode() if isinstance(secret, str) else secret
        check_secret(raw, "HS256", typed=True)
        self._secret = raw

    def issue(self, now: float) -> str:
        """Return the nonce of a time, in seconds since the epoch."""
        issued = int(now).to_bytes(_TIME_BYTES)
        return urlsafe_b64encode(issued + self._mac(issued)).decode()

    def accepts(self, nonce: object, now: float) -> bool:
        """Return True if this server issued the nonce, at most :data:`NONCE_SECONDS` ago."""
        if not isinstance(nonce, str) or _FORM.fullmatch(nonce) is None:
            return False
        raw = urlsafe_b64decode(nonce)
        issued, mac = raw[:_TIME_BYTES], raw[_TIME_BYTES:]
        if not hmac.compare_digest(mac, self._mac(issued)):
            return False
        return abs(now - int.from_bytes(issued)) <= NONCE_SECONDS

    def _mac(self, issued: bytes) -> bytes:
        return hmac.digest(self._secret, _PURPOSE + issued, "sha256")[:_MAC_BYTES]
