"""The token bucket: time is an argument."""

from __future__ import annotations

import pytest

from roomkey.core.rate import TokenBucket


def test_as_many_at_once_as_in_a_second():
    bucket = TokenBucket(3, 100.0)
    assert [bucket.take(100.0) for _ in range(3)] == [2, 1, 0]


def test_what_is_too_many_is_counted():
    bucket = TokenBucket(2, 0.0)
    assert [bucket.take(0.0) for _ in range(5)] == [1, 0, -1, -2, -3]


@pytest.mark.parametrize(
    ("seconds", "left"),
    [(0.0, -1.0), (0.1, 0.0), (0.5, 4.0), (1.0, 9.0), (1.1, 9.0), (1e9, 9.0)],
)
def test_tokens_come_back_steadily_and_no_more_than_the_rate_is_saved(seconds, left):
    bucket = TokenBucket(10, 0.0)
    for _ in range(10):
        bucket.take(0.0)
    assert bucket.take(seconds) == pytest.approx(left)


def test_an_event_at_the_rate_is_never_one_too_many():
    bucket = TokenBucket(8, 0.0)
    assert min(bucket.take(number / 8) for number in range(1000)) >= 0


def test_a_debt_is_paid_back_first():
    bucket = TokenBucket(10, 0.0)
    for _ in range(20):
        bucket.take(0.0)
    assert bucket.take(1.0) == pytest.approx(-1.0)
    assert bucket.take(1.3) == pytest.approx(1.0)


def test_whoever_is_refused_waits_no_longer_for_it():
    bucket = TokenBucket(2, 0.0)
    assert [bucket.take_if_any(0.0) for _ in range(20)] == [True, True] + [False] * 18
    assert [bucket.take_if_any(0.49), bucket.take_if_any(0.5), bucket.take_if_any(0.5)] == [False, True, False]
