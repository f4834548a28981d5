"""The contract of :class:`roomkey.stores.SingleUseStore`: codes and tickets, which can be used once."""

from __future__ import annotations

import asyncio

import pytest
from stores.backends import Connect

from roomkey.stores import Consumed, SingleUseStore

NOW = 1_800_000_000
DATA = {"sub": "ada", "origin": "https://app.example"}


async def test_of_fifty_concurrent_uses_exactly_one_is_the_first(single_use: SingleUseStore) -> None:
    await single_use.store("ticket", "h", DATA, NOW + 30)
    found = await asyncio.gather(*(single_use.consume("ticket", "h", NOW) for _ in range(50)))
    assert [taken.already_used for taken in found].count(False) == 1
    assert all(taken.data == DATA for taken in found)


async def test_second_use_returns_the_note_of_the_first(single_use: SingleUseStore) -> None:
    await single_use.store("code", "h", DATA, NOW + 30)
    assert await single_use.consume("code", "h", NOW) == Consumed(DATA, False, None)
    await single_use.annotate("h", "s1")
    assert await single_use.consume("code", "h", NOW + 29) == Consumed(DATA, True, "s1")


@pytest.mark.parametrize(("kind", "name", "now"), [("code", "h", NOW), ("ticket", "H", NOW), ("ticket", "h", NOW + 30)])
async def test_other_kind_other_value_or_expired_value_is_not_found(single_use: SingleUseStore, kind, name, now):
    await single_use.store("ticket", "h", DATA, NOW + 30)
    assert await single_use.consume(kind, name, now) is None
    assert await single_use.consume("ticket", "h", NOW) == Consumed(DATA, False, None)


async def test_expired_values_are_deleted(single_use: SingleUseStore) -> None:
    await single_use.store("ticket", "h", DATA, NOW + 30)
    await single_use.store("ticket", "i", DATA, NOW + 31)
    await single_use.delete_expired(NOW + 30)
    assert await single_use.consume("ticket", "h", NOW) is None
    assert await single_use.consume("ticket", "i", NOW) is not None


async def test_of_fifty_concurrent_additions_exactly_one_is_the_first(single_use: SingleUseStore) -> None:
    assert not await single_use.is_known("logout", "h")
    added = await asyncio.gather(*(single_use.add_once("logout", "h", NOW + 30) for _ in range(50)))
    assert added.count(True) == 1
    assert await single_use.is_known("logout", "h")
    assert not await single_use.is_known("ticket", "h")
    await single_use.delete_expired(NOW + 30)
    assert await single_use.add_once("logout", "h", NOW + 60)


async def test_all_servers_share_one_key(connect: Connect) -> None:
    first, second = connect().single_use, connect().single_use
    keys = await asyncio.gather(first.key(), second.key())
    assert keys[0] == keys[1] == await first.key()
    assert len(keys[0]) == 32
    for store in (first, second):
        await store.close()
