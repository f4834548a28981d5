"""What a hostile reading of the guard found, each as a test that was seen to fail before."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
from support.live import Poll, new_server, until
from support.world import clock, make_world
from websockets.asyncio.client import connect as ws_connect
from websockets.exceptions import ConnectionClosed

from roomkey import ConfigError, Issuer, KeySet, Policy, Verifier
from roomkey.guard import audit
from roomkey.policies import rooms_claim
from roomkey.socketio import AsyncGuard, Authenticate, Handshake

__all__ = ["clock", "make_world"]


@pytest.mark.parametrize("namespace", ["/", "*"])
async def test_the_name_of_catch_all_handlers_is_no_event(make_world, namespace):
    """With it, the client's first argument became the sid: one event spoke for anybody."""

    def prepare(world):
        world.sio.on("*", lambda *arguments: world.calls.append(arguments), namespace=namespace)
        world.sio.on("other", lambda *arguments: None)

    world = await make_world(prepare=prepare)
    bob = await world.member("bob")
    eve = await world.member("eve")
    sid = next(a.sid for a in world.guard.registry if a.identity.subject == "bob")
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


async def test_half_upgrades_are_one_at_a_time_and_end_with_their_session(make_world):
    world = await make_world()
    poll = await Poll(world.host).open()
    url = f"ws://{world.host}/socket.io/?EIO=4&transport=websocket&sid={poll.sid}"
    opened = [await ws_connect(url, compression=None) for _count in range(5)]
    for one in opened:
        try:
            await one.send("2probe")
        except ConnectionClosed:
            continue
    await until(lambda: sum(one.state.name == "OPEN" for one in opened) == 1)
    await world.tick(16)
    await until(lambda: all(one.state.name == "CLOSED" for one in opened))
    await until(lambda: not world.sio._trigger_event.__self__.port.websockets)
    await poll.close()


async def test_an_upgrade_that_stays_half_done_ends(make_world, monkeypatch):
    monkeypatch.setattr("roomkey.socketio.sessions.UPGRADE_SECONDS", 0.1)
    world = await make_world()
    poll = await Poll(world.host).open()
    url = f"ws://{world.host}/socket.io/?EIO=4&transport=websocket&sid={poll.sid}"
    async with ws_connect(url, compression=None) as half:
        await half.send("2probe")
        await asyncio.wait_for(half.wait_closed(), 3)
    await poll.close()


async def test_acknowledgement_0_cannot_break_a_room_for_the_others(make_world):
    world = await make_world()
    answers: list[object] = []
    eve, ada = await world.member("eve"), await world.member("ada")
    for admission in world.guard.registry:
        await world.sio.enter_room(admission.sid, "r")
    await world.sio.emit("ask", room="r", callback=lambda *a: answers.append(a))
    await eve.send("430[]")
    assert await eve.is_closed()
    await world.sio.emit("news", 1, room="r", callback=lambda *a: answers.append(a))
    await ada.expect_event("news")


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


@pytest.mark.parametrize("origins", [["*"], ["*", "https://a.example"], ("*",)])
def test_every_origin_in_a_list_is_every_origin(origins):
    guard = AsyncGuard(Issuer.ephemeral(audience="a").verifier(), via=Handshake(cookie="session"))
    with pytest.raises(ConfigError, match="cors_allowed_origins"):
        guard.attach(new_server(cors_allowed_origins=origins))


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
        async with asyncio.timeout(1):
            assert await world.guard.revoke(subject="ada") == 1
        assert await client.is_closed()
    else:
        world.clock.advance(100)
        world.guard.check_deadlines()
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


@pytest.mark.parametrize("body", ["6", "2", "0", "x", "9"])
async def test_a_post_that_engineio_cannot_read_leaves_nothing(make_world, body):
    world = await make_world()
    poll = await Poll(world.host).open()
    await asyncio.wait_for(poll.http.post(poll.url(), content=body), 3)
    await until(lambda: not world.guard.registry.connections)
    left = [task for task in asyncio.all_tasks() if "run_asgi" in repr(task)]
    assert left == []
    await poll.close()


