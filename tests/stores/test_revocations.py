"""The contract of :class:`roomkey.stores.RevocationStore`."""

from __future__ import annotations

import asyncio

from stores.backends import Place

from roomkey.core.revocations import FOREVER, Revocation

ADA = Revocation("subject", "ada", "roomkey", 1_700_000_000.25, 1_700_000_900.5)
TOKEN = Revocation("token", "jti-1")


def named(number: int) -> Revocation:
    return Revocation("token", f"token{number}")


async def test_added_revocations_are_returned_in_order(place: Place) -> None:
    store = await place.open()
    entries = [ADA, TOKEN, Revocation("session", "sid-1", "https://issuer.example"), TOKEN]
    assert await store.since(0) == ([], 0)
    for entry in entries:
        await store.add(entry)
    found, position = await store.since(0)
    assert list(found) == entries
    assert found[1].expires_at == FOREVER
    assert await store.since(position) == ([], position)


async def test_reader_continues_from_its_position(place: Place) -> None:
    store = await place.open()
    for number in range(3):
        await store.add(named(number))
    _, position = await store.since(0)
    await store.add(ADA)
    found, after = await store.since(position)
    assert list(found) == [ADA]
    assert after > position


async def test_two_stores_on_one_database_see_each_other(place: Place) -> None:
    first, second = await place.open(), await place.open()
    await first.add(ADA)
    await second.add(TOKEN)
    for store in (first, second):
        assert list((await store.since(0))[0]) == [ADA, TOKEN]


async def test_closing_one_store_leaves_the_others_open(place: Place) -> None:
    first, second = await place.open(), await place.open()
    await first.add(ADA)
    await first.close()
    await second.add(TOKEN)
    assert list((await second.since(0))[0]) == [ADA, TOKEN]


async def test_readers_skip_nothing_and_nothing_is_lost(place: Place) -> None:
    """100 writers use two stores while a reader of a third one continues from its position."""
    writers = [await place.open(), await place.open()]
    reader = await place.open()
    seen: list[str] = []
    adding = asyncio.gather(*(writers[number % 2].add(named(number)) for number in range(100)))
    position = 0
    while True:
        over = adding.done()
        found, position = await reader.since(position)
        seen += [entry.name for entry in found]
        if over:
            break
        await asyncio.sleep(0)
    await adding
    assert sorted(seen) == sorted(f"token{number}" for number in range(100))
    assert seen == [entry.name for entry in (await reader.since(0))[0]]


async def test_position_after_the_end_returns_everything_again(place: Place) -> None:
    """After a backup was restored, repeated revocations are harmless, but missing ones are not."""
    store = await place.open()
    await store.add(ADA)
    found, position = await store.since(10**9)
    assert list(found) == [ADA]
    assert await store.since(position) == ([], position)
    await store.add(TOKEN)
    assert list((await store.since(position))[0]) == [TOKEN]


async def test_expired_revocations_are_deleted_an_hour_later(place: Place) -> None:
    store = await place.open()
    kept = [Revocation("token", "later", expires_at=1001.0), Revocation("token", "ever")]
    for entry in (kept[0], Revocation("token", "over", expires_at=1000.0), kept[1]):
        await store.add(entry)
    await store.delete_expired(1000.0 + 3599.0)
    assert len((await store.since(0))[0]) == 3
    await store.delete_expired(1000.0 + 3600.0)
    assert list((await store.since(0))[0]) == kept


async def test_reader_at_the_end_reads_nothing_again_when_the_last_entry_is_deleted(place: Place) -> None:
    store = await place.open()
    await store.add(ADA)
    await store.add(Revocation("token", "over", expires_at=1000.0))
    _, position = await store.since(0)
    await store.delete_expired(5000.0)
    assert await store.since(position) == ([], position)
    await store.add(TOKEN)
    assert list((await store.since(position))[0]) == [TOKEN]


async def test_position_is_never_reused(place: Place) -> None:
    """A reader at the position of a deleted entry receives the next one."""
    store = await place.open()
    await store.add(Revocation("token", "over", expires_at=1000.0))
    _, position = await store.since(0)
    await store.delete_expired(5000.0)
    await store.add(TOKEN)
    assert list((await store.since(position))[0]) == [TOKEN]
