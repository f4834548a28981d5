"""``POST /oauth/token``: what each grant returns and rejects (RFC 6749)."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from support.oauth import BACK, BASIC, CODE, PASSWORD, SECRET, Desk, query_of

from roomkey.auth import LoginService
from roomkey.errors import RevokedToken, Unavailable
from roomkey.stores import Client


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with Desk.opened() as opened:
        yield opened


def error_of(answer) -> tuple[int, str]:
    assert answer.headers["cache-control"] == "no-store"
    assert set(answer.json()) == {"error", "error_description"}
    return answer.status_code, answer.json()["error"]


async def test_rfc6749_5_1_code_gets_tokens_that_are_not_cached(desk):
    answer = await desk.redeem(await desk.code())
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["pragma"] == "no-cache"
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"access_token", "token_type", "expires_in", "refresh_token", "scope"}
    assert (body["token_type"], body["expires_in"], body["scope"]) == ("Bearer", 600, "chat files")
    who = await desk.authority.verify(body["access_token"])
    assert (who.subject, who.roles, who.rooms, who.scopes) == ("ada", set(), (), {"chat", "files"})
    [session] = await desk.logins.list_sessions("ada")
    assert (
        (session.session_id, session.client_id) == (who.session_id, "page") == (who.session_id, who.claims["client_id"])
    )


async def test_rfc6749_3_3_response_names_a_scope_that_differs(desk):
    assert (await desk.logged_in(scope="files"))["scope"] == "files"


async def test_rfc6749_5_1_client_without_the_refresh_grant_gets_no_refresh_token(desk):
    answer = await desk.redeem(await desk.code(client_id="short"), client_id="short")
    assert set(answer.json()) == {"access_token", "token_type", "expires_in"}
    [session] = await desk.logins.list_sessions("ada")
    assert session.expires_at == desk.clock.now() + 600, "the login ends with its only token"


async def test_rfc6749_4_4_3_service_gets_its_own_token(desk):
    answer = await desk.post("token", BASIC, grant_type="client_credentials", scope="jobs")
    assert answer.status_code == 200
    assert set(answer.json()) == {"access_token", "token_type", "expires_in", "scope"}
    who = await desk.authority.verify(answer.json()["access_token"])
    assert (who.subject, who.roles, who.rooms, who.scopes) == ("backend", {"worker"}, ("red",), {"jobs"})
    assert who.session_id is None
    assert who.claims["client_id"] == "backend"


async def test_rfc9700_4_15_service_cannot_have_the_name_of_a_user(desk):
    answer = await desk.post("token", ("ada", SECRET), grant_type="client_credentials")
    assert error_of(answer) == (400, "invalid_grant")


async def test_rfc6749_6_refresh_consumes_the_token_and_returns_the_next(desk):
    first = await desk.logged_in()
    second = (await desk.refresh(first["refresh_token"])).json()
    third = (await desk.refresh(second["refresh_token"])).json()
    assert len({one["refresh_token"] for one in (first, second, third)}) == 3
    assert len({(await desk.authority.verify(one["access_token"])).session_id for one in (first, second, third)}) == 1


async def test_rfc6749_6_refresh_can_narrow_the_scope_and_later_restore_it(desk):
    first = await desk.logged_in()
    second = (await desk.refresh(first["refresh_token"], scope="chat")).json()
    assert second["scope"] == "chat"
    assert (await desk.authority.verify(second["access_token"])).scopes == {"chat"}
    assert (await desk.refresh(second["refresh_token"])).json()["scope"] == "chat files"


async def test_rfc6749_6_refresh_cannot_extend_the_scope_and_keeps_the_token(desk):
    first = await desk.logged_in(scope="chat")
    assert error_of(await desk.refresh(first["refresh_token"], scope="chat files")) == (400, "invalid_scope")
    second = (await desk.refresh(first["refresh_token"])).json()
    assert error_of(await desk.refresh(first["refresh_token"], scope="files")) == (400, "invalid_scope")
    assert (await desk.refresh(second["refresh_token"])).status_code == 200


@pytest.mark.checklist("G98")
async def test_replayed_refresh_token_ends_its_login_session(desk):
    first = await desk.logged_in()
    second = (await desk.refresh(first["refresh_token"])).json()
    third = (await desk.refresh(second["refresh_token"])).json()
    assert error_of(await desk.refresh(first["refresh_token"])) == (400, "invalid_grant")
    assert error_of(await desk.refresh(third["refresh_token"])) == (400, "invalid_grant")
    for given in (first, second, third):
        with pytest.raises(RevokedToken):
            await desk.authority.verify(given["access_token"])


@pytest.mark.checklist("G100")
async def test_refresh_token_of_another_client_is_rejected_and_stays_valid(desk):
    first = await desk.logged_in()
    assert error_of(await desk.refresh(first["refresh_token"], BASIC)) == (400, "invalid_grant")
    assert (await desk.http.post("/auth/refresh", json={"refresh_token": first["refresh_token"]})).status_code == 401
    assert (await desk.refresh(first["refresh_token"])).status_code == 200


@pytest.mark.checklist("G100")
async def test_disabled_user_gets_no_token(desk):
    first = await desk.logged_in()
    code = await desk.code()
    await desk.accounts.set_disabled("ada", True)
    assert error_of(await desk.refresh(first["refresh_token"])) == (400, "invalid_grant")
    assert error_of(await desk.redeem(code)) == (400, "invalid_grant")


@pytest.mark.checklist("G100")
async def test_disabled_client_gets_no_token(desk):
    first = await desk.logged_in()
    code = await desk.code()
    await desk.clients.set_disabled("page", True)
    assert error_of(await desk.refresh(first["refresh_token"])) == (401, "invalid_client")
    assert error_of(await desk.redeem(code)) == (401, "invalid_client")


@pytest.mark.checklist("G100")
async def test_refresh_fails_after_the_login_session_has_expired(desk):
    first = await desk.logged_in()
    desk.clock.advance(30 * 86400)
    assert error_of(await desk.refresh(first["refresh_token"])) == (400, "invalid_grant")


@pytest.mark.checklist("G101")
async def test_refresh_retry_after_a_lost_response_returns_the_same_token(desk):
    first = await desk.logged_in()
    lost = (await desk.refresh(first["refresh_token"])).json()
    desk.clock.advance(10)
    again = (await desk.refresh(first["refresh_token"])).json()
    assert again["refresh_token"] == lost["refresh_token"]
    assert (await desk.refresh(again["refresh_token"])).status_code == 200


@pytest.mark.parametrize("grant", ["password", "implicit", "urn:ietf:params:oauth:grant-type:device_code", "x"])
async def test_rfc6749_5_2_other_grants_are_unsupported(desk, grant):
    answer = await desk.post("token", BASIC, grant_type=grant, username="ada", password=PASSWORD)
    assert error_of(answer) == (400, "unsupported_grant_type")


@pytest.mark.parametrize(
    ("auth", "fields"),
    [
        (None, {"client_id": "page", "grant_type": "client_credentials"}),
        (("service", SECRET), {"grant_type": "refresh_token", "refresh_token": "r" * 43}),
    ],
)
async def test_rfc6749_5_2_grant_that_the_client_does_not_have_is_unauthorized(desk, auth, fields):
    assert error_of(await desk.post("token", auth, **fields)) == (400, "unauthorized_client")


@pytest.mark.parametrize(
    "fields",
    [
        {"grant_type": "refresh_token"},
        {"grant_type": "refresh_token", "refresh_token": ""},
        {"grant_type": ""},
        {},
        {"grant_type": "authorization_code", "code": "c", "redirect_uri": "u"},
        {"grant_type": "authorization_code", "code": "c", "code_verifier": "v"},
        {"grant_type": "authorization_code", "redirect_uri": "u", "code_verifier": "v"},
    ],
)
async def test_rfc6749_3_2_missing_or_empty_parameter_is_an_invalid_request(desk, fields):
    assert error_of(await desk.post("token", client_id="page", **fields)) == (400, "invalid_request")


async def test_rfc6749_3_2_unknown_parameter_is_ignored(desk):
    answer = await desk.post("token", BASIC, grant_type="client_credentials", resource="https://x.example", foo="")
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        ("application/x-www-form-urlencoded", b"grant_type=client_credentials&grant_type=client_credentials"),
        ("application/x-www-form-urlencoded", b"grant_type=client_credentials&scope=chat&scope=jobs"),
        ("application/json", b'{"grant_type": "client_credentials", "scope": "chat", "scope": "jobs"}'),
        ("application/json", b'{"grant_type": "client_credentials", "scope": ["chat"]}'),
        ("text/plain", b"grant_type=client_credentials"),
    ],
)
async def test_rfc6749_3_2_repeated_parameter_is_an_invalid_request(desk, kind, raw):
    answer = await desk.http.post("/oauth/token", content=raw, headers={"Content-Type": kind}, auth=BASIC)
    assert error_of(answer) == (400, "invalid_request")


async def test_token_endpoint_accepts_json(desk):
    answer = await desk.http.post("/oauth/token", json={"grant_type": "client_credentials", "scope": None}, auth=BASIC)
    assert answer.status_code == 200


async def test_token_endpoint_rejects_a_large_body(desk):
    assert error_of(await desk.post("token", BASIC, grant_type="x" * 20_000)) == (413, "invalid_request")


async def test_rfc6749_3_2_only_post_gets_tokens(desk):
    assert (
        await desk.http.get("/oauth/token", params={"grant_type": "client_credentials"}, auth=BASIC)
    ).status_code == 405
    assert (await desk.http.post("/oauth/token?grant_type=client_credentials", auth=BASIC)).status_code == 400


@pytest.mark.parametrize("scope", ["admin", "chat admin", "CHAT", "chat,jobs"])
async def test_rfc6749_5_2_scope_that_the_client_does_not_have_is_invalid(desk, scope):
    answer = await desk.post("token", BASIC, grant_type="client_credentials", scope=scope)
    assert error_of(answer) == (400, "invalid_scope")


async def test_token_endpoint_responds_with_503_if_a_store_is_unavailable(desk, monkeypatch):
    async def fails(*arguments: object, **named: object) -> None:
        raise Unavailable("the database failed")

    monkeypatch.setattr(LoginService, "refresh", fails)
    answer = await desk.refresh("r" * 43)
    assert error_of(answer) == (503, "temporarily_unavailable")
    assert answer.headers["retry-after"] == "1"


@pytest.mark.checklist("H113")
async def test_logs_and_errors_contain_no_secret(desk, caplog):
    caplog.set_level(logging.DEBUG)
    verifier = "the-verifier-of-this-very-test-0123456789-abcd"
    code = await desk.code(verifier)
    given = (await desk.redeem(code, code_verifier=verifier)).json()
    answers = [
        await desk.redeem(code, code_verifier=verifier),
        await desk.refresh(given["refresh_token"], BASIC),
        await desk.refresh(given["refresh_token"]),
        await desk.post("token", ("backend", SECRET + "x"), grant_type="client_credentials"),
        await desk.post("token", grant_type="client_credentials", client_id="backend", client_secret=SECRET + "x"),
        await desk.submit(await desk.show(), password="typed by mistake"),
    ]
    assert [answer.status_code for answer in answers] == [400, 400, 400, 401, 401, 400]
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("roomkey")]
    assert {json.loads(line)["event"] for line in lines} >= {"login", "code_reused", "token_refused", "client_refused"}
    shown = "\n".join([*lines, *(answer.text for answer in answers)])
    for secret in (code, verifier, SECRET, PASSWORD, "by mistake", *given.values()):
        assert str(secret) not in shown.replace("600", "") or secret in ("Bearer", "chat files", 600)
    assert "eyJ" not in shown


@pytest.mark.checklist("I116")
async def test_no_client_gets_a_reserved_scope(desk):
    """A client stored by an older version, its codes and its sessions do not give users the scope."""
    await desk.clients.add(Client("old", redirect_uris=(BACK,), grants=CODE, scopes=("chat", "files")))
    everything = text("UPDATE clients SET scopes = :scopes WHERE client_id = 'old'")
    await desk.clients._database.change(everything.bindparams(scopes='["chat", "roomkey:admin"]'))
    first = (await desk.redeem(await desk.code(client_id="old"), client_id="old")).json()
    await desk.clients._database.change(text("UPDATE login_sessions SET scope = 'chat roomkey:admin'"))
    second = (await desk.refresh(first["refresh_token"], client_id="old")).json()
    for given in (first, second):
        assert given["scope"] == "chat"
        assert (await desk.authority.verify(given["access_token"])).scopes == {"chat"}
    refused = await desk.submit(await desk.show(client_id="old", scope="roomkey:admin"))
    assert query_of(refused.headers["location"])["error"] == "invalid_scope"
    code = await desk.code(client_id="old")
    await desk.clients._database.change(text("""UPDATE one_time SET data = replace(data, 'chat', 'roomkey:admin')"""))
    assert (await desk.redeem(code, client_id="old")).json().get("scope") is None


async def test_first_party_client_gets_all_roles_and_rooms_also_at_a_refresh(desk):
    await desk.clients.add(Client("ours", redirect_uris=(BACK,), grants=CODE, scopes=("chat",), first_party=True))
    first = (await desk.redeem(await desk.code(client_id="ours"), client_id="ours")).json()
    second = (await desk.refresh(first["refresh_token"], client_id="ours")).json()
    for given in (first, second):
        who = await desk.authority.verify(given["access_token"])
        assert (who.roles, who.rooms, who.scopes) == ({"admin"}, ("red",), {"chat"})
