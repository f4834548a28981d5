"""RFC 6749: the requirements of the token endpoint and its clients."""

from __future__ import annotations

import re
from base64 import b64encode
from urllib.parse import quote_plus

import pytest
from support.oauth import BACK, BASIC, HASH, SECRET, Desk
from support.rfc import ADA, SHARED, error_of, refusal

from roomkey.auth.authorization_codes import CODE_LIFETIME
from roomkey.auth.throttle import FREE_FOR_PAIR
from roomkey.errors import ConfigError, RevokedToken
from roomkey.stores import Client

pytestmark = SHARED
SERVICE = {"grant_type": "client_credentials"}


@pytest.mark.parametrize("path", ["token", "revoke", "introspect"])
async def test_s2_3_request_uses_one_authentication_method(desk, path):
    """Header and body together are rejected, even if both are right."""
    answer = await desk.post(path, BASIC, token="t", client_id="backend", client_secret=SECRET, **SERVICE)
    assert error_of(answer) == (400, "invalid_request")


@pytest.mark.parametrize("name", ["backend", "a:b%c+ü"])
async def test_s2_3_1_http_basic_is_supported_with_both_parts_form_encoded(desk, name):
    """A client with a secret can use HTTP Basic, and its name can contain any character."""
    if name != "backend":
        await desk.clients.add(Client(name, HASH, grants=("client_credentials",)))
    encoded = b64encode(f"{quote_plus(name)}:{quote_plus(SECRET)}".encode()).decode()
    answer = await desk.http.post("/oauth/token", data=SERVICE, headers={"Authorization": f"Basic {encoded}"})
    assert answer.status_code == 200


async def test_s2_3_1_secret_in_the_url_is_ignored(desk):
    """Name and secret in the query do not authenticate a client."""
    where = f"/oauth/token?client_id=backend&client_secret={SECRET}"
    assert error_of(await desk.http.post(where, data=SERVICE)) == (401, "invalid_client")


async def test_s2_3_1_guessing_secrets_is_throttled():
    """The endpoint protects the secrets of clients against brute force."""
    async with Desk.opened() as alone:
        for _ in range(FREE_FOR_PAIR):
            await alone.post("token", ("backend", "guess"), **SERVICE)
        assert error_of(await alone.post("token", BASIC, **SERVICE))[0] == 429


async def test_s3_2_token_endpoint_accepts_only_post(desk):
    """A GET request returns no token."""
    answer = await desk.http.get("/oauth/token", params=SERVICE, auth=BASIC)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("body", ["grant_type=", "grant_type=client_credentials&scope=chat&scope=chat"])
