"""Revocations that survive the process and come from other processes: a store behind the guard, available or not."""

from __future__ import annotations

import asyncio

import pytest
from support.scripted_revocations import ScriptedStore
from support.world import Gate

from roomkey import Policy
from roomkey.core.revocations import Revocation
from roomkey.errors import Unavailable
from roomkey.guard import revocation_sync
from roomkey.socketio import Authenticate
from roomkey.stores import MemoryRevocations


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(revocation_sync, "STORE_SECONDS", 0.05)


async def connects(server, token) -> list[str]:
    client = await server.client()
    client.begin_connect(token)
    async with asyncio.timeout(20):
        while not (packets := await client.settle()):
            await asyncio.sleep(0.005)
    return packets


async def test_earlier_revocation_refuses_the_first_connection(offline):
    server = offline(revocations=ScriptedStore(Revocation("token", "t1")))
    assert "jwt revoked" in (await connects(server, server.token(token_id="t1")))[0]
    assert (await connects(server, server.token(token_id="t2")))[0].startswith("0")


@pytest.mark.checklist("J6")
@pytest.mark.parametrize(
    "names", [{"token_id": "t1"}, {"session_id": "s1"}, {"subject": "ada"}, {"subject": "ada", "issuer": None}], ids=str
)
async def test_revocation_of_another_process_disconnects_within_a_poll(offline, names):
    journal = MemoryRevocations()  # two guards in one process represent two processes
    here, there = offline(revocations=journal), offline(revocations=journal)
    client = await here.member(token_id="t1", session_id="s1")
    other = await here.member("eve")
    assert await there.guard.revoke(**names) == 0
    assert not client.session.closed
    await here.guard._revocation_sync.poll()
    await here.settle()
    assert [told["data"]["reason"] for told in client.heard("unauthorized")] == ["token_revoked"]
    assert client.session.closed
    assert not other.session.closed


FAULTS = pytest.mark.parametrize("fault", ["raises", "hangs"])


async def gone(server, store, fault):
    if fault == "raises":
        store.go_away()
    else:
        store.fault = asyncio.Event()
    await server.guard._revocation_sync.poll()


@pytest.mark.checklist("H110")
@FAULTS
async def test_unavailable_store_refuses_new_and_keeps_connected_sockets(offline, fault):
    store = ScriptedStore()
    server = offline(revocations=store)
    client = await server.member(expires_in=100, rooms=["red"])
    assert server.guard.problem is None
    await gone(server, store, fault)
    [refusal] = await connects(server, server.token("eve"))
    assert '"temporarily_unavailable"' in refusal
    assert '"retry":true' in refusal.replace(" ", "")
    assert "unavailable" in server.guard.problem
    client.begin_event("join-room", "red", ack=1)
    await server.settle()
    assert client.answered(1) == [{"ok": True}]
    await server.tick(10)
    client.begin_event("authenticate", {"token": server.token(expires_in=100)}, ack=2)  # fails closed, and stays
    await server.settle()
    assert client.answered(2)[0]["error"]["reason"] == "temporarily_unavailable"
    store.come_back()
    await server.guard._revocation_sync.poll()
    assert server.guard.problem is None
    assert (await connects(server, server.token("eve")))[0].startswith("0")
    assert not client.session.closed


@pytest.mark.checklist("H110")
@FAULTS
async def test_store_unavailable_from_the_start_refuses(offline, fault):
    store = ScriptedStore(Revocation("token", "t1"))
    server = offline(revocations=store)
    store.fault = Unavailable("x") if fault == "raises" else asyncio.Event()
    assert "temporarily_unavailable" in (await connects(server, server.token()))[0]
    store.come_back()
    await server.guard._revocation_sync.poll()
    assert "jwt revoked" in (await connects(server, server.token(token_id="t1")))[0]


@FAULTS
async def test_guard_can_admit_with_an_unavailable_store(offline, fault):
    store = ScriptedStore(Revocation("token", "t1"))
    server = offline(revocations=store, when_store_fails="admit")
    await server.member()
    await gone(server, store, fault)
    assert (await connects(server, server.token("eve")))[0].startswith("0")
    assert "jwt revoked" in (await connects(server, server.token("eve", token_id="t1")))[0]
    assert server.guard.problem is not None


@pytest.mark.checklist("I124")
@FAULTS
async def test_unsaved_revocation_disconnects_and_raises(offline, fault):
    store = ScriptedStore()
    server = offline(revocations=store)
    client = await server.member()
    await gone(server, store, fault)
    with pytest.raises(Unavailable):
        await server.guard.revoke(subject="ada")
    await server.settle()
    assert client.session.closed
    store.come_back()
    assert await server.guard.revoke(subject="ada") == 0  # repeated, as the error says
    assert [entry.name for entry in store.entries] == ["ada"]


@pytest.mark.checklist("H110")
async def test_unavailable_store_refuses_authenticate(offline):
    store = ScriptedStore()
    server = offline(revocations=store, via=Authenticate())
    client = await server.client()
    client.begin_connect(None)
    await server.settle()
    store.go_away()
    client.begin_event("authenticate", {"token": server.token()}, ack=1)
    await server.settle()
    assert client.answered(1)[0]["error"]["reason"] == "temporarily_unavailable"
    store.come_back()
    await server.guard._revocation_sync.poll()
    client.begin_event("authenticate", {"token": server.token()}, ack=2)
    await server.settle()
    assert client.answered(2) == [{"expires_in": 900}]


@pytest.mark.checklist("G103")
async def test_revocation_from_a_poll_refuses_a_pending_decision(offline):
    gate, policy, store = Gate(), Policy(), ScriptedStore()
    policy.namespace("/")(gate)
    server = offline(policy=policy, revocations=store)
    client = await server.client()
    client.begin_connect(server.token(token_id="t1"))
    await asyncio.wait_for(gate.reached.wait(), 20)
    store.entries.append(Revocation("token", "t1"))
    await server.guard._revocation_sync.poll()
    gate.open.set()
    await server.settle()
    assert "jwt revoked" in client.got[0]


async def test_close_stops_polling_and_closes_the_store(offline):
    store = ScriptedStore()
    server = offline(revocations=store)
    await server.member()
    await server.guard.close()
    assert store.calls[-1] == "close"
    assert server.guard._revocation_sync._following is None


@pytest.mark.parametrize("engine", ["hub"])  # python-socketio has no close(): guard.close() takes its place
async def test_hub_close_stops_polling_and_closes_the_store(offline):
    store = ScriptedStore()
    server = offline(revocations=store)
    await server.member()
    await server.sio.close()
    assert store.calls[-1] == "close"
