"""Revocations in the stores alone, as the command line makes them, and the login sessions that they end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from support.clock import FakeClock

from roomkey.auth.ending import StoredRevocations, last_expiry
from roomkey.core.issuer import MAX_TOKEN_LIFETIME
from roomkey.core.revocations import Revocation
from roomkey.stores import Account, Client, ClientNotFound, LoginSession, Stores

ISSUER = "https://login.example"
NOW = 1_800_000_000


@pytest.fixture
async def stores() -> AsyncIterator[Stores]:
    async with Stores.at() as made:
        await made.accounts.add(Account("ada", "hash", rooms=("red",)))
        await made.clients.add(Client("app"))
        for number, (subject, client_id, auth_time) in enumerate(
            [("ada", "roomkey", NOW - 50), ("ada", "app", NOW - 10), ("eve", "app", NOW - 10), ("app", "roomkey", NOW)]
        ):
            session = LoginSession(f"s{number}", subject, client_id, auth_time, auth_time, NOW + 1000)
            await made.sessions.add(session, f"r{number}")
        yield made


@pytest.fixture
def revocations(stores: Stores) -> StoredRevocations:
    return StoredRevocations(stores, ISSUER, clock=FakeClock(NOW).now)


async def left(stores: Stores) -> list[str]:
    sessions = [await stores.sessions.list_for(subject, NOW) for subject in ("ada", "eve", "app")]
    return sorted(session.session_id for some in sessions for session in some)


async def test_revoking_a_subject_ends_its_sessions(stores: Stores, revocations: StoredRevocations) -> None:
    await revocations.revoke_subject("ada")
    assert await left(stores) == ["s2", "s3"]
    stored, _ = await stores.revocations.since(0)
    assert [(one.kind, one.name, one.issuer) for one in stored] == [
        ("subject", "ada", ISSUER),
        ("session", "s1", None),
        ("session", "s0", None),
    ]
    assert {one.expires_at for one in stored} == {last_expiry(NOW)} == {NOW + MAX_TOKEN_LIFETIME}


@pytest.mark.parametrize(
    ("revoked", "sessions"),
    [
        (Revocation("subject", "ada", ISSUER, NOW - 30), ["s1", "s2", "s3"]),
        (Revocation("subject", "ada", None, NOW - 10), ["s2", "s3"]),
        (Revocation("subject", "ada", ISSUER, NOW - 51), ["s0", "s1", "s2", "s3"]),
        (Revocation("subject", "ada", "https://other.example", NOW), ["s0", "s1", "s2", "s3"]),
        (Revocation("session", "s2"), ["s0", "s1", "s3"]),
        (Revocation("token", "s2"), ["s0", "s1", "s2", "s3"]),
    ],
    ids=["older sessions", "any issuer", "before all", "another issuer", "one session", "one token"],
)
async def test_revocation_ends_the_sessions_that_it_is_about(
    stores: Stores, revocations: StoredRevocations, revoked: Revocation, sessions: list[str]
) -> None:
    await revocations.revoke(revoked)
    assert await left(stores) == sessions


async def test_session_from_the_future_ends_with_everything_of_its_subject(
    stores: Stores, revocations: StoredRevocations
) -> None:
    [newest, _] = await stores.sessions.list_for("ada", NOW)
    await stores.sessions.add(replace(newest, session_id="s9", auth_time=NOW + 500), "r9")
    await revocations.revoke_subject("ada")
    assert await left(stores) == ["s2", "s3"]


async def test_disabling_a_client_ends_its_sessions_but_not_those_of_a_user_of_its_name(
    stores: Stores, revocations: StoredRevocations
) -> None:
    await revocations.disable_client("app")
    assert await left(stores) == ["s0", "s3"]
    client = await stores.clients.find("app")
    assert client is not None
    assert client.disabled
    with pytest.raises(ClientNotFound):
        await revocations.disable_client("nobody")


async def test_changed_rights_are_stored_for_issued_tokens(stores: Stores, revocations: StoredRevocations) -> None:
    await revocations.set_rights("ada", None, ["blue"])
    account = await stores.accounts.find("ada")
    assert account is not None
    assert account.rooms == ("blue",)
    [change], _ = await stores.revocations.since(0)
    assert (change.kind, change.name, change.rights) == ("rights", "ada", {"rooms": ["blue"]})
    assert await left(stores) == ["s0", "s1", "s2", "s3"]
