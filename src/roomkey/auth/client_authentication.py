"""Which client asks, and its proof (RFC 6749 section 2.3)."""

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
from roomkey.auth.http import OAuthError, authorization, origin
from roomkey.auth.logins import OWN_CLIENT
from roomkey.auth.throttle import Throttle
from roomkey.stores.clients import Client, Clients

__all__ = ["CLIENT", "METHODS", "ClientAuthentication", "ClientFields", "Parameters", "invalid_client", "is_served"]

METHODS = ("client_secret_basic", "client_secret_post", "none")

CHALLENGE = {"WWW-Authenticate": 'Basic realm="roomkey", charset="UTF-8"'}
NOBODY = hashlib.sha256(b"").hexdigest()


class _Basic(HTTPBasic):
    """For the OpenAPI document: FastAPI's own would refuse a broken header in words of its own."""

    async def __call__(self, request: HTTPConnection) -> None:
        """Nothing: :class:`ClientAuthentication` reads the header."""


CLIENT = _Basic(scheme_name="client", description="client_id and client_secret (RFC 6749 section 2.3.1).")


class Parameters(BaseModel):
    """Parameters of a request; one without a value counts as left out (RFC 6749 sections 3.1 and 3.2)."""

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, sent: Any) -> Any:
        return {name: value for name, value in sent.items() if value != ""} if isinstance(sent, dict) else sent


class ClientFields(Parameters):
    """What a client may send of itself in a body."""

    client_id: str | None = Field(default=None, description="unless it is in the Authorization header")
    client_secret: str | None = Field(default=None, json_schema_extra={"format": "password"})


class ClientAuthentication:
    """Finds out which client sends a request.

    A secret is looked for in the ``Authorization`` header (``client_secret_basic``) or in the body
    (``client_secret_post``); a public client only names itself. Failures slow down whoever fails, by client and
    address.

    Args:
        clients: those there are.
    """

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._throttle = Throttle()

    async def client_of(self, request: Request, sent: ClientFields) -> Client:
        """The client that sends a request.

        Args:
            sent: its body.

        Raises:
            OAuthError: ``invalid_client`` (401) if it is none, or disabled, or gives no proof; ``invalid_request`` if
                it uses two methods at once (section 2.3).
            Throttled: too many failed from there.
            Unavailable: nobody can say.
        """
        client_id, secret = _presented(authorization(request), sent)
        address = origin(request).address
        client = await self._clients.find(client_id)
        reason = _refusal(client, secret)
        if client is not None and client.secret_hash is None and not reason:
            return client  # whoever failed from its address guessed nothing of it: it has no secret
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


def invalid_client(description: str = "This client is unknown, or its proof is wrong.") -> OAuthError:
    """The one refusal of a client, with the challenge that 401 needs (RFC 6749 section 5.2)."""
    return OAuthError("invalid_client", description, 401, CHALLENGE)


def is_served(client: Client) -> bool:
    """False for a client that gets nothing."""
    # The server's own login routes give tokens under that name, to whoever has a password.
    return not client.disabled and client.client_id != OWN_CLIENT


def _presented(header: str | None, sent: ClientFields) -> tuple[str, str]:
    """Name and secret, which is empty where there is none."""
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
            raise ValueError("another scheme")
        name, _, secret = b64decode(encoded.strip(), validate=True).decode().partition(":")
        # Section 2.3.1: both are form-encoded before they are joined.
        return unquote_plus(name, errors="strict"), unquote_plus(secret, errors="strict")
    except ValueError:
        raise invalid_client() from None


def _refusal(client: Client | None, secret: str) -> str | None:
    """Why not, for the log; it takes as long whether there is such a client or not."""
    expected = client.secret_hash if client is not None else None
    right = hmac.compare_digest(hashlib.sha256(secret.encode()).hexdigest(), expected or NOBODY)
    if client is None:
        return "no such client"
    if not is_served(client):
        return "disabled"
    if client.secret_hash is None:
        return "a secret from a client that has none" if secret else None
    return None if right and secret else "wrong secret"
