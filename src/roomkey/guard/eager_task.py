"""Tasks whose first step runs immediately, so that work that never waits costs no turn of the event loop.

Python 3.12 has such tasks (``eager_start``). On 3.11, a task costs more than the work of most events. So the first step
runs with a task that was made before, as its :func:`asyncio.current_task`. Work that waits keeps this task. The next
work gets it only if nobody can tell it from a new one: nobody has used an attribute of it, nobody has a reference to
it, and no context variable is set. So current task, timeouts, cancellation and context variables work as in any other
task. Only :func:`asyncio.all_tasks` does not contain a task before its work waits.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import get_running_loop
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from types import coroutine
from typing import Any
from weakref import getweakrefcount

if sys.version_info >= (3, 12):

    class EagerTasks:
        """Starts coroutines immediately, each in a task."""

        def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
            """Run a coroutine until it waits for the first time, and return its task, which may be done."""
            return asyncio.Task(work, loop=get_running_loop(), eager_start=True)

else:
    from asyncio import _register_task, _unregister_task
    from asyncio.tasks import _current_tasks  # type: ignore[attr-defined]

    Outcome = tuple[Coroutine[Any, Any, None] | None, Any, BaseException | None]
    """Work that waits, what it waits for, None; or None, None, what the work has raised."""

    _DONE: Outcome = (None, None, None)
    _NOTHING = object()

    class Task(asyncio.Task[Any]):
        """A task that somebody may know."""

        __slots__ = ()

    class _Unknown(asyncio.Task[Any]):
        """A task that becomes a :class:`Task` as soon as somebody uses an attribute of it.

        If it only noted this and stayed as it is, each later use would be slow: a handler that waits would cost a sixth
        more.
        """

        __slots__ = ()

        def __getattribute__(self, name: str) -> Any:
            object.__setattr__(self, "__class__", Task)
            return getattr(self, name)

        def __setattr__(self, name: str, value: object) -> None:
            object.__setattr__(self, "__class__", Task)
            setattr(self, name, value)

    @coroutine
    def _resume(
        work: Coroutine[Any, Any, None], value: Any, canceled: BaseException | None
    ) -> Generator[Any, Any, Any]:
        """Do the rest of work that waits.

        Args:
            work: the coroutine.
            value: what it waits for.
            canceled: raised where it waits.
        """
        while True:
            try:
                if canceled is not None:
                    raise canceled
                yield value
            except GeneratorExit:  # nothing refers to the task any more
                work.close()
                raise
            except BaseException as error:  # the work receives it
                canceled = None
                try:
                    value = work.throw(error)
                except StopIteration as end:
                    return end.value
            else:
                return (yield from work)

    @coroutine
    def _rest() -> Generator[Any, Any, Any]:
        """Take the outcome of a first step, and do the rest. This is the coroutine of each task."""
        outcome: Outcome = yield
        work, value, failure = outcome
        canceled: BaseException | None = None
        try:
            yield  # until the task goes on
        except asyncio.CancelledError as error:  # the work has canceled the task
            canceled = error
        if work is None:
            try:
                if failure is not None or canceled is not None:
                    raise failure or canceled  # type: ignore[misc]
                return None
            finally:
                del outcome, failure, canceled  # their tracebacks have this frame
        if canceled is not None and asyncio.isfuture(value) and value.cancel(*canceled.args):
            canceled = None
        return (yield from _resume(work, value, canceled))

    class _Spare:
        """A task without work, which the event loop does not know."""

        __slots__ = ("_references", "_rest", "_step", "context", "loop", "task")

        def __init__(self, loop: asyncio.AbstractEventLoop, context: Context) -> None:
            self.loop, self.context, self._rest = loop, context, _rest()
            self.task, self._step = _make_task(self._rest, loop, context)
            self._references = sys.getrefcount(self.task)

        def is_unknown(self) -> bool:
            """Return True if nobody can tell the task from a new one."""
            return (
                sys.getrefcount(self.task) == self._references
                and type(self.task) is _Unknown
                and not getweakrefcount(self.task)
            )

        def hand_over(self, outcome: Outcome) -> asyncio.Task[Any]:
            """Let the task go on after the first step of its work, or end."""
            next(self._rest)
            self._rest.send(outcome)
            _register_task(self.task)
            self.task._log_destroy_pending = True  # type: ignore[attr-defined]
            self.context.run(self._step)
            return self.task

    def _make_task(
        rest: Generator[Any, Any, Any], loop: asyncio.AbstractEventLoop, context: Context
    ) -> tuple[asyncio.Task[Any], Callable[[], object]]:
        """Make a task that the event loop does not know; return it and the function that takes its next step."""
        steps: list[Callable[[], object]] = []
        call_soon, attributes, the_tasks = loop.call_soon, vars(loop), context
        own = attributes.get("call_soon")

        def keep(function: Callable[..., Any], *arguments: Any, context: Context | None = None) -> Any:
            if context is the_tasks:
                return steps.append(function)
            return call_soon(function, *arguments, context=context)  # the garbage collector runs a finalizer

        attributes["call_soon"] = keep  # a new task calls it
        try:
            task: Any = Task(rest, loop=loop, context=context)
        finally:
            del attributes["call_soon"]
            if own is not None:
                attributes["call_soon"] = own
        _unregister_task(task)
        task._log_destroy_pending = False
        task.__class__ = _Unknown
        return task, steps[0]

    class EagerTasks:
        """Starts coroutines immediately, each in a task."""

        def __init__(self) -> None:
            self._spare: _Spare | None = None

        def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
            """Run a coroutine, which returns None, until it waits for the first time.

            Returns:
                Its task, which may be done; None if it has returned, and nobody has seen its task.
            """
            loop, context, spare = get_running_loop(), copy_context(), self._spare
            if spare is None or context or spare.loop is not loop:
                spare = _Spare(loop, context)
            else:
                self._spare = None
            caller = _current_tasks.get(loop)
            _current_tasks[loop] = spare.task
            outcome = _DONE
            try:
                # Unlike send(), next() with a default raises no exception when work returns.
                value = spare.context.run(next, work.__await__(), _NOTHING)
                if value is not _NOTHING:
                    outcome = work, value, None
            except BaseException as error:  # the task raises it
                outcome = None, None, error
            del _current_tasks[loop]
            try:
                if outcome is not _DONE or not spare.is_unknown():
                    return spare.hand_over(outcome)
                if not spare.context:
                    self._spare = spare
                return None
            finally:
                del outcome, spare  # a traceback has this frame
                if caller is not None:
                    _current_tasks[loop] = caller
