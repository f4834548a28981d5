"""Verification that waits for what is being fetched: one function for asynchronous programs, and one for the others.

A verifier never waits. If a token needs something from another server, :class:`roomkey.errors.Unavailable` has what to
wait for. After that, the token is verified again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for_futures
from typing import TypeVar

from roomkey.errors import Lookup, Unavailable

__all__ = ["FetchLookup", "verify_blocking", "verify_waiting", "verify_with"]

T = TypeVar("T")


class FetchLookup:
    """A fetch under way, as :class:`roomkey.errors.Lookup` says.

    Args:
        done: ends with the fetch. It runs already, so that nobody can cancel it for the others who wait.
        timeout: the longest time to wait, in seconds.
    """

    def __init__(self, done: Future[None], timeout: float) -> None:
        self._done = done
        self.timeout = timeout

    async def wait(self, seconds: float) -> None:
        """Return as soon as the fetch has ended, or after so many seconds."""
        await asyncio.wait([asyncio.wrap_future(self._done)], timeout=seconds)

    def notify(self, callback: Callable[[], object]) -> None:
        """Call back as soon as the fetch has ended, in any thread."""
        self._done.add_done_callback(lambda _: callback())

    def wait_blocking(self, seconds: float) -> None:
        """Return as soon as the fetch has ended, or after so many seconds."""
        wait_for_futures([self._done], timeout=seconds)


class _Patience:
    """The time that one verification may still wait, however often it has to."""

    def __init__(self) -> None:
        self._until: float | None = None

    def next_wait(self, error: Unavailable) -> tuple[Lookup, float]:
        """Return what to wait for, and the seconds; raise the error if there is nothing, or no time is left."""
        now = time.monotonic()
        if error.lookup is None:
            raise error
        if self._until is None:
            self._until = now + error.lookup.timeout
        if now >= self._until:
            raise error
        return error.lookup, self._until - now


async def verify_waiting(verify: Callable[[], T]) -> T:
    """Verify a token, and wait for the keys of another server if that is necessary: at most ``fetch_timeout`` seconds.

    ::

        who = await verify_waiting(lambda: verifier.verify(token, time.time()))

    Args:
        verify: verifies the token. It is called again after each wait.

    Raises:
        AuthError: the token is not valid.
        Unavailable: the answer did not arrive in time.
    """
    return await verify_with(verify, lambda lookup, left: lookup.wait(left))


async def verify_with(verify: Callable[[], T], wait: Callable[[Lookup, float], Awaitable[None]]) -> T:
    """Verify a token as :func:`verify_waiting` does, and wait in the caller's way.

    Args:
        verify: verifies the token. It is called again after each wait.
        wait: waits for a fetch, for so many seconds at most.
    """
    patience = _Patience()
    while True:
        try:
            return verify()
        except Unavailable as error:
            lookup, left = patience.next_wait(error)
        await wait(lookup, left)


def verify_blocking(verify: Callable[[], T]) -> T:
    """Verify a token as :func:`verify_waiting` does, in a program without an event loop. It blocks the thread.

    Args:
        verify: verifies the token. It is called again after each wait.

    Raises:
        AuthError: the token is not valid.
        Unavailable: the answer did not arrive in time.
    """
    patience = _Patience()
    while True:
        try:
            return verify()
        except Unavailable as error:
            lookup, left = patience.next_wait(error)
        lookup.wait_blocking(left)
