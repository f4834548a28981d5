"""A server's own changes of rights, in a store without versions."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator, Sequence
from contextlib import suppress
from dataclasses import replace
from types import coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clock import FakeClock
from support.journals import JournalServer

from roomkey.core.revocations import HybridClock, Revocation
from roomkey.core.rights_overrides import RightsOverrides
from roomkey.errors import ConfigError, Unavailable
from roomkey.guard import revocation_sync, revocation_writer
from roomkey.guard.own_changes import Own, OwnChanges


class Versionless:
    """A store that returns entries without their versions, and with numbers that are not exactly the same.

    Attributes:
        entries: all of them.
        error: raised by :meth:`add`.
        may_store: what :meth:`add` waits for.
    """

    def __init__(self) -> None:
        self.entries: list[Revocation] = []
        self.error: Exception | None = None
        self.may_store = asyncio.Event()
        self.may_store.set()

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def delete_expired(self, now: float) -> None: ...

    async def add(self, revoked: Revocation) -> None:
        await self.may_store.wait()
        if self.error is not None:
            raise self.error
        self.entries.append(replace(revoked, version=None, issued_before=round(revoked.issued_before, 3)))

    async def since(self, position: int) -> tuple[Sequence[Revocation], int]:
        return self.entries[position:], len(self.entries)


@pytest.fixture
async def server(monkeypatch):
    monkeypatch.setattr(revocation_sync, "POLL_SECONDS", 3600.0)
    monkeypatch.setattr(revocation_writer, "RETRY_SECONDS", 0.0)
    made = JournalServer(Versionless(), clock=FakeClock(1_700_000_000.123456))
    await made.sync.check()
    yield made
    made.journal.may_store.set()
    await made.close()


def by_another(server: JournalServer, **rights: Any) -> None:
    now = server.guard.clock.now()
    server.journal.entries.append(Revocation("rights", "ada", None, now, now + 900, rights))


def rooms(server: JournalServer) -> Any:
    return server.guard._authorizer.changed.latest("ada").rooms


async def test_later_change_of_another_server_applies(server):
    await server.guard.update("ada", rooms=["ours"])
    by_another(server, rooms=["theirs"])
    await server.read()
    assert rooms(server) == ["theirs"]
    by_another(server, rooms=["next"])
    await server.read()
    assert rooms(server) == ["next"]


async def test_change_that_the_store_lost_does_not_hold_others(server):
    await server.guard.update("ada", rooms=["ours"])
    server.journal.entries.clear()
    by_another(server, rooms=["theirs"])
    await server.read()
    assert rooms(server) == ["theirs"]


async def test_change_applies_while_it_is_written(server):
    server.journal.may_store.clear()
    updating = asyncio.create_task(server.guard.update("ada", rooms=["ours"]))
    await asyncio.sleep(0)
    by_another(server, rooms=["theirs"])
    await server.read()
    assert rooms(server) == ["ours"]
    server.journal.may_store.set()
    await updating
    await server.read()
    assert rooms(server) == ["ours"]


async def test_change_applies_until_its_write_is_repeated(server):
    server.journal.error = Unavailable("down")
    with pytest.raises(Unavailable):
        await server.guard.update("ada", rooms=["ours"])
    by_another(server, rooms=["theirs"])
    await server.read()
    assert rooms(server) == ["ours"]
    server.journal.error = None
    while len(server.sync.writer):
        await asyncio.sleep(0)
    await server.read()
    assert rooms(server) == ["ours"]
    by_another(server, rooms=["theirs"])
    await server.read()
    assert rooms(server) == ["theirs"]


async def test_change_that_the_store_cannot_save_does_not_hold_others(server):
    server.journal.error = ConfigError("invalid name")
    with pytest.raises(ConfigError):
        await server.guard.update("ada", rooms=["ours"])
    by_another(server, rooms=["theirs"])
    await server.read()
    assert rooms(server) == ["theirs"]


@coroutine
def _pause(_: Revocation) -> Generator[None]:
    yield


class Process:
    """One of several processes on one store: steps of its writes and reads, in the order of the test."""

    def __init__(self, store: list[Revocation], name: str) -> None:
        self.store, self.clock = store, HybridClock(name)
        self.view, self.own = RightsOverrides(), OwnChanges(lambda change: False)
        self.position = 0
        self.latest: dict[str, str] = {}
        self.writes: list[tuple[Revocation, Coroutine[Any, Any, None]]] = []
        self.reading: tuple[Sequence[Own], list[Revocation]] | None = None

    def update(self, claim: str, value: str) -> None:
        change = Revocation("rights", "ada", None, 1.0, 9.0, {claim: [value]}, self.clock.next(1.0))
        self.view.follow(change, 0.0)
        write = self.own.write(change, _pause)  # type: ignore[arg-type]
        write.send(None)
        self.writes.append((change, write))

    def finish_write(self) -> None:
        if self.writes:
            change, write = self.writes.pop(0)
            self.store.append(replace(change, version=None))
            with suppress(StopIteration):
                write.send(None)

    def begin_read(self) -> None:
        if self.reading is None:
            self.reading = self.own.written(), self.store[self.position :]
            self.position = len(self.store)

    def finish_read(self) -> None:
        if self.reading is None:
            return
        (written, entries), self.reading = self.reading, None
        for entry in entries:
            if (change := self.own.applicable(entry)) is not None:
                self.view.follow(change, 0.0)
        for change in self.own.read_past(written):
            self.view.follow(change, 0.0)

    def now(self) -> dict[str, Any]:
        change = self.view.latest("ada")
        return {} if change is None else {"roles": list(change.roles or ()), "rooms": change.rooms or []}


STEPS = st.tuples(
    st.integers(0, 2), st.sampled_from(["roles", "rooms", "finish_write", "begin_read", "finish_read", "finish_read"])
)


@given(st.lists(STEPS, max_size=40))
def test_processes_agree_on_the_last_change_in_the_store(steps):
    store: list[Revocation] = []
    processes = [Process(store, name) for name in "abc"]
    for number, (index, step) in enumerate(steps):
        process = processes[index]
        if step in ("roles", "rooms"):
            process.update(step, str(number))
        else:
            getattr(process, step)()
        for one in processes:  # a change whose write is under way applies in its own process
            pending = {claim: value for change, _ in one.writes for claim, value in change.rights.items()}
            assert pending.items() <= one.now().items()
    for process in processes:
        while process.writes:
            process.finish_write()
    for process in processes:
        for _ in range(2):  # one read may be under way
            process.begin_read()
            process.finish_read()
    last = {claim: value for entry in store for claim, value in entry.rights.items()}
    for process in processes:
        assert {claim: value for claim, value in process.now().items() if value} == last
        assert process.own.written() == []
