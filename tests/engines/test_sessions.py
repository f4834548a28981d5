"""Sessions of clients, and background tasks of the application."""

from __future__ import annotations

import asyncio
import logging

import pytest
from support.live import until


async def test_session_is_saved_and_replaced(make_world):
    world = await make_world()
    await world.member("ada")
    await world.member("bob")
    ada, bob = world.sid("ada"), world.sid("bob")
    assert await world.sio.get_session(ada) == {}
    await world.sio.save_session(ada, {"cart": [1]})
    assert await world.sio.get_session(ada) == {"cart": [1]}
    async with world.sio.session(ada) as session:
        session["cart"].append(2)
        session["name"] = "ada"
    assert await world.sio.get_session(ada) == {"cart": [1, 2], "name": "ada"}
    await world.sio.save_session(ada, {})
    assert await world.sio.get_session(ada) == {}
    async with world.sio.session(bob) as session:
        session["first"] = True
    assert await world.sio.get_session(bob) == {"first": True}


async def test_each_namespace_of_a_connection_has_its_own_session(make_world):
    world = await make_world(server={"namespaces": ["/", "/chat"]})
    client = await world.member()
    await client.ask({"token": world.token()}, "/chat")
    await world.sio.save_session(world.sid(), {"of": "/"})
    async with world.sio.session(world.sid(namespace="/chat"), namespace="/chat") as session:
        session["of"] = "/chat"
    assert await world.sio.get_session(world.sid()) == {"of": "/"}
    assert await world.sio.get_session(world.sid(namespace="/chat"), namespace="/chat") == {"of": "/chat"}


async def test_session_lasts_from_connect_to_disconnect_handler(make_world):
    def prepare(world):
        @world.sio.event
        async def connect(sid, environ, auth):
            await world.sio.save_session(sid, {"began": True})

        @world.sio.event
        async def disconnect(sid, reason):
            world.calls.append(await world.sio.get_session(sid))

    world = await make_world(prepare=prepare)
    client = await world.member()
    await client.close()
    await until(lambda: world.calls == [{"began": True}])


@pytest.mark.checklist("J7")
@pytest.mark.parametrize("verb", ["get_session", "save_session", "enter_room"])
async def test_session_of_a_disconnected_client_is_deleted(make_world, verb):
    world = await make_world()
    client = await world.member()
    sid = world.sid()
    await client.close()
    await until(lambda: world.is_empty)
    more = {"get_session": (), "save_session": ({},), "enter_room": ("red",)}[verb]
    with pytest.raises(Exception):  # noqa: B017 - KeyError, ValueError or PermissionDenied
        await getattr(world.sio, verb)(sid, *more)
    assert world.rooms() == {}


async def test_background_task_returns_its_result(make_world):
    async def add(*numbers, more=0):
        await world.sio.sleep(0)
        world.calls.append(numbers)
        return sum(numbers) + more

    world = await make_world()
    task = world.sio.start_background_task(add, 1, 2, more=3)
    assert world.calls == []
    assert isinstance(task, asyncio.Task)
    assert await task == 6


async def test_failing_background_task_raises_when_awaited(make_world):
    async def fail():
        raise LookupError("in the background")

    world = await make_world()
    with pytest.raises(LookupError):
        await world.sio.start_background_task(fail)


@pytest.mark.parametrize("engine", ["hub"])
async def test_failing_background_task_is_logged_if_not_awaited(make_world, caplog):
    """On python-socketio, the event loop logs it when the task is collected."""

    async def fail():
        raise LookupError("in the background")

    world = await make_world()
    world.sio.start_background_task(fail)
    await world.settle()
    assert [entry.name for entry in caplog.records if entry.levelno == logging.ERROR] == ["roomkey.guard"]
    assert "in the background" in caplog.text


async def test_background_task_can_be_canceled(make_world, caplog):
    world = await make_world()
    task = world.sio.start_background_task(asyncio.Event().wait)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await world.settle()
    assert caplog.records == []


async def test_background_task_can_emit(make_world):
    async def tell(sid):
        await world.sio.emit("later", 1, to=sid)

    def prepare(world):
        @world.sio.event
        async def begin(sid):
            world.sio.start_background_task(tell, sid)

    world = await make_world(prepare=prepare)
    client = await world.member()
    await client.event("begin")
    assert await client.receive() == '42["later",1]'
