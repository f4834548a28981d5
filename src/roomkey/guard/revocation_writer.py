"""Writes of revocations to the store, which are repeated until they succeed."""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TypeAlias
from weakref import WeakValueDictionary

from roomkey.core.revocations import Revocation
from roomkey.errors import ConfigError, Unavailable
from roomkey.guard.waiting import Lock, Task, Waiting

__all__ = ["Follower", "RevocationWriter"]

LOG = logging.getLogger("roomkey.guard")

RETRY_SECONDS = 0.5
TURN_SECONDS = 2.0
"""How long to wait before the store is asked again, and for another write of the same name."""

Follower: TypeAlias = Callable[[Revocation], Awaitable[int] | int]
"""Called with each revocation that was saved; it returns the number of further sockets that it ended."""


_Key: TypeAlias = tuple[str, str | None, str]
"""What is revoked: its kind, its issuer and its name."""


class RevocationWriter:
    """Writes revocations to the store and calls the followers.

    An outage does not leave a revocation half done. If a write or a follower fails, it is repeated when the store is
    available again, even if the caller does not try again.

    Args:
        write: writes a revocation; None without a store.
        background: runs what is repeated.

    Attributes:
        followers: called with each revocation that was written.
    """

    def __init__(self, write: Callable[[Revocation], Awaitable[None]] | None, background: Waiting) -> None:
        self._background = background
        self._write = write if write is not None else _nowhere
        self.followers: list[Follower] = []
        # By what is revoked, so that repeated calls add nothing; True if it is written already.
        self._rest: dict[_Key, tuple[Revocation, bool]] = {}
        self._turns: WeakValueDictionary[_Key, Lock] = WeakValueDictionary()
        self._task: Task | None = None

    def __len__(self) -> int:
        """Return the number of unfinished revocations."""
        return len(self._rest)

    async def write(self, revoked: Revocation) -> int:
        """Write a revocation, and call the followers with it.

        Returns:
            The number of sockets that the followers disconnected.

        Raises:
            ConfigError: the store cannot save this name.
            Unavailable: the revocation is unfinished. It is finished when the store is available again.
        """
        if self._write is _nowhere and not self.followers:
            return 0
        key = _key(revoked)
        written = False
        try:
            async with self._turn(key):
                if not self._covers(revoked, key):
                    await self._write_rest(key)
                await self._write(revoked)
                if key in self._rest and self._covers(revoked, key):
                    self._rest[key] = (revoked, True)
            written = True
            sockets = await self._follow(revoked)
        except ConfigError:
            raise
        except BaseException:  # also if the caller stops waiting
            self._remember(key, revoked, written)
            raise
        if self._covers(revoked, key):
            self._rest.pop(key, None)
        return sockets

    def must_repeat(self, revoked: Revocation) -> bool:
        """Return True if a revocation with the same name is not written yet, because the store failed."""
        _, written = self._rest.get(_key(revoked), (None, True))
        return not written

    def _covers(self, revoked: Revocation, key: _Key) -> bool:
        """Return True if a revocation includes all unfinished revocations of the same name."""
        return key not in self._rest or _joined(self._rest[key][0], revoked) == revoked

    @asynccontextmanager
    async def _turn(self, key: _Key) -> AsyncIterator[None]:
        """Allow one write of a name at a time, because the last of several changes applies.

        Raises:
            Unavailable: other changes of the same name wait for the store.
        """
        turn = self._turns.setdefault(key, self._background.lock())
        try:
            async with self._background.deadline(TURN_SECONDS):
                await turn.acquire()
        except TimeoutError:
            raise Unavailable("other changes of the same name already wait for the store") from None
        try:
            yield
        finally:
            turn.release()

    async def _write_rest(self, key: _Key) -> None:
        """Write the unfinished revocation of a name, if there is one."""
        revoked, written = self._rest.get(key, (None, True))
        if revoked is not None and not written:
            await self._write(revoked)
            self._rest[key] = (revoked, True)

    async def _follow(self, revoked: Revocation) -> int:
        return sum([await self._call(follower, revoked) for follower in self.followers])

    async def _call(self, follower: Follower, revoked: Revocation) -> int:
        result = await self._background.ask(follower, revoked)
        return await self._background.on_loop(result) if inspect.isawaitable(result) else result

    def _remember(self, key: _Key, revoked: Revocation, written: bool) -> None:
        if key not in self._rest:
            LOG.warning("could not finish a revocation of a %s; trying again until it succeeds", revoked.kind)
        else:
            before, was_written = self._rest[key]
            joined = _joined(before, revoked)
            revoked, written = joined, written and (was_written or joined == revoked)
        self._rest[key] = (revoked, written)
        if self._task is None or self._task.done():
            self._task = self._background.task(self._finish())

    async def _finish(self) -> None:
        while self._rest:
            await self._background.sleep(RETRY_SECONDS)
            for key in list(self._rest):
                try:
                    await self._finish_one(key)
                except Exception as error:
                    LOG.debug("still could not finish a revocation of a %s (%s)", key[0], error)
        LOG.warning("finished all revocations")

    async def _finish_one(self, key: _Key) -> None:
        async with self._turn(key):
            await self._write_rest(key)
        rest = self._rest.get(key)
        if rest is not None:
            await self._follow(rest[0])
            if self._rest.get(key) == rest and rest[1]:
                del self._rest[key]

    async def close(self) -> None:
        """Stop trying."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await self._background.wait({self._task})
        if self._rest:
            LOG.error("%d revocations were not finished before the server stopped", len(self._rest))


def _key(revoked: Revocation) -> _Key:
    return revoked.kind, revoked.issuer, revoked.name


def _joined(one: Revocation, other: Revocation) -> Revocation:
    """Combine two revocations of the same name. If rights changed twice, the later change applies."""
    first, last = sorted((one, other), key=_when)
    rights = last.rights if first.rights is None else {**first.rights, **(last.rights or {})}
    return replace(last, expires_at=max(one.expires_at, other.expires_at), rights=rights)


def _when(revoked: Revocation) -> float:
    return revoked.issued_before if revoked.version is None else revoked.version.seconds


async def _nowhere(_: Revocation) -> None:
    """Write to no store."""
