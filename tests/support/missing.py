"""Programs and packages that a machine may lack."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

__all__ = ["missing"]


def missing(what: str) -> NoReturn:
    """Skip the test, or fail in CI.

    Args:
        what: what is missing, and how to install it.
    """
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)
