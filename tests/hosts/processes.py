"""Hosts in processes of their own: synchronous servers, each with one of the WSGI servers that people use."""

from __future__ import annotations

import asyncio
import atexit
import os
import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from hosts.host import Host, Options, Server
from support.clock import FakeClock
from support.rawsocket import PATIENCE

__all__ = ["OnWSGI"]

TESTS = Path(__file__).parents[1]


class Process:
    """A process of :mod:`hosts.wsgi`, for all tests of this session.

    Attributes:
        address: ``127.0.0.1:PORT``.
        output: the last lines that it wrote.
    """

    def __init__(self, kind: str, server: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-m", "hosts.wsgi", kind, server],
            env=os.environ | {"PYTHONPATH": str(TESTS)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        atexit.register(self.end)
        assert self._process.stdout is not None
        self.output: deque[str] = deque(maxlen=200)
        self._lines = self._process.stdout
        self.address = self._listening()
        threading.Thread(target=self.output.extend, args=(self._lines,), daemon=True).start()
        self._http = httpx.Client(base_url=f"http://{self.address}")

    def _listening(self) -> str:
        for line in self._lines:
            self.output.append(line)
            if found := re.search(r"http://(127\.0\.0\.1:\d+)", line):
                return found[1]
        raise AssertionError("the server ended: " + "".join(self.output))

    def do(self, verb: str, **arguments: Any) -> Any:
        """Tell the process to do something, and return what it returns."""
        timeout = 100.0 if verb == "start" else PATIENCE  # the first application imports everything
        response = self._http.post("/control", json={"verb": verb, **arguments}, timeout=timeout)
        assert response.status_code == 200, "".join(self.output)
        return response.json()

    def end(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE)


process_of = cache(Process)


class ProcessServer(Server):
    """One application in a process."""

    def __init__(self, process: Process, options: Options, clock: FakeClock) -> None:
        self._process, self._clock = process, clock
        self.address = process.address
        self._site = process.do("start", **asdict(options))

    def do(self, verb: str, **arguments: Any) -> Any:
        return self._process.do(verb, site=self._site, **arguments)

    async def _later(self, verb: str, **arguments: Any) -> Any:
        return await asyncio.to_thread(self.do, verb, **arguments)

    @property
    def calls(self) -> list[tuple[Any, ...]]:  # type: ignore[override]
        return [tuple(call) for call in self.do("recorded")]

    async def connect_waits(self) -> None:
        await self._later("connect_waits")

    async def continue_connect(self) -> None:
        await self._later("continue_connect")

    async def emit(self, event: str, *arguments: Any, room: str | None = None, namespace: str = "/") -> None:
        await self._later("emit", event=event, arguments=arguments, room=room, namespace=namespace)

    async def disconnect(self, sid: str) -> None:
        await self._later("disconnect", sid=sid)

    async def revoke(self, *, subject: str) -> int:
        return int(await self._later("revoke", subject=subject))

    async def update(self, subject: str, *, rooms: list[str]) -> int:
        return int(await self._later("update", subject=subject, rooms=rooms))

    async def clock_has_moved(self) -> None:
        await self._later("clock_has_moved", time=self._clock.time)

    async def settle(self) -> None:
        await self._later("settle")

    def remains(self) -> dict[str, int]:
        return dict(self.do("remains"))


class OnWSGI(Host):
    """A synchronous server.

    Args:
        kind: the application: see :func:`hosts.sites.site_class`.
        server: what serves it: see :mod:`hosts.wsgi`.
    """

    def __init__(self, kind: str, server: str) -> None:
        self.name = f"{kind}-{server}"
        self._kind, self._server = kind, server
        self.is_slow = server not in ("threading", "gevent")

    @asynccontextmanager
    async def start(self, options: Options, clock: FakeClock) -> AsyncIterator[Server]:
        process = await asyncio.to_thread(process_of, self._kind, self._server)
        server = await asyncio.to_thread(ProcessServer, process, options, clock)
        yield server
        await asyncio.to_thread(server.do, "close")
