"""A hub in a process of its own, whose memory can be measured: ``python hub_process.py '{"max_anonymous": 5000}'``.

It prints its port, and then reads lines and answers each with its counters: ``broadcast N SIZE`` sends N events with a
text of SIZE to everybody, ``counts`` does nothing.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from roomkey import Issuer, Key, Verifier
from roomkey.hub import Hub, runner

SECRET = "7c9d1b3a5e8f60421d3c5b7a9f8e6d4c-for-tests-only"


class HubProcess:
    """The process, as tests control it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.host = f"127.0.0.1:{self._answer()}"
        self._issuer = Issuer(Key.from_secret(SECRET), audience="chat", issuer="https://login.example")

    def token(self, subject: str = "ada") -> str:
        return self._issuer.issue(subject)

    def ask(self, line: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self._answer()

    def counts(self) -> dict[str, int]:
        counted: dict[str, int] = json.loads(self.ask("counts"))
        return counted

    def _answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line, "the hub has ended"
        return line

    def memory(self) -> int:
        """Return the memory that it uses now, in bytes."""
        return self._status("VmRSS")

    def peak(self) -> int:
        """Return the most memory that it used since :meth:`forget_peak`, in bytes."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def _status(self, name: str) -> int:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
        raise AssertionError(name)


@contextmanager
def hub_process(**settings: object) -> Iterator[HubProcess]:
    """Start a hub process, which ends with the block."""
    command = [sys.executable, __file__, json.dumps(settings)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}, **pipes) as process:
        try:
            yield HubProcess(process)
        finally:
            process.kill()


async def _obey(hub: Hub) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).decode():
        word, *rest = line.split()
        if word == "broadcast":
            times, size = map(int, rest)
            for number in range(times):
                await hub.emit("news", (number, "x" * size))
                await asyncio.sleep(0)  # let others run, as between the events of an application
        print(json.dumps(hub.counts | {"sessions": len(hub.sessions.active)}))


async def main() -> None:
    verifier = Verifier.hs256(SECRET, audience="chat", issuer="https://login.example")
    hub = Hub(verifier, **json.loads(sys.argv[1]))

    @hub.event
    async def message(sid: str, *arguments: object) -> None:
        await hub.emit("back", arguments, to=sid)

    # With its protocol named: asyncio leaves sockets of protocol 0 with Nagle's algorithm.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(4096)
    logging.getLogger("roomkey.audit").setLevel(logging.CRITICAL)
    server = runner.Server(hub, runner.config(hub, log_level="error", lifespan="off", backlog=4096))
    print(listener.getsockname()[1])
    obeying = asyncio.ensure_future(_obey(hub))
    await server.serve(sockets=[listener])
    obeying.cancel()


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
