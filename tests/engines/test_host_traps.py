"""Ways in which python-socketio admits clients by default, each tried without the guard, with it, and on the hub."""

from __future__ import annotations

import asyncio
import json

import pytest
import socketio
from support.live import Poll, until
from support.rawsocket import PATIENCE
from support.sessions import eio_sids
from support.world import NOT_THE_OWNER

from roomkey import PermissionDenied

both = pytest.mark.parametrize(
    ("engine", "guarded"),
    [("python-socketio", False), ("python-socketio", True), ("hub", True)],
    ids=["open", "guarded", "hub"],
)


@pytest.mark.checklist("K1")
@both
async def test_broadcast_during_the_connect_handler_does_not_arrive(make_world, guarded):
    gate, inside = asyncio.Event(), asyncio.Event()

    def prepare(world):
        @world.sio.event
        async def connect(sid, environ, auth):
            inside.set()
            await gate.wait()
            raise socketio.exceptions.ConnectionRefusedError("not you")

    world = await make_world(guarded, prepare=prepare)
    client = await world.client()
    asking = asyncio.create_task(client.send("40" + json.dumps({"token": world.token()})))
    await inside.wait()
    await world.sio.emit("secret", "for members only")
    gate.set()
    await asking
    packets = [await client.receive()]
    if not packets[0].startswith("44"):
        packets.append(await client.receive())
    assert any("not you" in packet for packet in packets)
    assert any("for members only" in packet for packet in packets) is not guarded


@pytest.mark.checklist("K1")
@both
async def test_broadcast_during_verification_does_not_arrive(make_world, guarded):
    gate, inside = asyncio.Event(), asyncio.Event()
    world = await make_world(False)

    class SlowVerifier:
        async def verify(self, token, now, *, source=""):
            inside.set()
            await gate.wait()
            return world.issuer.verifier().verify(token, now)

    def prepare(made):
        if not guarded:

            @made.sio.event
            async def connect(sid, environ, auth):
                await SlowVerifier().verify(auth["token"], made.clock.now())

    other = await make_world(guarded, prepare=prepare, verifier=SlowVerifier())
    client = await other.client()
    await client.send("40" + json.dumps({"token": world.token()}))
    await inside.wait()
    await other.sio.emit("secret", "for members only")
    await other.sio.emit("secret", "for members only", room="/")
    gate.set()
    first = await client.receive()
    assert ("for members only" in first) is not guarded


@pytest.mark.checklist("K2")
@both
@pytest.mark.parametrize("kind", ["function", "class", "catch-all class", "catch-all function"])
async def test_namespace_without_a_connect_handler_is_guarded(make_world, guarded, kind):
    def prepare(world):
        if kind == "function":

            @world.sio.on("order", namespace="/quiet")
            async def order(sid, data):
                world.calls.append(("order", data))

        elif kind == "catch-all function":

            @world.sio.on("order", namespace="*")
            async def order(namespace, sid, data):
                world.calls.append(("order", data))

        else:

            class Quiet(world.Namespace):
                async def on_order(self, *arguments):
                    world.calls.append(("order", arguments[-1]))

            world.sio.register_namespace(Quiet("*" if "catch-all" in kind else "/quiet"))

    server = {"namespaces": "*"} if "catch-all" in kind else None
    world = await make_world(guarded, server=server, prepare=prepare)
    client = await world.client()
    reply = await client.ask(namespace="/quiet")
    await client.event("order", 7, namespace="/quiet")
    if guarded:
        assert "no token provided" in reply
        assert await client.is_closed()
        assert world.calls == []
    else:
        await until(lambda: world.calls)
        assert world.calls == [("order", 7)]


@pytest.mark.checklist("K3")
@both
async def test_connect_handler_that_raises_refuses(make_world, guarded):
    def prepare(world):
        @world.sio.event
        async def connect(sid, environ, auth):
            raise KeyError("a claim that is not there")

    world = await make_world(guarded, prepare=prepare)
    client = await world.client()
    await client.send("40" + json.dumps({"token": world.token()}))
    if guarded:
        assert json.loads(str(await client.receive())[2:])["data"]["code"] == "temporarily_unavailable"
        assert await client.is_closed()
    else:
        await until(lambda: world.sio.manager.rooms.get("/", {}).get(None))
    await world.sio.emit("secret", 1)
    assert any("secret" in packet for packet in await client.quiet()) is not guarded


@pytest.mark.checklist("K4")
@both
async def test_connect_handler_that_raises_type_error_is_called_once(make_world, guarded):
    def prepare(world):
        @world.sio.event
        async def connect(sid, environ, auth=None):
            world.calls.append(("connect",))
            raise TypeError("inside the handler")

    world = await make_world(guarded, prepare=prepare)
    client = await world.client(headers={"Authorization": f"Bearer {world.token()}"})
    await client.send("40")
    await until(lambda: len(world.calls) == (1 if guarded else 2))
    if guarded:
        assert "temporarily_unavailable" in str(await client.receive())
    assert len(world.calls) == (1 if guarded else 2)


