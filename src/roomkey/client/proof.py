"""A key pair for tokens that are bound to a key (DPoP, RFC 9449), and the proofs that it signs."""

from __future__ import annotations

import json
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

from joserfc import jws
from joserfc.jwk import ECKey

from roomkey.errors import ConfigError

__all__ = ["ProofKey", "sockets_url"]

_PUBLIC = ("crv", "kty", "x", "y")


class ProofKey:
    """The key pair of a client. Its tokens are useless without it.

    Args:
        jwk: a private key on the curve P-256, from :meth:`to_jwk`. Default: a new key.

    Attributes:
        thumbprint: the RFC 7638 thumbprint: ``dpop_jkt`` in an authorization request, ``cnf.jkt`` in the tokens.

    Raises:
        ConfigError: not such a key.
    """

    def __init__(self, jwk: Mapping[str, Any] | None = None) -> None:
        try:
            self._key = ECKey.generate_key("P-256") if jwk is None else ECKey.import_key(dict(jwk))
            is_usable = self._key.is_private and self._key.curve_name == "P-256"
        except Exception:  # a malformed JWK raises many types of errors
            is_usable = False
        if not is_usable:
            raise ConfigError("jwk must be a private key on the curve P-256, as ProofKey().to_jwk() returns it")
        public = self._key.as_dict(private=False)
        self._jwk = {name: public[name] for name in _PUBLIC}
        self.thumbprint = self._key.thumbprint()

    def to_jwk(self) -> dict[str, Any]:
        """Return the key pair as a JWK, to store it as a secret."""
        return {**self._jwk, "d": self._key.as_dict(private=True)["d"]}

    def proof(self, method: str, url: str, *, token: str | None = None, nonce: str | None = None) -> str:
        """Return a new proof: ``dpop`` of a socket, or the header ``DPoP`` of an HTTP request.

        Args:
            method: of the HTTP request; ``GET`` for a socket.
            url: of the request, or the public URL of the Socket.IO path.
            token: the access token that is presented; None for a request to the token endpoint.
            nonce: the nonce that the server asked for.
        """
        claims = {
            "htm": method,
            "htu": url,
            "jti": secrets.token_urlsafe(16),
            "iat": int(time.time()),
            "ath": None if token is None else _hash_of(token),
            "nonce": nonce,
        }
        payload = json.dumps({name: value for name, value in claims.items() if value is not None})
        return jws.serialize_compact({"typ": "dpop+jwt", "alg": "ES256", "jwk": self._jwk}, payload, self._key)


def sockets_url(url: object, path: str = "socket.io") -> str:
    """Return the URL of the Socket.IO path for a proof.

    Raises:
        ConfigError: ``url`` is not a string.
    """
    if not isinstance(url, str):
        raise ConfigError("url must be a string if dpop is set: each proof names it")
    parts = urlsplit(url)
    scheme = "https" if parts.scheme in ("https", "wss") else "http"
    return f"{scheme}://{parts.netloc.rpartition('@')[2]}/{path.strip('/')}/"


def _hash_of(token: str) -> str:
    return urlsafe_b64encode(sha256(token.encode()).digest()).rstrip(b"=").decode()
