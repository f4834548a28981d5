"""Acknowledgements in both directions, callbacks and call()."""

from __future__ import annotations

import asyncio
import logging

import pytest
from socketio.exceptions import TimeoutError as HostTimeout
from support.live import until
from support.rawsocket import PATIENCE
from support.tasks import tasks_made

from roomkey.core.ack_expiry import ACK_SECONDS, MAX_CALLBACKS
from roomkey.errors import CredentialsError, ProtocolViolation
from roomkey.socketio import Authenticate, SubjectLimits

# From the server: what a handler returns, and the acknowledgement that is written for it.
RETURNED = [
    (None, "[]"),
    ((), "[]"),
    ("delivered", '["delivered"]'),
    (("a", 2), '["a",2]'),
    ((None,), "[null]"),
    (["a", 2], '[["a",2]]'),
    ({"ok": True}, '[{"ok":true}]'),
    (0, "[0]"),
    (False, "[false]"),
    ("", '[""]'),
]


@pytest.mark.parametrize("kind", ["async", "sync"])
@pytest.mark.parametrize(("value", "wire"), RETURNED, ids=str)
async def test_handler_result_is_the_acknowledgement(make_world, kind, value, wire):
    def prepare(world):
        async def later(sid, *arguments):
            return value

        world.sio.on("x", later if kind == "async" else lambda sid, *arguments: value)

    world = await make_world(prepare=prepare)
    client = await world.member()
    await client.event("x", 1, ack=7)
    assert await client.receive() == f"437{wire}"
    await client.event("x", 1)
    await client.sync()
    assert client.inbox.empty()  # nobody asked


@pytest.mark.parametrize("kind", ["async", "sync", "class"])
async def test_handler_can_withhold_its_acknowledgement(make_world, kind, caplog):
    def prepare(world):
        async def later(sid):
            return world.sio.not_handled

        class Chat(world.Namespace):
            def on_x(self, sid):
                return self.server.not_handled

        if kind == "class":
            world.sio.register_namespace(Chat("/"))
        else:
            world.sio.on("x", later if kind == "async" else lambda sid: world.sio.not_handled)
        world.sio.on("last", lambda sid: "done")

    world = await make_world(prepare=prepare)
    client = await world.member()
    await client.event("x", ack=1)
    await client.event("last", ack=2)
    assert await client.receive() == '432["done"]'
    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR] == []


async def test_acknowledgements_keep_their_ids_and_namespaces(make_world):
    gate = asyncio.Event()

    def prepare(world):
        async def slow(sid):
            await gate.wait()
            return "slow"

        world.sio.on("slow", slow, namespace="/chat")
        world.sio.on("quick", lambda sid: "quick", namespace="/chat")

    world = await make_world(prepare=prepare)
    client = await world.member("ada", "/chat")
    await client.event("slow", namespace="/chat", ack=0)
    await client.event("quick", namespace="/chat", ack=999_999_999_999_999)
    assert await client.receive() == '43/chat,999999999999999["quick"]'
    gate.set()
    assert await client.receive() == '43/chat,0["slow"]'


async def test_handler_that_returns_no_json_harms_nobody(make_world):
    """The hub answers as for a handler that fails; python-socketio encodes the answer in a task of its own."""

    def prepare(world):
        world.sio.on("bad", lambda sid: object())
        world.sio.on("good", lambda sid: 1)

    world = await make_world(prepare=prepare)
    client = await world.member()
    await client.event("bad", ack=1)
    if world.engine == "hub":
        assert (await client.receive()).startswith('431[{"ok":false,"error":{"message":"temporarily unavailable"')
    await client.event("good", ack=2)
    assert await client.receive() == "432[1]"


# From the client

ANSWERED = [("[]", ()), ('["yes"]', ("yes",)), ('["a",{"b":[1]}]', ("a", {"b": [1]})), ("[null]", (None,))]


@pytest.mark.parametrize("kind", ["async", "sync"])
@pytest.mark.parametrize(("wire", "values"), ANSWERED, ids=str)
async def test_callback_receives_the_client_acknowledgement(make_world, kind, wire, values):
    async def later(*arguments):
        told.append(arguments)

    told = []
    world = await make_world()
    client = await world.member()
    callback = later if kind == "async" else lambda *arguments: told.append(arguments)
    await world.sio.emit("ask", 1, to=world.sid(), callback=callback)
    assert await client.receive() == '421["ask",1]'
    await client.send(f"431{wire}")
    await until(lambda: told)
    await client.send(f"431{wire}")  # once is all
    await client.sync()
    assert told == [values]


