"""Test clients of synchronous servers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self
from weakref import WeakKeyDictionary

from roomkey.errors import ConfigError
from roomkey.guard import contract
from roomkey.testing import packets
from roomkey.testing.clock import Clock
from roomkey.testing.packets import Packet, encode
from roomkey.testing.servers import Entrance, find_entrance, opening
from roomkey.testing.settling import HANDLER_SECONDS, LONGEST_STEP
from roomkey.testing.sockets import PATIENCE, AnyClient, Connection, SocketState
from roomkey.testing.wsgi import PollingSession

PAUSE = 0.0005
"""Seconds between two looks at a server whose threads or greenlets are at work."""

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


class _Host:
    """A guarded synchronous server, with its test clients.

    Args:
        entrance: the way in.
    """

    def __init__(self, entrance: Entrance) -> None:
        self.guard = entrance.guard
        self.server = entrance.server
        self.lines: list[_Line] = []
        self._handlers: set[object] = set()
        self._start: Callable[..., Any] = self.server.start_background_task
        self.server.start_background_task = self._start_task
        if isinstance(self.guard.clock, Clock):
            self.guard.clock.moves(self.guard, None)

    def _start_task(self, target: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """Start a task, and know when it ends if it runs a handler of the application."""
        if getattr(target, "__name__", "") != "_handle_event_internal":
            return self._start(target, *args, **named)
        running = object()
        self._handlers.add(running)

        def handle() -> None:
            try:
                target(*args, **named)
            finally:
                self._handlers.discard(running)

        return self._start(handle)

    def fetch(self) -> bool:
        """Let all clients fetch what waits for them, and return True if something did."""
        return sum(line.fetch() for line in list(self.lines)) > 0

    def until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait until a condition holds; return False if it does not within so many seconds."""
        deadline = time.monotonic() + seconds
        while not condition():
            if not self.fetch():
                if time.monotonic() >= deadline:
                    return condition()
                self.server.sleep(PAUSE)
        return True

    def settle(self) -> None:
        """Return when packets have arrived, and handlers have ended. A handler that keeps waiting is left alone."""
        left = HANDLER_SECONDS
        while self.fetch() or self._handlers or self.guard.background.running:
            if left <= 0:
                return
            begun = time.monotonic()
            self.server.sleep(PAUSE)
            left -= min(time.monotonic() - begun, LONGEST_STEP)


_HOSTS: WeakKeyDictionary[Any, _Host] = WeakKeyDictionary()


class _Line:
    """One connection: its session, and the clients on it."""

    def __init__(self, host: _Host) -> None:
        self.host = host
        self.connection = Connection()
        self.session: PollingSession

    def open(self, app: Any, path: str, request: Any) -> None:
        self.session = PollingSession(app, self.host.server, path, request, self.connection.arrived, self._lost)
        self.host.lines.append(self)

    def _lost(self) -> None:
        self.connection.lost()
        if self in self.host.lines:
            self.host.lines.remove(self)

    def fetch(self) -> bool:
        fetched = self.session.fetch()
        outbox, self.connection.outbox = self.connection.outbox, []
        for packet in outbox:
            self.send(packet)
        return fetched

    def send(self, packet: Packet) -> None:
        self.session.send(*encode(packet))


