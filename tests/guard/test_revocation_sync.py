"""Revocations here, in the store, and from the store: nothing that is known to one of them lets anybody stay."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time

import pytest
from support.clock import FakeClock
from support.live import until
from support.scripted_revocations import ScriptedStore

from roomkey import ConfigError, Identity, Issuer, Verifier
from roomkey.core.admission import AdmissionEvent, AdmissionState
from roomkey.core.credentials import Request
from roomkey.core.revocations import LONGEST_LIFETIME, MARGIN, SLOT, Revocation
from roomkey.errors import Unavailable
from roomkey.guard import revocation_sync
from roomkey.guard.guard import AsyncioGuard
from roomkey.guard.socket import ConnectionState, GuardedSocket
from roomkey.stores.cleanup import INTERVAL_SECONDS

BOTH_FAULTS = pytest.mark.parametrize("fault", ["raises", "hangs", "breaks"])


class SilentHost:
    """A host on which everything goes well."""

    sid = ""

    async def send_event(self, event, data):
        pass

    async def disconnect(self):
        pass

    def close(self, code):
        pass


class Bench:
    """Live sockets, and the revocations that end them."""

    def __init__(self, store=None, when_store_fails="refuse") -> None:
        verifier = Issuer.ephemeral().verifier()
        self.clock = FakeClock()
        settings = {"revocations": store, "when_store_fails": when_store_fails, "clock": self.clock}
        self.guard = AsyncioGuard(verifier, **settings)
        self.index = self.guard.index
        self.revoking = self.guard._revocation_sync

    def socket(self, subject: str, *, live: bool = True, **fields) -> GuardedSocket:
        number = len(self.index.sockets)
        connection = ConnectionState(self.guard._context, "192.0.2.7", Request(), SilentHost())
        self.index.open(connection)
        connection.sockets["/"] = socket = GuardedSocket(connection, "/", 1)
        socket.host, socket.sid, socket.connect_sent = SilentHost(), f"sid {number}", True
        self.index.sockets[socket.sid] = socket
        if live:
            socket.state = AdmissionState.ADMITTED
            self.index.identify(socket, Identity(subject, issued_at=int(self.clock.now()), issuer="me", **fields))
        return socket

    def revocation(self, **names) -> Revocation:
        return Revocation.of(**names, now=self.clock.now())

    async def revoke(self, *, everybody=False, **names) -> int:
        return await self.revoking.revoke(self.revocation(**names), everybody=everybody)


@pytest.fixture
async def bench():
    """``bench(store, …)``; its polling ends with the test."""
    made = []

    def make(store=None, **settings) -> Bench:
        made.append((Bench(store, **settings), store))
        return made[-1][0]

    yield make
    for one, store in made:
        if store is not None:
            store.come_back()
        await one.revoking.close()
        await one.guard.background.settle()


def break_down(store: ScriptedStore, fault: str, monkeypatch) -> None:
    monkeypatch.setattr(revocation_sync, "STORE_SECONDS", 0.02)
    store.fault = {"raises": Unavailable("x"), "hangs": asyncio.Event(), "breaks": OSError("disk")}[fault]


@pytest.mark.parametrize(
    ("names", "ended"),
    [
        ({"token_id": "t1"}, {"ada 1"}),
        ({"token_id": "t1", "issuer": "me"}, {"ada 1"}),
        ({"token_id": "t1", "issuer": "other"}, set()),
        ({"session_id": "s1"}, {"ada 1", "ada 2"}),
        ({"subject": "ada"}, {"ada 1", "ada 2"}),
        ({"subject": "ada", "issuer": "other"}, set()),
        ({"subject": "ada", "issued_before": 1.8e9 - 1}, set()),
        ({"subject": "nobody"}, set()),
    ],
    ids=lambda value: str(sorted(value)),
)
async def test_revoke_ends_the_matching_sockets_and_counts_them(bench, names, ended):
    one = bench()
    sockets = {
        "ada 1": one.socket("ada", token_id="t1", session_id="s1"),
        "ada 2": one.socket("ada", token_id="t2", session_id="s1"),
        "eve": one.socket("eve", token_id="t3", session_id="s3"),
        "unknown": one.socket("ada", live=False),
        "gone": one.socket("ada", token_id="t1", session_id="s1"),
    }
    sockets["gone"].handle(AdmissionEvent.GONE)
    assert await one.revoke(**names) == len(ended)
    assert {name for name, socket in sockets.items() if not socket.live} == ended | {"gone"}
    assert await one.revoke(**names) == 0  # twice is fine


async def test_revoking_everybody_includes_tokens_from_a_fast_clock(bench):
    one = bench()
    ahead = one.socket("ada")
    ahead.identity = Identity("ada", issued_at=one.clock.now() + 20)
    assert await one.revoke(subject="ada") == 0
    assert await one.revoke(subject="ada", everybody=True) == 1


@pytest.mark.parametrize("names", [{"token_id": ""}, {"session_id": ""}, {"subject": ""}], ids=str)
async def test_revocation_does_not_match_a_missing_name(bench, names):
    """``revoke(subject=request.get("sub", ""))`` would cancel every guest."""
    with pytest.raises(ConfigError):
        await bench().revoke(**names)


def test_when_store_fails_rejects_other_values():
    with pytest.raises(ConfigError):
        Bench(ScriptedStore(), when_store_fails="allow")


# From the store


async def test_existing_entries_apply_to_the_first_decision(bench):
    one = bench(ScriptedStore(Revocation("token", "t1")))
    await one.revoking.check()
    assert one.revoking.revocations.is_revoked(Identity("ada", token_id="t1"))


async def test_poll_ends_sockets_that_another_process_revokes(bench):
    store = ScriptedStore()
    one = bench(store)
    await one.revoking.check()
    ada, eve = one.socket("ada", token_id="t1"), one.socket("eve", token_id="t2")
    store.entries.append(one.revocation(token_id="t1"))
    await one.revoking.poll()
    assert [ada.live, eve.live] == [False, True]
    await one.revoking.poll()  # nothing new, and nothing is read twice
    assert len(one.revoking.revocations) == 1


async def test_store_is_polled_automatically(bench, monkeypatch):
    monkeypatch.setattr(revocation_sync, "POLL_SECONDS", 0.001)
    store = ScriptedStore()
    one = bench(store)
    await one.revoking.check()
    ada = one.socket("ada", token_id="t1")
    store.entries.append(one.revocation(token_id="t1"))
    await until(lambda: not ada.live)


async def test_own_revocation_is_saved_and_not_applied_twice(bench):
    store = ScriptedStore()
    one = bench(store)
    ada = one.socket("ada")
    assert await one.revoke(subject="ada") == 1
    assert [(entry.kind, entry.name) for entry in store.entries] == [("subject", "ada")]
    epoch = one.revoking.revocations.epoch
    await one.revoking.poll()
    assert one.revoking.revocations.epoch == epoch
    assert not ada.live


# The age of what is known


@pytest.fixture
def rarely(monkeypatch) -> None:
    """It does not poll by itself while a test looks."""
    monkeypatch.setattr(revocation_sync, "POLL_SECONDS", 3600.0)


async def test_decision_polls_first_after_a_second(bench, rarely):
    store = ScriptedStore()
    one = bench(store)
    await one.revoking.check()
    store.entries.append(Revocation("token", "t1"))
    one.clock.advance(revocation_sync.FRESH_SECONDS)
    await one.revoking.check()
    assert len(one.revoking.revocations) == 0
    one.clock.advance(0.01)
    await one.revoking.check()
    assert one.revoking.revocations.is_revoked(Identity("ada", token_id="t1"))


@pytest.mark.checklist("I126")
@BOTH_FAULTS
async def test_store_that_fails_after_a_write_is_trusted_for_a_second(bench, rarely, fault, monkeypatch):
    """It is the age of the last answer that counts, and not only a question that failed."""
    store = ScriptedStore()
    one = bench(store)
    await one.revoking.check()
    break_down(store, fault, monkeypatch)
    one.clock.advance(revocation_sync.FRESH_SECONDS)
    await one.revoking.check()
    one.clock.advance(0.01)
    with pytest.raises(Unavailable):
        await one.revoking.check()


async def test_simultaneous_decisions_poll_once(bench, rarely):
    store = ScriptedStore()
    one = bench(store)
    await one.revoking.check()
    one.clock.advance(5)
    store.calls.clear()
    await asyncio.gather(*(one.revoking.check() for _ in range(50)))
    assert store.calls == ["since"]


async def test_poll_that_began_too_early_is_repeated(bench, rarely):
    store = ScriptedStore()
    one = bench(store)
    await one.revoking.check()
    store.fault = asyncio.Event()
    store.asked.clear()
    early = asyncio.create_task(one.revoking.poll())
    one.revoking._polling = early
    await store.asked.wait()
    one.clock.advance(5)
    late = asyncio.create_task(one.revoking.check())
    await asyncio.sleep(0)
    store.entries.append(Revocation("token", "t1"))
    store.calls.clear()
    store.come_back()
    await asyncio.gather(early, late)
    assert "since" in store.calls
    assert one.revoking.revocations.is_revoked(Identity("ada", token_id="t1"))


@pytest.mark.checklist("I126")
async def test_busy_process_refuses_no_connection(bench, rarely, monkeypatch):
    """An answer that is there counts, however late the event loop gets to it."""
    monkeypatch.setattr(revocation_sync, "STORE_SECONDS", 0.2)
    store = ScriptedStore()
    one = bench(store)
    await one.revoking.check()
    one.clock.advance(60)
    store.fault = asyncio.Event()
    store.asked.clear()
    waiting = asyncio.create_task(one.revoking.check())
    await store.asked.wait()
    asyncio.get_running_loop().call_soon(store.come_back)
    time.sleep(0.4)
    await waiting


# A store out of reach


@BOTH_FAULTS
async def test_unavailable_store_refuses_new_sockets_only_and_recovers(bench, fault, monkeypatch, caplog):
    store = ScriptedStore()
    one = bench(store)
    await one.revoking.check()
    ada = one.socket("ada", token_id="t1")
    break_down(store, fault, monkeypatch)
    store.entries.append(one.revocation(token_id="t1"))
    with caplog.at_level(logging.INFO, logger="roomkey.audit"):
        for _ in range(3):
            await one.revoking.poll()
            with pytest.raises(Unavailable) as caught:
                await one.revoking.check()
            assert ada.live
        assert caught.value.to_client()["retry"] is True
        assert "unavailable" in one.revoking.problem
        store.come_back()
        await one.revoking.poll()
    assert one.revoking.problem is None
    await one.revoking.check()
    assert not ada.live  # caught up
    events = [json.loads(entry.getMessage())["event"] for entry in caplog.records if entry.name == "roomkey.audit"]
    assert [name for name in events if name.startswith("store")] == ["store_unavailable", "store_available"]


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (
            Unavailable("the journal in Redis is unavailable (X); start Redis"),
            "the journal in Redis is unavailable (X); start Redis",
        ),
        (RuntimeError("hunter2"), "the store failed (RuntimeError)"),
    ],
)
async def test_problem_of_a_store_contains_the_reason_and_no_foreign_text(bench, error, why, caplog):
    store = ScriptedStore()
    one = bench(store)
    await one.revoking.check()
    store.fault = error
    await one.revoking.poll()
    assert one.revoking.problem == f"the store of revocations is unavailable: {why}"
    assert one.revoking.problem in caplog.text
    assert "hunter2" not in caplog.text


@BOTH_FAULTS
async def test_store_unavailable_at_startup_refuses_until_it_was_read(bench, fault, monkeypatch):
    monkeypatch.setattr(revocation_sync, "POLL_SECONDS", 0.001)
    store = ScriptedStore(Revocation("token", "t1"))
    break_down(store, fault, monkeypatch)
    one = bench(store)
    with pytest.raises(Unavailable):
        await one.revoking.check()
    store.come_back()
    await until(lambda: one.revoking.problem is None)
    await one.revoking.check()
    assert one.revoking.revocations.is_revoked(Identity("ada", token_id="t1"))
    assert store.calls.index("open") < store.calls.index("since")


@BOTH_FAULTS
async def test_admit_setting_decides_with_known_revocations(bench, fault, monkeypatch):
    store = ScriptedStore(Revocation("token", "t1"))
    one = bench(store, when_store_fails="admit")
    await one.revoking.check()
    break_down(store, fault, monkeypatch)
    await one.revoking.poll()
    await one.revoking.check()
    assert one.revoking.problem is not None
    assert one.revoking.revocations.is_revoked(Identity("ada", token_id="t1"))


@BOTH_FAULTS
@pytest.mark.parametrize("opened", [True, False])
async def test_unsaved_revocation_ends_sockets_and_raises(bench, fault, opened, monkeypatch):
    store = ScriptedStore()
    one = bench(store)
    if opened:
        await one.revoking.check()
    ada = one.socket("ada")
    break_down(store, fault, monkeypatch)
    with pytest.raises(Unavailable):
        await one.revoke(subject="ada")
    assert not ada.live
    assert one.revoking.revocations.is_revoked(Identity("ada"))
    assert store.entries == []


async def test_cancelled_revoke_still_ends_sockets(bench):
    store = ScriptedStore()
    one = bench(store)
    await one.revoking.check()
    ada = one.socket("ada")
    store.fault = asyncio.Event()
    store.asked.clear()
    task = asyncio.create_task(one.revoke(subject="ada"))
    await store.asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not ada.live


async def test_failed_cleanup_refuses_no_connection(bench, monkeypatch):
    """A replica that is read-only tells everything that is new: nobody need wait for its owner."""
    monkeypatch.setattr(revocation_sync, "POLL_SECONDS", 0.001)
    monkeypatch.setattr("roomkey.core.confirmed_time.STARTUP_SECONDS", 0.0)
    store = ScriptedStore()

    async def delete_expired(now):
        store.calls.append("delete_expired")
        raise OSError("read-only")

    store.delete_expired = delete_expired
    one = bench(store)
    await one.revoking.check()
    await until(lambda: store.calls.count("since") > 5)
    await one.revoking.check()
    assert one.revoking.problem is None
    assert store.calls.count("delete_expired") == 1
    one.clock.advance(INTERVAL_SECONDS + 1)
    await until(lambda: store.calls.count("delete_expired") == 2)


# The end


async def test_close_ends_polling_and_closes_the_store(bench):
    store = ScriptedStore()
    one = bench(store)
    await one.revoking.check()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert others
    await one.revoking.close()
    await one.revoking.close()
    assert store.calls.count("close") == 1
    assert not asyncio.all_tasks() - {asyncio.current_task()}


@pytest.mark.parametrize("used", [True, False])
async def test_closed_sync_does_not_open_the_store_again(bench, used):
    store = ScriptedStore()
    one = bench(store)
    if used:
        await one.revoking.check()
    await one.revoking.close()
    store.calls.clear()
    with pytest.raises(Unavailable):
        await one.revoking.check()
    assert await one.revoking.ready() == "the server is stopping"
    assert store.calls == []
    assert not asyncio.all_tasks() - {asyncio.current_task()}


async def test_close_refuses_decisions_that_wait_for_the_first_poll(bench):
    store = ScriptedStore()
    store.fault = asyncio.Event()
    one = bench(store)
    waiting = asyncio.create_task(one.revoking.check())
    await store.asked.wait()
    store.fault = None  # the call that hangs goes on hanging
    await one.revoking.close()
    with pytest.raises(Unavailable):
        await asyncio.wait_for(waiting, 20)


async def test_close_does_not_wait_for_a_store_that_hangs(bench, monkeypatch):
    store = ScriptedStore()
    one = bench(store)
    await one.revoking.check()
    break_down(store, "hangs", monkeypatch)
    await asyncio.wait_for(one.revoking.close(), 20)


@pytest.mark.parametrize(
    ("bounds", "lifetime"), [({"max_lifetime": 1000}, 1000), ({"max_age": 50}, 50), ({}, LONGEST_LIFETIME)], ids=str
)
async def test_guard_keeps_a_revocation_for_the_lifetime_of_a_token(bounds, lifetime):
    clock = FakeClock()
    verifier = Verifier.hs256(os.urandom(32), require=("exp", "sub", "iat"), **bounds)
    guard = AsyncioGuard(verifier, clock=clock)
    kept = guard._revocation_sync.revocations
    await guard.revoke(token_id="t")
    await guard.revoke(subject="ada")
    clock.advance(lifetime + MARGIN - 1)
    kept.forget_expired(clock.now())
    assert len(kept) == 2
    clock.advance(2 * SLOT)
    kept.forget_expired(clock.now())
    assert len(kept) == 0


async def test_store_is_not_asked_when_the_guard_closes_before():
    """A thread can cancel what another one has handed to the event loop."""
    asked = []

    async def since(position: int) -> None:
        asked.append(position)

    asking = asyncio.create_task(revocation_sync._in_time(since, 0))
    asking.cancel()
    await asyncio.wait({asking})
    assert asking.cancelled()
    assert asked == []
