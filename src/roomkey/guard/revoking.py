"""Revocations on live sockets: here at once, in the store for good, and from the store what other processes revoked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from typing import Literal, TypeVar

from roomkey import audit
from roomkey.core.admission import Input
from roomkey.core.revocations import FOREVER, Revocation, Revocations
from roomkey.errors import ConfigError, RevokedToken, Unavailable
from roomkey.guard.clock import Clock
from roomkey.guard.teardown import Teardown
from roomkey.stores.revocations import RevocationStore

T = TypeVar("T")
LOG = logging.getLogger("roomkey.guard")

POLL_SECONDS = 1.0
STORE_SECONDS = 2.0
"""How often the store is asked for what is new, and how long it may take to answer."""

FORGET_SECONDS = 3600.0
WhenStoreFails = Literal["refuse", "admit"]


class Revoking:
    """Cancels tokens and ends the sockets they opened.

    Args:
        revocations: what every decision looks into.
        store: what outlasts this process and reaches the others, or None.
        teardown: ends sockets.
        clock: where to read the time.
        when_store_fails: ``"refuse"`` new connections while the store is out of reach, or ``"admit"`` them on what
            is known. Admitted sockets stay in either case.

    Raises:
        ConfigError: another ``when_store_fails``.
    """

    def __init__(
        self,
        revocations: Revocations,
        store: RevocationStore | None,
        teardown: Teardown,
        clock: Clock,
        when_store_fails: WhenStoreFails,
    ) -> None:
        if when_store_fails not in ("refuse", "admit"):
            raise ConfigError("when_store_fails takes 'refuse' or 'admit'")
        self.revocations = revocations
        self._store = store
        self._teardown = teardown
        self._clock = clock
        self._refuses = when_store_fails == "refuse"
        self._position = 0
        self._forgot_at = 0.0
        self._closed = False
        self._following: asyncio.Task[None] | None = None
        self._first: asyncio.Future[None] | None = None
        self.problem: str | None = None

    async def revoke(self, revoked: Revocation, *, everybody: bool) -> int:
        """Cancel, end what is live, and keep it in the store.

        Args:
            everybody: every token of the subject, also one whose ``iat`` is ahead of our clock.

        Returns:
            How many live sockets it ended.

        Raises:
            Unavailable: the sockets are ended, but the store did not take it: ask again.
        """
        self.revocations.add(revoked, self._clock.now())
        ending = self._end([revoked], everybody=everybody)
        try:
            if self._store is not None:
                await self._open()
                await _in_time(self._store.add(revoked))
        finally:
            # Whoever asked may stop waiting; the sockets end all the same.
            await asyncio.shield(ending)
        return len(ending.result())

    def _end(self, new: Sequence[Revocation], *, everybody: bool = False) -> asyncio.Future[list[None]]:
        """End every live socket that these revocations are about.

        Args:
            everybody: whatever ``iat`` says: a token that was seen before the revocation was issued before it.
        """
        names = {(revoked.kind, revoked.name) for revoked in new}
        issuers = {revoked.issuer for revoked in new}
        endings = []
        for admission in self._teardown.registry:
            who = admission.identity
            # By its names first: there may be many thousand sockets, and most of them have nothing to do with it.
            if who is None or names.isdisjoint(
                (("token", who.token_id), ("session", who.session_id), ("subject", who.subject))
            ):
                continue
            meant = everybody and not issuers.isdisjoint((None, who.issuer))
            if admission.live and (meant or self.revocations.is_revoked(who)):
                if meant and who.token_id is not None:  # its clock may run ahead, and then it would come back
                    token = Revocation("token", who.token_id, who.issuer, expires_at=who.expires_at or FOREVER)
                    self.revocations.add(token, self._clock.now())
                error = RevokedToken("revoked while connected")
                endings.append(self._teardown.end_soon(admission, Input.REVOKE, error))
        return asyncio.gather(*endings)

    @property
    def has_store(self) -> bool:
        """True if there is one."""
        return self._store is not None

    async def check(self) -> None:
        """What the store knows is known here, as far as that is to be had.

        Raises:
            Unavailable: it is out of reach, and new connections are to be refused then.
        """
        problem = await self.ready()
        if problem is not None and self._refuses:
            raise Unavailable(problem)

    async def ready(self) -> str | None:
        """What is wrong with the store, after it was asked for the first time."""
        if self._store is not None:
            await self._open()
        return self.problem

    async def poll(self) -> None:
        """Read what is new in the store, and end what that revokes. It is done every second by itself."""
        assert self._store is not None
        more = True
        while more:  # a long journal comes in parts, each within the time that the store has
            try:
                found, self._position = await _in_time(self._store.since(self._position))
            except Exception as error:
                self._failed(error)
                return
            self._apply(found)
            more = bool(found)
        self._succeeded()

    def _apply(self, found: Sequence[Revocation]) -> None:
        now = self._clock.now()
        new = [revoked for revoked in found if self.revocations.add(revoked, now)]
        if new:
            self._end(new)

    def _failed(self, error: Exception) -> None:
        if self.problem is None:
            audit.record("store_unavailable", level=logging.ERROR, error=type(error).__name__)
            LOG.error("the revocations' store is out of reach (%s)", type(error).__name__)
        self.problem = f"the revocations' store is out of reach ({type(error).__name__})"

    def _succeeded(self) -> None:
        if self.problem is not None:
            audit.record("store_available")
            LOG.warning("the revocations' store is back")
        self.problem = None

    async def _open(self) -> None:
        """Follow the store, from the first time that somebody asks for it.

        Raises:
            Unavailable: it was closed.
        """
        if self._following is None and not self._closed:
            self._first = asyncio.get_running_loop().create_future()
            self._following = asyncio.create_task(self._follow())
        if self._first is not None:
            await asyncio.shield(self._first)
        if self._closed:
            raise Unavailable("the server stops")

    async def _follow(self) -> None:
        assert self._store is not None
        assert self._first is not None
        opened = False
        while True:
            try:
                if not opened:
                    await _in_time(self._store.open())
                    opened = True
                await self.poll()
            except Exception as error:
                self._failed(error)
            if not self._first.done():
                self._first.set_result(None)
            if self.problem is None and self._clock.monotonic() - self._forgot_at > FORGET_SECONDS:
                await self._forget_expired()
            await asyncio.sleep(POLL_SECONDS)

    async def _forget_expired(self) -> None:
        """Make room in the store. Where that fails, everything is known all the same, and nobody is refused."""
        assert self._store is not None
        self._forgot_at = self._clock.monotonic()
        try:
            await _in_time(self._store.forget_expired(self._clock.now()))
        except Unavailable as error:
            LOG.warning("the revocations' store keeps what has expired (%s)", error)

    async def close(self) -> None:
        """Follow the store no more, and close it; whoever asks from now on is refused."""
        self._closed = True
        if self._following is None:
            return
        assert self._store is not None
        assert self._first is not None
        self._following.cancel()
        await asyncio.gather(self._following, return_exceptions=True)
        self._following = None
        if not self._first.done():
            self._first.set_result(None)  # somebody may wait for it
        try:
            await _in_time(self._store.close())
        except Unavailable as error:
            LOG.warning("the revocations' store was not closed (%s)", error)


async def _in_time(work: Awaitable[T]) -> T:
    """Wait for the store, and not for ever.

    Raises:
        Unavailable: it takes too long, or fails in whatever way.
    """
    try:
        async with asyncio.timeout(STORE_SECONDS):
            return await work
    except Unavailable:
        raise
    except TimeoutError:
        raise Unavailable(f"the store did not answer within {STORE_SECONDS:g} s") from None
    except Exception as error:
        raise Unavailable(f"the store failed ({type(error).__name__})") from error
