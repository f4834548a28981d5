"""Database connections in handlers and rules.

Django closes the connections of a thread at the end of a request. A Socket.IO handler is not a request: in a thread
that serves a WebSocket, its connection would stay open as long as the client does, and in the one thread that all
asynchronous handlers share, a connection that the database has closed would make every later query fail.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any, TypeVar

from asgiref.sync import AsyncToSync, SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.db import connections

Function = TypeVar("Function", bound=Callable[..., Any])


def _close_all() -> None:
    for connection in connections.all(initialized_only=True):
        connection.close()


def closing_connections(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a synchronous function, so that the connections that it opens in its thread are closed at its end.

    The connections of its caller stay open: a view that disconnects users may be reading them from the database.
    """

    @wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        before = {id(connection) for connection in _open_connections()}
        try:
            return function(*arguments, **named)
        finally:
            for connection in _open_connections():
                if connection.in_atomic_block:  # that of a caller, such as a test case
                    continue
                if id(connection) not in before:
                    connection.close()
                elif connection.errors_occurred:
                    connection.close_if_unusable_or_obsolete()

    return call


def _open_connections() -> list[Any]:
    return [found for found in connections.all(initialized_only=True) if found.connection is not None]


@asynccontextmanager
async def database_thread() -> AsyncIterator[None]:
    """Let asynchronous code use the ORM in a thread of its own, as Django does for each request.

    The thread begins with the first query, so other code costs nothing. It ends with its connections.
    """
    own = ThreadSensitiveContext()
    outer = SyncToAsync.thread_sensitive_context.set(own)
    # Code that a view started with async_to_sync() would otherwise use the view's thread, which may have ended.
    waiting = getattr(AsyncToSync.executors, "current", None)
    if waiting is not None:
        AsyncToSync.executors.current = None
    try:
        yield
    finally:
        if waiting is not None:
            AsyncToSync.executors.current = waiting
        SyncToAsync.thread_sensitive_context.reset(outer)
        thread = SyncToAsync.context_to_thread_executor.pop(own, None)
        if thread is not None:
            closed = asyncio.get_running_loop().run_in_executor(thread, _close_all)
            thread.shutdown(wait=False)
            await asyncio.shield(closed)


def uses_database(function: Function) -> Function:
    """Decorate a rule or another function that uses the ORM, so that it can be asked on every host.

    On an asynchronous server, a synchronous function runs in a thread, and the decorated function returns an awaitable.
    In threads, it runs directly. In either case, its database connections are closed at its end.

    Example::

        @policy.room("team:{team}")
        @uses_database
        def member(who, team):
            return Membership.objects.filter(user__username=who.subject, team=team).exists()
    """
    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def wait(*arguments: Any, **named: Any) -> Any:
            async with database_thread():
                return await function(*arguments, **named)

        return wait  # type: ignore[return-value]

    direct = closing_connections(function)

    @wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return direct(*arguments, **named)
        return _in_thread(function, arguments, named)

    return call  # type: ignore[return-value]


async def _in_thread(function: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    async with database_thread():
        return await sync_to_async(function)(*arguments, **named)
