"""The guard for ``socketio.Server``: threads, gevent and eventlet."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import socketio

from roomkey.core.credentials import Request
from roomkey.guard.connection import GuardedConnection
from roomkey.guard.guard import AsyncioGuard
from roomkey.guard.host import HostConnection
from roomkey.guard.live_sockets import LiveSocket
from roomkey.guard.threads import ThreadBackground
from roomkey.socketio.attaching import ServerGuard
from roomkey.socketio.environ import ReadRequest
from roomkey.socketio.joins import Joins
from roomkey.socketio.primitives import primitives_of
from roomkey.socketio.sync_hooks import SyncHooks
from roomkey.socketio.sync_sessions import SyncSessions
from roomkey.socketio.sync_transports import SyncTransports

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(verb: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]) -> Callable[Concatenate[Guard, P], T]:
    """Return a method that runs a coroutine method to its end, in the thread or greenlet that calls it."""
    coroutine_method = inspect.unwrap(verb)  # without the event loop of the server

    @wraps(coroutine_method)
    def call(self: Guard, /, *arguments: P.args, **named: P.kwargs) -> T:
        work: Coroutine[Any, Any, T] = coroutine_method(self, *arguments, **named)
        return self.background.run(work)

    return call


class Guard(ServerGuard):
    """Secures a :class:`socketio.Server`, which runs on threads, gevent or eventlet.

    Its arguments are those of :class:`roomkey.socketio.AsyncGuard`, and so are its methods; none of them is awaited.
    They can be called from every thread or greenlet, and block it for as long as they wait.
    """

    server_class = socketio.Server
    background: ThreadBackground

    verify = _blocking(AsyncioGuard.verify)
    check = _blocking(AsyncioGuard.check)
    enter_room = _blocking(AsyncioGuard.enter_room)
    leave_room = _blocking(AsyncioGuard.leave_room)
    check_emit = _blocking(AsyncioGuard.check_emit)
    update = _blocking(AsyncioGuard.update)
    explain = _blocking(AsyncioGuard.explain)
    revoke = _blocking(AsyncioGuard.revoke)
    disconnect = _blocking(AsyncioGuard.disconnect)
    ready = _blocking(AsyncioGuard.ready)
    close = _blocking(AsyncioGuard.close)
    settle = _blocking(AsyncioGuard.settle)

    def _make_background(self) -> ThreadBackground:
        return ThreadBackground(self.clock)

    def _install(self, sio: socketio.Server, *, by_address: bool, read_request: ReadRequest) -> None:
        self.background.use(primitives_of(sio))
        transports = SyncTransports(sio, self.background)
        sessions = SyncSessions(self, transports, by_address=by_address, read_request=read_request)
        hooks = SyncHooks(self, transports, sessions, around=self._around_handlers, read_request=read_request)
        hooks.install()
        Joins(self, sio.manager, hooks.blocking).install()

    # The verbs of every guard, one at a time

    def accept(self, request: Request, address: str, host: HostConnection) -> GuardedConnection:
        """Guard a connection that has opened: see :meth:`BaseGuard.accept`."""
        with self.background.monitor:
            return super().accept(request, address, host)

    def sockets(self, subject: str | None = None) -> list[LiveSocket]:
        """Return the admitted sockets, all of them or those of one subject."""
        with self.background.monitor:
            return super().sockets(subject)

    def check_deadlines(self) -> None:
        """Handle the deadlines that have passed. A timer calls this; in tests, call it after you move the clock."""
        with self.background.monitor:
            super().check_deadlines()
