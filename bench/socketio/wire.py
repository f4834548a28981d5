"""Raw clients: WebSocket frames and HTTP requests as bytes, all connections of the load generator on one epoll.

A client library would cost the load generator several times what the servers cost, and would hide what is on the wire.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from collections.abc import Callable

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
MASK = bytes.fromhex("37fa213d")  # RFC 6455's example; not zero, because some servers then skip the work
CHUNK = 1 << 16
IP_BIND_ADDRESS_NO_PORT = 24
# Closed connections keep their port for a minute, and an address has 28,000 ports.
LINUX = sys.platform == "linux"
SOURCES = [f"127.0.1.{number}" for number in range(1, 251)] if LINUX else ["127.0.0.1"]

UPGRADE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """Return one masked frame."""
    size = len(payload)
    length = bytes((0x80 | size,)) if size < 126 else bytes((0x80 | 126,)) + size.to_bytes(2)
    key = (MASK * (size // 4 + 1))[:size]
    return bytes((0x80 | opcode,)) + length + MASK + (int.from_bytes(payload) ^ int.from_bytes(key)).to_bytes(size)


HEARTBEAT = frame(b"3")


class Connection:
    """One TCP connection of the swarm."""

    __slots__ = ("number", "rest", "sock", "swarm")

    def __init__(self, swarm: Swarm) -> None:
        self.swarm, self.rest = swarm, b""
        self.sock = socket.socket()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if LINUX:
            self.sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            self.sock.bind((swarm.source(), 0))
        self.sock.connect(("127.0.0.1", swarm.port))
        self.number = self.sock.fileno()
        swarm.table[self.number] = self
        swarm.epoll.register(self.number, select.EPOLLIN)

    def readable(self) -> None:
        try:
            data = self.sock.recv(CHUNK)
        except ConnectionError:
            data = b""
        if data:
            self.feed(self.rest + data if self.rest else data)
        else:
            self.lost()

    def feed(self, data: bytes) -> None:
        raise NotImplementedError

    def lost(self) -> None:
        raise NotImplementedError

    @property
    def is_open(self) -> bool:
        return self.swarm.table.get(self.number) is self  # the number of a closed connection is soon used again

    def close(self) -> None:
        """End the TCP connection, without a closing handshake."""
        if self.is_open:
            del self.swarm.table[self.number]
            self.sock.close()


class Client(Connection):
    """A Socket.IO client over WebSocket."""

    __slots__ = ("arrived", "hello", "received", "settled", "upgraded")

    def __init__(self, swarm: Swarm, hello: bytes, settled: Callable[[Client, bool], None]) -> None:
        self.hello, self.settled, self.upgraded = hello, settled, False
        self.received, self.arrived = 0, None
        super().__init__(swarm)
        self.sock.sendall(swarm.upgrade)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def feed(self, data: bytes) -> None:
        if (known := self.swarm.known.get(data)) is not None:
            self.count(known, data)
            return
        if not self.upgraded:
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                self.rest = head
                return
            if not head.startswith(b"HTTP/1.1 101 "):
                self.lost()
                return
            self.upgraded = True
        self.rest = self.frames(data)

    def frames(self, data: bytes) -> bytes:
        """Handle the complete frames. Return the rest."""
        at, end = 0, len(data)
        while end - at >= 2:
            size, start = data[at + 1], at + 2
            if size == 126:
                size, start = int.from_bytes(data[at + 2 : at + 4]), at + 4
            elif size == 127:
                size, start = int.from_bytes(data[at + 2 : at + 10]), at + 10
            if end - start < size:
                break
            self.frame(data[at] & 15, data[start : start + size])
            at = start + size
        return data[at:]

    def frame(self, opcode: int, payload: bytes) -> None:
        if opcode == TEXT:
            self.packet(payload)
        elif opcode == BINARY:  # a packet has only one attachment
            self.count(1, payload)
        elif opcode == PING:
            self.send(frame(payload, PONG))
        elif opcode == CLOSE:
            self.lost()

    def packet(self, packet: bytes) -> None:
        kind = packet[:2]
        if kind in (b"42", b"43"):
            self.count(1, packet)
        elif kind == b"2":
            self.send(HEARTBEAT)
        elif kind[:1] == b"0":
            self.send(self.hello)
        elif kind in (b"40", b"44"):
            self.settled(self, kind == b"40")

    def count(self, number: int, packet: bytes) -> None:
        self.received += number
        self.swarm.received += number
        if self.arrived:
            self.arrived(self, number, packet)

    def lost(self) -> None:
        if self.is_open:
            self.swarm.lost += 1
            self.close()


class Caller(Connection):
    """A client over HTTP long-polling, with one request at a time on one connection."""

    __slots__ = ("answered",)

    def __init__(self, swarm: Swarm) -> None:
        self.answered: Callable[[Caller, bytes], None] | None = None
        super().__init__(swarm)

    def request(self, request: bytes, answered: Callable[[Caller, bytes], None]) -> None:
        self.answered = answered
        self.sock.sendall(request)

    def feed(self, data: bytes) -> None:
        self.rest = data
        head, end, body = data.partition(b"\r\n\r\n")
        if not end:
            return
        name, found, value = head.lower().partition(b"\r\ncontent-length:")
        if found:
            if len(body) < int(value.split(b"\r\n", 1)[0]):
                return
        else:  # in chunks
            if not body.endswith(b"0\r\n\r\n"):
                return
            body = body.partition(b"\r\n")[2].rpartition(b"\r\n0\r\n")[0]
        self.rest = b""
        self._answer(body if name.startswith(b"http/1.1 200 ") else b"")

    def _answer(self, body: bytes) -> None:
        answered, self.answered = self.answered, None
        if answered is not None:  # or the server closes a connection that is idle
            answered(self, body)

    def lost(self) -> None:
        if self.is_open:
            self.close()
            self._answer(b"")


class Poll:
    """The part of epoll's interface that is used here, for systems without epoll."""

    def __init__(self) -> None:
        self._poll = select.poll()

    def register(self, number: int, _events: int) -> None:
        self._poll.register(number, select.POLLIN)

    def poll(self, timeout: float) -> list[tuple[int, int]]:
        ready = self._poll.poll(timeout * 1000)
        for number, event in ready:
            if event & select.POLLNVAL:  # epoll forgets a connection that is closed
                self._poll.unregister(number)
        return ready


