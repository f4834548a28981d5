"""A guarded connection: the guard's side of one Engine.IO connection, which the host calls for all that arrives."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from roomkey.core.admission import LIVE, AdmissionEvent, AdmissionState
from roomkey.core.credentials import Request
from roomkey.errors import AuthError, PermissionDenied, TooManyAttempts, Unavailable
from roomkey.guard import contract
from roomkey.guard.authenticator import Authenticator
from roomkey.guard.events import Events
from roomkey.guard.host import CLIENT_DISCONNECT, SERVER_DISCONNECT, HostConnection, HostSocket
from roomkey.guard.session_binding import SessionBinding
from roomkey.guard.socket import ConnectionState, GuardContext, GuardedSocket

_ADMITTED = AdmissionState.ADMITTED  # an Enum's members are slow to look up by its name

LOG = logging.getLogger("roomkey.guard")

OpenSocket = Callable[[GuardedSocket], Awaitable[HostSocket | None]]
"""Makes the host's side of a socket; returns None for a namespace that the host does not serve."""


class Deciders(NamedTuple):
    """The objects that decide about packets."""

    authenticator: Authenticator
    events: Events
    session_binding: SessionBinding


class GuardedConnection(ConnectionState):
    """A guarded Engine.IO connection, with one method for each kind of packet or event.

    Args:
        context: what all connections share.
        deciders: who decides.
        request: the parts of the HTTP request that can contain tokens.
        address: the client's address.
        host: the host's side.

    Raises:
        TooManyAttempts: the address has too many connections without an admitted socket.
    """

    __slots__ = ("_deciders",)

    def __init__(
        self, context: GuardContext, deciders: Deciders, request: Request, address: str, host: HostConnection
    ) -> None:
        super().__init__(context, address, request, host, context.clock.monotonic())
        self._deciders = deciders
        if context.index.anonymous_from(address) >= context.settings.max_anonymous:
            error = TooManyAttempts("too many connections without a token")
            context.refusals.report(error, address)
            raise error
        deciders.session_binding.bind(self)
        self.expect_connect(context.settings.connect_timeout)
        context.index.open(self)  # last: without a timer, the host must refuse it

    # CONNECT and DISCONNECT

    async def connect(self, namespace: str, payload: object, open_socket: OpenSocket) -> None:
        """Handle a CONNECT packet, and reply to it through the host.

        Args:
            payload: the packet's data.
            open_socket: creates the host's side of the new socket.
        """
        if self.closing or not self._can_open(namespace):
            return
        authenticator = self._deciders.authenticator
        socket = self.sockets[namespace] = GuardedSocket(self, namespace, authenticator.max_attempts)
        try:
            host = await open_socket(socket)
            if host is None:
                error: AuthError | None = self._unknown_namespace()
            else:
                socket.open(host)
                error = await authenticator.decide_connect(socket, payload)
                if error is None and socket.state in LIVE:
                    await host.accept()
                    socket.connect_sent = True
        except Exception as failure:
            LOG.exception("refused a CONNECT: the decision failed")
            error = Unavailable(type(failure).__name__)
        if error is not None or socket.state not in LIVE:
            await self._refuse(socket, error or socket.ended_by or Unavailable("the connection ended"))

    def _unknown_namespace(self) -> AuthError:
        unknown = PermissionDenied("the server does not have this namespace", message=contract.INVALID_NAMESPACE)
        self.context.refusals.report(unknown, self.address)
        return unknown

    async def _refuse(self, socket: GuardedSocket, error: AuthError) -> None:
        """Refuse a CONNECT, and then close the connection if no other socket uses it."""
        is_unknown = isinstance(error, PermissionDenied) and not socket.sid  # the host has made no socket
        socket.handle(AdmissionEvent.GONE)  # if it was admitted and the host failed then
        try:
            await self.host.refuse(socket.namespace, error.message, None if is_unknown else error.to_client())
        finally:
            try:
                await socket.call_disconnect(SERVER_DISCONNECT)  # it may have been admitted, and ended before the reply
            finally:
                socket.forget()
                self.namespace_closed(socket, by_client=False)
                self.count_refusal()

    def _can_open(self, namespace: str) -> bool:
        """Return True if the client can send a CONNECT for a namespace. A flood of them closes the connection."""
        before = self.sockets.get(namespace)
        if before is not None and before.state is AdmissionState.ENDED and self.host.reopens:
            del self.sockets[namespace]  # only its disconnect handler runs, which nobody has to wait for
        elif before is not None:
            self.refusals += 1
            if self.refusals >= self.context.settings.max_refusals:
                self.violation("one namespace asked for again and again")
            return False
        if len(self.sockets) >= self.context.settings.max_namespaces:
            self.violation(f"more than {self.context.settings.max_namespaces} namespaces")
            return False
        return self.accepts_token()

    async def disconnect(self, namespace: str) -> None:
        """Handle a DISCONNECT packet: the client leaves a namespace."""
        socket = self.sockets.get(namespace)
        if socket is not None:  # otherwise it has left already, or was never there
            await socket.leave(CLIENT_DISCONNECT, by_client=True)

    # EVENT and ACK

    def admitted_socket(self, namespace: str) -> GuardedSocket | None:
        """Return the socket of a namespace if it may send events now, else None."""
        socket = self.sockets.get(namespace)
        return socket if socket is not None and socket.state is _ADMITTED and not self.closing else None

    def admit_without_waiting(self, namespace: str, arguments: object) -> GuardedSocket | None:
        """Admit an event, if no rule, count or reply of the guard is necessary. This is true for most events.

        Returns:
            The socket if the application can handle the event; None if the host must call :meth:`event`.
        """
        socket = self.admitted_socket(namespace)
        if socket is None or type(arguments) is not list or not arguments:
            return None
        return socket if self._deciders.events.is_open(arguments[0], namespace) else None

    async def event(self, namespace: str, arguments: object, ack_id: int | None) -> GuardedSocket | None:
        """Handle an EVENT packet.

        Args:
            arguments: the packet's data: the event's name, then its arguments.
            ack_id: the acknowledgement that the client asked for, or None.

        Returns:
            The socket if the application can handle the event; None if the guard has handled it.
        """
        return await self._deciders.events.admit(self, namespace, arguments, ack_id)

    async def answer_error(self, socket: GuardedSocket | None, error: AuthError, ack_id: int | None) -> None:
        """Tell the client that the host denied its event.

        Args:
            socket: the one that sent the event; a later one of the same namespace must not get the answer.
        """
        if socket is not None:
            await self._deciders.events.answer_error(socket, error, ack_id)

    async def handler_failed(self, socket: GuardedSocket, failure: Exception, ack_id: int | None, event: str) -> None:
        """Tell the client that the application's handler raised an exception.

        An error of roomkey's is the answer. Any other exception is logged, and the client gets
        ``temporarily_unavailable`` if it asked for an acknowledgement.

        Args:
            socket: the one that sent the event; a later one of the same namespace must not get the answer.
            event: the name of the event.
        """
        await self._deciders.events.handler_failed(socket, failure, ack_id, event)

    def ack(self, namespace: str) -> GuardedSocket | None:
        """Handle an ACK packet.

        Returns:
            The socket if the application can receive the acknowledgement, else None.
        """
        socket = self.sockets.get(namespace)
        return socket if self._deciders.events.check_admitted(self, socket) else None

    def unexpected_ack(self, namespace: str) -> None:
        """Count an acknowledgement for which no callback waits. A flood of them closes the connection."""
        self._deciders.events.unexpected_ack(self, self.sockets.get(namespace))

    # HTTP requests, and the end

    async def owns(self, request: Request, address: str, *, is_bound: bool = True) -> bool:
        """Return True if a later HTTP request of the session comes from the client that opened it.

        A request from another client is reported.

        Args:
            request: the parts of the later request that can contain tokens.
            address: the address that sent the later request.
            is_bound: False if the request failed the host's own check, such as of the address or of a cookie to which
                the host binds its sessions.
        """
        binding = self._deciders.session_binding
        if is_bound and await binding.is_owner(self, request, address):
            return True
        binding.report_hijack(self, address)
        return False

    def owns_now(self, request: Request, address: str, *, is_bound: bool = True) -> bool | None:
        """Return what :meth:`owns` returns, or None if a token must be verified first: then call that."""
        binding = self._deciders.session_binding
        decided = is_bound and binding.decide(self, request, address)
        if decided is False:
            binding.report_hijack(self, address)
        return decided if isinstance(decided, bool) else None

    def lost(self, reason: str) -> None:
        """Handle the end of the transport, which ends every socket on it.

        Args:
            reason: for the disconnect handlers.
        """
        if self.is_lost:
            return
        self.is_lost = True
        self.end_sockets()  # again if they ended before: a request may have begun to wait since
        background = self.context.background
        background.timers.cancel(self.nothing_joined)
        for socket in list(self.sockets.values()):
            if socket.handler_accepted and socket.host.hears_disconnect():
                background.start(socket.transport_lost(reason))
            else:
                socket.forget()
        self.forget_if_lost()
