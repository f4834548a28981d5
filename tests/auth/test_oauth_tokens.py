"""``POST /oauth/revoke`` (RFC 7009) and ``POST /oauth/introspect`` (RFC 7662)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from support.oauth import BACK, BASIC, CODE, SECRET, Desk

from roomkey import Issuer, Key
from roomkey.auth import StandaloneAuthority
from roomkey.errors import RevokedToken, Unavailable
from roomkey.stores import Client

NOT_GOOD = {"active": False}


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with Desk.opened() as opened:
        yield opened


async def revoke(desk: Desk, token: str, **more: str):
    return await desk.post("revoke", client_id="page", token=token, **more)


@pytest.mark.parametrize("hint", ["refresh_token", "access_token", "something_else", ""])
async def test_rfc7009_2_1_refresh_token_ends_its_whole_session(desk, hint):
    given = await desk.logged_in()
    answer = await revoke(desk, given["refresh_token"], token_type_hint=hint)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["cache-control"] == "no-store"
    assert (await desk.refresh(given["refresh_token"])).status_code == 400
    with pytest.raises(RevokedToken):
        await desk.authority.verify(given["access_token"])


async def test_revoked_used_refresh_token_ends_its_session_and_is_not_active(desk):
    given = await desk.logged_in()
    assert (await desk.refresh(given["refresh_token"])).status_code == 200
    assert await desk.introspect(given["refresh_token"]) == NOT_GOOD
    await revoke(desk, given["refresh_token"])
    with pytest.raises(RevokedToken):
        await desk.authority.verify(given["access_token"])


@pytest.mark.parametrize("hint", ["refresh_token", "access_token"])
async def test_rfc7009_2_1_access_token_is_revoked_alone(desk, hint):
    given = await desk.logged_in()
    assert (await revoke(desk, given["access_token"], token_type_hint=hint)).status_code == 200
    with pytest.raises(RevokedToken):
        await desk.authority.verify(given["access_token"])
    assert (await desk.refresh(given["refresh_token"])).status_code == 200


async def test_rfc7009_2_1_service_can_revoke_its_own_token(desk):
    given = (await desk.post("token", BASIC, grant_type="client_credentials")).json()
    assert (await desk.post("revoke", BASIC, token=given["access_token"])).status_code == 200
    assert await desk.introspect(given["access_token"]) == NOT_GOOD


async def test_rfc7009_2_1_token_of_another_client_is_rejected_and_stays_valid(desk):
    given = await desk.logged_in()
    for token in (given["access_token"], given["refresh_token"]):
        answer = await desk.post("revoke", BASIC, token=token)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert await desk.authority.verify(given["access_token"])
    assert (await desk.refresh(given["refresh_token"])).status_code == 200


async def test_token_of_the_servers_own_login_belongs_to_no_client(desk):
    own = (await desk.http.post("/auth/login", json={"username": "eve", "password": "correct horse battery"})).json()
    for token in (own["access_token"], own["refresh_token"]):
        assert (await revoke(desk, token)).status_code == 400
    assert await desk.authority.verify(own["access_token"])


@pytest.mark.parametrize("token", ["x", "r" * 43, "a.b.c", "eyJhbGciOiJub25lIn0.e30.", "x" * 10_000, "\x00"])
async def test_rfc7009_2_2_revoking_an_unknown_token_succeeds(desk, token):
    assert (await revoke(desk, token)).status_code == 200
    assert await desk.introspect(token) == NOT_GOOD


async def test_rfc7009_2_2_revoking_twice_succeeds(desk):
    given = await desk.logged_in()
    for token in (given["access_token"], given["refresh_token"]) * 2:
        assert (await revoke(desk, token)).status_code == 200


@pytest.mark.parametrize("path", ["revoke", "introspect"])
async def test_rfc7009_2_1_and_7662_2_1_token_is_required(desk, path):
    for fields in ({}, {"token": ""}):
        answer = await desk.post(path, BASIC, **fields)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("path", ["revoke", "introspect"])
async def test_rfc7009_2_2_1_unavailable_store_is_503_with_retry_after(desk, monkeypatch, path):
    given = await desk.logged_in()

    async def fails(*arguments: object, **named: object) -> None:
        raise Unavailable("the database failed")

    monkeypatch.setattr(StandaloneAuthority, "verify", fails)
    auth = BASIC if path == "introspect" else None
    named = {} if auth else {"client_id": "page"}
    answer = await desk.post(path, auth, token=given["access_token"], **named)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


async def test_rfc7662_2_2_introspection_of_an_access_token(desk):
    given = await desk.logged_in(scope="chat")
    who = await desk.authority.verify(given["access_token"])
    now = desk.clock.now()
    answer = await desk.post("introspect", BASIC, token=given["access_token"], token_type_hint="refresh_token")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {
        "active": True,
        "scope": "chat",
        "client_id": "page",
        "token_type": "Bearer",
        "exp": now + 600,
        "iat": now,
        "sub": "ada",
        "aud": "chat",
        "iss": "https://login.example",
        "jti": who.token_id,
        "sid": who.session_id,
    }, "and neither auth_time nor name"


async def test_introspection_returns_the_released_roles_and_rooms(desk):
    await desk.clients.add(
        Client("open", redirect_uris=(BACK,), grants=CODE, scopes=("roles", "room:red", "room:blue"))
    )
    code = await desk.code(client_id="open")
    given = (await desk.redeem(code, client_id="open")).json()
    told = await desk.introspect(given["access_token"])
    assert (told["roles"], told["rooms"]) == (["admin"], ["red"])


async def test_rfc7662_2_2_introspection_of_the_clients_own_refresh_token(desk):
    code = await desk.code(client_id="backend", scope="jobs")
    given = (await desk.redeem(code, BASIC)).json()
    who = await desk.authority.verify(given["access_token"])
    now = desk.clock.now()
    assert await desk.introspect(given["refresh_token"]) == {
        "active": True,
        "scope": "jobs",
        "client_id": "backend",
        "exp": now + 30 * 86400,
        "iat": now,
        "sub": "ada",
        "iss": "https://login.example",
        "sid": who.session_id,
    }
    await desk.accounts.set_disabled("ada", True)
    assert await desk.introspect(given["refresh_token"]) == NOT_GOOD


async def test_rfc7662_4_refresh_token_of_another_client_is_not_active(desk):
    given = await desk.logged_in()
    assert await desk.introspect(given["refresh_token"]) == NOT_GOOD


async def test_rfc7662_2_2_invalid_token_is_not_active_and_has_no_other_members(desk):
    given = await desk.logged_in()
    head, claims, signature = given["access_token"].split(".")
    stranger = Issuer(Key.generate("ES256"), issuer="https://login.example", audience="chat", clock=desk.clock.now)
    ours = Issuer(desk.issuer.key, issuer="https://login.example", audience="other", clock=desk.clock.now)
    for token in (
        f"{head}.{claims}.{signature[:-4]}AAAA",
        stranger.issue("ada"),
        ours.issue("ada"),
        desk.issuer.issue("ada", expires_in=-1),
        desk.issuer.issue("ada", not_before=desk.clock.now() + 60),
    ):
        assert await desk.introspect(token) == NOT_GOOD
    desk.clock.advance(601)
    assert await desk.introspect(given["access_token"]) == NOT_GOOD


async def test_rfc7662_2_1_public_client_cannot_introspect(desk):
    given = await desk.logged_in()
    answer = await desk.post("introspect", client_id="page", token=given["access_token"])
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_rfc7662_2_1_token_in_the_url_is_ignored(desk):
    given = await desk.logged_in()
    where = f"/oauth/introspect?token={given['access_token']}"
    assert (await desk.http.get(where, auth=BASIC)).status_code == 405
    assert (await desk.http.post(where, data={"foo": "bar"}, auth=BASIC)).status_code == 400


async def test_introspection_returns_rooms_with_their_actions(desk):
    token = desk.issuer.issue("ada", rooms={"team-*": ["join"]}, claims={"client_id": "x"}, expires_in=1.5)
    told = await desk.introspect(token)
    assert (told["rooms"], told["exp"]) == ({"team-*": ["join"]}, desk.clock.now() + 1.5)
    assert SECRET not in str(told)
