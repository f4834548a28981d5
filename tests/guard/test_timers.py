"""One timer of the event loop for all deadlines."""

from __future__ import annotations

import asyncio
from functools import partial

from support.clock import FakeClock
from support.live import until

from roomkey.guard.clock import SystemClock
from roomkey.guard.timers import Timers


def call_later(seconds, callback):
    return asyncio.get_running_loop().call_later(seconds, callback)


async def test_deadlines_pass_in_their_order():
    clock, passed = FakeClock(), []
    timers = Timers(clock, call_later)
    connection, admission, expiry, gone = (partial(passed.append, name) for name in "caeg")
    timers.after(connection, 10)
    timers.after(admission, 5)
    timers.at(expiry, clock.now() + 7)
    timers.after(gone, 1)
    timers.cancel(gone)
    clock.advance(6)
    timers.check()
    assert passed == ["a"]
    clock.advance(10)
    timers.check()
    assert passed[1:] == ["c", "e"]


async def test_deadline_can_be_moved_and_cancelled():
    clock, passed = FakeClock(), []
    timers = Timers(clock, call_later)
    one, two = (partial(passed.append, name) for name in ("one", "two"))
    timers.at(one, clock.now() + 5)
    timers.at(one, clock.now() + 50)
    timers.at(two, clock.now() + 5)
    timers.cancel(two)
    clock.advance(20)
    timers.check()
    assert passed == []
    clock.advance(31)
    timers.check()
    assert passed == ["one"]


async def test_callback_has_one_deadline_on_both_clocks():
    clock, passed = FakeClock(), []
    timers = Timers(clock, call_later)
    one = partial(passed.append, 1)
    timers.after(one, 5)
    timers.at(one, clock.now() + 50)
    clock.advance(20)
    timers.check()
    assert passed == []
    timers.after(one, 100)
    clock.advance(60)
    timers.check()
    assert passed == []
    clock.advance(60)
    timers.check()
    assert passed == [1]
    assert len(timers) == 0


async def test_one_timer_fires_for_all_deadlines():
    passed = []
    timers = Timers(SystemClock(), call_later)
    before = len(asyncio.get_running_loop()._scheduled)
    for number in range(1000):
        timers.after(partial(passed.append, number), 0.05)
    assert len(asyncio.get_running_loop()._scheduled) - before <= 1
    await until(lambda: len(passed) == 1000)


async def test_failing_callback_does_not_stop_the_timer():
    passed = []

    def one(name):
        passed.append(name)
        if len(passed) == 1:
            raise RuntimeError("in a callback")

    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    timers = Timers(SystemClock(), call_later)
    timers.after(partial(one, "1"), 0.01)
    timers.after(partial(one, "2"), 0.03)
    await until(lambda: len(passed) == 2)
