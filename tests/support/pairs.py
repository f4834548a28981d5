"""Fewer cases than every combination, for tests that are parametrized together with the engine."""

from __future__ import annotations

from typing import Any

import pytest


def parametrize_engine(names: tuple[str, ...], cases: list[tuple[Any, ...]]) -> pytest.MarkDecorator:
    """Run a test with these cases only. The first value of each case is its engine."""
    ids = ["-".join(map(_named, case)) for case in cases]
    return pytest.mark.parametrize(("engine", *names), cases, ids=ids, indirect=["engine"])


def _named(value: Any) -> str:
    return "-".join(value) if isinstance(value, tuple) else str(value)
