"""Logins at an OpenID provider: what a browser, a stranger and a misbehaving provider can send."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json

import httpx
import pytest
from support.oauth import URL, query_of
from support.provider_login import CSRF, ROUTES, SECRET, provider_desk
from support.scripted_provider import CLIENT, OMIT

from roomkey import Key
from roomkey.auth import LinkedAccounts, ProviderLogin
from roomkey.errors import Unavailable
from roomkey.stores import Account, AccountExists

FAILED = "The login did not succeed."
COOKIE = "__Host-roomkey-attempt"


def text_of(answer: httpx.Response) -> str:
    assert "no-store" in answer.headers["cache-control"]
    return answer.text


async def test_login_begins_with_pkce_state_and_nonce(desk):
    answer = await desk.http.get(f"{ROUTES}/sso/login?return_to=/rooms?id=7")
    url = answer.headers["location"]
    sent = query_of(url)
    assert url.startswith(f"{desk.provider.issuer}/auth?")
    assert sent == sent | {
        "response_type": "code",
        "client_id": CLIENT,
        "redirect_uri": f"{URL}{ROUTES}/sso/callback",
        "scope": "openid",
        "code_challenge_method": "S256",
    }
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert cookie.endswith("; HttpOnly; Max-Age=600; Path=/; SameSite=lax; Secure")
    assert not any(sent[name] in cookie for name in ("state", "nonce", "code_challenge"))
    assert len({sent["state"], sent["nonce"], sent["code_challenge"]}) == 3
    assert (await desk.begin())["state"] != sent["state"]


async def test_page_gets_the_tokens_once_after_the_login(desk):
    sent = await desk.begin("?return_to=/rooms?id=7")
    answer = await desk.come_back(sent["state"])
    assert (answer.status_code, answer.headers["location"]) == (303, f"{URL}/rooms?id=7#roomkey-login")
    assert "Max-Age=0" in next(one for one in answer.headers.get_list("set-cookie") if one.startswith(COOKIE))
    found = await desk.tokens()
    assert found.status_code == 200
    tokens = found.json()
    who = await desk.authority.verify(tokens["access_token"])
    assert (who.subject, who.claim("auth_time")) == ("sso:ada", 0)
    assert (await desk.http.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]})).status_code == 200
    assert (await desk.tokens()).status_code == 400
    [session] = await desk.logins.list_sessions("sso:ada")
    names = (session.provider_issuer, session.provider_subject, session.provider_session)
    assert names == (desk.provider.issuer, "sso:ada", "s1")


async def test_code_is_exchanged_with_verifier_and_secret(desk):
    sent = await desk.begin()
    await desk.come_back(sent["state"], code="a code+/")
    [(form, authorization)] = desk.provider.codes
    digest = hashlib.sha256(form.pop("code_verifier").encode()).digest()
    assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == sent["code_challenge"]
    assert form == {"grant_type": "authorization_code", "code": "a code+/", "redirect_uri": sent["redirect_uri"]}
    quoted = "a%20secret%3A%20100%25%20of%20it"  # RFC 6749 section 2.3.1
    assert authorization == "Basic " + base64.b64encode(f"{CLIENT}:{quoted}".encode()).decode()


@pytest.mark.parametrize(
    ("secret", "methods", "members"),
    [
        (SECRET, ["client_secret_post"], {"client_id": CLIENT, "client_secret": SECRET}),
        (None, ["client_secret_basic"], {"client_id": CLIENT}),
    ],
)
async def test_secret_can_be_in_the_form_or_missing(scripted, secret, methods, members):
    scripted.metadata["token_endpoint_auth_methods_supported"] = methods
    async with provider_desk(scripted, client_secret=secret) as desk:
        await desk.logged_in_at_provider()
        [(form, authorization)] = scripted.codes
        assert authorization is None
        assert form == form | members
        assert ("client_secret" in form) == (secret is not None)


# The browser's side


@pytest.mark.parametrize("state", ["", "x", "y" * 5000, "\u00e9"])
async def test_other_state_is_rejected_before_the_provider_is_asked(desk, state):
    await desk.begin()
    assert FAILED in text_of(await desk.come_back(state))
    assert desk.provider.codes == []


async def test_redirect_in_another_browser_is_rejected(desk):
    """Login CSRF: an attacker gives a victim the redirect of the attacker's own login."""
    sent = await desk.begin()
    desk.http.cookies.clear()
    assert (await desk.come_back(sent["state"])).status_code == 400
    await desk.begin()  # the victim has begun a login, too
    assert (await desk.come_back(sent["state"])).status_code == 400
    assert desk.provider.codes == []
    assert (await desk.tokens()).status_code == 400


