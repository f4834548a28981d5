"""RFC 9700: the best current practice for OAuth 2.0 security, as far as it concerns servers."""

from __future__ import annotations

import re

import pytest
from support.oauth import BACK, BASIC, HASH, PASSWORD, SECRET, URL
from support.rfc import ADA, SHARED, Served, error_of, is_page, refusal, sent_back

from roomkey import Issuer
from roomkey.errors import ConfigError, RevokedToken
from roomkey.stores import Client

pytestmark = SHARED
METADATA = "/.well-known/oauth-authorization-server"
INVALID_GRANT = (400, "invalid_grant")


@pytest.mark.parametrize(
    "other",
    [
        BACK + "/",
        BACK + "&more=1",
        BACK.upper(),
        BACK.replace("https", "http"),
        BACK.replace("app.example", "app.example:443"),
        BACK.replace("app.example", "sub.app.example"),
        BACK.replace("app.example", "app.example@evil.example"),
        BACK.replace("/back", "/x/../back"),
        BACK.replace("/back", "/%62ack"),
        "https://app.example/back",
        BACK + "#x",
    ],
)
async def test_s2_1_and_4_1_3_redirect_uris_must_be_identical(desk, other):
    """A URI that matches only by a pattern or after normalization is rejected."""
    assert is_page(await desk.show(redirect_uri=other))


@pytest.mark.parametrize("client_id", ["page", "backend", "short"])
async def test_s2_1_1_pkce_is_required_for_every_client(desk, client_id):
    """This includes clients with a secret: no client gets a code without PKCE."""
    told = await refusal(desk, await desk.show(client_id=client_id, code_challenge=None))
    assert told["error"] == "invalid_request"


@pytest.mark.parametrize(("auth", "client_id"), [(None, "page"), (BASIC, "backend")], ids=str)
async def test_s2_1_1_and_4_5_stolen_code_is_useless_without_its_verifier(desk, auth, client_id):
    """Another verifier, or none, returns no token and consumes the code."""
    for verifier in ("w" * 43, ""):
        code = await desk.code(client_id=client_id)
        assert (await desk.redeem(code, auth, code_verifier=verifier)).status_code == 400


@pytest.mark.parametrize(
    "changed", [{"code_challenge": None}, {"code_challenge_method": None}, {"code_challenge": ""}], ids=str
)
async def test_s2_1_1_and_4_8_2_pkce_cannot_be_downgraded(desk, changed):
    """A request without its challenge gets no code that could be presented with a verifier."""
    assert "code" not in await refusal(desk, await desk.show(**changed))


async def test_s2_1_1_metadata_announces_pkce(desk):
    """The metadata says so."""
    assert "S256" in (await desk.http.get(METADATA)).json()["code_challenge_methods_supported"]


@pytest.mark.parametrize("asked", ["token", "code token", "id_token token"])
async def test_s2_1_2_no_token_is_in_a_url(desk, asked):
    """No response type returns tokens from the authorization endpoint."""
    assert (await refusal(desk, await desk.show(response_type=asked)))["error"] == "unsupported_response_type"


@pytest.mark.parametrize(("auth", "client_id"), [(None, "page"), (BASIC, "backend")], ids=str)
async def test_s2_2_2_and_4_14_2_refresh_tokens_rotate_and_reuse_ends_the_grant(desk, auth, client_id):
    """A refresh returns another token; presenting the old one again ends the whole session."""
    first = (await desk.redeem(await desk.code(client_id=client_id), auth)).json()
    second = (await desk.refresh(first["refresh_token"], auth)).json()
    third = (await desk.refresh(second["refresh_token"], auth)).json()
    assert len({one["refresh_token"] for one in (first, second, third)}) == 3
    assert error_of(await desk.refresh(first["refresh_token"], auth)) == INVALID_GRANT
    assert error_of(await desk.refresh(third["refresh_token"], auth)) == INVALID_GRANT
    with pytest.raises(RevokedToken):
        await desk.authority.verify(third["access_token"])


async def test_s2_3_and_4_10_2_token_is_for_one_audience(served):
    """It names its server, and a server rejects tokens that name another."""
    given = await served.own_login()
    assert (await served.introspect(given["access_token"]))["aud"] == "chat"
    other = Issuer(served.key, issuer=URL, audience="elsewhere", token_type="at+jwt")
    assert (await served.ask(other.issue("ada"))).status_code == 401


async def test_s2_3_token_has_no_more_rights_than_allowed(desk):
    """A client gets the scope that the user saw, and cannot use the user's own routes."""
    given = await desk.logged_in(scope="chat")
    assert given["scope"] == "chat"
    headers = {"Authorization": f"Bearer {given['access_token']}"}
    assert (await desk.http.get("/auth/sessions", headers=headers)).status_code == 403


@pytest.mark.parametrize("client_id", ["page", "backend"])
async def test_s2_4_password_grant_does_not_exist(desk, client_id):
    """No client gets a token for a password, and the metadata does not name the grant."""
    sent = {"grant_type": "password", "username": "ada", "password": PASSWORD}
    proof = {"client_id": "page"} if client_id == "page" else {"client_id": client_id, "client_secret": SECRET}
    assert error_of(await desk.post("token", **sent, **proof)) == (400, "unsupported_grant_type")
    assert "password" not in (await desk.http.get(METADATA)).json()["grant_types_supported"]


@pytest.mark.parametrize(
    "uri", ["http://app.example/back", "http://192.0.2.7/back", "http://127.0.0.1.evil.example/back"]
)
async def test_s2_6_no_code_is_sent_in_the_clear(uri):
    """The store rejects redirect URIs with plain http, except on the user's own machine."""
    for own in ("https://app.example/back", "http://127.0.0.1:8400/back", "http://[::1]:8400/back", "com.app://back"):
        assert Client("x", redirect_uris=(own,), grants=("authorization_code",))
    with pytest.raises(ConfigError):
        Client("x", redirect_uris=(uri,), grants=("authorization_code",))


