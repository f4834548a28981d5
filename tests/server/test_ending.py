"""A revocation has the same effect from every interface."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.house import House

from roomkey.core.revocations import Revocation
from roomkey.stores import SqlRevocations

EVERYTHING = {"socket", "access token", "refresh token", "ticket", "code"}


@pytest.fixture
async def house(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[House]:
    engine = "python-socketio" if getattr(request, "param", "guard") == "api" else "hub"
    async with House.opened(tmp_path / "roomkey.sqlite3", engine) as made:
        yield made


@pytest.mark.checklist("I117")
@pytest.mark.parametrize(("house", "door"), [(door, door) for door in ("guard", "api", "command")], indirect=["house"])
@pytest.mark.parametrize("what", ["subject", "older", "session", "nothing"])
async def test_revocation_has_the_same_effect_from_every_interface(house, door, what):
    """Sockets, access tokens, refresh tokens, codes and tickets; of all times and of older ones."""
    old, new = await house.held(10), await house.held(0)
    verified = await house.guard.verify(old["login"]["access_token"])
    names, of_old, of_new = {
        "subject": ({"subject": "ada"}, EVERYTHING, EVERYTHING),
        "older": ({"subject": "ada", "issued_before": verified.issued_at + 5}, EVERYTHING, set()),
        # A code has a login of its own to come.
        "session": ({"session_id": verified.session_id}, EVERYTHING - {"code"}, set()),
        "nothing": ({"subject": "ada", "issued_before": 0}, set(), set()),
    }[what]
    await house.revoke(door, **names)
    if door == "command":
        await house.guard._revocation_sync.poll()
    assert await house.ended(old) == of_old
    assert await house.ended(new) == of_new
    for one in (old, new):
        await one["socket"].close()


@pytest.mark.checklist("I117")
async def test_revocation_by_a_guard_without_logins_ends_refresh_tokens(house):
    """Such as one in another process, over the same store."""
    old, new = await house.held(10), await house.held(0)
    before = (await house.guard.verify(old["login"]["access_token"])).issued_at + 5
    revoked = Revocation("subject", "ada", issued_before=before, expires_at=time.time() + 900)
    await SqlRevocations(house.database).add(revoked)
    await house.guard._revocation_sync.poll()
    assert await house.ended(old) == EVERYTHING
    assert await house.ended(new) == set()
    for one in (old, new):
        await one["socket"].close()
