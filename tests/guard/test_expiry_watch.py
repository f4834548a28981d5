"""When a live socket is warned, and when it ends. The clock is the test's; only the spread is drawn by lot."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clock import FakeClock

from roomkey import ConfigError, Identity, Issuer
from roomkey.guard.expiry_watch import ExpiryWatch
from roomkey.guard.settings import GuardSettings


def due() -> None:
    """The socket's callback."""


class Noted:
    """The part of Timers that is used: one expiry per callback."""

    def __init__(self) -> None:
        self.expiries: dict[Any, float] = {}

    def at(self, callback: Any, when: float) -> None:
        self.expiries[callback] = when

    def cancel(self, callback: Any) -> None:
        self.expiries.pop(callback, None)


class Watched:
    """One socket, its lifetimes and their timers."""

    def __init__(self, *, grace: float = 25.0, warn_before: float = 60.0) -> None:
        self.clock, self.timers = FakeClock(0.0), Noted()
        settings = GuardSettings(Issuer.ephemeral().verifier(), grace=grace, warn_before=warn_before)
        self.watch = ExpiryWatch(self.timers, self.clock, settings)
        self.identity = Identity("ada")

    def begin(self, expires_at: float | None) -> float | None:
        self.identity = Identity("ada", expires_at=expires_at)
        self.watch.watch(self.identity, due)
        return self.timers.expiries.get(due)

    def due_at(self, now: float) -> int | None:
        self.clock.time = now
        return self.watch.passed(self.identity, due)


@given(st.floats(0.1, 1e6), st.floats(1, 600), st.floats(0, 100))
def test_warning_comes_within_its_bounds_before_the_end(lifetime, warn_before, grace):
    watched = Watched(grace=grace, warn_before=warn_before)
    warned_at = watched.begin(lifetime)
    lead = min(warn_before, lifetime / 2)
    assert lifetime - lead - 1e-6 <= warned_at <= lifetime - lead / 2 + 1e-6
    assert warned_at >= lifetime / 2 - 1e-6
    assert watched.due_at(warned_at) == int(lifetime - warned_at)
    assert watched.timers.expiries == {due: lifetime + grace}
    assert watched.due_at(lifetime + grace) is None


def test_warnings_are_spread():
    times = [Watched().begin(1000.0) for _ in range(400)]
    assert min(times) < 945
    assert max(times) > 965
    assert 950 < sum(times) / 400 < 960


@pytest.mark.parametrize(
    ("settings", "expires_at", "first"),
    [
        ({"warn_before": 0}, 100.0, 125.0),  # never warned
        ({}, -5.0, 20.0),  # within the verifier's leeway: only the end is left
        ({"grace": 0, "warn_before": 0}, 100.0, 100.0),
        ({}, None, None),
    ],
)
def test_deadline_without_a_warning_is_the_end(settings, expires_at, first):
    assert Watched(**settings).begin(expires_at) == first


def test_token_without_exp_removes_the_deadline():
    watched = Watched()
    watched.begin(100.0)
    assert watched.begin(None) is None
    assert watched.due_at(10**9) == 0


def test_clock_that_skips_the_warning_waits_for_the_end():
    watched = Watched()
    watched.begin(1000.0)
    assert watched.due_at(1010.0) <= 0
    assert watched.timers.expiries == {due: 1025.0}
    assert watched.due_at(1024.99) <= 0
    assert watched.due_at(1025.0) is None


@pytest.mark.parametrize("name", ["grace", "warn_before"])
@pytest.mark.parametrize("seconds", [-1.0, float("inf"), float("nan")])
def test_seconds_must_be_finite_and_not_negative(name, seconds):
    with pytest.raises(ConfigError):
        Watched(**{name: seconds})
