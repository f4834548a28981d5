"""Roles that include others."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkey import ConfigError
from roomkey.core.roles import RoleHierarchy


def expanded(chains, *roles):
    return set(RoleHierarchy(chains).expand(frozenset(roles)))


def test_role_includes_lower_roles_only():
    chain = "admin > moderator > member"
    assert expanded(chain, "admin") == {"admin", "moderator", "member"}
    assert expanded(chain, "moderator") == {"moderator", "member"}
    assert expanded(chain, "member") == {"member"}
    assert expanded(chain, "other") == {"other"}
    assert expanded(chain) == set()


def test_role_names_are_compared_exactly():
    assert expanded("admin > member", "Admin", "admin ", "adm") == {"Admin", "admin ", "adm"}
    assert expanded("night shift>a-b", "night shift") == {"night shift", "a-b"}


def test_several_chains_are_one_hierarchy():
    chains = ["member > reader", "admin > clerk", "admin > member", "owner > admin"]
    assert expanded(chains, "owner") == {"owner", "admin", "clerk", "member", "reader"}
    assert expanded(chains, "clerk") == {"clerk"}


def test_role_can_be_included_in_two_ways():
    assert expanded(["a > b > d", "a > c > d"], "a") == {"a", "b", "c", "d"}


def test_roles_include_nothing_by_default():
    assert not RoleHierarchy().includes
    assert not RoleHierarchy([]).includes
    assert RoleHierarchy("a > b").includes
    assert expanded((), "a") == {"a"}


@pytest.mark.parametrize("chain", ["", "admin", ">", "a >", "> a", "a > > b", " > a", 5, None, ["a > b"]])
def test_invalid_chains_are_rejected(chain):
    with pytest.raises(ConfigError, match="invalid roles"):
        RoleHierarchy([chain])


@pytest.mark.parametrize("chains", ["a > a", "a > b > a", ["a > b", "b > c", "c > a"], ["x > a", "a > b", "b > a"]])
def test_circular_roles_are_rejected(chains):
    with pytest.raises(ConfigError, match="would include itself"):
        RoleHierarchy(chains)


@given(st.lists(st.permutations("abcdef").map(lambda order: order[:3]), min_size=1, max_size=5))
def test_role_includes_all_reachable_roles(orders):
    chains = [" > ".join(sorted(order)) for order in orders]  # in one order, without circles
    steps = {(greater, lesser) for order in orders for greater, lesser in pairwise(sorted(order))}
    for role in "abcdef":
        found = {role}
        for _ in "abcdef":
            found |= {lesser for greater, lesser in steps if greater in found}
        assert expanded(chains, role) == found
