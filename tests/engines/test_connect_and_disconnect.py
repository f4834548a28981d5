"""Connect and disconnect handlers: their arguments, and what happens when they raise."""

from __future__ import annotations

import pytest
from socketio.exceptions import ConnectionRefusedError as HostRefusal
from support.live import until

from roomkey.socketio import Authenticate, Handshake

REFUSALS = [
    ((), {"message": "Connection rejected by server"}),
    (("full",), {"message": "full"}),
    (("full", {"seats": 0}), {"message": "full", "data": {"seats": 0}}),
    (("full", ["a", 1]), {"message": "full", "data": ["a", 1]}),
    (("full", "a", "b"), {"message": "full", "data": ["a", "b"]}),
    ((7,), {"message": "7"}),
]


@pytest.mark.parametrize(("arguments", "told"), REFUSALS, ids=str)
async def test_refusal_sends_its_message_and_data(make_world, engine, arguments, told):
    """If the application passes no data, the hub sends the data of the wire contract, as for every refusal."""

    def prepare(world):
        @world.sio.event
        async def connect(sid, environ, auth):
            raise HostRefusal(*arguments)

    world = await make_world(prepare=prepare)
    client = await world.client()
    answer = await client.ask_data({"token": world.token()})
    if engine == "hub" and "data" not in told:
        told = told | {"data": answer["data"]}
        assert answer["data"]["type"] == "UnauthorizedError"
        assert answer["data"]["message"] == told["message"]
    assert answer == told
    assert await client.is_closed()


@pytest.mark.parametrize(("arguments", "told"), REFUSALS, ids=str)
async def test_refusal_after_authenticate_sends_its_message_and_data(make_world, arguments, told):
    def prepare(world):
        @world.sio.event
        async def connect(sid, environ, auth):
            raise HostRefusal(*arguments)

    world = await make_world(via=Authenticate(), prepare=prepare)
    client = await world.client()
    assert (await client.ask()).startswith("40")
    await client.event("authenticate", {"token": world.token()})
    [error] = await client.expect_event("unauthorized")
    assert error["message"] == error["inner"]["message"] == told["message"]
    if "data" in told:
        assert error["data"] == told["data"]
    else:
        assert error["data"]["code"] == "permission_denied"
    assert await client.is_closed()


@pytest.mark.parametrize("engine", ["hub"])
@pytest.mark.parametrize(("arguments", "told"), REFUSALS[1:4], ids=str)
async def test_builtin_connection_refused_error_refuses(make_world, arguments, told):
    """python-socketio does not send its text. The hub has no exception class, so an application raises this one."""

    def prepare(world):
        @world.sio.event
        def connect(sid, environ):
            raise ConnectionRefusedError(*arguments)

    world = await make_world(prepare=prepare)
    client = await world.client()
    answer = await client.ask_data({"token": world.token()})
    assert answer == {"data": answer["data"], **told}


async def test_operating_system_errors_are_not_sent_to_the_client(make_world):
    """The same exception contains an internal address if the operating system raised it."""

    def prepare(world):
        @world.sio.event
        async def connect(sid, environ, auth):
            raise ConnectionRefusedError(111, "Connect call failed ('10.0.0.5', 5432)")

    world = await make_world(prepare=prepare)
    client = await world.client()
    answer = await client.ask_data({"token": world.token()})
    assert "10.0.0.5" not in str(answer)
    assert "111" not in answer["message"]
    assert await client.is_closed()


async def test_connect_handler_receives_auth_as_sent(make_world):
    def prepare(world):
        @world.sio.event
        async def connect(sid, environ, auth):
            world.calls.append(auth)

    world = await make_world(prepare=prepare)
    token = world.token()
    await (await world.client()).ask({"token": token, "room": "red"})
    client = await world.client(headers={"Authorization": f"Bearer {token}"})
    await client.ask()
    again = await world.client(headers={"Authorization": f"Bearer {token}"})
    await again.ask({})
    assert world.calls == [{"token": token, "room": "red"}, None, None]


REASONS = {
    "41": "client disconnect",
    "close frame": "transport close",
    "server": "server disconnect",
}


@pytest.mark.parametrize("takes", [1, 2])
@pytest.mark.parametrize("kind", ["async", "sync", "class", "any namespace"])
async def test_disconnect_handler_may_take_a_reason(make_world, takes, kind):
    def prepare(world):
        def note(*arguments):
            world.calls.append(arguments[-1] if takes == 2 else len(arguments))

        if kind == "async":

            async def one(sid):
                note(sid)

            async def two(sid, reason):
                note(sid, reason)

            world.sio.on("disconnect", one if takes == 1 else two)
        elif kind == "sync":
            world.sio.on("disconnect", (lambda sid: note(sid)) if takes == 1 else (lambda sid, reason: note(reason)))
        elif kind == "class":

            class One(world.Namespace):
                def on_disconnect(self, sid):
                    note(sid)

            class Two(world.Namespace):
                async def on_disconnect(self, sid, reason):
                    note(sid, reason)

            world.sio.register_namespace((One if takes == 1 else Two)("/"))
        else:
            one, two = (lambda namespace, sid: note(sid)), (lambda namespace, sid, reason: note(sid, reason))
            world.sio.on("disconnect", one if takes == 1 else two, namespace="*")

    world = await make_world(prepare=prepare)
    client = await world.member()
    await client.send("41")
    await until(lambda: world.calls)
    assert world.calls == [1 if takes == 1 else "client disconnect"]


