"""A login server without a guard in its process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from support.clock import FakeClock
from support.tokens import issuer_at

from roomkey.auth import StandaloneAuthority
from roomkey.core.revocations import LONGEST_LIFETIME, Revocation
from roomkey.errors import AuthError, RevokedToken
from roomkey.stores import MemoryRevocations


class InParts(MemoryRevocations):
    """A long journal, which returns one entry per call."""

    async def since(self, position: int) -> tuple[Sequence[Revocation], int]:
        found, _ = await super().since(position)
        return found[:1], position + len(found[:1])


@pytest.mark.parametrize("name", ["token_id", "session_id", "subject"])
async def test_standalone_authority_rejects_and_stores_what_it_revokes(name: str) -> None:
    clock, store = FakeClock(), MemoryRevocations()
    issuer = issuer_at(clock)
    live, other = (StandaloneAuthority(issuer.verifier(), store, clock=clock.now) for _ in range(2))
    token = issuer.issue("ada", session_id="s1", token_id="t1")
    who = await live.verify(token, source="header")
    assert (who.subject, who.source) == ("ada", "header")
    assert await live.revoke(**{name: getattr(who, name)}, expires_at=clock.now() + 900) == 0
    for one in (live, other):
        with pytest.raises(RevokedToken):
            await one.verify(token)
    assert await live.count_sockets("ada") == ({}, True)


async def test_standalone_authority_reads_the_whole_journal() -> None:
    clock, store = FakeClock(), InParts()
    issuer = issuer_at(clock)
    for number in range(50):
        await store.add(Revocation("session", f"s{number}", expires_at=clock.now() + 900))
    live = StandaloneAuthority(issuer.verifier(), store, clock=clock.now)
    with pytest.raises(RevokedToken):
        await live.verify(issuer.issue("ada", session_id="s49"))


async def test_standalone_authority_rejects_a_bad_token() -> None:
    clock = FakeClock()
    live = StandaloneAuthority(issuer_at(clock).verifier(leeway=0), clock=clock.now)
    with pytest.raises(AuthError):
        await live.verify(issuer_at(clock).issue("ada", expires_in=-1))


@pytest.mark.parametrize(("settings", "kept"), [({"max_lifetime": 1000}, 1000), ({}, LONGEST_LIFETIME)])
async def test_revocation_is_stored_for_the_longest_token_lifetime(settings: dict[str, Any], kept: float) -> None:
    clock, store = FakeClock(), MemoryRevocations()
    live = StandaloneAuthority(issuer_at(clock).verifier(**settings), store, clock=clock.now)
    await live.revoke(token_id="t1")
    [entry] = (await store.since(0))[0]
    assert entry.expires_at == clock.now() + kept