@pytest.mark.checklist("E82")
async def test_acknowledgement_of_another_client_calls_nothing(make_world):
    told = []
    world = await make_world(server={"namespaces": ["/", "/chat"]})
    ada, eve = await world.member("ada"), await world.member("eve")
    await ada.ask({"token": world.token("ada")}, "/chat")
    await world.sio.emit("ask", to=world.sid("ada"), callback=lambda *values: told.append(values))
    await ada.expect_event("ask")
    await eve.send('431["forged"]')
    await ada.send('43/chat,1["of another namespace"]')
    await ada.send('432["of another question"]')
    await ada.send('431["true"]')
    await until(lambda: told)
    await eve.sync()
    assert told == [("true",)]
    assert eve.ws.close_code is None


@pytest.mark.checklist("E82")
async def test_acknowledgement_of_id_0_calls_nothing(make_world, engine):
    """python-socketio keeps its counter under this ID, so the guard closes the connection. The hub has no counter."""
    world = await make_world()
    client = await world.member()
    await client.send("430[]")
    if engine == "hub":
        await client.sync()
        assert client.ws.close_code is None
    else:
        assert await client.is_closed()


UNASKED = ['431["x"]', '43999999999999999["x"]', "430[]", '43/never,1["x"]', "432[]"]


@pytest.mark.checklist("I114")
@pytest.mark.parametrize("packet", UNASKED, ids=["one", "huge", "zero", "namespace", "two"])
async def test_unsolicited_acknowledgement_flood_closes_without_tasks(make_world, engine, packet):
    """An acknowledgement that matches nothing is counted, and nothing is queued for it."""
    world = await make_world(server={"event_rate": 10} if engine == "hub" else None)
    client = await world.member()
    with tasks_made() as made:
        for _ in range(300):
            await client.send(packet)
        assert await client.is_closed()
    assert len(made) < 20, made
    assert len(world.refusals) == 1


@pytest.mark.checklist("C39")
async def test_unsolicited_acknowledgements_before_admission_close_once(make_world):
    world = await make_world(via=Authenticate())
    client = await world.client()
    await client.ask()
    with tasks_made() as made:
        for _ in range(300):
            await client.send('431["x"]')
        assert await client.is_closed()
    assert len(made) < 20, made
    told = [type(error) for error, _ in world.refusals]
    assert told in ([CredentialsError], [CredentialsError, ProtocolViolation])  # the flood may outrun the end


async def test_unsolicited_acknowledgement_counts_as_an_event_of_its_subject(make_world):
    world = await make_world(subject_limits=SubjectLimits(events=3))
    client = await world.member()
    for _ in range(3):
        await client.send('439["late"]')
    await client.event("x", ack=1)
    assert "limit_exceeded" in str(await client.receive())


async def test_expected_acknowledgement_needs_no_task_and_is_not_counted(make_world):
    told = []
    world = await make_world(subject_limits=SubjectLimits(events=3))
    client = await world.member()
    for _ in range(5):
        await world.sio.emit("ask", to=world.sid(), callback=lambda *values: told.append(values))
        await client.expect_event("ask")
    with tasks_made() as made:
        for number in range(1, 6):
            await client.send(f'43{number}["yes"]')
        await until(lambda: len(told) == 5)
    assert made == []
    await client.event("x", ack=1)
    await client.sync()
    assert "limit" not in str(client.seen)


def _waiting(world, sid):
    """Return how many callbacks wait for a socket, according to the server's tables."""
    if world.engine == "hub":
        return len(world.sio.application.rooms.get(sid)._acks or ())
    return sum(1 for number in world.sio.manager.callbacks.get(sid, ()) if number)


async def test_pending_callbacks_are_bounded_in_number(make_world):
    told = []
    world = await make_world()
    client = await world.member()
    for number in range(MAX_CALLBACKS + 5):
        await world.sio.emit("ask", to=world.sid(), callback=lambda number=number: told.append(number))
    assert _waiting(world, world.sid()) == MAX_CALLBACKS
    for number in (1, 5, 6, MAX_CALLBACKS + 5):
        await client.send(f"43{number}[]")
    await until(lambda: MAX_CALLBACKS + 4 in told)
    assert told == [5, MAX_CALLBACKS + 4]


async def test_pending_callbacks_are_bounded_in_time(make_world, clock):
    told = []
    world = await make_world(grace=0)
    silent, other = await world.member("ada", expires_in=86400), await world.member("bob", expires_in=86400)
    await world.sio.emit("ask", to=world.sid("ada"), callback=lambda: told.append("late"))
    clock.advance(ACK_SECONDS + 1)
    await world.sio.emit("ask", to=world.sid("bob"), callback=lambda: told.append("in time"))
    assert (_waiting(world, world.sid("ada")), _waiting(world, world.sid("bob"))) == (0, 1)
    await world.sio.emit("ask", to=world.sid("ada"), callback=lambda: told.append("asked again"))
    await silent.send("431[]")
    await silent.sync()
    await other.send("431[]")
    await until(lambda: told == ["in time"])


