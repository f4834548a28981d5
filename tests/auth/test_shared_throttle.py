"""An attacker who spreads attempts over several nodes gets no more of them than on one node, but for a small slack."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from roomkey.auth import Throttled, shared_throttle
from roomkey.auth.shared_throttle import SharedThrottles
from roomkey.auth.throttle import FREE_FOR_ADDRESS, FREE_FOR_PAIR, LONGEST, RESERVE, Throttle, Throttles, keys_of

HOME, ELSEWHERE = "192.0.2.1", "198.51.100.7"
SECRET = b"a key that all nodes have"
HOURS = 6 * 3600


class Nodes:
    """Throttles that learn of each other's results when the test says so."""

    def __init__(self, count: int) -> None:
        self.throttles = [Throttle() for _ in range(count)]
        self.under_way: list[tuple[int, bool, tuple[bytes, bytes, bytes]]] = []
        for number, throttle in enumerate(self.throttles):
            throttle.tell = lambda right, keys, number=number: self.under_way.append((number, right, keys))

    def deliver(self, now: float) -> None:
        for sender, right, keys in self.under_way:
            for number, throttle in enumerate(self.throttles):
                if number != sender:
                    throttle.learn(right, keys, now)
        self.under_way.clear()

    def guess(self, node: int, username: str, address: str, now: float) -> bool:
        """Guess wrong; return False if the node did not look at the password."""
        throttle = self.throttles[node]
        try:
            throttle.check(username, address, now)
        except Throttled:
            return False
        throttle.begin(username, address, now)
        throttle.failed(username, address, now)
        return True


def attack(count: int, names: Callable[[int], str], *, every: int = 1, seconds: int = HOURS) -> int:
    """Ask all nodes at the same moments, before they learn of each other's results; return the number of guesses."""
    nodes, guesses = Nodes(count), 0
    for now in range(0, seconds, every):
        for node in range(count):
            while nodes.guess(node, names(guesses), ELSEWHERE, float(now)):
                guesses += 1
        nodes.deliver(float(now))
    return guesses


@pytest.mark.checklist("G95")
@pytest.mark.parametrize("every", [1, 7, 301, 601])
def test_four_nodes_allow_no_more_guesses_at_an_account_than_one(every):
    """Whatever the pace of the attacker. The slack is one more burst of free attempts on each further node."""
    fastest = max(attack(1, lambda _: "ada", every=pace) for pace in (1, 7, 301, 601))
    assert attack(4, lambda _: "ada", every=every) <= fastest + 3 * FREE_FOR_PAIR


@pytest.mark.checklist("G95")
@pytest.mark.parametrize("every", [1, 61, 601])
def test_four_nodes_allow_no_more_guesses_from_an_address_than_one(every):
    fastest = max(attack(1, lambda number: f"user{number}", every=pace) for pace in (1, 61, 601))
    slack = 3 * (FREE_FOR_ADDRESS + int(RESERVE))
    assert attack(4, lambda number: f"user{number}", every=every) <= fastest + slack


@pytest.mark.checklist("G95")
def test_failures_on_one_node_delay_attempts_on_another():
    nodes = Nodes(2)
    for _ in range(FREE_FOR_PAIR):
        assert nodes.guess(0, "ada", ELSEWHERE, 0.0)
        nodes.deliver(0.0)
    assert not nodes.guess(1, "ada", ELSEWHERE, 0.0)
    assert nodes.guess(1, "ada", HOME, 0.0)
    assert nodes.guess(1, "ada", ELSEWHERE, 1.0)


def test_login_on_one_node_makes_the_address_known_on_the_others():
    nodes = Nodes(2)
    for _ in range(FREE_FOR_PAIR - 1):
        nodes.guess(0, "ada", HOME, 0.0)
    nodes.throttles[0].begin("ada", HOME, 0.0)
    nodes.throttles[0].succeeded("ada", HOME)
    for number in range(FREE_FOR_ADDRESS):
        nodes.guess(0, f"user{number}", HOME, 0.0)
    nodes.deliver(0.0)
    for _ in range(FREE_FOR_PAIR):
        assert nodes.guess(1, "ada", HOME, 0.0)


def test_user_whose_account_was_attacked_on_all_nodes_waits_a_limited_time():
    nodes = Nodes(4)
    for node in range(4):
        while nodes.guess(node, "ada", HOME, 0.0):
            pass
    nodes.deliver(0.0)
    early = 4 * FREE_FOR_PAIR - FREE_FOR_PAIR
    for node in range(4):
        assert nodes.guess(node, "ada", HOME, 2 * LONGEST * (1 + early / FREE_FOR_PAIR) + 1)


async def test_results_are_sent_together():
    sent: list[bytes] = []
    here, there = Throttles.create(), Throttles.create()
    sharing = SharedThrottles(here, sent.append, secret=SECRET, clock=lambda: 0.0)
    other = SharedThrottles(there, sent.append, secret=SECRET, clock=lambda: 0.0)
    for _ in range(FREE_FOR_PAIR):
        here.clients.begin("ada", HOME, 0.0)
        here.clients.failed("ada", HOME, 0.0)
    assert sent == []
    await asyncio.sleep(2 * shared_throttle.BATCH_SECONDS)
    [message] = sent
    assert b"ada" not in message
    other.learn(message)
    with pytest.raises(Throttled):
        there.clients.check("ada", HOME, 0.0)
    there.passwords.check("ada", HOME, 0.0)
    sharing.flush()
    assert len(sent) == 1


@pytest.mark.parametrize("secret", [b"", b"another key"], ids=["none", "another"])
async def test_names_and_addresses_cannot_be_guessed_without_the_key(secret):
    sent: list[bytes] = []
    here = Throttles.create()
    sharing = SharedThrottles(here, sent.append, secret=SECRET)
    here.passwords.begin("ada", HOME, 0.0)
    here.passwords.failed("ada", HOME, 0.0)
    sharing.flush()
    assert all(key in sent[0] for key in keys_of("ada", HOME, SECRET))
    assert not any(key in sent[0] for key in keys_of("ada", HOME, secret))


async def test_flood_of_results_is_sent_in_parts(monkeypatch):
    monkeypatch.setattr(shared_throttle, "MAX_BATCH", 10)
    sent: list[bytes] = []
    here, there = Throttles.create(), Throttles.create()
    SharedThrottles(here, sent.append, secret=SECRET)
    for number in range(25):
        here.passwords.begin(f"user{number}", HOME, 0.0)
        here.passwords.failed(f"user{number}", HOME, 0.0)
    assert len(sent) == 2
    other = SharedThrottles(there, sent.append, secret=SECRET)
    for message in sent:
        other.learn(message)
    assert len(there.passwords._failures) == 20 + 20 + 1


@pytest.mark.parametrize(
    "message", [b"x", bytes(49), bytes(51), b"\x03" + bytes(49), b"\x00\x02" + bytes(48), bytes(50 * 501)], ids=len
)
def test_messages_of_another_form_are_ignored(message):
    throttles = Throttles.create()
    sharing = SharedThrottles(throttles, lambda message: None, secret=SECRET)
    sharing.learn(message)
    assert not any(throttle._failures for throttle in throttles)
    sharing.learn(bytes(50))
    assert len(throttles.passwords._failures) == 1
