"""Expiry of connected sockets: the warning, the grace period, in which nothing new is granted, and the end."""

from __future__ import annotations

import asyncio

import pytest
from support.live import Poll, begin_poll, until
from support.tokens import EXPIRED

from roomkey import Policy
from roomkey.guard import timers


def when_warned(server) -> float:
    """The one deadline on the wall clock, in seconds from now."""
    deadlines = server.guard.background.timers._deadlines
    [due] = [entry[0] for entry in deadlines._heaps[timers._WALL] if deadlines._due.get(entry[2]) is entry]
    return due - server.clock.now()


async def test_expiry_warning_is_sent_once(offline):
    server = offline()
    client = await server.member(expires_in=900)
    await server.tick(839.9)
    assert client.heard("token_expiring") == []
    await server.tick(30.2)
    assert client.heard("token_expiring") == [{"expires_in": 29}]
    for _ in range(5):
        await server.tick(5)
    assert len(client.heard("token_expiring")) == 1
    assert client.heard("unauthorized") == []


async def test_expiry_warning_waits_for_half_of_a_short_lifetime(offline):
    server = offline()
    client = await server.member(expires_in=40)
    await server.tick(19.9)
    assert client.heard("token_expiring") == []
    await server.tick(10.1)
    assert client.heard("token_expiring") == [{"expires_in": 10}]


async def test_expiry_warning_can_be_turned_off(offline):
    server = offline(warn_before=0)
    client = await server.member(expires_in=100)
    for _ in range(124):
        await server.tick(1)
    assert [packet for packet in client.got if packet[0] == "2"] == []


async def test_expiry_warning_moves_with_a_refresh(offline):
    server = offline()
    client = await server.member(expires_in=100)
    await server.tick(75)
    assert len(client.heard("token_expiring")) == 1
    client.begin_event("authenticate", {"token": server.token(expires_in=200)})
    await server.settle()
    assert client.heard("authenticated") == [{"expires_in": 200}]
    assert 140 <= when_warned(server) <= 170
    await server.tick(139)
    assert len(client.heard("token_expiring")) == 1
    await server.tick(31.5)
    assert len(client.heard("token_expiring")) == 2


async def test_update_does_not_repeat_the_expiry_warning(offline):
    server = offline()
    client = await server.member(expires_in=100)
    await server.tick(75)
    await server.guard.update("ada", roles=["member"])
    await server.tick(20)
    assert len(client.heard("token_expiring")) == 1


@pytest.mark.checklist("B32")
@pytest.mark.parametrize("grace", [0, 25])
async def test_expired_socket_closes_after_the_grace_period(offline, grace):
    server = offline(grace=grace, namespaces=("/", "/chat"))
    clients = [await server.member(expires_in=100), await server.member("eve", "/chat", expires_in=100)]
    await server.tick(99.9 + grace)
    assert [client.session.closed for client in clients] == [False, False]
    await server.tick(0.1)
    for client in clients:
        assert client.session.closed
        assert [told["data"] for told in client.heard("unauthorized")] == [EXPIRED | {"expired_at": 1_800_000_100}]
        assert not [packet for packet in client.got if packet[0] == "1"]
    assert server.members("red") == set()


@pytest.mark.checklist("B32")
async def test_one_expired_namespace_closes_the_connection(offline):
    """The client reconnects with a new token for each namespace. Otherwise the expired one would stay disconnected."""
    server = offline(namespaces=("/", "/chat"), grace=0)
    client = await server.member(expires_in=500)
    client.begin_connect(server.token(expires_in=50), "/chat")
    await server.settle()
    await server.tick(50)
    assert client.session.closed
    assert [packet.split(",")[0] for packet in client.got if "unauthorized" in packet] == ["2/chat"]


@pytest.mark.checklist("B32")
@pytest.mark.parametrize("idle", [True, False])
async def test_expired_socket_closes_over_polling(make_world, engine, idle):
    """A waiting poll receives the reason. A client that polls later receives it too, and then its session is gone."""
    world = await make_world(grace=0)
    poll = await Poll.member(world.host, world.token(expires_in=10))
    waiting = None
    if not idle:
        if engine == "hub":
            waiting = await begin_poll(world.sio, poll.get())
        else:
            waiting = asyncio.create_task(poll.get())
            [transport] = world.sio.eio.sockets.values()
            await until(lambda: transport.queue._getters)
    ticking = asyncio.create_task(world.tick(10))
    packets = await waiting if waiting is not None else (await poll.answer())[1]
    assert "token_expired" in str(packets)
    await ticking
    await until(lambda: not world.guard.index.connections and world.is_empty)
    await poll.close()


# During the grace


@pytest.fixture
async def in_grace(offline):
    """Return a server, and a client in ``red`` whose token has expired."""
    policy = Policy()
    policy.room("*")(lambda who, room: True)
    policy.event("transfer", max_auth_age=1000)(lambda who: True)
    policy.event("guarded")(lambda who: True)
    server = offline(policy=policy)
    for name in ("transfer", "guarded", "open"):
        server.sio.on(name, handler(server, name))
    server.guard.relay("say")
    client = await server.member(expires_in=100)
    client.begin_event("join-room", "red")
    await server.settle()
    await server.tick(100)
    return server, client


def handler(server, name):
    async def handle(sid):
        if name == "open":
            await server.guard.enter_room(sid, "blue")
        return name

    return handle


async def test_join_is_denied_during_the_grace_period(in_grace):
    server, client = in_grace
    client.begin_event("join-room", "blue", ack=1)
    client.begin_event("open", ack=2)  # nor by the application's own handler
    await server.settle()
    for ack in (1, 2):
        [answer] = client.answered(ack)
        assert answer["ok"] is False
        assert answer["error"]["reason"] == "token_expired"
        assert answer["error"]["retry"] is True
    assert server.members("blue") == set()
    assert server.members("red") == {server.sid(client)}
    assert [told["event"] for told in client.heard("reauthenticate")] == ["join-room", "open"]


async def test_event_that_requires_a_recent_login_is_denied_during_grace(in_grace):
    server, client = in_grace
    client.begin_event("transfer", ack=1)
    await server.settle()
    assert client.answered(1)[0]["error"]["reason"] == "token_expired"


async def test_other_events_continue_during_the_grace_period(in_grace):
    server, client = in_grace
    other = await server.member("eve")
    other.begin_event("join-room", "red")
    await server.settle()
    client.begin_event("guarded", ack=1)
    client.begin_event("say", "red", "still here", ack=2)
    await server.sio.emit("news", 1, room="red")
    await server.settle()
    assert client.answered(1) == ["guarded"]
    assert client.answered(2) == [{"ok": True}]
    assert other.heard("say") == [{"room": "red", "from": "ada", "data": "still here"}]
    assert client.heard("news") == [1]


async def test_refresh_during_the_grace_period_restores_all_and_keeps_rooms(in_grace):
    server, client = in_grace
    client.begin_event("authenticate", {"token": server.token(expires_in=100)})
    await server.settle()
    client.begin_event("join-room", "blue", ack=1)
    client.begin_event("transfer", ack=2)
    await server.settle()
    assert client.answered(1) == [{"ok": True}]
    assert client.answered(2) == ["transfer"]
    assert server.members("red") == server.members("blue") == {server.sid(client)}
    assert client.heard("permissions_changed") == []
    await server.tick(30)
    assert not client.session.closed
