"""The memory of used proofs: each proof once, within bounds, and never forgotten too early."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from roomkey import DPoP, Identity
from roomkey.core.dpop import WINDOW, Proof
from roomkey.core.used_proofs import LIFETIME, UsedProofs
from roomkey.errors import AuthError, InvalidProof, LimitExceeded, Unavailable

URL = "https://chat.example/socket.io/"
ADA, EVE = Identity("ada"), Identity("eve")
MOST, EACH = 6, 4


def used() -> UsedProofs:
    return UsedProofs(DPoP(URL, max_proofs=MOST, max_proofs_per_subject=EACH))


def test_proof_is_used_once():
    proofs = used()
    proofs.use(Proof("key", "one", 0), ADA, 0)
    with pytest.raises(InvalidProof, match="used before"):
        proofs.use(Proof("key", "one", 30), ADA, LIFETIME)


def test_another_key_can_use_the_same_id():
    proofs = used()
    proofs.use(Proof("key", "one", 0), ADA, 0)
    proofs.use(Proof("other", "one", 0), EVE, 0)
    assert len(proofs) == 2


def test_subject_fills_only_its_own_part():
    proofs = used()
    for number in range(EACH):
        proofs.use(Proof("key", str(number), 0), ADA, 0)
    with pytest.raises(LimitExceeded) as raised:
        proofs.use(Proof("key", "next", 0), ADA, 0)
    assert raised.value.to_client()["limit"] == "proofs"
    proofs.use(Proof("key", "one", 0), EVE, 0)
    proofs.use(Proof("key", "next", LIFETIME), ADA, LIFETIME + 1)
    assert len(proofs) == 1


def test_full_memory_refuses_and_forgets_nothing():
    proofs = used()
    for number in range(MOST):
        proofs.use(Proof("key", str(number), 0), Identity(f"user{number}"), 0)
    with pytest.raises(Unavailable):
        proofs.use(Proof("key", "next", 0), ADA, LIFETIME)
    with pytest.raises(InvalidProof):
        proofs.use(Proof("key", "0", 0), ADA, LIFETIME)
    proofs.use(Proof("key", "next", LIFETIME), ADA, LIFETIME + 1)


def test_proof_that_was_forgotten_stays_used_when_the_clock_is_set_back():
    proofs = used()
    proofs.use(Proof("key", "one", 100), ADA, 100)
    proofs.use(Proof("key", "two", 300), ADA, 300)
    with pytest.raises(InvalidProof):
        proofs.use(Proof("key", "one", 100), ADA, 301)


class Replays(RuleBasedStateMachine):
    """Clients use proofs while the time passes and is set back: no proof is ever accepted twice."""

    def __init__(self) -> None:
        super().__init__()
        self.proofs = used()
        self.now = self.monotonic = 1000.0
        self.accepted: dict[tuple[str, str, float], float] = {}

    @rule(seconds=st.sampled_from([0.0, 1.0, WINDOW, LIFETIME, LIFETIME + 1]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.monotonic += seconds

    @rule(seconds=st.sampled_from([-LIFETIME, -WINDOW, -1.0, 1.0, LIFETIME]))
    def set_clock(self, seconds: float) -> None:
        self.now = max(200.0, self.now + seconds)

    @rule(
        key=st.sampled_from(["k1", "k2"]),
        name=st.sampled_from("abcdef"),
        age=st.sampled_from([-WINDOW, -1.0, 0.0, 1.0, WINDOW]),
        who=st.sampled_from(["ada", "eve", "bob"]),
    )
    def use(self, key: str, name: str, age: float, who: str) -> None:
        self.present((key, name, self.now - age), who)

    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        valid = [proof for proof in self.accepted if abs(self.now - proof[2]) <= WINDOW]
        if valid:
            self.present(data.draw(st.sampled_from(valid)), "ada")

    def present(self, proof: tuple[str, str, float], who: str) -> None:
        recent = [at for at in self.accepted.values() if at >= self.monotonic - LIFETIME]
        try:
            self.proofs.use(Proof(*proof), Identity(who), self.monotonic)
        except Unavailable:
            assert len(recent) >= MOST
        except LimitExceeded:
            assert len(recent) >= EACH
        except AuthError:
            pass
        else:
            assert proof not in self.accepted
            self.accepted[proof] = self.monotonic
        assert len(self.proofs) <= MOST


TestReplays = Replays.TestCase
