"""The transports of python-socketio: sending packets, and closing connections completely."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import engineio
import socketio
from engineio import packet as eio_packet

LOG = logging.getLogger("roomkey.guard")
FLUSH_SECONDS = 1.0


class CommonTransports(ABC):
    """The Engine.IO transports of a server.

    Attributes:
        enter_room, leave_room: the manager's own functions, as they were before the guard stood in their places.
    """

    websockets: dict[str, Any]

    def __init__(self, sio: Any) -> None:
        self.sio = sio
        self.enter_room = sio.manager.enter_room
        self.leave_room = sio.manager.basic_leave_room

    @abstractmethod
    async def send(self, eio_sid: str, pkt: Any) -> None:
        """Send a packet to a connection, if it is still there."""

    @abstractmethod
    async def close(self, eio_sid: str) -> None:
        """Close the transport after what is queued was sent, for polling and WebSockets."""

    @abstractmethod
    def end_half_upgrade(self, eio_sid: str) -> None:
        """End a WebSocket whose session is gone before the upgrade was completed."""

    @contextmanager
    def in_handler(self) -> Iterator[None]:
        """Do something around a connect or disconnect handler of the application."""
        yield


class Transports(CommonTransports):
    """The Engine.IO transports of a :class:`socketio.AsyncServer`: sending, and a true close.

    Attributes:
        websockets: by Engine.IO session, the task that reads its WebSocket; canceled if a close does not end it.
    """

    def __init__(self, sio: socketio.AsyncServer) -> None:
        super().__init__(sio)
        self.websockets: dict[str, asyncio.Task[Any]] = {}
        self._closing: set[str] = set()
        self._endings: set[asyncio.Task[None]] = set()
        self._handlers: Counter[asyncio.Task[Any] | None] = Counter()

    async def send(self, eio_sid: str, pkt: Any) -> None:
        """Send a packet to a connection, if it is still there."""
        if eio_sid in self.sio.eio.sockets:
            try:
                await self.sio._send_packet(eio_sid, pkt)
            except (engineio.exceptions.EngineIOError, KeyError):
                return  # it closed meanwhile

    async def close(self, eio_sid: str) -> None:
        """Close the transport after what is queued was sent, for polling and WebSockets.

        The application's disconnect handlers run last, so that a slow one does not keep the client connected.
        """
        transport = self.sio.eio.sockets.get(eio_sid)
        if transport is None or transport.closed or eio_sid in self._closing:
            return
        self._closing.add(eio_sid)
        try:
            await self._close(eio_sid, transport)
        finally:
            self._closing.discard(eio_sid)
            self.sio.eio.sockets.pop(eio_sid, None)  # engineio fails on requests to a session that is closed

    async def _close(self, eio_sid: str, transport: Any) -> None:
        if not transport.upgraded:
            await self._flush(transport)  # a poll has to fetch the last packets
            # A WebSocket needs no packet for it; CLOSE would keep some clients from reconnecting.
            transport.queue.put_nowait(eio_packet.Packet(eio_packet.CLOSE))
        transport.queue.put_nowait(None)  # ends the writer, and with it the WebSocket
        self._end_soon(eio_sid, after=FLUSH_SECONDS if transport.upgraded else 0.0)
        await transport.close(wait=False, abort=True)

    def end_half_upgrade(self, eio_sid: str) -> None:
        """End a WebSocket whose session is gone before the upgrade was completed."""
        transport = self.sio.eio.sockets.get(eio_sid)
        if transport is not None and not transport.upgraded:
            self._end_soon(eio_sid, after=0.0)

    def _end_soon(self, eio_sid: str, *, after: float) -> None:
        reader = self.websockets.get(eio_sid)
        if reader is not None and reader is not asyncio.current_task():
            task = asyncio.get_running_loop().create_task(self._end(reader, after))
            self._endings.add(task)
            task.add_done_callback(self._endings.discard)

    async def _end(self, reader: asyncio.Task[Any], after: float) -> None:
        """Make sure that a WebSocket ends: cancel its task if its client reads nothing, or is half upgraded.

        Never cancel it inside a handler of the application, which can run in that task and must finish.
        """
        await asyncio.wait([reader], timeout=after)
        for _try in range(10):  # engineio and its writer each catch some cancellations, and wait for something else
            while self._handlers[reader]:
                await asyncio.wait([reader], timeout=0.1)
            if reader.done():
                return
            reader.cancel()
            await asyncio.wait([reader], timeout=0.1)

    @contextmanager
    def in_handler(self) -> Iterator[None]:
        """Mark the current task while it runs a handler of the application."""
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
