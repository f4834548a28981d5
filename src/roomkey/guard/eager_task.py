"""Tasks whose first step runs immediately, so that work that never waits costs no turn of the event loop.

Python 3.12 has such tasks (``eager_start``). On 3.11, :func:`eager_task` makes an ordinary task and takes its first
step instead of the event loop. So the whole coroutine runs in one task, and :func:`asyncio.current_task`,
:func:`asyncio.timeout`, cancellation and context variables work as in any other task.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")

if sys.version_info >= (3, 12):

    def eager_task(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run a coroutine until it waits for the first time, and return its task, which may be done."""
        return asyncio.Task(work, loop=asyncio.get_running_loop(), eager_start=True)

else:
    from asyncio.tasks import _current_tasks, _enter_task, _leave_task  # type: ignore[attr-defined]

    def eager_task(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run a coroutine until it waits for the first time, and return its task, which may be done."""
        loop = asyncio.get_running_loop()
        first: list[Any] = []

        def call_soon(step: Callable[[], object], *, context: Context) -> None:
            first.append(step)
            first.append(context)

        loop.call_soon = call_soon  # type: ignore[assignment,method-assign]  # a new task calls it once
        try:
            task = asyncio.Task(work, loop=loop)
        finally:
            del loop.call_soon
        step, context = first
        caller = _current_tasks.get(loop)
        if caller is None:
            context.run(step)
            return task
        _leave_task(loop, caller)
        try:
            context.run(step)
        finally:
            _enter_task(loop, caller)
        return task
