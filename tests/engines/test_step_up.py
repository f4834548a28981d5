"""Events that require a recent login (RFC 9470): the socket stays connected, and a newer token allows them."""

from __future__ import annotations

import pytest

from roomkey import Policy
from roomkey.socketio import Authenticate, Handshake


@pytest.fixture
def bank(offline):
    """``bank(**settings)``: a server with the event ``transfer``, and a list of the transfers."""

    def make(**settings):
        policy = Policy()
        policy.event("transfer", max_auth_age=300)(lambda who: who.has_role("clerk"))
        server = offline(policy=policy, **settings)
        server.done = []

        @server.sio.event
        async def transfer(sid, amount):
            server.done.append(amount)
            return "done"

        return server

    return make


async def transfer(server, client, amount: int) -> object:
    client.begin_event("transfer", amount, ack=amount)
    await server.settle()
    [answer] = client.answered(amount)
    return answer


@pytest.mark.parametrize("way", [Handshake(), Authenticate()], ids=["handshake", "authenticate"])
async def test_event_with_an_old_login_passes_after_a_newer_token(bank, way):
    server = bank(via=way)
    old = server.token(roles=["clerk"], expires_in=5000)
    if isinstance(way, Handshake):
        client = await server.client()
        client.begin_connect(old)
    else:
        client = await server.client()
        client.begin_connect(None)
        await server.settle()
        client.begin_event("authenticate", {"token": old})
    await server.settle()
    assert await transfer(server, client, 1) == "done"
    await server.tick(301)
    answer = await transfer(server, client, 2)
    assert answer["ok"] is False
    assert answer["error"] == {
        "message": "authenticate again",
        "code": "insufficient_user_authentication",
        "type": "UnauthorizedError",
        "reason": "reauthentication_required",
        "max_age": 300,
    }
    assert client.heard("reauthenticate") == [{"event": "transfer", **answer["error"]}]
    assert server.done == [1]
    client.begin_event("authenticate", {"token": server.token(roles=["clerk"], expires_in=5000)})
    await server.settle()
    assert await transfer(server, client, 3) == "done"
    assert server.done == [1, 3]
    assert not client.session.closed


async def test_refreshed_token_with_an_old_auth_time_is_not_enough(bank):
    """A silently renewed token proves nothing: ``auth_time`` is the time of the login."""
    server = bank()
    claims = {"auth_time": int(server.clock.now())}
    client = await server.member(roles=["clerk"], claims=claims, expires_in=400)
    await server.tick(301)
    client.begin_event("authenticate", {"token": server.token(roles=["clerk"], claims=claims, expires_in=400)})
    await server.settle()
    assert (await transfer(server, client, 1))["error"]["code"] == "insufficient_user_authentication"
    assert server.done == []


@pytest.mark.parametrize(
    "auth_time", ["1800000000", None, True, [1_800_000_000], 1e300, -1e300, 2**53 - 1, 1_800_000_301]
)
async def test_invalid_or_future_auth_time_is_not_enough(bank, auth_time):
    server = bank()
    client = await server.member(roles=["clerk"], claims={"auth_time": auth_time})
    assert (await transfer(server, client, 1))["error"]["code"] == "insufficient_user_authentication"


async def test_client_without_an_acknowledgement_receives_both_events(bank):
    server = bank()
    client = await server.member(roles=["clerk"])
    await server.tick(301)
    client.begin_event("transfer", 1)
    await server.settle()
    assert [told["event"] for told in client.heard("reauthenticate")] == ["transfer"]
    assert [told["code"] for told in client.heard("error")] == ["insufficient_user_authentication"]


async def test_denied_client_is_not_asked_for_a_recent_login(bank):
    server = bank()
    client = await server.member()
    await server.tick(301)
    assert (await transfer(server, client, 1))["error"]["code"] == "permission_denied"
    assert client.heard("reauthenticate") == []
