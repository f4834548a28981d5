"""The rights in a token's ``rooms`` claim: joining and emitting."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkey import Identity
from roomkey.core.grants import MAX_NAMES, NOTHING, granted_actions, grants, joinable


def who(rooms):
    return Identity.from_claims({"sub": "ada", "rooms": rooms})


def test_list_grants_joining_and_all_emits():
    ada = who(["lobby", "team:red"])
    for room in ("lobby", "team:red"):
        assert ada.grants(room)
        assert ada.grants(room, "message")
        assert ada.grants(room, "")
    for room in ("lobb", "lobbyx", "Lobby", "lobby ", "team:re", "team:red:x", "team", ""):
        assert not ada.grants(room)
        assert not ada.grants(room, "message")


def test_object_grants_the_named_actions():
    ada = who({"lobby": ["join"], "desk": ["emit"], "hall": ["join", "emit:message"], "attic": [], "den": ["own"]})
    joins = [room for room in ("lobby", "desk", "hall", "attic", "den") if ada.grants(room)]
    emits = [room for room in ("lobby", "desk", "hall", "attic", "den") if ada.grants(room, "message")]
    others = [room for room in ("lobby", "desk", "hall", "attic", "den") if ada.grants(room, "delete")]
    assert (joins, emits, others) == (["lobby", "hall"], ["desk", "hall"], ["desk"])
    assert ada.rooms == ("lobby", "hall")
    assert not ada.grants("hall", "messag")
    assert not ada.grants("hall", "message2")
    assert not ada.grants("hall", "")


def test_event_with_an_empty_name_requires_a_grant():
    assert not who({"lobby": ["join"]}).grants("lobby", "")
    assert who({"lobby": ["emit"]}).grants("lobby", "")


@pytest.mark.parametrize(
    ("pattern", "rooms"),
    [
        ("team-*", ["team-red", "team-*", "team- ", "team-\n"]),
        ("*-team", ["red-team"]),
        ("a*z", ["abz", "aaz", "azz"]),
        ("team:*", ["team:red"]),
        ("team:*:*", ["team:red:news"]),
        ("t*:c*/d*", ["t1:c2/d3"]),
        ("a.b*", ["a.bc"]),
        ("*", ["lobby", "team:red/x", "user:ada", "\n"]),
    ],
)
def test_wildcards_match_within_a_part(pattern, rooms):
    assert [room for room in rooms if who([pattern]).grants(room)] == rooms


@pytest.mark.parametrize(
    ("pattern", "rooms"),
    [
        ("team-*", ["team-", "team", "xteam-red", "team-red:x", "team-red/x", "team-:", "Team-red", "team-red/"]),
        ("*-team", ["-team", ":-team", "x:red-team"]),
        ("a*z", ["az", "a:z", "a/z", "ab", "abzb"]),
        ("team:*", ["team:", "team:a:b", "team:a/b", "team:/"]),
        ("team:*:*", ["team:a", "team:a:b:c", "team::b"]),
        ("a.b*", ["axbc"]),
        ("[ab]*", ["ac", "bc"]),
        ("*", [""]),
    ],
)
def test_wildcards_never_cross_a_separator(pattern, rooms):
    assert [room for room in rooms if who([pattern]).grants(room)] == []


@pytest.mark.parametrize("pattern", ["**", "a*b*c", "*a*", "team:**", "x/*a*/y", "*a*:b", "b:*a*"])
def test_two_stars_in_one_part_grant_nothing(pattern):
    for room in ("ab", "aab", "a1b2c", "xay", "team:red", "x/1a1/y", "1a1:b", "b:1a1"):
        assert not who([pattern]).grants(room)


def test_many_wildcards_match_quickly():
    assert not who(["*a:" * 40 + "z"]).grants("a" * 5000 + ":" + "a" * 5000)


@pytest.mark.parametrize(
    "claim",
    [
        None,
        "lobby",
        5,
        True,
        [],
        {},
        ["lobby", 5],
        ["lobby", ""],
        ["lobby", None],
        [["lobby"]],
        ("lobby",),
        ["lobby"] * (MAX_NAMES + 1),
        {"lobby": "join"},
        {"lobby": True},
        {"lobby": {"join": True}},
        {"lobby": ["join"], "attic": "join"},
        {"lobby": ["join", 5]},
        {"lobby": ["join", ""]},
        {"lobby": ["join"], "": ["join"]},
        {"lobby": ["join"]} | {str(number): ["join"] for number in range(MAX_NAMES)},
    ],
    ids=lambda claim: str(claim)[:30],
)
def test_malformed_claim_grants_nothing(claim):
    ada = who(claim)
    assert granted_actions(claim) == NOTHING
    assert not ada.grants("lobby")
    assert not ada.grants("lobby", "message")
    assert ada.rooms == ()
    assert ada.claim("rooms") is None


@pytest.mark.parametrize("action", ["Join", "join ", "*", "emit:", "admin", "join:message"])
def test_other_actions_grant_nothing(action):
    ada = who({"lobby": [action]})
    assert not ada.grants("lobby")
    assert not ada.grants("lobby", "message")


def test_identity_without_claims_grants_its_rooms():
    assert Identity("ada", rooms=("team-*",)).grants("team-red")
    assert not Identity("ada").grants("team-red")


def test_guest_has_no_rights():
    guest = Identity.guest()
    assert guest.is_guest
    assert not Identity.from_claims({"sub": "guest"}, "auth").is_guest
    assert not Identity("guest").is_guest
    assert (guest.subject, guest.roles, guest.scopes, guest.rooms) == ("", frozenset(), frozenset(), ())
    assert not guest.grants("lobby")


PARTS = st.text("ab*:/", min_size=1, max_size=8)


def matches(pattern, room):
    """Match wildcards character by character, without regular expressions."""
    if not pattern:
        return not room
    if pattern[0] != "*":
        return room[:1] == pattern[0] and matches(pattern[1:], room[1:])
    before_separator = len(room.replace("/", ":").partition(":")[0])
    return any(matches(pattern[1:], room[cut:]) for cut in range(1, before_separator + 1))


@given(PARTS, st.text("ab:/", min_size=1, max_size=8))
def test_patterns_match_like_a_model(pattern, room):
    readable = all(part.count("*") < 2 for part in pattern.replace("/", ":").split(":"))
    expected = pattern == "*" or (readable and matches(pattern, room))
    assert grants(granted_actions([pattern]), room) is expected


@given(st.dictionaries(PARTS, st.lists(st.sampled_from(["join", "emit", "emit:x"]), max_size=2), max_size=3))
def test_joinable_returns_the_patterns_that_grant_joining(claim):
    actions = granted_actions(claim)
    assert set(joinable(actions)) == {pattern for pattern, listed in claim.items() if "join" in listed}
