"""A hub on a cluster, in a process that a test drives by lines of JSON: ``python node_program.py '{"redis": "…"}'``.

It prints its port, and then one line of JSON for each line that it reads.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import socket
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from support.cluster_process import CLUSTER_SECRET, SECRET

from roomkey import Policy, Verifier
from roomkey.bus import Cluster
from roomkey.errors import Unavailable
from roomkey.hub import Hub, runner
from roomkey.policies import rooms_claim
from roomkey.stores import SqlRevocations


class ShiftedClock:
    """The clock of a machine that is wrong by some seconds."""

    def __init__(self, offset: float) -> None:
        self._offset = offset

    def now(self) -> float:
        return time.time() + self._offset

    def monotonic(self) -> float:
        return time.monotonic()


class Node:
    """The hub, and what a test can ask of it."""

    def __init__(self, redis: str, *, name: str = "", database: str = "", offset: float = 0.0) -> None:
        self.name = name
        policy = Policy()
        policy.room("*")(rooms_claim)
        journal = SqlRevocations(database) if database else None
        self.cluster = Cluster.redis(redis, secrets=[CLUSTER_SECRET], journal=journal)
        self.hub = Hub(
            Verifier.hs256(SECRET, audience="chat", issuer="https://login.example"),
            policy=policy,
            cluster=self.cluster,
            clock=ShiftedClock(offset),
        )
        self.hub.guard.serve_rooms()
        self.lag = 0.0
        self._emitted: Counter[str] = Counter()
        self._streams: set[asyncio.Task[None]] = set()

    async def watch(self) -> None:
        """Remember how late the event loop was at most."""
        while True:
            due = time.monotonic() + 0.02
            await asyncio.sleep(0.02)
            self.lag = max(self.lag, time.monotonic() - due)

    async def emit(self, room: str, number: int = 1, size: int = 0) -> dict[str, Any]:
        said: dict[str, Any] = {}
        for _ in range(number):
            self._emitted[room] += 1
            node = self.hub.application.cluster.node
            said = {"from": node.id, "room": room, "n": self._emitted[room]}
            if size:
                said["padding"] = "x" * size
            await self.hub.emit("said", said, room=room)
        return said

    async def stream(self, rooms: list[str], seconds: float, rate: float) -> dict[str, Any]:
        """Emit to rooms for some seconds, in the background."""

        async def emit() -> None:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                for room in rooms:
                    await self.emit(room)
                await asyncio.sleep(len(rooms) / rate)

        task = asyncio.ensure_future(emit())
        self._streams.add(task)
        task.add_done_callback(self._streams.discard)
        return {}

    async def revoke(self, subject: str) -> dict[str, Any]:
        try:
            await self.hub.guard.revoke(subject=subject)
        except Unavailable as error:
            return {"unavailable": str(error)}
        return {}

    async def stats(self, tidy: bool = True) -> dict[str, Any]:
        if tidy:
            give_back_memory()
            await asyncio.sleep(0.05)  # the event loop was late because of that
        node, lag, self.lag = self.hub.application.cluster.node, self.lag, 0.0
        journal = self.cluster.journal
        return {
            "id": node.id,
            "connected": node.connected,
            "live": sorted(node.live),
            "sockets": len(self.hub.guard.sockets()),
            "tasks": len(asyncio.all_tasks()),
            "descriptors": sum(1 for _ in Path("/proc/self/fd").glob("*")),
            "memory": memory(),
            "lag": lag,
            "node": dict(node.counts),
            "bus": dict(self.cluster.bus.counts),
            "journal": dict(getattr(journal, "counts", {})),
        }

    async def find(self) -> dict[str, Any]:
        """Look for the sockets of all nodes."""
        found = await self.hub.sockets()
        return {"sockets": len(list(found)), "complete": found.complete}

    async def obey(self) -> None:
        """Do what is read, one line after the other."""
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            wish = json.loads(line)
            answer = await getattr(self, wish.pop("do"))(**wish)
            print(json.dumps(answer), flush=True)


def give_back_memory() -> None:
    """Collect garbage, and return free memory to the system, so that growth means that something is held."""
    gc.collect()
    with suppress(OSError, AttributeError):  # only in glibc
        ctypes.CDLL(None).malloc_trim(0)


def memory() -> int:
    """Return the resident memory in KB; 0 where it is not known."""
    try:
        with Path("/proc/self/status").open() as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    except OSError:
        return 0


async def main() -> None:
    node = Node(**json.loads(sys.argv[1]))
    await node.hub.open()
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(4096)
    print(listener.getsockname()[1], flush=True)
    server = runner.Server(node.hub, runner.config(node.hub, log_level="critical"))
    tasks = [asyncio.ensure_future(work) for work in (node.watch(), node.obey())]
    await server.serve(sockets=[listener])
    del tasks


if __name__ == "__main__":
    asyncio.run(main())
