"""Pauses between two looks at a store."""

from __future__ import annotations

import asyncio
import gc

from roomkey.errors import Unavailable
from roomkey.guard.nap import Nap


async def test_store_that_fails_after_the_pause_logs_no_lost_error():
    fails = asyncio.Event()
    lost = []

    async def wait(seconds: float) -> None:
        await fails.wait()
        raise Unavailable("gone")

    asyncio.get_running_loop().set_exception_handler(lambda loop, context: lost.append(context["message"]))
    nap = Nap(wait)
    nap_taken = asyncio.create_task(nap.take(60))
    await asyncio.sleep(0)
    nap.wake()
    await nap_taken
    fails.set()  # during the next look
    while nap._waiting is not None and not nap._waiting.done():
        await asyncio.sleep(0)
    nap.begin()
    again = asyncio.create_task(nap.take(60))  # drops the first wait
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gc.collect()
    nap.wake()
    await again
    assert lost == []