@pytest.mark.parametrize(("how", "reason"), REASONS.items(), ids=REASONS)
async def test_disconnect_handler_receives_the_reason_once(make_world, how, reason):
    def prepare(world):
        world.sio.on("disconnect", lambda sid, reason: world.calls.append(reason))

    world = await make_world(prepare=prepare)
    client = await world.member()
    if how == "41":
        await client.send("41")
    elif how == "server":
        await world.sio.disconnect(world.sid())
    else:
        await client.close()
    await until(lambda: world.calls)
    await until(lambda: world.is_empty)
    assert world.calls == [reason]


async def test_disconnect_handler_that_raises_type_error_is_called_once(make_world, engine):
    """python-socketio assumes that the handler takes no reason, and calls it a second time."""

    def prepare(world):
        def disconnect(sid, reason=None):
            world.calls.append(reason)
            raise TypeError("inside the handler")

        world.sio.on("disconnect", disconnect)

    world = await make_world(prepare=prepare)
    client = await world.member()
    await client.send("41")
    await until(lambda: world.is_empty)
    assert world.calls == (["client disconnect"] if engine == "hub" else ["client disconnect", None])


async def test_emits_of_a_connect_handler_follow_the_reply(make_world, engine):
    """As in Node. python-socketio sends it before the reply, when the client is not connected yet."""

    def prepare(world):
        @world.sio.event
        async def connect(sid, environ, auth):
            await world.sio.enter_room(sid, "red")
            await world.sio.emit("welcome", 1, to=sid)
            await world.sio.emit("welcome", 2, to=sid)
            await world.sio.emit("news", 3, room="red")

    world = await make_world(policy=None, prepare=prepare)
    client = await world.client()
    replies = [await client.ask({"token": world.token()}), *[await client.receive() for _ in range(2)]]
    kinds = [str(packet)[:14] for packet in replies if str(packet).startswith("42")]
    assert kinds == ['42["welcome",1', '42["welcome",2']
    assert replies[0 if engine == "hub" else 2].startswith("40{")
    await world.sio.emit("news", 4, room="red")
    assert await client.receive() == '42["news",4]'


# A client that leaves by DISCONNECT


async def test_client_can_reconnect_after_leaving_its_last_namespace(make_world):
    def prepare(world):
        world.sio.on("disconnect", lambda sid, reason: world.calls.append(reason))

    world = await make_world(prepare=prepare)
    client = await world.member()
    first = world.sid()
    await client.send("41")
    await until(lambda: world.is_empty)
    assert (await client.ask({"token": world.token()})).startswith("40")
    assert world.sid() != first
    await world.tick(60)
    await client.sync()
    assert world.calls == ["client disconnect"]


@pytest.mark.checklist("K6")
@pytest.mark.parametrize("via", [Handshake(), Authenticate()], ids=["handshake", "authenticate"])
async def test_connection_without_a_namespace_closes_after_connect_timeout(make_world, via):
    world = await make_world(via=via, required=False)
    client = await world.client()
    assert (await client.ask()).startswith("40")
    await world.tick(100)
    await client.send("41")
    await until(lambda: world.is_empty)
    await world.tick(14)
    await client.sync()
    await world.tick(2)
    assert await client.is_closed()
    assert world.refusals[-1][0].code == "authentication_timeout"


@pytest.mark.checklist("C38")
async def test_namespace_visits_do_not_extend_the_deadline(make_world):
    world = await make_world(via=Authenticate(timeout=60), connect_timeout=15)
    client = await world.client()
    await world.tick(10)
    assert (await client.ask()).startswith("40")
    await client.send("41")
    await until(lambda: world.is_empty)
    await world.tick(6)
    assert await client.is_closed()


async def test_disconnecting_the_last_namespace_closes(make_world):
    world = await make_world()
    client = await world.member()
    await world.sio.disconnect(world.sid())
    assert await client.receive() == "41"
    assert await client.is_closed()


# Namespaces that a client has not joined


PLACE = '{"_placeholder":true,"num":0}'
NEVER_JOINED = ['42/chat,["x"]', '42/chat,1["x"]', '43/chat,1["x"]', "41/chat,", f'451-/chat,["x",{PLACE}]']


@pytest.mark.parametrize("packet", NEVER_JOINED)
async def test_packet_for_a_namespace_not_joined_is_ignored(make_world, packet):
    def prepare(world):
        world.sio.on("x", lambda *arguments: world.calls.append(arguments), namespace="/chat")
        world.sio.on("last", lambda sid: "done")

    world = await make_world(prepare=prepare)
    client = await world.member()
    await client.send(packet)
    if packet.startswith("45"):
        await client.send(b"bytes")
    await client.event("last", ack=9)
    assert await client.receive() == '439["done"]'
    assert world.calls == []


@pytest.mark.checklist("C39")
@pytest.mark.parametrize("packet", NEVER_JOINED)
async def test_packet_before_any_namespace_closes_unless_it_leaves(make_world, packet):
    world = await make_world()
    client = await world.client()
    await client.send(packet)
    if packet.startswith("41"):
        assert (await client.ask({"token": world.token()})).startswith("40")
    else:
        assert await client.is_closed()
        assert world.refusals[-1][0].code == "protocol_violation"


@pytest.mark.checklist("K10")
async def test_unknown_namespace_is_refused_with_the_message_only(make_world):
    """The protocol's own test suite requires this."""
    world = await make_world()
    client = await world.member()
    assert await client.ask(namespace="/random") == '44/random,{"message":"Invalid namespace"}'
