"""The journal of revocations over HTTP, for servers that do not read the database (internal; import from
:mod:`roomkey.auth`).

A server in another language or another network verifies tokens by itself. It cannot know by itself which of them were
revoked. It follows this journal: it asks for what is new, and the response waits until there is something.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import APIRouter, Query, Request, Security
from fastapi.responses import Response

from roomkey.auth.client_auth import CLIENT, ClientAuthenticator, ClientFields, invalid_client
from roomkey.auth.http import NO_STORE, OAuthError, error_responses, get_and_head, oauth_errors
from roomkey.auth.throttle import Throttle
from roomkey.core.issuer import Issuer
from roomkey.core.revocations import Revocation
from roomkey.stores import Clients, RevocationStore

__all__ = ["JOURNAL_SCOPE", "JOURNAL_TYPE", "journal_router"]

JOURNAL_SCOPE = "roomkey:revocations"
"""The scope that a client must have to read the journal, which contains user names and token IDs."""

JOURNAL_TYPE = "revocations+jwt"
"""The ``typ`` of a signed part of the journal. It is not an access token, and verifiers reject it as one."""

LONGEST_WAIT = 25.0
"""Seconds that a request can wait for something new: less than most proxies wait for a response."""

POLL_SECONDS = 0.25
"""Seconds between two reads of the store, while a request waits."""

MAX_WAITING = 100
"""Requests that wait at the same time. The response to the others is immediate."""

MEDIA_TYPE = "application/jwt"


class Journal:
    """Reads the journal for requests that wait.

    Args:
        store: of the revocations.
        issuer: signs each part.
        monotonic: seconds on a monotonic clock.
    """

    def __init__(
        self, store: RevocationStore, issuer: Issuer, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._issuer = issuer
        self._monotonic = monotonic
        self._waiting = 0

    async def read(self, reader: str, after: int, wait: float) -> str:
        """Return a signed part of the journal: everything after a position, or nothing after the wait.

        Args:
            reader: the client, which is the audience of the part.
            after: the position.
            wait: seconds to wait if there is nothing new.

        Raises:
            Unavailable: the store does not respond.
        """
        found, position = await self._store.since(after)
        if not found and wait > 0 and self._waiting < MAX_WAITING:
            self._waiting += 1
            try:
                found, position = await self._wait(after, self._monotonic() + wait)
            finally:
                self._waiting -= 1
        return self._signed(reader, after, position, found)

    async def _wait(self, after: int, until: float) -> tuple[Sequence[Revocation], int]:
        found: Sequence[Revocation] = ()
        position = after
        while not found and (left := until - self._monotonic()) > 0:
            await asyncio.sleep(min(left, POLL_SECONDS))
            found, position = await self._store.since(after)
        return found, position

    def _signed(self, reader: str, after: int, position: int, found: Sequence[Revocation]) -> str:
        now = int(self._issuer.clock())
        document = {
            "iss": self._issuer.issuer,
            "aud": reader,
            "iat": now,
            "exp": now + 60,
            "after": after,
            "position": position,
            "revocations": [_written(revoked) for revoked in found],
        }
        return self._issuer.sign(document, document_type=JOURNAL_TYPE)


def _written(revoked: Revocation) -> dict[str, Any]:
    """Return a revocation as JSON; ``expires_at`` is null if it is kept forever."""
    entry: dict[str, Any] = {
        "kind": revoked.kind,
        "name": revoked.name,
        "issuer": revoked.issuer,
        "issued_before": revoked.issued_before,
        "expires_at": revoked.kept_until,
    }
    if revoked.version is not None:
        entry["version"] = list(revoked.version)
    return entry if revoked.rights is None else entry | {"rights": dict(revoked.rights)}


def journal_router(
    store: RevocationStore,
    issuer: Issuer,
    clients: Clients,
    *,
    prefix: str = "/auth",
    throttle: Throttle | None = None,
) -> APIRouter:
    """Return the route ``GET /auth/revocations``, for other servers.

    Args:
        store: of the revocations.
        issuer: signs the responses, with the key of the access tokens.
        clients: the OAuth clients. A client needs a secret and the scope ``roomkey:revocations``.
        prefix: the path before ``/revocations``.
        throttle: delays clients after wrong secrets. Default: one of its own.
    """
    journal = Journal(store, issuer)
    authenticator = ClientAuthenticator(clients, throttle)
    routes = APIRouter(tags=["oauth"])
    signed = {"description": f"A JSON Web Token of the type {JOURNAL_TYPE}.", "content": {MEDIA_TYPE: {}}}

    @get_and_head(
        routes,
        f"{prefix}/revocations",
        summary="Get what was revoked after a position, or wait for it",
        response_class=Response,
        responses={200: signed, **error_responses(400, 401, 403, 429)},
        dependencies=[Security(CLIENT)],
    )
    @oauth_errors
    async def revocations(
        request: Request,
        after: str = Query(default="0", description="the position of the last response; 0 is the beginning"),
        wait: str = Query(default="0", description=f"seconds to wait for something new, at most {LONGEST_WAIT:g}"),
    ) -> Response:
        client = await authenticator.authenticate(request, ClientFields())
        if client.secret_hash is None:
            raise invalid_client("Only a client with a secret can read the journal.")
        if JOURNAL_SCOPE not in client.scopes:
            raise OAuthError("insufficient_scope", f"The client needs the scope {JOURNAL_SCOPE}.", 403)
        position = _number(after, 2**53 - 1)
        part = await journal.read(client.client_id, position, _number(wait, int(LONGEST_WAIT)))
        return Response(part, headers=NO_STORE, media_type=MEDIA_TYPE)

    return routes


def _number(text: str, most: int) -> int:
    """Return a whole number from a query, at most ``most``."""
    if not (text.isascii() and text.isdigit() and len(text) <= 16):
        raise OAuthError("invalid_request", "after and wait must be whole numbers, 0 or more.")
    return min(int(text), most)
