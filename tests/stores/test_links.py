"""The contract of :class:`roomkey.stores.ProviderLinks`: the accounts of OpenID providers' users."""

from __future__ import annotations

import asyncio

import pytest

from roomkey import ConfigError
from roomkey.stores import LinkExists, ProviderLinks

ISSUER, OTHER = "https://idp.example/realms/chat", "https://idp.example/realms/chat/"


async def test_linked_user_is_found_by_exactly_these_names(links: ProviderLinks) -> None:
    await links.add(ISSUER, "Sub|1", "ada")
    assert await links.find(ISSUER, "Sub|1") == "ada"
    for issuer, subject in ((OTHER, "Sub|1"), (ISSUER, "sub|1"), (ISSUER, "Sub|1 "), (ISSUER, "Sub"), ("", "Sub|1")):
        assert await links.find(issuer, subject) is None


async def test_user_has_one_account_and_an_account_several_users(links: ProviderLinks) -> None:
    await links.add(ISSUER, "1", "ada")
    await links.add(ISSUER, "1", "ada")  # again
    await links.add(OTHER, "1", "ada")
    with pytest.raises(LinkExists, match=r"'1' of https://idp\.example/realms/chat is already linked to 'ada'"):
        await links.add(ISSUER, "1", "grace")
    assert await links.all() == [(ISSUER, "1", "ada"), (OTHER, "1", "ada")]


async def test_of_concurrent_links_to_different_accounts_exactly_one_is_made(links: ProviderLinks) -> None:
    names = [f"user{number}" for number in range(20)]
    made = await asyncio.gather(*(links.add(ISSUER, "1", name) for name in names), return_exceptions=True)
    assert [type(one) for one in made].count(LinkExists) == 19
    assert await links.find(ISSUER, "1") == names[made.index(None)]


async def test_removed_link_is_not_found(links: ProviderLinks) -> None:
    await links.add(ISSUER, "1", "ada")
    assert await links.remove(ISSUER, "1")
    assert not await links.remove(ISSUER, "1")
    assert await links.find(ISSUER, "1") is None


@pytest.mark.parametrize("name", ["", "nul\0", "line\nbreak", "x" * 256, "\ud800"])
async def test_text_that_is_not_a_name_is_never_linked(links: ProviderLinks, name: str) -> None:
    for issuer, subject in ((ISSUER, name), (name, "1")):
        assert await links.find(issuer, subject) is None
        with pytest.raises(ConfigError, match="invalid issuer or subject"):
            await links.add(issuer, subject, "ada")
