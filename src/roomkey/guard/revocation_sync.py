"""Revocations of other processes: reads them from the store, and writes those of this process."""

from __future__ import annotations

import logging
import random
import secrets
from collections.abc import Callable, Coroutine, Iterator, Sequence
from itertools import chain
from typing import Any, ParamSpec, TypeVar

from roomkey import audit
from roomkey.core.confirmed_time import ConfirmedTime
from roomkey.core.revocations import (
    HybridClock,
    JournalPart,
    Revocation,
    Revocations,
    Version,
)
from roomkey.core.rights_overrides import RightsOverrides
from roomkey.errors import ConfigError, Unavailable
from roomkey.guard.disconnects import KEPT_SECONDS, Disconnects
from roomkey.guard.journal_repair import JournalRepair
from roomkey.guard.nap import Nap, Wait
from roomkey.guard.own_changes import OwnChanges
from roomkey.guard.revocation_writer import RevocationWriter
from roomkey.guard.revoked_sockets import RevokedSockets
from roomkey.guard.socket import GuardContext
from roomkey.guard.statistics import JournalState
from roomkey.guard.waiting import Event, Task
from roomkey.stores import RevocationStore
from roomkey.stores.cleanup import Cleanup
from roomkey.stores.patience import answer_within

T = TypeVar("T")
P = ParamSpec("P")
Read = Callable[[int], Coroutine[Any, Any, JournalPart]]
LOG = logging.getLogger("roomkey.guard")

POLL_SECONDS = 0.5
STORE_SECONDS = 2.0
"""How often the store is asked for new revocations, and how long it can take to answer."""

FRESH_SECONDS = 1.0
"""How old the last answer of the store can be when a token is decided on; otherwise the store is asked first."""


