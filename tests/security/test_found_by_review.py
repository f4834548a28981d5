"""Findings of a security review of the guard. Each test failed before the fix."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
from support.live import Poll, until
from support.world import BOTH, clock, engine, make_world

from roomkey import Policy
from roomkey.policies import rooms_claim
from roomkey.socketio import Authenticate, Handshake

__all__ = ["clock", "engine", "make_world"]

pytestmark = BOTH


@pytest.mark.checklist("C44")
@pytest.mark.parametrize("namespace", ["/", "*"])
async def test_catch_all_name_is_not_an_event(make_world, namespace):
    """Before the fix, the client's first argument became the socket ID, so it could act for any socket."""

    def prepare(world):
        world.sio.on("*", lambda *arguments: world.calls.append(arguments), namespace=namespace)
        world.sio.on("other", lambda *arguments: None)

    world = await make_world(prepare=prepare)
    bob = await world.member("bob")
    eve = await world.member("eve")
    sid = world.sid("bob")
    await eve.event("*", sid, "transfer")
    assert await eve.is_closed()
    assert world.calls == []
    assert bob.ws.close_code is None


@pytest.mark.checklist("C38", "C47")
async def test_second_namespace_does_not_reset_deadline_and_attempts(make_world):
    world = await make_world(via=Authenticate(timeout=15, max_attempts=3), server={"namespaces": "*"})
    client = await world.client()
    await client.ask()
    for _attempt in range(2):
        await client.event("authenticate", {"token": "bad"})
        await client.expect_event("unauthorized")
    await world.tick(14)
    await client.ask(namespace="/b")
    await world.tick(1.1)
    assert await client.is_closed()
    again = await world.client()
    await again.ask()
    await again.ask(namespace="/b")
    for namespace in ("/", "/", "/b"):
        await again.event("authenticate", {"token": "bad"}, namespace=namespace)
    assert await again.is_closed()


@pytest.mark.checklist("B33")
async def test_refresh_with_fewer_rights_leaves_rooms_immediately(make_world):
    world = await make_world()
    world.guard.serve_rooms()
    client = await world.member(rooms=["red", "blue"], expires_in=100)
    for number, room in enumerate(("red", "blue")):
        await client.event("join-room", room, ack=number)
        await client.expect_ack(number)
    await client.event("authenticate", {"token": world.token(rooms=["blue"], expires_in=500)})
    assert await client.expect_event("permissions_changed") == [{"left": ["red"]}]
    await world.sio.emit("news", "red", room="red")
    await world.sio.emit("news", "blue", room="blue")
    assert await client.expect_event("news") == ["blue"]


@pytest.mark.checklist("F90")
async def test_refresh_without_the_namespace_right_disconnects(make_world):
    policy = Policy()
    policy.namespace("/")(lambda who: who.has_role("staff"))
    world = await make_world(policy=policy)
    client = await world.member(roles=["staff"], expires_in=100)
    await client.event("authenticate", {"token": world.token(expires_in=500)})
    assert (await client.expect_event("unauthorized"))[0]["data"]["reason"] == "permission_denied"
    assert await client.receive() == "41"
    assert await client.is_closed()


@pytest.mark.checklist("E83")
@pytest.mark.parametrize("how", ["disconnect", "revoke", "expire"])
async def test_slow_disconnect_handler_does_not_delay_the_close(make_world, how):
    gate = asyncio.Event()

    def prepare(world):
        @world.sio.event
        async def disconnect(sid, *reason):
            world.calls.append("disconnect")
            await gate.wait()

    world = await make_world(prepare=prepare, grace=0)
    client = await world.member(expires_in=100)
    admission = next(iter(world.guard.index))
    if how == "disconnect":
        ending = asyncio.create_task(world.sio.disconnect(admission.sid))
        await until(lambda: world.calls)
        await world.sio.emit("news", "secret")
        assert not any("secret" in str(packet) for packet in await client.quiet())
        assert not admission.admitted
    elif how == "revoke":
        async with asyncio.timeout(20):
            assert await world.guard.revoke(subject="ada") == 1
        assert await client.is_closed()
    else:
        world.clock.advance(100)
        world.check_deadlines()
        assert await client.is_closed()
    gate.set()
    if how == "disconnect":
        await ending
        assert await client.is_closed()
    await until(lambda: world.calls == ["disconnect"])


@pytest.mark.checklist("J7")
async def test_payloads_of_left_namespaces_are_dropped(make_world):
    world = await make_world(via=Authenticate(), server={"namespaces": "*"})
    client = await world.client()
    await client.ask()
    for number in range(5):
        await client.ask({"big": "x" * 1000}, f"/n{number}")
        await client.send(f"41/n{number},")
    await client.sync()
    connection = next(iter(world.guard.index.connections))
    await until(lambda: set(connection.kept_auth or ()) <= {"/"})


