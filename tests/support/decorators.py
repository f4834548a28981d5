"""Decorators that applications write, each in another style."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


def wrapper(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapped(*arguments: Any) -> Any:
        return function(*arguments)

    return wrapped


def bare(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments: function(*arguments)


class Instance:
    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


WRAPPERS = [wrapper, bare, Instance, functools.partial, lambda function: wrapper(bare(wrapper(function)))]
"""With and without :func:`functools.wraps`, an object, an object of the standard library, several."""
