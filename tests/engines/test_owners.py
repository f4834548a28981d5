"""Who may send the later requests of a polling session, on both engines."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import httpx
import pytest
from support.live import Poll
from support.rawsocket import PATIENCE
from support.world import NOT_THE_OWNER

from roomkey.socketio import Handshake

POST_REFUSED = (403, {"code": 4, "message": "Forbidden"})


def carried(place: str, token: str | None, host: str) -> dict[str, str]:
    """Return the headers of a page that presents a token in a header or in a cookie."""
    headers = {"Origin": f"http://{host}"}
    if token is not None:
        headers |= {"Cookie": f"session={token}"} if place == "cookie" else {"Authorization": f"Bearer {token}"}
    return headers


@pytest.fixture
async def polls(make_world):
    """``await polls(…)``: a world that accepts tokens in cookies, and a function that opens polling clients."""
    async with AsyncExitStack() as stack:

        async def make(address: str | None = None, **settings):
            world = await make_world(via=Handshake(cookie="session"), **settings)

            def client(place: str = "header", token: str | None = None, address: str | None = None, sid: str = ""):
                poll = Poll(world.host)
                if address is not None:
                    poll.http = httpx.AsyncClient(
                        base_url=f"http://{world.host}",
                        timeout=PATIENCE,
                        transport=httpx.AsyncHTTPTransport(local_address=address),
                    )
                poll.http.headers.update(carried(place, token, world.host))
                poll.sid = sid
                stack.push_async_callback(poll.close)
                return poll

            return world, client

        yield make


async def test_session_accepts_a_header_that_is_sent_once(polls):
    world, client = await polls()
    owner = await client(token=world.token()).open()
    del owner.http.headers["Authorization"]
    assert (await owner.post("40")).status_code == 200
    assert (await owner.get())[0].startswith("40")
    await world.sio.emit("news", 1)
    assert await owner.get() == ['42["news",1]']


@pytest.mark.checklist("D56")
async def test_session_that_repeats_its_header_is_bound_to_it(polls):
    """Once a request has repeated the token, the session ID alone is not enough."""
    world, client = await polls()
    owner = await client(token=world.token()).open()
    await owner.post("40")
    thief = client(sid=owner.sid)
    assert await thief.answer() == NOT_THE_OWNER
    refused = await thief.post('42["forged"]')
    assert (refused.status_code, refused.json()) == POST_REFUSED
    assert (await owner.get())[0].startswith("40")


@pytest.mark.checklist("D56")
async def test_session_whose_header_is_sent_once_is_bound_to_its_network(polls):
    """If the client does not repeat the header, the session is still bound to its network."""
    world, client = await polls()
    owner = await client(token=world.token()).open()
    del owner.http.headers["Authorization"]
    await owner.post("40")
    thief = client(address="127.0.0.2", sid=owner.sid)
    assert await thief.answer() == NOT_THE_OWNER
    stranger = client(token=world.token("eve"), sid=owner.sid)
    assert await stranger.answer() == NOT_THE_OWNER
    assert (await owner.get())[0].startswith("40")


@pytest.mark.checklist("D56")
async def test_session_without_its_cookie_receives_403(polls):
    world, client = await polls()
    owner = await client("cookie", world.token()).open()
    await owner.post("40")
    await owner.get()
    cookie = owner.http.headers.pop("Cookie")
    assert await owner.answer() == NOT_THE_OWNER
    posted = await owner.post('42["say",1]')
    assert (posted.status_code, posted.json()) == POST_REFUSED
    owner.http.headers["Cookie"] = cookie
    await world.sio.emit("news", 1)
    assert await owner.get() == ['42["news",1]']


@pytest.mark.parametrize("place", ["cookie", "header"])
async def test_session_accepts_another_token_of_its_subject_before_connect(polls, place):
    world, client = await polls()
    owner = await client(place, world.token()).open()
    renewed = client(place, world.token(), sid=owner.sid)  # another tab has refreshed it
    stranger = client(place, world.token("eve"), sid=owner.sid)
    assert (await stranger.post("40")).status_code == 403
    assert (await renewed.post("40")).status_code == 200
    assert (await renewed.get())[0].startswith("40")
    assert await stranger.answer() == NOT_THE_OWNER


@pytest.mark.parametrize(("body", "length"), [("4" * 20, 10), ("x", 1_000_000)])
async def test_discarded_post_does_not_receive_200(polls, body, length, engine):
    settings = {"server": {"max_http_buffer_size": length}} if engine != "hub" else {"limits": _payload(length)}
    _world, client = await polls(**settings)
    owner = await client().open()
    answer = await asyncio.wait_for(owner.post(body), 3)
    assert answer.status_code in (400, 413)


def _payload(length: int):
    from roomkey.hub import Limits

    return Limits(payload=length)
