"""Fewer cases than every combination: for what is parametrized by hand together with the engine."""

from __future__ import annotations

from typing import Any

import pytest


def parametrize_engine(names: tuple[str, ...], cases: list[tuple[Any, ...]]) -> pytest.MarkDecorator:
    """Run a test with these cases only; the first of each is its engine, which is no case of its own then."""
    ids = ["-".join(map(_named, case)) for case in cases]
    return pytest.mark.parametrize(("engine", *names), cases, ids=ids, indirect=["engine"])


def _named(value: Any) -> str:
    return "-".join(value) if isinstance(value, tuple) else str(value)
