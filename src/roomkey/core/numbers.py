"""Numbers in settings: a limit of another type, or one that is not a number, would limit nothing."""

from __future__ import annotations

from typing import TypeGuard


def is_number(value: object) -> TypeGuard[float]:
    """Return True for an integer or a float; not for a boolean."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_whole_number(value: object) -> TypeGuard[int]:
    """Return True for an integer; not for a boolean."""
    return isinstance(value, int) and not isinstance(value, bool)
