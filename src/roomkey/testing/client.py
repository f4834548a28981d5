"""Test clients of asyncio servers."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterable, Mapping
from types import TracebackType
from typing import Any, Literal

from roomkey.errors import ConfigError
from roomkey.guard import contract
from roomkey.testing import packets
from roomkey.testing.asgi import Polling, Transport, WebSocket
from roomkey.testing.packets import Packet, encode
from roomkey.testing.servers import Opening, find_entrance, opening
from roomkey.testing.settling import Host, host_of
from roomkey.testing.sockets import PATIENCE, AnyClient, Connection, SocketState

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


class _Line:
    """One connection: its transport, and the clients on it."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.connection = Connection()
        self.transport: Transport
        self._sending: set[asyncio.Task[None]] = set()

    async def open(self, kind: type[Transport], app: Any, path: str, request: Opening) -> None:
        self.transport = kind(app, path, request, self._arrived, self._lost)
        await self.transport.open()
        self.host.connections.add(self.connection)

    def _arrived(self, message: str | bytes) -> None:
        self.connection.arrived(message)
        self.host.changed()
        outbox, self.connection.outbox = self.connection.outbox, []
        for packet in outbox:
            task = asyncio.get_running_loop().create_task(self.send(packet))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    def _lost(self) -> None:
        self.connection.lost()
        self.host.connections.discard(self.connection)
        if self.transport.task is not None:
            self.host.ending.add(self.transport.task)
            self.transport.task.add_done_callback(self.host.ending.discard)
        self.host.changed()

    async def send(self, packet: Packet) -> None:
        await self.transport.send(*encode(packet))


class Client(AnyClient):
    """A connected client of a guarded asyncio server; :class:`connect` makes it."""

    def __init__(self, line: _Line, state: SocketState) -> None:
        super().__init__(state)
        self._line = line

    async def emit(self, event: str, *args: Any) -> None:
        """Send an event, and wait until the server has handled it.

        Raises:
            Refused: the client is not connected.
        """
        await self._send(self._state.event(event, args))

    async def call(self, event: str, *args: Any, within: float = PATIENCE) -> Any:
        """Send an event, and return its acknowledgement, as python-socketio's ``call`` does.

        Args:
            event: the name.
            args: the arguments.
            within: seconds to wait.

        Raises:
            Refused: the guard rejected the event, or disconnected the client.
            AssertionError: there was no acknowledgement.
        """
        packet = self._state.event(event, args, wants_ack=True)
        assert packet.id is not None
        number = packet.id
        await self._line.send(packet)
        await self._line.host.until(lambda: self._state.acknowledged(number), within)
        await self.settle()
        return self._state.take_ack(number, event)

    async def receive(self, event: str, within: float = PATIENCE) -> Any:
        """Wait for an event, and return its data; each call returns the next event of this name.

        Args:
            event: the name.
            within: seconds to wait.

        Raises:
            AssertionError: it did not arrive.
        """
        await self._line.host.until(lambda: self._state.has_unread(event), within)
        return self._state.take_event(event)

    async def join(self, room: str) -> None:
        """Join a room with the guard's ``join-room``, which :meth:`Guard.serve_rooms` serves.

        Raises:
            Refused: the policy does not allow it.
        """
        await self.call(contract.JOIN_ROOM, room)

    async def leave(self, room: str) -> None:
        """Leave a room with the guard's ``leave-room``."""
        await self.call(contract.LEAVE_ROOM, room)

    async def authenticate(self, token: str) -> Any:
        """Present a token after connecting, or a newer one to renew the connection.

        Returns:
            The data of ``authenticated``: ``{"expires_in": seconds}``.

        Raises:
            Refused: the server rejected the token.
        """
        before = self._state.answers_to_token()
        packet = self._state.event(contract.AUTHENTICATE, ({"token": token},))
        await self._line.send(packet)
        state = self._state
        await self._line.host.until(lambda: state.answers_to_token() > before or state.closed is not None, PATIENCE)
        await self.settle()
        return state.take_answer_to_token()

    async def disconnect(self) -> None:
        """Leave the namespace, and close the connection if no other client uses it."""
        if self._state.closed is None:
            await self._line.send(Packet(packets.DISCONNECT, self.namespace))
            if not self._line.connection.leave(self._state):
                await self.settle()
                return
        await self._line.transport.close()
        await self._line.host.settle()

    async def settle(self) -> None:
        """Return when its server has delivered everything, and its handlers have ended."""
        await self._line.host.settle()
        self._state.check_handlers()

    async def _send(self, packet: Packet) -> None:
        await self._line.send(packet)
        await self.settle()


