"""Logins that are under way at a provider, without a record on the server (internal).

The browser keeps an attempt in a cookie, which proves by a message authentication code that this server began it. The
parameters that the provider gets (``state``, ``nonce``, the PKCE challenge) are derived from the cookie and the
server's key. So they are bound to this browser, this provider and this time, and a stranger can begin any number of
attempts without costing memory. Neither the cookie nor the provider's redirect alone is of use to a thief.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass

from roomkey.core import strict_json

__all__ = ["ATTEMPT_SECONDS", "Attempt", "is_local_path", "is_same", "new_attempt", "read_attempt"]

ATTEMPT_SECONDS = 600
"""Seconds that a user has at the provider."""

MAX_PATH = 2000
MAX_COOKIE = 3500

# Browsers read "//host", "/\host" and "/<tab>/host" as addresses of other servers.
_PATH = re.compile(r"/(?!/)[A-Za-z0-9._~!$&'()*+,;=:@%?/-]*")


@dataclass(frozen=True, slots=True)
class Attempt:
    """A login that is under way.

    Attributes:
        provider: the provider's name.
        return_to: the path where the browser goes in the end.
        started_at: seconds since the epoch.
        cookie: the value of the cookie.
        state: the parameter that the provider returns.
        nonce: the claim that the ID token must have.
        verifier: the PKCE code verifier (RFC 7636 section 4.1).
    """

    provider: str
    return_to: str
    started_at: int
    cookie: str
    state: str
    nonce: str
    verifier: str

    @property
    def challenge(self) -> str:
        """The PKCE code challenge, S256."""
        return _text(hashlib.sha256(self.verifier.encode()).digest())


def is_local_path(path: str) -> bool:
    """Return True for a path on this server, with or without a query."""
    return len(path) <= MAX_PATH and _PATH.fullmatch(path) is not None


def new_attempt(key: bytes, provider: str, return_to: str, now: int) -> Attempt:
    """Begin an attempt.

    Args:
        key: the key of all servers that share the attempts, at least 32 bytes.
        provider: the provider's name.
        return_to: a path for which :func:`is_local_path` is true.
        now: seconds since the epoch.
    """
    return _attempt(key, strict_json.dumps([provider, return_to, now, secrets.token_urlsafe(16)]).encode())


def read_attempt(key: bytes, cookie: str, provider: str, now: float) -> Attempt | None:
    """Return the attempt of a cookie; None if this server did not begin it, it is for another provider, or too old.

    Args:
        key: the key of the servers.
        cookie: the value of the cookie.
        provider: the provider to whose redirect URI the browser came.
        now: seconds since the epoch.
    """
    body, _, tag = cookie.partition(".")
    if len(cookie) > MAX_COOKIE or not is_same(_derived(key, "cookie", body), tag):
        return None
    attempt = _attempt(key, urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    is_current = attempt.started_at <= now + 1 and now < attempt.started_at + ATTEMPT_SECONDS
    return attempt if is_current and attempt.provider == provider else None


def is_same(expected: str, sent: str) -> bool:
    """Return True if a client sent a secret value. The time does not depend on the first difference."""
    return hmac.compare_digest(expected.encode(), sent.encode("utf-8", "surrogatepass"))


def _attempt(key: bytes, data: bytes) -> Attempt:
    provider, return_to, started_at, _ = strict_json.loads(data)
    body = _text(data)
    state, nonce, verifier, tag = (_derived(key, purpose, body) for purpose in ("state", "nonce", "verifier", "cookie"))
    return Attempt(provider, return_to, started_at, f"{body}.{tag}", state, nonce, verifier)


def _derived(key: bytes, purpose: str, body: str) -> str:
    text = f"roomkey login at a provider: {purpose}\0{body}"
    return _text(hmac.digest(key, text.encode("utf-8", "surrogatepass"), "sha256"))


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