async def test_failing_callback_harms_nobody(make_world, caplog):
    def broken(*values):
        raise RuntimeError("in a callback")

    caplog.set_level(logging.ERROR)
    world = await make_world()
    client = await world.member()
    await world.sio.emit("ask", to=world.sid(), callback=broken)
    await client.expect_event("ask")
    await client.send("431[]")
    await until(lambda: "in a callback" in caplog.text)
    assert client.ws.close_code is None


async def test_callback_requires_a_single_client(make_world, engine):
    """python-socketio calls it once per client, which its documentation does not describe."""
    told = []
    world = await make_world(policy=None)
    clients = [await world.member(name) for name in ("ada", "bob")]
    for name in ("ada", "bob"):
        await world.sio.enter_room(world.sid(name), "red")
    for where in ({}, {"room": "red"}, {"to": [world.sid("ada")]}):
        if engine == "hub":
            with pytest.raises(ValueError, match="one client"):
                await world.sio.emit("ask", callback=told.append, **where)
        else:
            await world.sio.emit("ask", callback=told.append, **where)
            await clients[0].expect_event("ask")
    assert clients[0].inbox.empty()


async def test_callback_of_a_disconnected_client_is_never_called(make_world):
    told = []
    world = await make_world()
    client = await world.member()
    sid = world.sid()
    await client.close()
    await until(lambda: world.is_empty)
    await world.sio.emit("ask", to=sid, callback=lambda *values: told.append(values))
    assert told == []


# call


async def call_and_answer(make_world, answer, **arguments):
    world = await make_world()
    client = await world.member()
    calling = asyncio.create_task(world.sio.call("ask", {"q": 1}, to=world.sid(), **arguments))
    assert await client.receive() == '421["ask",{"q":1}]'
    await client.send(f"431{answer}")
    return await asyncio.wait_for(calling, 20)


@pytest.mark.parametrize(("wire", "value"), [("[]", None), ('["yes"]', "yes"), ('["a",2]', ("a", 2)), ("[[1]]", [1])])
async def test_call_returns_the_acknowledgement(make_world, wire, value):
    assert await call_and_answer(make_world, wire) == value


async def test_call_works_inside_a_handler(make_world):
    def prepare(world):
        @world.sio.event
        async def begin(sid):
            return await world.sio.call("ask", to=sid)

    world = await make_world(prepare=prepare)
    client = await world.member()
    await client.event("begin", ack=5)
    assert await client.receive() == '421["ask"]'
    await client.send('431["answer"]')
    assert await client.receive() == '435["answer"]'


async def test_call_accepts_a_namespace_and_the_sid_argument(make_world):
    world = await make_world(server={"namespaces": ["/chat"]})
    client = await world.member("ada", "/chat")
    sid = world.sid("ada", "/chat")
    calling = asyncio.create_task(world.sio.call("ask", sid=sid, namespace="/chat"))
    assert await client.receive() == '42/chat,1["ask"]'
    await client.send('43/chat,1["here"]')
    assert await calling == "here"


async def test_call_without_an_acknowledgement_times_out(make_world, engine):
    world = await make_world()
    await world.member()
    # The hub raises Python's own exceptions where they exist.
    with pytest.raises(TimeoutError if engine == "hub" else HostTimeout):
        await world.sio.call("ask", to=world.sid(), timeout=0.02)


@pytest.mark.parametrize("engine", ["hub"])
async def test_canceled_call_leaves_no_callback(make_world):
    """python-socketio keeps the callback while the client is connected, so a silent client could fill the memory."""
    world = await make_world()
    await world.member()
    asked = world.sio.application.rooms.get(world.sid())
    with pytest.raises(TimeoutError):
        await world.sio.call("ask", to=world.sid(), timeout=0)
    calling = asyncio.create_task(world.sio.call("ask", to=world.sid()))
    await asyncio.sleep(0)
    calling.cancel()
    await asyncio.wait({calling})
    assert asked._acks == {}


async def test_call_without_a_recipient_is_rejected(make_world):
    world = await make_world()
    await world.member()
    with pytest.raises(ValueError):
        await world.sio.call("ask")


@pytest.mark.parametrize("gone", ["before", "meanwhile"])
async def test_call_of_a_disconnected_client_fails_immediately(make_world, engine, gone):
    """python-socketio waits for the timeout even if the client has disconnected."""
    world = await make_world()
    client = await world.member()
    sid = world.sid()
    if gone == "before":
        await client.close()
        await until(lambda: world.is_empty)
    calling = asyncio.create_task(world.sio.call("ask", to=sid, timeout=60 if engine == "hub" else 0.1))
    if gone == "meanwhile":
        await client.expect_event("ask")
        await client.close()
    await asyncio.wait({calling}, timeout=PATIENCE)
    assert isinstance(calling.exception(), TimeoutError if engine == "hub" else HostTimeout)
