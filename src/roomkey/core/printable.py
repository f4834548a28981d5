"""Safe display of untrusted values in logs: escaped, short, and cheap for any value."""

from __future__ import annotations

LIMIT = 60


def printable(value: object) -> str:
    """Return a string or number, escaped and cut; the first items of a list; or the name of any other type."""
    if isinstance(value, list):
        items = ", ".join(_one(item) for item in value[:3])
        return f"[{items}{', …' if len(value) > 3 else ''}]"
    return _one(value)


def _one(value: object) -> str:
    if value is None or isinstance(value, (bool, float)):
        return repr(value)
    if isinstance(value, int):
        return repr(value) if value.bit_length() < 128 else "a very large number"
    if isinstance(value, str):
        text = ascii(value[:LIMIT])
        return text if len(text) <= LIMIT else text[:LIMIT] + "…"
    return f"a {type(value).__name__}"
