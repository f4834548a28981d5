"""The hub: a Socket.IO server that is closed until a token opens it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from functools import cached_property
from typing import Any, TypeVar, overload

from roomkey.audit import redact_logs
from roomkey.core.ack_expiry import AckExpiry
from roomkey.core.admission import State
from roomkey.errors import ConfigError, PermissionDenied
from roomkey.guard.guard import Guard
from roomkey.guard.home import Home, at_home
from roomkey.guard.settings import takes_settings
from roomkey.hub.dispatch import Dispatch
from roomkey.hub.handlers import Handler, Handlers
from roomkey.hub.http.asgi import ASGIApp
from roomkey.hub.http.origins import Origins
from roomkey.hub.http.session_requests import SessionRequests
from roomkey.hub.namespace import Namespace
from roomkey.hub.port import HubPort
from roomkey.hub.rooms import Rooms
from roomkey.hub.session import SERVER_DISCONNECT
from roomkey.hub.sessions import Sessions
from roomkey.hub.settings import HubSettings
from roomkey.hub.socket import NOT_HANDLED, Answer, Room, Socket, as_arguments
from roomkey.wire import Message, PacketType, encode

HandlerT = TypeVar("HandlerT", bound=Handler)
Sids = str | Iterable[str] | None
Target = Room | Iterable[Room] | None
_ADMITTED = State.ADMITTED
CLOSE_SECONDS = 2.0
"""How long handlers and background tasks may take to end when the server stops."""


class Hub:
    """A Socket.IO server with the guard built in, and the verbs of python-socketio's ``AsyncServer``.

    Its arguments are the fields of :class:`roomkey.hub.settings.HubSettings`: the verifier, and the rest by name.

    Attributes:
        guard: whom a socket belongs to, policy-checked rooms, revocation: ``hub.guard.identity(sid)`` and so on.
        counts: what was refused and closed, by reason.
        not_handled: a handler that returns it sends no acknowledgement.

    Raises:
        ConfigError: settings that contradict each other.

    Example::

        hub = Hub(Verifier.hs256(SECRET, audience="chat"))

        @hub.event
        async def message(sid, text):
            await hub.emit("message", text)

        hub.run(port=8000)
    """

    not_handled = NOT_HANDLED

    @takes_settings(HubSettings)
    def __init__(self, settings: HubSettings) -> None:
        self.guard = Guard.of(settings)
        self.guard.teardown.port = HubPort(self)
        self.guard.rights.set_own_joins(settings.own_joins)
        origins = Origins(settings.cors_allowed_origins)
        handshake = self.guard.authenticator.handshake
        if origins.everybody and handshake is not None and handshake.cookie is not None:
            raise ConfigError(
                "cookies and cors_allowed_origins='*' would let every page speak for its visitor: name it"
            )
        redact_logs(query=handshake.query if handshake is not None else None)
        self.handlers = Handlers(settings.namespaces)
        self.members = Rooms()
        self.ack_expiry = AckExpiry()
        self.tasks = self.guard.teardown.background
        self.dispatch = Dispatch(self)
        self.counts: Counter[str] = Counter()
        self.sessions = Sessions(
            self.guard, settings, self.counts, on_packet=self.dispatch.packet, on_end=self.dispatch.ended
        )
        self.requests = SessionRequests(self.sessions, self.guard, origins, self.counts)
        self.path = self.requests.path

    # Handlers

    @overload
    def event(self, handler: HandlerT) -> HandlerT: ...

    @overload
    def event(self, handler: None = None, namespace: str | None = None) -> Callable[[HandlerT], HandlerT]: ...

    def event(self, handler: Any = None, namespace: str | None = None) -> Any:
        """Decorate the handler of the event that the function is named after."""

        def add(function: HandlerT) -> HandlerT:
            self.handlers.add(function.__name__, function, namespace or "/")
            return function

        return add if handler is None else add(handler)

    def on(self, event: str, handler: Handler | None = None, namespace: str | None = None) -> Any:
        """Register the handler of an event; without ``handler``, a decorator.

        Args:
            event: its name; ``"*"`` handles those without one of their own, as ``handler(event, sid, *args)``.
            handler: called as ``connect(sid, environ, auth)``, ``disconnect(sid, reason)`` or
                ``handler(sid, *args)``; what the last returns becomes the client's acknowledgement.
            namespace: ``/`` if absent; ``"*"`` for every known one, whose name then stands before ``sid``.

        Raises:
            ConfigError: a handler that cannot be called so.
        """
        if handler is not None:
            self.handlers.add(event, handler, namespace or "/")
            return None

        def add(function: HandlerT) -> HandlerT:
            self.handlers.add(event, function, namespace or "/")
            return function

        return add

    def register_namespace(self, owner: Namespace) -> None:
        """Register a class-based namespace.

        Raises:
            ConfigError: not an instance of a :class:`roomkey.hub.Namespace` subclass.
        """
        self.handlers.add_class(owner)
        owner.hub = self

    # Sending

    @at_home
    async def emit(
        self,
        event: str,
        data: object = None,
        to: Target = None,
        room: Target = None,
        skip_sid: Sids = None,
        namespace: str | None = None,
        callback: Callable[..., Any] | None = None,
        *,
        to_subject: str | None = None,
    ) -> None:
        """Send an event to whoever is admitted.

        Args:
            event: its name.
            data: its argument; a tuple is several arguments, None is none. Bytes may stand anywhere in it.
            to: a sid or a room, or several; everybody in the namespace if absent.
            room: the same as ``to``.
            skip_sid: who does not get it: one sid or several.
            namespace: ``/`` if absent.
            callback: called with the client's acknowledgement; only where ``to`` is one sid. It is dropped if 1,000
                later ones wait for the same client, or an hour after the client was last asked.
            to_subject: a person's ``sub``, instead of ``to``: every socket of theirs.

        Raises:
            TypeError: data that JSON has no form for.
            ValueError: NaN or Infinity in it.
            ConfigError: a callback, and not one client. A client that is gone gets nothing and answers nothing.
        """
        target = to if to is not None else room
        if to_subject is not None:
            if target is not None:
                raise ConfigError("emit takes to or to_subject, not both")
            target = self.guard.subject_room(to_subject)
        namespace = namespace or "/"
        arguments = [event, *as_arguments(data)]
        if callback is not None:
            socket = self._asked(target, namespace)
            if socket is not None:
                self._ask(socket, arguments, callback)
        else:
            self._deliver(encode(PacketType.EVENT, namespace, arguments), namespace, target, skip_sid)

    async def send(self, data: object, **where: Any) -> None:
        """Send the event ``message``; the arguments are those of :meth:`emit`."""
        await self.emit("message", data, **where)

    @at_home
    async def call(
        self,
        event: str,
        data: object = None,
        to: str | None = None,
        sid: str | None = None,
        namespace: str | None = None,
        timeout: float = 60.0,  # noqa: ASYNC109 - python-socketio's name
    ) -> Any:
        """Send an event to one client and wait for its acknowledgement.

        Args:
            to: the client's sid.
            sid: the same as ``to``.
            timeout: seconds to wait.

        Returns:
            What the client answered: one value, a tuple of several, or None.

        Raises:
            TimeoutError: no answer in time, or the client is gone.
            ConfigError: not one client.
        """
        socket = self._asked(to or sid, namespace or "/")
        if socket is None:
            raise TimeoutError("the client is gone")
        answer = Answer()
        number = self._ask(socket, [event, *as_arguments(data)], answer)
        try:
            async with asyncio.timeout(timeout):
                values = await answer.values
        finally:
            socket.take_ack(number)  # nobody waits for it any more
        return values if len(values) > 1 else next(iter(values), None)

    def _asked(self, target: Target, namespace: str) -> Socket | None:
        """The one client that is asked for an acknowledgement; None if it is gone."""
        socket = self.members.get(target, namespace) if isinstance(target, str) else None
        if socket is None and (not isinstance(target, str) or self.members.of(namespace, target)):
            raise ConfigError("an acknowledgement is asked of one client: to=sid")
        return socket

    def _ask(self, socket: Socket, arguments: list[object], callback: Callable[..., Any]) -> int:
        for sid in self.ack_expiry.requested(socket.sid, self.guard.clock.monotonic()):
            if late := self.members.get(sid):
                late.forget_acks()
        number = socket.expect_ack(callback)
        socket.send_direct(encode(PacketType.EVENT, socket.namespace, arguments, number))
        return number

    def _deliver(self, message: Message, namespace: str, target: Target, skip: Sids) -> None:
        """Write to each admitted socket; the packet was encoded once, and no task is made for a recipient."""
        skipped = frozenset((skip,) if isinstance(skip, str) else skip or ())
        alone = self.members.get(target, namespace) if isinstance(target, str) else None
        if alone is None:
            for socket in self.members.receivers(namespace, target, skipped):
                if socket.admission.state is _ADMITTED:
                    socket.session.send_batched(message)
        elif alone.sid not in skipped:
            alone.send_direct(message)

    # Rooms

    @at_home
    async def enter_room(self, sid: str, room: Room, namespace: str | None = None) -> None:
        """Put a client into a room, if its policy has no rules about rooms here, or one that allows it.

        With ``own_joins="allow"`` the policy is not asked. The room of another subject stays closed in any case.

        Raises:
            PermissionDenied: no such client, or it may not enter. Let it pass out of an event handler, and the guard
                answers the client.
        """
        socket = self._socket(sid, namespace)
        if room != sid:
            await self.guard.rights.check_own_join(socket.admission, room)
            self.members.enter(socket, room)

    @at_home
    async def leave_room(self, sid: str, room: Room, namespace: str | None = None) -> None:
        """Take a client out of a room, if it is there."""
        socket = self.members.get(sid, namespace)
        if socket is not None:
            socket.admission.lose_rooms({room})
            self.members.leave(socket, room)

    @at_home
    async def close_room(self, room: Room, namespace: str | None = None) -> None:
        """Take everybody out of a room.

        Raises:
            ConfigError: the room is a client's sid.
        """
        self._no_sid(room)
        for socket in tuple(self.members.of(namespace or "/", room)):
            socket.admission.lose_rooms({room})
            self.members.leave(socket, room)

    def rooms(self, sid: str, namespace: str | None = None) -> list[Any]:
        """The rooms a client is in, its own sid included; none if there is no such client."""
        socket = self.members.get(sid, namespace)
        return [sid, *socket.rooms] if socket is not None else []

    def _no_sid(self, room: Room) -> None:
        if room in self.members.sockets:
            raise ConfigError("cannot close a socket's own room; call disconnect(sid) instead")

    # Clients

    @at_home
    async def disconnect(self, sid: str, namespace: str | None = None) -> None:
        """End a client's connection to a namespace; it does not come back by itself."""
        socket = self.members.get(sid, namespace)
        if socket is None:
            return
        if socket.admission.answered:
            socket.session.send(encode(PacketType.DISCONNECT, socket.namespace))
        await self.dispatch.leave(socket.admission, SERVER_DISCONNECT)

    async def save_session(self, sid: str, session: dict[str, Any], namespace: str | None = None) -> None:
        """Keep something about a client until it disconnects.

        Raises:
            PermissionDenied: no such client.
        """
        self._socket(sid, namespace).data = session

    async def get_session(self, sid: str, namespace: str | None = None) -> dict[str, Any]:
        """What :meth:`save_session` kept; an empty dictionary if nothing.

        Raises:
            PermissionDenied: no such client.
        """
        return self._data(sid, namespace)

    @asynccontextmanager
    async def session(self, sid: str, namespace: str | None = None) -> AsyncIterator[dict[str, Any]]:
        """``async with hub.session(sid) as session: session["cart"] = …``"""
        yield self._data(sid, namespace)

    def get_environ(self, sid: str, namespace: str | None = None) -> dict[str, Any]:
        """The HTTP request that opened a client's connection, as a WSGI environ.

        Raises:
            PermissionDenied: no such client.
        """
        return self._socket(sid, namespace).session.request.environ()

    def transport(self, sid: str, namespace: str | None = None) -> str:
        """``"polling"`` or ``"websocket"``.

        Raises:
            PermissionDenied: no such client.
        """
        return "websocket" if self._socket(sid, namespace).session.upgraded else "polling"

    def _data(self, sid: str, namespace: str | None) -> dict[str, Any]:
        socket = self._socket(sid, namespace)
        if socket.data is None:
            socket.data = {}
        return socket.data

    def _socket(self, sid: str, namespace: str | None) -> Socket:
        socket = self.members.get(sid, namespace)
        if socket is None:
            raise PermissionDenied("no such client is connected")
        return socket

    # Running

    @property
    def home(self) -> Home:
        """The event loop that the hub runs on."""
        return self.guard.home

    def start_background_task(
        self, target: Callable[..., Coroutine[Any, Any, Any]], *arguments: Any, **named: Any
    ) -> asyncio.Task[Any]:
        """Run ``target(*arguments, **named)`` beside the server; what it raises is logged.

        Raises:
            ConfigError: this is called from another thread than the server's.
        """
        self.home.check_here("start_background_task")
        return self.tasks.background(target(*arguments, **named))

    async def sleep(self, seconds: float = 0) -> None:
        """Let others run."""
        await asyncio.sleep(seconds)

    @cached_property
    def asgi(self) -> ASGIApp:
        """The hub alone as an ASGI application, for any server; :meth:`run` is faster."""
        return ASGIApp(self)

    def run(self, host: str = "127.0.0.1", port: int = 8000, app: Any = None, **settings: Any) -> None:
        """Serve until SIGINT or SIGTERM.

        Args:
            host: the address to listen on.
            port: TCP port; 0 takes a free one.
            app: an ASGI application for every path that is not Socket.IO's.
            settings: those of ``uvicorn.Config``, such as ``ssl_certfile``.

        Raises:
            ConfigError: ``workers`` or ``reload``: a hub is one process.
        """
        from roomkey.hub.http.runner import run  # uvicorn is of no use to whoever mounts hub.asgi elsewhere

        run(self, host=host, port=port, app=app, **settings)

    def check_deadlines(self) -> None:
        """Do what is due now. Timers call this; tests with a clock of their own call it after moving it."""
        self.guard.check_deadlines()
        self.sessions.timers.check()

    @at_home
    async def close(self) -> None:
        """Close every connection, because the server stops; clients come back by themselves when it is up again.

        Handlers and background tasks have 2 seconds to end by themselves, then they are cancelled.
        """
        self.requests.close()
        self.sessions.close_all()
        # Not by wait_for: a handler that closes the hub is not to wait for itself.
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.settle()
        self.tasks.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.guard.close()

    @at_home
    async def settle(self) -> None:
        """Wait until everything that was begun in the background is done."""
        await self.guard.settle()
