"""A TCP connection to a server, for raw HTTP and any WebSocket frames."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from contextlib import suppress
from typing import Any, NamedTuple

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MASK = b"\x5a\x17\xe3\x81"
KEY = base64.b64encode(bytes(range(16))).decode()
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
ACCEPT = base64.b64encode(hashlib.sha1((KEY + GUID).encode()).digest()).decode()
BLANK_LINE = b"\r\n\r\n"

PATIENCE = 20.0
"""Seconds to wait for what has to come: as long as a busy machine may take."""


def frame(
    payload: bytes | str = b"",
    opcode: int = TEXT,
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = MASK,
    length: bytes | None = None,
) -> bytes:
    """Return one frame of a client.

    Args:
        rsv: the three reserved bits, as a number from 0 to 7.
        mask: None for a frame without one, as only a server may send.
        length: what stands where the length does, the mask bit left out, instead of the right one.
    """
    data = payload.encode() if isinstance(payload, str) else payload
    if length is None:
        if len(data) < 126:
            length = bytes([len(data)])
        elif len(data) < 1 << 16:
            length = b"\x7e" + len(data).to_bytes(2)
        else:
            length = b"\x7f" + len(data).to_bytes(8)
    head = bytes([(fin << 7) | (rsv << 4) | opcode])
    if mask is None:
        return head + length + data
    return head + bytes([length[0] | 0x80]) + length[1:] + mask + masked(data, mask)


def masked(data: bytes, mask: bytes = MASK) -> bytes:
    """Mask or unmask (RFC 6455 section 5.3)."""
    key = (mask * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data) ^ int.from_bytes(key)).to_bytes(len(data))


def hello(token: str, namespace: str = "") -> str:
    """Return a CONNECT packet; pass ``"/name,"`` for another namespace than the main one."""
    return f"40{namespace}" + json.dumps({"token": token})


def close_frame(code: int | None = 1000, reason: str = "") -> bytes:
    return frame(b"" if code is None else code.to_bytes(2) + reason.encode(), CLOSE)


def upgrade(host: str, query: str = "", /, *, line: str = "", **headers: str | None) -> bytes:
    """Return the request that opens a WebSocket.

    Args:
        query: what follows ``EIO=4&transport=websocket``.
        line: another request line.
        headers: to change one, ``sec_websocket_key="…"``; None leaves it out.
    """
    wanted: dict[str, str | None] = {
        "Host": host,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13",
    }
    names = {name.lower().replace("-", "_"): name for name in wanted}
    for name, value in headers.items():
        wanted[names.get(name, name.replace("_", "-"))] = value
    line = line or f"GET /socket.io/?EIO=4&transport=websocket{query} HTTP/1.1"
    lines = [line, *(f"{name}: {value}" for name, value in wanted.items() if value is not None)]
    return "\r\n".join(lines).encode() + BLANK_LINE


class Answer(NamedTuple):
    """An HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Frame(NamedTuple):
    """A frame of the server."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0

    @property
    def code(self) -> int:
        """Return the code of a Close frame."""
        return int.from_bytes(self.payload[:2])


class RawSocket:
    """One TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.frames: list[Frame] = []

    @classmethod
    async def open(cls, host: str, **arguments: Any) -> RawSocket:
        address, _, port = host.rpartition(":")
        return cls(*await asyncio.open_connection(address, int(port), limit=1 << 24, **arguments))

    @classmethod
    async def websocket(cls, host: str, query: str = "", **headers: str | None) -> RawSocket:
        """Open a WebSocket without reading its first frame."""
        raw = await cls.open(host)
        await raw.send(upgrade(host, query, **headers))
        answer = await raw.answer()
        assert answer.status == 101, answer
        return raw

    @classmethod
    async def session(cls, host: str, query: str = "", **headers: str | None) -> RawSocket:
        """Open a WebSocket and with it an Engine.IO session."""
        raw = await cls.websocket(host, query, **headers)
        greeting = await raw.frame()
        assert greeting is not None
        assert greeting.payload.startswith(b"0{"), greeting
        return raw

    @classmethod
    async def member(cls, host: str, token: str, namespace: str = "/") -> RawSocket:
        """Open a WebSocket and join a namespace."""
        raw = await cls.session(host)
        await raw.text(hello(token, "" if namespace == "/" else f"{namespace},"))
        reply = await raw.packet()
        assert reply.startswith("40"), reply
        return raw

    async def send(self, data: bytes) -> None:
        """Write. Nothing happens if the connection is closed."""
        with suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()

    async def text(self, packet: str | bytes) -> None:
        await self.send(frame(packet))

    async def answer(self, timeout: float = PATIENCE) -> Answer:
        """Read an HTTP response."""
        async with asyncio.timeout(timeout):
            head = (await self.reader.readuntil(BLANK_LINE)).decode("latin-1")
            line, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in lines)}
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return Answer(int(line.split()[1]), headers, body)

    async def frame(self, timeout: float = PATIENCE) -> Frame | None:
        """Read a frame; None if the server has closed the connection without one."""
        try:
            async with asyncio.timeout(timeout):
                first, second = await self.reader.readexactly(2)
                assert not second & 0x80, "a server does not mask"
                size = second
                if size > 125:
                    size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8))
                payload = await self.reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        read = Frame(first & 15, payload, bool(first & 0x80), (first >> 4) & 7)
        self.frames.append(read)
        return read

    async def packet(self, timeout: float = PATIENCE) -> str:
        """Return the next text packet."""
        read = await self.frame(timeout)
        assert read is not None, "closed"
        assert read.opcode == TEXT, read
        return read.payload.decode()

    async def sync(self) -> None:
        """Make a round trip: when it returns, the server has handled everything sent before."""
        await self.send(frame(b"sync", PING))
        while (read := await self.frame()) is not None and read.opcode != PONG:
            pass

    async def close_code(self, within: float = PATIENCE, *, answer: bool = True) -> int | None:
        """Read until the server closes: the code of its Close frame, or None if there was none.

        Args:
            answer: send a Close, too, as a client has to; without one the server waits for a second.

        Raises:
            TimeoutError: it did not close.
        """
        code = None
        async with asyncio.timeout(within):
            while (read := await self.frame(within)) is not None:
                if read.opcode == CLOSE:
                    code = read.code
                    if answer:
                        await self.send(close_frame())
        return code

    async def ends(self, within: float = PATIENCE) -> bool:
        """Return True once the server has closed the connection."""
        try:
            async with asyncio.timeout(within):
                while await self.reader.read(1 << 16):
                    pass
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Drop the connection."""
        self.writer.transport.abort()
        with suppress(ConnectionError):
            await self.writer.wait_closed()
