"""Logging of the program ``roomkey serve``. The library itself does not configure logging."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import TextIO

from roomkey.audit import redact

__all__ = ["configure", "warn"]

# Some errors of engineio contain a session ID, which is a credential for the session.
_SESSION = re.compile(r"(?i)\b(session|sid)([ =]+)\S+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class _OneLine(logging.Formatter):
    """Format a record as one line, so that text from a client cannot start a line or control the terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        # roomkey's own lines contain no secret. They name a token by its ID, which redacting would remove.
        mine = record.name.startswith("roomkey")
        text = record.message if mine else _SESSION.sub(r"\1\2…", redact(record.message))
        record.message = _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)
        return super().formatMessage(record)


class _OneWrite(logging.StreamHandler[TextIO]):
    """Writes a record with one system call, so that the lines of several processes do not mix."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record. A reader that is gone is not an error: nobody would read that."""
        try:
            line = f"{self.format(record)}\n".encode(errors="backslashreplace")
            with suppress(OSError):
                while line:  # a pipe may take a long line in parts
                    line = line[os.write(self.stream.fileno(), line) :]
        except Exception:  # as logging's own handlers do
            self.handleError(record)


def configure(worker: int | None = None) -> None:
    """Send warnings, and roomkey's own messages at level INFO, to standard error. Only a program may call this.

    Args:
        worker: the number of this process, if several processes write to the same place.
    """
    handler = _OneWrite(sys.stderr)
    place = "" if worker is None else f" [worker {worker}]"
    handler.setFormatter(_OneLine(f"%(asctime)s{place} %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("roomkey").setLevel(logging.INFO)
    # At level INFO, it logs the URL of each WebSocket, including the query string.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    # At level DEBUG, it logs the arguments of SQL statements, including password hashes.
    logging.getLogger("aiosqlite").setLevel(logging.WARNING)
    for library in ("socketio.server", "engineio.server"):
        # If these loggers have no level, the libraries add handlers to them.
        logging.getLogger(library).setLevel(logging.ERROR)


def warn(texts: Iterable[str]) -> None:
    """Log what the operator should change."""
    for text in texts:
        logging.getLogger("roomkey.server").warning("%s", text)
