"""Many connections at once, and some that do not read: a hub in a process of its own, on uvloop.

Ten thousand connections take half a minute, so by default there are fewer; with ``CI=true`` or ``ROOMKEY_MANY=true`` in
the environment there are all of them.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
from contextlib import suppress

import pytest
from support.hub_process import hub_process
from support.live import until
from support.rawsocket import BLANK_LINE, RawSocket, frame, hello, upgrade

pytestmark = pytest.mark.long

FULL = "true" in (os.environ.get("CI"), os.environ.get("ROOMKEY_MANY"))
WANTED = 10_000 if FULL else 1_000
EVENTS = 20
AT_ONCE = 100


def allowed() -> int:
    """Return how many connections this system allows a process; some descriptors have other uses."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < WANTED + 200 and soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, WANTED + 200), hard))
    return min(WANTED, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200)


def news(number: int, size: int) -> bytes:
    """Return an event as bytes on the wire; a server's frame has no mask."""
    return frame(f'42["news",{number},"{"x" * size}"]', mask=None)


class Client(asyncio.Protocol):
    """A WebSocket that only listens, and keeps everything that follows the answer to its CONNECT."""

    def __init__(self, host: str, token: str) -> None:
        self._hello = upgrade(host) + frame(hello(token))
        self._head: bytes | None = b""
        self.admitted = asyncio.get_running_loop().create_future()
        self.data = bytearray()
        self.lost = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._hello)

    def data_received(self, data: bytes) -> None:
        if self._head is None:
            self.data += data
            return
        self._head += data
        answer, blank, frames = self._head.partition(BLANK_LINE)
        packets = list(_whole(frames)) if blank else []
        if len(packets) > 1:
            assert answer.startswith(b"HTTP/1.1 101")
            assert packets[1].startswith(b"40{"), packets
            self._head = None
            self.admitted.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True


def _whole(frames: bytes) -> list[bytes]:
    """Return the payloads of short frames."""
    found = []
    while len(frames) > 1 and len(frames) >= 2 + frames[1]:
        found.append(frames[2 : 2 + frames[1]])
        frames = frames[2 + frames[1] :]
    return found


async def gather_clients(host: str, token: str, count: int) -> list[Client]:
    address, _, port = host.rpartition(":")
    loop = asyncio.get_running_loop()
    clients: list[Client] = []
    while len(clients) < count:
        # An address has 28,000 ports for outgoing connections, and each stays in use for a minute.
        source = (f"127.0.0.{2 + len(clients) // AT_ONCE % 100}", 0)
        opening = [
            loop.create_connection(lambda: Client(host, token), address, int(port), local_addr=source)
            for _ in range(min(AT_ONCE, count - len(clients)))
        ]
        some: list[Client] = [client for _transport, client in await asyncio.gather(*opening)]
        async with asyncio.timeout(20):
            await asyncio.gather(*(client.admitted for client in some))
        clients += some
    return clients


def drop(clients: list[Client]) -> None:
    for client in clients:
        if client.transport is not None:
            client.transport.abort()


@pytest.mark.timeout(120)
async def test_10_000_connections_receive_a_broadcast_in_order(record_property):
    count = allowed()
    record_property("connections", count)
    if count < WANTED:
        print(f"RLIMIT_NOFILE allows {count} connections instead of {WANTED}")
    with hub_process(max_anonymous=WANTED + 1000, ping_interval=600) as hub:
        clients = await gather_clients(hub.host, hub.token(), count)
        counts = await asyncio.to_thread(hub.ask, f"broadcast {EVENTS} 0")
        assert json.loads(counts) == {"sessions": count}
        wanted = b"".join(news(number, 0) for number in range(EVENTS))
        await until(lambda: all(len(client.data) >= len(wanted) for client in clients), 30)
        assert {bytes(client.data) for client in clients} == {wanted}
        assert not any(client.lost for client in clients)
        drop(clients)
        async with asyncio.timeout(20):
            while json.loads(await asyncio.to_thread(hub.ask, "counts"))["sessions"]:
                await asyncio.sleep(0.05)


async def deaf_client(host: str, token: str) -> RawSocket:
    """An admitted client that reads nothing, and whose system buffers little."""
    address, _, port = host.rpartition(":")
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (address, int(port)))
    raw = RawSocket(*await asyncio.open_connection(sock=sock))
    await raw.send(upgrade(host) + frame(hello(token)))
    assert (await raw.answer()).status == 101
    assert (await raw.packet()).startswith("0{")
    assert (await raw.packet()).startswith("40{")
    raw.writer.transport.pause_reading()
    return raw


async def test_slow_readers_are_closed_and_others_are_served():
    readers, deaf, events, size = 50, 20, 500, 20_000
    bound = 200_000
    with hub_process(max_unsent=bound, ping_interval=600) as hub:
        clients = await gather_clients(hub.host, hub.token(), readers)
        silent = [await deaf_client(hub.host, hub.token("mallory")) for _ in range(deaf)]
        await asyncio.to_thread(hub.ask, "broadcast 20 1000")
        before = hub.memory()
        hub.forget_peak()
        for _count in range(events // 10):
            await asyncio.to_thread(hub.ask, f"broadcast 10 {size}")
        wanted = b"".join(news(number, 1000) for number in range(20))
        wanted += b"".join(news(number, size) for number in range(10)) * (events // 10)
        await until(lambda: all(len(client.data) >= len(wanted) for client in clients), 30)
        assert all(client.data == wanted for client in clients)
        counts = json.loads(await asyncio.to_thread(hub.ask, "counts"))
        assert counts == {"closed: reads too slowly": deaf, "sessions": readers}
        # Ten megabytes were sent to each client. No more than the limit waited, and that memory is free again.
        assert hub.peak() - before < 2 * deaf * bound + 20_000_000
        drop(clients)
        for raw in silent:
            with suppress(ConnectionError):
                await raw.close()