class RevocationSync:
    """Revokes tokens and disconnects the sockets that use them.

    Args:
        revocations: the revocations that every decision checks.
        context: the sockets, the clock, and the settings: the store that outlasts this process and reaches the others,
            and what happens while it is unavailable.

    Attributes:
        has_store: True if revocations survive this process.
        on_rights: called with each change of rights that the store returns, when it applies.
        rights: the changed rights that are written back if the journal was lost.
        versions: makes the versions of changes.
    """

    def __init__(self, revocations: Revocations, context: GuardContext) -> None:
        settings, clock = context.settings, context.clock
        store = settings.revocations
        self.revocations = revocations
        self._store = store
        self.has_store = store is not None
        self._clock = clock
        self._refuses = settings.when_store_fails == "refuse"
        self._horizon = ConfirmedTime()
        self._position = 0
        self._read: Read | None = None
        wait: Wait | None = None
        if store is not None:
            self._read, wait = _reading(store)
        self._nap = Nap(wait)
        self._revoked_sockets = RevokedSockets(revocations, context, self.horizon)
        self._disconnects = Disconnects(context)
        self._repair = JournalRepair(self._add_all, self._known_entries, self.horizon, context.background)
        self.versions = HybridClock(secrets.token_urlsafe(6))
        self.rights: RightsOverrides | None = None
        self._known_at = float("-inf")
        self._background = context.background
        self._polling: Task | None = None
        self._cleanup: Cleanup | None = None
        if store is not None:
            self._cleanup = Cleanup("revocations", store.delete_expired, clock=clock.monotonic)
        self.writer = RevocationWriter(self._write if store is not None else None, context.background)
        self._own_changes = OwnChanges(self.writer.must_repeat)
        self._closed = False
        self._following: Task | None = None
        self._first: Event | None = None
        self.problem: str | None = None
        self.on_rights: Callable[[Revocation], object] = lambda change: None

    async def revoke(self, revoked: Revocation, *, everybody: bool) -> int:
        """Revoke tokens, disconnect their sockets, and write the revocation to the store.

        Args:
            revoked: the revocation.
            everybody: also disconnect the subject's sockets whose ``iat`` is in the future.

        Returns:
            The number of sockets that this process and the followers disconnected.

        Raises:
            Unavailable: the sockets here are ended, but the store did not save the revocation. It is written when the
                store is available again; call again to make sure.
        """
        self._revoked_sockets.add(revoked)
        endings = self._revoked_sockets.end([revoked], everybody=everybody)
        try:
            more = await self.writer.write(revoked)
        finally:
            if endings:  # they go on, even if the caller stops waiting
                await self._background.wait(endings)
        return len(endings) + more

    async def disconnect(self, subject: str) -> int:
        """Disconnect the sockets of a subject, and write that to the store, for the other servers.

        Returns:
            The number of sockets that this process disconnected.

        Raises:
            Unavailable: the sockets here are disconnected, but the store did not save the entry. It is written when the
                store is available again.
        """
        at = self.versions.next(self._clock.now()).seconds
        entry = Revocation("disconnect", subject, issued_before=at, expires_at=at + KEPT_SECONDS)
        endings = self._disconnects.apply(entry)
        try:
            await self.writer.write(entry)
        finally:
            if endings:
                await self._background.wait(endings)
        return len(endings)

    async def write_rights(self, change: Revocation) -> None:
        """Write a change of rights, which this process has applied.

        Raises:
            Unavailable: the store did not save it. It is written when the store is available again.
        """
        await self._own_changes.write(change, self.writer.write)

    async def _write(self, revoked: Revocation) -> None:
        assert self._store is not None
        await self._open()
        await self._background.on_loop(_in_time(self._store.add, revoked))
        if hasattr(self._store, "read"):
            self._repair.wrote(revoked)

    async def _add_all(self, entries: Sequence[Revocation]) -> None:
        await self._background.on_loop(_in_time(self._store.add_all, entries))  # type: ignore[union-attr]

    def horizon(self) -> float:
        """Return the time up to which expired revocations can be deleted."""
        return self._horizon.at(self._clock.now(), self._clock.monotonic())

    async def check(self) -> None:
        """Check that this process has read the store within the last second.

        A process that was too busy reads the store now, and does not refuse connections for this reason.

        Raises:
            Unavailable: the store is unavailable, and new connections must be refused then.
        """
        problem = await self._current_problem()
        if problem is not None and self._refuses:
            raise Unavailable(problem)

    async def ready(self) -> str | None:
        """Return why the store is unavailable, or None. If the last read is older than a second, read it first."""
        try:
            return await self._current_problem()
        except Unavailable as error:  # the server stops meanwhile
            return str(error)

    async def _current_problem(self) -> str | None:
        """Return why the store is unavailable, or None.

        Raises:
            Unavailable: it was closed.
        """
        if self._store is None:
            return None
        await self._open()
        begun = self._clock.monotonic()
        # A poll that was running may have read too early; the second one has not.
        while self.problem is None and self._known_at < min(begun, self._clock.monotonic() - FRESH_SECONDS):
            await self._poll_once()
            self._check_open()
        return self.problem

    def state(self) -> JournalState | None:
        """Return how far the store was read; None without one."""
        if self._store is None:
            return None
        return JournalState(self._position, self._clock.monotonic() - self._known_at, self.problem, len(self.writer))

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("the server is stopping")

    async def _poll_once(self) -> None:
        """Poll, or wait for the poll that is running, so that many callers cause one poll."""
        if self._polling is None or self._polling.done():
            self._polling = self._background.task(self.poll())
        await self._background.wait({self._polling})

    async def poll(self) -> None:
        """Read new revocations from the store, twice per second, and disconnect the sockets that they revoke."""
        begun = self._clock.monotonic()
        try:
            await self._catch_up()
        except Exception as error:  # of whatever the application uses as its store
            self._failed(error)
            return
        self._known_at = max(self._known_at, begun)
        self._succeeded()

    async def _catch_up(self) -> None:
        """Read to the end of the journal, in parts, each of them within the time limit; and restore a lost one."""
        assert self._read is not None
        written, own_changes = self._repair.unread(), self._own_changes.written()
        while True:
            part = await self._background.on_loop(_in_time(self._read, self._position))
            if part.is_another:
                self._repair.begin()
                self.problem = "the journal of revocations is being restored"
            self._position = part.position
            self._apply(part.revocations)
            if not part.more and not await self._repair.wrote_some(written):
                break
        for change in self._own_changes.read_past(own_changes):
            self.on_rights(change)

    def _known_entries(self) -> Iterator[Revocation]:
        rights = () if self.rights is None else self.rights.entries()
        return chain(self.revocations.entries(), rights, self._disconnects.entries())

    def wake(self) -> None:
        """Read the store now: another process has written to it, or it was out of reach. Every thread can call this."""
        self._nap.wake()

    def _apply(self, found: Sequence[Revocation]) -> None:
        new = []
        for entry in found:
            self._repair.found(entry)
            if entry.version is not None:
                self.versions.saw(entry.version)
            if entry.kind == "rights":
                if (change := self._own_changes.applicable(entry)) is not None:
                    self.on_rights(change)
            elif entry.kind == "disconnect":
                self.versions.saw(Version.of_time(entry.issued_before))
                self._disconnects.apply(entry)
            elif self._revoked_sockets.add(entry):
                new.append(entry)
        if new:
            self._revoked_sockets.end(new)

    def _failed(self, error: Exception) -> None:
        why = str(error) if isinstance(error, Unavailable) else type(error).__name__  # others may contain secrets
        problem = f"the store of revocations is unavailable: {why}"
        if self.problem is None:
            audit.record("store_unavailable", level=logging.ERROR, error=type(error).__name__)
            LOG.error("%s", problem)
        self.problem = problem

    def _succeeded(self) -> None:
        if self.problem is not None:
            audit.record("store_available")
            LOG.warning("the store of revocations is available again")
        self.problem = None

    async def _open(self) -> None:
        """Start to follow the store, at the first decision that needs it.

        Raises:
            Unavailable: it was closed.
        """
        # The task ends with its event loop: a thread may have asked first, on a loop of its own.
        if (self._following is None or self._following.done()) and not self._closed:
            self._first = self._background.event()
            self._following = self._background.task(self._follow(self._first))
        if self._first is not None and not self._first.is_set():
            await self._first.wait()
        self._check_open()

    async def _follow(self, first: Event) -> None:
        assert self._store is not None
        opened = False
        while True:
            try:
                if not opened:
                    await self._background.on_loop(_in_time(self._store.open))
                    opened = True
                self._nap.begin()
                await self._poll_once()
            except Exception as error:  # of whatever the application uses as its store; it is asked again
                self._failed(error)
            first.set()
            if self.problem is None and self._cleanup is not None:
                await self._background.on_loop(_clean(self._cleanup, self._clock.now()))
            spread = 1.0 if self.problem is None else random.uniform(0.5, 1.0)  # noqa: S311 - no secret
            await self._background.on_loop(self._nap.take(POLL_SECONDS * spread))

    async def close(self) -> None:
        """Stop following the store, and close it. Later checks fail."""
        self._closed = True
        await self.writer.close()
        if self._following is None:
            return
        assert self._store is not None
        assert self._first is not None
        under_way = [task for task in (self._following, self._polling) if task is not None]
        for task in under_way:
            task.cancel()
        await self._background.wait(under_way)
        self._following = None
        if self._cleanup is not None:
            await self._background.on_loop(self._cleanup.close())
        self._first.set()  # a decision may wait for it
        try:
            await self._background.on_loop(_in_time(self._store.close))
        except Unavailable as error:
            LOG.warning("could not close the store of revocations (%s)", error)


def _reading(store: RevocationStore) -> tuple[Read, Wait | None]:
    """Return what reads a part of a store, and what waits for more; None if the store cannot wait."""
    read: Read | None = getattr(store, "read", None)
    if read is not None:
        return read, getattr(store, "wait", None)

    async def since(position: int) -> JournalPart:
        found, end = await store.since(position)
        return JournalPart(found, end, more=bool(found))

    return since, None


async def _clean(cleanup: Cleanup, now: float) -> None:
    cleanup.start_if_due(now)


async def _in_time(ask: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **options: P.kwargs) -> T:
    """Ask the store, and wait for a limited time. If this is cancelled before it begins, the store is not asked.

    Raises:
        ConfigError: the store cannot save this name.
        Unavailable: the store took too long, or failed in another way.
    """
    return await answer_within(ask(*args, **options), STORE_SECONDS, passes=(Unavailable, ConfigError))
