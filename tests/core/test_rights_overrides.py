"""Changed rights override those of older tokens, and not those of newer ones."""

from __future__ import annotations

from types import MappingProxyType

import pytest

from roomkey import Identity
from roomkey.core import rights_overrides
from roomkey.core.revocations import MARGIN
from roomkey.core.rights_overrides import RightsOverrides

NOW = 10**6


def ada(issued_at: float | None, **claims) -> Identity:
    written = {"sub": "ada", "roles": ["admin"], "role": "owner", "rooms": ["red"], **claims}
    return Identity.from_claims(written | ({"iat": issued_at} if issued_at is not None else {}))


def rights(who: Identity) -> tuple[set[str], tuple[str, ...]]:
    return set(who.roles), who.rooms


@pytest.mark.parametrize(
    ("issued_at", "changed"),
    [(None, True), (50, True), (100, True), (100.9, True), (101, False), (10**6, False)],
)
def test_tokens_up_to_the_same_second_get_the_new_rights(issued_at, changed):
    rights_now = RightsOverrides()
    rights_now.change("ada", 100.5, roles=["member"], rooms=["blue"])
    who = rights_now.apply(ada(issued_at), NOW)
    assert rights(who) == (({"member"}, ("blue",)) if changed else ({"admin", "owner"}, ("red",)))
    # Rules can check the claims instead.
    assert who.claim("roles") == (["member"] if changed else ["admin"])
    assert who.claim("role") == (None if changed else "owner")
    assert who.claim("rooms") == (["blue"] if changed else ["red"])


def test_token_with_a_future_iat_counts_as_issued_now():
    rights_now = RightsOverrides()
    rights_now.change("ada", 100, roles=["member"])
    assert rights(rights_now.apply(ada(200), 100)) == ({"member"}, ("red",))
    assert rights(rights_now.apply(ada(200), 101)) == ({"admin", "owner"}, ("red",))


@pytest.mark.parametrize(
    ("change", "roles", "rooms"),
    [
        ({"roles": []}, set(), ("red",)),
        ({"rooms": []}, {"admin", "owner"}, ()),
        ({"roles": ("a", "b")}, {"a", "b"}, ("red",)),
    ],
)
def test_rights_that_are_not_named_stay(change, roles, rooms):
    rights_now = RightsOverrides()
    rights_now.change("ada", 100, **change)
    assert rights(rights_now.apply(ada(50), NOW)) == (roles, rooms)
    assert rights_now.apply(Identity("eve", issued_at=50), NOW) == Identity("eve", issued_at=50)


def test_second_change_keeps_the_rights_of_the_first():
    rights_now = RightsOverrides()
    rights_now.change("ada", 100, roles=["member"])
    rights_now.change("ada", 200, rooms=["blue"])
    assert rights(rights_now.apply(ada(50), NOW)) == ({"member"}, ("blue",))


def test_second_change_keeps_the_time_of_the_first():
    """A token issued between the two changes already has the first: its own roles count."""
    rights_now = RightsOverrides()
    rights_now.change("ada", 100, roles=[])
    rights_now.change("ada", 200, rooms=["blue"])
    assert rights(rights_now.apply(ada(150), NOW)) == ({"admin", "owner"}, ("blue",))


def test_changed_rooms_can_name_actions():
    rights_now = RightsOverrides()
    rights_now.change("ada", 100, rooms=MappingProxyType({"team-*": ("join",)}))
    who = rights_now.apply(ada(50), NOW)
    assert who.grants("team-red")
    assert not who.grants("team-red", "message")
    assert not who.grants("red")
    assert who.claim("rooms") == {"team-*": ["join"]}


def test_changes_do_not_apply_to_guests():
    rights_now = RightsOverrides()
    rights_now.change("", 100, roles=["admin"])
    assert rights_now.apply(Identity.guest(), NOW) == Identity.guest()


def test_latest_differs_after_each_change_of_the_subject():
    rights_now = RightsOverrides()
    assert rights_now.latest("ada") is None
    rights_now.change("ada", 100, roles=["a"])
    first = rights_now.latest("ada")
    rights_now.change("eve", 100, roles=["a"])
    assert rights_now.latest("ada") is first
    rights_now.change("ada", 100, roles=["a"])
    assert rights_now.latest("ada") is not first


def test_delegated_token_is_narrowed_and_never_widened():
    rights_now = RightsOverrides()
    rights_now.change("ada", 100, roles=["member", "owner"], rooms={"red": ["join"], "blue": ["join"]})
    who = rights_now.apply(ada(50, delegated=True), NOW)
    assert rights(who) == ({"owner"}, ("red",))
    assert who.grants("red")
    assert not who.grants("red", "say")
    assert rights(rights_now.apply(ada(50, delegated=True, rooms=["green"]), NOW)) == ({"owner"}, ())


def test_change_is_dropped_when_no_token_can_be_older():
    rights_now = RightsOverrides(lifetime=100)
    rights_now.change("ada", 0, roles=["member"])
    rights_now.change("bob", 50, roles=["member"])
    rights_now.change("ada", 100, rooms=["blue"])  # it moves to the end
    rights_now.change("carol", 50 + 100 + MARGIN, roles=["member"])
    assert (rights_now.latest("bob"), len(rights_now)) == (None, 2)
    rights_now.change("carol", 100 + 100 + MARGIN, roles=["member"])
    assert (rights_now.latest("ada"), len(rights_now)) == (None, 1)


def test_limit_drops_the_oldest_changes_and_returns_their_number(monkeypatch):
    monkeypatch.setattr(rights_overrides, "MAX_CHANGES", 3)
    rights_now = RightsOverrides()
    assert [rights_now.change(f"user{number}", number, roles=[]) for number in range(5)] == [0, 0, 0, 1, 1]
    assert len(rights_now) == 3
    assert rights_now.latest("user1") is None
