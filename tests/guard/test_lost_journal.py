"""A journal that loses entries: servers notice, write back what they know, and admit nobody before."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
from support.clock import FakeClock
from support.journals import JournalServer
from support.losable_journal import LosableMemory, SharedJournal

from roomkey import Identity
from roomkey.core.revocations import HybridClock, Revocation, Version
from roomkey.errors import Unavailable
from roomkey.guard import journal_repair, revocation_sync


@pytest.fixture
async def servers(monkeypatch):
    """``servers(n)`` on one journal; they read it when the test says so, or when they are woken."""
    monkeypatch.setattr(revocation_sync, "POLL_SECONDS", 3600.0)
    monkeypatch.setattr(journal_repair, "WRITE_BACK_SECONDS", 0.0)
    clock, shared, made = FakeClock(), SharedJournal(), []

    def make(number: int) -> list[JournalServer]:
        made.extend(JournalServer(LosableMemory(shared), clock=clock) for _ in range(number))
        return made[-number:]

    yield make
    for one in made:
        one.journal.is_cut_off = False
        await one.close()


async def read(*all_of: JournalServer) -> None:
    for one in all_of:
        await one.read()


def roles(server: JournalServer, subject: str) -> tuple[str, ...] | None:
    change = server.guard._authorizer.changed.latest(subject)
    return None if change is None else change.roles


async def test_entries_of_a_flushed_journal_are_written_back_by_those_who_know_them(servers):
    one, two = servers(2)
    for number in range(5):
        await one.guard.revoke(token_id=f"t{number}")
    await one.guard.revoke(subject="eve")
    await one.guard.update("bob", roles=["member"], rooms={"red": ["join"]})
    await read(one, two)
    one.journal.shared.flush()
    await read(two, one)
    [fresh] = servers(1)
    await read(fresh)
    assert all(fresh.revoked("t0", "t1", "t2", "t3", "t4"))
    assert fresh.sync.revocations.is_revoked(Identity("eve", issued_at=int(fresh.guard.clock.now())))
    assert fresh.guard._authorizer.changed.latest("bob") == one.guard._authorizer.changed.latest("bob")
    assert len(one.journal.shared.entries) == 8  # the first wrote everything, rights in two entries


@pytest.mark.parametrize("newer", [0, 1, 4])
async def test_entries_of_a_lost_tail_are_written_back(servers, newer):
    one, two = servers(2)
    for number in range(4):
        await one.guard.revoke(token_id=f"t{number}")
    await read(one, two)
    one.journal.shared.lose_tail(2)
    for number in range(newer):  # they stand where the lost ones stood
        one.journal.shared.append(Revocation("token", f"new{number}"))
    await read(two)
    [fresh] = servers(1)
    await read(fresh)
    assert all(fresh.revoked("t0", "t1", "t2", "t3", *(f"new{number}" for number in range(newer))))


async def test_nobody_is_admitted_before_the_journal_was_read_and_written(servers, monkeypatch, caplog):
    one, two = servers(2)
    await one.guard.revoke(token_id="t1")
    await read(one)
    await one.sync.check()
    one.journal.shared.flush()
    two.journal.shared.append(Revocation("token", "new"))
    gate, add_all = asyncio.Event(), one.journal.add_all

    async def held(entries):
        await gate.wait()
        await add_all(entries)

    one.journal.add_all = held
    with caplog.at_level(logging.INFO, logger="roomkey.audit"):
        polling = asyncio.create_task(read(one))
        while one.revoked("new") != [True]:
            await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="restored"):
            await one.sync.check()
        gate.set()
        await polling
    await one.sync.check()
    events = [json.loads(entry.getMessage())["event"] for entry in caplog.records if entry.name == "roomkey.audit"]
    assert events == ["journal_lost", "store_available"]


async def test_restoring_goes_on_after_a_failed_write(servers):
    [one] = servers(1)
    await one.guard.revoke(token_id="t1")
    await read(one)
    one.journal.shared.flush()
    one.journal.loses_answers = True
    await one.sync._poll_once()
    one.journal.loses_answers = False
    await read(one)
    await one.sync.check()
    assert [entry.name for entry in one.journal.shared.found] == ["t1"]  # it was found, and not written twice


async def test_late_repeated_write_does_not_undo_a_newer_change(servers):
    one, two = servers(2)
    one.journal.loses_answers = True
    with pytest.raises(Unavailable):
        await one.guard.update("ada", roles=["first"])
    await read(two)
    await two.guard.update("ada", roles=["second"])
    one.journal.loses_answers = False
    await one.sync.writer._finish_one(("rights", None, "ada"))
    await read(one, two)
    assert [entry.rights["roles"] for entry in one.journal.shared.found] == [["first"], ["second"], ["first"]]
    assert [roles(one, "ada"), roles(two, "ada")] == [("second",), ("second",)]


async def test_change_after_one_from_a_fast_clock_applies(servers):
    one, two = servers(2)
    one.guard.clock.wrong_by = 5.0
    await one.guard.update("ada", roles=["first"])
    one.guard.clock.wrong_by = 0.0
    await read(two)
    await two.guard.update("ada", roles=["second"])
    await read(one, two)
    assert [roles(one, "ada"), roles(two, "ada")] == [("second",), ("second",)]


async def test_same_change_whose_repetition_was_lost_is_written_back(servers):
    """Otherwise the server that made it would prefer it to a later change of another server."""
    one, two = servers(2)
    one.sync.versions, two.sync.versions = HybridClock("b"), HybridClock("a")
    for _ in range(2):
        await one.guard.update("ada", roles=["first"])
    one.journal.shared.lose_tail(1)
    await read(one, two)
    await two.guard.update("ada", roles=["second"])
    await read(one, two)
    assert [roles(one, "ada"), roles(two, "ada")] == [("second",), ("second",)]


@pytest.mark.parametrize("decides", ["while the answer is under way", "after it"])
async def test_answer_counts_from_the_time_of_the_question(servers, decides):
    one, two = servers(2)
    await one.sync.check()
    asked, arrives = asyncio.Event(), asyncio.Event()

    async def under_way() -> None:
        asked.set()
        await arrives.wait()

    one.journal.under_way = under_way
    reading = asyncio.create_task(one.sync._poll_once())
    await asked.wait()
    one.journal.under_way = None
    await two.guard.revoke(token_id="t")
    one.guard.clock.advance(revocation_sync.FRESH_SECONDS + 0.1)
    if decides == "after it":
        arrives.set()
        await reading
        await one.sync.check()
    else:
        deciding = asyncio.create_task(one.sync.check())
        await asyncio.sleep(0)
        arrives.set()
        await deciding
    assert one.revoked("t") == [True]
    await reading


def test_hybrid_clock_is_later_than_what_it_saw():
    clock = HybridClock("b")
    assert clock.next(1.0) == Version(1_000_000, "b")
    assert clock.next(1.0) > Version(1_000_000, "b")
    clock.saw(Version(9_000_000, "a"))
    assert clock.next(2.0) == Version(9_000_001, "b")


async def test_wake_reads_the_store_now(servers):
    [one] = servers(1)
    await one.sync.check()
    one.journal.shared.append(Revocation("token", "t1"))
    one.guard.read_revocations()
    async with asyncio.timeout(20):
        while one.revoked("t1") != [True]:
            await asyncio.sleep(0)


async def test_store_that_waits_is_read_when_it_has_grown(servers):
    [one] = servers(1)
    await one.sync.check()
    await asyncio.sleep(0)
    one.journal.shared.append(Revocation("token", "t1"))
    async with asyncio.timeout(20):
        while one.revoked("t1") != [True]:
            await asyncio.sleep(0)


async def test_close_ends_what_waits_for_the_store(servers):
    [one] = servers(1)
    await one.sync.check()
    await asyncio.sleep(0)
    await one.sync.close()
    await asyncio.sleep(0)
    assert not asyncio.all_tasks() - {asyncio.current_task()}