@pytest.mark.parametrize(
    "numbers", [[0, 0], [0] * 500, [-1], [True], [1], ["0"], [0.0], [None], []], ids=lambda numbers: str(numbers)[:20]
)
async def test_e67_placeholders_and_attachments_match_one_to_one(make_world, numbers):
    def prepare(world):
        world.sio.on("x", lambda sid, data: world.calls.append(data))

    world = await make_world(prepare=prepare)
    client = await world.member()
    await client.send("451-" + json.dumps(["x", [{"_placeholder": True, "num": number} for number in numbers]]))
    await client.send(b"attachment")
    assert await client.is_closed()
    assert world.calls == []


async def test_e68_attachments_are_bounded_in_bytes(make_world):
    world = await make_world(server={"max_http_buffer_size": 1000})
    client = await world.member()
    places = [{"_placeholder": True, "num": number} for number in range(10)]
    await client.send("4510-" + json.dumps(["x", places]))
    for _attachment in range(10):
        await client.send(b"x" * 900)
    assert await client.is_closed()


async def test_f103_nothing_runs_after_a_revocation_whatever_instrument_waits_for(make_world):
    world = await make_world(False)
    gate, inside = asyncio.Event(), asyncio.Event()
    world.sio.on("act", lambda sid: world.calls.append("act"))
    admin = world.sio.instrument(auth=False, mode="development", server_stats_interval=0.2)
    guard = world.guard = AsyncGuard(world.issuer.verifier(), clock=world.clock)
    guard.attach(world.sio)
    emit = world.sio.emit

    async def slow(event, *arguments, **settings):
        if event == "event_received":
            inside.set()
            await gate.wait()
        return await emit(event, *arguments, **settings)

    world.sio.emit = slow
    try:
        client = await world.member()
        await client.event("act")
        await inside.wait()
        while_admitted = list(world.calls)  # the oldest version tells the admins after the handler
        await guard.revoke(subject="ada")
        gate.set()
        assert await client.is_closed()
        assert world.calls == while_admitted
    finally:
        await admin.shutdown()
        admin.uninstrument()


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


async def test_d56_a_session_belongs_to_a_subject_of_an_issuer(make_world, clock):
    ours = Issuer.ephemeral(issuer="https://a.example", audience="chat", clock=clock.now, algorithm="ES256")
    other = Issuer.ephemeral(issuer="https://b.example", audience="chat", clock=clock.now, algorithm="ES256")
    both = Verifier(
        KeySet([ours.key.public(), other.key.public()]),
        algorithms=["ES256"],
        issuer=["https://a.example", "https://b.example"],
        audience="chat",
    )
    world = await make_world(verifier=both)
    owner = await Poll(world.host, headers={"Authorization": f"Bearer {ours.issue('1')}"}).open()
    await owner.post("40")
    await owner.get()
    await world.sio.emit("private", 1)
    thief = Poll(world.host, headers={"Authorization": f"Bearer {other.issue('1')}"})
    thief.sid = owner.sid
    assert await thief.get() == ["6"]
    assert "private" in (await owner.get())[0]
    await owner.close()
    await thief.close()


async def test_d56_a_renewed_token_owns_a_session_of_another_namespace(make_world):
    policy = Policy()
    policy.namespace("/")(lambda who: False)

    def prepare(world):
        world.sio.on("x", lambda sid: None, namespace="/chat")

    world = await make_world(policy=policy, prepare=prepare)
    owner = await Poll(world.host, headers={"Authorization": f"Bearer {world.token()}"}).open()
    await owner.post("40/chat,")
    await owner.get()
    await world.sio.emit("news", 1, namespace="/chat")
    renewed = Poll(world.host, headers={"Authorization": f"Bearer {world.token()}"})
    renewed.sid = owner.sid
    assert "news" in (await renewed.get())[0]
    await owner.close()
    await renewed.close()


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
    await world.guard.settle()
    assert world.calls == ["connect", "disconnect"]


