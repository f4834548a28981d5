"""A worker of ``roomkey serve --workers N``, as its parent sees it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import socket

from roomkey.server.control import ALIVE, DRAIN, FAILED, SERVES, send_line

__all__ = ["SILENT_SECONDS", "Child"]

LOG = logging.getLogger("roomkey.server")

SILENT_SECONDS = 5.0
"""A worker that has not been heard of for this long has stalled."""

START_SECONDS = 120.0
"""How long a worker may take until it serves."""


class Child:
    """A worker, as its parent sees it.

    Args:
        number: the worker's number.
        slot: its entry in the table of connections.
        process: its process.
        control: the parent's end of the connection to it.

    Attributes:
        ended: done when the process has ended.
        serves: done when it accepts connections, with True; or when it never will, with False.
        failure: why it cannot start, if it said so.
        draining: True once it was told to stop.
    """

    def __init__(self, number: int, slot: int, process: asyncio.subprocess.Process, control: socket.socket) -> None:
        self.number = number
        self.slot = slot
        self.process = process
        self.control = control
        self.failure: str | None = None
        self.draining = False
        self._loop = asyncio.get_running_loop()
        self.started = self._loop.time()
        self.serves: asyncio.Future[bool] = self._loop.create_future()
        self.ended = self._loop.create_task(self._wait())
        self._due = self.started + START_SECONDS
        self._killed = False
        self._buffer = b""
        control.setblocking(False)
        self._loop.add_reader(control.fileno(), self._readable)

    def __str__(self) -> str:
        return f"worker {self.number} (process {self.process.pid})"

    async def _wait(self) -> int:
        code = await self.process.wait()
        self._loop.remove_reader(self.control.fileno())
        self._read()  # its last words
        self.control.close()
        if not self.serves.done():
            self.serves.set_result(False)
        return code

    def _readable(self) -> None:
        if not self._read():
            self._loop.remove_reader(self.control.fileno())

    def _read(self) -> bool:
        """Read what the worker says. Returns False at the end."""
        try:
            data = self.control.recv(65536)
        except BlockingIOError:
            return True
        except OSError:
            return False
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._heard(line)
        return bool(data)

    def _heard(self, line: bytes) -> None:
        if line.startswith(FAILED):
            self.failure = json.loads(line.removeprefix(FAILED))
        if line == SERVES and not self.serves.done():
            self.serves.set_result(True)
        if line == ALIVE and not self.draining:
            self._due = self._loop.time() + SILENT_SECONDS

    def drain(self, staying: int, seconds: float) -> None:
        """Tell it to stop.

        Args:
            staying: how many workers take over its clients.
            seconds: how long it may take.
        """
        self.draining = True
        self._due = self._loop.time() + seconds
        send_line(self.control, DRAIN + str(staying).encode())

    def kill_if_late(self) -> None:
        """Kill it if it has been silent, or has not started or stopped in time."""
        if self._loop.time() > self._due and self.process.returncode is None and not self._killed:
            LOG.error("%s %s; killing it", self, "did not stop in time" if self.draining else "does not respond")
            self.kill()

    def kill(self) -> None:
        """Kill it, once: before a second signal, subprocess would take the status of a dead process from asyncio."""
        if not self._killed:
            self._killed = True
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()

    def why(self, code: int | None = None) -> str:
        """Return why it has ended or does not serve, for the end of a sentence.

        Args:
            code: the status of its process, if it has ended.
        """
        if self.failure is not None:
            return f": {self.failure}"
        if code is None:
            return ""
        return f" by {signal.Signals(-code).name}" if code < 0 else f" with status {code}"
