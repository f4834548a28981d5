"""A clock that is set back, or jumps ahead and back, does not make anything valid again.

Contradictory times count as reuse, and no record is deleted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.clock import FakeClock
from support.login_server import LoginServer, running
from support.oauth import Desk
from support.tokens import issuer_at

from roomkey.auth import StandaloneAuthority, Tickets, TicketVerifier
from roomkey.errors import MalformedToken, RevokedToken
from roomkey.stores import MemoryRevocations, SqlSingleUseStore

YEAR = 366 * 86400.0


@pytest.fixture
async def server(where: Path | str) -> AsyncIterator[LoginServer]:
    async with running(where) as made:
        yield made


@pytest.mark.checklist("I118")
@pytest.mark.parametrize("back", [2, 60, 86400])
async def test_used_refresh_token_is_reuse_after_the_clock_was_set_back(server: LoginServer, back: int) -> None:
    first = await server.login()
    server.clock.advance(86400)
    second = (await server.refresh(first["refresh_token"])).json()
    server.clock.wrong_by = -back
    assert (await server.refresh(first["refresh_token"])).status_code == 401
    assert (await server.refresh(second["refresh_token"])).status_code == 401, "its login ended"


@pytest.mark.checklist("I118")
async def test_servers_that_differ_by_a_second_repeat_a_lost_refresh(server: LoginServer) -> None:
    first = await server.login()
    second = (await server.refresh(first["refresh_token"])).json()
    server.clock.wrong_by = -1
    again = await server.refresh(first["refresh_token"])
    assert again.json()["refresh_token"] == second["refresh_token"]


async def test_logout_all_ends_a_session_that_began_in_the_future(server: LoginServer) -> None:
    server.clock.wrong_by = 3600
    tokens = await server.login()
    server.clock.wrong_by = 0
    await server.logins.logout_all("ada")
    server.clock.advance(3600)
    assert (await server.refresh(tokens["refresh_token"])).status_code == 401
    assert not await server.is_good(tokens)


@pytest.mark.checklist("I118")
async def test_code_from_the_future_is_rejected() -> None:
    async with Desk.opened() as desk:
        code = await desk.code()
        desk.clock.wrong_by = -3600
        assert (await desk.redeem(code)).json()["error"] == "invalid_grant"


@pytest.mark.checklist("I118")
async def test_ticket_from_the_future_is_rejected() -> None:
    clock, single_use = FakeClock(), SqlSingleUseStore()
    who = issuer_at(clock).verifier().verify(issuer_at(clock).issue("ada"), clock.now())
    ticket, _ = await Tickets(single_use, clock=clock.now).issue(who)
    with pytest.raises(MalformedToken):
        await TicketVerifier(issuer_at(clock).verifier(), single_use).verify(ticket, clock.now() - 3600, source="query")


@pytest.mark.checklist("I118")
@pytest.mark.parametrize("holder", ["guard", "no sockets"])
async def test_clock_that_jumps_ahead_and_back_drops_no_revocation(holder: str) -> None:
    async with running() as server:
        clock, issuer = server.clock, server.issuer
        live = server.hub.guard if holder == "guard" else StandaloneAuthority(issuer.verifier(), MemoryRevocations())
        if isinstance(live, StandaloneAuthority):
            live._clock = clock.now
        token = issuer.issue("ada", session_id="s1", roles=["admin"])
        await live.revoke(session_id="s1", expires_at=clock.now() + 900)
        if holder == "guard":
            await server.hub.guard.update("grace", roles=[])
        for wrong_by in (YEAR, 2 * YEAR, 0):  # whatever is revoked meanwhile sweeps
            clock.wrong_by = wrong_by
            await live.revoke(session_id=f"s{wrong_by}", expires_at=clock.now() + 900)
            if holder == "guard":
                await server.hub.guard.update("eve", roles=[str(wrong_by)])
        with pytest.raises(RevokedToken):
            await live.verify(token)
        if holder == "guard":
            assert (await live.verify(issuer.issue("grace", roles=["admin"]))).roles == set()
