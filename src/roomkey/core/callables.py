"""Checks of the signatures of an application's functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def accepts(function: Callable[..., Any], *arguments: object, **named: object) -> bool:
    """Return True if a function can be called with these arguments, or has no signature (some builtins)."""
    try:
        inspect.signature(function).bind(*arguments, **named)
    except TypeError:
        return False
    except ValueError:
        return True
    return True
