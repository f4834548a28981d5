"""The threads or greenlets of a ``socketio.Server``, for the guard."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from importlib import import_module
from typing import Any

from roomkey.errors import ConfigError
from roomkey.guard.thread_tasks import NativeEvent, NativeLock, Primitives
from roomkey.guard.threads import Threads

UNLIMITED = 2**31
POLL_SECONDS = 0.01
"""How often a greenlet of eventlet looks at an event: other threads cannot wake it."""


def primitives_of(sio: Any) -> Primitives:
    """Return what a server runs on.

    Raises:
        ConfigError: it does not run on threads, gevent or eventlet.
    """
    made: dict[str, Callable[[], Primitives]] = {
        "threading": Threads,
        "gevent": GeventGreenlets,
        "gevent_uwsgi": GeventGreenlets,
        "eventlet": EventletGreenlets,
    }
    if sio.async_mode not in made:
        raise ConfigError(
            f"cannot attach the guard: it does not support async_mode={sio.async_mode!r}; "
            "use 'threading', 'gevent' or 'eventlet'"
        )
    return made[sio.async_mode]()


class GeventGreenlets:
    """The greenlets of gevent, with and without its monkey patches."""

    max_workers = UNLIMITED

    def __init__(self) -> None:
        self._gevent = import_module("gevent")
        self._event = import_module("gevent.event").Event
        self._semaphore = import_module("gevent.lock").Semaphore

    def start(self, function: Callable[[], object]) -> object:
        """Call a function in a new greenlet."""
        return self._gevent.spawn(function)

    def start_native(self, function: Callable[[], object]) -> object:
        """Call a function in a new thread of the operating system."""
        return self._gevent.get_hub().threadpool.spawn(function)

    def current(self) -> Hashable:
        """Return the current greenlet."""
        current: Hashable = self._gevent.getcurrent()
        return current

    def lock(self) -> NativeLock:
        """Return a new lock."""
        lock: NativeLock = self._semaphore(1)
        return lock

    def event(self) -> NativeEvent:
        """Return a new event, which every thread of the operating system can set."""
        event: NativeEvent = self._event()
        return event


class EventletGreenlets:
    """The greenlets of eventlet, with and without its monkey patches."""

    max_workers = UNLIMITED

    def __init__(self) -> None:
        self._eventlet = import_module("eventlet")
        self._semaphore = import_module("eventlet.semaphore").Semaphore
        self._threading = import_module("eventlet.patcher").original("threading")

    def start(self, function: Callable[[], object]) -> object:
        """Call a function in a new greenlet."""
        return self._eventlet.spawn(function)

    def start_native(self, function: Callable[[], object]) -> object:
        """Call a function in a new thread of the operating system."""
        return self._threading.Thread(target=function, name="roomkey-guard", daemon=True).start()

    def current(self) -> Hashable:
        """Return the current greenlet."""
        current: Hashable = self._eventlet.getcurrent()
        return current

    def lock(self) -> NativeLock:
        """Return a new lock."""
        lock: NativeLock = self._semaphore(1)
        return lock

    def event(self) -> NativeEvent:
        """Return a new event, which every thread of the operating system can set."""
        return _PolledEvent(self._eventlet.sleep)


class _PolledEvent:
    """An event at which its greenlet looks again and again."""

    def __init__(self, sleep: Callable[[float], object]) -> None:
        self._sleep = sleep
        self._is_set = False

    def set(self) -> None:
        self._is_set = True

    def clear(self) -> None:
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def wait(self, timeout: float | None = None) -> bool:
        left = float("inf") if timeout is None else timeout
        while not self._is_set and left > 0:
            pause = min(POLL_SECONDS, left)
            self._sleep(pause)
            left -= pause
        return self._is_set