@pytest.mark.parametrize("frame", ["x", "", "²", "4" + "[" * 100_000])
async def test_e63_a_frame_that_engineio_cannot_read_ends_the_socket(make_world, frame, caplog):
    def prepare(world):
        world.sio.on("disconnect", lambda *arguments: world.calls.append("disconnect"))

    world = await make_world(prepare=prepare)
    client = await world.member()
    await client.send(frame)
    assert await client.is_closed()
    await until(lambda: world.calls == ["disconnect"] and not world.guard.registry.connections)
    assert "Exception in ASGI" not in caplog.text


async def test_e75_a_reader_that_never_reads_is_cut_when_it_is_revoked(make_world):
    world = await make_world()
    client = await world.member()
    client.ws.transport.pause_reading()
    for _count in range(100):
        await world.sio.emit("news", "x" * 200_000)
    await world.guard.revoke(subject="ada")
    await until(lambda: not world.sio._trigger_event.__self__.port.websockets, timeout=8)
    assert not world.guard.registry.connections
    client.ws.transport.abort()


async def test_room_events_obey_rules_about_events(make_world):
    policy = Policy(open_events=False)
    policy.room("*")(rooms_claim)
    policy.event("leave-room")(lambda who: True)
    world = await make_world(policy=policy)
    world.guard.serve_rooms()
    client = await world.member(rooms=["red"])
    await client.event("join-room", "red", ack=1)
    assert (await client.expect_ack(1))[0]["ok"] is False


async def test_a_client_leaves_only_rooms_it_asked_for(make_world):
    world = await make_world()
    world.guard.serve_rooms()
    client = await world.member()
    sid = next(iter(world.guard.registry)).sid
    await world.sio.enter_room(sid, "muted")
    for number, room in enumerate(("muted", sid)):
        await client.event("leave-room", room, ack=number)
        await client.expect_ack(number)
    assert set(world.sio.rooms(sid)) == {"muted", sid}


async def test_h113_no_secret_by_way_of_a_room_or_an_exception(make_world, caplog):
    caplog.set_level(logging.DEBUG, logger="engineio.server")
    caplog.set_level(logging.DEBUG, logger="roomkey")
    world = await make_world()
    world.guard.serve_rooms()
    victim, client = await world.member("victim"), await world.member()
    sid = next(a.sid for a in world.guard.registry if a.identity.subject == "victim")
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


async def test_python_socketios_session_does_not_pass_to_the_next_identity(make_world):
    world = await make_world(server={"namespaces": "*"})
    client = await world.client()
    await client.ask({"token": world.token("other")}, "/b")
    await client.ask({"token": world.token("ada")})
    first = next(a.sid for a in world.guard.registry if a.namespace == "/")
    await world.sio.save_session(first, {"cart": "ada's"})
    await client.send("41")
    await until(lambda: len(world.guard.registry.admissions) == 1)
    await client.ask({"token": world.token("bob")})
    second = next(a.sid for a in world.guard.registry if a.namespace == "/")
    assert await world.sio.get_session(second) == {}


async def test_a_verifier_that_hangs_is_an_answer_after_the_deadline(make_world):
    class Hanging:
        async def verify(self, token, now, *, source=""):
            await asyncio.Event().wait()

    world = await make_world(verifier=Hanging(), connect_timeout=0.2)
    poll = await Poll(world.host).open()
    await asyncio.wait_for(poll.post('40{"token":"x"}'), 3)
    assert "temporarily_unavailable" in str(await poll.get())
    await poll.close()


