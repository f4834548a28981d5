"""RFC 6750: the requirements of routes that require a bearer token."""

from __future__ import annotations

import pytest
from support.oauth import URL
from support.rfc import ADA, SHARED, TEXT, Served, challenge

from roomkey import Issuer, Key
from roomkey.server.settings import Settings

pytestmark = SHARED
ROUTES = (
    ("GET", "/auth/sessions"),
    ("DELETE", "/auth/sessions/x"),
    ("POST", "/auth/logout"),
    ("POST", "/auth/logout-all"),
    ("POST", "/auth/password"),
    ("POST", "/auth/ticket"),
    ("GET", "/api/users"),
    ("POST", "/api/revoke"),
)


def stranger() -> str:
    """Return a token that another key signed."""
    return Issuer(Key.generate("ES256"), issuer=URL, audience="chat", token_type="at+jwt").issue("ada")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_s2_1_token_in_the_header_is_accepted(served, scheme):
    """The header Authorization is supported; the name of the scheme is case-insensitive."""
    token = (await served.own_login())["access_token"]
    answer = await served.http.get("/auth/sessions", headers={"Authorization": f"{scheme} {token}"})
    assert answer.status_code == 200


async def test_s2_2_and_2_3_token_elsewhere_is_ignored(served):
    """Body and URL are ignored: they are logged or forged more easily."""
    token = (await served.own_login())["access_token"]
    for options in ({"params": {"access_token": token}}, {"data": {"access_token": token}}):
        assert (await served.http.post("/auth/logout-all", **options)).status_code == 401
    assert (await served.ask(token)).status_code == 200


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_s3_every_challenge_names_the_scheme(served, method, path):
    """The response is 401 with one Bearer challenge, with at least one parameter and none twice."""
    for presented in (None, "Bearer x", f"Bearer {stranger()}", "Bearer", "Bearer a b", "Basic YWRhOnB3"):
        headers = {} if presented is None else {"Authorization": presented}
        answer = await served.http.request(method, path, headers=headers)
        assert answer.status_code == 401
        found = challenge(answer)
        assert "realm" in found
        assert all(TEXT.fullmatch(value) for value in found.values())


@pytest.mark.parametrize("presented", [None, "Basic YWRhOnB3"])
async def test_s3_1_challenge_without_a_token_has_no_error(served, presented):
    """Without a token, or with another scheme, the challenge names the scheme and no error."""
    headers = {} if presented is None else {"Authorization": presented}
    assert "error" not in challenge(await served.http.get("/auth/sessions", headers=headers))


async def test_s3_1_invalid_token_is_invalid_token(served):
    """An expired, revoked, malformed or foreign token gets 401, and the challenge names the error."""
    given = await served.own_login()
    assert (await served.http.post("/auth/logout", headers=bearer(given))).status_code == 200
    expired = served.issuer.issue("ada", expires_in=-1)
    for token in (given["access_token"], expired, stranger(), "x.y.z"):
        answer = await served.ask(token)
        assert (answer.status_code, challenge(answer)["error"]) == (401, "invalid_token")


async def test_s3_1_token_without_the_scope_is_insufficient_scope(served):
    """The response is 403, and the challenge names the missing scope."""
    answer = await served.ask((await served.own_login())["access_token"], "/api/users")
    assert answer.status_code == 403
    found = challenge(answer)
    assert (found["error"], found["scope"]) == ("insufficient_scope", "roomkey:admin")


async def test_s3_token_for_other_routes_is_challenged_too(served):
    """A 403 for missing rights also has a challenge, here for a client's token on the user's routes."""
    answer = await served.ask((await served.logged_in())["access_token"])
    assert answer.status_code == 403
    assert challenge(answer)["error"] == "insufficient_scope"


@pytest.mark.parametrize("changed", ["signature", "claims"])
async def test_s5_2_changed_token_is_rejected(served, changed):
    """The signature protects the content."""
    one, other = (await served.own_login())["access_token"], (await served.logged_in())["access_token"]
    mine, theirs = one.split("."), other.split(".")
    mixed = (*mine[:2], theirs[2]) if changed == "signature" else (mine[0], theirs[1], mine[2])
    assert (await served.ask(".".join(mixed))).status_code == 401


async def test_s5_2_token_for_another_audience_is_rejected(served):
    """A server accepts only tokens with its own audience."""
    elsewhere = Issuer(served.key, issuer=URL, audience="another", token_type="at+jwt").issue("ada")
    assert (await served.ask(elsewhere)).status_code == 401


async def test_s5_2_and_5_3_token_lives_for_an_hour_at_most(served):
    """This is the default; the response contains the lifetime."""
    assert Settings().token_lifetime <= 3600
    assert (await served.own_login())["expires_in"] == Settings().token_lifetime


async def test_s5_3_cookie_is_never_sent_in_the_clear_and_not_forged():
    """A token in a cookie is sent only over HTTPS, and other sites cannot use it."""
    async with Served.opened(cookies=True, behind_proxy=True) as opened:
        page = {"Origin": URL, "Roomkey-CSRF": "1"}
        answer = await opened.http.post("/auth/login", json=ADA | {"cookies": True}, headers=page)
        cookies = answer.headers.get_list("set-cookie")
        assert cookies
        assert all({"Secure", "HttpOnly", "SameSite=strict"} <= set(one.split("; ")) for one in cookies)
        assert (await opened.http.get("/auth/sessions", headers=page)).status_code == 200
        for forged in ({"Origin": "https://evil.example", "Roomkey-CSRF": "1"}, {"Origin": URL}):
            assert (await opened.http.get("/auth/sessions", headers=forged)).status_code == 403


@pytest.mark.parametrize("path", ["/auth/sessions", "/api/users"])
async def test_s5_3_protected_responses_are_not_cached(served, path):
    """Caches do not store responses that require a token."""
    opened = served.issuer.issue("ada", scopes=["roomkey:admin"])
    for token, status in ((opened, 200), (None, 401)):
        answer = await served.ask(token, path)
        assert (answer.status_code, answer.headers["cache-control"]) == (status, "no-store")


def bearer(given: dict) -> dict[str, str]:
    return {"Authorization": f"Bearer {given['access_token']}"}