@pytest.mark.checklist("K5")
@both
async def test_swallowed_refusal_does_not_admit(make_world, guarded):
    """Flask-SocketIO's default error handler keeps the client connected, as does any wrapper that swallows errors."""

    def prepare(world):
        @world.sio.event
        async def connect(sid, environ, auth):
            try:
                raise ConnectionRefusedError("no token")
            except ConnectionRefusedError:
                world.calls.append("swallowed")

    world = await make_world(guarded, prepare=prepare)
    client = await world.client()
    assert (await client.ask()).startswith("40{") is not guarded


@pytest.mark.checklist("K6", "C37")
async def test_connection_without_connect_is_closed_at_the_deadline(make_world):
    world = await make_world()
    client = await world.client()
    await world.tick(14.9)
    assert not client.inbox.qsize()
    await world.tick(0.2)
    assert await client.is_closed()
    assert world.refusals[0][0].code == "authentication_timeout"


@pytest.mark.checklist("K7")
@both
async def test_refused_client_loses_its_websocket(make_world, guarded):
    def prepare(world):
        @world.sio.event
        async def connect(sid, environ, auth):
            if not guarded:
                raise socketio.exceptions.ConnectionRefusedError("no")

    world = await make_world(guarded, prepare=prepare)
    client = await world.client()
    assert (await client.ask({"token": "x.y.z"})).startswith("44")
    assert await client.is_closed(within=PATIENCE if guarded else 0.2) is guarded


@pytest.mark.checklist("K7")
async def test_refusals_count_next_to_an_admitted_namespace(make_world):
    world = await make_world(server={"namespaces": "*"})
    client = await world.member()
    for _attempt in range(3):
        assert (await client.ask({"token": "bad"}, "/other")).startswith("44")
    assert await client.is_closed()


@pytest.mark.checklist("K8")
@both
async def test_disconnect_closes_the_websocket(make_world, guarded):
    world = await make_world(guarded)
    client = await world.client()
    reply = await client.ask({"token": world.token()})
    await world.sio.disconnect(json.loads(reply[2:])["sid"])
    assert await client.receive() == "41"
    assert await client.is_closed(within=PATIENCE if guarded else 0.2) is guarded


@pytest.mark.checklist("K8")
async def test_disconnect_closes_the_polling_session(make_world):
    world = await make_world()
    poll = await Poll(world.host).open()
    await poll.post("40" + json.dumps({"token": world.token()}))
    sid = json.loads((await poll.get())[0][2:])["sid"]
    await world.sio.disconnect(sid)
    assert (await poll.get())[0] == "41"
    await world.settle()
    last = await poll.http.get(poll.url())
    assert last.status_code >= 400 or last.text == "1"  # CLOSE, or no such session
    assert poll.sid not in eio_sids(world.guard)
    await poll.close()


@pytest.mark.checklist("K10")
@both
async def test_unknown_namespace_is_refused_by_name(make_world, guarded):
    world = await make_world(guarded)
    client = await world.client()
    reply = await client.ask({"token": world.token()}, "/nowhere")
    assert ('"message":"Invalid namespace"' in reply) is guarded


@pytest.mark.checklist("K11")
@both
@pytest.mark.parametrize("auth", ["a string", ["a", "list"], 5, True, 1.5])
async def test_auth_of_a_wrong_type_reaches_no_handler(make_world, guarded, auth):
    def prepare(world):
        @world.sio.event
        async def connect(sid, environ, auth=None):
            world.calls.append((auth,))

    world = await make_world(guarded, prepare=prepare)
    client = await world.client()
    reply = await client.ask(auth)
    assert world.calls == ([] if guarded else [(auth,)])
    if guarded:
        assert json.loads(reply[2:])["data"]["message"] == "invalid token datatype"


@pytest.mark.checklist("K12", "E65")
@both
@pytest.mark.parametrize(
    "packet", ["59999999-" + '["x"]', "511-" + '["x",{"_placeholder":true,"num":0}]', '50-["x"]', '5["x"]']
)
async def test_attachments_are_bounded(make_world, guarded, packet):
    world = await make_world(guarded)
    client = await world.client()
    assert (await client.ask({"token": world.token()})).startswith("40")
    await client.send("4" + packet)
    assert await client.is_closed(within=PATIENCE if guarded else 0.2) is guarded


@pytest.mark.checklist("K13")
async def test_identity_requires_a_socket_of_this_process(make_world):
    world = await make_world()
    with pytest.raises(PermissionDenied):
        world.guard.identity("AAAAAAAAAAAAAAAAAAAA")


