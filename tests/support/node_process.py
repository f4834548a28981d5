"""A hub that is one of several nodes, in a process of its own: ``python node_process.py DIRECTORY``.

The nodes forward requests to each other over Unix sockets in the directory. They have no bus. It prints its port.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from roomkey import Issuer, Key, Verifier
from roomkey.bus import Cluster, MemoryBus, MemoryNetwork
from roomkey.hub import Hub, runner
from roomkey.stores import MemoryRevocations

SECRET = "7c9d1b3a5e8f60421d3c5b7a9f8e6d4c-for-tests-only"


class NodeProcess:
    """The process, as tests control it."""

    def __init__(self, directory: Path) -> None:
        command = [sys.executable, __file__, str(directory)]
        self.process = subprocess.Popen(command, text=True, stdout=subprocess.PIPE)
        self.port = 0

    def wait(self) -> None:
        """Wait until it serves."""
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def node_processes(directory: Path, count: int) -> Iterator[list[NodeProcess]]:
    """Start nodes, which end with the block."""
    nodes: list[NodeProcess] = []
    try:
        for _ in range(count):
            nodes.append(NodeProcess(directory))
        for node in nodes:
            node.wait()
        yield nodes
    finally:
        for node in nodes:
            node.kill()


def token(subject: str = "ada") -> str:
    return Issuer(Key.from_secret(SECRET)).issue(subject)


async def main() -> None:
    cluster = Cluster(MemoryBus(MemoryNetwork()), secrets=[SECRET], directory=Path(sys.argv[1]))
    settings = {"max_unsent": 1 << 23, "ping_interval": 1.0, "ping_timeout": 5.0}
    hub = Hub(Verifier.hs256(SECRET), cluster=cluster, revocations=MemoryRevocations(), **settings)

    @hub.event
    async def echo(sid: str, *arguments: object) -> tuple[object, ...]:
        return arguments

    @hub.event
    async def who(sid: str) -> int:
        return os.getpid()

    @hub.event
    async def send(sid: str, size: int, count: int) -> None:
        for number in range(count):
            await hub.emit("sent", (number, "x" * size), to=sid)

    await hub.open()

    def started() -> None:
        print(server.servers[0].sockets[0].getsockname()[1], flush=True)

    server = runner.Server(hub, runner.config(hub, port=0, log_level="error", lifespan="off"), started)
    await server.serve()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
