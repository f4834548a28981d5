"""What the login server wants of whoever holds live sockets: a guard, or nobody."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeAlias, TypedDict, Unpack

from roomkey.core.confirmed_time import ConfirmedTime
from roomkey.core.identity import Identity
from roomkey.core.revocations import LONGEST_LIFETIME, Revocation, Revocations
from roomkey.core.rights_overrides import RightsOverrides
from roomkey.core.verifier import Verifier
from roomkey.errors import RevokedToken
from roomkey.stores.revocations import RevocationStore

__all__ = ["StandaloneAuthority", "TokenAuthority"]

FRESH_SECONDS = 1.0
"""How old the knowledge of the store may be."""


Follower: TypeAlias = Callable[[Revocation], Awaitable[int]]
"""What is called with each revocation that was kept; it returns how many further sockets it ended."""


class RevocationTarget(TypedDict, total=False):
    """What is cancelled, as in :meth:`roomkey.core.revocations.Revocation.of`."""

    token_id: str | None
    session_id: str | None
    subject: str | None
    issuer: str | None
    issued_before: float | None
    expires_at: float


class TokenAuthority(Protocol):
    """Tokens and the sockets they hold open; every guard is one."""

    async def verify(self, token: str, *, source: str = "") -> Identity:
        """Whose token it is; raises :class:`roomkey.errors.AuthError` if it is not good, or revoked."""

    async def check(self, who: Identity) -> None:
        """Raises :class:`roomkey.errors.RevokedToken` if what was issued to it then is cancelled by now."""

    async def revoke(self, **names: Unpack[RevocationTarget]) -> int:
        """Cancel tokens, and call the followers; returns how many live sockets that ended."""

    def follow_revocations(self, follower: Follower) -> None:
        """Call ``follower(revocation)`` whenever :meth:`revoke` has kept one, before it returns."""

    @property
    def unfinished(self) -> int:
        """The number of revocations that took effect here and are not kept yet."""

    def sockets_by_session(self, subject: str) -> Mapping[str | None, int]:
        """How many live sockets a subject has, by the ``sid`` claim of their tokens."""


class StandaloneAuthority:
    """For a login server without a guard in its process: its tokens are used elsewhere.

    Args:
        verifier: decides about its own tokens.
        store: where revocations are kept, for whoever holds the sockets to read.
        clock: seconds since the epoch.
    """

    def __init__(
        self, verifier: Verifier, store: RevocationStore | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._verifier = verifier
        self._store = store
        self._clock = clock
        self._revocations = Revocations()
        self._changed = RightsOverrides(verifier.longest_lifetime or LONGEST_LIFETIME)
        self._horizon = ConfirmedTime()
        self._position = 0
        self._read_at = float("-inf")
        self._followers: list[Follower] = []

    async def verify(self, token: str, *, source: str = "") -> Identity:
        """Whose token it is, with the rights of now as far as the store knows of changes.

        Raises:
            AuthError: it is not good, or revoked.
        """
        who = self._verifier.verify(token, self._clock(), source=source)
        await self.check(who)
        return self._changed.apply(who, self._clock())

    async def check(self, who: Identity) -> None:
        """Whether what was issued to it then is still good.

        Raises:
            RevokedToken: it is cancelled.
        """
        await self._read()
        if self._revocations.is_revoked(who):
            raise RevokedToken("revoked")

    async def revoke(self, **names: Unpack[RevocationTarget]) -> int:
        """Cancel tokens; there are no sockets to end but those that the followers know.

        Without ``expires_at`` the entry is kept as long as a token may live, as a guard does.
        """
        now = self._clock()
        names.setdefault("expires_at", now + (self._verifier.longest_lifetime or LONGEST_LIFETIME))
        revoked = Revocation.of(**names, now=now)
        if self._store is not None:  # first: if that fails nothing is done, and it can be asked for with the same token
            await self._store.add(revoked)
        self._know(revoked)
        return sum([await follower(revoked) for follower in self._followers])

    def follow_revocations(self, follower: Follower) -> None:
        """Call ``follower(revocation)`` whenever :meth:`revoke` has kept one, before it returns."""
        self._followers.append(follower)

    @property
    def unfinished(self) -> int:
        """None: what the store does not take has no effect here either."""
        return 0

    def sockets_by_session(self, subject: str) -> Mapping[str | None, int]:
        """None at all."""
        return {}

    async def _read(self) -> None:
        if self._store is None or time.monotonic() - self._read_at < FRESH_SECONDS:
            return
        begun = time.monotonic()
        found = None
        while found is None or found:  # a long journal comes in parts
            found, self._position = await self._store.since(self._position)
            for revoked in found:
                self._know(revoked)
        self._read_at = begun

    def _know(self, revoked: Revocation) -> None:
        horizon = self._horizon.at(self._clock(), time.monotonic())
        if revoked.kind == "rights":
            self._changed.follow(revoked, horizon)
        else:
            self._revocations.add(revoked, horizon)
