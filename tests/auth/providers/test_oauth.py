"""OAuth clients whose users log in at a provider: the consent page offers it, and the client gets a code."""

from __future__ import annotations

import html
import re

import pytest
from support.oauth import BACK, Form, challenge_of, query_of

AUTHORIZE = "/connect/authorize"
ASKED = {
    "response_type": "code",
    "client_id": "page",
    "redirect_uri": BACK,
    "state": "af0ifjsldkj&=ü +",
    "scope": "chat",
    "code_challenge": challenge_of("v" * 43),
    "code_challenge_method": "S256",
}


def button_on(page):
    [path] = re.findall(r'<a class="button" href="([^"]+)">Log in with sso</a>', page.text)
    return html.unescape(path)


async def consent_page(desk, **changed):
    """Log in at the provider, and return the page to which the browser goes then."""
    path = button_on(await desk.http.get(AUTHORIZE, params=ASKED | changed))
    sent = query_of((await desk.http.get(path)).headers["location"])
    desk.provider.nonce = sent["nonce"]
    answer = await desk.come_back(sent["state"])
    return await desk.http.get(answer.headers["location"].partition("#")[0])


async def decide(desk, page, decision="allow", **changed):
    form = Form(page.text)
    assert (form.action, form.method) == ("authorize", "post")
    return await desk.http.post(AUTHORIZE, data=form.fields | {"decision": decision} | changed)


async def redeem(desk, answer):
    sent = {"grant_type": "authorization_code", "code": query_of(answer.headers["location"])["code"]}
    sent |= {"client_id": "page", "redirect_uri": BACK, "code_verifier": "v" * 43}
    return (await desk.http.post("/connect/token", data=sent)).json()


async def test_user_consents_after_a_login_at_the_provider(desk):
    page = await consent_page(desk)
    assert 'type="password"' not in page.text
    assert "The &lt;b&gt;Page&lt;/b&gt;" in page.text
    answer = await decide(desk, page)
    assert answer.status_code == 303
    back = query_of(answer.headers["location"])
    assert (back["state"], back["iss"]) == (ASKED["state"], desk.issuer.issuer)
    tokens = await redeem(desk, answer)
    who = await desk.authority.verify(tokens["access_token"])
    assert (who.subject, who.scopes, who.claim("client_id")) == ("sso:ada", {"chat"}, "page")


async def test_logout_at_the_provider_ends_the_clients_login(desk):
    tokens = await redeem(desk, await decide(desk, await consent_page(desk)))
    sent = {"logout_token": desk.provider.logout_token()}
    assert (await desk.http.post("/auth/providers/sso/logout", data=sent)).status_code == 200
    sent = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"], "client_id": "page"}
    assert (await desk.http.post("/connect/token", data=sent)).json()["error"] == "invalid_grant"


async def test_logout_between_consent_and_tokens_invalidates_the_code(desk):
    answer = await decide(desk, await consent_page(desk))
    await desk.http.post("/auth/providers/sso/logout", data={"logout_token": desk.provider.logout_token()})
    assert (await redeem(desk, answer))["error"] == "invalid_grant"


async def test_consent_without_a_login_in_this_browser_asks_to_log_in(desk):
    page = await consent_page(desk)
    desk.http.cookies.clear()
    answer = await decide(desk, page)
    assert answer.status_code == 400
    assert 'type="password"' in answer.text
    assert "at_provider" not in Form(answer.text).fields
    assert button_on(answer)


async def test_login_at_the_provider_allows_one_consent(desk):
    page = await consent_page(desk)
    assert (await decide(desk, page)).status_code == 303
    assert (await decide(desk, page)).status_code == 400
    assert (await desk.tokens()).status_code == 400


async def test_other_site_cannot_consent(desk):
    page = await consent_page(desk)
    form = Form(page.text).fields | {"decision": "allow"}
    answer = await desk.http.post(AUTHORIZE, data=form, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert (await decide(desk, page)).status_code == 303


async def test_user_can_deny_after_the_login(desk):
    answer = await decide(desk, await consent_page(desk), "deny")
    assert query_of(answer.headers["location"])["error"] == "access_denied"


async def test_errors_of_the_client_reach_it_after_the_login(desk):
    page = await consent_page(desk, scope="other")
    answer = await decide(desk, page)
    assert query_of(answer.headers["location"])["error"] == "invalid_scope"


async def test_password_still_works_on_the_page_with_buttons(desk):
    page = await desk.http.get(AUTHORIZE, params=ASKED)
    answer = await decide(desk, page, username="ada", password="correct horse battery")
    assert (await desk.authority.verify((await redeem(desk, answer))["access_token"])).subject == "ada"


async def test_request_too_long_to_come_back_to_has_no_buttons(desk):
    page = await desk.http.get(AUTHORIZE, params=ASKED | {"state": "x" * 2000})
    assert page.status_code == 200
    assert 'class="button"' not in page.text


@pytest.mark.parametrize("value", ["1", "sso", ""])
async def test_server_without_providers_asks_for_the_password(desk, value):
    page = await desk.http.get("/oauth/authorize", params=ASKED | {"at_provider": value})
    assert 'type="password"' in page.text
    fields = Form(page.text).fields | {"decision": "allow", "at_provider": value}
    answer = await desk.http.post("/oauth/authorize", data=fields)
    assert (answer.status_code, 'type="password"' in answer.text) == (200, True)
