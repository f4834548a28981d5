"""Wait until a server of this event loop has nothing left to do."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import roomkey
from roomkey.testing.clock import Clock
from roomkey.testing.sockets import Connection

QUIET_TURNS = 25
"""Turns of the event loop in which nothing arrives, after which everything is delivered that can be."""
HANDLER_SECONDS = 1.0
"""How long handlers of the application that wait for something are waited for."""
LONGEST_STEP = 0.1
"""The most of that time that one step uses up: a busy machine can let the process stand still for longer."""

_OURS = str(roomkey.__path__[0])


class Host:
    """A guarded server of this event loop, with its test clients.

    Args:
        guard: its guard.

    Attributes:
        connections: the open connections of test clients.
        ending: the requests of connections that have ended.
    """

    def __init__(self, guard: Any) -> None:
        self.guard = guard
        self.connections: set[Connection] = set()
        self.ending: set[asyncio.Task[Any]] = set()
        self._waiting: set[asyncio.Future[None]] = set()
        self._changes = 0
        if isinstance(guard.clock, Clock):
            guard.clock.moves(guard, asyncio.get_running_loop())

    def changed(self) -> None:
        """Wake those who wait, because something has arrived or ended."""
        self._changes += 1
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    async def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait until a condition holds; return False if it does not within so many seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while not condition():
            waiting: asyncio.Future[None] = loop.create_future()
            self._waiting.add(waiting)
            try:
                async with asyncio.timeout_at(deadline):
                    await waiting
            except TimeoutError:
                return condition()
            finally:
                self._waiting.discard(waiting)
        return True

    async def settle(self) -> None:
        """Return when packets have arrived, and handlers have ended. A handler that keeps waiting is left alone."""
        loop, left = asyncio.get_running_loop(), HANDLER_SECONDS
        while True:
            begun = loop.time()
            await self._quiet()
            running = self._running()
            if not running or left <= 0:
                return
            await asyncio.wait(running, timeout=min(left, LONGEST_STEP), return_when=asyncio.FIRST_COMPLETED)
            left -= min(loop.time() - begun, LONGEST_STEP)

    async def _quiet(self) -> None:
        turns, changes = 0, self._changes
        while turns < QUIET_TURNS:
            await asyncio.sleep(0)
            turns = turns + 1 if changes == self._changes else 0
            changes = self._changes

    def _running(self) -> set[asyncio.Task[Any]]:
        """Return the tasks of the guard, and those that run handlers; but not the application's own tasks."""
        loop, current = asyncio.get_running_loop(), asyncio.current_task()
        server = sys.modules.get("socketio.async_server")
        handlers = {task for task in getattr(server, "task_reference_holder", ()) if task.get_loop() is loop}
        guards = {task for task in self.guard.background.running if _is_ours(task)}
        return {task for task in handlers | guards | self.ending if not task.done() and task is not current}


def _is_ours(task: asyncio.Task[Any]) -> bool:
    work = task.get_coro()
    code = getattr(work, "cr_code", None) or getattr(work, "gi_code", None)  # a generator: see guard/eager_task.py
    return code is not None and code.co_filename.startswith(_OURS)


_HOSTS: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[int, Host]] = WeakKeyDictionary()


def host_of(guard: Any) -> Host:
    """Return the host of a guard in this event loop."""
    hosts = _HOSTS.setdefault(asyncio.get_running_loop(), {})
    if id(guard) not in hosts:
        hosts[id(guard)] = Host(guard)
    return hosts[id(guard)]


async def settle() -> None:
    """Return when the servers of this test have delivered everything, and their handlers have ended.

    Clients do this after what they send. Call it after ``clock.advance(…)``, and after your own ``sio.emit(…)``.
    A handler that keeps waiting for something is waited for 1 second.
    """
    for host in list(_HOSTS.get(asyncio.get_running_loop(), {}).values()):
        await host.settle()
