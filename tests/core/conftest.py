from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from roomkey import Key
from roomkey.core.algorithms import ALGORITHMS

# No deadlines: a busy machine must not fail these tests.
settings.register_profile("roomkey", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("roomkey")


@pytest.fixture(scope="session")
def every_key() -> dict[str, Key]:
    """One key for each algorithm, by the algorithm's name."""
    return {algorithm: Key.generate(algorithm, kid=algorithm) for algorithm in ALGORITHMS}
