"""When keys of another server are used and fetched: the state machine, with times as arguments."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.key_server import new_keys, public_set, with_kid

from roomkey.keysets.remote_state import (
    COOLDOWN,
    DUE,
    KEPT,
    LAST_RETRY,
    LOST,
    MAX_KIDS,
    Next,
    RemoteState,
    retry_delay,
)

A, B, C = new_keys("a", "b", "c")


def fetched(state: RemoteState, *keys, now: float = 0.0):
    state.start(now)
    return state.succeed(public_set(keys), now)


def state_with(*keys) -> RemoteState:
    state = RemoteState()
    fetched(state, *keys)
    return state


def test_the_first_lookup_is_due() -> None:
    state = RemoteState()
    assert state.usable(0.0) is None
    assert state.is_due(0.0)


def test_a_fetch_is_due_after_five_minutes_and_once() -> None:
    state = state_with(A)
    assert not state.is_due(DUE - 0.1)
    assert state.is_due(DUE)
    state.start(DUE)
    assert not state.is_due(DUE)


def test_keys_are_kept_for_a_day_after_the_last_good_answer() -> None:
    state = state_with(A)
    for now in (DUE, 3600.0, KEPT - 1):
        state.start(now)
        state.fail(now)
    assert state.usable(KEPT - 0.1) is not None
    assert state.usable(KEPT) is None


def test_failures_back_off_up_to_thirty_seconds() -> None:
    assert [retry_delay(failures) for failures in range(8)] == [0, 1, 2, 4, 8, 16, LAST_RETRY, LAST_RETRY]
    assert retry_delay(10_000) == LAST_RETRY
    state = RemoteState()
    now = 0.0
    for failures in range(1, 8):
        assert state.is_due(now)
        state.start(now)
        state.fail(now)
        assert not state.is_due(now + retry_delay(failures) - 0.1)
        now += retry_delay(failures)


def test_the_first_unknown_kid_starts_a_fetch_at_once_even_just_after_another() -> None:
    state = state_with(A)
    assert state.look_up("b", 0.1) is Next.FETCH


def test_further_unknown_kids_wait_for_that_fetch_and_then_for_the_cooldown() -> None:
    state = state_with(A)
    assert state.look_up("x", 1.0) is Next.FETCH
    state.start(1.0)
    assert state.look_up("y", 1.1) is Next.WAIT
    state.succeed(public_set([A]), 1.2)
    assert state.look_up("x", 1.3) is Next.REJECT
    assert state.look_up("y", 1.3) is Next.LATER
    assert state.look_up("y", 1.0 + COOLDOWN - 0.1) is Next.LATER
    assert state.look_up("y", 1.0 + COOLDOWN) is Next.FETCH


def test_the_cooldown_does_not_start_with_a_fetch_in_the_background() -> None:
    state = state_with(A)
    fetched(state, A, now=DUE)
    assert state.look_up("b", DUE + 0.1) is Next.FETCH


def test_a_kid_that_appeared_after_the_request_is_not_given_up_for_its_answer() -> None:
    state = state_with(A)
    state.start(DUE)  # the other server may have answered before it rotated
    assert state.look_up("b", DUE) is Next.WAIT
    state.succeed(public_set([A]), DUE + 1)
    assert state.look_up("b", DUE + 1) is Next.FETCH


def test_kids_seen_during_the_cooldown_are_decided_by_the_next_answer() -> None:
    state = state_with(A)
    state.look_up("x", 1.0)
    fetched(state, A, now=1.0)
    assert state.look_up("y", 2.0) is Next.LATER
    fetched(state, A, now=DUE)
    assert state.look_up("y", DUE + COOLDOWN - 0.1) is Next.REJECT


def test_an_unknown_kid_is_rejected_for_the_cooldown_after_the_answer() -> None:
    state = state_with(A)
    assert state.look_up("b", 1.0) is Next.FETCH
    fetched(state, A, now=1.5)
    assert state.look_up("b", 1.5 + COOLDOWN - 0.1) is Next.REJECT
    assert state.look_up("b", 1.5 + COOLDOWN) is Next.FETCH
    fetched(state, A, B, now=1.5 + COOLDOWN)
    assert "b" not in state.unknown


def test_an_unknown_kid_is_not_rejected_longer_because_others_start_the_fetches() -> None:
    state = state_with(A)
    state.look_up("b", 1.0)
    fetched(state, A, now=1.5)
    assert state.look_up("x", 1.0 + COOLDOWN) is Next.FETCH
    state.start(1.0 + COOLDOWN)
    state.fail(1.1 + COOLDOWN)
    assert state.look_up("b", 1.5 + COOLDOWN) is Next.LATER


def test_an_answer_without_an_unknown_kid_rejects_it_again() -> None:
    state = state_with(A)
    state.look_up("x", 1.0)
    fetched(state, A, now=1.5)
    assert state.look_up("y", 1.0 + COOLDOWN) is Next.FETCH
    state.start(1.0 + COOLDOWN)
    state.succeed(public_set([A]), 2.0 + COOLDOWN)
    assert state.look_up("x", 2.0 + 2 * COOLDOWN - 0.1) is Next.REJECT
    assert state.look_up("x", 2.0 + 2 * COOLDOWN) is Next.FETCH
    fetched(state, A, now=5 * COOLDOWN)
    assert set(state.unknown) == {"x"}


def test_unknown_kids_are_forgotten_when_the_keys_change() -> None:
    state = state_with(A)
    state.look_up("b", 1.0)
    fetched(state, A, now=1.0)
    assert state.look_up("b", 2.0) is Next.REJECT
    fetched(state, A, now=20.0)
    assert state.look_up("b", 21.0) is Next.REJECT
    fetched(state, A, C, now=40.0)
    assert state.look_up("b", 40.0) is Next.FETCH


def test_a_token_without_kid_is_not_given_up_by_an_answer_with_new_keys() -> None:
    state = state_with(A)
    assert state.look_up("", 1.0) is Next.FETCH
    fetched(state, B, now=1.0)
    assert "" not in state.unknown
    assert state.look_up("", 40.0) is Next.FETCH
    fetched(state, B, now=40.0)
    assert state.look_up("", 60.0) is Next.REJECT


def test_a_failed_fetch_gives_up_no_kid() -> None:
    state = state_with(A)
    assert state.look_up("b", 1.0) is Next.FETCH
    state.start(1.0)
    state.fail(2.0)
    assert state.look_up("b", 2.5) is Next.LATER
    assert state.look_up("b", 1.0 + COOLDOWN) is Next.FETCH


def test_unknown_kids_are_bounded() -> None:
    state = state_with(A)
    for number in range(3 * MAX_KIDS):
        state.look_up(f"x{number}", 1.0)
    assert len(state.wanted) == MAX_KIDS
    fetched(state, A, now=1.0)
    assert len(state.unknown) == MAX_KIDS
    for number in range(MAX_KIDS):
        state.look_up(f"y{number}", 1.0)
    fetched(state, A, now=DUE)
    assert len(state.unknown) == MAX_KIDS


def test_a_fetch_that_never_ends_is_lost() -> None:
    state = RemoteState()
    first = state.start(0.0)
    assert not state.is_due(LOST - 0.1)
    assert state.is_due(LOST)
    assert state.start(LOST) == first + 1


def test_another_key_under_a_known_kid_is_ignored_for_a_day() -> None:
    state = state_with(A, B)
    other = with_kid(C, "a")
    keys, exchanged = fetched(state, other, B, now=DUE)
    assert exchanged == ["a"]
    assert keys.get("a").thumbprint() == A.thumbprint()
    assert keys.get("b").thumbprint() == B.thumbprint()
    keys, exchanged = fetched(state, other, B, now=DUE + KEPT - 1)
    assert (exchanged, keys.get("a").thumbprint()) == (["a"], A.thumbprint())
    keys, exchanged = fetched(state, other, B, now=DUE + KEPT)
    assert (exchanged, keys.get("a").thumbprint()) == ([], C.thumbprint())


def test_a_kid_that_was_gone_can_come_back_with_another_key() -> None:
    state = state_with(A, B)
    fetched(state, B, now=1.0)
    keys, exchanged = fetched(state, B, with_kid(C, "a"), now=2.0)
    assert (exchanged, keys.get("a").thumbprint()) == ([], C.thumbprint())


def test_a_removed_key_is_removed() -> None:
    state = state_with(A, B)
    keys, _ = fetched(state, B, now=1.0)
    assert keys.get("a") is None


@given(st.lists(st.tuples(st.sampled_from(["look", "good", "bad", "wait"]), st.integers(0, 30)), max_size=60))
def test_unknown_kids_never_start_two_fetches_within_the_cooldown(steps) -> None:
    state, now, started = state_with(A), 1.0, []
    for step, number in steps:
        if step == "look" and state.look_up(f"x{number}", now) is Next.FETCH:
            assert not state.is_fetching(now)
            started.append(now)
            state.start(now)
        elif step == "good" and state.is_fetching(now):
            state.succeed(public_set([A]), now)
        elif step == "bad" and state.is_fetching(now):
            state.fail(now)
        elif step == "wait":
            now += number
    assert all(later - earlier >= COOLDOWN for earlier, later in pairwise(started))


@pytest.mark.parametrize("age", [0.0, KEPT - 0.1])
def test_a_good_answer_ends_the_failures(age: float) -> None:
    state = state_with(A)
    state.start(age)
    state.fail(age)
    fetched(state, B, now=age + 1)
    assert (state.failures, state.may_fetch(age + 1)) == (0, True)
