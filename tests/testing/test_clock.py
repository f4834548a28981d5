"""The clock of the test kit."""

from __future__ import annotations

import asyncio
import time

import pytest

from roomkey.socketio import Authenticate
from roomkey.testing import Clock, assert_refused, connect, settle


def test_clock_starts_now_and_stands_still():
    clock = Clock()
    assert abs(clock.now() - time.time()) < 60
    assert (clock.now(), clock.monotonic()) == (clock.now(), clock.monotonic())


def test_clock_does_not_run_backwards():
    with pytest.raises(ValueError, match="cannot go back in time"):
        Clock().advance(-1)


async def test_clock_expires_a_connected_socket(app, transport, clock):
    ada = await connect(app.sio, token=app.token(expires_in=600), transport=transport)
    clock.advance(601)
    await settle()
    assert ada.is_connected  # within the grace period
    clock.advance(25)
    await settle()
    assert (ada.closed.reason, ada.closed.reconnects) == ("token_expired", True)


async def test_clock_warns_before_the_expiry(app, clock):
    ada = await connect(app.sio, token=app.token(expires_in=600))
    clock.advance(580)
    [warning] = await settled(ada, "token_expiring")
    assert warning == {"expires_in": 20}


async def settled(client, event):
    await settle()
    return client.received(event)


async def test_clock_ends_the_time_to_authenticate(make, clock):
    app = make(via=Authenticate(timeout=15))
    ada = await connect(app.sio)
    clock.advance(14)
    await settle()
    assert ada.is_connected
    clock.advance(1)
    await settle()
    assert ada.closed.reason == "authentication_timeout"


async def test_heartbeats_do_not_disturb(app, transport, clock):
    ada = await connect(app.sio, token=app.token(expires_in=1e6), transport=transport)
    for _ in range(5):
        clock.advance(3600)
        await settle()
    assert await ada.call("say", ada.sid) == "said"


async def test_tokens_of_the_issuer_follow_the_clock(app, clock):
    token = app.token(expires_in=60)
    clock.advance(3600)
    with assert_refused(reason="token_expired"):
        await connect(app.sio, token=token)
    await connect(app.sio, token=app.token(expires_in=60))


def test_clock_forgets_the_guards_of_an_earlier_event_loop(app, clock):
    async def once():
        await connect(app.sio, token=app.token())

    asyncio.run(once())
    clock.advance(3600)
