"""Wait for background work, from inside and outside callbacks."""

from __future__ import annotations

import asyncio


async def test_settle_inside_a_callback_does_not_wait_for_it(make_world):
    """Two callbacks that settle at the same time do not wait for each other."""
    settled = []

    def prepare(world):
        for number in range(2):

            @world.guard.on_refused
            async def settle(error, address, number=number):
                await (world.sio if world.engine == "hub" else world.guard).settle()
                settled.append(number)

    world = await make_world(prepare=prepare)
    client = await world.client()
    assert (await client.ask({"token": "bad"})).startswith("44")
    await asyncio.wait_for(world.settle(), 20)
    assert sorted(settled) == [0, 1]


async def test_settle_waits_for_what_a_callback_begins(make_world, engine):
    """In any order: a refusal starts a task, which disconnects a socket, which has a disconnect handler."""
    done = []

    def prepare(world):
        async def later():
            await asyncio.sleep(0.01)
            await world.guard.revoke(subject="bob")

        @world.guard.on_refused
        async def refused(error, address):
            if engine == "hub":
                world.sio.start_background_task(later)
            else:
                await later()

        @world.sio.event
        async def disconnect(sid, *reason):
            await asyncio.sleep(0.01)
            done.append(sid)

    world = await make_world(prepare=prepare)
    await world.member("bob")
    sid = world.sid("bob")
    client = await world.client()
    assert (await client.ask({"token": "bad"})).startswith("44")
    await asyncio.wait_for(world.settle(), 20)
    assert done == [sid]
