"""Run every test in this folder that makes a world against both engines."""

from __future__ import annotations

import pytest
from support.offline import offline
from support.world import ENGINES, clock, make_world

__all__ = ["clock", "make_world", "offline"]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """Return the name of the server that the test's world has."""
    return str(request.param)
