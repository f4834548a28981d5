"""What the guard has python-socketio do."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Any

import engineio
import socketio
from socketio import packet

from roomkey.core.admission import Admission

LOG = logging.getLogger("roomkey.guard")
FLUSH_SECONDS = 1.0
_SID = re.compile(r"[A-Za-z0-9_-]{20}")  # what engineio's generate_id makes: 15 bytes in base64url


class SocketIOPort:
    """:class:`roomkey.guard.port.ServerPort` for a :class:`socketio.AsyncServer`."""

    def __init__(self, sio: socketio.AsyncServer) -> None:
        self.sio = sio

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

    async def send(self, eio_sid: str, pkt: Any) -> None:
        """Send a packet to a connection, if it is still there."""
        if eio_sid in self.sio.eio.sockets:
            try:
                await self.sio._send_packet(eio_sid, pkt)
            except (engineio.exceptions.EngineIOError, KeyError):
                return  # it closed meanwhile

    async def disconnect(self, admission: Admission) -> None:
        """Send DISCONNECT."""
        await self.sio.disconnect(admission.sid, namespace=admission.namespace, ignore_queue=True)

    async def close(self, connection_id: str) -> None:
        """Close the transport truly: what is queued first, then the end, for polling and WebSocket alike."""
        transport = self.sio.eio.sockets.get(connection_id)
        if transport is None or transport.closed:
            return
        if not transport.upgraded:  # a poll has to fetch the last packets
            try:
                await asyncio.wait_for(transport.queue.join(), FLUSH_SECONDS)
            except TimeoutError:
                LOG.debug("a polling client did not fetch its last packets")
        try:
            # Over a WebSocket the end itself says it; Engine.IO's CLOSE packet would keep some clients from returning.
            await transport.close(wait=False, abort=transport.upgraded)
        finally:
            await transport.queue.put(None)  # ends the writer, and with it the WebSocket

    async def enter_room(self, admission: Admission, room: str) -> None:
        """Put the socket into a room."""
        await self.sio.enter_room(admission.sid, room, namespace=admission.namespace)

    async def leave_room(self, admission: Admission, room: str) -> None:
        """Take the socket out of a room."""
        await self.sio.leave_room(admission.sid, room, namespace=admission.namespace)

    def is_reserved_room(self, room: str) -> bool:
        """True for what looks like a sid: on another node, such a room would receive that person's messages."""
        return _SID.fullmatch(room) is not None
