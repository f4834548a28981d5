"""Connection tickets: what may stand in a URL, since it opens one connection, once, within seconds."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable

from roomkey.auth.refresh_tokens import hash_of
from roomkey.auth.sealed import is_sealed, seal
from roomkey.core.credentials import Credential
from roomkey.core.identity import Identity
from roomkey.core.origins import origin_of, own_origin
from roomkey.core.verifier import Verifier
from roomkey.errors import ExpiredToken, MalformedToken
from roomkey.stores.forgetting import Forgetting
from roomkey.stores.single_use import SingleUseStore

__all__ = ["LIFETIME", "TicketVerifier", "Tickets"]

LIFETIME = 30
"""Seconds from the request to the last use."""

PREFIX = "rkt_"
_FORM = re.compile(PREFIX + r"[A-Za-z0-9_-]{43}")
_SOURCES = frozenset({"query", "auth", "event"})


class Tickets:
    """Gives tickets.

    Args:
        one_time: where they are kept, for every server that takes them.
        clock: seconds since the epoch.
    """

    def __init__(self, one_time: SingleUseStore, *, clock: Callable[[], float] = time.time) -> None:
        self._one_time = one_time
        self._clock = clock
        self._forgetting = Forgetting("tickets", lambda now: one_time.forget_expired(int(now)))

    async def issue(self, who: Identity, origin: str | None = None) -> tuple[str, int]:
        """A ticket that stands for an access token, and the seconds that it is good for.

        Args:
            who: whose token it was asked with; the connection lives no longer than that.
            origin: the page that asked; only a connection from there is opened. None for no page.

        Raises:
            ExpiredToken: the token's time is over.
            Unavailable: the tickets are out of reach.
        """
        now = int(self._clock())
        self._forgetting.soon(now)
        until = now + LIFETIME if who.expires_at is None else min(now + LIFETIME, int(who.expires_at))
        if until <= now:
            raise ExpiredToken("exp", "expired before its ticket was made")
        ticket = PREFIX + seal(await self._one_time.key(), "ticket", until)
        kept = {"claims": dict(who.claims), "origin": origin, "issued_at": now}
        await self._one_time.put("ticket", hash_of(ticket), kept, until)
        return ticket, until - now


class TicketVerifier:
    """A verifier for tokens and for tickets: ``AsyncGuard(TicketVerifier(verifier, one_time), via=…)``.

    A ticket is taken from the query, the ``auth`` payload or the event ``authenticate``. It is none for an HTTP route,
    so that one that was read in a log asks for nothing, not even for another ticket.

    Args:
        verifier: decides about tokens, and about the claims of the token that a ticket stands for.
        one_time: where the tickets are kept.
    """

    def __init__(self, verifier: Verifier, one_time: SingleUseStore) -> None:
        self._verifier = verifier
        self._one_time = one_time

    @property
    def requires_subject(self) -> bool:
        """True if every token says whose it is."""
        return self._verifier.requires_subject

    def verify(self, token: object, now: float, *, source: str = "") -> Identity | Awaitable[Identity]:
        """As :meth:`verify_presented`, where nobody knows which page asks."""
        if isinstance(token, str):
            return self.verify_presented(Credential(token, source), now)
        return self._verifier.verify(token, now, source=source)

    def verify_presented(self, presented: Credential, now: float) -> Identity | Awaitable[Identity]:
        """Whose token or ticket it is.

        Raises:
            AuthError: it is not good; a ticket that is unknown, too old or used up already is a malformed token.
            Unavailable: the tickets are out of reach.
        """
        if presented.source in _SOURCES and _FORM.fullmatch(presented.token):
            return self._take(presented, now)
        return self._verifier.verify(presented.token, now, source=presented.source)

    async def _take(self, presented: Credential, now: float) -> Identity:
        taken = None
        if is_sealed(await self._one_time.key(), "ticket", presented.token.removeprefix(PREFIX), now):
            taken = await self._one_time.take("ticket", hash_of(presented.token), int(now))
        if taken is None or taken.again:
            detail = "a ticket that is too old, or nobody's" if taken is None else "a used ticket"
            raise MalformedToken(detail, message="ticket used, expired or unknown")
        # The clock was set back, so that nobody knows how old it is; two servers may differ by a second.
        if taken.data["issued_at"] > now + 1:
            raise MalformedToken("the ticket was issued in the future", message="ticket used, expired or unknown")
        if not _opened_by(presented.origin, taken.data["origin"]):
            raise MalformedToken("the ticket of another page", message="ticket of another page")
        claims = dict(taken.data["claims"])
        # Checked, because another server's tickets may be kept in the same place.
        return self._verifier.identify(claims, now, source=presented.source)


def _opened_by(origin: str | None, page: str | None) -> bool:
    """True if a connection is the page's that asked for the ticket; anybody's if it was no page."""
    if page is None or origin is None:
        return page is None
    asked = origin_of(page)
    if asked is None:
        return origin == page  # the same opaque origin: "null"
    return asked == (own_origin(asked.scheme, origin[2:]) if origin.startswith("//") else origin_of(origin))
