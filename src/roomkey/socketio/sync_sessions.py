"""Engine.IO sessions of a synchronous server that are bound to their owners and end completely."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from engineio import packet as eio_packet
from engineio.exceptions import EngineIOError

from roomkey.core.rate import TokenBucket
from roomkey.guard.base import BaseGuard
from roomkey.guard.settings import POLL_PACKETS, UPGRADE_SECONDS
from roomkey.guard.thread_tasks import NativeEvent, NativeLock
from roomkey.guard.threads import ThreadBackground
from roomkey.socketio.engine_sessions import (
    BAD_REQUEST,
    CONTROL_RATE,
    FORBIDDEN,
    LARGE_PACKET,
    TOO_LARGE,
    CommonSessions,
    Unsent,
)
from roomkey.socketio.environ import ReadRequest, is_upgrade, length_ok
from roomkey.socketio.host import SocketIOConnection
from roomkey.socketio.sync_transports import SyncTransports, sever

_ANSWER: ContextVar[dict[str, Any] | None] = ContextVar("roomkey_answer", default=None)


def noted_answer() -> dict[str, Any] | None:
    """Return the response that a session's own function noted in this thread, once."""
    answer = _ANSWER.get()
    if answer is None:
        return None
    _ANSWER.set(None)
    return _copy(answer)


def _copy(answer: dict[str, Any]) -> dict[str, Any]:
    return {**answer, "headers": list(answer["headers"])}  # engineio adds headers to the list


class LockedUnsent(Unsent):
    """Counts the bytes that wait for a client, to which several threads send.

    Args:
        lock: a lock of the server's threads.
    """

    def __init__(self, most: int, exceeded: Callable[[], None], lock: NativeLock) -> None:
        super().__init__(most, exceeded)
        self._lock = lock

    def count(self, change: int) -> int:
        """Change the number, and return what it was."""
        self._lock.acquire()
        try:
            return super().count(change)
        finally:
            self._lock.release()


@lru_cache  # a class for each session would be garbage that only the collector frees
def _few_at_once(kind: Any, empty: type[Exception]) -> Any:
    class FewAtOnce(kind):  # type: ignore[misc]
        unsent: Unsent
        drained: NativeEvent | None = None  # set when all packets are taken
        taken = 0

        def put(self, packet: Any, *arguments: Any, **named: Any) -> None:
            super().put(packet, *arguments, **named)
            self.unsent.add(packet)

        def get(self, block: bool = True, timeout: float | None = None) -> Any:
            if block:
                self.taken = 0
            elif self.taken >= POLL_PACKETS:
                self.taken = 0
                raise empty
            packet = super().get(block, timeout)
            self.taken += 1
            self.unsent.remove(packet)
            return packet

        def task_done(self) -> None:
            super().task_done()
            if self.drained is not None and not self.unfinished_tasks:
                self.drained.set()

    return FewAtOnce


def few_at_once(before: Any, empty: type[Exception], unsent: Unsent) -> Any:
    """Return a queue from which one poll takes at most :data:`POLL_PACKETS` packets.

    engineio waits for the first packet, and then asks for more without waiting until there are none.

    Args:
        before: the queue that it replaces; nothing waits for that yet.
        empty: the exception of a queue that is empty.
        unsent: counts what waits in it.
    """
    queue = _few_at_once(type(before), empty)()  # type: ignore[arg-type]  # classes are hashable
    queue.unsent = unsent
    while not before.empty():
        queue.put(before.get(block=False))
    return queue