async def test_s3_2_empty_parameters_are_ignored_and_repeated_ones_rejected(desk, body):
    """Empty parameters are ignored; a repeated one makes the request invalid."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert error_of(await desk.http.post("/oauth/token", content=body, headers=headers, auth=BASIC)) == (
        400,
        "invalid_request",
    )


async def test_s3_2_1_confidential_client_must_authenticate(desk):
    """Without its secret it gets no token for a code, for a refresh token, or for itself."""
    code = await desk.code(client_id="backend")
    for fields in (
        {"grant_type": "authorization_code", "code": code, "redirect_uri": BACK, "code_verifier": "v" * 43},
        {"grant_type": "refresh_token", "refresh_token": "r" * 43},
        SERVICE,
    ):
        assert error_of(await desk.post("token", client_id="backend", **fields)) == (401, "invalid_client")
    assert (await desk.redeem(code, BASIC)).status_code == 200


async def test_s3_2_1_public_client_sends_its_name(desk):
    """Without client_id the server does not exchange a code."""
    answer = await desk.redeem(await desk.code(), client_id="")
    assert error_of(answer) == (401, "invalid_client")


@pytest.mark.parametrize(
    ("asked", "given"), [(None, "chat files"), ("files", "files"), ("files chat", "files chat"), ("chat chat", "chat")]
)
async def test_s3_3_response_names_the_issued_scope(desk, asked, given):
    """By default it is everything; the order does not matter; a difference from the request is in the response."""
    assert (await desk.logged_in(scope=asked))["scope"] == given


@pytest.mark.parametrize("asked", ["CHAT", "chat admin", "chat,files"])
async def test_s3_3_scopes_are_case_sensitive_and_separated_by_spaces(desk, asked):
    """Another case or another separator makes another scope."""
    assert (await refusal(desk, await desk.show(scope=asked)))["error"] == "invalid_scope"


async def test_s4_1_2_code_expires_shortly(desk):
    """It expires in time, after less than ten minutes."""
    code = await desk.code()
    assert CODE_LIFETIME <= 600
    desk.clock.advance(CODE_LIFETIME)
    assert error_of(await desk.redeem(code)) == (400, "invalid_grant")


async def test_s4_1_2_and_10_5_code_is_single_use(desk):
    """The second use fails, and the tokens of the first are revoked."""
    code = await desk.code()
    given = (await desk.redeem(code)).json()
    assert error_of(await desk.redeem(code)) == (400, "invalid_grant")
    with pytest.raises(RevokedToken):
        await desk.authority.verify(given["access_token"])
    assert error_of(await desk.refresh(given["refresh_token"])) == (400, "invalid_grant")


@pytest.mark.parametrize("field", ["redirect_uri", "code", "code_verifier"])
async def test_s4_1_3_parameters_of_the_exchange_are_required(desk, field):
    """This includes the redirect URI, which was in the authorization request."""
    sent = {"code": "c" * 43, "redirect_uri": BACK, "code_verifier": "v" * 43, field: ""}
    answer = await desk.post("token", client_id="page", grant_type="authorization_code", **sent)
    assert error_of(answer) == (400, "invalid_request")


@pytest.mark.parametrize("other", ["https://app.example/back", BACK + "&x=1", "com.app://back"])
async def test_s4_1_3_and_10_6_redirect_uri_is_that_of_the_request(desk, other):
    """A code is exchanged only with the redirect URI that received it."""
    assert error_of(await desk.redeem(await desk.code(), redirect_uri=other)) == (400, "invalid_grant")


async def test_s4_1_3_code_belongs_to_its_client(desk):
    """Another client gets nothing for it, with or without authentication."""
    assert error_of(await desk.redeem(await desk.code(), BASIC)) == (400, "invalid_grant")
    assert error_of(await desk.redeem(await desk.code(client_id="backend"))) == (400, "invalid_grant")


async def test_s4_4_client_credentials_are_for_confidential_clients(desk):
    """A public client cannot be registered for them."""
    with pytest.raises(ConfigError):
        Client("x", grants=("client_credentials",))
    assert error_of(await desk.post("token", client_id="page", **SERVICE)) == (400, "unauthorized_client")


async def test_s4_4_3_client_credentials_get_no_refresh_token(desk):
    """A service requests a new token instead."""
    assert "refresh_token" not in (await desk.post("token", BASIC, **SERVICE)).json()


async def test_s5_1_responses_are_not_cached(desk):
    """Every response with a token is JSON with no-store and no-cache."""
    code = await desk.redeem(await desk.code())
    login = await desk.http.post("/auth/login", json=ADA)
    for answer in (
        code,
        await desk.refresh(code.json()["refresh_token"]),
        await desk.post("token", BASIC, **SERVICE),
        login,
        await desk.http.post("/auth/refresh", json={"refresh_token": login.json()["refresh_token"]}),
    ):
        body, headers = answer.json(), answer.headers
        assert (answer.status_code, headers["content-type"]) == (200, "application/json")
        assert (headers["cache-control"], headers["pragma"]) == ("no-store", "no-cache")
        assert (body["token_type"].lower(), type(body["access_token"]), body["expires_in"]) == ("bearer", str, 600)


@pytest.mark.parametrize(
    ("auth", "fields", "expected"),
    [
        (BASIC, {}, (400, "invalid_request")),
        (BASIC, {"grant_type": "refresh_token"}, (400, "invalid_request")),
        (BASIC, {"grant_type": "refresh_token", "refresh_token": "r" * 43}, (400, "invalid_grant")),
        (("service", SECRET), {"grant_type": "authorization_code", "code": "c"}, (400, "unauthorized_client")),
        (BASIC, {"grant_type": "urn:x"}, (400, "unsupported_grant_type")),
        (BASIC, SERVICE | {"scope": "admin"}, (400, "invalid_scope")),
        (None, SERVICE, (401, "invalid_client")),
        (None, SERVICE | {"client_id": "gone", "client_secret": SECRET}, (401, "invalid_client")),
    ],
    ids=str,
)
async def test_s5_2_each_error_has_its_code(desk, auth, fields, expected):
    """The errors are 400 with one of six codes, and 401 for an unknown client."""
    assert error_of(await desk.post("token", auth, **fields)) == expected


@pytest.mark.parametrize("path", ["token", "revoke", "introspect"])
async def test_s5_2_client_that_fails_with_basic_is_challenged_for_basic(desk, path):
    """The response is 401 with WWW-Authenticate of the scheme that was used."""
    answer = await desk.post(path, ("backend-of-" + path, "wrong"), token="t", **SERVICE)
    assert error_of(answer) == (401, "invalid_client")
    assert answer.headers["www-authenticate"].startswith("Basic realm=")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/auth/login", {"username": "nobody", "password": "wrong"}),
        ("POST", "/auth/login", {"username": 1}),
        ("POST", "/auth/refresh", {"refresh_token": "r" * 43}),
        ("POST", "/auth/login", ADA | {"cookies": True}),
        ("POST", "/auth/logout", None),
        ("GET", "/auth/sessions", None),
    ],
    ids=str,
)
async def test_s5_2_descriptions_contain_plain_characters(desk, method, path, body):
    """They are ASCII without quote and backslash, also on the login routes."""
    assert error_of(await desk.http.request(method, path, json=body))[0] in (400, 401)


async def test_s6_refresh_cannot_extend_the_grant(desk):
    """A scope that the session does not have is invalid; the default is the session's scope."""
    given = await desk.logged_in(scope="chat")
    assert error_of(await desk.refresh(given["refresh_token"], scope="chat files")) == (400, "invalid_scope")
    assert (await desk.refresh(given["refresh_token"])).json()["scope"] == "chat"


