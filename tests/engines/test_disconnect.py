"""``guard.disconnect(subject=…)``: all sockets of a subject end on every server; its tokens stay valid."""

from __future__ import annotations

import pytest
from support.losable_journal import LosableMemory, SharedJournal

from roomkey.errors import ConfigError, Unavailable
from roomkey.guard import journal_repair
from roomkey.guard.disconnects import KEPT_SECONDS, SKEW_SECONDS
from roomkey.stores import MemoryRevocations


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(journal_repair, "WRITE_BACK_SECONDS", 0.0)


async def read(*servers):
    for server in servers:
        for _ in range(2):  # the first one may have begun before
            await server.guard._revocation_sync._poll_once()
        await server.settle()


async def test_disconnect_sends_disconnect_and_keeps_the_token_valid(offline):
    server = offline()
    token = server.token()
    first, eve = await server.client(), await server.member("eve")
    first.begin_connect(token)
    await server.settle()
    assert await server.guard.disconnect(subject="ada") == 1
    await server.settle()
    assert first.got[-1] == "1"  # DISCONNECT: the client does not return automatically
    assert first.heard("unauthorized") == []
    assert first.session.closed
    assert not eve.session.closed
    again = await server.client()
    again.begin_connect(token)
    assert (await again.settle())[0].startswith("0")
    assert await server.guard.disconnect(subject="nobody") == 0


async def test_disconnect_calls_the_disconnect_handler_once(offline):
    server = offline()
    reasons = []

    @server.sio.on("disconnect")
    async def gone(sid, reason="server disconnect"):  # python-socketio 5.11 passes none
        reasons.append(reason)

    await server.member()
    await server.guard.disconnect(subject="ada")
    await server.settle()
    assert reasons == ["server disconnect"]


@pytest.mark.parametrize("subject", ["", "a\nb", 7])
async def test_disconnect_rejects_invalid_subjects(offline, subject):
    with pytest.raises(ConfigError):
        await offline().guard.disconnect(subject=subject)


@pytest.mark.parametrize("journal", ["losable", "memory"])
async def test_disconnect_reaches_other_servers_once(offline, journal):
    memory, shared = MemoryRevocations(), SharedJournal()
    stores = [memory, memory] if journal == "memory" else [LosableMemory(shared), LosableMemory(shared)]
    here, there = (offline(revocations=store) for store in stores)
    client = await there.member()
    assert await here.guard.disconnect(subject="ada") == 0
    await read(here, there)
    assert client.got[-1] == "1"
    assert client.session.closed
    again = await there.member()
    await read(there)
    assert not again.session.closed
    shared.flush()
    await read(here, there)
    assert not again.session.closed
    assert await there.guard.disconnect(subject="ada") == 1


async def test_disconnect_that_is_read_late_spares_later_connections(offline):
    shared = SharedJournal()
    cut_off = LosableMemory(shared)
    here = offline(revocations=LosableMemory(shared))
    there = offline(revocations=cut_off, when_store_fails="admit")  # otherwise it reads before it admits
    before = await there.member()
    cut_off.is_cut_off = True
    await here.guard.disconnect(subject="ada")
    there.clock.advance(SKEW_SECONDS + 1)
    after = await there.member()
    cut_off.is_cut_off = False
    await read(there)
    assert [before.session.closed, after.session.closed] == [True, False]


async def test_disconnect_that_was_flushed_reaches_a_server_that_was_cut_off(offline):
    shared = SharedJournal()
    cut_off = LosableMemory(shared)
    here, there = offline(revocations=LosableMemory(shared)), offline(revocations=cut_off)
    client = await there.member()
    cut_off.is_cut_off = True
    await here.guard.disconnect(subject="ada")
    shared.flush()
    await read(here)
    cut_off.is_cut_off = False
    await read(there)
    assert client.session.closed


async def test_disconnect_that_is_not_saved_raises_and_is_saved_later(offline):
    shared = SharedJournal()
    journal = LosableMemory(shared)
    server = offline(revocations=journal)
    client = await server.member()
    journal.is_cut_off = True
    with pytest.raises(Unavailable):
        await server.guard.disconnect(subject="ada")
    await server.settle()
    assert client.session.closed
    journal.is_cut_off = False
    await server.guard._revocation_sync.writer._finish_one(("disconnect", None, "ada"))
    assert [(entry.kind, entry.name) for entry in shared.found] == [("disconnect", "ada")]


async def test_old_disconnect_is_forgotten(offline):
    server = offline()
    await server.guard.disconnect(subject="ada")
    server.clock.advance(KEPT_SECONDS + 1)
    await server.guard.disconnect(subject="eve")
    assert [entry.name for entry in server.guard._revocation_sync._disconnects.entries()] == ["eve"]
