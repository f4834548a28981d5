"""Connection tickets, which may appear in URLs, because they open one connection within seconds (internal)."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable

from roomkey.auth.refresh_tokens import hash_of
from roomkey.auth.signed_values import is_signed_value, new_signed_value
from roomkey.core.any_of import TokenVerifier
from roomkey.core.credentials import Credential
from roomkey.core.identity import Identity
from roomkey.core.origins import origin_of, own_origin
from roomkey.errors import ExpiredToken, MalformedToken
from roomkey.stores import SingleUseStore
from roomkey.stores.cleanup import Cleanup

__all__ = ["LIFETIME", "TicketVerifier", "Tickets"]

LIFETIME = 30
"""Seconds from the request for a ticket to its expiry."""

PREFIX = "rkt_"
_FORM = re.compile(PREFIX + r"[A-Za-z0-9_-]{43}")
_SOURCES = frozenset({"query", "auth", "event"})


class Tickets:
    """Issues tickets.

    Args:
        store: stores them, for every server that accepts them.
        clock: seconds since the epoch.
    """

    def __init__(self, store: SingleUseStore, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._cleanup = Cleanup("tickets", lambda now: store.delete_expired(int(now)))

    async def issue(self, who: Identity, origin: str | None = None) -> tuple[str, int]:
        """Return a ticket that represents an access token, and its lifetime in seconds.

        Args:
            who: the identity of the access token. The connection does not outlive the token.
            origin: the origin of the web page that asked; the ticket then opens only its connections. None for other
                clients.

        Raises:
            ExpiredToken: the token has expired.
            Unavailable: the store does not respond.
        """
        now = int(self._clock())
        self._cleanup.start_if_due(now)
        until = now + LIFETIME if who.expires_at is None else min(now + LIFETIME, int(who.expires_at))
        if until <= now:
            raise ExpiredToken("exp", "expired before its ticket was issued")
        ticket = PREFIX + new_signed_value(await self._store.key(), "ticket", until)
        data = {"claims": dict(who.claims), "origin": origin, "issued_at": now}
        await self._store.store("ticket", hash_of(ticket), data, until)
        return ticket, until - now


class TicketVerifier:
    """Verifies tokens and tickets: ``AsyncGuard(TicketVerifier(verifier, store), via=…)``.

    It accepts tickets from the query, the ``auth`` payload or the event ``authenticate``, but not from HTTP routes. So
    a ticket that was read in a log cannot request anything, not even another ticket.

    Args:
        verifier: verifies tokens, and the claims of the token that a ticket represents.
        store: stores the tickets.
    """

    def __init__(self, verifier: TokenVerifier, store: SingleUseStore) -> None:
        self._verifier = verifier
        self._store = store

    @property
    def requires_subject(self) -> bool:
        """True if every token must have a subject."""
        return self._verifier.requires_subject

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is insecure about the settings of the verifier."""
        return tuple(getattr(self._verifier, "warnings", ()))

    @property
    def max_token(self) -> int:
        """The longest accepted token, in bytes."""
        return self._verifier.max_token

    @property
    def longest_lifetime(self) -> float | None:
        """The longest lifetime of an accepted token in seconds, or None if the settings do not limit it."""
        return self._verifier.longest_lifetime

    def verify(self, token: object, now: float, *, source: str = "") -> Identity | Awaitable[Identity]:
        """Verify a token or a ticket as :meth:`verify_presented` does, without knowing the page that presents it."""
        if isinstance(token, str):
            return self.verify_presented(Credential(token, source), now)
        return self._verifier.verify(token, now, source=source)

    def verify_presented(self, presented: Credential, now: float) -> Identity | Awaitable[Identity]:
        """Verify a token or a ticket, and return its identity.

        Raises:
            AuthError: it is not valid. A ticket that is unknown, expired or already used is a malformed token.
            Unavailable: the store does not respond.
        """
        if presented.source in _SOURCES and _FORM.fullmatch(presented.token):
            return self._consume(presented, now)
        return self._verifier.verify_presented(presented, now)

    async def _consume(self, presented: Credential, now: float) -> Identity:
        ticket = None
        if is_signed_value(await self._store.key(), "ticket", presented.token.removeprefix(PREFIX), now):
            ticket = await self._store.consume("ticket", hash_of(presented.token), int(now))
        if ticket is None or ticket.already_used:
            detail = "an expired or unknown ticket" if ticket is None else "a used ticket"
            raise MalformedToken(detail, message=MalformedToken.TICKET_INVALID)
        # The clock was set back, so the age of the ticket is unknown. Two servers may differ by one second.
        if ticket.data["issued_at"] > now + 1:
            raise MalformedToken("the ticket was issued in the future", message=MalformedToken.TICKET_INVALID)
        if not _opened_by(presented.origin, ticket.data["origin"]):
            raise MalformedToken("the ticket of another page", message=MalformedToken.TICKET_OF_ANOTHER_PAGE)
        claims = dict(ticket.data["claims"])
        # Verify the claims: the store may contain tickets of another server.
        return self._verifier.identify(claims, now, source=presented.source)


def _opened_by(origin: str | None, page: str | None) -> bool:
    """Return True if the connection comes from the page that requested the ticket, or if no page requested it."""
    if page is None or origin is None:
        return page is None
    expected = origin_of(page)
    if expected is None:
        return origin == page  # the same opaque origin: "null"
    return expected == (own_origin(expected.scheme, origin[2:]) if origin.startswith("//") else origin_of(origin))
