"""Strict JSON (RFC 8259), without the extensions of Python's ``json``.

Python's ``json`` accepts duplicate members, ``NaN``, ``Infinity`` and numbers that overflow to infinity. A token with
two ``sub`` members could mean one user here and another user elsewhere, and a relayed ``NaN`` disconnects all
JavaScript clients that receive it. This module rejects them when it reads and when it writes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from math import isfinite
from typing import Any, NoReturn


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate member")
    return members


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError("number out of range")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_no_duplicates, parse_float=_finite, parse_constant=_refuse_constant)
_scan = _DECODER.scan_once  # type: ignore[attr-defined]  # what raw_decode calls
_ENCODERS: dict[tuple[str, str] | None, Callable[[Any], str]] = {}


def loads(text: str | bytes, *, surrogates: bool = False) -> Any:
    """Parse one JSON value.

    Args:
        text: UTF-8 bytes or str, without a byte order mark.
        surrogates: accept escapes of unpaired surrogates.

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
        value, end = _scan(text, 0)
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
