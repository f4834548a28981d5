"""Many deadlines in one heap, compared with a plain dictionary."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from support.examples import examples

from roomkey.core.deadlines import MAX_STALE, Deadlines

KEYS = st.integers(0, 30)
TIMES = st.integers(0, 50) | st.just(float("inf"))


class AgainstADictionary(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.real: Deadlines[int] = Deadlines()
        self.model: dict[int, float] = {}

    @rule(key=KEYS, when=TIMES)
    def set(self, key, when):
        self.real.set(key, when)
        self.model[key] = when

    @rule(key=KEYS, whens=st.lists(TIMES, min_size=60, max_size=80))
    def move_often(self, key, whens):
        for when in whens:
            self.set(key, when)

    @rule(key=KEYS)
    def cancel(self, key):
        self.real.cancel(key)
        self.model.pop(key, None)

    @rule(now=st.integers(0, 60))
    def pop_due(self, now):
        due = self.real.pop_due(now)
        assert sorted(due) == sorted(key for key, when in self.model.items() if when <= now)
        assert [self.model[key] for key in due] == sorted(self.model[key] for key in due)
        for key in due:
            del self.model[key]

    @invariant()
    def agree(self):
        assert len(self.real) == len(self.model)
        assert self.real.next() == min(self.model.values(), default=None)
        assert len(self.real._heaps[0]) <= len(self.model) + MAX_STALE + 1


TestAgainstADictionary = AgainstADictionary.TestCase
TestAgainstADictionary.settings = settings(max_examples=examples(40), stateful_step_count=25)


def test_keys_are_not_compared():
    deadlines: Deadlines[object] = Deadlines()
    keys = [object(), "a", 1, None]
    for key in keys:
        deadlines.set(key, 5.0)
    assert deadlines.pop_due(5.0) == keys
    assert deadlines.next() is None


def test_nan_is_rejected_as_a_deadline():
    deadlines: Deadlines[str] = Deadlines()
    with pytest.raises(ValueError, match="NaN"):
        deadlines.set("a", float("nan"))
    assert len(deadlines) == 0


def test_moved_and_cancelled_deadlines_do_not_pile_up():
    deadlines: Deadlines[tuple[str, int]] = Deadlines(clocks=2)
    for number in range(1000):
        deadlines.set(("joins", number), 45.0)
        deadlines.set(("heartbeat", number), 25.0)
        deadlines.cancel(("joins", number))
        deadlines.set(("admitted", number), 45.0)
        deadlines.set(("admitted", number), 900.0, clock=1)
    assert len(deadlines) == 2000
    assert sum(map(len, deadlines._heaps)) <= 2000 * 1.25 + 33
    assert len(deadlines.pop_due(1000.0)) == len(deadlines.pop_due(1000.0, clock=1)) == 1000
