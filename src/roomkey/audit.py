"""The audit log: one structured line for each decision, without secrets.

The logger is ``roomkey.audit``. Each message is one JSON object, so that values from clients (a subject, a room, the
name of an event) cannot break the line or move the cursor. A token is named by its ``jti``, or by the first eight
characters of its hash.
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
"""The longest line to search for secrets, in characters; the rest is cut off."""

URL_LOGGERS = (
    *("uvicorn.access", "uvicorn.error", "uvicorn.asgi", "aiohttp.access", "hypercorn.access"),
    *("werkzeug", "gunicorn.access", "gunicorn.error", "geventwebsocket.handler", "django.server"),
)
"""The loggers in which ASGI and WSGI servers write the URLs of requests and WebSockets, with query strings."""

_FORMATTER = logging.Formatter()
_encode = json.JSONEncoder(ensure_ascii=True, default=str).encode
# Text that starts like a header's JSON in base64url, or that has three parts as a token does.
_TOKEN = re.compile(r"(?:eyJ|ZXlK)[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_=-]*)*|(?<![\w-])[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,}")
_NAMED = re.compile(
    r"((?:access_token|auth_token|refresh_token|id_token|token|password|secret)[\"']?\s*[:=]\s*[\"']?)[^\"'&\s,}\]]+",
    re.IGNORECASE,
)
# Engine.IO session IDs and socket IDs: 15 bytes in base64url.
_SID = re.compile(r"(?<![A-Za-z0-9_-])(?=[A-Za-z0-9_-]*[0-9A-Z])[A-Za-z0-9_-]{20}(?![A-Za-z0-9_-])")
# In the URL of a provider's redirect (RFC 6749 section 4.1.2).
_CODE = re.compile(r"([?&](?:code|state)=)[^&\s\"']+")
# A parameter, a member, a cookie with its chunks, or a header as it is written and as ASGI has it: (b'x', b'value').
_VALUE_OF = (
    r"((?<![A-Za-z0-9-])(?:{names})(?:[._][0-9]+)?(?:\\?[\"'])?\s*(?:[:=]|(?<=[\"']),)\s*(?:b(?=[\"']))?(?:\\?[\"'])?)"
    r"(?!…)[^\"'\\&;\s}}\]]+(?:(?<=,)\s+[^\"'\\&;\s}}\]]+)*"
)
_BEARER = re.compile(r"(bearer\s+)[^\s\"',]+", re.IGNORECASE)


def record(event: str, *, level: int = logging.INFO, **facts: object) -> None:
    """Write one line.

    Args:
        event: the name of the event: ``admitted``, ``refused``, ``ended``, ``refreshed``, ``denied``, ``login``, ….
        level: the level from :mod:`logging`.
        facts: the details. None is left out, and text is cut at 200 characters.
    """
    with suppress(Exception):  # a failing log must not keep a socket connected
        if LOG.isEnabledFor(level):
            line = {"event": event} | {name: _bounded(value) for name, value in facts.items() if value is not None}
            # LOG.log would search the stack for this place, each time.
            entry = LOG.makeRecord(LOG.name, level, __file__, _LINE, "%s", (_encode(line),), None, record.__name__)
            LOG.handle(entry)


_LINE = record.__code__.co_firstlineno


def log_warnings(verifier: object) -> None:
    """Log what is insecure about the settings of a verifier, once in this process."""
    for text in getattr(verifier, "warnings", ()):
        _warn(text)


@lru_cache(maxsize=100)
def _warn(text: str) -> None:
    logging.getLogger("roomkey").warning("insecure: %s", text)


def token_name(who: Identity | None, token: str | None = None) -> str | None:
    """Return a name for a token that does not reveal it: its ``jti``, or :func:`token_hash`."""
    if who is not None and (who.token_id or who.token_hash):
        return who.token_id or who.token_hash
    return None if token is None else token_hash(token)


def token_hash(token: str) -> str:
    """Return the first 8 characters of a token's SHA-256."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()[:8]


def redact(text: str) -> str:
    """Remove tokens, and the values of members with names of secrets, from a text."""
    # Each pattern is used only on text that it could match: most texts are short and contain no secret.
    if "bearer" in text.lower():
        text = _BEARER.sub(r"\1…", text)
    if "eyJ" in text or "ZXlK" in text or text.count(".") > 1:
        text = _TOKEN.sub("…", text)
    if ":" in text or "=" in text:
        text = _NAMED.sub(r"\1…", text)
    if "code=" in text or "state=" in text:
        text = _CODE.sub(r"\1…", text)
    return text


def without_secrets(text: str) -> str:
    """Remove what :func:`redact` removes, and Engine.IO session IDs and socket IDs."""
    return _SID.sub("…", redact(text))


class RedactSecrets(logging.Filter):
    """Removes tokens and session IDs from a logger that writes packets, addresses or URLs.

    The filter rewrites the arguments of a record but keeps their number, because some formatters (``uvicorn.access``)
    read them. If the record still contains a secret, it becomes one redacted text.

    Args:
        names: the names of query parameters, headers, members and cookies that contain tokens in any form, and whose
            values can be split into chunks (``name.0``).
    """

    def __init__(self, names: tuple[str, ...] = ()) -> None:
        super().__init__()
        either = "|".join(re.escape(name).replace(r"\-", "[-_]") for name in names)
        self._named = re.compile(_VALUE_OF.format(names=either), re.IGNORECASE) if names else None

    def filter(self, entry: logging.LogRecord) -> bool:
        """Rewrite the message; all records pass."""
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
        text = without_secrets(text)
        return text if self._named is None else self._named.sub(r"\1…", text)


_redactor = lru_cache(maxsize=None)(RedactSecrets)  # one filter for the same names, so that a logger gets it only once


def redact_logs(*loggers: logging.Logger, names: tuple[str, ...] = ()) -> None:
    """Remove secrets from the loggers in which HTTP servers write URLs, and from further loggers.

    Args:
        loggers: further loggers, such as those of a library.
        names: as for :class:`RedactSecrets`.
    """
    for logger in (*loggers, *map(logging.getLogger, URL_LOGGERS)):
        logger.addFilter(_redactor(names))


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
