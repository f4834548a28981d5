"""Values of the sender's choice, made fit for the operator's log: escaped, short, and cheap whatever they are."""

from __future__ import annotations

LIMIT = 60


def printable(value: object) -> str:
    """A string or number as it stands, escaped and cut; a list as its first items; anything else as its type's name."""
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
