"""Engine.IO sessions that are bound to their owners and end completely."""

from __future__ import annotations

import asyncio
import json
import logging
import weakref
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from engineio import packet as eio_packet

from roomkey.audit import record
from roomkey.core.rate import TokenBucket
from roomkey.guard.base import BaseGuard
from roomkey.guard.connection import GuardedConnection
from roomkey.guard.settings import POLL_PACKETS, UPGRADE_SECONDS
from roomkey.socketio.environ import ReadRequest, address, is_upgrade, length_ok
from roomkey.socketio.host import SocketIOConnection
from roomkey.socketio.transports import CommonTransports, Transports

CONTROL_RATE = 10.0
"""Engine.IO packets without a message that one connection can send per second; a client sends one for each ping."""

LARGE_PACKET = "a large packet before admission"

ANSWER = "roomkey.answer"
"""Where the environ of a request has the response that replaces engineio's own."""


def _refusal(status: str, code: int, message: str) -> dict[str, Any]:
    """Return a response of engineio's with the body of Node's engine.io."""
    body = json.dumps({"code": code, "message": message}, separators=(",", ":")).encode()
    return {"status": status, "headers": [("Content-Type", "application/json")], "response": body}


FORBIDDEN = _refusal("403 FORBIDDEN", 4, "Forbidden")
BAD_REQUEST = _refusal("400 BAD REQUEST", 3, "Bad request")
TOO_LARGE = _refusal("413 CONTENT TOO LARGE", 3, "Bad request")


class Unsent:
    """Counts the bytes that wait for a client.

    One packet of any size may wait alone.

    Args:
        most: how many bytes may wait when one more packet is added.
        exceeded: called each time that more wait then.
    """

    def __init__(self, most: int, exceeded: Callable[[], None]) -> None:
        self._most = most
        self._exceeded = exceeded
        self._waiting = 0

    def add(self, packet: Any) -> None:
        """Count a packet that begins to wait."""
        if self.count(_size(packet)) > self._most:
            self._exceeded()

    def remove(self, packet: Any) -> None:
        """Count a packet that waits no more."""
        self.count(-_size(packet))

    def count(self, change: int) -> int:
        """Change the number, and return what it was."""
        before = self._waiting
        self._waiting = before + change
        return before


def _size(packet: Any) -> int:
    data = getattr(packet, "data", None)  # None ends the queue
    return len(data) + 1 if isinstance(data, (str, bytes)) else 1


class FewAtOnce(asyncio.Queue[Any]):
    """A queue from which one poll of engineio takes at most :data:`POLL_PACKETS` packets.

    engineio waits for the first packet with ``get``, and then asks ``get_nowait`` for more until that has no more.

    Args:
        before: the queue that it replaces; nothing waits for that yet.
        unsent: counts what waits in it.
    """

    def __init__(self, before: asyncio.Queue[Any], unsent: Unsent) -> None:
        super().__init__()
        self._taken = 0
        self._unsent = unsent
        while not before.empty():
            self.put_nowait(before.get_nowait())

    def put_nowait(self, packet: Any) -> None:
        """Add a packet; asyncio's ``put`` also calls this."""
        super().put_nowait(packet)
        self._unsent.add(packet)

    async def get(self) -> Any:
        """Take the first packet."""
        self._taken = 0
        return await super().get()

    def get_nowait(self) -> Any:
        """Take a packet; asyncio's ``get`` also calls this.

        Raises:
            QueueEmpty: there is none, or the next one is for another poll.
        """
        if self._taken >= POLL_PACKETS:
            self._taken = 0
            raise asyncio.QueueEmpty
        self._taken += 1
        packet = super().get_nowait()
        self._unsent.remove(packet)
        return packet


