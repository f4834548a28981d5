"""Security checklist, group G, for connected sockets: a revoked token admits nobody and keeps nobody connected."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from contextlib import suppress

import pytest
from support.live import Poll, until
from support.offline import Offline, offline, turns
from support.scripted_revocations import ScriptedStore
from support.world import BOTH, Gate, clock, make_world
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from roomkey import Identity, Policy
from roomkey.core.admission import AdmissionState
from roomkey.core.revocations import SLOT, Revocation, Revocations
from roomkey.guard import revocation_sync
from roomkey.socketio import Authenticate

__all__ = ["clock", "make_world", "offline"]


async def gone(server: Offline, client) -> bool:
    """Return True if a client is disconnected and its transport closed."""
    await server.settle()
    return client.session.closed and server.admission(client) is None


@pytest.mark.checklist("G102")
@BOTH
async def test_logout_ends_one_login_session_only(offline):
    server = offline()
    login = {"session_id": "login 1"}
    here, there = await server.member("ada", **login), await server.member("ada", **login)
    other, eve = await server.member("ada", session_id="login 2"), await server.member("eve", session_id="login 3")
    await server.tick(10)
    renewed = server.token("ada", **login)
    assert await server.guard.revoke(session_id="login 1") == 2
    assert await server.guard.revoke(session_id="login 1") == 0
    here.begin_event("join-room", "red", ack=1)
    assert await gone(server, here)
    assert await gone(server, there)
    assert here.answered(1) == []
    assert [told["data"]["reason"] for told in here.heard("unauthorized")] == ["token_revoked"]
    for token in (renewed, server.token("ada", **login)):
        client = await server.client()
        client.begin_connect(token)
        assert "jwt revoked" in str(await client.settle())
    other.begin_event("authenticate", {"token": renewed}, ack=2)  # nor does a live socket become that login's
    await server.settle()
    assert other.answered(2)[0]["error"]["reason"] == "token_revoked"
    assert all(server.admission(one).admitted for one in (other, eve))


@pytest.mark.checklist("G103")
@BOTH
async def test_poll_request_after_a_revocation_reaches_no_handler(make_world):
    """Whatever its response is: a client of the hub gets ``ok``, and then fetches the reason."""
    world = await make_world()
    heard: list[object] = []
    world.sio.on("say", lambda sid, data: heard.append(data))
    poll = await Poll.member(world.host, world.token("ada"))
    await poll.post('42["say","before"]')
    await until(lambda: heard)
    assert await world.guard.revoke(subject="ada") == 1
    await poll.post('42["say",1]', '42["say",2]')
    await poll.post("40" + json.dumps({"token": world.token("eve")}))
    await poll.post('42["say",3]')
    await world.settle()
    assert heard == ["before"]
    assert world.is_empty
    await poll.close()


@pytest.mark.checklist("G103")
@BOTH
@pytest.mark.parametrize("names", [{"token_id": "t"}, {"session_id": "s"}, {"subject": "ada"}], ids=str)
@pytest.mark.parametrize("place", ["rule", "connect handler", "authenticate", "refresh", "room of a refresh"])
async def test_revocation_between_verification_and_admission_refuses(offline, names, place):
    gate, policy = Gate(), Policy()
    rule = policy.namespace("/") if place in ("rule", "authenticate", "refresh") else lambda rule: rule
    rule(gate)
    policy.room("{room}")(gate if place == "room of a refresh" else lambda who, room: True)
    server = offline(policy=policy, **({"via": Authenticate()} if place == "authenticate" else {}))
    if place == "connect handler":

        @server.sio.on("connect")
        async def handler(sid, environ, auth):
            await gate(None)

    client = await server.client()
    if "refresh" in place:
        gate.open.set()
        client.begin_connect(server.token(session_id="old", token_id="old"))
        await client.settle()
        client.begin_event("join-room", "red")
        await client.settle()
        assert server.members("red") == {server.sid(client)}
        gate.open.clear()
        gate.reached.clear()
        await server.tick(10)
    token = server.token(token_id="t", session_id="s")
    if place in ("rule", "connect handler"):
        client.begin_connect(token)
    else:
        if place == "authenticate":
            client.begin_connect(None)
            await client.settle()
        client.begin_event("authenticate", {"token": token})
    await asyncio.wait_for(gate.reached.wait(), 20)
    await server.guard.revoke(**names)
    gate.open.set()
    await server.settle()
    admission = server.admission(client)
    if place == "authenticate":  # a refused token is an attempt; there are others
        assert admission.state is AdmissionState.PENDING
        assert client.heard("authenticated") == []
    elif "refresh" in place and names != {"subject": "ada"}:
        assert admission.identity.token_id == "old"  # the old token was not revoked, and the new one never counted
        assert [told["data"]["reason"] for told in client.heard("unauthorized")] == ["token_revoked"]
    else:
        assert admission is None
        assert client.session.closed
        assert server.members("red") == set()


@pytest.mark.checklist("G103")
@BOTH
async def test_revocation_during_an_upgrade_disconnects(make_world):
    """The probe was answered and the upgrade is not complete: the session ends on both transports."""
    world = await make_world()
    poll = await Poll.member(world.host, world.token())
    async with connect(f"ws://{world.host}/socket.io/?EIO=4&transport=websocket&sid={poll.sid}") as ws:
        await ws.send("2probe")
        assert await ws.recv() == "3probe"
        assert await world.guard.revoke(subject="ada") == 1
        with suppress(ConnectionClosed):
            await ws.send("5")
        await until(lambda: not world.guard.index.connections and world.is_empty)
        await asyncio.wait_for(ws.wait_closed(), 20)
    status, body = await poll.answer()  # the hub keeps for a while what it said last
    assert status == 400 or "token_revoked" in body
    assert (await poll.answer())[0] == 400
    await poll.close()


@pytest.mark.checklist("G103", "J6")
@BOTH
@pytest.mark.parametrize("fault", ["raises", "hangs"])
async def test_revocation_during_a_store_failover_is_caught_up(offline, fault, monkeypatch):
    """Another process revokes while the store is unavailable: new clients are refused, sockets end afterwards."""
    monkeypatch.setattr(revocation_sync, "STORE_SECONDS", 0.02)
    gate, policy, store = Gate(), Policy(), ScriptedStore()
    policy.namespace("/")(gate)
    server = offline(policy=policy, revocations=store)
    gate.open.set()
    live = await server.member(token_id="live")
    gate.open.clear()
    gate.reached.clear()
    deciding = await server.client()
    deciding.begin_connect(server.token(token_id="deciding"))
    await asyncio.wait_for(gate.reached.wait(), 20)
    if fault == "raises":
        store.go_away()
    else:
        store.fault = asyncio.Event()
    await server.guard._revocation_sync.poll()
    late = await server.client()
    late.begin_connect(server.token(token_id="late"))
    assert "temporarily_unavailable" in str(await late.settle())
    store.entries += [Revocation("token", name) for name in ("live", "deciding", "late")]
    store.come_back()
    await server.guard._revocation_sync.poll()
    gate.open.set()
    assert all([await gone(server, client) for client in (live, deciding, late)])


@pytest.mark.checklist("G104")
@BOTH
@pytest.mark.parametrize(("revoked_at", "issued_at", "in_"), [(0.9, 0.1, False), (0.1, 0.9, False), (0.9, 1.0, True)])
async def test_tokens_of_the_same_second_are_revoked(offline, revoked_at, issued_at, in_):
    server = offline()
    start = server.clock.time
    server.clock.time = start + revoked_at
    await server.guard.revoke(subject="ada")
    server.clock.time = start + issued_at
    client = await server.client()
    client.begin_connect(server.token())
    packets = await client.settle()
    assert packets[0].startswith("0" if in_ else "4"), packets


@pytest.mark.checklist("G105")
def test_revocation_entry_is_deleted_after_expiry_and_margin():
    revocations = Revocations(margin=60)
    for number in range(1000):
        revocations.add(Revocation("token", str(number), expires_at=1000.0 + number), 0)
    for now in (1059.0, 1300.0, 2059.0 + 2 * SLOT):
        revocations.forget_expired(now)
        assert all(revocations.is_revoked(Identity("a", token_id=str(n))) for n in range(1000) if 1060 + n > now)
        assert len(revocations) <= max(0, 2060 - now + 2 * SLOT)
    assert (len(revocations), revocations._slots) == (0, {})


@pytest.mark.checklist("G105")
def test_million_revocations_fit_in_memory_and_none_is_a_token():
    """100 000 are measured, so that ten times as many take less than 600 MB."""
    tracemalloc.start()
    revocations = Revocations()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(100_000):
        revocations.add(Revocation("token", f"jti-{number:032d}", "https://login.example", expires_at=1e6 + number), 0)
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert 10 * used < 600 * 2**20
    assert next(iter(revocations._until["token"])) == ("https://login.example", f"jti-{0:032d}")


@pytest.mark.checklist("G105")
@BOTH
async def test_revocations_are_keyed_by_id_and_issuer(offline):
    server = offline()
    token = server.token(token_id="t1", session_id="s1")
    client = await server.client()
    client.begin_connect(token)
    await client.settle()
    for names in ({"token_id": "t1"}, {"session_id": "s1"}, {"subject": "ada"}):
        await server.guard.revoke(**names, issuer="https://login.example")
    assert not any(part in repr(server.guard._revocation_sync.revocations) for part in token.split("."))


@BOTH
@pytest.mark.parametrize("names", [{"token_id": "t-ada"}, {"session_id": "s-ada"}, {"subject": "ada"}], ids=str)
async def test_revocation_among_200_active_sockets_ends_only_its_own(offline, names):
    """Of 200 active sockets exactly the revoked ones end, and nothing reaches them afterwards."""
    server = offline()

    @server.sio.event
    async def say(sid, text):
        await server.sio.emit("said", text)

    people = [f"user {number}" for number in range(190)] + ["ada"] * 10
    clients = [
        await server.member(name, **({"token_id": "t-ada", "session_id": "s-ada"} if name == "ada" else {}))
        for name in people
    ]
    for client in clients[::20]:
        client.begin_event("say", "before")
    ending = asyncio.ensure_future(server.guard.revoke(**names))
    await turns(2)
    for client in clients[1::20]:
        client.begin_event("say", "after")
    assert await ending == 10
    await server.settle()
    ended = [client.session.closed for client in clients]
    assert ended == [name == "ada" for name in people]
    assert all(client.heard("said").count("after") == 10 for client in clients[:190])
    assert not any("after" in client.heard("said") for client in clients[190:])
