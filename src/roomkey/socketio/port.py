"""What the guard has python-socketio do."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import engineio
import socketio
from engineio import packet as eio_packet
from socketio import packet

from roomkey.core.admission import Admission
from roomkey.core.names import looks_like_sid

LOG = logging.getLogger("roomkey.guard")
FLUSH_SECONDS = 1.0


class SocketIOPort:
    """:class:`roomkey.guard.port.ServerPort` for a :class:`socketio.AsyncServer`.

    Attributes:
        websockets: by Engine.IO session, the task that reads its WebSocket; cancelled where a close does not end it.
        call_disconnect: calls the application's disconnect handler; the hooks set it.
    """

    call_disconnect: Callable[..., Awaitable[None]]

    def __init__(self, sio: socketio.AsyncServer) -> None:
        self.sio = sio
        self._enter = sio.manager.enter_room  # as it was before anybody stood in its place
        self.websockets: dict[str, asyncio.Task[Any]] = {}
        self._closing: set[str] = set()
        self._endings: set[asyncio.Task[None]] = set()
        self._handlers: Counter[asyncio.Task[Any] | None] = Counter()

    async def send_event(self, admission: Admission, event: str, data: object) -> None:
        """Send an event straight to one socket."""
        await self.send(
            admission.connection_id,
            self.sio.packet_class(packet.EVENT, namespace=admission.namespace, data=[event, data]),
        )

    async def send_ack(self, admission: Admission, ack_id: int, data: object) -> None:
        """Answer an event."""
        await self.send(
            admission.connection_id,
            self.sio.packet_class(packet.ACK, namespace=admission.namespace, id=ack_id, data=[data]),
        )

    async def disconnect(self, admission: Admission) -> None:
        """Send DISCONNECT."""
        await self.send(
            admission.connection_id, self.sio.packet_class(packet.DISCONNECT, namespace=admission.namespace)
        )

    async def send(self, eio_sid: str, pkt: Any) -> None:
        """Send a packet to a connection, if it is still there."""
        if eio_sid in self.sio.eio.sockets:
            try:
                await self.sio._send_packet(eio_sid, pkt)
            except (engineio.exceptions.EngineIOError, KeyError):
                return  # it closed meanwhile

    async def leave(self, admission: Admission) -> None:
        """End one namespace connection."""
        await self.sio.disconnect(admission.sid, namespace=admission.namespace, ignore_queue=True)

    async def run_disconnect(self, admission: Admission) -> None:
        """Call the application's disconnect handler."""
        reason = (self.sio.reason.SERVER_DISCONNECT,) if hasattr(self.sio, "reason") else ()
        await self.call_disconnect(admission, *reason)

    async def close(self, connection_id: str) -> None:
        """Close the transport truly: what is queued first, then the end, for polling and WebSocket alike.

        The application's disconnect handlers run last, so that a slow one keeps nobody connected.
        """
        transport = self.sio.eio.sockets.get(connection_id)
        if transport is None or transport.closed or connection_id in self._closing:
            return
        self._closing.add(connection_id)
        try:
            await self._close(connection_id, transport)
        finally:
            self._closing.discard(connection_id)
            self.sio.eio.sockets.pop(connection_id, None)  # engineio fails on requests to a session that is closed

    async def _close(self, connection_id: str, transport: Any) -> None:
        if not transport.upgraded:
            await self._flush(transport)  # a poll has to fetch the last packets
            # Over a WebSocket the end itself says it; there CLOSE would keep some clients from returning.
            transport.queue.put_nowait(eio_packet.Packet(eio_packet.CLOSE))
        transport.queue.put_nowait(None)  # ends the writer, and with it the WebSocket
        self._end_soon(connection_id, after=FLUSH_SECONDS if transport.upgraded else 0.0)
        await transport.close(wait=False, abort=True)

    def end_half_upgrade(self, connection_id: str) -> None:
        """End a WebSocket whose session is gone before the upgrade was done."""
        transport = self.sio.eio.sockets.get(connection_id)
        if transport is not None and not transport.upgraded:
            self._end_soon(connection_id, after=0.0)

    def _end_soon(self, connection_id: str, *, after: float) -> None:
        reader = self.websockets.get(connection_id)
        if reader is not None and reader is not asyncio.current_task():
            task = asyncio.get_running_loop().create_task(self._end(reader, after))
            self._endings.add(task)
            task.add_done_callback(self._endings.discard)

    async def _end(self, reader: asyncio.Task[Any], after: float) -> None:
        """See a WebSocket end: by itself, or, where its client reads nothing or is half upgraded, by cancelling it.

        Never inside a handler of the application, which may run in that task and has something to finish.
        """
        await asyncio.wait([reader], timeout=after)
        for _try in range(10):  # engineio and its writer each catch some, and wait for something else
            while self._handlers[reader]:
                await asyncio.wait([reader], timeout=0.1)
            if reader.done():
                return
            reader.cancel()
            await asyncio.wait([reader], timeout=0.1)

    @contextmanager
    def in_handler(self) -> Iterator[None]:
        """Around a handler of the application."""
        task = asyncio.current_task()
        self._handlers[task] += 1
        try:
            yield
        finally:
            self._handlers[task] -= 1
            if not self._handlers[task]:
                del self._handlers[task]

    async def _flush(self, transport: Any) -> None:
        try:
            await asyncio.wait_for(transport.queue.join(), FLUSH_SECONDS)
        except TimeoutError:
            LOG.debug("a polling client did not fetch its last packets")

    async def emit(self, admission: Admission, room: str, event: str, data: object) -> None:
        """Send an event to the others in a room."""
        await self.sio.emit(event, data, room=room, skip_sid=admission.sid, namespace=admission.namespace)

    def is_in_room(self, admission: Admission, room: str) -> bool:
        """True if the socket is in the room."""
        return admission.sid in self.sio.manager.rooms.get(admission.namespace, {}).get(room, ())

    async def enter_room(self, admission: Admission, room: str) -> None:
        """Put the socket into a room."""
        await self._enter(admission.sid, admission.namespace, room)

    async def leave_room(self, admission: Admission, room: str) -> None:
        """Take the socket out of a room."""
        await self.sio.leave_room(admission.sid, room, namespace=admission.namespace)

    def is_reserved_room(self, room: str) -> bool:
        """True for what looks like a sid."""
        return looks_like_sid(room)
