"""Wrong passwords cause delays, and an attacker cannot lock out a user."""

from __future__ import annotations

import pytest

from roomkey.auth import Throttled
from roomkey.auth.throttle import (
    FIRST_OF_MANY,
    FREE_FOR_ACCOUNT,
    FREE_FOR_ADDRESS,
    FREE_FOR_PAIR,
    LONGEST,
    RESERVE,
    RESERVE_SECONDS,
    Throttle,
)

HOME, ELSEWHERE = "192.0.2.1", "198.51.100.7"


def fail(throttle: Throttle, username: str, address: str, now: float) -> None:
    throttle.check(username, address, now)
    wrong(throttle, username, address, now)


def wrong(throttle: Throttle, username: str, address: str, now: float) -> None:
    throttle.begin(username, address, now)
    throttle.failed(username, address, now)


def right(throttle: Throttle, username: str, address: str, now: float) -> None:
    throttle.check(username, address, now)
    throttle.begin(username, address, now)
    throttle.succeeded(username, address)


def waits(throttle: Throttle, username: str, address: str, now: float) -> int:
    try:
        throttle.check(username, address, now)
    except Throttled as error:
        return error.retry_after
    return 0


@pytest.mark.checklist("G95")
def test_throttle_delays_grow_up_to_a_limit():
    throttle, now, seen = Throttle(), 0.0, []
    for _ in range(FREE_FOR_PAIR):
        fail(throttle, "ada", HOME, now)
    for _ in range(12):
        wait = waits(throttle, "ada", HOME, now)
        seen.append(wait)
        now += wait
        fail(throttle, "ada", HOME, now)
    assert seen == sorted(seen)
    assert seen[0] == 2
    assert seen[-1] == LONGEST + 1
    assert waits(throttle, "ada", HOME, now + 2 * LONGEST + 1) == 0


@pytest.mark.checklist("G95")
def test_ten_thousand_guesses_from_elsewhere_do_not_lock_out_the_user():
    throttle, guesses, now = Throttle(), 0, 0.0
    for _ in range(10_000):
        now += 0.01
        if not waits(throttle, "ada", ELSEWHERE, now):
            wrong(throttle, "ada", ELSEWHERE, now)
            guesses += 1
    assert guesses < FREE_FOR_PAIR + 10
    assert waits(throttle, "ada", HOME, now) == 0


@pytest.mark.checklist("G95")
def test_throttle_slows_an_address_that_tries_many_accounts():
    throttle, tried = Throttle(), 0
    for number in range(1000):
        if not waits(throttle, f"user{number}", ELSEWHERE, 0.0):
            wrong(throttle, f"user{number}", ELSEWHERE, 0.0)
            tried += 1
    assert tried == FREE_FOR_ADDRESS + RESERVE
    assert waits(throttle, "ada", ELSEWHERE, 0.0) == RESERVE_SECONDS + 1
    assert waits(throttle, "ada", ELSEWHERE, RESERVE_SECONDS) == 0


@pytest.mark.parametrize("attack", ["fails now and then", "is slowed down"])
def test_failing_neighbor_does_not_lock_out_others(attack):
    throttle, now = Throttle(), 0.0
    for _ in range(100):
        now += 300 if attack == "fails now and then" else 61
        if not waits(throttle, "mallory", HOME, now):
            wrong(throttle, "mallory", HOME, now)
        right(throttle, "ada", HOME, now)
        right(throttle, "grace", HOME, now)


def test_right_passwords_use_no_reserve_and_make_the_address_known():
    throttle = Throttle()
    right(throttle, "ada", HOME, 0.0)
    for number in range(FREE_FOR_ADDRESS):
        fail(throttle, f"user{number}", HOME, 0.0)
    for number in range(50):
        right(throttle, f"colleague{number}", HOME, 0.0)
    for number in range(int(RESERVE)):
        fail(throttle, f"other{number}", HOME, 0.0)
    assert waits(throttle, "eve", HOME, 0.0)
    right(throttle, "ada", HOME, 0.0)


def test_many_addresses_have_one_attempt_each_and_the_owner_has_one_too():
    throttle, tried = Throttle(), 0
    right(throttle, "ada", HOME, 0.0)
    for number in range(1000):
        for _ in range(10):
            if not waits(throttle, "ada", f"198.51.{number // 250}.{number % 250}", 0.0):
                wrong(throttle, "ada", f"198.51.{number // 250}.{number % 250}", 0.0)
                tried += 1
    assert tried <= FREE_FOR_ACCOUNT + 1000
    fail(throttle, "ada", "203.0.113.9", 0.0)
    assert waits(throttle, "ada", "203.0.113.9", 0.0) == FIRST_OF_MANY + 1
    right(throttle, "ada", "203.0.113.10", 0.0)
    for _ in range(FREE_FOR_PAIR - 1):  # a few mistakes at home have no effect
        fail(throttle, "ada", HOME, 0.0)
    right(throttle, "ada", HOME, 0.0)


