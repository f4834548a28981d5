"""Limits for each subject: counted, and never leaked. The time is an argument."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkey import ConfigError, Identity
from roomkey.core.subject_limits import SubjectLimits, SubjectUsage, subject_hash
from roomkey.errors import LimitExceeded

ADA, EVE = Identity("ada", issuer="me"), Identity("eve", issuer="me")


def connections(use: SubjectUsage[str], who: Identity) -> tuple[str, ...]:
    return use.connections(use.name_of(who))


@pytest.mark.parametrize(
    "settings",
    [
        *({name: bad} for name in ("sockets", "joins", "events") for bad in (0, -1, 0.5, float("inf"), float("nan"))),
        {"when_full": "end_newest"},
    ],
    ids=str,
)
def test_limits_must_be_at_least_one_or_none(settings):
    with pytest.raises(ConfigError):
        SubjectLimits(**settings)


@pytest.mark.parametrize("when_full", ["refuse", "end_oldest"])
def test_connection_with_several_namespaces_counts_once(when_full):
    use = SubjectUsage(SubjectLimits(sockets=1, when_full=when_full))
    assert [use.connect(ADA, "one") for _ in range(3)] == [None] * 3
    for _ in range(2):
        use.leave(ADA, "one")
    assert connections(use, ADA) == ("one",)
    use.leave(ADA, "one")
    assert use._connections == {}


def test_connection_over_the_limit_is_refused():
    use = SubjectUsage(SubjectLimits(sockets=2))
    use.connect(ADA, "one")
    use.connect(ADA, "two")
    with pytest.raises(LimitExceeded) as caught:
        use.connect(ADA, "three")
    assert caught.value.to_client()["limit"] == "sockets"
    assert connections(use, ADA) == ("one", "two")
    assert use.connect(EVE, "three") is None


def test_connection_over_the_limit_ends_the_oldest():
    use = SubjectUsage(SubjectLimits(sockets=2, when_full="end_oldest"))
    assert [use.connect(ADA, name) for name in ("one", "two", "two", "three")] == [None, None, None, "one"]


def test_subjects_count_per_issuer_and_guests_do_not_count():
    use = SubjectUsage(SubjectLimits(sockets=1, joins=1))
    use.connect(ADA, "one")
    assert use.connect(Identity("ada", issuer="other"), "two") is None
    for number in range(3):
        assert use.connect(Identity.guest(), f"guest {number}") is None
        use.take(Identity.guest(), "joins", 0.0)
    assert connections(use, Identity.guest()) == ()


@pytest.mark.parametrize("what", ["joins", "events"])
def test_rate_covers_all_connections_of_a_subject(what):
    use = SubjectUsage(SubjectLimits(**{what: 3}))
    use.connect(ADA, "one")
    use.connect(ADA, "two")
    use.connect(EVE, "three")
    other = "events" if what == "joins" else "joins"
    for _ in range(3):
        use.take(ADA, what, 10.0)
    for _ in range(5):  # refused attempts do not extend the wait
        with pytest.raises(LimitExceeded) as caught:
            use.take(ADA, what, 10.0)
    assert caught.value.to_client()["limit"] == what
    use.take(EVE, what, 10.0)
    use.take(ADA, other, 10.0)
    use.take(ADA, what, 10.34)
    with pytest.raises(LimitExceeded):
        use.take(ADA, what, 10.34)


def test_rate_survives_a_reconnection_and_is_dropped_later():
    use = SubjectUsage(SubjectLimits(events=2))
    for connection in ("one", "two"):
        use.connect(ADA, connection)
        use.take(ADA, "events", 10.0)
        use.leave(ADA, connection)
    use.connect(ADA, "three")
    with pytest.raises(LimitExceeded):
        use.take(ADA, "events", 10.0)
    use.leave(ADA, "three")
    for second in range(20, 30):
        use.take(EVE, "events", second)
    assert list(use._buckets["events"]) == [(EVE.issuer, "eve")]


def test_subjects_have_different_hashes_even_if_their_names_join_to_the_same_text():
    subjects = [("a", "bc"), ("ab", "c"), ("", "abc"), (None, "abc"), ("1:a", "b"), (None, "1:ab"), ("a\udcff", "b")]
    assert len({subject_hash(Identity(name, issuer=issuer)) for issuer, name in subjects}) == len(subjects)
    assert subject_hash(Identity("ada", issuer="me", roles=["x"])) == subject_hash(ADA)


@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from([ADA, EVE, Identity.guest()]), st.sampled_from("abcd")), max_size=30
    ),
    st.sampled_from(["refuse", "end_oldest"]),
)
def test_usage_is_empty_after_all_disconnect(steps, when_full):
    """The model acts as the host: each admitted connection leaves once, and the oldest leaves if it must."""
    use = SubjectUsage(SubjectLimits(sockets=2, when_full=when_full))
    inside: list[tuple[Identity, str]] = []
    for comes, who, connection in steps:
        if comes:
            try:
                oldest = use.connect(who, connection)
            except LimitExceeded:
                continue
            if not who.is_guest:
                inside.append((who, connection))
            for gone in [one for one in inside if one == (who, oldest)]:
                inside.remove(gone)
                use.leave(*gone)
        elif (who, connection) in inside:
            inside.remove((who, connection))
            use.leave(who, connection)
        assert all(len(connections(use, one)) <= 2 for one in (ADA, EVE))
        assert {(one, name) for one in (ADA, EVE) for name in connections(use, one)} == set(inside)
    for one in inside:
        use.leave(*one)
    use.leave(ADA, "never there")
    assert use._connections == {}


@pytest.mark.parametrize("what", ["joins", "events"])
@pytest.mark.parametrize("rate", [1e15, 1e17, 1.7e308])
def test_huge_rate_allows_everything(what, rate):
    use = SubjectUsage(SubjectLimits(joins=rate, events=rate))
    for _ in range(3):
        use.take(ADA, what, 10.0)
