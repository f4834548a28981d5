"""The rights in a user's token, for each kind of client."""

from __future__ import annotations

import pytest

from roomkey.auth.token_rights import TokenRights, rights_for
from roomkey.stores import Account

ADA = Account("ada", "x", roles=("admin", "roomkey:admin"), rooms=("red", "team-*"))


def for_application(*scopes: str, is_first_party: bool = False) -> TokenRights:
    return rights_for(ADA, scopes, is_own=False, is_first_party=is_first_party)


def test_own_login_has_every_right_of_the_account():
    assert rights_for(ADA, (), is_own=True, is_first_party=False) == TokenRights(ADA.roles, ADA.rooms, ())


def test_first_party_client_has_all_rights_except_reserved_ones():
    found = for_application("chat", "roomkey:admin", is_first_party=True)
    assert found == TokenRights(("admin",), ADA.rooms, ("chat",))


@pytest.mark.parametrize(
    ("scopes", "roles", "rooms", "carried_scopes"),
    [
        (("chat",), (), (), ("chat",)),
        (("roles",), ("admin",), (), ("roles",)),
        (("rooms",), (), ADA.rooms, ("rooms",)),
        (("role:admin", "role:moderator", "role:roomkey:admin", "role:"), ("admin",), (), ("role:admin",)),
        (
            ("room:red", "room:blue", "room:team-7", "room:team-*", "room:*", "room:"),
            (),
            ("red", "team-7", "team-*"),
            ("room:red", "room:team-7", "room:team-*"),
        ),
    ],
)
def test_other_client_has_the_rights_that_its_scopes_release(scopes, roles, rooms, carried_scopes):
    """A user's token has no scope that names a role or a room that the user does not have."""
    assert for_application(*scopes) == TokenRights(roles, rooms, carried_scopes)


def test_first_party_client_has_no_scope_of_a_missing_right():
    found = for_application("role:admin", "role:moderator", "room:blue", is_first_party=True)
    assert found == TokenRights(("admin",), ADA.rooms, ("role:admin",))
