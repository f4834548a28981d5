"""Tokens in another header, in another member of ``auth`` and in chunked cookies, on both engines."""

from __future__ import annotations

import logging

import pytest
from support.live import Poll
from support.world import NOT_THE_OWNER

from roomkey.socketio import Handshake

NAMED = Handshake(auth="jwt", header="X-Token", cookie="session")


def split(token: str, origin: str, separator: str = ".") -> dict[str, str]:
    """Return the headers of a page of an allowed origin whose cookie is split."""
    parts = [token[:20], token[20:60], token[60:]]
    cookies = "; ".join(f"session{separator}{number}={part}" for number, part in enumerate(parts))
    return {"Origin": origin, "Cookie": cookies}


@pytest.mark.parametrize("scheme", ["", "Bearer "])
async def test_token_in_the_named_header_is_accepted(make_world, scheme):
    world = await make_world(via=NAMED)
    client = await world.client(headers={"X-Token": scheme + world.token()})
    assert (await client.ask()).startswith("40")
    assert world.guard.identity(world.sid()).source == "header"
    poll = await Poll(world.host, {"x-token": scheme + world.token()}).open()
    await poll.post("40")
    assert (await poll.get())[0].startswith("40")
    await poll.close()


async def test_authorization_is_not_a_source_next_to_the_named_header(make_world):
    world = await make_world(via=NAMED)
    client = await world.client(headers={"Authorization": f"Bearer {world.token('eve')}"})
    assert (await client.ask_data())["data"]["code"] == "credentials_required"
    client = await world.client(
        headers={"Authorization": f"Bearer {world.token('eve')}", "X-Token": world.token("ada")}
    )
    assert (await client.ask()).startswith("40")
    assert world.guard.identity(world.sid()).subject == "ada"


async def test_named_header_that_is_sent_twice_is_refused(make_world):
    world = await make_world(via=NAMED)
    for second in ("ada", "eve"):
        tokens = [world.token("ada"), world.token(second)]
        client = await world.client(headers=[("X-Token", token) for token in tokens])
        assert (await client.ask_data())["message"] == "more than one token provided"


async def test_token_in_the_named_member_is_accepted(make_world):
    world = await make_world(via=NAMED)
    client = await world.client()
    assert (await client.ask({"jwt": world.token(), "token": "of another service"})).startswith("40")
    other = await world.client()
    assert (await other.ask_data({"token": world.token()}))["data"]["code"] == "credentials_required"


async def test_named_header_and_member_with_different_tokens_are_refused(make_world):
    world = await make_world(via=NAMED)
    client = await world.client(headers={"X-Token": world.token("eve")})
    assert (await client.ask_data({"jwt": world.token("ada")}))["message"] == "more than one token provided"


@pytest.mark.parametrize("separator", [".", "_"])
async def test_token_in_a_chunked_cookie_is_accepted_from_an_allowed_page(make_world, separator):
    world = await make_world(via=NAMED)
    client = await world.client(headers=split(world.token(), f"http://{world.host}", separator))
    assert (await client.ask()).startswith("40")
    assert world.guard.identity(world.sid()).source == "cookie"
    for headers in ({"Cookie": split(world.token(), "")["Cookie"]}, {"Cookie": "session.1=x"}):
        client = await world.client(headers=headers)  # no page sent it
        assert (await client.ask_data())["data"]["code"] == "credentials_required"


async def test_chunked_cookie_with_a_missing_chunk_is_refused(make_world):
    world = await make_world(via=NAMED, required=False)
    headers = {"Origin": f"http://{world.host}", "Cookie": f"session.1={world.token()}"}
    client = await world.client(headers=headers)
    told = await client.ask_data()
    assert (told["message"], told["data"]["code"]) == (
        "a part of the token cookie is missing",
        "credentials_bad_format",
    )


@pytest.mark.checklist("D56")
@pytest.mark.parametrize("place", ["header", "cookie"])
async def test_session_is_bound_to_the_token_of_each_source(make_world, place):
    """Another client with the session's ID, with no token or one of another subject, gets nothing."""
    world = await make_world(via=NAMED)

    def headers(subject):
        origin = f"http://{world.host}"
        return {"X-Token": world.token(subject)} if place == "header" else split(world.token(subject), origin)

    owner = await Poll(world.host, headers("ada")).open()
    assert (await owner.post("40")).status_code == 200
    for theirs in ({}, headers("eve")):
        thief = Poll(world.host, theirs)
        thief.sid = owner.sid
        assert await thief.answer() == NOT_THE_OWNER
        await thief.close()
    owner.http.headers.update(headers("ada"))  # a refreshed token
    assert (await owner.get())[0].startswith("40")
    await owner.close()


async def test_tokens_in_named_places_are_never_logged(make_world, engine, caplog):
    """Opaque values, too: only their names tell that they are secret."""
    for name in (None, "socketio.server", "engineio.server"):
        caplog.set_level(logging.DEBUG, logger=name)
    world = await make_world(via=NAMED, server={} if engine == "hub" else {"logger": True, "engineio_logger": True})
    client = await world.client(headers={"X-Token": "opaque-secret"})
    await client.ask({"jwt": "opaque-secret"})
    client = await world.client(headers={"Origin": f"http://{world.host}", "Cookie": "session_0=opaque-secret"})
    await client.ask({"jwt": "opaque-secret"})
    own = [entry.getMessage() for entry in caplog.records if entry.name.split(".")[0] not in ("httpx", "websockets")]
    assert own
    assert not [line for line in own if "opaque-secret" in line]
