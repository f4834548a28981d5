"""Measured times are counted by their size."""

from __future__ import annotations

from roomkey.core.histogram import SECONDS, Histogram


def test_values_count_for_the_smallest_bound_that_they_do_not_exceed():
    seen = Histogram((1.0, 2.0))
    for value in (0.0, 1.0, 1.5, 2.0, 2.1, 99.0):
        seen.observe(value)
    assert seen.counts == [2, 2, 2]
    assert seen.total == 105.6


def test_value_that_was_measured_several_times_counts_as_often():
    seen = Histogram((1.0,))
    seen.observe(0.5, 3)
    assert (seen.counts, seen.total) == ([3, 0], 1.5)


def test_bounds_for_seconds_ascend():
    assert list(SECONDS) == sorted({*SECONDS})
