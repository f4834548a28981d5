"""The floor: an asyncio.Protocol that reads and writes frames itself, and verifies tokens with roomkey's verifier.

It has what no Socket.IO server in Python can do without, and nothing else: no limits, no heartbeat, no rooms, no
namespaces, no handlers, no policy, no audit log, no long-polling.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import secrets
import time

import orjson
import uvloop

from roomkey import Verifier
from roomkey.errors import AuthError

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: "
OPEN = b'0{"sid":"%b","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}'
TEXT, BINARY, CLOSE = 0x81, 0x82, 0x88

verifier = Verifier.hs256(os.environ["SECRET"])
admitted: set[Peer] = set()


def framed(payload: bytes, kind: int = TEXT) -> bytes:
    size = len(payload)
    return (bytes((kind, size)) if size < 126 else bytes((kind, 126)) + size.to_bytes(2)) + payload


def sid() -> bytes:
    return secrets.token_urlsafe(15).encode()


class Peer(asyncio.Protocol):
    __slots__ = ("opened", "rest", "transport", "write")

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport, self.write = transport, transport.write
        self.opened, self.rest = False, b""

    def connection_lost(self, error: Exception | None) -> None:
        admitted.discard(self)

    def data_received(self, data: bytes) -> None:
        if self.rest:
            data = self.rest + data
        if not self.opened:
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                self.rest = head
                return
            self.upgrade(head)
        self.rest = self.frames(data)

    def upgrade(self, head: bytes) -> None:
        headers = {}
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            headers[name.lower()] = value.strip()
        accept = base64.b64encode(hashlib.sha1(headers[b"sec-websocket-key"] + GUID).digest())
        self.opened = True
        self.write(b"%b%b\r\n\r\n%b" % (SWITCH, accept, framed(OPEN % sid())))

    def frames(self, data: bytes) -> bytes:
        """Handle the complete frames. Return the rest."""
        at, end = 0, len(data)
        while end - at >= 6:
            size, start = data[at + 1] & 127, at + 2
            if size == 126:
                size, start = int.from_bytes(data[at + 2 : at + 4]), at + 4
            elif size == 127:
                size, start = int.from_bytes(data[at + 2 : at + 10]), at + 10
            key, start = data[start : start + 4], start + 4
            if end - start < size:
                break
            mask = int.from_bytes((key * (size // 4 + 1))[:size])
            payload = (int.from_bytes(data[start : start + size]) ^ mask).to_bytes(size)
            self.frame(data[at], payload)
            at = start + size
        return data[at:]

    def frame(self, kind: int, payload: bytes) -> None:
        if kind == TEXT:
            self.packet(payload)
        elif kind == BINARY:  # the attachment of an event, whose acknowledgement was begun
            self.write(framed(payload, BINARY))
        elif kind == CLOSE:
            self.transport.close()

    def packet(self, packet: bytes) -> None:
        kind = packet[:2]
        if kind == b"42":
            start = packet.find(b"[", 2)
            event = orjson.loads(packet[start:])
            if start > 2:
                self.write(framed(b"43%b%b" % (packet[2:start], orjson.dumps([event[1]]))))
            else:
                message = framed(b"42" + orjson.dumps(["message", event[1]]))
                for peer in admitted:
                    peer.write(message)
        elif kind == b"40":
            try:
                verifier.verify(orjson.loads(packet[2:])["token"], time.time())
            except AuthError:
                self.write(framed(b'44{"message":"Authentication error"}'))
                return
            admitted.add(self)
            self.write(framed(b'40{"sid":"%b"}' % sid()))
        elif kind == b"45":
            start = packet.find(b"[")
            self.write(framed(b"46%b%b" % (packet[2:start], orjson.dumps(orjson.loads(packet[start:])[1:]))))


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Peer, "127.0.0.1", int(os.environ["PORT"]), backlog=2048)
    await server.serve_forever()


uvloop.run(main())