async def test_several_cookies_of_one_name_are_rejected(desk):
    """Browsers have one. The others come from a neighbor host that wants its own login to be completed."""
    sent = await desk.begin()
    cookie = f"{COOKIE}={desk.http.cookies[COOKIE]}"
    desk.http.cookies.clear()
    path = f"{ROUTES}/sso/callback?code=c&state={sent['state']}&iss={desk.provider.issuer}"
    for header, status in ((f"{cookie}; {COOKIE}=x", 400), (f"{COOKIE}=x; {cookie}", 400), (cookie, 303)):
        assert (await desk.http.get(path, headers={"Cookie": header})).status_code == status


async def test_redirect_can_be_used_once(desk):
    sent = await desk.begin()
    cookie = dict(desk.http.cookies)
    assert (await desk.come_back(sent["state"])).status_code == 303
    desk.http.cookies.update(cookie)
    assert (await desk.come_back(sent["state"])).status_code == 400
    assert len(desk.provider.codes) == 1


async def test_of_twenty_redirects_at_once_exactly_one_is_used(desk):
    sent = await desk.begin()
    headers = {"Cookie": f"{COOKIE}={desk.http.cookies[COOKIE]}"}
    path = f"{ROUTES}/sso/callback?code=c&state={sent['state']}&iss={desk.provider.issuer}"
    desk.http.cookies.clear()
    answers = await asyncio.gather(*(desk.http.get(path, headers=headers) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [303] + [400] * 19
    assert len(desk.provider.codes) == 1


async def test_login_must_be_completed_within_ten_minutes(desk):
    sent = await desk.begin()
    desk.clock.advance(600)
    assert (await desk.come_back(sent["state"])).status_code == 400


async def test_clock_that_was_set_back_makes_no_attempt_valid(desk):
    sent = await desk.begin()
    desk.clock.advance(-60)
    assert (await desk.come_back(sent["state"])).status_code == 400


@pytest.mark.parametrize("cookie", ["", ".", "W10.x", "WyJzc28iXQ.AAAA", "x" * 3000, "a.b.c", "\u00e9.\u00e9"])
async def test_made_up_cookie_is_rejected(desk, cookie):
    headers = [(b"cookie", f"{COOKIE}={cookie}".encode("latin-1"))]
    answer = await desk.http.get(f"{ROUTES}/sso/callback?code=c&state=s", headers=headers)
    assert answer.status_code == 400
    assert FAILED in answer.text


@pytest.mark.parametrize(
    "path",
    ["//evil.example", "https://evil.example", "/\\evil.example", "/%0d%0aSet-Cookie:x", "\t/x", "/a b", "/#x", "",
     "/x\u0000", "javascript:alert(1)", "/" + "x" * 2000],
)  # fmt: skip
async def test_login_returns_only_to_a_path_of_this_server(desk, path):
    answer = await desk.http.get(f"{ROUTES}/sso/login", params={"return_to": path})
    if answer.status_code == 303:  # a path of this server whose characters mean nothing there
        sent = query_of(answer.headers["location"])
        desk.provider.nonce = sent["nonce"]
        answer = await desk.come_back(sent["state"])
        assert answer.headers["location"].startswith(f"{URL}/%0d%0a")
    else:
        assert answer.status_code == 400
        assert "set-cookie" not in answer.headers


async def test_other_sites_cannot_begin_a_login(desk):
    answer = await desk.http.get(f"{ROUTES}/sso/login", headers={"Sec-Fetch-Site": "cross-site"})
    assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)
    for site in ("none", "same-origin", "same-site"):
        await desk.begin(headers={"Sec-Fetch-Site": site})


async def test_tokens_require_the_header_that_forms_cannot_send(desk):
    sent = await desk.begin()
    await desk.come_back(sent["state"])
    assert (await desk.tokens(headers={})).status_code == 403
    assert (await desk.tokens()).status_code == 200


async def test_tokens_are_given_within_five_minutes(desk):
    sent = await desk.begin()
    await desk.come_back(sent["state"])
    desk.clock.advance(300)
    assert (await desk.tokens()).status_code == 400


async def test_cookie_of_the_login_cannot_be_chosen(desk):
    """Session fixation: neither the state of a login, nor a ticket of the right form, is a login."""
    sent = await desk.begin()
    await desk.come_back(sent["state"])
    desk.http.cookies.delete("__Host-roomkey-login")
    for value in (sent["state"], "A" * 43, "", "x" * 5000):
        answer = await desk.tokens(headers=CSRF | {"Cookie": f"__Host-roomkey-login={value}"})
        assert answer.status_code == 400


async def test_repeated_parameters_are_rejected(desk):
    sent = await desk.begin()
    query = f"code=a&code=b&state={sent['state']}&iss={desk.provider.issuer}"
    assert (await desk.http.get(f"{ROUTES}/sso/callback?{query}")).status_code == 400
    assert desk.provider.codes == []


async def test_unknown_provider_is_not_found(desk):
    for path in ("login", "callback", "x/y"):
        assert (await desk.http.get(f"{ROUTES}/other/{path}")).status_code == 404
    assert (await desk.http.post(f"{ROUTES}/other/logout", data={"logout_token": "x"})).status_code == 404


# The provider's side


async def test_redirect_without_iss_or_with_another_one_is_rejected(desk):
    for issuer in (None, "", f"{desk.provider.issuer}/", "https://evil.example"):
        sent = await desk.begin()
        assert FAILED in text_of(await desk.come_back(sent["state"], iss=issuer))
    assert desk.provider.codes == []


async def test_iss_may_be_missing_if_the_provider_does_not_promise_it(scripted):
    scripted.metadata["authorization_response_iss_parameter_supported"] = OMIT
    async with provider_desk(scripted) as desk:
        sent = await desk.begin()
        assert (await desk.come_back(sent["state"], iss="https://evil.example")).status_code == 400
        sent = await desk.begin()
        assert (await desk.come_back(sent["state"], iss=None)).status_code == 303


async def test_error_of_the_provider_is_not_reflected(desk, caplog):
    for error in ("access_denied", "<script>alert(1)</script>", "line\nbreak"):
        sent = await desk.begin()
        answer = await desk.come_back(sent["state"], code=None, error=error, error_description="<b>see</b> http://e")
        assert FAILED in text_of(answer)
        assert not any(text in answer.text for text in ("access_denied", "script>", "<b>", "http://e"))
    logged = " ".join(entry.getMessage() for entry in caplog.records)
    assert "the provider refused: access_denied" in logged
    assert "script" not in logged


BAD_CLAIMS = {
    "no nonce": {"nonce": OMIT},
    "another nonce": {"nonce": "x" * 43},
    "a nonce that is no text": {"nonce": ["x"]},
    "another issuer": {"iss": "https://evil.example"},
    "no issuer": {"iss": OMIT},
    "another client": {"aud": "other"},
    "no audience": {"aud": OMIT},
    "several audiences without azp": {"aud": [CLIENT, "other"]},
    "azp of another client": {"azp": "other"},
    "expired": {"exp": 1},
    "no exp": {"exp": OMIT},
    "exp as text": {"exp": "9999999999"},
    "no iat": {"iat": OMIT},
    "issued before the login": {"iat": 1_000_000_000},
    "issued in the future": {"iat": 4_000_000_000, "exp": 4_000_000_060},
    "no sub": {"sub": OMIT},
    "empty sub": {"sub": ""},
    "sub is a number": {"sub": 5},
    "sub with a line break": {"sub": "a\nb"},
    "sub too long for an account": {"sub": "a" * 200},
    "sub too long with its prefix": {"sub": "a" * 255},
    "sub with a space": {"sub": "a b"},
    "sid is a number": {"sid": 5},
    "an access token": {"token_use": "access"},
    "a refresh token": {"typ": "Refresh"},
}
BAD_HEADERS = {
    "an access token by its type": {"typ": "at+jwt"},
    "a logout token by its type": {"typ": "logout+jwt"},
    "alg none": {"alg": "none"},
    "HS256": {"alg": "HS256"},
    "another kid": {"kid": "k2"},
    "crit": {"crit": ["exp"]},
    "jwk": {"jwk": {}},
}


@pytest.mark.parametrize("case", [*BAD_CLAIMS, *BAD_HEADERS])
async def test_id_token_with_a_fault_is_rejected(desk, case):
    desk.provider.claims, desk.provider.header = BAD_CLAIMS.get(case, {}), BAD_HEADERS.get(case, {})
    sent = await desk.begin()
    assert FAILED in text_of(await desk.come_back(sent["state"]))
    assert (await desk.tokens()).status_code == 400
    assert await desk.accounts.find("sso:ada") is None


@pytest.mark.parametrize(
    "claims",
    [{"aud": [CLIENT]}, {"aud": [CLIENT, "x"], "azp": CLIENT}, {"typ": "ID"}, {"token_use": "id"}, {"sid": OMIT}],
)
async def test_usual_id_tokens_are_accepted(desk, claims):
    desk.provider.claims = claims
    assert await desk.is_logged_in(await desk.logged_in_at_provider())


async def test_key_of_somebody_else_is_rejected(desk):
    sent = await desk.begin()
    token = desk.provider.sign(json.loads(base64.urlsafe_b64decode(desk.provider.id_token().split(".")[1] + "==")),
                               key=Key.generate("ES256"))  # fmt: skip
    desk.provider.answer = 200, json.dumps({"id_token": token}).encode()
    assert (await desk.come_back(sent["state"])).status_code == 400


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ((400, b'{"error":"invalid_grant"}'), 400),
        ((401, b"{}"), 400),
        ((500, b"{}"), 503),
        ((302, b""), 503),
        ((200, b"<html>"), 503),
        ((200, b"[]"), 503),
        ((200, b'{"id_token":1,"id_token":2}'), 503),
        ((200, b" " * 300_000), 503),
        ((200, b"{}"), 400),
        ((200, b'{"id_token":null}'), 400),
        ((200, b'{"id_token":"eyJ.eyJ.x"}'), 400),
        ((200, json.dumps({"id_token": "x" * 9000}).encode()), 400),
    ],
)
async def test_token_endpoint_that_misbehaves_logs_nobody_in(desk, answer, status):
    desk.provider.answer = answer
    sent = await desk.begin()
    response = await desk.come_back(sent["state"])
    assert response.status_code == status
    assert (await desk.tokens()).status_code == 400


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example"},
        {"issuer": OMIT},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": "http://idp.example/auth"},
        {"token_endpoint": OMIT},
        {"token_endpoint": "https://user:password@idp.example/token"},
        {"token_endpoint": "http://idp.example/token"},
        {"token_endpoint": "https://idp.example/a token"},
        {"token_endpoint": "http://127.0.0.1/token#x"},
    ],
)
async def test_discovery_document_with_a_fault_begins_no_login(scripted, metadata):
    scripted.metadata = metadata
    async with provider_desk(scripted) as desk:
        answers = [await desk.http.get(f"{ROUTES}/sso/login") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [503] * 3
        assert len(scripted.requests) == 1, "it is not asked again at once"


async def test_twenty_logins_at_once_ask_for_one_discovery_document(desk):
    answers = await asyncio.gather(*(desk.http.get(f"{ROUTES}/sso/login") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {303}
    assert desk.provider.requests == ["/.well-known/openid-configuration"]


async def test_failed_logins_are_limited(desk):
    desk.provider.answer = 400, b"{}"
    statuses = []
    for _ in range(8):
        sent = await desk.begin()
        statuses.append((await desk.come_back(sent["state"])).status_code)
    assert statuses == [400] * 5 + [429] * 3
    assert len(desk.provider.codes) == 5


# Accounts


async def test_user_without_a_link_is_refused_unless_accounts_are_created(scripted, caplog):
    async with provider_desk(scripted, accounts={}) as desk:
        sent = await desk.begin()
        answer = await desk.come_back(sent["state"])
        assert (answer.status_code, "You have no account here" in text_of(answer)) == (403, True)
        assert "no account is linked to 'ada'" in caplog.text, "so that an operator can add the link"
        assert await desk.accounts.find("sso:ada") is None
        await desk.links.add(scripted.issuer, "ada", "eve")
        tokens = await desk.logged_in_at_provider()
        assert (await desk.authority.verify(tokens["access_token"])).subject == "eve"


async def test_account_of_the_same_name_is_not_taken_over(desk):
    """Somebody else made the account, so its owner may be another one."""
    await desk.accounts.add(Account("sso:ada", "hash"))
    sent = await desk.begin()
    assert (await desk.come_back(sent["state"])).status_code == 400
    assert await desk.links.all() == []


async def test_same_sub_of_another_issuer_is_another_user(desk):
    await desk.links.add("https://other.example", "ada", "eve")
    tokens = await desk.logged_in_at_provider()
    assert (await desk.authority.verify(tokens["access_token"])).subject == "sso:ada"


async def test_first_logins_at_once_create_one_account(desk):
    linked = LinkedAccounts(desk.accounts, desk.links, create=["sso"])
    login = ProviderLogin("sso", desk.provider.issuer, "ada", "sso:ada", {"name": "Ada"})
    found = await asyncio.gather(*(linked.account_of(login) for _ in range(20)))
    assert {(one.username, one.name) for one in found} == {("sso:ada", "Ada")}
    assert [one.username for one in await desk.accounts.all()] == ["ada", "eve", "sso:ada"]


async def test_interrupted_first_login_can_be_repeated(desk):
    await desk.links.add(desk.provider.issuer, "ada", "sso:ada")  # the account was not added any more
    await desk.logged_in_at_provider()
    assert await desk.accounts.find("sso:ada") is not None


@pytest.mark.parametrize(
    "error", [Unavailable("the database failed"), AccountExists("sso:ada")], ids=["down", "faster"]
)
async def test_account_that_somebody_else_adds_meanwhile_is_not_taken_over(desk, monkeypatch, error):
    async def add(account):
        if isinstance(error, AccountExists):
            await type(desk.accounts).add(desk.accounts, Account("sso:ada", "hash"))
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(desk.accounts, "add", add)
        sent = await desk.begin()
        assert (await desk.come_back(sent["state"])).status_code in (400, 503)
    assert await desk.links.all() == []
    if await desk.accounts.find("sso:ada") is None:
        await desk.accounts.add(Account("sso:ada", "hash"))
    sent = await desk.begin()
    assert (await desk.come_back(sent["state"])).status_code == 400


async def test_disabled_account_cannot_log_in(desk):
    tokens = await desk.logged_in_at_provider()
    sent = await desk.begin()
    await desk.come_back(sent["state"])
    await desk.accounts.set_disabled("sso:ada", True)
    assert (await desk.tokens()).status_code == 400, "it was disabled before the page asked"
    sent = await desk.begin()
    assert (await desk.come_back(sent["state"])).status_code == 400
    refresh = {"refresh_token": tokens["refresh_token"]}
    assert (await desk.http.post("/auth/refresh", json=refresh)).status_code == 401


async def test_created_account_has_no_password(desk):
    await desk.logged_in_at_provider()
    for password in ("", " ", "sso:ada"):
        answer = await desk.http.post("/auth/login", json={"username": "sso:ada", "password": password or "x"})
        assert answer.status_code == 400


async def test_rights_come_from_the_account_by_default(desk):
    desk.provider.claims = {"roles": ["admin", "roomkey:admin"], "rooms": ["red"]}
    tokens = await desk.logged_in_at_provider()
    who = await desk.authority.verify(tokens["access_token"])
    assert (who.roles, who.rooms) == (frozenset(), ())


async def test_rights_can_come_from_the_claims(scripted):
    accounts = {"create": ["sso"], "claims_maps": {"sso": {"roles": "realm_access.roles"}}}
    async with provider_desk(scripted, accounts=accounts) as desk:
        scripted.claims = {
            "realm_access": {"roles": ["staff", "roomkey:admin", "with space", "x" * 151]},
            "roles": ["admin"],
            "rooms": ["red"],
        }
        who = await desk.authority.verify((await desk.logged_in_at_provider())["access_token"])
        assert (who.roles, who.rooms) == ({"staff"}, ("red",))
        await desk.accounts.set_rights("sso:ada", roles=["roomkey:admin", "staff"])
        scripted.claims = {"realm_access": "staff"}
        who = await desk.authority.verify((await desk.logged_in_at_provider())["access_token"])
        assert (who.roles, who.rooms) == ({"roomkey:admin"}, ())


async def test_recent_login_is_what_the_provider_says(desk):
    sent = await desk.begin("?fresh=1")
    assert (sent["prompt"], sent["max_age"]) == ("login", "0")
    now = int(desk.clock.now())
    for said, kept in ((now - 100, now - 100), (now + 4000, 0), ("x", 0), (True, 0)):
        desk.provider.claims = {"auth_time": said}
        who = await desk.authority.verify((await desk.logged_in_at_provider())["access_token"])
        assert who.claim("auth_time") == kept
