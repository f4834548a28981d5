"""The interface between the login server and a guard (internal; import from :mod:`roomkey.auth`)."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeAlias, TypedDict, Unpack

from roomkey.audit import log_warnings
from roomkey.core.any_of import TokenVerifier
from roomkey.core.confirmed_time import ConfirmedTime
from roomkey.core.identity import Identity
from roomkey.core.revocations import LONGEST_LIFETIME, Revocation, Revocations
from roomkey.core.rights_overrides import RightsOverrides
from roomkey.errors import RevokedToken
from roomkey.keysets import verify_waiting
from roomkey.stores import RevocationStore

__all__ = ["StandaloneAuthority", "TokenAuthority"]

FRESH_SECONDS = 1.0
"""Seconds for which the journal is not read again."""


Follower: TypeAlias = Callable[[Revocation], Awaitable[int]]
"""Called with each revocation that was stored; returns the number of further sockets that it disconnected."""


class RevocationTarget(TypedDict, total=False):
    """The arguments of :meth:`roomkey.core.revocations.Revocation.of`."""

    token_id: str | None
    session_id: str | None
    subject: str | None
    issuer: str | None
    issued_before: float | None
    expires_at: float


class TokenAuthority(Protocol):
    """Verifies and revokes tokens, and disconnects their sockets. Every guard is one."""

    async def verify(self, token: str, *, source: str = "") -> Identity:
        """Verify a token and return its identity; raise :class:`roomkey.errors.AuthError` if it is not valid."""

    async def check(self, who: Identity) -> None:
        """Raise :class:`roomkey.errors.RevokedToken` if the tokens of an identity are revoked."""

    async def revoke(self, **names: Unpack[RevocationTarget]) -> int:
        """Revoke tokens, and call the followers; return the number of sockets that were disconnected."""

    def follow_revocations(self, follower: Follower) -> None:
        """Call ``follower(revocation)`` for each revocation that :meth:`revoke` has stored, before :meth:`revoke`
        returns."""

    @property
    def unfinished(self) -> int:
        """The number of revocations that took effect in this process and are not stored yet."""

    async def count_sockets(self, subject: str) -> tuple[Mapping[str | None, int], bool]:
        """Return the number of connected sockets of a subject, by the ``sid`` claim of their tokens.

        Returns:
            The numbers, and False if there may be more, because a node of a cluster did not answer.
        """


class StandaloneAuthority:
    """Verifies and revokes tokens in a process without sockets, for a login server whose sockets are elsewhere.

    Args:
        verifier: verifies the tokens.
        store: the journal of revocations, which the processes with sockets read. Default: only this process knows them.
        clock: seconds since the epoch.
    """

    def __init__(
        self, verifier: TokenVerifier, store: RevocationStore | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        log_warnings(verifier)
        self._verifier = verifier
        self._store = store
        self._clock = clock
        self._revocations = Revocations()
        self._overrides = RightsOverrides(verifier.longest_lifetime or LONGEST_LIFETIME)
        self._confirmed_time = ConfirmedTime()
        self._position = 0
        self._read_at = float("-inf")
        self._followers: list[Follower] = []

    async def verify(self, token: str, *, source: str = "") -> Identity:
        """Verify a token and return its identity, with the rights that the user has now, as far as the store knows.

        Raises:
            AuthError: the token is invalid or revoked.
            Unavailable: the store does not respond, or the keys of another server are not known.
        """
        who = await verify_waiting(lambda: self._verifier.verify(token, self._clock(), source=source))
        await self.check(who)
        return self._overrides.apply(who, self._clock())

    async def check(self, who: Identity) -> None:
        """Check that the tokens of an identity are not revoked.

        Raises:
            RevokedToken: they are revoked.
            Unavailable: the store does not respond.
        """
        await self._read()
        if self._revocations.is_revoked(who):
            raise RevokedToken("revoked")

    async def revoke(self, **names: Unpack[RevocationTarget]) -> int:
        """Revoke tokens, and return the number of sockets that the followers disconnected.

        Without ``expires_at``, the revocation is stored for the longest lifetime of a token, as in a guard.
        """
        now = self._clock()
        names.setdefault("expires_at", now + (self._verifier.longest_lifetime or LONGEST_LIFETIME))
        revoked = Revocation.of(**names, now=now)
        if self._store is not None:  # first: if it fails, nothing has changed, and the same token can ask again
            await self._store.add(revoked)
        self._apply(revoked)
        return sum([await follower(revoked) for follower in self._followers])

    def follow_revocations(self, follower: Follower) -> None:
        """Call ``follower(revocation)`` for each revocation that :meth:`revoke` has stored, before :meth:`revoke`
        returns."""
        self._followers.append(follower)

    @property
    def unfinished(self) -> int:
        """Always 0: a revocation takes effect in this process only after it was stored."""
        return 0

    async def count_sockets(self, subject: str) -> tuple[Mapping[str | None, int], bool]:
        """Return no numbers: this process has no sockets."""
        return {}, True

    async def _read(self) -> None:
        if self._store is None or time.monotonic() - self._read_at < FRESH_SECONDS:
            return
        started = time.monotonic()
        found = None
        while found is None or found:  # a long journal is returned in parts
            found, self._position = await self._store.since(self._position)
            for revoked in found:
                self._apply(revoked)
        self._read_at = started

    def _apply(self, revoked: Revocation) -> None:
        confirmed = self._confirmed_time.at(self._clock(), time.monotonic())
        if revoked.kind == "rights":
            self._overrides.follow(revoked, confirmed)
        elif revoked.kind != "disconnect":
            self._revocations.add(revoked, confirmed)
