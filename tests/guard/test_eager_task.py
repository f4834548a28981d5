"""Tasks whose first step runs immediately behave as all tasks do, on each event loop and each version of Python."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from contextlib import suppress
from contextvars import Context, ContextVar
from functools import partial
from weakref import WeakSet, ref

import anyio
import pytest
import uvloop
from sqlalchemy.ext.asyncio import async_scoped_session, async_sessionmaker

import roomkey.guard.eager_task
from roomkey.guard.eager_task import EagerTasks

lends = pytest.mark.skipif(sys.version_info >= (3, 12), reason="Python has eager tasks")
eager_task = EagerTasks().start
seen: ContextVar[str] = ContextVar("seen", default="nothing")


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request):
    """``run(function)``: call a coroutine function on a new event loop, without context variables."""
    with asyncio.Runner(loop_factory=request.param, debug=False) as runner:
        yield lambda function: runner.run(function(), context=Context())


@pytest.fixture(params=["in a task", "in a callback"])
def begin(request):
    """``await begin(coroutine)``: make an eager task where another task runs, or where none does."""

    async def make(work):
        if request.param == "in a task":
            me = asyncio.current_task()
            task = eager_task(work)
            assert asyncio.current_task() is me
            return task
        made = asyncio.get_running_loop().create_future()

        def call():
            made.set_result(eager_task(work))
            assert asyncio.current_task() is None

        asyncio.get_running_loop().call_soon(call)
        return await made

    return make


def test_work_that_never_waits_is_done_at_once(run, begin):
    tasks = []

    async def work():
        tasks.append(asyncio.current_task())

    async def main():
        task = await begin(work())
        assert task.done()
        assert tasks == [task]
        assert task not in asyncio.all_tasks()

    run(main)


def test_work_that_waits_runs_in_one_task(run, begin):
    steps = []

    async def work():
        for _ in range(3):
            steps.append(asyncio.current_task())
            await asyncio.sleep(0)
        return "result"

    async def main():
        task = await begin(work())
        assert set(steps) == {task}
        assert task in asyncio.all_tasks()
        assert await task == "result"
        assert steps == [task] * 3

    run(main)


def test_failure_is_the_tasks(run, begin):
    async def fail():
        raise LookupError("inside")

    async def main():
        task = await begin(fail())
        assert task.done()
        with pytest.raises(LookupError):
            await task

    run(main)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_exit_passes_through(run, error):
    async def leave():
        raise error

    async def main():
        with pytest.raises(error):
            eager_task(leave())
        assert asyncio.current_task() is not None

    run(main)


def test_timeouts_end_the_right_task(run, begin):
    async def work():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        async with asyncio.timeout(None) as later:
            later.reschedule(asyncio.get_running_loop().time() + 100)
            await asyncio.sleep(0)
        return "went on"

    async def main():
        assert await (await begin(work())) == "went on"
        assert asyncio.current_task().cancelling() == 0

    run(main)


def test_cancellation_arrives_where_it_waits(run, begin):
    async def work():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            return error.args

    async def main():
        task = await begin(work())
        assert task.cancel("enough")
        assert await task == ("enough",)

    run(main)


def test_cancelled_task_is_cancelled(run, begin):
    async def main():
        task = await begin(asyncio.sleep(100))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    run(main)


def test_work_can_cancel_itself_in_its_first_step(run, begin):
    async def work():
        asyncio.current_task().cancel()
        await asyncio.sleep(0)

    async def main():
        task = await begin(work())
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)


def test_context_is_a_copy_of_the_callers_and_the_same_in_each_step(run):
    told = []

    async def work():
        told.append(seen.get())
        seen.set("inner")
        await asyncio.sleep(0)
        told.append(seen.get())

    async def main():
        seen.set("outer")
        task = eager_task(work())
        assert seen.get() == "outer"
        await task
        assert told == ["outer", "inner"]
        assert seen.get() == "outer"

    run(main)


def test_eager_tasks_can_make_others(run, begin):
    order = []

    async def work(depth):
        me = asyncio.current_task()
        order.append(depth)
        if depth < 3:
            inner = eager_task(work(depth + 1))
            assert asyncio.current_task() is me
            await inner
            assert asyncio.current_task() is me
        await asyncio.sleep(0)

    async def main():
        task = await begin(work(0))
        assert order == [0, 1, 2, 3]
        await task

    run(main)


def test_task_groups_work_inside(run, begin):
    async def work():
        async with asyncio.TaskGroup() as group:
            one = group.create_task(asyncio.sleep(0, 1))
            two = group.create_task(asyncio.sleep(0, 2))
        return one.result() + two.result()

    async def main():
        assert await (await begin(work())) == 3

    run(main)


def test_event_loop_is_as_before(run):
    async def main():
        loop, turns = asyncio.get_running_loop(), []
        start = EagerTasks().start
        start(asyncio.sleep(0))
        assert "call_soon" not in vars(loop)
        vars(loop)["call_soon"] = replaced = partial(loop.call_soon)
        start(asyncio.sleep(0))
        assert vars(loop).pop("call_soon") is replaced
        loop.call_soon(turns.append, 1)
        await asyncio.sleep(0)
        assert turns == [1]

    run(main)


async def _nothing():
    """Return without waiting."""


def _set_name():
    asyncio.current_task().set_name("mine")
    return lambda: asyncio.current_task().get_name() == "mine"


def _set_attribute():
    asyncio.current_task().subject = "ada"
    return lambda: hasattr(asyncio.current_task(), "subject")


def _set_variable():
    seen.set("ada")
    return lambda: seen.get() == "ada"


def _cancel():
    asyncio.current_task().cancel()
    return lambda: asyncio.current_task().cancelling()


def _cancel_and_take_back():
    asyncio.current_task().cancel()
    asyncio.current_task().uncancel()
    return lambda: asyncio.current_task().cancelling()


def _ask_for_the_name():
    name = asyncio.current_task().get_name()
    return lambda: asyncio.current_task().get_name() == name


def _cancel_later():
    asyncio.get_running_loop().call_soon(asyncio.current_task().cancel)
    return lambda: asyncio.current_task().cancelling()


def _end_a_timeout():
    timeout = asyncio.timeout(0)
    with suppress(StopIteration):
        timeout.__aenter__().send(None)
    return lambda: timeout._task is asyncio.current_task()


def _cancel_a_scope():
    with anyio.CancelScope() as scope:
        scope.cancel()
    return lambda: asyncio.current_task().cancelling()


def _raise_and_keep_the_frame():
    task = asyncio.current_task()
    try:
        raise LookupError
    except LookupError as error:
        traceback = error.__traceback__
    del task
    return lambda: traceback.tb_frame.f_locals.get("task") is asyncio.current_task()


def _refer():
    task = asyncio.current_task()
    return lambda: asyncio.current_task() is task


def _refer_weakly():
    known = WeakSet([asyncio.current_task()])
    return lambda: asyncio.current_task() in known


@pytest.mark.parametrize(
    "leave",
    [
        _set_name,
        _set_attribute,
        _set_variable,
        _ask_for_the_name,
        _cancel,
        _cancel_and_take_back,
        _cancel_later,
        _end_a_timeout,
        _cancel_a_scope,
        _raise_and_keep_the_frame,
        _refer,
        _refer_weakly,
    ],
)
def test_traces_on_a_task_are_not_seen_by_other_work(run, leave):
    async def main():
        start, found, asked = EagerTasks().start, [], []

        async def first():
            found.append(leave())

        async def second():
            asked.append(found[0]())

        start(_nothing())
        start(first())
        start(second())
        assert asked in ([False], [0])

    run(main)


def test_task_that_is_kept_ends_with_its_work(run):
    async def main():
        start, kept, called = EagerTasks().start, [], []

        async def work():
            kept.append(asyncio.current_task())
            kept[0].add_done_callback(called.append)

        async def other():
            await asyncio.sleep(0)

        start(_nothing())
        start(work())
        later = start(other())
        assert kept[0].done()
        assert not kept[0].cancel()
        assert await kept[0] is None
        assert not later.cancelling()
        await later
        assert called == kept

    run(main)


def test_done_callback_is_called_although_nobody_keeps_the_task(run):
    async def main():
        start, called = EagerTasks().start, []

        async def work():
            asyncio.current_task().add_done_callback(lambda task: called.append(task.result()))

        start(_nothing())
        start(work())
        await asyncio.sleep(0)
        assert called == [None]

    run(main)


def test_work_that_cancels_itself_and_returns_is_cancelled(run):
    async def main():
        async def work():
            asyncio.current_task().cancel()
            return asyncio.current_task()

        task = EagerTasks().start(work())
        assert task.cancelled()

    run(main)


def test_work_that_cancels_itself_cancels_what_it_waits_for(run, begin):
    async def main():
        other = asyncio.get_running_loop().create_future()

        async def work():
            asyncio.current_task().cancel("enough")
            await other

        task = await begin(work())
        with pytest.raises(asyncio.CancelledError):
            await task
        assert other.cancelled()
        with pytest.raises(asyncio.CancelledError, match="enough"):
            other.result()
        assert task.cancelled()

    run(main)


def test_context_variables_are_the_callers_also_after_other_work(run):
    async def main():
        start, told = EagerTasks().start, []

        async def tell():
            told.append(seen.get())

        start(_nothing())
        for value in ("nothing", "one", "one", "two"):
            seen.set(value)
            start(tell())
        assert told == ["nothing", "one", "one", "two"]

    run(main)


def test_spare_tasks_do_not_keep_a_loop_from_ending(run):
    async def main():
        start = EagerTasks().start
        start(_nothing())
        start(_nothing())
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return start

    run(main)  # and the runner cancels all tasks, and waits for them


def test_starter_serves_other_loops():
    start, told = EagerTasks().start, []

    async def tell():
        told.append((asyncio.get_running_loop(), asyncio.current_task().get_loop()))

    async def main():
        start(_nothing())
        start(tell())
        start(_nothing())

    with asyncio.Runner() as one, asyncio.Runner() as other:
        for runner in (one, other, one):
            runner.run(main(), context=Context())
            runner.run(main(), context=Context())
    assert all(running is known for running, known in told)
    assert len({running for running, _ in told}) == 2


class Thing:
    """Something that can be referred to weakly."""


@lends
def test_work_that_leaves_no_trace_makes_no_task(run, monkeypatch):
    async def main():
        start, made = EagerTasks().start, []
        make = roomkey.guard.eager_task._make_task
        monkeypatch.setattr(roomkey.guard.eager_task, "_make_task", lambda *given: made.append(1) or make(*given))
        for _ in range(3):
            assert start(_nothing()) is None
        assert made == [1]
        start(asyncio.sleep(0))
        start(_nothing())
        assert made == [1, 1]

    run(main)


def test_work_that_other_work_starts_has_a_task_of_its_own(run):
    async def main():
        start, tasks = EagerTasks().start, []

        async def inner():
            tasks.append(asyncio.current_task())

        async def outer():
            start(inner())
            tasks.append(asyncio.current_task())

        start(_nothing())
        start(outer())
        assert tasks[0] is not tasks[1]

    run(main)


def test_late_cancellation_does_not_reach_other_work(run):
    async def main():
        start, loop, ended = EagerTasks().start, asyncio.get_running_loop(), []

        async def careless():
            loop.call_soon(asyncio.current_task().cancel)

        async def other():
            await asyncio.sleep(0.01)
            ended.append("other")

        start(_nothing())
        start(careless())
        await start(other())
        assert ended == ["other"]

    run(main)


def test_scoped_sessions_are_not_shared(run):
    async def main():
        start, sessions = EagerTasks().start, []
        scoped = async_scoped_session(async_sessionmaker(), scopefunc=asyncio.current_task)

        async def work():
            sessions.append(scoped())

        start(_nothing())
        start(work())
        start(work())
        assert sessions[0] is not sessions[1]

    run(main)


def test_caught_cancellation_lets_work_go_on(run, begin):
    async def work():
        caught = 0
        for _ in range(3):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                caught += 1
        await asyncio.sleep(0)
        return caught

    async def main():
        task = await begin(work())
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        assert await task == 3

    run(main)


def test_failure_after_its_own_cancellation_is_a_failure(run, begin):
    async def work():
        asyncio.current_task().cancel()
        raise LookupError

    async def main():
        task = await begin(work())
        with pytest.raises(LookupError):
            task.result()

    run(main)


def test_work_goes_on_in_debug_mode(run, begin):
    async def work():
        await asyncio.sleep(0)
        return "result"

    async def main():
        asyncio.get_running_loop().set_debug(True)
        eager_task(_nothing())
        assert await (await begin(work())) == "result"

    run(main)


def test_ended_work_keeps_nothing_in_memory(run):
    async def main():
        start, kept = EagerTasks().start, []

        async def work(thing, *, fail, wait, mark):
            kept.append(ref(thing))
            if mark:
                asyncio.current_task().subject = thing
            seen.set(thing)
            if wait:
                await asyncio.sleep(0)
            if fail:
                raise LookupError(thing)
            return thing

        for choice in range(8):
            task = start(work(Thing(), fail=choice & 1, wait=choice & 2, mark=choice & 4))
            if task is not None:
                await asyncio.wait([task])
                with suppress(LookupError):
                    task.result()
            del task
        assert [thing() for thing in kept] == [None] * 8

    gc.disable()
    try:
        run(main)
    finally:
        gc.enable()


def test_variables_of_a_caller_are_not_kept(run):
    async def main():
        start, thing = EagerTasks().start, Thing()
        known = ref(thing)

        async def call(value):
            seen.set(value)
            start(_nothing())

        await asyncio.create_task(call(thing))
        del thing
        await asyncio.sleep(0)
        assert known() is None

    run(main)


@lends
def test_finalizers_can_call_the_event_loop(run):
    """The garbage collector can run while a task is being made."""

    async def main():
        start, loop, deleted, called = EagerTasks().start, asyncio.get_running_loop(), [], []
        going = True

        class Garbage:
            def __init__(self):
                self.itself = self

            def __del__(self):
                deleted.append(1)
                loop.call_soon(called.append, 1)
                if going:
                    Garbage()

        before = gc.get_threshold()
        Garbage()
        gc.set_threshold(1)
        try:
            tasks = [start(asyncio.sleep(0, number)) for number in range(100)]
        finally:
            gc.set_threshold(*before)
            going = False
            gc.collect()
        assert [await task for task in tasks] == list(range(100))
        assert len(deleted) > 100
        assert called == deleted

    run(main)


def test_threads_do_not_exchange_their_tasks():
    start, wrong = EagerTasks().start, []

    async def check():
        if asyncio.current_task().get_loop() is not asyncio.get_running_loop():
            wrong.append(1)

    async def main():
        for _ in range(2000):
            start(_nothing())
            start(check())

    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(3)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong


def test_asynchronous_generator_is_closed_with_its_loop(run):
    closed = []

    async def numbers():
        try:
            yield 1
            yield 2
        finally:
            closed.append(1)

    async def main():
        start, kept = EagerTasks().start, numbers()

        async def work():
            assert await anext(kept) == 1

        start(_nothing())
        start(work())

    run(main)
    gc.collect()
    run(lambda: asyncio.sleep(0.01))
    assert closed == [1]


def test_its_own_cancellation_reaches_work_once(run, begin):
    async def work():
        asyncio.current_task().cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        return "went on"

    async def main():
        assert await (await begin(work())) == "went on"

    run(main)


def test_event_loop_hears_of_tasks_that_are_lost_and_not_of_spare_ones(run):
    async def main():
        start, told = EagerTasks().start, []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["message"]))

        async def wait_for_ever():
            await asyncio.get_running_loop().create_future()

        start(_nothing())
        del start
        gc.collect()
        assert told == []
        EagerTasks().start(wait_for_ever())
        gc.collect()
        assert told == ["Task was destroyed but it is pending!"]

    run(main)