class CommonSessions(ABC):
    """Wraps the request functions of each session.

    Args:
        guard: has the settings and the clock.
        transports: closes connections, and knows the WebSockets.
        by_address: also bind each session to the address that opened it.
        read_request: finds the parts of a request that can contain tokens.
    """

    def __init__(
        self, guard: BaseGuard, transports: CommonTransports, *, by_address: bool, read_request: ReadRequest
    ) -> None:
        self.guard = guard
        self.sio = transports.sio
        self.by_address = by_address
        self._read_request = read_request
        self._max_packet = guard.settings.anonymous_packet

    @abstractmethod
    def bind(self, connection: SocketIOConnection, opening: Mapping[str, Any]) -> None:
        """Serve later requests of the session only for its owner, without disturbing the owner."""

    @abstractmethod
    def release(self, eio_sid: str) -> None:
        """Forget a session that has ended, with everything that :meth:`bind` added."""

    def _max_body(self, connection: SocketIOConnection) -> int:
        """Return the current limit of a polling body, in bytes."""
        most: int = self.sio.eio.max_http_buffer_size
        if connection.guarded.admitted:
            return most
        return min(most, self.guard.settings.anonymous_body)

    def is_too_large(self, connection: GuardedConnection, data: object) -> bool:
        """Return True for a packet that is larger than one may be before anything is admitted."""
        if connection.admitted or not isinstance(data, (str, bytes)):
            return False
        size = len(data if isinstance(data, bytes) else data.encode(errors="surrogatepass"))
        return size > self._max_packet

    def _begin_poll(self, connection: SocketIOConnection) -> bool:
        """Note that a poll waits. A second one at the same time closes the connection, as on Node.

        Each poll would occupy a thread or a task, and one of them would take the packets of the other.
        """
        if connection.polls:
            connection.guarded.violation("two polls at once")
            return False
        connection.polls = True
        return True

    def _unsent_exceeded(self, connection: SocketIOConnection) -> Callable[[], None]:
        """Return what its queue calls. A poll can keep the queue for a while after the connection has ended."""
        reference = weakref.ref(connection)

        def exceeded() -> None:
            still_there = reference()
            if still_there is not None:
                self._too_slow(still_there)

        return exceeded

    def _too_slow(self, connection: SocketIOConnection) -> None:
        """Close a connection for which too much waits unsent."""
        if not connection.guarded.closing:
            record(
                "closed",
                level=logging.WARNING,
                reason="reads too slowly",
                address=connection.guarded.address,
                max_unsent=self.guard.settings.max_unsent,
            )
            connection.guarded.close()

    async def _is_owner(self, connection: SocketIOConnection, environ: Mapping[str, Any]) -> bool:
        guarded, sender = connection.guarded, address(environ)
        is_bound = not self.by_address or sender == guarded.address
        return await guarded.owns(self._read_request(environ), sender, is_bound=is_bound)


