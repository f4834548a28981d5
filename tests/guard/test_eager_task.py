"""Tasks whose first step runs immediately behave as all tasks do, on each event loop and each version of Python."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

import pytest
import uvloop

from roomkey.guard.eager_task import eager_task

seen: ContextVar[str] = ContextVar("seen", default="nothing")


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request):
    """``run(function)``: call a coroutine function on a new event loop, and return its result."""
    with asyncio.Runner(loop_factory=request.param, debug=False) as runner:
        yield lambda function: runner.run(function())


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
    async def work():
        return asyncio.current_task()

    async def main():
        task = await begin(work())
        assert task.done()
        assert task.result() is task
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
        with pytest.raises(TypeError):
            eager_task("not a coroutine")
        eager_task(asyncio.sleep(0))
        assert "call_soon" not in vars(loop)
        loop.call_soon(turns.append, 1)
        await asyncio.sleep(0)
        assert turns == [1]

    run(main)
