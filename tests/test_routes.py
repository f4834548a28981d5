"""Tokens in the routes of any asyncio framework."""

from __future__ import annotations

import pytest
from support.clock import FakeClock
from support.tokens import SECRET, issuer_at

from roomkey import ConfigError, Verifier
from roomkey.routes import Handshake, RoomKey, RouteError
from roomkey.socketio import AsyncGuard, Guard

BEARER = 'Bearer realm="roomkey"'
CLOCK = FakeClock()
ISSUER = issuer_at(CLOCK)
VERIFIER = Verifier.hs256(SECRET, issuer="https://login.example", audience="chat")
GUARD = AsyncGuard(VERIFIER, clock=CLOCK)


def bearer(**claims):
    return [("authorization", f"Bearer {ISSUER.issue('ada', **claims)}")]


async def refusal(tokens, headers, **requirement):
    with pytest.raises(RouteError) as refused:
        await tokens.identity(headers, **requirement)
    return refused.value


async def test_identity_is_that_of_the_header():
    assert (await RoomKey(GUARD).identity(bearer())).subject == "ada"


async def test_error_has_the_response():
    refused = await refusal(RoomKey(GUARD), [])
    assert (refused.status, refused.headers) == (401, {"WWW-Authenticate": BEARER})
    assert set(refused.body) == {"error", "error_description"}
    refused = await refusal(RoomKey(GUARD), bearer(), role="editor", scope="news")
    assert (refused.status, refused.error.code) == (403, "permission_denied")
    refused = await refusal(RoomKey(GUARD), bearer(claims={"auth_time": CLOCK.now() - 10}), max_auth_age=5)
    assert refused.body["error"] == "insufficient_user_authentication"


async def test_several_headers_of_one_name_are_rejected():
    assert (await refusal(RoomKey(GUARD), bearer() + bearer())).body["error"] == "invalid_token"
    cookie = RoomKey(GUARD, via=Handshake(cookie="session"))
    page = [("Cookie", f"session={ISSUER.issue('ada')}"), ("Host", "chat.example"), ("Origin", "https://chat.example")]
    assert (await cookie.identity(page)).subject == "ada"
    assert (await refusal(cookie, [*page, ("Origin", "https://chat.example")])).status == 401
    assert (await refusal(cookie, [*page, ("Cookie", f"session={ISSUER.issue('bob')}")])).status == 401
    assert (await refusal(cookie, [*page, ("Host", "evil.example")])).status == 401


async def test_query_is_a_source_only_if_asked_for():
    query = f"token={ISSUER.issue('ada')}"
    assert (await refusal(RoomKey(GUARD), [], query=query)).status == 401
    assert (await RoomKey(GUARD, via=Handshake(query="token")).identity([], query=query)).source == "query"


def test_synchronous_guard_is_an_error():
    with pytest.raises(ConfigError, match="synchronous"):
        RoomKey(Guard(VERIFIER))


@pytest.mark.parametrize("empty", [{"role": ""}, {"scope": ""}, {"role": []}, {"scope": []}])
async def test_empty_requirement_is_an_error_and_not_ignored(empty):
    with pytest.raises(ConfigError):
        await RoomKey(GUARD).identity(bearer(), **empty)
