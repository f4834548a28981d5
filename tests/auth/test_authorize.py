"""``GET`` and ``POST /oauth/authorize``: RFC 6749 section 4.1, RFC 7636 section 4.3, RFC 9207, RFC 9700."""

from __future__ import annotations

import json
import logging
import re
from base64 import b64encode
from hashlib import sha256

import pytest
from support.oauth import BACK, PASSWORD, URL, Desk, Form, challenge_of, query_of

from roomkey.auth import Passwords
from roomkey.auth.throttle import FREE_FOR_PAIR
from roomkey.errors import Unavailable
from roomkey.stores import Client

STATE = "af0ifjsldkj&=ü"
WRONG = "The username or the password is wrong."


@pytest.fixture
async def desk():
    async with Desk.opened() as opened:
        yield opened


def is_page(answer, status: int) -> bool:
    """Assert that a response is a page that is not cached, framed or scripted, and not a redirect."""
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    for name, value in {
        "cache-control": "no-store",
        "referrer-policy": "no-referrer",
        "x-frame-options": "DENY",
        "x-content-type-options": "nosniff",
    }.items():
        assert answer.headers[name] == value
    assert "location" not in answer.headers
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    style = re.search(r"<style>(.*?)</style>", answer.text, re.DOTALL)[1]
    assert policy["style-src"] == f"'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'"
    assert (policy["default-src"], policy["frame-ancestors"], policy["base-uri"]) == ("'none'", "'none'", "'none'")
    assert "<script" not in answer.text
    assert " style=" not in answer.text
    return answer.status_code == status


def sent_back(answer) -> dict[str, str]:
    """Return what the client receives besides its own query, which is retained (RFC 6749 section 3.1.2)."""
    assert answer.status_code == 303, "RFC 9700 section 4.12"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    location = answer.headers["location"]
    assert location.startswith(BACK + "&")
    told = query_of(location)
    assert told.pop("tenant") == "7"
    assert told.pop("iss") == URL, "RFC 9207 section 2: in every answer, errors too"
    return told


async def test_rfc6749_4_1_2_consent_returns_code_and_state(desk):
    page = await desk.show()
    assert is_page(page, 200)
    told = sent_back(await desk.submit(page))
    assert set(told) == {"code", "state"}
    assert told["state"] == STATE
    assert len(told["code"]) == 43, "256 bits"


async def test_rfc6749_4_1_2_response_without_state_has_no_state(desk):
    assert set(sent_back(await desk.submit(await desk.show(state=None)))) == {"code"}


async def test_page_names_the_client_the_scopes_and_the_destination(desk):
    page = (await desk.show(scope="files")).text
    assert "The &lt;b&gt;Page&lt;/b&gt;" in page
    assert "<li>files</li>" in page
    assert "<li>chat</li>" not in page
    assert "app.example" in page
    assert "<li>chat</li><li>files</li>" in (await desk.show()).text
    assert "<li>" not in (await desk.show(client_id="short")).text


async def test_page_policy_allows_the_form_to_redirect_to_the_client_only(desk):
    for where, target in ((BACK, "https://app.example"), ("com.app://back", "com.app:")):
        policy = (await desk.show(redirect_uri=where)).headers["content-security-policy"]
        assert f"form-action 'self' {target};" in policy


async def test_page_policy_ignores_a_strange_redirect_uri(desk):
    strange = "https://a.example;script-src/back"
    await desk.clients.add(Client("strange", redirect_uris=(strange,), grants=("authorization_code",)))
    page = await desk.show(client_id="strange", redirect_uri=strange)
    assert "form-action 'self' https:;" in page.headers["content-security-policy"]
    assert "script-src" not in page.headers["content-security-policy"]


async def test_native_app_is_redirected_by_its_own_scheme(desk):
    answer = await desk.submit(await desk.show(redirect_uri="com.app://back"))
    assert answer.headers["location"].startswith("com.app://back?code=")


async def test_rfc6749_4_1_2_1_deny_returns_access_denied_without_a_password(desk):
    answer = await desk.submit(await desk.show(), username="", password="", decision="deny")
    told = sent_back(answer)
    assert (told["error"], told["state"]) == ("access_denied", STATE)
    assert not await desk.logins.list_sessions("ada")


