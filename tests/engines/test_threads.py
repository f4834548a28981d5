"""Methods awaited in another thread, on its own event loop, as in an HTTP route without ``async``."""

from __future__ import annotations

import asyncio
import inspect
import threading

import pytest
from support.scripted_revocations import ScriptedStore

from roomkey import ConfigError
from roomkey.guard.guard import AsyncioGuard
from roomkey.hub import Hub


async def in_thread(verb, *arguments, **named):
    """Call a method in another thread, and await it there."""
    return await asyncio.to_thread(lambda: asyncio.run(_await(verb, arguments, named)))


async def _await(verb, arguments, named):
    return await verb(*arguments, **named)


async def test_revocation_from_a_thread_disconnects(make_world):
    world = await make_world()
    client = await world.member()
    assert await in_thread(world.guard.revoke, subject="ada") == 1
    assert (await client.expect_event("unauthorized"))[0]["data"]["reason"] == "token_revoked"
    assert await client.is_closed()


async def test_update_from_a_thread_changes_rights(make_world):
    world = await make_world()
    client = await world.member(rooms=["red", "blue"])
    await in_thread(world.guard.enter_room, world.sid(), "red")
    assert world.rooms() == {"red": {world.sid()}}
    assert await in_thread(world.guard.update, "ada", rooms=["blue"]) == 1
    assert await client.expect_event("permissions_changed") == [{"left": ["red"]}]


async def test_coroutine_of_a_thread_can_be_awaited_on_the_server_loop(make_world):
    world = await make_world()
    client = await world.member()
    loop = asyncio.get_running_loop()

    def hand_over():
        return asyncio.run_coroutine_threadsafe(world.guard.revoke(subject="ada"), loop).result()

    assert await asyncio.to_thread(hand_over) == 1
    assert await client.is_closed()


async def test_store_first_used_by_a_thread_is_followed_afterwards(make_world):
    store = ScriptedStore()
    world = await make_world(revocations=store)
    await in_thread(world.guard.ready)
    assert (await (await world.client()).ask({"token": world.token()})).startswith("40")
    assert world.guard._revocation_sync._following.get_loop() is asyncio.get_running_loop()


@pytest.mark.parametrize("engine", ["hub"])
async def test_hub_methods_work_from_a_thread(make_world, engine):
    world = await make_world()
    client = await world.member(rooms=["red"])
    hub, sid = world.sio, world.sid()
    for verb, arguments in [
        (hub.enter_room, (sid, "red")),
        (hub.emit, ("one", 1, "red")),
        (hub.send, ("two",)),
        (hub.leave_room, (sid, "red")),
        (hub.emit, ("three", 3, "red")),
        (hub.emit, ("four", 4)),
    ]:
        await in_thread(verb, *arguments)
    assert [await client.receive() for _ in range(3)] == ['42["one",1]', '42["message","two"]', '42["four",4]']
    asking = asyncio.create_task(in_thread(hub.call, "ask", to=sid))
    assert await client.receive() == '421["ask"]'
    await client.send('431["yes"]')
    assert await asking == "yes"
    await in_thread(hub.disconnect, sid)
    assert await client.receive() == "41"
    await in_thread(hub.close)


@pytest.mark.parametrize("engine", ["hub"])
async def test_method_that_needs_the_loop_names_the_right_call(make_world, engine):
    world = await make_world()
    await world.member()

    async def work():
        world.calls.append(threading.current_thread())

    for verb, arguments in [(world.sio.start_background_task, (work,)), (world.guard.check_deadlines, ())]:
        with pytest.raises(ConfigError, match="threadsafe"):
            await asyncio.to_thread(verb, *arguments)
    assert world.calls == []


@pytest.mark.parametrize(
    ("owner", "anywhere"),
    [(AsyncioGuard, set()), (Hub, {"send", "sleep", "save_session", "get_session"})],
    ids=["guard", "hub"],
)
def test_every_public_coroutine_can_be_awaited_anywhere(owner, anywhere):
    """The methods named here touch nothing that belongs to the server's loop."""
    public = {name: member for name, member in inspect.getmembers(owner) if not name.startswith("_")}
    bound = {
        name
        for name, member in public.items()
        if inspect.iscoroutinefunction(member) and not hasattr(member, "__wrapped__")
    }
    assert bound == anywhere