class EngineSessions(CommonSessions):
    """Wraps the request functions of each session of a :class:`socketio.AsyncServer`.

    Its arguments are those of :class:`CommonSessions`; the transports also know the tasks that read WebSockets.
    """

    def __init__(
        self, guard: BaseGuard, transports: Transports, *, by_address: bool, read_request: ReadRequest
    ) -> None:
        super().__init__(guard, transports, by_address=by_address, read_request=read_request)
        self.transports = transports
        self.heartbeats: dict[str, asyncio.Task[Any]] = {}  # by session, while engineio waits for the next ping

    def bind(self, connection: SocketIOConnection, opening: Mapping[str, Any]) -> None:
        """Serve later requests of the session only for its owner, without disturbing the owner."""
        transport = self.sio.eio.sockets[connection.eio_sid]
        get, post = self._one_poll(connection, transport.handle_get_request), transport.handle_post_request
        read_websocket = transport._websocket_handler

        async def handle_get_request(environ: Mapping[str, Any]) -> Any:
            # The opening request of a WebSocket comes through here; that of a polling session does not.
            if environ is not opening and not await self._is_owner(connection, environ):
                return FORBIDDEN
            # Not guarded.closing: the guard closes a connection before it has sent the reason.
            if connection.closing and transport.queue.empty():
                return [eio_packet.Packet(eio_packet.CLOSE)]
            return await get(environ)

        async def handle_post_request(environ: MutableMapping[str, Any]) -> None:
            if not await self._is_owner(connection, environ):
                environ[ANSWER] = FORBIDDEN
                return
            if not length_ok(environ, self._max_body(connection)):
                environ[ANSWER] = TOO_LARGE
                connection.guarded.violation("a request body over the limit")
                return
            try:
                await post(environ)
            except Exception as error:  # engineio would wait for a queue that is never emptied
                environ[ANSWER] = BAD_REQUEST
                connection.guarded.violation(f"a request that cannot be read ({type(error).__name__})")

        async def websocket_handler(ws: Any) -> None:
            if connection.guarded.closing or connection.eio_sid in self.transports.websockets:
                await ws.close()  # one upgrade at a time
            else:
                await self._read_websocket(connection, transport, read_websocket, ws)

        transport.receive = self._counted(connection, transport.receive)
        unsent = Unsent(self.guard.settings.max_unsent, self._unsent_exceeded(connection))
        transport.queue = FewAtOnce(transport.queue, unsent)
        transport.handle_get_request = handle_get_request
        transport.handle_post_request = handle_post_request
        transport._websocket_handler = websocket_handler
        transport._send_ping = self._heartbeat(connection.eio_sid, transport)

    def _one_poll(self, connection: SocketIOConnection, get: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
        async def get_alone(environ: Mapping[str, Any]) -> Any:
            if is_upgrade(environ):
                return await get(environ)
            if not self._begin_poll(connection):
                return BAD_REQUEST
            try:
                return await get(environ)
            finally:
                connection.polls = False

        return get_alone

    def _heartbeat(self, eio_sid: str, transport: Any) -> Callable[[], Awaitable[None]]:
        """Wrap engineio's heartbeat, so that its task can be found: engineio keeps no reference."""
        send_ping = transport._send_ping

        async def beat() -> None:
            task = asyncio.current_task()
            if transport.closed or task is None:
                return
            self.heartbeats[eio_sid] = task
            try:
                await send_ping()
            finally:
                if self.heartbeats.get(eio_sid) is task:
                    del self.heartbeats[eio_sid]

        return beat

    def release(self, eio_sid: str) -> None:
        """Forget a session that has ended, with everything that :meth:`bind` added.

        engineio's heartbeat would keep it and its opening request for one more ``ping_interval``.
        """
        heartbeat = self.heartbeats.pop(eio_sid, None)
        if heartbeat is not None and heartbeat is not asyncio.current_task():  # a missing pong ends it in that task
            heartbeat.cancel()
        transport = self.sio.eio.sockets.get(eio_sid)
        if transport is not None:
            transport.handle_get_request = _say_closed
            transport.handle_post_request = transport.receive = _ignore
            transport._websocket_handler = _close_websocket

    async def _read_websocket(self, connection: SocketIOConnection, transport: Any, read: Any, ws: Any) -> None:
        """Read a WebSocket to its end; close it if its upgrade is not completed, or if a frame cannot be read."""
        reader = asyncio.current_task()
        assert reader is not None
        self.transports.websockets[connection.eio_sid] = reader
        self._bound(connection, ws)
        half_done = asyncio.get_running_loop().call_later(
            UPGRADE_SECONDS, lambda: None if transport.upgraded else reader.cancel()
        )
        try:
            await read(ws)
        except asyncio.CancelledError:
            await ws.close()
            if not connection.guarded.closing and transport.upgraded:
                raise
        except Exception as error:
            connection.guarded.violation(f"a frame that cannot be read ({type(error).__name__})")
            await ws.close()
        finally:
            half_done.cancel()
            if not transport.upgraded:
                transport.upgrading = False  # polling goes on
            self.transports.websockets.pop(connection.eio_sid, None)

    def _counted(self, connection: SocketIOConnection, take: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Any]:
        """Count packets without a message: engineio starts a task for each pong, even an unexpected one."""
        control = TokenBucket(CONTROL_RATE, connection.guarded.opened_at)

        async def counted(packet: Any) -> None:
            if packet.packet_type != eio_packet.MESSAGE and control.take(self.guard.clock.monotonic()) < 0:
                connection.guarded.violation("too many Engine.IO packets without a message")
            elif not connection.guarded.closing:
                await take(packet)

        return counted

    def _bound(self, connection: SocketIOConnection, ws: Any) -> None:
        """Keep large packets from engineio until something is admitted: it decodes JSON before the guard is asked."""
        wait = ws.wait

        async def wait_for_small() -> Any:
            data = await wait()
            if connection.guarded.admitted:
                ws.wait = wait
            elif self.is_too_large(connection.guarded, data):
                connection.guarded.violation(LARGE_PACKET)
                raise ValueError(LARGE_PACKET)  # engineio stops reading
            return data

        ws.wait = wait_for_small


async def _say_closed(environ: Mapping[str, Any]) -> list[Any]:
    return [eio_packet.Packet(eio_packet.CLOSE)]


async def _ignore(_arrived: object) -> None:
    return None


async def _close_websocket(ws: Any) -> None:
    await ws.close()
