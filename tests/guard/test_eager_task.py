"""Tasks whose first step runs immediately behave as all tasks do, on each event loop and each version of Python."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from weakref import WeakSet

import pytest
import uvloop

from roomkey.guard.eager_task import EagerTasks

eager_task = EagerTasks().start
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


def _refer():
    task = asyncio.current_task()
    return lambda: asyncio.current_task() is task


def _refer_weakly():
    known = WeakSet([asyncio.current_task()])
    return lambda: asyncio.current_task() in known


@pytest.mark.parametrize(
    "leave", [_set_name, _set_attribute, _set_variable, _cancel, _cancel_and_take_back, _refer, _refer_weakly]
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


def test_task_that_is_kept_ends_with_the_result_of_its_work(run):
    async def main():
        start, kept, called = EagerTasks().start, [], []

        async def work():
            kept.append(asyncio.current_task())
            kept[0].add_done_callback(called.append)
            return "result"

        async def other():
            await asyncio.sleep(0)

        start(_nothing())
        start(work())
        later = start(other())
        assert kept[0].done()
        assert not kept[0].cancel()
        assert await kept[0] == "result"
        assert not later.cancelling()
        await later
        assert called == kept

    run(main)


def test_done_callback_is_called_although_nobody_keeps_the_task(run):
    async def main():
        start, called = EagerTasks().start, []

        async def work():
            asyncio.current_task().add_done_callback(lambda task: called.append(task.result()))
            return "result"

        start(_nothing())
        start(work())
        await asyncio.sleep(0)
        assert called == ["result"]

    run(main)


def test_work_that_cancels_itself_and_returns_is_cancelled(run):
    async def main():
        async def work():
            asyncio.current_task().cancel()
            return asyncio.current_task()

        task = EagerTasks().start(work())
        assert task.cancelled() or not task.result().cancelled()  # since 3.12, the first step is not interrupted

    run(main)


def test_work_that_cancels_itself_cancels_what_it_waits_for(run, begin):
    async def main():
        other = asyncio.ensure_future(asyncio.Event().wait())

        async def work():
            asyncio.current_task().cancel("enough")
            await other

        task = await begin(work())
        with pytest.raises(asyncio.CancelledError):
            await task
        assert other.cancelled()
        assert task.cancelled()

    run(main)


def test_context_variables_are_the_callers_also_after_other_work(run):
    async def main():
        start, told = EagerTasks().start, []

        async def tell():
            told.append(seen.get())

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


def test_starter_serves_another_loop(run):
    start = EagerTasks().start
    told = []

    async def tell():
        told.append(asyncio.get_running_loop())

    async def main():
        start(tell())

    for _ in range(2):
        asyncio.run(main())
    assert told[0] is not told[1]