@pytest.mark.parametrize(
    "changed",
    [
        {"client_id": "nobody"},
        {"client_id": None},
        {"client_id": "gone"},
        {"client_id": "a\x00b"},
        {"redirect_uri": None},
        {"redirect_uri": "https://evil.example/"},
        {"redirect_uri": BACK + "/"},
        {"redirect_uri": BACK + "&x=1"},
        {"redirect_uri": BACK.replace("https", "http")},
        {"redirect_uri": BACK.replace("app.example", "app.example.evil.example")},
        {"redirect_uri": "javascript:alert(1)"},
        {"client_id": "backend", "redirect_uri": "com.app://back"},
    ],
    ids=str,
)
async def test_rfc6749_4_1_2_1_wrong_client_or_redirect_uri_is_a_page_and_never_a_redirect(desk, changed):
    answer = await desk.show(**changed)
    assert is_page(answer, 400)
    assert "<form" not in answer.text
    assert "evil" not in answer.text
    good = Form((await desk.show()).text).fields
    fields = {name: value for name, value in (good | changed).items() if value is not None}
    typed = {"username": "ada", "password": PASSWORD, "decision": "allow"}
    assert is_page(await desk.http.post("/oauth/authorize", data=fields | typed), 400)


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"response_type": None}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "code token"}, "unsupported_response_type"),
        ({"scope": "admin"}, "invalid_scope"),
        ({"scope": "chat admin"}, "invalid_scope"),
        ({"client_id": "service"}, "unauthorized_client"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": "x" * 42}, "invalid_request"),
        ({"code_challenge": "x" * 42 + "="}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": "v" * 43, "code_challenge_method": "s256"}, "invalid_request"),
    ],
    ids=str,
)
async def test_rfc6749_4_1_2_1_and_7636_4_4_1_other_errors_are_returned_with_the_state(desk, changed, error):
    page = await desk.show(**changed)
    assert is_page(page, 200), "nobody is sent on before they have logged in (RFC 9700 section 4.11.2)"
    told = sent_back(await desk.submit(page))
    assert set(told) == {"error", "error_description", "state"}
    assert (told["error"], told["state"]) == (error, STATE)
    assert re.fullmatch(r"[\x20-\x21\x23-\x5B\x5D-\x7E]+", told["error_description"])


async def test_authorize_page_rejects_a_form_of_another_site(desk):
    form = Form((await desk.show()).text)
    typed = form.fields | {"username": "ada", "password": PASSWORD, "decision": "allow"}
    answer = await desk.http.post("/oauth/authorize", data=typed, headers={"Sec-Fetch-Site": "cross-site"})
    assert is_page(answer, 403)


async def test_form_parameters_are_checked_like_the_url(desk):
    form = Form((await desk.show()).text)
    for changed, error in (({"scope": "admin"}, "invalid_scope"), ({"code_challenge": ""}, "invalid_request")):
        typed = {"username": "ada", "password": PASSWORD, "decision": "allow"}
        answer = await desk.http.post("/oauth/authorize", data=form.fields | typed | changed)
        assert sent_back(answer)["error"] == error


async def test_rfc6749_3_1_repeated_parameter_is_an_invalid_request(desk):
    query = (await desk.show()).url.query.decode()
    for repeated in ("client_id=page", "redirect_uri=https://evil.example/", "scope=chat&scope=files", "x=1&x=2"):
        assert is_page(await desk.http.get(f"/oauth/authorize?{query}&{repeated}"), 400)


async def test_rfc6749_3_1_empty_and_unknown_parameters_are_ignored(desk):
    page = await desk.show(scope="", prompt="none", nonce="n")
    assert is_page(page, 200)
    assert "<li>chat</li><li>files</li>" in page.text


async def test_rfc6749_3_1_request_can_use_post(desk):
    fields = Form((await desk.show()).text).fields
    asked = {name: value for name, value in fields.items() if name not in ("username", "password")}
    page = await desk.http.post("/oauth/authorize", data=asked)
    assert is_page(page, 200)
    assert set(sent_back(await desk.submit(page))) == {"code", "state"}


@pytest.mark.parametrize("raw", ["client_id=%ff", "a=1&" * 30, "%00=%00"])
async def test_malformed_url_is_a_page(desk, raw):
    assert is_page(await desk.http.get(f"/oauth/authorize?{raw}"), 400)


