"""Log lines of a thread, which are written after it has given the monitor of the guard back.

While a thread has the monitor (:mod:`roomkey.guard.thread_tasks`), it writes no line. A logging handler can block, such
as one that writes to a socket. It can also call the guard, such as one that sends each line to the clients of
administrators: it has its own lock then, and waits for the monitor.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from contextvars import ContextVar
from typing import TypeAlias

from roomkey import audit

Entries: TypeAlias = list[logging.LogRecord]


class KeptLogs:
    """What the owner of one monitor has logged."""

    def __init__(self) -> None:
        self.entries: Entries = []
        self._before: KeptLogs | None = None

    def begin(self) -> None:
        """Keep what this thread logs from now on."""
        self._before = _KEPT.get()
        _KEPT.set(self)

    def end(self) -> Entries:
        """Keep nothing more, and return what was kept, for :func:`write_logs`."""
        _KEPT.set(self._before)
        kept, self._before = self.entries, None
        if kept:
            self.entries = []
        return kept


_KEPT: ContextVar[KeptLogs | None] = ContextVar("roomkey_kept_logs", default=None)


class _Keep(logging.Filter):
    """Lets no record of a thread pass that has a monitor."""

    def filter(self, entry: logging.LogRecord) -> bool:
        kept = _KEPT.get()
        if kept is not None:
            kept.entries.append(entry)
        return kept is None


_KEEP = _Keep()


def keep_logs(*loggers: logging.Logger) -> None:
    """Write the lines of these loggers, and of the guard's own, only while their thread has no monitor."""
    for logger in (*loggers, audit.LOG, logging.getLogger("roomkey.guard"), logging.getLogger("roomkey")):
        logger.addFilter(_KEEP)


def write_logs(entries: Entries) -> None:
    """Write what was kept. The thread has the monitor no more."""
    for entry in entries:
        with suppress(Exception):  # a failing log must not keep a socket connected
            logging.getLogger(entry.name).handle(entry)
