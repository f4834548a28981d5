"""The contract of :class:`roomkey.stores.Sessions`: login sessions and their refresh tokens."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from roomkey.stores import LoginSession, RotationResult, Sessions, StoredRefreshToken

NOW, REUSE_INTERVAL = 1_800_000_000, 10
SESSION = LoginSession("s1", "ada", "roomkey", NOW, NOW, NOW + 3600, "chat", "127.0.0.1", "a browser")


async def outcome(sessions: Sessions, used: str, then: str, now: int = NOW) -> RotationResult:
    return await sessions.rotate(used, then, now, REUSE_INTERVAL)


async def test_token_rotates_to_its_successor(sessions):
    await sessions.add(SESSION, "t0")
    for number in range(5):
        assert await outcome(sessions, f"t{number}", f"t{number + 1}", NOW + 60 * number) is RotationResult.ROTATED
    (session,) = await sessions.list_for("ada", NOW)
    assert session == replace(SESSION, used_at=NOW + 240)
    assert await sessions.find("t5", NOW) == StoredRefreshToken(session, active=True, used=False)
    assert await sessions.find("t4", NOW) == StoredRefreshToken(session, active=True, used=True)
    assert await sessions.find("t6", NOW) is None


async def test_of_fifty_concurrent_uses_exactly_one_rotates(sessions):
    await sessions.add(SESSION, "t0")
    found = await asyncio.gather(*(outcome(sessions, "t0", "t1") for _ in range(50)))
    assert Counter(found) == {RotationResult.ROTATED: 1, RotationResult.REPEATED: 49}
    assert await outcome(sessions, "t1", "t2") is RotationResult.ROTATED


@pytest.mark.parametrize(
    ("after", "then"), [(REUSE_INTERVAL, RotationResult.REPEATED), (REUSE_INTERVAL + 1, RotationResult.REUSED)]
)
async def test_used_token_is_repeated_within_the_interval_and_reused_after(sessions, after, then):
    await sessions.add(SESSION, "t0")
    await outcome(sessions, "t0", "t1")
    assert await outcome(sessions, "t0", "t1", NOW + after) is then


async def test_without_an_interval_nothing_is_repeated(sessions):
    await sessions.add(SESSION, "t0")
    assert await sessions.rotate("t0", "t1", NOW, 0) is RotationResult.ROTATED
    assert await sessions.rotate("t0", "t1", NOW, 0) is RotationResult.REUSED


async def test_used_token_whose_successor_was_used_is_a_copy(sessions):
    await sessions.add(SESSION, "t0")
    await outcome(sessions, "t0", "t1")
    await outcome(sessions, "t1", "t2")
    assert await outcome(sessions, "t0", "t1") is RotationResult.REUSED
    assert len(await sessions.list_for("ada", NOW)) == 1, "whoever asked ends it, when its tokens are revoked"


async def test_no_token_of_an_ended_or_expired_session_rotates(sessions):
    await sessions.add(SESSION, "t0")
    await sessions.add(replace(SESSION, session_id="s2"), "u0")
    assert await sessions.end("s1", NOW) == SESSION
    assert await sessions.end("s1", NOW) is None
    assert await outcome(sessions, "t0", "t1") is RotationResult.ENDED
    assert await outcome(sessions, "u0", "u1", NOW + 3600) is RotationResult.EXPIRED
    assert await outcome(sessions, "nobody's", "t1") is RotationResult.UNKNOWN
    for token, now in [("t0", NOW), ("u0", NOW + 3600)]:
        found = await sessions.find(token, now)
        assert found is not None
        assert (found.active, found.valid, found.used) == (False, False, False)


async def test_active_sessions_of_a_client_are_listed(sessions):
    for number, client_id in enumerate(["app", "app", "app", "roomkey"]):
        kept = replace(
            SESSION, session_id=f"s{number}", client_id=client_id, subject=f"p{number}", used_at=NOW + number
        )
        await sessions.add(replace(kept, expires_at=NOW + 60) if number == 2 else kept, f"t{number}")
    assert [session.session_id for session in await sessions.list_for_client("app", NOW)] == ["s2", "s1", "s0"]
    await sessions.end("s0", NOW)
    (live,) = await sessions.list_for_client("app", NOW + 60)
    assert (live.session_id, live.subject, live.client_id) == ("s1", "p1", "app")
    assert await sessions.list_for_client("nobody", NOW) == []


async def test_active_sessions_of_a_provider_are_listed(sessions):
    a, b = "https://a.example", "https://b.example"
    for number, (issuer, subject, session) in enumerate(
        [(a, "1", "x"), (a, "1", "y"), (a, "2", "x"), (b, "1", "x"), ("", "", "")]
    ):
        names = {"provider_issuer": issuer, "provider_subject": subject, "provider_session": session}
        kept = replace(SESSION, session_id=f"s{number}", used_at=NOW + number, provider_auth_time=5, **names)
        await sessions.add(kept, f"t{number}")

    async def found(issuer, now=NOW, **names):
        return [session.session_id for session in await sessions.list_for_provider(issuer, now, **names)]

    assert await found(a, subject="1") == ["s1", "s0"]
    assert await found(a, session="x") == ["s2", "s0"]
    assert await found(b, session="x") == ["s3"]
    assert await found(None, session="x") == ["s3", "s2", "s0"]
    assert await found(b, session="y") == await found(a, now=NOW + 3600, subject="1") == []
    ended = await sessions.end("s0", NOW)
    assert (ended.provider_issuer, ended.provider_subject, ended.provider_session) == (a, "1", "x")
    assert await found(a, subject="1") == ["s1"]


async def test_expired_sessions_are_deleted(sessions):
    await sessions.add(SESSION, "t0")
    await outcome(sessions, "t0", "t1")
    await sessions.add(replace(SESSION, session_id="s2", expires_at=NOW + 7200), "u0")
    await sessions.delete_expired(NOW + 3600)
    assert await outcome(sessions, "t1", "t2") is RotationResult.UNKNOWN
    assert [session.session_id for session in await sessions.list_for("ada", NOW)] == ["s2"]


async def test_token_that_was_used_in_the_future_is_repeated_within_a_second(sessions):
    """The clocks of two servers differ; a clock that was set back says nothing about the age of the use."""
    await sessions.add(SESSION, "t0")
    await outcome(sessions, "t0", "t1")
    assert await outcome(sessions, "t0", "t1", NOW - 1) is RotationResult.REPEATED
    assert await outcome(sessions, "t0", "t1", NOW - 2) is RotationResult.REUSED


async def test_token_with_another_successor_is_not_repeated(sessions):
    await sessions.add(SESSION, "t0")
    await outcome(sessions, "t0", "t1")
    assert await outcome(sessions, "t0", "other") is RotationResult.REUSED
