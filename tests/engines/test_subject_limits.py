"""Limits per subject across devices. A disconnected socket is not counted, however it was disconnected."""

from __future__ import annotations

import asyncio

import pytest
from support.world import Gate

from roomkey import Policy
from roomkey.core.subject_limits import SubjectLimits
from roomkey.socketio import Authenticate


def limit(what: str) -> dict[str, object]:
    return {
        "message": "limit exceeded",
        "code": "limit_exceeded",
        "type": "UnauthorizedError",
        "reason": "limit_exceeded",
        "limit": what,
    }


def counted(server, subject: str = "ada") -> int:
    use = server.guard._context.usage
    return sum(len(connections) for (_, name), connections in use._connections.items() if name == subject)


async def connects(server, subject: str = "ada", namespace: str = "") -> bool:
    client = await server.client()
    client.begin_connect(server.token(subject), namespace)
    await server.settle()
    assert client.got[0][0] in "04"
    if client.got[0][0] == "4":
        assert '"limit":"sockets"' in client.got[0].replace(" ", "")
        assert client.session.closed
    return client.got[0][0] == "0"


async def test_socket_over_the_limit_is_refused(offline):
    server = offline(subject_limits=SubjectLimits(sockets=2))
    assert [await connects(server) for _ in range(4)] == [True, True, False, False]
    assert await connects(server, "eve")
    assert counted(server) == 2


async def test_oldest_socket_can_be_disconnected_instead(offline):
    server = offline(subject_limits=SubjectLimits(sockets=2, when_full="end_oldest"))
    clients = [await server.member() for _ in range(5)]
    await server.settle()
    assert [client.session.closed for client in clients] == [True, True, True, False, False]
    for client in clients[:3]:
        assert [told["data"] for told in client.heard("unauthorized")] == [limit("sockets")]
        assert client.got[-1] == "1"
    assert counted(server) == 2


@pytest.mark.parametrize("when_full", ["refuse", "end_oldest"])
async def test_namespaces_of_one_connection_count_once(offline, when_full):
    server = offline(subject_limits=SubjectLimits(sockets=1, when_full=when_full), namespaces=("/", "/a", "/b"))
    client = await server.member()
    for namespace in ("/a", "/b"):
        client.begin_connect(server.token(), namespace)
    await server.settle()
    assert [packet[0] for packet in client.got] == ["0", "0", "0"]
    for namespace in ("", "/a"):
        client.begin("1" + (f"{namespace}," if namespace else ""))
    await server.settle()
    assert counted(server) == 1
    client.begin("1/b,")
    await server.settle()
    assert counted(server) == 0


LEAVING = ["disconnect packet", "close", "refused handler", "broken handler", "expiry", "revocation", "server"]
LEAVING += ["gone while a rule waits", "gone while the handler runs", "update"]


@pytest.mark.parametrize("via", [None, Authenticate()], ids=["handshake", "authenticate"])
@pytest.mark.parametrize("leaving", LEAVING)
async def test_disconnected_socket_is_not_counted(offline, leaving, via):
    """Then the next socket of the same subject is admitted."""
    gate, policy = Gate(), Policy()
    waits = "while" in leaving
    if leaving == "gone while a rule waits":
        policy.namespace("/")(gate)
    if leaving == "update":
        policy.namespace("/")(lambda who: who.has_role("member"))
    server = offline(via=via, policy=policy, subject_limits=SubjectLimits(sockets=1))

    @server.sio.event
    async def connect(sid, environ, auth=None):
        if leaving == "broken handler":
            raise RuntimeError("in the handler")
        if leaving == "gone while the handler runs":
            await gate(None)
        return leaving != "refused handler"

    async def come():
        client = await server.client()
        token = server.token(expires_in=100, roles=["member"])
        client.begin_connect(None if via else token)
        await server.settle()
        if via:
            client.begin_event("authenticate", {"token": token})
        if waits:
            await asyncio.wait_for(gate.reached.wait(), 20)
        await server.settle()
        return client

    client = await come()
    if waits:
        await client.session.lose()
        gate.open.set()
    elif leaving == "disconnect packet":
        assert counted(server) == 1
        client.begin("1")
    elif leaving == "close":
        await client.session.lose()
    elif leaving == "expiry":
        await server.tick(130)
    elif leaving == "revocation":
        await server.guard.revoke(subject="ada")
        server.clock.advance(1)
    elif leaving == "server":
        await server.sio.disconnect(server.sid(client))
    elif leaving == "update":
        await server.guard.update("ada", roles=[])
        server.clock.advance(1)
    await server.settle()
    assert client.session.closed is (leaving != "disconnect packet")  # after which it can return with another CONNECT
    assert server.guard._context.usage._connections == {}
    if "handler" not in leaving:
        assert server.admission(await come()).admitted