@pytest.mark.checklist("K14", "C44")
@both
@pytest.mark.parametrize("name", ["connect", "disconnect", "connect_error", "disconnecting", "newListener"])
async def test_reserved_names_from_clients_call_no_handler(make_world, guarded, name):
    def prepare(world):
        for event in ("connect", "disconnect", "connect_error", "disconnecting", "newListener"):

            def handler(sid, *arguments, event=event):
                world.calls.append((event, *arguments))

            world.sio.on(event, handler)

    world = await make_world(guarded, prepare=prepare)
    client = await world.client()
    assert (await client.ask({"token": world.token()})).startswith("40")
    world.calls.clear()
    await client.event(name, {"forged": 1}, {"token": "forged"})
    if guarded:
        assert await client.is_closed()
    else:
        await until(lambda: world.calls)
    assert any("forged" in str(call) for call in world.calls) is not guarded


@pytest.mark.checklist("K15", "D56")
@both
async def test_stolen_session_id_reads_nothing(make_world, engine, guarded):
    world = await make_world(guarded)
    owner = await Poll(world.host, headers={"Authorization": f"Bearer {world.token()}"}).open()
    thief = Poll(world.host)
    thief.sid = owner.sid
    await owner.post("40")
    if guarded:
        assert await thief.answer() == NOT_THE_OWNER
    assert (await owner.get())[0].startswith("40")
    await world.sio.emit("private", "for the owner")
    assert ("for the owner" in (await thief.answer())[1]) is not guarded
    if guarded:
        await thief.post('42["forged"]')
        assert "for the owner" in (await owner.get())[0]
        assert [error.code for error, _ in world.refusals if error.code != "protocol_violation"] == [
            "credentials_required"
        ] * 3
    await owner.close()
    await thief.close()


@pytest.mark.checklist("K15", "D56")
async def test_another_token_of_the_same_subject_owns_the_session(make_world, engine):
    world = await make_world()
    owner = await Poll(world.host, headers={"Authorization": f"Bearer {world.token()}"}).open()
    await owner.post("40")
    await owner.get()
    await world.sio.emit("private", 1)
    renewed = Poll(world.host, headers={"Authorization": f"Bearer {world.token()}"})
    stranger = Poll(world.host, headers={"Authorization": f"Bearer {world.token('eve')}"})
    renewed.sid = stranger.sid = owner.sid
    assert await stranger.answer() == NOT_THE_OWNER
    assert "private" in (await renewed.get())[0]
    for poll in (owner, renewed, stranger):
        await poll.close()


@pytest.mark.checklist("K15", "D56")
async def test_session_can_be_bound_to_its_address(make_world, engine):
    world = await make_world(attach={"session_binding": "address"})
    owner = await Poll(world.host).open()
    thief = Poll(world.host, local_address="127.0.0.2")
    thief.sid = owner.sid
    assert await thief.answer() == NOT_THE_OWNER
    for poll in (owner, thief):
        await poll.close()


@pytest.mark.checklist("K16", "F87")
async def test_room_that_looks_like_a_socket_id_is_denied_to_admins(make_world):
    world = await make_world()
    world.guard.serve_rooms()
    victim = await world.member("victim")
    client = await world.member("root", roles=["admin"])
    sid = world.sid("victim")
    await client.event("join-room", sid, ack=1)
    assert (await client.expect_ack(1))[0]["ok"] is False
    assert victim.ws.close_code is None


@pytest.mark.checklist("K17", "E79")
@both
@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e400"])
async def test_nan_is_not_relayed(make_world, guarded, text):
    def prepare(world):
        @world.sio.event
        async def say(sid, data):
            await world.sio.emit("said", data)

    world = await make_world(guarded, prepare=prepare)
    other = await world.member() if guarded else await world.client()
    sender = await world.client()
    if not guarded:
        await other.ask({})
    await sender.ask({"token": world.token()})
    await sender.send(f'42["say",{text}]')
    if guarded:
        assert await sender.is_closed()
        assert await other.quiet() == []
    else:
        assert "said" in str(await other.receive())


@pytest.mark.checklist("K17", "E79")
async def test_server_cannot_send_nan(make_world):
    world = await make_world()
    await world.member()
    with pytest.raises(ValueError, match="JSON"):
        await world.sio.emit("said", float("nan"))


@pytest.mark.checklist("K18", "E70")
@both
async def test_oversized_posts_leave_no_tasks(make_world, guarded):
    world = await make_world(guarded, server={"max_http_buffer_size": 1000})
    before = len(asyncio.all_tasks())
    polls = [await Poll(world.host).open() for _ in range(5)]
    posts = [asyncio.create_task(poll.http.post(poll.url(), content="4" * 2000)) for poll in polls]
    _done, hanging = await asyncio.wait(posts, timeout=PATIENCE if guarded else 0.5)
    assert bool(hanging) is not guarded
    for task in hanging:
        task.cancel()
    for poll in polls:
        await poll.close()
    if guarded:
        await world.settle()
        # engineio's heartbeat of a closed session sleeps out its interval, and its service task goes on.
        of_engineio = ("_send_ping", "_service_task", "Event.wait")
        await until(lambda: before >= sum(not any(n in repr(t) for n in of_engineio) for t in asyncio.all_tasks()))
        assert world.guard.index.connections == set()
