"""A load balancer without sticky sessions: each connection, or each request, goes to the next server."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Balancer:
    """Gives each connection to the next server, or each request, over connections that it keeps.

    Args:
        ports: of the servers.
        by_request: True for each request, and False for each connection.

    Attributes:
        given: how many connections or requests each server got.
        dead: servers that get no more.
    """

    def __init__(self, ports: list[int], *, by_request: bool) -> None:
        self.ports = ports
        self.by_request = by_request
        self.given: Counter[int] = Counter()
        self.dead: set[int] = set()
        self.port = 0
        self._kept: dict[int, list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]] = {port: [] for port in ports}
        self._turn = 0

    def next_port(self) -> int:
        alive = [port for port in self.ports if port not in self.dead]
        self._turn += 1
        port = alive[self._turn % len(alive)]
        self.given[port] += 1
        return port

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            if self.by_request:
                while await self._request(reader, writer):
                    pass
            else:
                await _join(reader, writer, *await asyncio.open_connection("127.0.0.1", self.next_port()))
        writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Pass on one request and its response. Return False after the last one of a connection."""
        head = await reader.readuntil(b"\r\n\r\n")
        port = self.next_port()
        if b"upgrade: websocket" in head.lower():
            there, to_there = await asyncio.open_connection("127.0.0.1", port)
            to_there.write(head)
            await _join(reader, writer, there, to_there)
            return False
        kept = self._kept[port]
        there, to_there = kept.pop() if kept else await asyncio.open_connection("127.0.0.1", port)
        to_there.write(head + await reader.readexactly(_length(head)))
        answering = asyncio.ensure_future(there.readuntil(b"\r\n\r\n"))
        leaving = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                to_there.close()
                return False
            answer = answering.result()
            writer.write(answer + await there.readexactly(_length(answer)))
        finally:
            for task in (answering, leaving):
                task.cancel()
                with suppress(asyncio.CancelledError, ConnectionError, asyncio.IncompleteReadError):
                    await task
        if b"connection: close" in answer.lower():
            to_there.close()
        else:
            kept.append((there, to_there))
        return True


def _length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"content-length:")
    return int(rest.split(b"\r\n")[0]) if found else 0


async def _join(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    there: asyncio.StreamReader,
    to_there: asyncio.StreamWriter,
) -> None:
    """Pass bytes on in both directions until one side ends."""

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65_536):
                target.write(data)
                await target.drain()

    both = {asyncio.ensure_future(copy(reader, to_there)), asyncio.ensure_future(copy(there, writer))}
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    for task in both:
        task.cancel()
    to_there.close()


@asynccontextmanager
async def balancing(ports: list[int], *, by_request: bool) -> AsyncIterator[Balancer]:
    """Run a load balancer in front of these ports."""
    balancer = Balancer(ports, by_request=by_request)
    server = await asyncio.start_server(balancer.serve, "127.0.0.1", 0)
    balancer.port = server.sockets[0].getsockname()[1]
    yield balancer
    server.close()