@pytest.mark.parametrize("when_full", ["refuse", "end_oldest"])
async def test_ended_socket_is_not_counted_during_its_disconnect_handler(offline, when_full):
    """Otherwise a client that reconnects immediately would be refused, or a socket over the limit admitted."""
    server = offline(subject_limits=SubjectLimits(sockets=1, when_full=when_full), grace=0)
    gate = asyncio.Event()

    @server.sio.event
    async def disconnect(sid, *reason):
        await gate.wait()

    def live():
        return [client for client in server.clients if (one := server.admission(client)) is not None and one.live]

    async def come():
        client = await server.client()
        client.begin_connect(server.token(expires_in=100))
        await client.settle()
        return client

    first = await come()
    if when_full == "refuse":
        server.clock.advance(100)
        (server.sio if server.engine == "hub" else server.guard).check_deadlines()
        await first.settle()
        assert live() == []
        returned = await come()
        assert live() == [returned]
    else:
        last = [await come() for _ in range(3)][-1]
        assert live() == [last]
    gate.set()
    await server.settle()
    assert counted(server) == 1


async def test_joins_per_second_are_limited_across_devices(offline):
    server = offline(subject_limits=SubjectLimits(joins=3))
    rooms = [f"r{number}" for number in range(8)]
    phone, desk = await server.member(rooms=rooms), await server.member(rooms=rooms)
    eve = await server.member("eve", rooms=rooms)
    for number, room in enumerate(rooms[:4]):
        (phone if number % 2 else desk).begin_event("join-room", room, ack=number)
        await server.settle()
    assert [desk.answered(0), phone.answered(1), desk.answered(2)] == [[{"ok": True}]] * 3
    assert phone.answered(3) == [{"ok": False, "error": limit("joins")}]
    eve.begin_event("join-room", "r0", ack=4)
    phone.begin_event("leave-room", "r1", ack=5)
    await server.settle()
    assert eve.answered(4) == phone.answered(5) == [{"ok": True}]
    await server.tick(0.34)
    phone.begin_event("join-room", "r3", ack=6)
    await server.settle()
    assert phone.answered(6) == [{"ok": True}]
    assert server.members("r3") == {server.sid(phone)}


async def test_events_per_second_are_limited_across_devices(offline):
    server = offline(subject_limits=SubjectLimits(events=3))
    seen = []

    @server.sio.event
    async def work(sid, number):
        seen.append(number)
        return number

    phone, desk, eve = await server.member(), await server.member(), await server.member("eve")
    for number in range(5):
        (phone if number % 2 else desk).begin_event("work", number, ack=number)
        await server.settle()
    eve.begin_event("work", 9, ack=9)
    await server.settle()
    assert seen == [0, 1, 2, 9]
    assert phone.answered(3) == desk.answered(4) == [{"ok": False, "error": limit("events")}]
    assert not phone.session.closed
    await server.tick(1)
    for number in range(10, 14):
        phone.begin_event("work", number)
        await server.settle()
    assert seen[4:] == [10, 11, 12]
    assert phone.heard("error") == [limit("events")]


async def test_guest_is_counted_once_it_has_authenticated(offline):
    server = offline(required=False, subject_limits=SubjectLimits(sockets=1))
    guests = []
    for _ in range(3):
        guests.append(await server.client())
        guests[-1].begin_connect(None)
    await server.settle()
    assert counted(server, "") == 0
    for guest in guests[:2]:
        guest.begin_event("authenticate", {"token": server.token()}, ack=1)
        await server.settle()
    assert counted(server) == 1
    assert guests[1].answered(1)[0]["error"] == limit("sockets")
    assert server.guard.identity(server.sid(guests[1])).is_guest  # it stays what it was
    await guests[0].session.lose()
    await server.settle()
    guests[1].begin_event("authenticate", {"token": server.token()}, ack=2)
    await server.settle()
    assert guests[1].answered(2) == [{"expires_in": 900}]


@pytest.mark.checklist("C42")
@pytest.mark.parametrize("leaves", [False, True])
async def test_guest_with_two_simultaneous_tokens_counts_for_neither(offline, leaves):
    gate, policy = Gate(), Policy()
    gate.open.set()
    policy.room("{room}")(gate)
    server = offline(policy=policy, required=False, subject_limits=SubjectLimits(sockets=1))
    client = await server.client()
    client.begin_connect(None)
    await server.settle()
    client.begin_event("join-room", "red")
    await server.settle()
    gate.open.clear()
    gate.reached.clear()
    for subject in ("ada", "eve"):
        client.begin_event("authenticate", {"token": server.token(subject)})
    await asyncio.wait_for(gate.reached.wait(), 20)
    await client.settle()
    if leaves:
        await client.session.lose()
    gate.open.set()
    await server.settle()
    assert client.session.closed  # the token that lost is for another subject on a connected socket
    assert server.guard._context.usage._connections == {}
