"""Rights that an operator removes stay removed, in other processes and after a restart."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from support.house import House
from support.live import Raw
from support.world import BOTH


async def opened(house: House, token: str, *rooms: str) -> Raw:
    raw = await Raw.open(house.host)
    assert (await raw.ask({"token": token})).startswith("40")
    for number, room in enumerate(rooms):
        await raw.event("join-room", room, ack=number)
        assert (await raw.expect_ack(number))[0] == {"ok": True}
    return raw


async def change(house: House, door: str) -> None:
    if door == "api":
        answer = await house.operator("PATCH", "/api/users/ada", {"roles": [], "rooms": ["blue"]})
        assert answer.status_code == 200
    else:
        await house.command("user", "set", "ada", "--no-roles", "--room", "blue")


@BOTH
@pytest.mark.parametrize("door", ["api", "command"])
async def test_removed_rights_reach_every_process_and_survive_a_restart(engine: Any, door: str, tmp_path: Path) -> None:
    where = tmp_path / "roomkey.sqlite3"
    async with House.opened(where, engine) as here, House.opened(where, engine) as there:
        login = (await here.held(0))["login"]
        raw = await opened(there, login["access_token"], "red", "blue")
        await change(here, door)
        assert await raw.expect_event("permissions_changed") == [{"left": ["red"]}]
        await raw.close()
    async with House.opened(where, engine) as again:
        who = await again.guard.verify(login["access_token"])
        assert (who.roles, who.rooms) == (set(), ("blue",))
        # An application's token has what its scopes released, and gets no more by a change.
        again.ago, claims = 60.0, {"client_id": "app", "delegated": True}
        given = again.product.issuer.issue("ada", rooms=["red"], session_id="s9", claims=claims)
        assert (await again.guard.verify(given)).rooms == ()


async def test_last_stored_change_of_rights_wins_in_every_process(tmp_path: Path) -> None:
    where = tmp_path / "roomkey.sqlite3"
    async with House.opened(where) as here, House.opened(where) as there:
        login = (await here.held(0))["login"]
        await asyncio.gather(
            *(
                house.guard.update("ada", rooms=[f"{name}{number}"])
                for number in range(5)
                for house, name in ((here, "here"), (there, "there"))
            )
        )
        await there.guard.update("ada", rooms=["last"])
        async with asyncio.timeout(10):
            while (await here.guard.verify(login["access_token"])).rooms != ("last",):
                await asyncio.sleep(0.05)
        assert (await there.guard.verify(login["access_token"])).rooms == ("last",)
