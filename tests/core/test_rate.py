"""The token bucket; the time is an argument."""

from __future__ import annotations

import pytest

from roomkey.core.rate import TokenBucket


def test_bucket_allows_a_burst_of_one_second():
    bucket = TokenBucket(3, 100.0)
    assert [bucket.take(100.0) for _ in range(3)] == [2, 1, 0]


def test_take_returns_the_excess():
    bucket = TokenBucket(2, 0.0)
    assert [bucket.take(0.0) for _ in range(5)] == [1, 0, -1, -2, -3]


@pytest.mark.parametrize(
    ("seconds", "left"),
    [(0.0, -1.0), (0.1, 0.0), (0.5, 4.0), (1.0, 9.0), (1.1, 9.0), (1e9, 9.0)],
)
def test_tokens_return_at_the_rate_up_to_a_full_bucket(seconds, left):
    bucket = TokenBucket(10, 0.0)
    for _ in range(10):
        bucket.take(0.0)
    assert bucket.take(seconds) == pytest.approx(left)


def test_events_at_the_rate_are_allowed():
    bucket = TokenBucket(8, 0.0)
    assert min(bucket.take(number / 8) for number in range(1000)) >= 0


def test_excess_delays_further_tokens():
    bucket = TokenBucket(10, 0.0)
    for _ in range(20):
        bucket.take(0.0)
    assert bucket.take(1.0) == pytest.approx(-1.0)
    assert bucket.take(1.3) == pytest.approx(1.0)


def test_refused_attempts_do_not_delay_further_tokens():
    bucket = TokenBucket(2, 0.0)
    assert [bucket.take_if_any(0.0) for _ in range(20)] == [True, True] + [False] * 18
    assert [bucket.take_if_any(0.49), bucket.take_if_any(0.5), bucket.take_if_any(0.5)] == [False, True, False]