class SyncSessions(CommonSessions):
    """Wraps the request functions of each session of a :class:`socketio.Server`.

    They run in the threads of the WSGI server, without the monitor.
    """

    def __init__(
        self, guard: BaseGuard, transports: SyncTransports, *, by_address: bool, read_request: ReadRequest
    ) -> None:
        super().__init__(guard, transports, by_address=by_address, read_request=read_request)
        self.transports = transports
        background = guard.background
        assert isinstance(background, ThreadBackground)
        self._background = background
        self._ends: dict[str, tuple[Any, NativeEvent]] = {}  # by session: its transport, and what ends its heartbeat

    def bind(self, connection: SocketIOConnection, opening: Mapping[str, Any]) -> None:
        """Serve later requests of the session only for its owner, without disturbing the owner."""
        transport = self.sio.eio.sockets[connection.eio_sid]
        get, post, read_websocket = (
            self._one_poll(connection, transport.handle_get_request),
            transport.handle_post_request,
            transport._websocket_handler,
        )

        def handle_get_request(environ: Mapping[str, Any], start_response: Any) -> Any:
            # The opening request of a WebSocket comes through here; that of a polling session does not.
            if environ is not opening and not self._background.run(self._is_owner(connection, environ)):
                return _copy(FORBIDDEN)
            # Not guarded.closing: the guard closes a connection before it has sent the reason.
            if connection.closing and transport.queue.empty():
                return [eio_packet.Packet(eio_packet.CLOSE)]
            return get(environ, start_response)

        def handle_post_request(environ: Mapping[str, Any]) -> None:
            _ANSWER.set(self._refuse_post(connection, environ))
            if _ANSWER.get() is not None:
                return
            try:
                post(environ)
            except Exception as error:  # engineio would end the session, or wait for its queue
                _ANSWER.set(BAD_REQUEST)
                self._violation(connection, f"a request that cannot be read ({type(error).__name__})")

        def websocket_handler(ws: Any) -> Any:
            if connection.guarded.closing or connection.eio_sid in self.transports.websockets:
                return _close_websocket(ws)  # one upgrade at a time
            return self._read_websocket(connection, transport, read_websocket, ws)

        transport.receive = self._counted(connection, transport.receive)
        transport.queue = few_at_once(
            transport.queue,
            self.sio.eio.get_queue_empty_exception(),
            LockedUnsent(
                self.guard.settings.max_unsent,
                self._unsent_exceeded(connection),
                self._background.primitives.lock(),
            ),
        )
        transport.handle_get_request = handle_get_request
        transport.handle_post_request = handle_post_request
        transport._websocket_handler = websocket_handler
        transport._send_ping = self._heartbeat(connection.eio_sid, transport)

    def _one_poll(self, connection: SocketIOConnection, get: Callable[..., Any]) -> Callable[..., Any]:
        def get_alone(environ: Mapping[str, Any], start_response: Any) -> Any:
            if is_upgrade(environ):
                return get(environ, start_response)
            with self._background.monitor:
                is_first = self._begin_poll(connection)
            if not is_first:
                return _copy(BAD_REQUEST)
            try:
                return get(environ, start_response)
            finally:
                connection.polls = False

        return get_alone

    def _refuse_post(self, connection: SocketIOConnection, environ: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the response to a request that engineio must not read, or None."""
        if not self._background.run(self._is_owner(connection, environ)):
            return FORBIDDEN
        if not length_ok(environ, self._max_body(connection)):
            self._violation(connection, "a request body over the limit")
            return TOO_LARGE
        return None

    def _too_slow(self, connection: SocketIOConnection) -> None:
        with self._background.monitor:
            super()._too_slow(connection)

    def _violation(self, connection: SocketIOConnection, detail: str) -> None:
        with self._background.monitor:
            connection.guarded.violation(detail)

    def _heartbeat(self, eio_sid: str, transport: Any) -> Callable[[], None]:
        """Return engineio's heartbeat, which ends with the session: engineio's own would sleep until the next ping."""
        ended = self._background.primitives.event()
        self._ends[eio_sid] = transport, ended

        def beat() -> None:
            transport.last_ping = None  # a pong came, which engineio 4.8 notes only here
            ended.wait(self.sio.eio.ping_interval)
            if not transport.closing and not transport.closed:
                transport.last_ping = time.time()
                try:
                    transport.send(eio_packet.Packet(eio_packet.PING))
                except EngineIOError:
                    return  # it closed meanwhile

        return beat

    def release(self, eio_sid: str) -> None:
        """Forget a session that has ended, with everything that :meth:`bind` added: reference cycles go through it."""
        transport, ended = self._ends.pop(eio_sid, (None, None))
        if transport is not None and ended is not None:
            ended.set()
            transport.handle_get_request = _say_closed
            transport.handle_post_request = transport.receive = _ignore
            transport._websocket_handler = _close_websocket
            transport._send_ping = _rest

    def _read_websocket(self, connection: SocketIOConnection, transport: Any, read: Any, ws: Any) -> Any:
        """Read a WebSocket to its end; close it if its upgrade is not completed, or if a frame cannot be read."""
        eio_sid = connection.eio_sid
        self.transports.websockets[eio_sid] = ws
        limit = self._bound(connection, ws)
        half_done = self._background.call_later(UPGRADE_SECONDS, lambda: None if transport.upgraded else sever(ws))
        try:
            return read(ws)
        except Exception as error:  # whatever the WebSocket library raises
            self._violation(connection, f"a frame that cannot be read ({type(error).__name__})")
            ws.close()
            return []
        finally:
            sever(ws)  # some servers wait for another request on the connection
            half_done.cancel()
            self._unbound(connection, ws, limit)
            self.transports.websockets.pop(eio_sid, None)
            if transport.upgraded:
                transport.close(wait=False, abort=True)  # if engineio failed before it did so
            else:
                transport.upgrading = False  # polling goes on

    def _counted(self, connection: SocketIOConnection, take: Callable[[Any], None]) -> Callable[[Any], None]:
        """Count packets without a message: engineio starts a thread for each pong, even an unexpected one."""
        control = TokenBucket(CONTROL_RATE, connection.guarded.opened_at)

        def counted(packet: Any) -> None:
            if packet.packet_type != eio_packet.MESSAGE and control.take(self.guard.clock.monotonic()) < 0:
                self._violation(connection, "too many Engine.IO packets without a message")
            elif not connection.guarded.closing:
                take(packet)

        return counted

    def _bound(self, connection: SocketIOConnection, ws: Any) -> _Limit:
        """Keep large packets from engineio until something is admitted: it decodes JSON before the guard is asked."""
        wait = ws.wait
        limit = _Limit(ws, self._max_packet)
        connection.grow = lambda: limit.set(self.sio.eio.max_http_buffer_size)
        if connection.guarded.admitted:
            connection.grow()

        def wait_for_small() -> Any:
            limit.start()
            data = wait()
            if (data is None and limit.exceeded) or (
                not connection.guarded.admitted and self.is_too_large(connection.guarded, data)
            ):
                self._violation(connection, LARGE_PACKET)
                raise ValueError(LARGE_PACKET)  # engineio stops reading
            return data

        ws.wait = wait_for_small
        return limit

    @staticmethod
    def _unbound(connection: SocketIOConnection, ws: Any, limit: _Limit) -> None:
        """Take back what :meth:`_bound` did to a WebSocket that is read no more; only the collector would free it."""
        connection.grow = None
        del ws.wait
        limit.end()


class _Limit:
    """The limit of a message in the library that reads a WebSocket, before it is complete.

    Args:
        ws: the WebSocket, as engineio gets it.
        most: the greatest number of bytes.
    """

    def __init__(self, ws: Any, most: int) -> None:
        self._most = most
        self._taken = 0
        inner: Any = getattr(ws, "ws", None)
        self._simple: Any
        raw: Any = getattr(ws, "_sock", None)
        self._simple = inner if hasattr(inner, "max_message_size") else None  # simple-websocket
        self._wakes = hasattr(inner, "_handle_events")
        if self._wakes:
            self._handle_events, inner._handle_events = inner._handle_events, self._wake_reader
        self._raw = raw if hasattr(raw, "raw_read") else None  # gevent-websocket
        if self._raw is not None:
            self._read, raw.raw_read = raw.raw_read, self._limited
        self.set(most)

    def end(self) -> None:
        """Give the library its own functions back."""
        if self._wakes:
            del self._simple._handle_events
        if self._raw is not None:
            self._raw.raw_read = self._read

    def set(self, most: int) -> None:
        """Change it."""
        self._most = most
        if self._simple is not None:
            self._simple.max_message_size = most

    def start(self) -> None:
        """Begin with another message."""
        self._taken = 0

    @property
    def exceeded(self) -> bool:
        """True if the library has stopped for a message that is too large."""
        return self._simple is not None and self._simple.incoming_message_len > self._simple.max_message_size

    def _wake_reader(self) -> bool:
        """Handle what has arrived. simple-websocket 1.1 wakes who waits for a message before it notes the end."""
        goes_on: bool = self._handle_events()
        if not goes_on:
            self._simple.connected = False
            self._simple.event.set()
        return goes_on

    def _limited(self, size: int) -> Any:
        self._taken += size
        if self._taken > self._most + _FRAMES:
            raise ValueError("a message over the limit")
        return self._read(size)


_FRAMES = 4096
"""The bytes of a message's frames besides its text."""


def _say_closed(environ: Mapping[str, Any], start_response: Any) -> list[Any]:
    return [eio_packet.Packet(eio_packet.CLOSE)]


def _ignore(_arrived: object) -> None:
    return None


def _rest() -> None:
    return None


def _close_websocket(ws: Any) -> list[Any]:
    ws.close()
    sever(ws)
    return []
