"""Wrong passwords are slowed down, and nobody is locked out by a stranger."""

from __future__ import annotations

import pytest

from roomkey.auth.throttle import FREE_FOR_ADDRESS, FREE_FOR_PAIR, LONGEST, MOST, Throttle, Throttled

HOME, ELSEWHERE = "192.0.2.1", "198.51.100.7"


def fail(throttle: Throttle, username: str, address: str, now: float) -> None:
    throttle.check(username, address, now)
    throttle.begin(username, address, now)


def waits(throttle: Throttle, username: str, address: str, now: float) -> int:
    try:
        throttle.check(username, address, now)
    except Throttled as error:
        return error.retry_after
    return 0


def test_g95_delays_grow_and_have_an_end():
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


def test_g95_ten_thousand_guesses_from_elsewhere_lock_nobody_out():
    throttle, guesses, now = Throttle(), 0, 0.0
    for _ in range(10_000):
        now += 0.01
        if not waits(throttle, "ada", ELSEWHERE, now):
            throttle.begin("ada", ELSEWHERE, now)
            guesses += 1
    assert guesses < FREE_FOR_PAIR + 10
    assert waits(throttle, "ada", HOME, now) == 0


def test_g95_one_address_that_sprays_accounts_is_slowed_down():
    throttle, tried = Throttle(), 0
    for number in range(1000):
        if not waits(throttle, f"user{number}", ELSEWHERE, 0.0):
            throttle.begin(f"user{number}", ELSEWHERE, 0.0)
            tried += 1
    assert tried == FREE_FOR_ADDRESS


def test_the_networks_of_ipv6_count_as_one_place():
    throttle = Throttle()
    for number in range(FREE_FOR_PAIR):
        fail(throttle, "ada", f"2001:db8::{number + 1:x}", 0.0)
    assert waits(throttle, "ada", "2001:db8::ffff", 0.0)
    assert not waits(throttle, "ada", "2001:db8:0:1::1", 0.0)


def test_success_forgets_the_accounts_failures():
    throttle = Throttle()
    for _ in range(FREE_FOR_PAIR - 1):
        fail(throttle, "ada", HOME, 0.0)
    fail(throttle, "ada", HOME, 0.0)
    throttle.succeeded("ada", HOME)
    assert not waits(throttle, "ada", HOME, 0.0)


def test_a_right_password_of_one_account_does_not_free_an_address_for_guesses_at_others():
    throttle, tried = Throttle(), 0
    for number in range(1000):
        if not waits(throttle, f"user{number}", ELSEWHERE, 0.0):
            throttle.begin(f"user{number}", ELSEWHERE, 0.0)
            tried += 1
        if not waits(throttle, "mallory", ELSEWHERE, 0.0):
            throttle.begin("mallory", ELSEWHERE, 0.0)
            throttle.succeeded("mallory", ELSEWHERE)
    assert tried == FREE_FOR_ADDRESS


def test_many_at_once_are_no_way_around():
    throttle, looked_at = Throttle(), 0
    for _ in range(50):  # all are begun before one is done
        if not waits(throttle, "ada", HOME, 0.0):
            throttle.begin("ada", HOME, 0.0)
            looked_at += 1
    assert looked_at == FREE_FOR_PAIR


@pytest.mark.parametrize("address", ["", "unknown", "[::1]"])
def test_addresses_of_no_known_form(address):
    throttle = Throttle()
    for _ in range(FREE_FOR_PAIR):
        fail(throttle, "ada", address, 0.0)
    assert waits(throttle, "ada", address, 0.0)


def test_memory_is_bounded():
    throttle = Throttle()
    for number in range(MOST + 1000):
        throttle.begin(f"user{number}", HOME, 0.0)
    assert len(throttle._failures) <= MOST


def test_g95_each_way_to_write_a_name_has_no_attempts_of_its_own():
    throttle = Throttle()
    for name in ("ada", "Ada", "aDa", "adA", "ADA"):
        fail(throttle, name, HOME, 0.0)
    assert waits(throttle, "AdA", HOME, 0.0)


def test_an_attempt_that_was_not_looked_at_does_not_count():
    throttle = Throttle()
    for _ in range(100):
        fail(throttle, "ada", HOME, 0.0)
        throttle.withdraw("ada", HOME)
    assert not waits(throttle, "ada", HOME, 0.0)
    throttle.withdraw("grace", HOME)  # as it was forgotten meanwhile


def test_clients_of_ipv4_are_told_apart_by_a_listener_for_both():
    throttle = Throttle()
    for _ in range(FREE_FOR_PAIR):
        fail(throttle, "ada", "::ffff:192.0.2.1", 0.0)
    assert waits(throttle, "ada", HOME, 0.0)
    assert not waits(throttle, "ada", "::ffff:198.51.100.7", 0.0)