def test_ipv6_network_counts_as_one_address():
    throttle = Throttle()
    for number in range(FREE_FOR_PAIR):
        fail(throttle, "ada", f"2001:db8::{number + 1:x}", 0.0)
    assert waits(throttle, "ada", "2001:db8::ffff", 0.0)
    assert not waits(throttle, "ada", "2001:db8:0:1::1", 0.0)


def test_success_resets_the_failures_of_the_account():
    throttle = Throttle()
    for _ in range(FREE_FOR_PAIR - 1):
        fail(throttle, "ada", HOME, 0.0)
    throttle.begin("ada", HOME, 0.0)
    throttle.succeeded("ada", HOME)
    fail(throttle, "ada", HOME, 0.0)
    assert not waits(throttle, "ada", HOME, 0.0)


def test_right_password_of_one_account_does_not_allow_guesses_at_others():
    throttle, tried = Throttle(), 0
    for number in range(1000):
        if not waits(throttle, f"user{number}", ELSEWHERE, 0.0):
            wrong(throttle, f"user{number}", ELSEWHERE, 0.0)
            tried += 1
        if not waits(throttle, "mallory", ELSEWHERE, 0.0):
            throttle.begin("mallory", ELSEWHERE, 0.0)
            throttle.succeeded("mallory", ELSEWHERE)
    assert tried == FREE_FOR_ADDRESS + RESERVE


@pytest.mark.parametrize("failures", [0, FREE_FOR_PAIR])
def test_concurrent_attempts_do_not_avoid_the_throttle(failures):
    """Attempts that could be too many wait until the others are decided."""
    throttle, now, looked_at = Throttle(), 0.0, 0
    for _ in range(failures):
        fail(throttle, "ada", HOME, now)
    now += 2 if failures else 0
    for _ in range(50):  # all start before one ends
        if not throttle.is_undecided("ada", HOME, now) and not waits(throttle, "ada", HOME, now):
            throttle.begin("ada", HOME, now)
            looked_at += 1
    assert looked_at == (1 if failures else FREE_FOR_PAIR)
    for _ in range(looked_at):
        throttle.failed("ada", HOME, now)
    assert not throttle.is_undecided("ada", HOME, now)
    assert waits(throttle, "ada", HOME, now)


def test_concurrent_right_attempts_all_succeed():
    throttle = Throttle()
    for _ in range(FREE_FOR_PAIR):
        throttle.begin("ada", HOME, 0.0)
    assert throttle.is_undecided("ada", HOME, 0.0)
    throttle.succeeded("ada", HOME)
    assert not throttle.is_undecided("ada", HOME, 0.0)


@pytest.mark.parametrize("address", ["", "unknown", "[::1]"])
def test_addresses_of_unknown_form_are_counted(address):
    throttle = Throttle()
    for _ in range(FREE_FOR_PAIR):
        fail(throttle, "ada", address, 0.0)
    assert waits(throttle, "ada", address, 0.0)


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr("roomkey.auth.throttle.MAX_ENTRIES", 100)
    throttle = Throttle()
    for number in range(300):
        wrong(throttle, f"user{number}" * 1000, HOME, 0.0)
        throttle.begin(f"good{number}", HOME, 0.0)
        throttle.succeeded(f"good{number}", HOME)
    assert len(throttle._failures) <= 100
    assert len(throttle._known) <= 100
    assert {len(key) for key in throttle._failures} == {16}


@pytest.mark.checklist("G95")
def test_throttle_counts_all_spellings_of_a_name_together():
    throttle = Throttle()
    for name in ("ada", "Ada", "aDa", "adA", "ADA"):
        fail(throttle, name, HOME, 0.0)
    assert waits(throttle, "AdA", HOME, 0.0)


def test_undecided_attempt_does_not_count():
    throttle = Throttle()
    for _ in range(100):
        throttle.check("ada", HOME, 0.0)
        throttle.begin("ada", HOME, 0.0)
        throttle.withdraw("ada", HOME)
    assert not waits(throttle, "ada", HOME, 0.0)
    throttle.withdraw("grace", HOME)  # it was deleted meanwhile


def test_ipv4_clients_of_a_dual_stack_listener_are_told_apart():
    throttle = Throttle()
    for _ in range(FREE_FOR_PAIR):
        fail(throttle, "ada", "::ffff:192.0.2.1", 0.0)
    assert waits(throttle, "ada", HOME, 0.0)
    assert not waits(throttle, "ada", "::ffff:198.51.100.7", 0.0)
