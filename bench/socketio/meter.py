"""The processor time and memory of a server: a process, its threads and its children.

On Linux, each process has a clock in nanoseconds, which includes the threads that have ended. Elsewhere, only `ps` is
asked, which counts hundredths of a second: :data:`SOURCE` says which it is.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PRECISE = Path("/proc/self/schedstat").exists()
SOURCE = "the processor clock of each process (nanoseconds)" if PRECISE else "ps -o cputime (hundredths of a second)"
RESOLUTION = 1e-6 if PRECISE else 0.01
"""Seconds."""

IDLE = 0.03
"""A server that uses less than this part of a core is idle: heartbeats and timers go on."""


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
                    with contextlib.suppress(OSError):  # the thread has ended meanwhile
                        waiting += children.read_text().split()

    def cpu(self) -> float:
        """Return user and system time in seconds."""
        if not PRECISE:
            return sum(map(_seconds, _ps(self.pid, "cputime")))
        spent = 0
        for process in self._processes():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                spent += time.clock_gettime_ns(_clock_of(int(process.name)))
        return spent / 1e9

    def memory(self) -> int:
        """Return the resident memory in KB."""
        if not PRECISE:
            return sum(map(int, _ps(self.pid, "rss")))
        texts = ((process / "status").read_text() for process in self._processes())
        return sum(int(text.partition("VmRSS:")[2].split()[0]) for text in texts)

    def settle(self, idle: Callable[[float], None], patience: float = 3.0) -> float:
        """Wait until the server is idle, so that deferred work is counted. Return its processor time."""
        before, quiet, step = self.cpu(), 0, 0.05
        while quiet < 2 and patience > 0:
            idle(step)
            patience -= step
            now = self.cpu()
            quiet = quiet + 1 if now - before <= max(RESOLUTION, IDLE * step) else 0
            before = now
        return before


def _clock_of(pid: int) -> int:
    """Return the ID of a process's processor clock, as clock_getcpuclockid(3) does."""
    return ~pid << 3 | 2


def _ps(pid: int, column: str) -> list[str]:
    shown = subprocess.run(["ps", "-o", f"{column}=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return shown.stdout.split()


def _seconds(shown: str) -> float:
    """Return the seconds in ``[[days-]hours:]minutes:seconds``."""
    days, _, clock = shown.rpartition("-")
    total = 0.0
    for part in clock.split(":"):
        total = total * 60 + float(part)
    return total + 86_400 * int(days or 0)


if __name__ == "__main__":
    meter = Meter(int(sys.argv[1]))
    print(f"{meter.cpu():.6f} s, {meter.memory()} KB, from {SOURCE}")
