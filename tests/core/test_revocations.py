"""Revocations last until no token can match them."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkey import ConfigError, Identity
from roomkey.core import revocations as module
from roomkey.core.revocations import FOREVER, LONGEST_LIFETIME, SLOT, Revocation, Revocations

NAMES = st.sampled_from(["a", "b", "c"])
TIMES = st.integers(0, 100)
ORDERS = st.lists(
    st.tuples(st.sampled_from(["token_id", "session_id", "subject"]), NAMES, TIMES, st.none() | TIMES), max_size=12
)


@given(
    ORDERS,
    st.lists(st.tuples(NAMES, st.none() | NAMES, st.none() | NAMES, st.none() | TIMES), min_size=1, max_size=8),
)
def test_revocations_match_a_model(orders, identities):
    """The model keeps all revocations; nothing becomes valid again between ``exp`` and ``exp`` plus margin."""
    revocations = Revocations(margin=10)
    model = []
    new = 0
    clock = count(100)
    for kind, name, expires, before in orders:
        now = next(clock)
        until = now + expires
        options = {"issued_before": min(before, now)} if kind == "subject" and before is not None else {}
        new += revocations.add(Revocation.of(**{kind: name}, expires_at=until, now=now, **options), now)
        model.append((kind, name, until, options.get("issued_before", now)))
    now = next(clock)
    revocations.forget_expired(now)
    assert revocations.epoch == new <= len(orders)
    for subject, token_id, session_id, issued_at in identities:
        who = Identity(subject, token_id=token_id, session_id=session_id, issued_at=issued_at)
        must = any(
            (kind == "token_id" and name == token_id)
            or (kind == "session_id" and name == session_id)
            or (kind == "subject" and name == subject and (issued_at or 0) <= before)
            for kind, name, until, before in model
            if now < until + 10
        )
        if must:
            assert revocations.is_revoked(who)
        if revocations.is_revoked(who):
            assert {("token_id", token_id), ("session_id", session_id), ("subject", subject)} & {
                (kind, name) for kind, name, _, _ in model
            }


def test_token_of_the_same_second_is_revoked():
    revocations = Revocations()
    revocations.add(Revocation.of(subject="ada", now=100.2), 100.2)
    assert revocations.is_revoked(Identity("ada", issued_at=100.9))
    assert revocations.is_revoked(Identity("ada", issued_at=99))
    assert revocations.is_revoked(Identity("ada"))
    assert not revocations.is_revoked(Identity("ada", issued_at=101))
    assert not revocations.is_revoked(Identity("eve", issued_at=99))


def test_names_of_different_kinds_are_independent():
    revocations = Revocations()
    revocations.add(Revocation.of(token_id="x", now=1), 1)
    assert not revocations.is_revoked(Identity("x"))
    assert not revocations.is_revoked(Identity("a", session_id="x"))
    assert not revocations.is_revoked(Identity("a"))
    assert revocations.is_revoked(Identity("a", token_id="x"))


def test_revocation_is_kept_until_expiry_and_margin():
    revocations = Revocations()
    revocations.add(Revocation.of(token_id="t", expires_at=1000, now=900), 900)
    revocations.add(Revocation.of(session_id="s", expires_at=1000, now=900), 900)
    revocations.add(Revocation.of(subject="ada", expires_at=1000, now=900), 900)
    revocations.add(Revocation.of(token_id="for ever", expires_at=FOREVER, now=900), 900)
    who = Identity("ada", token_id="t", session_id="s")
    revocations.forget_expired(1000 + 3599)
    assert revocations.is_revoked(who)
    revocations.forget_expired(1000 + 3600 + 2 * SLOT)
    assert not revocations.is_revoked(who)
    revocations.forget_expired(10**12)
    assert revocations.is_revoked(Identity("eve", token_id="for ever"))


def test_second_revocation_never_shortens_the_first():
    revocations = Revocations(margin=0)
    revocations.add(Revocation.of(token_id="t", expires_at=1000, now=900), 900)
    revocations.add(Revocation.of(token_id="t", expires_at=950, now=900), 900)
    revocations.add(Revocation.of(subject="ada", issued_before=890, expires_at=1000, now=900), 900)
    revocations.add(Revocation.of(subject="ada", issued_before=800, expires_at=950, now=900), 900)
    revocations.forget_expired(999)
    assert revocations.is_revoked(Identity("x", token_id="t"))
    assert revocations.is_revoked(Identity("ada", issued_at=890))


@pytest.mark.parametrize(
    "names",
    [
        {},
        {"token_id": "t", "subject": "ada"},
        {"token_id": "t", "session_id": "s", "subject": "ada"},
        {"token_id": "t", "issued_before": 5},
        {"subject": "ada", "issued_before": 101},
    ],
)
def test_revocation_requires_one_name_and_no_future_time(names):
    revocations = Revocations()
    with pytest.raises(ConfigError):
        revocations.add(Revocation.of(**names, now=100), 100)
    assert revocations.epoch == 0


def test_many_revocations_are_cheap_and_expire():
    revocations = Revocations(margin=0)
    for number in range(100_000):
        revocations.add(Revocation.of(token_id=f"t{number}", expires_at=number + 50, now=number), number)
    assert len(revocations) <= 51 + 2 * SLOT
    revocations.forget_expired(200_000)
    assert len(revocations) == 0
    assert not revocations._slots


def test_revocation_can_name_an_issuer():
    revocations = Revocations()
    revocations.add(Revocation.of(token_id="t", issuer="a", now=1), 1)
    revocations.add(Revocation.of(subject="ada", issuer="a", now=1), 1)
    assert revocations.is_revoked(Identity("eve", token_id="t", issuer="a"))
    assert revocations.is_revoked(Identity("ada", issuer="a"))
    for other in ("b", None):
        assert not revocations.is_revoked(Identity("ada", token_id="t", issuer=other, issued_at=1))


@given(
    st.lists(st.tuples(st.sampled_from(["token_id", "session_id", "subject"]), NAMES, st.none() | NAMES), max_size=6),
    st.tuples(NAMES, st.none() | NAMES, st.none() | NAMES, st.none() | TIMES, st.none() | NAMES),
)
def test_revocation_and_revocations_decide_alike(orders, holder):
    subject, token_id, session_id, issued_at, issuer = holder
    who = Identity(subject, token_id=token_id, session_id=session_id, issued_at=issued_at, issuer=issuer)
    revoked = [Revocation.of(**{kind: name}, issuer=issuer, now=50.5) for kind, name, issuer in orders]
    together = Revocations()
    for one in revoked:
        together.add(one, 50.5)
    assert together.is_revoked(who) == any(one.ends(who) for one in revoked)


@pytest.mark.parametrize("names", [{"token_id": "t"}, {"session_id": "s"}, {"subject": "ada"}], ids=str)
def test_default_expiry_is_the_longest_lifetime(names):
    revocations = Revocations(margin=0)
    revocations.add(Revocation.of(**names, now=900), 900)
    who = Identity("ada", token_id="t", session_id="s", issued_at=1)
    revocations.forget_expired(900 + LONGEST_LIFETIME - 1)
    assert revocations.is_revoked(who)
    revocations.forget_expired(900 + LONGEST_LIFETIME + 2 * SLOT)
    assert not revocations.is_revoked(who)


def test_limit_drops_the_revocations_that_expire_first(monkeypatch):
    monkeypatch.setattr(module, "MAX_REVOCATIONS", 10)
    revocations = Revocations()
    for number, expires_at in enumerate([FOREVER, 500, *range(1000, 3000, 100)]):
        revocations.add(Revocation.of(token_id=f"t{number}", expires_at=expires_at, now=0), 0)
        assert len(revocations) <= 10
    assert revocations.lost == 12
    assert revocations.is_revoked(Identity("x", token_id="t0"))
    assert not revocations.is_revoked(Identity("x", token_id="t1"))
    assert revocations.is_revoked(Identity("x", token_id="t21"))


def test_repeated_revocation_uses_no_more_memory():
    revocations = Revocations()
    for now in range(0, 100_000, 100):
        revocations.add(Revocation.of(subject="ada", now=now), now)
        revocations.add(Revocation.of(token_id="t", now=now), now)
    assert len(revocations) == sum(map(len, revocations._slots.values())) == 2