class connect:
    """Connect a client to a guarded server of this event loop, without a port.

    ::

        client = await connect(app, token=issuer.issue("ada"))

        async with connect(app, token=issuer.issue("ada")) as client:
            ...                                   # it disconnects after the block

    The client goes through the server's own entrance, so that everything runs as for a real one: the decision about
    the token, the connect handler, the policy, the limits and the close.

    Args:
        server: a :class:`roomkey.hub.Hub`, a ``socketio.AsyncServer`` with a guard, an ASGI application in which one
            of them is mounted, or another client: the new client then shares its connection.
        token: the token, which is presented where the guard accepts it: in the ``auth`` payload, in a header, cookie
            or query, or in the event ``authenticate``.
        namespace: the namespace.
        auth: the payload of the CONNECT packet, or what it has besides the token.
        headers: headers of the HTTP requests, such as ``{"Cookie": "…", "Origin": "…"}``.
        transport: ``"websocket"`` or ``"polling"``.
        guard: the guard, if it cannot be found because another application wraps the server.
        path: where the server serves Socket.IO, if that is not known.

    Raises:
        Refused: the server refuses the client.
        ConfigError: the server has no guard, or is not an asyncio server.
    """

    def __init__(
        self,
        server: Any,
        token: str | None = None,
        *,
        namespace: str = "/",
        auth: Any = None,
        headers: Headers | None = None,
        transport: Literal["websocket", "polling"] = "websocket",
        guard: Any = None,
        path: str | None = None,
    ) -> None:
        self._server = server
        self._token = token
        self._namespace = namespace
        self._auth = auth
        self._headers = headers
        self._kind: type[Transport] = {"websocket": WebSocket, "polling": Polling}[transport]
        self._guard = guard
        self._path = path
        self._client: Client | None = None

    def __await__(self) -> Generator[Any, None, Client]:
        return self._connect().__await__()

    async def __aenter__(self) -> Client:
        self._client = await self._connect()
        return self._client

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.disconnect()

    async def _connect(self) -> Client:
        if isinstance(self._server, Client):
            line = self._server._line
            request = opening(line.host.guard, self._token, self._auth, self._headers)
        else:
            line, request = await self._line()
        state = line.connection.opens(self._namespace)
        client = Client(line, state)
        await line.send(Packet(packets.CONNECT, self._namespace, request.payload))
        await line.host.until(lambda: state.sid != "" or state.closed is not None, PATIENCE)
        await line.host.settle()
        if not state.is_connected:
            await self._give_up(line, state)
        if request.later is not None:
            await client.authenticate(request.later)
        return client

    async def _line(self) -> tuple[_Line, Opening]:
        entrance = find_entrance(self._server, self._guard, self._path)
        if entrance.server is not None and not entrance.server.is_asyncio_based():
            raise ConfigError("this server is synchronous; use connect_blocking(…), without await")
        request = opening(entrance.guard, self._token, self._auth, self._headers)
        line = _Line(host_of(entrance.guard))
        await line.open(self._kind, entrance.app, entrance.path, request)
        return line, request

    async def _give_up(self, line: _Line, state: SocketState) -> None:
        """Raise why the server did not accept the client."""
        refusal = state.why_refused()
        if all(socket.closed is not None for socket in line.connection.sockets.values()):
            await line.transport.close()
        raise refusal
