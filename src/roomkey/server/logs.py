"""Logging of the program ``roomkey serve`` (the library configures none)."""

from __future__ import annotations

import logging
import re
import sys

from roomkey.audit import redact

__all__ = ["configure"]

# engineio names the session in some of its errors, and the session's id is a credential to it.
_SESSION = re.compile(r"(?i)\b(session|sid)([ =]+)\S+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class _OneLine(logging.Formatter):
    """One record, one line: what a client sent cannot start a line of its own, nor colour the terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        # roomkey's own lines hold no secret, and name a token by its id, which redacting would take away.
        mine = record.name.startswith("roomkey")
        text = record.message if mine else _SESSION.sub(r"\1\2…", redact(record.message))
        record.message = _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)
        return super().formatMessage(record)


def configure() -> None:
    """Send warnings, and what roomkey has to say, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("roomkey").setLevel(logging.INFO)
    # It writes the whole URL of a WebSocket, query string included, at level INFO.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    # It writes the arguments of SQL statements, password hashes among them, at level DEBUG.
    logging.getLogger("aiosqlite").setLevel(logging.WARNING)
    for library in ("socketio.server", "engineio.server"):
        # They add a handler of their own to a logger that has no level.
        logging.getLogger(library).setLevel(logging.ERROR)
