"""The processor time and memory of a server: a process, its threads and its children, from /proc."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


class Meter:
    def __init__(self, pid: int) -> None:
        self.pid = pid

    def _processes(self) -> Iterator[Path]:
        waiting = [str(self.pid)]
        while waiting:
            process = Path("/proc", waiting.pop())
            if process.exists():
                yield process
                for children in process.glob("task/*/children"):
                    waiting += children.read_text().split()

    def cpu(self) -> float:
        """Return user and system time in seconds, with children that have ended, in clock ticks (usually 10 ms)."""
        ticks = 0
        for process in self._processes():
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
        return ticks / TICK

    def memory(self) -> int:
        """Return the resident memory in KB."""
        texts = ((process / "status").read_text() for process in self._processes())
        return sum(int(text.partition("VmRSS:")[2].split()[0]) for text in texts)

    def settle(self, idle: Callable[[float], None], patience: float = 3.0) -> float:
        """Wait until the server is idle, so that deferred work is counted. Return its processor time."""
        before, quiet = self.cpu(), 0
        while quiet < 2 and patience > 0:
            idle(0.1)
            patience -= 0.1
            now = self.cpu()
            quiet = quiet + 1 if now - before < 1.5 / TICK else 0
            before = now
        return before
