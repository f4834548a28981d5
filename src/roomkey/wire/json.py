"""JSON for packets: RFC 8259 in UTF-8, without NaN and Infinity in either direction, and with bytes as attachments.

An unpaired surrogate, such as half an emoji after JavaScript's ``slice``, is valid content, but UTF-8 cannot encode it.
In both directions it becomes U+FFFD (Unicode 3.9), as with ``TextEncoder``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import accumulate
from math import isfinite
from typing import Any

import orjson

_dumps, _loads = orjson.dumps, orjson.loads  # one look-up instead of two for each packet
PLACEHOLDER, NUMBER = "_placeholder", "num"
# Types that orjson would write on its own, and that a JSON reader could not tell from a string.
_OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
_WITH_NUMBER_KEYS = _OPTIONS | orjson.OPT_NON_STR_KEYS
# A placeholder in orjson's output; within a string or a longer name, its quotes would be escaped.
_WRITTEN_PLACEHOLDER = re.compile(rb'[{,]"_placeholder":true')
# Opening brackets become 1, closing brackets -1, other bytes are removed.
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))
# An escaped unpaired surrogate (RFC 8259 section 7). The text must not contain escaped backslashes.
_HEX = rb"[0-9a-fA-F]{2}"
_HIGH, _LOW = rb"\\u[dD][89abAB]" + _HEX, rb"\\u[dD][c-fC-F]" + _HEX
_LONE_ESCAPE = re.compile(rb"%b(?!%b)|(?<!%b)%b" % (_HIGH, _LOW, _HIGH, _LOW))
_LONE = re.compile("[\ud800-\udfff]")
_REPLACEMENT = "\ufffd"


def loads(text: bytes, nesting: int, containers: int = 100_000) -> Any:
    """Parse one value.

    Args:
        text: the JSON text.
        nesting: the most levels of arrays and objects.
        containers: the most opening brackets; more would take long to parse.

    Raises:
        ValueError: not JSON, a number out of range, or over a limit.
    """
    brackets = 0
    if len(text) > 2 * nesting:  # a shorter one cannot be over a limit
        brackets = text.count(b"[") + text.count(b"{")
        if brackets > containers:
            raise ValueError("too many arrays and objects")
    try:
        value = _loads(text)
    except orjson.JSONDecodeError:
        value = _loads(_with_whole_characters(text))
    if brackets > nesting and _depth(text) > nesting:
        raise ValueError("nested too deep")
    return value


def _with_whole_characters(text: bytes) -> bytes:
    """Replace each escaped unpaired surrogate by U+FFFD.

    Raises:
        ValueError: there is none, so the text is not JSON for another reason.
    """
    if b"\0" in text or (b"\\ud" not in text and b"\\uD" not in text):
        raise ValueError("not JSON")
    marked = text.replace(b"\\\\", b"\0\0")
    return _LONE_ESCAPE.sub(_REPLACEMENT.encode(), marked).replace(b"\0\0", b"\\\\")


def dumps(value: Any) -> tuple[bytes, tuple[bytes, ...]]:
    """Write one value; bytes in it become placeholders.

    Returns:
        The text, and the attachments in the order of their placeholders.

    Raises:
        TypeError: a type that JSON does not have, an integer over 64 bits, or more than 254 levels.
        ValueError: NaN, Infinity, or a dict that would be read as a placeholder in a value that contains bytes.
    """
    attachments: tuple[bytes, ...] = ()
    try:
        text = _dumps(value, None, _OPTIONS)
    except TypeError:
        text, attachments = _with_attachments(value)
    # orjson writes NaN as null. `in` takes three times as long as partition() to look for it.
    if text.partition(b"null")[1] and _has_nan(value):
        raise ValueError("NaN and Infinity are not JSON")
    return text, attachments


def _with_attachments(value: Any) -> tuple[bytes, tuple[bytes, ...]]:
    attachments: list[bytes] = []
    text = _put_aside_bytes(value, attachments)
    # A placeholder that a client sent as plain data would disconnect all clients that receive it together with bytes.
    if attachments and len(_WRITTEN_PLACEHOLDER.findall(text)) != len(attachments):
        raise ValueError("a placeholder without bytes")
    return text, tuple(attachments)


def _put_aside_bytes(value: Any, attachments: list[bytes]) -> bytes:
    def put_aside(part: object) -> dict[str, object]:
        if not isinstance(part, (bytes, bytearray, memoryview)):
            raise TypeError(f"a {type(part).__name__} is not JSON")
        attachments.append(bytes(part))
        return {PLACEHOLDER: True, NUMBER: len(attachments) - 1}

    try:
        return orjson.dumps(value, put_aside, _WITH_NUMBER_KEYS)
    except TypeError as error:
        if isinstance(error.__cause__, TypeError):  # orjson's own error says only where it stopped
            raise error.__cause__ from None
        if "surrogates" not in str(error):
            raise
    attachments.clear()
    try:
        return orjson.dumps(_whole_characters(value), put_aside, _WITH_NUMBER_KEYS)
    except RecursionError:
        raise TypeError("nested too deep") from None


def _whole_characters(value: Any) -> Any:
    """Return a copy of the value with U+FFFD for each unpaired surrogate."""
    if isinstance(value, str):
        return _LONE.sub(_REPLACEMENT, value)
    if isinstance(value, dict):
        return {_whole_characters(name): _whole_characters(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_whole_characters(part) for part in value]
    return value


def restore_attachments(value: Any, attachments: list[bytes]) -> Any:
    """Replace placeholders by their attachments.

    Raises:
        ValueError: placeholders and attachments do not match one to one.
    """
    missing = set(range(len(attachments)))
    value = _restore(value, attachments, missing)
    if missing:
        raise ValueError("an attachment without its placeholder")
    return value


def _restore(value: Any, attachments: list[bytes], missing: set[int]) -> Any:
    if isinstance(value, list):
        for index, part in enumerate(value):
            if isinstance(part, (list, dict)):
                value[index] = _restore(part, attachments, missing)
    elif isinstance(value, dict):
        if value.get(PLACEHOLDER) is True:
            number = value.get(NUMBER)
            # 0 == False and 1 == 1.0, but only an integer is the number of an attachment.
            if type(number) is not int or number not in missing:
                raise ValueError("a placeholder without its attachment")
            missing.remove(number)
            return attachments[number]
        for name, part in value.items():
            if isinstance(part, (list, dict)):
                value[name] = _restore(part, attachments, missing)
    return value


def _depth(text: bytes) -> int:
    """Return the nesting depth of valid JSON. Scanning the text is faster than walking the value."""
    no_escapes = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    outside_strings = b"".join(no_escapes.split(b'"')[::2])
    steps = memoryview(outside_strings.translate(_STEPS, _NO_BRACKETS)).cast("b")
    return max(accumulate(steps), default=0)


_HARMLESS = frozenset({str, int, bool, type(None)})


def _has_nan(value: Any) -> bool:
    todo = [value]
    while todo:
        part = todo.pop()
        kind = type(part)
        if kind in _HARMLESS:
            continue
        if isinstance(part, float):
            if not isfinite(part):
                return True
        elif isinstance(part, (list, tuple)):
            todo.extend(part)
        elif kind is dict or isinstance(part, Mapping):
            todo.extend(part.values())
            todo.extend(part)
    return False