@pytest.mark.parametrize(
    ("typed", "status"),
    [
        ({"username": "ada", "password": "wrong"}, 400),
        ({"username": "nobody"}, 400),
        ({"username": "ADA"}, 400),
        ({"username": ""}, 200),
        ({"password": ""}, 200),
    ],
    ids=str,
)
async def test_wrong_password_shows_the_page_again(desk, typed, status):
    first = await desk.show()
    again = await desk.submit(first, **typed)
    assert is_page(again, status)
    assert (WRONG in again.text) is (status == 400)
    assert PASSWORD not in again.text
    kept = Form(again.text).fields
    assert kept.pop("username") == typed.get("username", "ada")
    before = Form(first.text).fields
    before.pop("username")
    assert kept == before
    assert set(sent_back(await desk.submit(again, username="ada"))) == {"code", "state"}


async def test_disabled_account_gets_the_page_of_a_wrong_password(desk):
    await desk.accounts.set_disabled("ada", True)
    answer = await desk.submit(await desk.show())
    assert is_page(answer, 400)
    assert WRONG in answer.text


@pytest.mark.checklist("G95")
async def test_authorize_page_shares_the_throttle_of_the_login_route(desk):
    page = await desk.show()
    for _ in range(FREE_FOR_PAIR - 1):
        await desk.submit(page, password="wrong")
    await desk.http.post("/auth/login", json={"username": "ada", "password": "wrong"})
    slowed = await desk.submit(page)
    assert is_page(slowed, 429)
    assert int(slowed.headers["retry-after"]) >= 1
    assert "Too many attempts" in slowed.text
    assert set(sent_back(await desk.submit(page, username="eve"))) == {"code", "state"}


@pytest.mark.checklist("G97")
async def test_authorize_page_returns_when_password_hashing_is_busy(desk, monkeypatch):
    async def busy(*arguments: object) -> bool:
        raise Unavailable("full")

    page = await desk.show()
    monkeypatch.setattr(Passwords, "verify", busy)
    answer = await desk.submit(page)
    assert is_page(answer, 503)
    assert "<form" in answer.text


async def test_unavailable_store_is_a_page(desk, monkeypatch):
    async def fails(*arguments: object) -> None:
        raise Unavailable("the database failed")

    monkeypatch.setattr(desk.clients, "find", fails)
    answer = await desk.show()
    assert is_page(answer, 503)
    assert answer.headers["retry-after"] == "1"


async def test_large_form_is_a_page(desk):
    assert is_page(await desk.submit(await desk.show(), password="x" * 20_000), 413)


@pytest.mark.parametrize("what", ['"><script>alert(1)</script>', "' onfocus='x", "{style}", "<!--"])
async def test_page_escapes_what_was_typed_or_sent(desk, what):
    again = await desk.submit(await desk.show(state=what), username=what)
    assert is_page(again, 400)
    form = Form(again.text).fields
    assert (form["state"], form["username"]) == (what, what)


async def test_rfc9700_2_1_browser_stores_no_session(desk):
    page = await desk.show()
    answer = await desk.submit(page)
    assert "set-cookie" not in page.headers
    assert "set-cookie" not in answer.headers
    assert 'value="ada"' not in (await desk.show()).text


async def test_two_codes_are_different(desk):
    assert await desk.code() != await desk.code()


async def test_code_of_one_challenge_cannot_be_redeemed_with_another(desk):
    mine, theirs = await desk.code("m" * 43), await desk.code("t" * 43)
    assert (await desk.redeem(mine, code_verifier="t" * 43)).status_code == 400
    assert (await desk.redeem(theirs, code_verifier="t" * 43)).status_code == 200
    assert challenge_of("m" * 43) != challenge_of("t" * 43)


async def test_log_names_the_user_and_the_client(desk, caplog):
    caplog.set_level(logging.INFO, "roomkey.audit")
    await desk.code()
    await desk.show(redirect_uri="https://evil.example/")
    lines = [json.loads(record.getMessage()) for record in caplog.records]
    assert [(line["event"], line.get("sub"), line["client_id"]) for line in lines] == [
        ("login", "ada", "page"),
        ("client_refused", None, "page"),
    ]
    assert "evil" not in str(lines)
