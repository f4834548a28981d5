"""RFC 7662: the requirements of the introspection endpoint."""

from __future__ import annotations

import pytest
from support.oauth import BASIC, SECRET, URL
from support.rfc import SHARED, error_of

from roomkey import Issuer, Key

pytestmark = SHARED
INACTIVE = {"active": False}


async def test_s2_endpoint_uses_tls(desk):
    """Its URL uses https."""
    metadata = await desk.http.get("/.well-known/oauth-authorization-server")
    assert metadata.json()["introspection_endpoint"].startswith("https://")


@pytest.mark.parametrize(
    "who",
    [
        {},
        {"client_id": "page"},
        {"client_id": "backend"},
        {"client_id": "backend", "client_secret": SECRET + "x"},
        {"client_id": "gone", "client_secret": SECRET},
    ],
    ids=str,
)
async def test_s2_1_and_2_3_unauthenticated_clients_cannot_test_tokens(desk, who):
    """Without a secret, the response is 401 and reveals nothing, also for public clients."""
    given = await desk.logged_in()
    answer = await desk.post("introspect", token=given["access_token"], **who)
    assert error_of(answer) == (401, "invalid_client")
    assert "active" not in answer.json()


@pytest.mark.parametrize("fields", [{}, {"token": ""}], ids=str)
async def test_s2_1_token_is_required(desk, fields):
    """Without a token the request is invalid."""
    assert error_of(await desk.post("introspect", BASIC, **fields)) == (400, "invalid_request")


async def test_s2_1_and_4_token_in_the_url_is_ignored(desk):
    """Tokens are sent by POST, because URLs are logged."""
    where = f"/oauth/introspect?token={(await desk.logged_in())['access_token']}"
    assert (await desk.http.get(where, auth=BASIC)).status_code == 405
    assert (await desk.http.post(where, auth=BASIC, data={"token_type_hint": "x"})).status_code == 400


@pytest.mark.parametrize("hint", ["access_token", "refresh_token", "something_else"])
@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
async def test_s2_1_wrong_hint_does_not_hide_a_token(desk, kind, hint):
    """The server also looks for the other kinds."""
    given = (await desk.redeem(await desk.code(client_id="backend"), BASIC)).json()
    answer = await desk.post("introspect", BASIC, token=given[kind], token_type_hint=hint)
    assert answer.json()["active"] is True


async def test_s2_2_response_is_an_object_with_active(desk):
    """It is JSON with a boolean, and members of their registered types."""
    given = await desk.logged_in(scope="chat")
    answer = await desk.post("introspect", BASIC, token=given["access_token"])
    told = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert told["active"] is True
    assert all(type(told[name]) is int for name in ("exp", "iat"))
    assert all(type(told[name]) is str for name in ("scope", "client_id", "token_type", "sub", "aud", "iss", "jti"))
    assert (told["scope"], told["client_id"], told["token_type"], told["iss"]) == ("chat", "page", "Bearer", URL)


async def test_s2_2_inactive_token_has_no_other_members(desk):
    """There are no other members, whatever the reason, and it is not an error (section 2.3)."""
    for token in ("unknown", "r" * 43, desk.issuer.issue("ada", expires_in=-1)):
        answer = await desk.post("introspect", BASIC, token=token)
        assert (answer.status_code, answer.json()) == (200, INACTIVE)


async def test_s2_3_token_that_the_client_may_not_see_is_not_active(desk):
    """Another client's refresh token is not an error, and nothing about it is returned."""
    assert await desk.introspect((await desk.logged_in())["refresh_token"]) == INACTIVE


async def test_s4_response_is_about_this_moment(desk):
    """Each request checks expiry, start, revocation and the login session."""
    now = desk.clock.now()
    later = desk.issuer.issue("ada", not_before=now + 60, expires_in=700)
    revoked, ended, given = await desk.logged_in(), await desk.logged_in(), await desk.logged_in()
    for one in (revoked, ended, given):
        assert (await desk.introspect(one["access_token"]))["active"] is True
    await desk.post("revoke", client_id="page", token=revoked["access_token"])
    await desk.post("revoke", client_id="page", token=ended["refresh_token"])
    for token in (revoked["access_token"], ended["access_token"], later):
        assert await desk.introspect(token) == INACTIVE
    desk.clock.advance(60)
    assert (await desk.introspect(later))["active"] is True
    desk.clock.advance(600)
    assert await desk.introspect(given["access_token"]) == INACTIVE


@pytest.mark.parametrize("what", ["another key", "another issuer", "another audience", "no signature"])
async def test_s4_signature_and_audience_are_checked(desk, what):
    """A token of another issuer or audience is not active."""
    made = {
        "another key": lambda: Issuer(Key.generate("ES256"), issuer=URL, audience="chat", clock=desk.clock.now),
        "another issuer": lambda: Issuer(desk.issuer.key, issuer="https://x", audience="chat", clock=desk.clock.now),
        "another audience": lambda: Issuer(desk.issuer.key, issuer=URL, audience="x", clock=desk.clock.now),
        "no signature": lambda: desk.issuer,
    }[what]()
    token = made.issue("ada")
    assert await desk.introspect(token.rpartition(".")[0] + "." if made is desk.issuer else token) == INACTIVE


async def test_s4_used_refresh_token_is_not_active(desk):
    """Its successor is active."""
    first = (await desk.redeem(await desk.code(client_id="backend"), BASIC)).json()
    second = (await desk.refresh(first["refresh_token"], BASIC)).json()
    assert await desk.introspect(first["refresh_token"]) == INACTIVE
    assert (await desk.introspect(second["refresh_token"]))["active"] is True


async def test_s4_response_is_not_cached(desk):
    """Caches must not return active for a token that was revoked meanwhile."""
    for token in ("x", (await desk.logged_in())["access_token"]):
        assert (await desk.post("introspect", BASIC, token=token)).headers["cache-control"] == "no-store"
