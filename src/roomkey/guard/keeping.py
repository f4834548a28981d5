"""Revocations that took effect here are kept, and followed: what fails is repeated until it is done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from roomkey.core.revocations import Revocation
from roomkey.errors import ConfigError

__all__ = ["Follower", "Keeping"]

LOG = logging.getLogger("roomkey.guard")

RETRY_SECONDS = 0.5

Follower: TypeAlias = Callable[[Revocation], Awaitable[int]]
"""What is called with each revocation that was kept; it returns how many further sockets it ended."""


class Keeping:
    """Writes revocations to the store and calls the followers.

    An outage leaves none half done: what could not be written, or followed, is remembered and done when the store is
    back, whether or not the caller asks again.

    Args:
        write: writes a revocation; None without a store.

    Attributes:
        followers: called with each revocation that was written.
    """

    def __init__(self, write: Callable[[Revocation], Awaitable[None]] | None) -> None:
        self._write = write
        self.followers: list[Follower] = []
        # By what is revoked, so that asking again and again adds nothing; True if it is written already.
        self._rest: dict[tuple[str, str | None, str], tuple[Revocation, bool]] = {}
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """How many revocations are not done yet."""
        return len(self._rest)

    async def keep(self, revoked: Revocation, *, written: bool = False) -> int:
        """Write a revocation and let the followers act on it.

        Args:
            written: True if the store has it already.

        Returns:
            How many sockets the followers ended.

        Raises:
            ConfigError: the store cannot keep this name, ever.
            Unavailable: it is not all done yet. It will be, when the store is back.
        """
        key = (revoked.kind, revoked.issuer, revoked.name)
        try:
            if self._write is not None and not written:
                await self._write(revoked)
            written = True
            sockets = sum([await follower(revoked) for follower in self.followers])
        except ConfigError:
            raise
        except BaseException:  # also if the caller stops waiting
            self._remember(key, revoked, written)
            raise
        if key in self._rest and self._rest[key][0].issued_before <= revoked.issued_before:
            del self._rest[key]
        return sockets

    def _remember(self, key: tuple[str, str | None, str], revoked: Revocation, written: bool) -> None:
        if key not in self._rest:
            LOG.warning("a revocation of a %s is not finished; trying again until it is", revoked.kind)
        elif self._rest[key][0].issued_before > revoked.issued_before:
            return
        self._rest[key] = (revoked, written)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._finish())

    async def _finish(self) -> None:
        while self._rest:
            await asyncio.sleep(RETRY_SECONDS)
            for revoked, written in list(self._rest.values()):
                try:
                    await self.keep(revoked, written=written)
                except Exception as error:
                    LOG.debug("a revocation of a %s is still not finished (%s)", revoked.kind, error)
        LOG.warning("all revocations are finished")

    async def close(self) -> None:
        """Try no more."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task})
        if self._rest:
            LOG.error("%d revocations were not finished before the server stopped", len(self._rest))
