"""Handlers of every kind: functions and methods, for one event or all, and what happens when they raise."""

from __future__ import annotations

import asyncio
import logging

import pytest
from support.live import until

# Registering


@pytest.mark.parametrize("how", ["event", "event()", "event(namespace)", "on", "on(handler)", "on(namespace)"])
async def test_handler_can_be_registered_in_every_way(make_world, how):
    def prepare(world):
        async def say(sid, *arguments):
            world.calls.append(arguments)

        where = {"namespace": "/chat"} if "namespace" in how else {}
        if how == "event":
            kept = world.sio.event(say)
        elif how.startswith("event"):
            kept = world.sio.event(**where)(say)
        elif how == "on(handler)":
            kept = say if world.sio.on("say", say) is None else None
        else:
            kept = world.sio.on("say", **where)(say)
        assert kept is say

    world = await make_world(prepare=prepare)
    namespace = "/chat" if "namespace" in how else "/"
    client = await world.member("ada", namespace)
    await client.event("say", 1, {"b": [2]}, namespace=namespace)
    await until(lambda: world.calls == [(1, {"b": [2]})])


async def test_event_handler_precedes_the_catch_all_handler(make_world):
    def prepare(world):
        world.sio.on("say", lambda sid, *data: world.calls.append(("say", *data)), namespace="/chat")
        world.sio.on("*", lambda event, sid, *data: world.calls.append((event, len(sid), *data)), namespace="/chat")
        world.sio.on("say", lambda *arguments: world.calls.append("never"), namespace="*")
        world.sio.on("of-any", lambda namespace, sid, *data: world.calls.append((namespace, *data)), namespace="*")
        world.sio.on(
            "*", lambda event, namespace, sid, *data: world.calls.append((event, namespace, *data)), namespace="*"
        )

    world = await make_world(server={"namespaces": "*"}, prepare=prepare)
    chat, other = await world.member("ada", "/chat"), await world.member("bob", "/other")
    await chat.event("say", 1, namespace="/chat")
    await chat.event("else", 2, namespace="/chat")
    await chat.sync("/chat")
    await other.event("of-any", 3, namespace="/other")
    await other.event("else", 4, namespace="/other")
    await until(lambda: len(world.calls) == 4)
    assert world.calls == [("say", 1), ("else", 20, 2), ("/other", 3), ("else", "/other", 4)]


async def test_event_without_a_handler_is_not_acknowledged(make_world):
    def prepare(world):
        world.sio.on("last", lambda sid: None)

    world = await make_world(prepare=prepare)
    client = await world.member()
    await client.event("nobody", ack=1)
    await client.event("last", ack=2)
    assert await client.receive() == "432[]"


# Classes


async def test_namespace_class_has_the_methods_of_the_server(make_world):
    def prepare(world):
        class Chat(world.Namespace):
            async def on_connect(self, sid, environ, auth):
                await self.save_session(sid, {"name": world.guard.identity(sid, "/chat").subject})

            async def on_enter(self, sid, room):
                await self.enter_room(sid, room)
                async with self.session(sid) as session:
                    session["entered"] = room
                return {sid, room} < set(self.rooms(sid))

            async def on_say(self, sid, text):
                kept = await self.get_session(sid)
                await self.emit("said", [kept["name"], text], room=kept["entered"], skip_sid=sid)
                await self.send("told", to=sid)

            async def on_leave(self, sid, room):
                await self.leave_room(sid, room)
                await self.close_room(room)
                return room not in self.rooms(sid)

            async def on_ask(self, sid):
                return await self.call("question", to=sid, timeout=3)

            def on_server(self, sid):
                return self.server is world.sio

            async def on_bye(self, sid):
                await self.disconnect(sid)

            def on_disconnect(self, sid, reason):
                world.calls.append(reason)

        world.sio.register_namespace(Chat("/chat"))

    world = await make_world(policy=None, prepare=prepare)
    ada, bob = await world.member("ada", "/chat"), await world.member("bob", "/chat")
    for client in (ada, bob):
        await client.event("enter", "red", namespace="/chat", ack=1)
        assert await client.receive() == "43/chat,1[true]"
    await ada.event("say", "hello", namespace="/chat")
    assert await bob.receive() == '42/chat,["said",["ada","hello"]]'
    assert await ada.receive() == '42/chat,["message","told"]'
    await ada.event("ask", namespace="/chat", ack=2)
    assert await ada.receive() == '42/chat,1["question"]'
    await ada.send('43/chat,1["answer"]')
    assert await ada.receive() == '43/chat,2["answer"]'
    await ada.event("server", namespace="/chat", ack=3)
    assert await ada.receive() == "43/chat,3[true]"
    await ada.event("leave", "red", namespace="/chat", ack=4)
    assert await ada.receive() == "43/chat,4[true]"
    assert world.rooms("/chat") == {}
    await ada.event("bye", namespace="/chat")
    assert await ada.receive() == "41/chat,"
    await until(lambda: world.calls == ["server disconnect"])


async def test_namespace_class_can_serve_every_namespace(make_world):
    def prepare(world):
        class Any(world.Namespace):
            def on_say(self, namespace, sid, text):
                return namespace, text

        world.sio.register_namespace(Any("*"))

    world = await make_world(server={"namespaces": "*"}, prepare=prepare)
    client = await world.member("ada", "/b")
    await client.event("say", "x", namespace="/b", ack=1)
    assert await client.receive() == '43/b,1["/b","x"]'


@pytest.mark.parametrize("wrong", [object(), "/chat", dict])
async def test_register_namespace_requires_an_instance(make_world, wrong):
    world = await make_world()
    with pytest.raises(ValueError):
        world.sio.register_namespace(wrong)


@pytest.mark.checklist("C44")
@pytest.mark.parametrize("event", ["emit", "_hidden", "__init__", "missing", "on_say", "say there"])
async def test_client_cannot_call_methods_that_are_not_handlers(make_world, event):
    def prepare(world):
        class Chat(world.Namespace):
            def on_say(self, sid):
                world.calls.append("say")

            def emit(self, *arguments, **named):
                world.calls.append("emit")

            def _hidden(self, *arguments):
                world.calls.append("hidden")

        world.sio.register_namespace(Chat("/chat"))

    world = await make_world(prepare=prepare)
    client = await world.member("ada", "/chat")
    await client.event(event, namespace="/chat")
    await client.event("say", namespace="/chat")
    await until(lambda: "say" in world.calls)
    assert world.calls == ["say"]


# What handlers raise


@pytest.mark.checklist("E83")
@pytest.mark.parametrize("kind", ["async", "sync", "too few arguments"])
async def test_failing_handler_is_logged_and_the_next_event_is_handled(make_world, kind, caplog):
    def prepare(world):
        async def later(sid, data):
            raise RuntimeError("in the handler")

        def at_once(sid, data):
            raise RuntimeError("in the handler")

        world.sio.on("x", {"async": later, "sync": at_once}.get(kind, lambda sid: None))
        world.sio.on("good", lambda sid: "fine")

    asyncio.get_running_loop().set_exception_handler(lambda loop, context: logging.error(str(context)))
    world = await make_world(prepare=prepare)
    client = await world.member()
    await client.event("x", 1, ack=1)
    [answer] = await client.expect_ack(1)
    assert (answer["ok"], answer["error"]["code"]) == (False, "temporarily_unavailable")
    await client.event("x", 1)
    await client.event("good", ack=2)
    assert await client.receive() == '432["fine"]'
    assert client.inbox.empty()