class Swarm:
    """All connections."""

    def __init__(self, port: int) -> None:
        self.port, self.upgrade = port, UPGRADE % port
        self.epoll = select.epoll() if LINUX else Poll()
        self.table: dict[int, Connection] = {}
        self.received = self.lost = self.made = 0
        self.known: dict[bytes, int] = {}  # expected reads, and the number of packets in each

    def source(self) -> str:
        self.made += 1
        return SOURCES[self.made % len(SOURCES)]

    def expect(self, packet: bytes) -> None:
        """Count one or several of this packet in a read without parsing their frames again."""
        size = len(packet)
        data = bytes((0x81, size)) + packet if size < 126 else b"\x81\x7e" + size.to_bytes(2) + packet
        self.known = {data * number: number for number in range(1, 9)}

    def step(self, timeout: float) -> None:
        table = self.table
        for number, _ in self.epoll.poll(timeout):
            if (connection := table.get(number)) is not None:
                connection.readable()

    def until(self, done: Callable[[], bool], patience: float = 30.0) -> None:
        """Serve the connections until a condition is true. A connection that ends, or a timeout, is an error."""
        deadline = time.monotonic() + patience
        while not done():
            if self.lost:
                raise ConnectionError(f"the server ended {self.lost} connections")
            if time.monotonic() > deadline:
                raise TimeoutError(f"not done after {patience:.0f} s")
            self.step(1.0)

    def idle(self, seconds: float) -> None:
        """Wait, and answer heartbeats."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.step(left)

    def close(self) -> None:
        for connection in list(self.table.values()):
            connection.close()
        self.known, self.lost = {}, 0
