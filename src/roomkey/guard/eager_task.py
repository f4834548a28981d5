"""Tasks whose first step runs immediately, so that work that never waits costs no turn of the event loop.

Python 3.12 has such tasks (``eager_start``). On 3.11, a task costs more than the work of most events. So the first step
runs with a task that was made before, as its :func:`asyncio.current_task`. Work that waits keeps this task, and so does
work that left a trace on it: somebody holds a reference to it, waits for it, or has canceled it. Otherwise nobody can
tell it from a new one, and the next work gets it. Current task, timeouts, cancellation and context variables work as in
any other task. Only :func:`asyncio.all_tasks` does not contain a task before its work waits.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from types import CoroutineType, coroutine
from typing import Any
from weakref import getweakrefcount

if sys.version_info >= (3, 12):

    class EagerTasks:
        """Starts coroutines immediately, each in a task."""

        def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any] | None:
            """Run a coroutine until it waits for the first time, and return its task, which may be done."""
            return asyncio.Task(work, loop=asyncio.get_running_loop(), eager_start=True)

else:
    from asyncio.tasks import _current_tasks, _register_task, _unregister_task  # type: ignore[attr-defined]

    _DONE, _NOTHING, _MISSING = object(), object(), object()

    @coroutine
    def _run_each(spare: _Spare) -> Generator[Any, Any, None]:
        """Run one coroutine after the other. Unlike ``send``, this needs no exception to tell that one has returned."""
        work = yield _DONE
        while True:
            spare.result = yield from work
            work = None
            work = yield _DONE

    class Task(asyncio.Task[Any]):
        """A task that notes whether somebody sets an attribute of it.

        Attributes:
            is_marked: somebody did.
        """

        __slots__ = ("is_marked",)
        is_marked: bool

        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            super().__setattr__("is_marked", name != "is_marked")

    class _Spare(Coroutine[Any, Any, Any]):
        """A task that nobody has, and the coroutine in it: work that has taken its first step already."""

        __slots__ = (
            "_failure",
            "_first",
            "_name",
            "_references",
            "_runs",
            "begin",
            "context",
            "result",
            "step",
            "task",
        )

        __name__ = "eager"  # for the text of the task

        def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
            self._runs = _run_each(self)
            self.begin: Callable[[Any], Any] = self._runs.send
            self.begin(None)  # as far as the first ``yield``
            self._first: Any = _NOTHING
            self._failure: BaseException | None = None
            self.result: Any = None
            self.task, self.step, self.context = _make_task(self, loop)
            self._name = self.task.get_name()
            self._references = sys.getrefcount(self.task)

        def leaves_no_trace(self) -> bool:
            """Return True if nobody can tell the task from a new one."""
            task = self.task
            return (
                sys.getrefcount(task) == self._references + 1
                and task._callbacks is None
                and not task.cancelling()
                and not task._must_cancel
                and not getweakrefcount(task)
            )

        def is_as_before(self) -> bool:
            """Return True if the next work cannot see anything that its first step has changed on its task."""
            task = self.task
            return not task.is_marked and task.get_name() is self._name

        def hand_over(self, first: Any, failure: BaseException | None) -> asyncio.Task[Any]:
            """Let the task go on: with what its work waits for, or with how it ended.

            Args:
                first: what it waits for; ``_DONE`` if it has returned.
                failure: what it has raised.
            """
            task: asyncio.Task[Any] = self.task
            step, context = self.step, self.context
            del self.task, self.step, self.context, self.begin  # they keep one another in memory
            self._first, self._failure = first, failure
            _register_task(task)
            task._log_destroy_pending = True  # type: ignore[attr-defined]
            context.run(step)
            return task

        # A coroutine, as a task sees it

        def send(self, value: Any) -> Any:
            """Go on."""
            failure, self._failure = self._failure, None
            if failure is not None:
                return self._waits_for(self._runs.throw(failure))
            first, self._first = self._first, _NOTHING
            return self._waits_for(self._runs.send(value) if first is _NOTHING else first)

        def throw(self, error: Any, *more: Any) -> Any:
            """Raise an exception where the work waits."""
            first, self._first = self._first, _NOTHING
            if first is _NOTHING or first is _DONE:
                return self._waits_for(self._runs.throw(error, *more))
            # It has canceled itself in its first step: then what it waits for is canceled, if that is possible.
            if first is None or not first.cancel(*error.args[:1]):
                self._failure = error
            return first

        def close(self) -> None:
            """End the work."""
            self._runs.close()

        def __await__(self) -> Generator[Any, Any, Any]:
            raise RuntimeError("a task has this coroutine already")

        def _waits_for(self, what: Any) -> Any:
            if what is _DONE:
                raise StopIteration(self.result)
            return what

    def _make_task(
        work: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop
    ) -> tuple[Any, Callable[[], object], Context]:
        """Make a task that the event loop does not know yet; return it, its first step and its context."""
        first: list[Any] = []

        def call_soon(step: Callable[[], object], *, context: Context) -> None:
            first.append(step)
            first.append(context)

        loop.call_soon = call_soon  # type: ignore[assignment,method-assign]  # a new task calls it once
        try:
            task: Any = Task(work, loop=loop)
        finally:
            del loop.call_soon
        _unregister_task(task)
        task._log_destroy_pending = task.is_marked = False
        return task, first[0], first[1]

    def _differ(one: Context, other: Context) -> bool:
        """Return True if two contexts do not have the same values."""
        return len(one) != len(other) or any(other.get(name, _MISSING) is not one[name] for name in one)

    class EagerTasks:
        """Starts coroutines immediately, each in a task."""

        def __init__(self) -> None:
            self._loop: asyncio.AbstractEventLoop | None = None
            self._spares: list[_Spare] = []

        def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any] | None:
            """Run a coroutine until it waits for the first time.

            Returns:
                Its task, which may be done; None if it has returned, and nobody has seen its task.
            """
            loop, context = asyncio.get_running_loop(), copy_context()
            if type(work) is not CoroutineType and not asyncio.iscoroutine(work):
                raise TypeError(f"a coroutine was expected, not {work!r}")
            if loop is not self._loop:
                self._spares, self._loop = [], loop
            spare = self._spares.pop() if self._spares else _Spare(loop)
            if (context or spare.context) and _differ(context, spare.context):  # mostly, both are empty
                spare = _Spare(loop)
            caller = _current_tasks.get(loop)
            first, failure = _NOTHING, None
            _current_tasks[loop] = spare.task
            try:
                first = spare.context.run(spare.begin, work)
            except BaseException as error:  # the task that takes over raises it
                failure = error
            del _current_tasks[loop]
            try:
                if first is not _DONE or not spare.leaves_no_trace():
                    return spare.hand_over(first, failure)
            finally:
                failure = None  # its traceback has this frame
                if caller is not None:
                    _current_tasks[loop] = caller
            spare.result = None
            if spare.is_as_before() and not ((context or spare.context) and _differ(context, spare.context)):
                self._spares.append(spare)
            return None