async def test_s6_next_refresh_token_has_the_scope_of_the_last(desk):
    """A narrower access token does not narrow later ones."""
    given = await desk.logged_in()
    narrow = (await desk.refresh(given["refresh_token"], scope="files")).json()
    assert (narrow["scope"], (await desk.refresh(narrow["refresh_token"])).json()["scope"]) == ("files", "chat files")


async def test_s6_and_10_4_refresh_token_belongs_to_its_client(desk):
    """Another client cannot use it, and it stays valid for its own."""
    given = await desk.logged_in()
    assert error_of(await desk.refresh(given["refresh_token"], BASIC)) == (400, "invalid_grant")
    assert (await desk.refresh(given["refresh_token"])).status_code == 200


async def test_s10_3_changed_access_token_is_invalid(desk):
    """A token with any part exchanged is rejected."""
    mine, other = await desk.logged_in(), await desk.logged_in()
    parts, others = mine["access_token"].split("."), other["access_token"].split(".")
    for changed in ((parts[0], others[1], parts[2]), (*parts[:2], others[2]), (*parts[:2], "")):
        assert (await desk.introspect(".".join(changed))) == {"active": False}


async def test_s10_10_issued_values_cannot_be_guessed(desk):
    """Codes and refresh tokens have 256 bits, and never repeat."""
    codes = [await desk.code() for _ in range(3)]
    fresh = [(await desk.redeem(code)).json()["refresh_token"] for code in codes]
    assert len({*codes, *fresh}) == 6
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", one) for one in (*codes, *fresh))