async def test_s2_6_script_of_another_origin_cannot_read_the_authorization_endpoint():
    """CORS can be enabled for the other endpoints, but not for this one."""
    page = {"Origin": "https://app.example"}
    async with Served.opened(cors_origins=("https://app.example",)) as opened:
        token = await opened.http.post("/oauth/token", headers=page, data={"client_id": "page"})
        assert token.headers["access-control-allow-origin"] == "https://app.example"
        query = (await opened.show()).url.query.decode()
        for method in ("GET", "OPTIONS"):
            asked = page | ({"Access-Control-Request-Method": "POST"} if method == "OPTIONS" else {})
            answer = await opened.http.request(method, f"/oauth/authorize?{query}", headers=asked)
            assert "access-control-allow-origin" not in answer.headers


async def test_s4_2_4_page_leaks_no_url(desk):
    """Page and redirect have no-referrer, and the page has no external links or resources."""
    page = await desk.show()
    answer = await desk.submit(page)
    assert page.headers["referrer-policy"] == answer.headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.findall(r"""(?:src|href)\s*=|@import|url\(""", page.text)


async def test_s4_2_4_and_4_3_1_code_is_invalid_after_its_first_use(desk):
    """A code in a log or a history is useless, and the response with it is not cached."""
    answer = await desk.submit(await desk.show())
    code = sent_back(answer)["code"]
    assert answer.headers["cache-control"] == "no-store"
    assert (await desk.redeem(code)).status_code == 200
    assert error_of(await desk.redeem(code)) == INVALID_GRANT


async def test_s4_4_2_1_response_names_its_issuer(desk):
    """Against mix-up attacks, responses with codes and errors contain ``iss``."""
    assert sent_back(await desk.submit(await desk.show()))["iss"] == URL
    assert (await refusal(desk, await desk.show(scope="admin")))["iss"] == URL


@pytest.mark.parametrize("changed", [{"scope": "admin"}, {"response_type": "token"}, {"code_challenge": None}], ids=str)
async def test_s4_11_2_browser_is_redirected_only_after_login(desk, changed):
    """A link with an invalid request does not redirect the visitor's browser."""
    assert is_page(await desk.show(**changed))


@pytest.mark.parametrize("decision", ["allow", "deny"])
async def test_s4_12_redirect_does_not_resend_the_password_form(desk, decision):
    """The redirect is 303, which browsers follow with GET, and never 307."""
    answer = await desk.submit(await desk.show(), decision=decision)
    assert answer.status_code == 303
    assert PASSWORD not in answer.headers["location"]


@pytest.mark.parametrize("path", ["/oauth/authorize/", "/auth/login/"])
async def test_s4_12_redirect_from_a_mistyped_path_does_not_resend_the_password(served, path):
    """An additional slash does not cause a 307, which would send the body again."""
    assert (await served.http.post(path, data=ADA)).status_code in (303, 404)


@pytest.mark.parametrize("engine", ["hub", "python-socketio"])
async def test_s4_13_client_cannot_act_as_a_proxy(engine):
    """The server ignores proxy headers of clients, here a host that another origin would need."""
    forged = {"Origin": "https://evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}
    async with Served.opened(engine=engine) as opened:
        where = "/socket.io/?EIO=4&transport=polling"
        assert (await opened.http.get(where, headers={"Origin": URL})).status_code == 200
        assert (await opened.http.get(where, headers=forged)).status_code in (400, 403)


async def test_s4_14_2_refresh_token_stays_within_its_grant_and_expires(desk):
    """It has no more scope than the user saw, and does not outlive its session."""
    given = await desk.logged_in(scope="chat")
    assert error_of(await desk.refresh(given["refresh_token"], scope="files")) == (400, "invalid_scope")
    desk.clock.advance(30 * 86400)
    assert error_of(await desk.refresh(given["refresh_token"])) == INVALID_GRANT


async def test_s4_14_2_refresh_token_ends_with_password_change_and_logout(served):
    """Changes of the account end its other sessions."""
    mine, other = await served.own_login(), await served.logged_in()
    headers = {"Authorization": f"Bearer {mine['access_token']}"}
    changed = await served.http.post(
        "/auth/password", headers=headers, json={"password": PASSWORD, "new_password": PASSWORD}
    )
    assert changed.status_code == 200
    assert error_of(await served.refresh(other["refresh_token"])) == INVALID_GRANT
    assert (await served.http.post("/auth/logout", headers=headers)).status_code == 200
    refreshed = await served.http.post("/auth/refresh", json={"refresh_token": mine["refresh_token"]})
    assert error_of(refreshed) == (401, "invalid_grant")


async def test_s4_15_1_client_cannot_act_as_a_user(desk):
    """A client with the name of an account gets no token, even if the account is newer."""
    await desk.clients.add(Client("eve", HASH, grants=("client_credentials",)))
    for name in ("ada", "eve"):
        assert error_of(await desk.post("token", (name, SECRET), grant_type="client_credentials")) == INVALID_GRANT


@pytest.mark.parametrize("what", ["page", "page again", "error"])
async def test_s4_16_no_page_of_the_server_can_be_framed(served, what):
    """Every page has Content-Security-Policy and, for older browsers, X-Frame-Options."""
    first = await served.show()
    answer = {
        "page": first,
        "page again": await served.submit(first, password=""),
        "error": await served.show(client_id="nobody"),
    }[what]
    assert is_page(answer)
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-frame-options"] == "DENY"
