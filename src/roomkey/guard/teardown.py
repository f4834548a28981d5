"""How sockets end: told why, disconnected, closed, and forgotten.

The state changes first and synchronously, so that a socket that is refused or ended is in quarantine at that instant,
whatever still has to be sent or closed.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from roomkey.core.admission import Action, Admission, Input, State
from roomkey.core.subject_limits import SubjectUsage
from roomkey.errors import AuthenticationTimeout, AuthError, ExpiredToken, ProtocolViolation
from roomkey.guard import audit, contract
from roomkey.guard.background import Background
from roomkey.guard.clock import Clock
from roomkey.guard.expiry_watch import ExpiryWatch
from roomkey.guard.home import Home
from roomkey.guard.port import ServerPort
from roomkey.guard.registry import Connection, Registry
from roomkey.guard.settings import GuardSettings
from roomkey.guard.timers import Timers

LOG = logging.getLogger("roomkey.guard")

OnRefused = Callable[[AuthError, str], object]


class Teardown:
    """Ends sockets and connections of one server.

    Args:
        registry: all of them.
        clock: where to read the time.
        settings: those of the guard.
        use: what each subject has, where that is limited.

    Attributes:
        port: the host's side; set when the guard is attached.
        clock: where to read the time.
        timers: the deadlines that end what is due.
        lifetimes: those of live sockets.
        background: the tasks of the guard and its host.
        home: the event loop that they run on.
        callbacks: called with each refusal and the peer's address.
    """

    port: ServerPort

    def __init__(self, registry: Registry, clock: Clock, settings: GuardSettings, use: SubjectUsage | None) -> None:
        self.registry = registry
        self.clock = clock
        self.timers = Timers(clock, self._deadline_passed)
        self.lifetimes = ExpiryWatch(self.timers, clock, settings)
        self._use = use
        self.callbacks: list[OnRefused] = []
        self.background = Background()
        self.home = Home()

    def end(self, admission: Admission, why: Input, error: AuthError) -> Coroutine[Any, Any, None]:
        """End a socket from outside: its state changes now, what is returned does the rest."""
        actions = admission.feed(why, error)
        connection = self.registry.connections.get(admission.connection_id)
        if actions and connection is not None:
            if admission.state is State.ENDED:
                audit.about("ended", admission, reason=error.reason, check=str(error), address=connection.address)
            else:
                self.tell_refused(error, connection, admission)
        return self._finish(connection, admission, actions, error)

    def end_soon(self, admission: Admission, why: Input, error: AuthError) -> asyncio.Task[None]:
        """End a socket from outside: its state changes now, and a task does the rest."""
        return self.spawn(self.end(admission, why, error))

    async def _finish(
        self, connection: Connection | None, admission: Admission, actions: tuple[Action, ...], error: AuthError
    ) -> None:
        if connection is not None:
            await self.perform(connection, admission, actions, error)
            if Action.CLOSE in actions and not admission.answered:
                self.close_soon(connection)

    async def perform(
        self, connection: Connection, admission: Admission, actions: tuple[Action, ...], error: AuthError
    ) -> None:
        """Report, disconnect, close: each is tried whatever became of the one before.

        Before the CONNECT reply there is nobody to tell by an event: the host answers CONNECT_ERROR and then calls
        :meth:`refused`.
        """
        if not admission.answered:
            return
        if Action.CLOSE in actions:
            connection.closing = True  # nothing that still arrives counts, however long the next steps take
        try:
            if Action.REPORT in actions:
                await self._attempt(
                    self.port.send_event(admission, contract.UNAUTHORIZED, contract.unauthorized(error))
                )
            if Action.DISCONNECT in actions:
                if Action.CLOSE in actions:
                    await self._attempt(self.port.disconnect(admission))
                else:  # its disconnect handler runs, for which nobody has to wait
                    self.spawn(self.port.leave(admission))
        finally:  # also when whoever waited here was cancelled
            if Action.CLOSE in actions:
                self._close(connection)

    def violation(self, connection: Connection, detail: str) -> None:
        """Something arrived that no honest client sends: close the connection."""
        if not connection.closing:
            self.tell_refused(ProtocolViolation(detail), connection)
            self.close_soon(connection)

    def close_soon(self, connection: Connection) -> None:
        """Close a connection in the background; from now on nothing on it counts."""
        if not connection.closing:
            self._close(connection)

    def _close(self, connection: Connection) -> None:
        connection.closing = True
        connection.abandon()
        for admission in connection.admissions.values():
            admission.feed(Input.GONE)
        remaining = self.port.close(connection.connection_id)
        if remaining is not None:
            self.spawn(remaining)

    def closed(self, connection_id: str) -> None:
        """A transport is gone, and everything on it."""
        self.timers.cancel(("connection", connection_id))
        connection = self.registry.close(connection_id)
        if connection is not None:
            connection.abandon()
        for admission in list(connection.admissions.values()) if connection is not None else ():
            self.forget(admission)

    def left(self, admission: Admission) -> None:
        """The server ended a namespace connection; a connection that nobody uses is closed."""
        self.forget(admission)
        connection = self.registry.connections.get(admission.connection_id)
        if connection is not None and not connection.in_use:
            self.close_soon(connection)

    def forget(self, admission: Admission) -> None:
        """A namespace connection is gone, with its deadlines and what it counted for."""
        admission.feed(Input.GONE)
        self.timers.cancel(("admission", admission.sid))
        self.timers.cancel_expiry(admission.sid)
        self.uncount(admission)
        self.registry.remove(admission)

    def uncount(self, admission: Admission) -> None:
        """A namespace connection counts for its subject no more."""
        if admission.counted is not None and self._use is not None:
            self._use.leave(admission.counted, admission.connection_id)
            admission.counted = None

    def _deadline_passed(self, what: tuple[str, str]) -> None:
        kind, name = what
        if kind == "connection":
            connection = self.registry.connections.get(name)
            if connection is not None and not connection.in_use:
                self.tell_refused(AuthenticationTimeout("no namespace was joined in time"), connection)
                self.close_soon(connection)
            return
        admission = self.registry.admissions.get(name)
        if admission is None:
            return
        if kind == "admission":
            self.end_soon(admission, Input.TIMEOUT, AuthenticationTimeout("no valid token in time"))
        elif admission.identity is not None:
            left = self.lifetimes.due(admission)
            if left is None:
                expired = ExpiredToken("exp", "expired while connected", expired_at=admission.identity.expires_at)
                self.end_soon(admission, Input.EXPIRE, expired)
            elif left > 0 and admission.admitted:
                self.spawn(self.port.send_event(admission, contract.TOKEN_EXPIRING, {"expires_in": left}))

    def tell_refused(
        self, error: AuthError, connection: Connection, admission: Admission | None = None, token: str | None = None
    ) -> None:
        """Write the audit line, and call whoever asked to be called."""
        error.with_traceback(None)  # its frames hold the connection and the token, as long as somebody keeps the error
        audit.refused(error, connection.address, admission, token)
        for callback in self.callbacks:
            self.spawn(_call_back(callback, error, connection.address))

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do something in the background; what it raises is logged."""
        return self.background.spawn(work)

    async def _attempt(self, step: Awaitable[None]) -> None:
        try:
            await step
        except Exception:
            LOG.exception("a step failed, the next ones follow")


async def _call_back(callback: OnRefused, error: AuthError, address: str) -> None:
    result = callback(error, address)
    if inspect.isawaitable(result):
        await result
