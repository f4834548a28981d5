"""The number of Hypothesis examples: all in ``make test``, a fifth in ``make check``."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

__all__ = ["examples"]

# No time limit for examples, on whatever machine; and in CI the same examples each time.
settings.register_profile(
    "test",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=os.environ.get("CI") == "true",
)
settings.register_profile("check", settings.get_profile("test"), max_examples=20)
settings.load_profile("test")


def examples(most: int) -> int:
    """Return the number of examples in the current profile, if ``make test`` tries ``most``."""
    return max(most // 5, 10) if settings.get_current_profile_name() == "check" else most
