"""What a hostile reading of the guard found, each as a test that was seen to fail before."""

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


@pytest.mark.parametrize("namespace", ["/", "*"])
async def test_the_name_of_catch_all_handlers_is_no_event(make_world, namespace):
    """With it, the client's first argument became the sid: one event spoke for anybody."""

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


async def test_no_second_namespace_starts_the_deadline_and_the_attempts_anew(make_world):
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


async def test_b33_a_refresh_with_fewer_rights_leaves_rooms_at_once(make_world):
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


async def test_f90_a_refresh_without_the_namespaces_right_ends_the_socket(make_world):
    policy = Policy()
    policy.namespace("/")(lambda who: who.has_role("staff"))
    world = await make_world(policy=policy)
    client = await world.member(roles=["staff"], expires_in=100)
    await client.event("authenticate", {"token": world.token(expires_in=500)})
    assert (await client.expect_event("unauthorized"))[0]["data"]["reason"] == "permission_denied"
    assert await client.receive() == "41"
    assert await client.is_closed()


@pytest.mark.parametrize("how", ["disconnect", "revoke", "expire"])
async def test_a_slow_disconnect_handler_keeps_nobody_connected(make_world, how):
    gate = asyncio.Event()

    def prepare(world):
        @world.sio.event
        async def disconnect(sid, *reason):
            world.calls.append("disconnect")
            await gate.wait()

    world = await make_world(prepare=prepare, grace=0)
    client = await world.member(expires_in=100)
    admission = next(iter(world.guard.registry))
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


async def test_payloads_of_namespaces_that_were_left_are_forgotten(make_world):
    world = await make_world(via=Authenticate(), server={"namespaces": "*"})
    client = await world.client()
    await client.ask()
    for number in range(5):
        await client.ask({"big": "x" * 1000}, f"/n{number}")
        await client.send(f"41/n{number},")
    await client.sync()
    connection = next(iter(world.guard.registry.connections.values()))
    await until(lambda: set(connection.auth) <= {"/"})


async def test_one_deadline_that_fails_does_not_keep_the_others_alive(make_world, monkeypatch):
    world = await make_world(grace=0)
    clients = [await world.member(f"user{number}", expires_in=10) for number in range(4)]
    monkeypatch.setattr(logging.getLogger("roomkey.audit"), "handlers", [_Broken()])
    await world.tick(10)
    for client in clients:
        assert await client.is_closed()


class _Broken(logging.Handler):
    def emit(self, record):
        raise RuntimeError("in a log handler")


async def test_revoking_a_person_ends_tokens_of_a_clock_that_runs_ahead(make_world):
    world = await make_world()
    token = world.issuer.issue("ada")
    world.clock.advance(-20)
    client = await world.client()
    await client.ask({"token": token})
    assert await world.guard.revoke(subject="ada") == 1
    assert await client.is_closed()


@pytest.mark.parametrize("way", [Handshake(), Authenticate()], ids=["handshake", "authenticate"])
async def test_i7_connect_and_disconnect_handlers_come_in_pairs(make_world, way):
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
    token = {"token": world.token()}
    if isinstance(way, Authenticate):
        await client.ask()
        await client.event("authenticate", token)
    else:
        await client.send("40" + json.dumps(token))
    assert await client.is_closed()
    await until(lambda: len(world.calls) >= 2)
    await world.settle()
    assert world.calls == ["connect", "disconnect"]


async def test_room_events_obey_rules_about_events(make_world):
    policy = Policy(open_events=False)
    policy.room("*")(rooms_claim)
    policy.event("leave-room")(lambda who: True)
    world = await make_world(policy=policy)
    world.guard.serve_rooms()
    client = await world.member(rooms=["red"])
    await client.event("join-room", "red", ack=1)
    assert (await client.expect_ack(1))[0]["ok"] is False


async def test_event_wildcard_is_asked_before_the_application(make_world):
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


async def test_a_client_leaves_only_rooms_it_asked_for(make_world):
    world = await make_world(attach={"own_joins": "allow"})
    world.guard.serve_rooms()
    client = await world.member()
    sid = world.sid()
    await world.sio.enter_room(sid, "muted")
    for number, room in enumerate(("muted", sid)):
        await client.event("leave-room", room, ack=number)
        await client.expect_ack(number)
    assert set(world.sio.rooms(sid)) == {"muted", sid, "user:ada"}


async def test_h113_no_secret_by_way_of_a_room_or_an_exception(make_world, caplog):
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
    assert token not in repr(next(iter(world.guard.registry.connections.values())))
    assert victim.ws.close_code is None


async def test_an_event_rule_is_asked_about_the_identity_that_sends(make_world):
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


async def test_a_saved_session_does_not_pass_to_the_next_identity(make_world):
    world = await make_world(server={"namespaces": "*"})
    client = await world.client()
    await client.ask({"token": world.token("other")}, "/b")
    await client.ask({"token": world.token("ada")})
    first = world.sid()
    await world.sio.save_session(first, {"cart": "ada's"})
    await client.send("41")
    await until(lambda: len(world.guard.registry.admissions) == 1)
    await client.ask({"token": world.token("bob")})
    second = world.sid()
    assert await world.sio.get_session(second) == {}


async def test_a_verifier_that_hangs_is_an_answer_after_the_deadline(make_world):
    class Hanging:
        async def verify(self, token, now, *, source=""):
            await asyncio.Event().wait()

    world = await make_world(verifier=Hanging(), connect_timeout=0.2)
    poll = await Poll(world.host).open()
    await asyncio.wait_for(poll.post('40{"token":"x"}'), 20)
    assert "temporarily_unavailable" in str(await poll.get())
    await poll.close()


async def test_a_long_room_name_and_a_long_session_id_hold_nobody_up(make_world):
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
    for admission in world.guard.registry:
        await world.sio.save_session(admission.sid, {"of": admission.namespace}, namespace=admission.namespace)
    assert await world.guard.revoke(subject="ada") == 2
    await until(lambda: len(world.calls) == 2)
    assert sorted(session["of"] for session in world.calls) == ["/a", "/b"]


async def test_a_handler_is_never_cut_off_by_a_close(make_world, monkeypatch):
    monkeypatch.setattr("roomkey.socketio.port.FLUSH_SECONDS", 0.05)
    monkeypatch.setattr("roomkey.hub.transports.picows.CLOSE_SECONDS", 0.05)

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


async def test_whoever_asked_for_a_revocation_may_stop_waiting(make_world):
    world = await make_world()
    client = await world.member()
    asking = asyncio.create_task(world.guard.revoke(subject="ada"))
    await asyncio.sleep(0)
    asking.cancel()
    assert (await client.expect_event("unauthorized"))[0]["data"]["reason"] == "token_revoked"
    assert await client.receive() == "41"
    assert await client.is_closed()