@pytest.mark.parametrize("event", ["connect", "message", "disconnect"])
def test_attach_refuses_a_server_whose_transport_somebody_else_handles(event):
    sio = new_server()
    sio.eio.on(event, lambda *arguments: None)
    with pytest.raises(ConfigError, match="attach the guard first"):
        AsyncGuard(Issuer.ephemeral(audience="a").verifier()).attach(sio)


def test_a_second_guard_is_refused_behind_instrument_too():
    sio = new_server()
    AsyncGuard(Issuer.ephemeral(audience="a").verifier()).attach(sio)
    admin = sio.instrument(auth=False)
    try:
        with pytest.raises(ConfigError, match="has a guard"):
            AsyncGuard(Issuer.ephemeral(audience="a").verifier()).attach(sio)
    finally:
        admin.uninstrument()


async def test_closed_sessions_are_forgotten_without_engineios_monitor(make_world):
    world = await make_world(server={"monitor_clients": False})
    client = await world.client()
    await client.ask({"token": "bad"})
    assert await client.is_closed()
    await until(lambda: not world.sio.eio.sockets)


@pytest.mark.parametrize("text", ["a" * 500_000, "a-" * 200_000, "a." * 200_000, "bearer " * 50_000, "token" * 90_000])
def test_redacting_takes_time_in_proportion(text):
    audit.without_secrets(text)  # it was hours, and the test run has a limit


async def test_a_long_room_name_and_a_long_session_id_hold_nobody_up(make_world):
    world = await make_world()
    world.guard.serve_rooms()
    client = await world.member()
    await client.event("join-room", "a" * 900_000, ack=1)
    await client.expect_ack(1)
    poll = Poll(world.host)
    await poll.http.get("/socket.io/?EIO=4&transport=polling&sid=" + "a" * 30_000)
    await poll.close()


async def test_the_guard_stands_at_the_handlers_after_uninstrument(make_world):
    world = await make_world(False)
    world.sio.on("connect", lambda *arguments: world.calls.append("connect"))
    world.sio.instrument(auth=False, mode="development").uninstrument()
    guard = AsyncGuard(world.issuer.verifier(), clock=world.clock)
    guard.attach(world.sio)
    client = await world.client()
    assert (await client.ask({"token": "rubbish"})).startswith("44")
    assert world.calls == []


async def test_a_half_upgrade_does_not_outlive_a_session_that_was_closed_by_post(make_world):
    world = await make_world(max_anonymous=3)
    for _count in range(5):
        poll = await Poll(world.host).open()
        url = f"ws://{world.host}/socket.io/?EIO=4&transport=websocket&sid={poll.sid}"
        async with ws_connect(url, compression=None) as half:
            await half.send("2probe")
            await half.recv()
            await poll.post("1")
            await asyncio.wait_for(half.wait_closed(), 3)
        await poll.close()
    await until(lambda: not world.sio._trigger_event.__self__.port.websockets)


async def test_a_polling_session_goes_on_after_an_upgrade_that_failed(make_world, monkeypatch):
    monkeypatch.setattr("roomkey.socketio.sessions.UPGRADE_SECONDS", 0.1)
    world = await make_world()
    poll = await Poll(world.host).open()
    await poll.post("40" + json.dumps({"token": world.token()}))
    await poll.get()
    url = f"ws://{world.host}/socket.io/?EIO=4&transport=websocket&sid={poll.sid}"
    async with ws_connect(url, compression=None) as half:
        await half.send("2probe")
        await asyncio.wait_for(half.wait_closed(), 3)
    await world.sio.emit("news", 1)
    packets = await poll.get()
    assert "news" in str(packets if packets != ["6"] else await poll.get())
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


async def test_e78_many_nested_placeholders_cost_little(make_world):
    world = await make_world()
    client = await world.member()
    inner = json.dumps([{"_placeholder": True, "num": 0}] * 20_000)
    await client.send('451-["x",' + "[" * 800 + inner + "]" * 801)
    await client.send(b"x")
    assert await client.is_closed()
