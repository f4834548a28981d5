"""The limit of rejected tokens per address; the time is an argument."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkey import errors
from roomkey.core import bad_tokens
from roomkey.core.bad_tokens import BadTokens, Verdict, counts_as_bad, key_of

WITHIN, FIRST_OVER, OVER = Verdict.WITHIN, Verdict.FIRST_OVER, Verdict.OVER


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (errors.MalformedToken(), True),
        (errors.BadSignature(), True),
        (errors.UnknownKey(), True),
        (errors.AlgorithmNotAllowed(), True),
        (errors.ClaimError("aud"), True),
        (errors.ClaimError("iss"), True),
        (errors.MissingClaim("sub"), True),
        (errors.TokenError("of the application's own verifier"), True),
        (errors.ExpiredToken("exp"), False),
        (errors.ImmatureToken("nbf"), False),
        (errors.ClaimError("iat", "issued in the future"), False),
        (errors.RevokedToken(), False),
        (errors.SubjectMismatch(), False),
        (errors.CredentialsError(), False),
        (errors.InvalidProof(), False),
        (errors.Unavailable(), False),
        (errors.LimitExceeded("sockets"), False),
        (errors.PermissionDenied(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_tokens_that_were_never_valid_count(error, counts):
    assert counts_as_bad(error) is counts


def test_limit_allows_a_burst_and_then_its_rate():
    limit = BadTokens(6)
    assert [limit.count(b"a", 0.0) for _ in range(9)] == [WITHIN] * 6 + [FIRST_OVER, OVER, OVER]
    assert [limit.count(b"a", 10.0) for _ in range(2)] == [WITHIN, OVER]
    assert limit.count(b"b", 10.0) is WITHIN
    assert [limit.count(b"a", 1000.0) for _ in range(7)] == [WITHIN] * 6 + [FIRST_OVER]


def test_address_over_the_limit_is_reported_once_per_minute():
    limit = BadTokens(60)
    verdicts = [limit.count(b"a", tick / 10) for tick in range(3000)]  # for five minutes, ten per second
    assert verdicts.count(FIRST_OVER) == 5
    assert verdicts.count(WITHIN) == pytest.approx(60 + 300, abs=1)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.floats(0, 5)), max_size=300),
    st.integers(1, 20),
)
def test_nodes_that_know_of_each_other_answer_no_more_than_one(attempts, per_minute):
    nodes = [BadTokens(per_minute) for _ in range(4)]
    now, answered = 1000.0, 0
    for number, pause in attempts:
        now += pause
        if nodes[number].count(b"a", now) is WITHIN:
            answered += 1
            for other in nodes:
                if other is not nodes[number]:
                    other.learn(b"a", 1, now)
    assert answered <= per_minute + (now - 1000.0) / 60 * per_minute + 1e-6


@given(st.lists(st.integers(0, 30), min_size=1, max_size=30), st.integers(1, 20))
def test_tokens_that_nodes_learn_of_late_are_a_debt(rounds, per_minute):
    nodes = [BadTokens(per_minute) for _ in range(4)]
    now, answered = 0.0, 0
    for seconds in rounds:  # in each, all nodes are asked at the same moment, as often as they answer
        now += seconds
        counted = [0] * 4
        for number, node in enumerate(nodes):
            while node.count(b"a", now) is WITHIN:
                counted[number] += 1
        for number, node in enumerate(nodes):
            node.learn(b"a", sum(counted) - counted[number], now)
        answered += sum(counted)
    assert answered <= per_minute + now / 60 * per_minute + 3 * per_minute + 1e-6


def test_addresses_are_bounded(monkeypatch):
    monkeypatch.setattr(bad_tokens, "MAX_ADDRESSES", 3)
    limit = BadTokens(1)
    for key in (b"a", b"b", b"c", b"a", b"d"):
        limit.count(key, 0.0)
    assert len(limit) == 3
    assert limit.count(b"a", 0.0) is OVER
    assert limit.count(b"b", 0.0) is WITHIN


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
    ],
)
def test_ipv6_addresses_count_by_network(one, other, same):
    assert (key_of(one) == key_of(other)) is same
