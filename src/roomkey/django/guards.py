"""The guards of Django's settings, and calls of them from views, signals and commands."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Collection
from contextvars import Context
from typing import Any

from asgiref.sync import async_to_sync

from roomkey import socketio as hosts
from roomkey.core.identity import Identity
from roomkey.django.connections import closing_connections, database_thread
from roomkey.django.settings import guard_settings
from roomkey.errors import AuthError, ConfigError, Unavailable
from roomkey.guard.socket_authorizer import OwnJoins
from roomkey.socketio.attaching import ServerGuard

LOG = logging.getLogger("roomkey.django")

LONGEST_CALL = 30.0
"""Seconds that synchronous code waits for the server's event loop; the guard's own limits are shorter."""


class _FromSettings(ServerGuard):
    """What both guards have in common."""

    def __init__(self, **changes: Any) -> None:
        super().__init__(**guard_settings() | changes)

    def attach(
        self,
        sio: Any,
        *,
        session_binding: str | None = None,
        own_joins: OwnJoins = "policy",
        allowed_origins: str | Collection[str] | None = None,
    ) -> None:
        """Guard a server; see :meth:`roomkey.socketio.AsyncGuard.attach`. Requests now use this guard, too."""
        super().attach(sio, session_binding=session_binding, own_joins=own_joins, allowed_origins=allowed_origins)
        ATTACHED.append(self)


class AsyncGuard(_FromSettings, hosts.AsyncGuard):
    """The guard of a :class:`socketio.AsyncServer`, with the settings of ``ROOMKEY``.

    Each handler can use the ORM: in a thread of its own, whose connections are closed when the handler ends.

    Args:
        changes: settings of this guard that differ from ``ROOMKEY``, with the names of the guard's arguments.

    Raises:
        ConfigError: a setting is unknown or invalid.
    """

    def _around_handlers(self, call: Callable[..., Any]) -> Callable[..., Any]:
        async def call_with_database(*arguments: Any) -> Any:
            async with database_thread():
                return await call(*arguments)

        return call_with_database


class Guard(_FromSettings, hosts.Guard):
    """The guard of a :class:`socketio.Server`, with the settings of ``ROOMKEY``.

    When a handler ends, the database connections that it opened are closed.

    Args:
        changes: settings of this guard that differ from ``ROOMKEY``, with the names of the guard's arguments.

    Raises:
        ConfigError: a setting is unknown or invalid.
    """

    def _around_handlers(self, call: Callable[..., Any]) -> Callable[..., Any]:
        return closing_connections(call)


ATTACHED: list[Any] = []
"""The guards that were attached in this process, in this order."""


async def verify(token: str, source: str) -> Identity:
    """Verify a token of a request, in asynchronous code.

    Raises:
        AuthError: as :meth:`roomkey.socketio.AsyncGuard.verify`.
    """
    guard = _of_running_loop()
    if guard is not None:
        return await guard.verify(token, source=source)
    return await asyncio.to_thread(verify_blocking, token, source)


def verify_blocking(token: str, source: str) -> Identity:
    """Verify a token of a request, in synchronous code.

    Raises:
        AuthError: as :meth:`roomkey.socketio.AsyncGuard.verify`.
    """
    who: Identity = call(guard_here(), "verify", token, source=source)
    return who


def revoke(**names: Any) -> None:
    """Revoke tokens and disconnect their sockets, from a signal: errors are logged.

    Args:
        names: as for :meth:`roomkey.socketio.AsyncGuard.revoke`.
    """
    _tell_guards("revoke", **names)


def update(subject: str, **rights: Any) -> None:
    """Change what a subject can do, from a signal: errors are logged.

    Args:
        subject: the subject.
        rights: as for :meth:`roomkey.socketio.AsyncGuard.update`.
    """
    _tell_guards("update", subject, **rights)


def _tell_guards(verb: str, *arguments: Any, **named: Any) -> None:
    try:
        guards = _serving() or [_without_server()]
        for guard in guards:
            if guard in ATTACHED or guard.has_store:  # without either, nobody would learn of it
                call(guard, verb, *arguments, **named)
    except (AuthError, ConfigError) as error:
        LOG.error("could not %s: %s", verb, error)


def guard_here() -> Any:
    """Return the guard that decides in this process: the one of its server, or one without sockets."""
    serving = _serving()
    return serving[-1] if serving else _without_server()


def _serving() -> list[Any]:
    """Return the attached guards whose servers run in this process."""
    return [guard for guard in ATTACHED if not isinstance(guard, hosts.AsyncGuard) or _loop_of(guard) is not None]


def _of_running_loop() -> hosts.AsyncGuard | None:
    """Return the guard whose server runs on the running loop. Before its first socket, it starts there."""
    for guard in reversed(ATTACHED):
        if isinstance(guard, hosts.AsyncGuard):
            if guard.server_loop.running is None:
                guard.server_loop.use_running_loop()
            return guard
    return None


def _loop_of(guard: hosts.AsyncGuard) -> asyncio.AbstractEventLoop | None:
    """Return the event loop of a guard's server; None if it does not run in this process."""
    if guard.server_loop.running is None:
        loop = _loop_of_asgi_server()
        if loop is not None:
            loop.call_soon_threadsafe(guard.server_loop.use_running_loop)
        return loop
    return guard.server_loop.running


def _loop_of_asgi_server() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs this synchronous code in a thread, if there is one."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        loop = async_to_sync(_running_loop)()
        return loop if loop.is_running() else None


async def _running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def call(guard: Any, verb: str, *arguments: Any, **named: Any) -> Any:
    """Call a method of a guard from synchronous code, and wait for its result.

    On the thread of an event loop, nothing can wait: the method runs later, its errors are logged, and the result is
    None.

    Raises:
        Unavailable: the server's event loop does not respond.
    """
    method = getattr(guard, verb)
    if not isinstance(guard, hosts.AsyncGuard):
        return method(*arguments, **named)
    loop = _loop_of(guard)
    assert loop is not None, "only guards whose servers run here are called"
    # In an empty context: what this starts, such as a disconnect handler, can outlive the request of the caller.
    done = Context().run(asyncio.run_coroutine_threadsafe, method(*arguments, **named), loop)
    if _is_on_loop():
        done.add_done_callback(_log_failure)
        return None
    try:
        return done.result(LONGEST_CALL)
    except TimeoutError:
        done.cancel()
        raise Unavailable(f"the event loop of the server did not respond within {LONGEST_CALL:g} s") from None


def _is_on_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _log_failure(done: Any) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        LOG.error("a call of the guard failed: %s", error)


_detached: dict[int, Any] = {}
_detaching = threading.Lock()


def _without_server() -> Any:
    """Return a guard without sockets, for processes without a Socket.IO server: it knows the settings and the store."""
    with _detaching:
        if os.getpid() not in _detached:  # after a fork, connections of the parent must not be used
            _detached.clear()
            _detached[os.getpid()] = hosts.Guard(**guard_settings())
        return _detached[os.getpid()]
