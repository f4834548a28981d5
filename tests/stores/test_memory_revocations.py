"""What only the store of revocations in memory does."""

from __future__ import annotations

import pytest

from roomkey.core.revocations import Revocation
from roomkey.stores import MemoryRevocations, memory_revocations


async def test_full_journal_in_memory_drops_what_expires_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_revocations, "MAX_REVOCATIONS", 10)
    store = MemoryRevocations()
    for number in range(11):
        await store.add(Revocation("token", f"t{number}", expires_at=1000 + (number * 7) % 11))
    found, position = await store.since(0)
    assert (len(found), position) == (9, 11)
    assert {revoked.name for revoked in found} == {f"t{number}" for number in range(11)} - {"t0", "t8"}
    assert [int(revoked.name[1:]) for revoked in found] == sorted(int(revoked.name[1:]) for revoked in found)
