"""Revocations that outlast the process and come from others: a store behind the guard, reachable or not."""

from __future__ import annotations

import asyncio

import pytest
from support.store import ScriptedStore
from support.world import Gate

from roomkey import Policy
from roomkey.core.revocations import Revocation
from roomkey.errors import Unavailable
from roomkey.guard import revocation_sync
from roomkey.socketio import Authenticate
from roomkey.stores.revocations import MemoryRevocations


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


async def test_what_was_there_before_the_first_connection_counts_for_it(offline):
    server = offline(revocations=ScriptedStore(Revocation("token", "t1")))
    assert "jwt revoked" in (await connects(server, server.token(token_id="t1")))[0]
    assert (await connects(server, server.token(token_id="t2")))[0].startswith("0")


@pytest.mark.parametrize(
    "names", [{"token_id": "t1"}, {"session_id": "s1"}, {"subject": "ada"}, {"subject": "ada", "issuer": None}], ids=str
)
async def test_what_another_process_revokes_ends_sockets_within_a_poll(offline, names):
    journal = MemoryRevocations()  # two guards of one process stand for two processes
    here, there = offline(revocations=journal), offline(revocations=journal)
    client = await here.member(token_id="t1", session_id="s1")
    other = await here.member("eve")
    assert await there.guard.revoke(**names) == 0
    assert not client.session.closed
    await here.guard._revoking.poll()
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
    await server.guard._revoking.poll()


@FAULTS
async def test_a_store_out_of_reach_refuses_new_ones_and_keeps_the_others(offline, fault):
    store = ScriptedStore()
    server = offline(revocations=store)
    client = await server.member(expires_in=100, rooms=["red"])
    assert server.guard.problem is None
    await gone(server, store, fault)
    [refusal] = await connects(server, server.token("eve"))
    assert '"temporarily_unavailable"' in refusal
    assert '"retry":true' in refusal.replace(" ", "")
    assert "out of reach" in server.guard.problem
    client.begin_event("join-room", "red", ack=1)
    await server.settle()
    assert client.answered(1) == [{"ok": True}]
    await server.tick(10)
    client.begin_event("authenticate", {"token": server.token(expires_in=100)}, ack=2)  # fails closed, and stays
    await server.settle()
    assert client.answered(2)[0]["error"]["reason"] == "temporarily_unavailable"
    store.come_back()
    await server.guard._revoking.poll()
    assert server.guard.problem is None
    assert (await connects(server, server.token("eve")))[0].startswith("0")
    assert not client.session.closed


@FAULTS
async def test_one_that_is_away_from_the_beginning(offline, fault):
    store = ScriptedStore(Revocation("token", "t1"))
    server = offline(revocations=store)
    store.fault = Unavailable("x") if fault == "raises" else asyncio.Event()
    assert "temporarily_unavailable" in (await connects(server, server.token()))[0]
    store.come_back()
    await server.guard._revoking.poll()
    assert "jwt revoked" in (await connects(server, server.token(token_id="t1")))[0]


@FAULTS
async def test_where_asked_to_it_admits_on_what_is_known(offline, fault):
    store = ScriptedStore(Revocation("token", "t1"))
    server = offline(revocations=store, when_store_fails="admit")
    await server.member()
    await gone(server, store, fault)
    assert (await connects(server, server.token("eve")))[0].startswith("0")
    assert "jwt revoked" in (await connects(server, server.token("eve", token_id="t1")))[0]
    assert server.guard.problem is not None


@FAULTS
async def test_a_revocation_that_is_not_kept_ends_the_sockets_and_says_so(offline, fault):
    store = ScriptedStore()
    server = offline(revocations=store)
    client = await server.member()
    await gone(server, store, fault)
    with pytest.raises(Unavailable):
        await server.guard.revoke(subject="ada")
    await server.settle()
    assert client.session.closed
    store.come_back()
    assert await server.guard.revoke(subject="ada") == 0  # asked again, as the error says
    assert [entry.name for entry in store.entries] == ["ada"]


async def test_with_authenticate_a_store_out_of_reach_refuses_too(offline):
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
    await server.guard._revoking.poll()
    client.begin_event("authenticate", {"token": server.token()}, ack=2)
    await server.settle()
    assert client.answered(2) == [{"expires_in": 900}]


async def test_a_decision_under_way_loses_against_what_a_poll_brings(offline):
    gate, policy, store = Gate(), Policy(), ScriptedStore()
    policy.namespace("/")(gate)
    server = offline(policy=policy, revocations=store)
    client = await server.client()
    client.begin_connect(server.token(token_id="t1"))
    await asyncio.wait_for(gate.reached.wait(), 20)
    store.entries.append(Revocation("token", "t1"))
    await server.guard._revoking.poll()
    gate.open.set()
    await server.settle()
    assert "jwt revoked" in client.got[0]


async def test_close_ends_the_polling_and_closes_the_store(offline):
    store = ScriptedStore()
    server = offline(revocations=store)
    await server.member()
    await server.guard.close()
    assert store.calls[-1] == "close"
    assert server.guard._revoking._following is None


@pytest.mark.parametrize("engine", ["hub"])  # python-socketio has none: guard.close() is it
async def test_the_hubs_own_close_does_so_too(offline):
    store = ScriptedStore()
    server = offline(revocations=store)
    await server.member()
    await server.sio.close()
    assert store.calls[-1] == "close"
