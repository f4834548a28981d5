"""Expired records are deleted only at a confirmed time."""

from __future__ import annotations

from math import inf

import pytest

from roomkey.core.confirmed_time import CONFIRM_SECONDS as LASTING
from roomkey.core.confirmed_time import STARTUP_SECONDS as FIRST
from roomkey.core.confirmed_time import ConfirmedTime

DAY, YEAR = 86400.0, 366 * 86400.0


def horizon(*moments: tuple[float, float]) -> list[float]:
    """Return the confirmed time at each moment: seconds passed, and the error of the time of day."""
    made = ConfirmedTime()
    return [made.at(1e9 + passed + wrong, passed) - 1e9 for passed, wrong in moments]


def test_confirmed_time_starts_after_the_first_hour():
    assert horizon((0, 0), (FIRST - 1, 0), (FIRST, 0), (FIRST + 5, 0)) == [-inf, -inf, FIRST, FIRST + 5]


@pytest.mark.checklist("I118")
@pytest.mark.parametrize("wrong", [60.0, DAY, YEAR])
def test_jump_ahead_counts_only_after_it_has_lasted(wrong):
    moments = [(0, 0), (FIRST, 0), (2 * FIRST, wrong), (FIRST + LASTING, wrong), (FIRST + 2 * LASTING, wrong)]
    assert horizon(*moments)[2:] == [2 * FIRST, FIRST + LASTING, FIRST + 2 * LASTING + wrong]


def test_corrected_clock_never_confirms_the_wrong_time():
    assert horizon((0, YEAR), (60, YEAR), (120, 0), (FIRST, 0))[:3] == [-inf, -inf, -inf]
    assert horizon((0, YEAR), (120, 0), (FIRST, 0))[-1] == FIRST


def test_clock_set_back_counts_immediately():
    assert horizon((0, 0), (FIRST, 0), (FIRST + 1, -DAY))[-1] == FIRST + 1 - DAY
