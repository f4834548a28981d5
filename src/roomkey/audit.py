"""One structured line per decision, and no secret in any line.

The logger is ``roomkey.audit``; the message is one JSON object, so that nothing a client chose (a subject, a room, an
event's name) can break the line or move the cursor. A token is named by its ``jti``, else by eight characters of its
hash.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache

from roomkey.core.identity import Identity

LOG = logging.getLogger("roomkey.audit")
MAX_VALUE = 200
MAX_LINE = 20_000
"""The longest line that is looked through for secrets, in characters; the rest is cut off."""

URL_LOGGERS = ("uvicorn.access", "uvicorn.error", "uvicorn.asgi", "aiohttp.access", "hypercorn.access")
"""Where ASGI and WSGI servers write the URLs of requests and WebSockets, query strings included."""

_FORMATTER = logging.Formatter()
_encode = json.JSONEncoder(ensure_ascii=True, default=str).encode
# What begins as the JSON of a header does in base64url, and whatever else has a token's three parts.
_TOKEN = re.compile(r"(?:eyJ|ZXlK)[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_=-]*)*|(?<![\w-])[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,}")
_NAMED = re.compile(
    r"((?:access_token|auth_token|refresh_token|id_token|token|password|secret)[\"']?\s*[:=]\s*[\"']?)[^\"'&\s,}\]]+",
    re.IGNORECASE,
)
# What engineio makes for its sessions, and what python-socketio calls a sid: 15 bytes in base64url.
_SID = re.compile(r"(?<![A-Za-z0-9_-])(?=[A-Za-z0-9_-]*[0-9A-Z])[A-Za-z0-9_-]{20}(?![A-Za-z0-9_-])")
_BEARER = re.compile(r"(bearer\s+)[^\s\"',]+", re.IGNORECASE)


def record(event: str, *, level: int = logging.INFO, **facts: object) -> None:
    """Write one line.

    Args:
        event: ``admitted``, ``refused``, ``ended``, ``refreshed``, ``denied``, ``login`` and so on.
        level: of :mod:`logging`.
        facts: what belongs to it; None is left out, long text is cut at 200 characters.
    """
    with suppress(Exception):  # a log that fails must not keep a socket alive
        if LOG.isEnabledFor(level):
            line = {"event": event} | {name: _bounded(value) for name, value in facts.items() if value is not None}
            LOG.log(level, "%s", _encode(line))


def token_name(who: Identity | None, token: str | None = None) -> str | None:
    """A name for a token that does not give it away: its ``jti``, else :func:`token_hash`."""
    if who is not None and (who.token_id or who.token_hash):
        return who.token_id or who.token_hash
    return None if token is None else token_hash(token)


def token_hash(token: str) -> str:
    """The first 8 characters of a token's SHA-256."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()[:8]


def redact(text: str) -> str:
    """Take tokens, and the values of members named like secrets, out of a text."""
    # Each pattern is tried only on what it could match: most texts are short, and ours.
    if "bearer" in text.lower():
        text = _BEARER.sub(r"\1…", text)
    if "eyJ" in text or "ZXlK" in text or text.count(".") > 1:
        text = _TOKEN.sub("…", text)
    if ":" in text or "=" in text:
        text = _NAMED.sub(r"\1…", text)
    return text


def without_secrets(text: str) -> str:
    """Take session ids out, too."""
    return _SID.sub("…", redact(text))


class RedactSecrets(logging.Filter):
    """Keep tokens and session IDs out of a logger that writes packets, addresses or URLs.

    The filter rewrites the arguments of a record and leaves their number alone, because some formatters
    (``uvicorn.access``) read them. A record that still holds a secret after that becomes one redacted text.

    Args:
        query: the name of a query parameter that carries tokens, of any form.
    """

    def __init__(self, query: str | None = None) -> None:
        super().__init__()
        self._query = re.compile(rf"([?&]{re.escape(query)}=)[^&\s\"']+") if query is not None else None

    def filter(self, entry: logging.LogRecord) -> bool:
        """Rewrite the message; every record passes."""
        try:
            if isinstance(entry.args, tuple):
                entry.args = tuple(self._clean(value) if isinstance(value, str) else value for value in entry.args)
            message = entry.getMessage()
            if (clean := self._clean(message)) != message:
                entry.msg, entry.args = clean, ()
            if entry.exc_info:
                entry.exc_text = self._clean(_FORMATTER.formatException(entry.exc_info))
                entry.exc_info = None
        except Exception:  # a message that cannot be formatted cannot be checked for tokens
            entry.msg, entry.args = "(a log message that could not be formatted)", ()
        return True

    def _clean(self, text: str) -> str:
        text = _cut(text)
        if self._query is not None:
            text = self._query.sub(r"\1…", text)
        return without_secrets(text)


_redactor = lru_cache(maxsize=None)(RedactSecrets)  # equal filters are one, so that a logger gets each of them once


def redact_logs(*loggers: logging.Logger, query: str | None = None) -> None:
    """Keep secrets out of the given loggers, and out of those in which an HTTP server writes URLs.

    Args:
        loggers: more loggers, such as a library's own.
        query: the name of the query parameter that carries tokens, if any.
    """
    for logger in (*loggers, *map(logging.getLogger, URL_LOGGERS)):
        logger.addFilter(_redactor(query))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_LINE else text[:MAX_LINE] + "…"


def _bounded(value: object) -> object:
    if isinstance(value, str):
        return value if len(value) <= MAX_VALUE else value[:MAX_VALUE] + "…"
    if isinstance(value, (int, float, bool)):
        return value
    if isinstance(value, Mapping):
        return {str(name): _bounded(inner) for name, inner in list(value.items())[:20]}
    if isinstance(value, (list, tuple)):
        return [_bounded(inner) for inner in value[:20]]
    return _bounded(repr(value))