class BlockingClient(AnyClient):
    """A connected client of a guarded synchronous server; :func:`connect_blocking` makes it."""

    def __init__(self, line: _Line, state: SocketState) -> None:
        super().__init__(state)
        self._line = line

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.disconnect()

    def emit(self, event: str, *args: Any) -> None:
        """Send an event, and wait until the server has handled it.

        Raises:
            Refused: the client is not connected.
        """
        self._line.send(self._state.event(event, args))
        self.settle()

    def call(self, event: str, *args: Any, within: float = PATIENCE) -> Any:
        """Send an event, and return its acknowledgement: see :meth:`roomkey.testing.Client.call`."""
        packet = self._state.event(event, args, wants_ack=True)
        assert packet.id is not None
        self._line.send(packet)
        self._line.host.until(partial(self._state.acknowledged, packet.id), within)
        self.settle()
        return self._state.take_ack(packet.id, event)

    def receive(self, event: str, within: float = PATIENCE) -> Any:
        """Wait for an event, and return its data; each call returns the next event of this name.

        Raises:
            AssertionError: it did not arrive within so many seconds.
        """
        self._line.host.until(lambda: self._state.has_unread(event), within)
        return self._state.take_event(event)

    def join(self, room: str) -> None:
        """Join a room with the guard's ``join-room``.

        Raises:
            Refused: the policy does not allow it.
        """
        self.call(contract.JOIN_ROOM, room)

    def leave(self, room: str) -> None:
        """Leave a room with the guard's ``leave-room``."""
        self.call(contract.LEAVE_ROOM, room)

    def authenticate(self, token: str) -> Any:
        """Present a token after connecting, or a newer one: see :meth:`roomkey.testing.Client.authenticate`."""
        state = self._state
        before = state.answers_to_token()
        self._line.send(state.event(contract.AUTHENTICATE, ({"token": token},)))
        self._line.host.until(lambda: state.answers_to_token() > before or state.closed is not None, PATIENCE)
        self.settle()
        return state.take_answer_to_token()

    def disconnect(self) -> None:
        """Leave the namespace, and close the connection if no other client uses it."""
        if self._state.closed is None:
            self._line.send(Packet(packets.DISCONNECT, self.namespace))
            if self._line.connection.leave(self._state):
                self._line.session.close()
        self._line.host.settle()

    def settle(self) -> None:
        """Return when its server has delivered everything, and its handlers have ended."""
        self._line.host.settle()
        self._state.check_handlers()


def connect_blocking(
    server: Any,
    token: str | None = None,
    *,
    namespace: str = "/",
    auth: Any = None,
    headers: Headers | None = None,
    guard: Any = None,
    path: str | None = None,
) -> BlockingClient:
    """Connect a client to a guarded synchronous server, without a port: :class:`connect` for code without ``await``.

    ::

        client = connect_blocking(app, token=issuer.issue("ada"))

        with connect_blocking(app, token=issuer.issue("ada")) as client:
            ...                                   # it disconnects after the block

    The client uses long-polling, in the thread of the test.

    Args:
        server: a ``socketio.Server`` with a guard, a Flask application with Flask-SocketIO, a ``socketio.WSGIApp``, or
            another client: the new client then shares its connection.
        token: the token, which is presented where the guard accepts it.
        namespace: the namespace.
        auth: the payload of the CONNECT packet, or what it has besides the token.
        headers: headers of the HTTP requests.
        guard: the guard, if it cannot be found.
        path: where the server serves Socket.IO, if that is not known.

    Raises:
        Refused: the server refuses the client.
        ConfigError: the server has no guard, or is an asyncio server.
    """
    if isinstance(server, BlockingClient):
        line = server._line
        request = opening(line.host.guard, token, auth, headers)
    else:
        entrance = find_entrance(server, guard, path)
        if entrance.server is None or entrance.server.is_asyncio_based():
            raise ConfigError("this server is not synchronous; use await connect(…)")
        request = opening(entrance.guard, token, auth, headers)
        if entrance.server not in _HOSTS:
            _HOSTS[entrance.server] = _Host(entrance)
        line = _Line(_HOSTS[entrance.server])
        line.open(entrance.app, entrance.path, request)
    state = line.connection.opens(namespace)
    client = BlockingClient(line, state)
    line.send(Packet(packets.CONNECT, namespace, request.payload))
    line.host.until(lambda: state.sid != "" or state.closed is not None, PATIENCE)
    line.host.settle()
    if not state.is_connected:
        _give_up(line, state)
    if request.later is not None:
        client.authenticate(request.later)
    return client


def _give_up(line: _Line, state: SocketState) -> None:
    """Raise why the server did not accept the client."""
    refusal = state.why_refused()
    if all(socket.closed is not None for socket in line.connection.sockets.values()):
        line.session.close()
    raise refusal
