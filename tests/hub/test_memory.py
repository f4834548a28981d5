"""A connection leaves no reference cycles: its memory is free immediately, without the garbage collector."""

from __future__ import annotations

import gc

import pytest
from support.live import until
from support.rawsocket import RawSocket, close_frame, frame, hello

MARKS = ("roomkey.hub.engine_session", "roomkey.hub.transports", "roomkey.hub.socket", "roomkey.guard.", "roomkey.wire")


async def leave(world, raw):
    await raw.send(close_frame())
    await raw.ends()


async def drop(world, raw):
    await raw.close()


async def violate(world, raw):
    await raw.send(frame(b"", 7))
    await raw.close_code()


async def disconnect(world, raw):
    await raw.text("41")
    await raw.close()


async def revoke(world, raw):
    await world.guard.revoke(subject="ada")
    await raw.close_code()


@pytest.fixture
def garbage():
    """Collect what was garbage before, leave the rest alone, and then keep all that only the collector finds."""
    gc.collect()
    gc.freeze()
    gc.disable()
    yield
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


def cycles() -> list[str]:
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    gc.set_debug(0)
    found = [type(one) for one in gc.garbage if type(one).__module__.startswith(MARKS)]
    gc.garbage.clear()
    return sorted({f"{one.__module__}.{one.__name__}" for one in found})


@pytest.mark.checklist("J7")
@pytest.mark.parametrize("handler", [False, True], ids=["no handler", "disconnect handler"])
@pytest.mark.parametrize("end", [leave, drop, violate, disconnect, revoke])
async def test_connection_leaves_no_cycle(make_world, garbage, end, handler):
    def prepare(world):
        if handler:
            world.sio.on("disconnect", lambda sid, reason: None)

    world = await make_world(prepare=prepare)
    for _ in range(2):  # the first one fills caches
        gc.collect()
        raw = await RawSocket.member(world.host, world.token())
        await end(world, raw)
        await until(lambda: not world.guard.index.connections)
        await world.settle()
        await world.tick(2.0)
        await raw.close()
    assert cycles() == []


async def test_connection_that_is_never_admitted_leaves_no_cycle(make_world, garbage):
    world = await make_world()
    for packet in (None, hello("no token"), hello(world.token(), "/unknown,"), "junk"):
        gc.collect()
        raw = await RawSocket.session(world.host)
        if packet is not None:
            await raw.text(packet)
            await raw.close_code()
        await raw.close()
        await until(lambda: not world.guard.index.connections)
        await world.settle()
        await world.tick(2.0)
        assert cycles() == [], packet
