"""Handlers of connect and disconnect: what they are told, and what becomes of what they raise."""

from __future__ import annotations

import pytest
from socketio.exceptions import ConnectionRefusedError as HostRefusal
from support.live import until

from roomkey.socketio import Authenticate

REFUSALS = [
    ((), {"message": "Connection rejected by server"}),
    (("full",), {"message": "full"}),
    (("full", {"seats": 0}), {"message": "full", "data": {"seats": 0}}),
    (("full", ["a", 1]), {"message": "full", "data": ["a", 1]}),
    (("full", "a", "b"), {"message": "full", "data": ["a", "b"]}),
    ((7,), {"message": "7"}),
]


@pytest.mark.parametrize(("arguments", "told"), REFUSALS, ids=str)
async def test_a_refusal_tells_the_client_its_message_and_data(make_world, engine, arguments, told):
    """Where the application gives no data, the hub gives that of the wire contract, as every refusal has it."""

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
async def test_a_refusal_after_authenticate_keeps_its_message_and_data(make_world, arguments, told):
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
async def test_python_s_own_exception_refuses_as_well(make_world, arguments, told):
    """python-socketio tells nothing of it. The hub has no exception of its own, so an application raises this one."""

    def prepare(world):
        @world.sio.event
        def connect(sid, environ):
            raise ConnectionRefusedError(*arguments)

    world = await make_world(prepare=prepare)
    client = await world.client()
    answer = await client.ask_data({"token": world.token()})
    assert answer == {"data": answer["data"], **told}


async def test_a_database_that_is_down_is_not_what_the_client_is_told(make_world):
    """The same exception, raised by the operating system, has an address of the inside in it."""

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


async def test_auth_reaches_the_connect_handler_as_it_was_sent(make_world):
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
async def test_disconnect_handlers_with_and_without_a_reason(make_world, takes, kind):
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
async def test_disconnect_handlers_are_told_the_reason_once(make_world, how, reason):
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


async def test_a_disconnect_handler_with_a_type_error_of_its_own_is_called_once(make_world, engine):
    """python-socketio takes the error for that of a handler without a reason, and calls it a second time."""

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


async def test_what_a_connect_handler_sends_to_its_client_comes_after_the_reply(make_world, engine):
    """As in Node. From python-socketio it comes before, when the client does not know yet that it is connected."""

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
