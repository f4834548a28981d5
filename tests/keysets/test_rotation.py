"""The state of each key at a time: examples, and properties that hold for all keys."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkey import Key
from roomkey.keysets.files import KeyFile
from roomkey.keysets.rotation import LEEWAY, KeyState, plan

KEY = Key.generate("ES256")
NEXT, SIGNING, RETIRING, RETIRED = KeyState.NEXT, KeyState.SIGNING, KeyState.RETIRING, KeyState.RETIRED
LIFETIME = 900
DAY = 86400


def file(name: str, not_before: float = 0, written: float = 0) -> KeyFile:
    return KeyFile(Path(name), KEY, not_before, written)


def doing(files: list[KeyFile], now: float, leeway: float = LEEWAY) -> dict[str, tuple[KeyState, float | None]]:
    return {one.file.path.name: (one.state, one.until) for one in plan(files, now, LIFETIME, leeway)}


def test_plan_follows_a_rotation() -> None:
    keys = [file("old"), file("new", not_before=DAY)]
    end = DAY + LIFETIME + LEEWAY
    assert doing(keys, DAY - 1) == {"old": (SIGNING, DAY), "new": (NEXT, DAY)}
    assert doing(keys, DAY) == {"old": (RETIRING, end), "new": (SIGNING, None)}
    assert doing(keys, end - 0.001) == {"old": (RETIRING, end), "new": (SIGNING, None)}
    assert doing(keys, end) == {"old": (RETIRED, None), "new": (SIGNING, None)}


def test_keys_without_nbf_are_ordered_by_their_files() -> None:
    keys = [file("b", written=DAY), file("a", written=5), file("dated", not_before=5)]
    assert doing(keys, 4) == {"a": (RETIRING, DAY + 960), "b": (SIGNING, 5), "dated": (NEXT, 5)}
    # The file of b is from later than the time at which it was followed: it cannot be told when a stopped to sign.
    assert doing(keys, 5)["a"] == (RETIRING, DAY + 960)
    assert doing(keys, DAY + 960) == {"a": (RETIRED, None), "b": (RETIRED, None), "dated": (SIGNING, None)}


def test_plan_handles_several_keys() -> None:
    keys = [file("d", 4 * DAY), file("b", 2 * DAY), file("c", 3 * DAY), file("a", DAY)]
    assert doing(keys, 3 * DAY + 1) == {
        "a": (RETIRED, None),
        "b": (RETIRING, 3 * DAY + 960),
        "c": (SIGNING, 4 * DAY),
        "d": (NEXT, 4 * DAY),
    }


def test_first_key_signs_if_no_time_has_come() -> None:
    keys = [file("b", 2 * DAY), file("a", DAY)]
    assert doing(keys, 5) == {"a": (SIGNING, 2 * DAY), "b": (NEXT, 2 * DAY)}
    assert plan([], 5, LIFETIME) == []


def test_plan_handles_equal_times_and_time_zero() -> None:
    twins = [file("b", DAY, 1), file("a", DAY, 2)]
    assert doing(twins, DAY)["a"][0] is SIGNING
    assert doing(twins, DAY)["b"][0] is RETIRING
    assert [state for state, _ in doing([file("a"), file("b", DAY)], float("nan")).values()] == [SIGNING, NEXT]


TIMES = st.integers(0, 10_000)


@given(st.lists(st.tuples(TIMES, TIMES), min_size=1, max_size=6), TIMES, st.integers(0, LIFETIME))
def test_key_outlives_its_tokens_and_states_only_advance(times: list[tuple[int, int]], issued: int, later: int) -> None:
    files = [file(str(number), *pair) for number, pair in enumerate(times)]
    before, after = plan(files, issued, LIFETIME), plan(files, issued + later, LIFETIME)
    for planned in (before, after):
        assert [one.state for one in planned].count(SIGNING) == 1
        assert [one.file for one in planned] == [one.file for one in before]
    [signed] = [one.file for one in before if one.state is SIGNING]
    assert next(one.state for one in after if one.file is signed) in (SIGNING, RETIRING)
    order = list(KeyState)
    for one, then in zip(before, after, strict=True):
        assert order.index(then.state) >= order.index(one.state)


@pytest.mark.parametrize("state", [NEXT, SIGNING, RETIRING])
def test_state_ends_at_its_time(state: KeyState) -> None:
    files = [file("a"), file("b", DAY), file("c", 2 * DAY)]
    for now in (0, DAY, DAY + 5, 2 * DAY):
        for one in plan(files, now, LIFETIME):
            if one.state is state and one.until is not None:
                until = one.until
                assert dict(doing(files, until - 0.001))[one.file.path.name][0] is state
                assert dict(doing(files, until))[one.file.path.name][0] is not state
