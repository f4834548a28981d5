from __future__ import annotations

import pytest

from roomkey import Key
from roomkey.core.algorithms import ALGORITHMS


@pytest.fixture(scope="session")
def every_key() -> dict[str, Key]:
    """One key for each algorithm, by the algorithm's name."""
    return {algorithm: Key.generate(algorithm, kid=algorithm) for algorithm in ALGORITHMS}
