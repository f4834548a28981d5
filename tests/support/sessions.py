"""Engine.IO sessions of either engine without a network."""

from __future__ import annotations

import asyncio
from typing import Any

from engineio import packet as eio_packet
from engineio.async_socket import AsyncSocket

from roomkey.hub import Hub
from roomkey.hub.engine_session import NORMAL, TRANSPORT_CLOSE
from roomkey.hub.http.requests import HttpRequest
from roomkey.wire import Message, TransportState

ADDRESS = "192.0.2.7"


def eio_sids(guard: Any) -> dict[str, Any]:
    """All connections of a guard, by their Engine.IO session's ID."""
    return {connection.host.eio_sid: connection for connection in guard.index.connections}


class SocketIOSession:
    """One Engine.IO session of python-socketio, without a network."""

    def __init__(self, sio: Any) -> None:
        self.sio = sio
        self.eio_sid = sio.eio.generate_id()
        self._socket = AsyncSocket(sio.eio, self.eio_sid)
        self._socket.connected = self._socket.upgraded = True
        sio.eio.sockets[self.eio_sid] = self._socket

    async def open(self) -> None:
        environ = {"REMOTE_ADDR": ADDRESS, "QUERY_STRING": ""}
        await self.sio.eio._trigger_event("connect", self.eio_sid, environ, run_async=False)

    async def receive(self, message: str) -> None:
        await self._socket.receive(eio_packet.Packet(eio_packet.MESSAGE, message))

    def sent(self) -> list[str]:
        packets = []
        while not self._socket.queue.empty():
            try:
                packet = self._socket.queue.get_nowait()
            except asyncio.QueueEmpty:  # the end of one poll
                continue
            self._socket.queue.task_done()
            if packet is not None and isinstance(packet.data, str):
                packets.append(packet.data)
        return packets

    async def lose(self) -> None:
        await self._socket.close(wait=False, abort=True)

    @property
    def closed(self) -> bool:
        return bool(self._socket.closed)

    def is_known_to_server(self) -> bool:
        return self.eio_sid in str(self.sio.manager.rooms)


class HubSession:
    """One Engine.IO session of the hub. It is its own transport."""

    def __init__(self, sio: Hub) -> None:
        self.sio = sio
        self.closed = False
        self._outbox: list[str] = []

    async def open(self) -> None:
        opened = self.sio.requests.open(HttpRequest("GET", "/socket.io/", "", [], ADDRESS), TransportState.WEBSOCKET)
        opened.use(self)
        self._session = opened
        self.eio_sid = opened.eio_sid
        self.sio.sessions.greet(opened)

    async def receive(self, message: str) -> None:
        self._session.text(b"4" + message.encode())

    def sent(self) -> list[str]:
        outbox, self._outbox = self._outbox, []
        return outbox

    async def lose(self) -> None:
        self._session.end(TRANSPORT_CLOSE)

    def is_known_to_server(self) -> bool:
        return any(socket.session is self._session for socket in self.sio.sockets.by_sid.values())

    # A transport

    def send(self, message: Message) -> None:
        self._outbox.append(message.text[1:].decode())

    send_batched = send

    def send_packet(self, packet: bytes, *, binary: bool = False) -> None:
        """Ignore pings, which no client here reads."""

    def close(self, code: int = NORMAL) -> bool:
        self.closed = True
        return True

    def abort(self) -> None:
        self.closed = True

    def on_admitted(self) -> None: ...

    def client_closing(self) -> None:
        """Ignore it, as no client here closes by itself."""

    def drain(self) -> list[Any]:
        return []