@pytest.mark.checklist("J2")
async def test_failing_deadline_does_not_stop_the_others(make_world, monkeypatch):
    world = await make_world(grace=0)
    clients = [await world.member(f"user{number}", expires_in=10) for number in range(4)]
    monkeypatch.setattr(logging.getLogger("roomkey.audit"), "handlers", [_Broken()])
    await world.tick(10)
    for client in clients:
        assert await client.is_closed()


class _Broken(logging.Handler):
    def emit(self, record):
        raise RuntimeError("in a log handler")


@pytest.mark.checklist("G104")
async def test_revoking_a_subject_includes_tokens_issued_in_the_future(make_world):
    world = await make_world()
    token = world.issuer.issue("ada")
    world.clock.advance(-20)
    client = await world.client()
    await client.ask({"token": token})
    assert await world.guard.revoke(subject="ada") == 1
    assert await client.is_closed()


@pytest.mark.checklist("J7")
@pytest.mark.parametrize("way", [Handshake(), Authenticate()], ids=["handshake", "authenticate"])
async def test_connect_and_disconnect_handlers_run_in_pairs(make_world, way):
    def prepare(world):
        @world.sio.event
        async def connect(sid, environ, auth):
            world.calls.append("connect")
            await world.guard.revoke(subject="ada")

        @world.sio.event
        async def disconnect(sid, *reason):
            world.calls.append("disconnect")

    world = await make_world(via=way, prepare=prepare)
    client = await world.client()
    await client.present(world.token(), way)
    assert await client.is_closed()
    await until(lambda: len(world.calls) >= 2)
    await world.settle()
    assert world.calls == ["connect", "disconnect"]


@pytest.mark.checklist("F86")
async def test_room_events_follow_event_rules(make_world):
    policy = Policy(open_events=False)
    policy.room("*")(rooms_claim)
    policy.event("leave-room")(lambda who: True)
    world = await make_world(policy=policy)
    world.guard.serve_rooms()
    client = await world.member(rooms=["red"])
    await client.event("join-room", "red", ack=1)
    assert (await client.expect_ack(1))[0]["ok"] is False


@pytest.mark.checklist("F92")
async def test_event_wildcard_rule_is_checked_before_the_handler(make_world):
    def prepare(world):
        @world.sio.on("*")
        async def anything(event, sid, *data):
            world.calls.append(event)

    policy = Policy()
    policy.room("*")(rooms_claim)
    policy.event("*")(lambda who, event: event == "open")
    world = await make_world(policy=policy, prepare=prepare)
    world.guard.serve_rooms()
    client = await world.member(rooms=["red"])
    for number, (event, argument) in enumerate((("join-room", "red"), ("delete", 1))):
        await client.event(event, argument, ack=number)
        assert (await client.expect_ack(number))[0]["error"]["reason"] == "permission_denied"
    await client.event("open", 1)
    await until(lambda: world.calls == ["open"])


@pytest.mark.checklist("F89")
async def test_client_leaves_only_rooms_it_joined(make_world):
    world = await make_world(attach={"own_joins": "allow"})
    world.guard.serve_rooms()
    client = await world.member()
    sid = world.sid()
    await world.sio.enter_room(sid, "muted")
    for number, room in enumerate(("muted", sid)):
        await client.event("leave-room", room, ack=number)
        await client.expect_ack(number)
    assert set(world.sio.rooms(sid)) == {"muted", sid, "user:ada"}


@pytest.mark.checklist("H113")
async def test_room_names_and_exceptions_reveal_no_secret(make_world, caplog):
    caplog.set_level(logging.DEBUG, logger="engineio.server")
    caplog.set_level(logging.DEBUG, logger="roomkey")
    world = await make_world()
    world.guard.serve_rooms()
    victim, client = await world.member("victim"), await world.member()
    sid = world.sid("victim")
    token = world.token()
    spaced = "ewogImFsZyI6ICJIUzI1NiJ9.ewogInN1YiI6ICJhZGEiCn0.c2lnbmF0dXJlLW9mLWl0"
    for number, room in enumerate((sid, token)):
        await client.event("join-room", room, ack=number)
        await client.expect_ack(number)
    await client.send('42["x",{"token":"Bearer ' + spaced + '"}]')
    await client.sync()
    logging.getLogger("roomkey.guard").error("failed", exc_info=ValueError(f"with {token}"))
    ours = [entry for entry in caplog.records if entry.name.split(".")[0] in ("roomkey", "engineio", "socketio")]
    text = "\n".join(logging.Formatter().format(entry) for entry in ours)
    assert "denied" in text
    for secret in (sid, token, spaced, "eyJ"):
        assert secret not in text
    assert "ewog" not in text
    assert token not in repr(next(iter(world.guard.index.connections)))
    assert victim.ws.close_code is None


