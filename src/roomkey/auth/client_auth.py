"""Authentication of OAuth clients (RFC 6749 section 2.3; internal)."""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from base64 import b64decode
from typing import Any
from urllib.parse import unquote_plus

from fastapi import Request
from fastapi.security import HTTPBasic
from pydantic import BaseModel, Field, model_validator
from starlette.requests import HTTPConnection

from roomkey import audit
from roomkey.auth.http import OAuthError, authorization_header, client_info
from roomkey.auth.issued_tokens import OWN_CLIENT
from roomkey.auth.throttle import Throttle
from roomkey.stores import Client, Clients

__all__ = ["CLIENT", "METHODS", "ClientAuthenticator", "ClientFields", "Parameters", "invalid_client", "is_enabled"]

METHODS = ("client_secret_basic", "client_secret_post", "none")

CHALLENGE = {"WWW-Authenticate": 'Basic realm="roomkey", charset="UTF-8"'}
DUMMY_HASH = hashlib.sha256(b"").hexdigest()


class _Basic(HTTPBasic):
    """HTTP Basic for the OpenAPI document; FastAPI's class would reject a malformed header with its own error."""

    async def __call__(self, request: HTTPConnection) -> None:
        """Do nothing: :class:`ClientAuthenticator` reads the header."""


CLIENT = _Basic(scheme_name="client", description="client_id and client_secret (RFC 6749 section 2.3.1).")


class Parameters(BaseModel):
    """The parameters of a request. Empty parameters are ignored (RFC 6749 sections 3.1 and 3.2)."""

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, sent: Any) -> Any:
        return {name: value for name, value in sent.items() if value != ""} if isinstance(sent, dict) else sent


class ClientFields(Parameters):
    """The credentials of a client in a request body."""

    client_id: str | None = Field(default=None, description="required without the Authorization header")
    client_secret: str | None = Field(default=None, json_schema_extra={"format": "password"})


class ClientAuthenticator:
    """Authenticates the clients that send requests.

    The secret is in the ``Authorization`` header (``client_secret_basic``) or in the body (``client_secret_post``). A
    public client only sends its name. Failures cause delays, by client and network address.

    Args:
        clients: the OAuth clients.
        throttle: delays attempts after wrong ones. Default: one of its own.
    """

    def __init__(self, clients: Clients, throttle: Throttle | None = None) -> None:
        self._clients = clients
        self._throttle = throttle if throttle is not None else Throttle()

    async def authenticate(self, request: Request, sent: ClientFields) -> Client:
        """Return the client that sends a request.

        Args:
            request: the request.
            sent: its body.

        Raises:
            OAuthError: ``invalid_client`` (401) if the client is unknown or disabled, or its secret is wrong;
                ``invalid_request`` if it uses two methods at once (section 2.3).
            Throttled: too many attempts from this address failed.
            Unavailable: the clients are unavailable.
        """
        client_id, secret = _credentials(authorization_header(request), sent)
        address = client_info(request).address
        client = await self._clients.find(client_id)
        reason = _rejection_reason(client, secret)
        if client is not None and client.secret_hash is None and not reason:
            return client  # no delay: a client without a secret has nothing to guess
        now = time.monotonic()
        self._throttle.check(client_id, address, now)
        self._throttle.begin(client_id, address, now)
        if client is None or reason:
            self._throttle.failed(client_id, address, now)
            audit.record(
                "client_refused",
                level=logging.WARNING,
                client_id=client.client_id if client else None,
                reason=reason,
                address=address,
            )
            raise invalid_client()
        self._throttle.succeeded(client_id, address)
        return client


def invalid_client(description: str = "This client is unknown, or its secret is wrong.") -> OAuthError:
    """Return the error response for every rejected client, with the challenge that 401 requires (section 5.2)."""
    return OAuthError("invalid_client", description, 401, CHALLENGE)


def is_enabled(client: Client) -> bool:
    """Return True if a client can get tokens."""
    # The login routes issue tokens under the name OWN_CLIENT to users with a password.
    return not client.disabled and client.client_id != OWN_CLIENT


def _credentials(header: str | None, sent: ClientFields) -> tuple[str, str]:
    """Return name and secret; the secret is empty if there is none."""
    if header is None:
        if sent.client_id is None:
            raise invalid_client("Send client_id, or name and secret by HTTP Basic.")
        return sent.client_id, sent.client_secret or ""
    client_id, secret = _basic(header)
    if sent.client_secret is not None or sent.client_id not in (None, client_id):
        raise OAuthError("invalid_request", "Use one method of client authentication.")
    return client_id, secret


def _basic(header: str) -> tuple[str, str]:
    scheme, _, encoded = header.partition(" ")
    try:
        if scheme.lower() != "basic":
            raise ValueError("the scheme is not Basic")
        name, _, secret = b64decode(encoded.strip(), validate=True).decode().partition(":")
        # Section 2.3.1: both are form-encoded before they are joined.
        return unquote_plus(name, errors="strict"), unquote_plus(secret, errors="strict")
    except ValueError:
        raise invalid_client() from None


def _rejection_reason(client: Client | None, secret: str) -> str | None:
    """Return why a client is rejected, for the log, or None. Unknown clients take the same time."""
    expected = client.secret_hash if client is not None else None
    right = hmac.compare_digest(hashlib.sha256(secret.encode()).hexdigest(), expected or DUMMY_HASH)
    if client is None:
        return "no such client"
    if not is_enabled(client):
        return "disabled"
    if client.secret_hash is None:
        return "a secret from a client that has none" if secret else None
    return None if right and secret else "wrong secret"
