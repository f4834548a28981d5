"""RFC 7009: the requirements of the revocation endpoint."""

from __future__ import annotations

import pytest
from support.oauth import BASIC, SECRET
from support.rfc import SHARED, error_of

from roomkey.auth import StandaloneAuthority
from roomkey.errors import Unavailable

pytestmark = SHARED


async def revoke(desk, token, **more):
    return await desk.post("revoke", client_id="page", token=token, **more)


async def is_good(desk, token) -> bool:
    return (await desk.introspect(token))["active"]


async def test_s2_endpoint_uses_tls(desk):
    """Its URL uses https."""
    metadata = await desk.http.get("/.well-known/oauth-authorization-server")
    assert metadata.json()["revocation_endpoint"].startswith("https://")


@pytest.mark.parametrize("kind", ["refresh_token", "access_token"])
async def test_s2_both_kinds_of_tokens_are_revoked_immediately(desk, kind):
    """Refresh tokens and access tokens can be revoked, and are then invalid."""
    given = await desk.logged_in()
    assert (await revoke(desk, given[kind])).status_code == 200
    assert not await is_good(desk, given["access_token"])
    assert (await desk.refresh(given["refresh_token"])).status_code == (400 if kind == "refresh_token" else 200)


@pytest.mark.parametrize("hint", ["access_token", "refresh_token", "something_else", ""])
@pytest.mark.parametrize("kind", ["refresh_token", "access_token"])
async def test_s2_1_wrong_hint_does_not_hide_a_token(desk, kind, hint):
    """If the hint is wrong or unknown, the server still finds the token."""
    given = await desk.logged_in()
    await revoke(desk, given[kind], token_type_hint=hint)
    assert not await is_good(desk, given["access_token"])


async def test_s2_1_refresh_token_ends_the_grant(desk):
    """All access tokens of the grant end with it, and those of other grants do not."""
    first, other = await desk.logged_in(), await desk.logged_in()
    second = (await desk.refresh(first["refresh_token"])).json()
    await revoke(desk, second["refresh_token"])
    for token, good in ((first, False), (second, False), (other, True)):
        assert await is_good(desk, token["access_token"]) is good


@pytest.mark.parametrize("fields", [{}, {"token": ""}, {"token_type_hint": "access_token"}], ids=str)
async def test_s2_1_token_is_required(desk, fields):
    """Without a token the request is invalid."""
    assert error_of(await desk.post("revoke", BASIC, **fields)) == (400, "invalid_request")


@pytest.mark.parametrize(
    "who",
    [
        {},
        {"client_id": "nobody"},
        {"client_id": "backend"},
        {"client_id": "backend", "client_secret": SECRET + "x"},
    ],
    ids=str,
)
async def test_s2_1_client_is_authenticated_first(desk, who):
    """Without authentication, nothing is revoked, not even the client's own token."""
    given = (await desk.post("token", BASIC, grant_type="client_credentials")).json()
    assert error_of(await desk.post("revoke", token=given["access_token"], **who)) == (401, "invalid_client")
    assert await is_good(desk, given["access_token"])


@pytest.mark.parametrize("kind", ["refresh_token", "access_token"])
async def test_s2_1_only_the_client_of_a_token_can_revoke_it(desk, kind):
    """Another client gets an error, and the token stays valid."""
    given = await desk.logged_in()
    assert error_of(await desk.post("revoke", BASIC, token=given[kind])) == (400, "invalid_grant")
    assert await is_good(desk, given["access_token"])
    assert (await desk.refresh(given["refresh_token"])).status_code == 200


@pytest.mark.parametrize("token", ["unknown", "r" * 43, "a.b.c"])
async def test_s2_2_revoking_an_invalid_token_succeeds(desk, token):
    """Unknown and already revoked tokens get 200, because they are invalid, as requested."""
    assert (await revoke(desk, token)).status_code == 200
    given = await desk.logged_in()
    for _ in range(2):
        answer = await revoke(desk, given["refresh_token"])
        assert (answer.status_code, answer.content) == (200, b"")


async def test_s2_2_1_client_retries_if_the_result_is_uncertain(desk, monkeypatch):
    """The response is 503 with Retry-After, and the token stays valid."""
    given = await desk.logged_in()

    async def fails(*arguments: object, **named: object) -> None:
        raise Unavailable("the database failed")

    with monkeypatch.context() as broken:
        broken.setattr(StandaloneAuthority, "revoke", fails)
        answer = await revoke(desk, given["refresh_token"])
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert await is_good(desk, given["access_token"])
    assert (await desk.refresh(given["refresh_token"])).status_code == 200


async def test_s2_3_page_cannot_revoke_by_loading_a_script(desk):
    """The endpoint supports neither GET nor callbacks."""
    assert (await desk.http.get("/oauth/revoke", params={"token": "t", "callback": "f"})).status_code == 405