@pytest.mark.checklist("J4")
async def test_event_rule_sees_the_identity_that_sent_the_event(make_world):
    gate, inside = asyncio.Event(), asyncio.Event()
    policy = Policy()

    @policy.event("delete")
    async def slow(who):
        inside.set()
        await gate.wait()
        return who.has_role("moderator")

    def prepare(world):
        world.sio.on("delete", lambda sid: world.calls.append("delete"))

    world = await make_world(policy=policy, prepare=prepare)
    poll = await Poll(world.host).open()
    other = Poll(world.host)
    other.sid = poll.sid
    await poll.post("40" + json.dumps({"token": world.token(roles=["moderator"], expires_in=50)}))
    await poll.get()
    sending = asyncio.create_task(poll.post('42["delete"]'))
    await inside.wait()
    await other.post("42" + json.dumps(["authenticate", {"token": world.token(expires_in=500)}]))
    gate.set()
    await sending
    await poll.get()
    assert world.calls == []
    await poll.close()
    await other.close()


@pytest.mark.checklist("J4")
async def test_saved_session_is_not_passed_to_the_next_identity(make_world):
    world = await make_world(server={"namespaces": "*"})
    client = await world.client()
    await client.ask({"token": world.token("other")}, "/b")
    await client.ask({"token": world.token("ada")})
    first = world.sid()
    await world.sio.save_session(first, {"cart": "ada's"})
    await client.send("41")
    await until(lambda: len(world.guard.index.sockets) == 1)
    await client.ask({"token": world.token("bob")})
    second = world.sid()
    assert await world.sio.get_session(second) == {}


@pytest.mark.checklist("C37")
async def test_hanging_verifier_is_refused_at_the_deadline(make_world):
    class Hanging:
        async def verify(self, token, now, *, source=""):
            await asyncio.Event().wait()

    world = await make_world(verifier=Hanging(), connect_timeout=0.2)
    poll = await Poll(world.host).open()
    await asyncio.wait_for(poll.post('40{"token":"x"}'), 20)
    assert "temporarily_unavailable" in str(await poll.get())
    await poll.close()


@pytest.mark.checklist("E78")
async def test_long_room_names_and_session_ids_are_rejected_quickly(make_world):
    world = await make_world()
    world.guard.serve_rooms()
    client = await world.member()
    await client.event("join-room", "a" * 900_000, ack=1)
    await client.expect_ack(1)
    poll = Poll(world.host)
    await poll.http.get("/socket.io/?EIO=4&transport=polling&sid=" + "a" * 30_000)
    await poll.close()


async def test_disconnect_handlers_of_one_connection_keep_their_sessions(make_world):
    def prepare(world):
        async def disconnect(namespace, sid, *reason):
            await asyncio.sleep(0.05)
            world.calls.append(await world.sio.get_session(sid, namespace=namespace))

        world.sio.on("disconnect", disconnect, namespace="*")

    world = await make_world(server={"namespaces": "*"}, prepare=prepare)
    client = await world.client()
    for namespace in ("/a", "/b"):
        await client.ask({"token": world.token()}, namespace)
    for admission in world.guard.index:
        await world.sio.save_session(admission.sid, {"of": admission.namespace}, namespace=admission.namespace)
    assert await world.guard.revoke(subject="ada") == 2
    await until(lambda: len(world.calls) == 2)
    assert sorted(session["of"] for session in world.calls) == ["/a", "/b"]


async def test_close_does_not_cancel_running_handlers(make_world, monkeypatch):
    monkeypatch.setattr("roomkey.socketio.transports.FLUSH_SECONDS", 0.05)
    monkeypatch.setattr("roomkey.hub.transports.websocket.CLOSE_SECONDS", 0.05)

    def prepare(world):
        async def disconnect(namespace, sid, *reason):
            world.calls.append("begin")
            await asyncio.sleep(0.5)
            world.calls.append("saved")

        world.sio.on("disconnect", disconnect, namespace="*")

    world = await make_world(server={"namespaces": "*"}, prepare=prepare)
    client = await world.client()
    for namespace in ("/a", "/b"):
        await client.ask({"token": world.token()}, namespace)
    await client.send("41/a,")
    await until(lambda: world.calls == ["begin"])
    await world.guard.revoke(subject="ada")
    await until(lambda: world.calls.count("saved") == 2)


@pytest.mark.checklist("G103")
async def test_revocation_continues_when_its_caller_is_canceled(make_world):
    world = await make_world()
    client = await world.member()
    asking = asyncio.create_task(world.guard.revoke(subject="ada"))
    await asyncio.sleep(0)
    asking.cancel()
    assert (await client.expect_event("unauthorized"))[0]["data"]["reason"] == "token_revoked"
    assert await client.receive() == "41"
    assert await client.is_closed()
