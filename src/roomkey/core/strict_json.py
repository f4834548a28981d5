"""Strict JSON (RFC 8259), without the extensions of Python's ``json``.

Python's ``json`` accepts duplicate members, ``NaN``, ``Infinity`` and numbers that overflow to infinity. A token with
two ``sub`` members could mean one user here and another user elsewhere, and a relayed ``NaN`` disconnects all
JavaScript clients that receive it. This module rejects them when it reads and when it writes.

Servers in several languages read the same tokens. ``portable`` also rejects what depends on the reader: integers that
JavaScript rounds, and a nesting of more than :data:`MAX_DEPTH` levels, for which each parser has a limit of its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from math import isfinite
from typing import Any, NoReturn

LAST_INTEGER = 2**53 - 1
"""The largest integer that all JSON parsers read exactly (RFC 8259 section 6)."""

MAX_DEPTH = 32
"""Levels of arrays and objects, if ``portable`` is set."""

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)


_COMMON = (
    *("iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "azp", "client_id", "scope", "roles", "role", "rooms"),
    *("name", "email", "nonce", "auth_time", "cnf"),
)
_SHARED = {name: name for name in _COMMON}
"""Common names of claims, so that the tokens of all connections share one string for each."""


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = {_SHARED.get(name, name): value for name, value in pairs}
    if len(members) != len(pairs):
        raise ValueError("duplicate member")
    return members


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError("number out of range")
    return number


def _safe_integer(text: str) -> int:
    number = int(text) if len(text) <= 17 else LAST_INTEGER + 1  # 16 digits and a sign; more are never safe
    if abs(number) > LAST_INTEGER:
        raise ValueError("integer out of range")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_no_duplicates, parse_float=_finite, parse_constant=_refuse_constant)
_PORTABLE_DECODER = json.JSONDecoder(
    object_pairs_hook=_no_duplicates, parse_float=_finite, parse_int=_safe_integer, parse_constant=_refuse_constant
)
_scan = _DECODER.scan_once  # type: ignore[attr-defined]  # what raw_decode calls
_scan_portable = _PORTABLE_DECODER.scan_once  # type: ignore[attr-defined]
_ENCODERS: dict[tuple[str, str] | None, Callable[[Any], str]] = {}


def loads(text: str | bytes, *, surrogates: bool = False, portable: bool = False) -> Any:
    """Parse one JSON value.

    Args:
        text: UTF-8 bytes or str, without a byte order mark.
        surrogates: accept escapes of unpaired surrogates.
        portable: reject integers beyond :data:`LAST_INTEGER`, and more than :data:`MAX_DEPTH` levels.

    Raises:
        ValueError: not JSON, JSON that other parsers read differently (duplicate members, NaN, Infinity, numbers out
            of range, unpaired surrogates), or nested too deeply.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    elif not text.isascii():
        text.encode("utf-8")
    try:
        text = text.strip(" \t\n\r")
        if portable and _is_too_deep(text):
            raise ValueError("nested too deep")
        value, end = (_scan_portable if portable else _scan)(text, 0)
        if end != len(text):
            raise ValueError("extra data")
        if not surrogates and "\\" in text and ("\\ud" in text or "\\uD" in text):
            # Only an escape can still be an unpaired surrogate, which UTF-8 cannot encode.
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except StopIteration:
        raise ValueError("no JSON value") from None
    except RecursionError:
        raise ValueError("nested too deep") from None
    return value


def _is_too_deep(text: str) -> bool:
    """Return True if more than :data:`MAX_DEPTH` arrays and objects are open at the same time."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return False
    depth = 0
    for character in _STRING.sub("", text):
        if character in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif character in "]}":
            depth -= 1
    return False


def dumps(value: Any, *, separators: tuple[str, str] = (",", ":")) -> str:
    """Write one JSON value.

    Raises:
        ValueError: the value contains NaN, Infinity or itself, or is nested too deeply.
        TypeError: the value contains a type that JSON does not have.
    """
    encode = _ENCODERS.get(separators)
    if encode is None:
        encode = _ENCODERS[separators] = json.JSONEncoder(separators=separators, allow_nan=False).encode
    try:
        return encode(value)
    except RecursionError:
        raise ValueError("nested too deep") from None
