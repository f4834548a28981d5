"""Measure what it costs to forward a request to the node that has its session.

    python bench/forward.py [--quick]

Two hubs run in processes of their own. Some clients have their sessions on the first, the owner. They send events with
acknowledgements, first with long-polling and then, after an upgrade, over WebSockets: to the owner itself, and through
the other hub, the front. The figures are the processor time of each process per HTTP request, or per event over
WebSockets, as medians of the rounds; the two ways take turns. Frames on a ``tcp`` link are signed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "socketio"))
from meter import SOURCE, Meter
from wire import frame

from roomkey import Issuer, Key, Verifier
from roomkey.bus import Cluster, MemoryBus, MemoryNetwork
from roomkey.hub import Hub, runner
from roomkey.stores import MemoryRevocations

CLIENTS = 16
EVENT = b'420["message",{"ack":true,"text":"hello world"}]'
ANSWER = b'430[{"ack":true,"text":"hello world"}]'
HEADERS = (
    "Host: 127.0.0.1\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\nAccept: */*\r\n"
    "Accept-Language: en-US,en;q=0.9\r\nConnection: keep-alive\r\n"
)
UPGRADE = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==\r\n"


class Alive:
    """What a front knows of the other nodes without a bus: one address, for all of them."""

    def __init__(self, node_id: str, address: str | None) -> None:
        self.id, self.address = node_id, address

    @property
    def live(self) -> Alive:
        return self

    def get(self, _node_id: str) -> Alive:
        return self


def serve(directory: str, address: str) -> None:
    """Be one of the two hubs. Print its port, and the address of its links."""
    where: dict[str, Any] = {"directory": Path(directory)} if directory else {"listen": "127.0.0.1:0"}
    cluster = Cluster(MemoryBus(MemoryNetwork()), secrets=[os.environ["SECRET"]], **where)
    hub = Hub(Verifier.hs256(os.environ["SECRET"]), cluster=cluster, revocations=MemoryRevocations(), event_rate=1e9)

    @hub.event
    async def message(_sid: str, data: Any) -> Any:
        return data

    async def run() -> None:
        await hub.open()
        assert hub.forwarding is not None
        peers = hub.forwarding.peers
        listens_at = peers.node.address
        peers.node = Alive(peers.node.id, address or None)  # type: ignore[assignment]

        def started() -> None:
            print(json.dumps([server.servers[0].sockets[0].getsockname()[1], listens_at]), flush=True)

        config = runner.config(hub, port=0, log_level="error", lifespan="off")
        server = runner.Server(hub, config, started)
        await server.serve()

    with asyncio.Runner(loop_factory=runner.loop_factory()) as loop:
        loop.run(run())


class Process:
    """A hub in a process of its own."""

    def __init__(self, directory: str, address: str | None, secret: str) -> None:
        command = [sys.executable, __file__, "--serve", directory, address or ""]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "SECRET": secret})
        assert self.process.stdout is not None
        self.port, self.address = json.loads(self.process.stdout.readline())
        self.meter = Meter(self.process.pid)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


class Client:
    """A session, and a connection for its requests."""

    def __init__(self) -> None:
        self.sid = ""

    async def open(self, port: int, token: str) -> None:
        await self.connect(port)
        self.sid = "&sid=" + json.loads((await self.get())[1:])["sid"]
        assert await self.post(b'40{"token":"%b"}' % token.encode()) == b"ok"
        assert (await self.get()).startswith(b"40")

    async def connect(self, port: int) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)

    async def get(self) -> bytes:
        return await self._ask("GET", b"")

    async def post(self, body: bytes) -> bytes:
        return await self._ask("POST", body)

    async def _ask(self, method: str, body: bytes) -> bytes:
        length = f"Content-Length: {len(body)}\r\n" if method == "POST" else ""
        head = f"{method} /socket.io/?EIO=4&transport=polling{self.sid} HTTP/1.1\r\n{HEADERS}{length}\r\n"
        self.writer.write(head.encode() + body)
        answer = await self.reader.readuntil(b"\r\n\r\n")
        size = int(answer.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        return await self.reader.readexactly(size)

    async def poll_echoes(self, count: int) -> None:
        for _ in range(count):
            assert await self.post(EVENT) == b"ok"
            packets: list[bytes] = []
            while ANSWER not in packets:
                packets = (await self.get()).split(b"\x1e")
                if b"2" in packets:
                    assert await self.post(b"3") == b"ok"

    async def upgrade(self, port: int) -> None:
        await self.connect(port)
        head = f"GET /socket.io/?EIO=4&transport=websocket{self.sid} HTTP/1.1\r\n{HEADERS}{UPGRADE}"
        self.writer.write(
            head.replace("Connection: keep-alive\r\n", "").encode() + b"Sec-WebSocket-Version: 13\r\n\r\n"
        )
        assert b" 101 " in await self.reader.readuntil(b"\r\n\r\n")
        self.writer.write(frame(b"2probe"))
        assert await self.message() == b"3probe"
        self.writer.write(frame(b"5"))

    async def message(self) -> bytes:
        start = await self.reader.readexactly(2)
        return await self.reader.readexactly(start[1])

    async def echoes(self, count: int) -> None:
        sent = frame(EVENT)
        for _ in range(count):
            self.writer.write(sent)
            answer = await self.message()
            while answer != ANSWER:
                if answer == b"2":
                    self.writer.write(frame(b"3"))
                answer = await self.message()


@asynccontextmanager
async def clients(owner: Process, entry: Process, issuer: Issuer, *, upgraded: bool) -> AsyncIterator[list[Client]]:
    """Yield clients that are admitted on the owner, and whose requests go to ``entry``."""
    made = [Client() for _ in range(CLIENTS)]
    for client in made:
        await client.open(owner.port, issuer.issue("ada"))
        client.writer.close()
        await (client.upgrade if upgraded else client.connect)(entry.port)
    yield made
    for client in made:
        client.writer.close()


async def measure(way: str, count: int, rounds: int) -> None:
    secret = secrets.token_urlsafe(32)
    issuer = Issuer(Key.from_secret(secret))
    with tempfile.TemporaryDirectory(prefix="rk", dir="/tmp") as directory:
        where = directory if way == "unix" else ""
        owner = Process(where, None, secret)
        front = Process(where, owner.address, secret)
        try:
            for what, upgraded, per in (("long-polling, per request", False, 2), ("WebSocket, per event", True, 1)):
                async with (
                    clients(owner, owner, issuer, upgraded=upgraded) as own,
                    clients(owner, front, issuer, upgraded=upgraded) as others,
                ):
                    ways = {"itself": own, "forwarded": others}
                    costs: dict[str, list[tuple[float, float]]] = {"itself": [], "forwarded": []}
                    for number in range(rounds + 1):
                        for name, group in ways.items():
                            before = owner.meter.cpu(), front.meter.cpu()
                            work = (one.echoes if upgraded else one.poll_echoes for one in group)
                            await asyncio.gather(*(echo(count) for echo in work))
                            spent = owner.meter.cpu() - before[0], front.meter.cpu() - before[1]
                            if number:  # the first warms up
                                costs[name].append(tuple(s / (count * per * CLIENTS) * 1e6 for s in spent))
                report(way, what, costs)
        finally:
            owner.stop()
            front.stop()


def report(way: str, what: str, costs: dict[str, list[tuple[float, float]]]) -> None:
    itself = statistics.median(owner for owner, _ in costs["itself"])
    owner = statistics.median(owner for owner, _ in costs["forwarded"])
    front = statistics.median(front for _, front in costs["forwarded"])
    ratio = statistics.median(
        sum(forwarded) / own[0] for own, forwarded in zip(costs["itself"], costs["forwarded"], strict=True)
    )
    spent = f"itself {itself:6.1f} µs   owner {owner:6.1f} µs + front {front:6.1f} µs = {ratio:.2f} x itself"
    print(f"{way:5} {what:27} {spent}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:])
    else:
        parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
        parser.add_argument("--quick", action="store_true")
        quick = parser.parse_args().quick
        print(f"processor time from {SOURCE}")
        for kind in ("unix", "tcp"):
            asyncio.run(measure(kind, 40 if quick else 200, 3 if quick else 7))
