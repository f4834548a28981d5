"""What an application's function can be called with, looked up in its signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def accepts(function: Callable[..., Any], *arguments: object, **named: object) -> bool:
    """True if a function can be called with these arguments, or has no signature to look at (some builtins)."""
    try:
        inspect.signature(function).bind(*arguments, **named)
    except TypeError:
        return False
    except ValueError:
        return True
    return True
