"""Tokens in requests: the middleware, the decorator, and REST framework."""

from __future__ import annotations

import time
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from support.djangosite.running import Site, add_user, bearer, token_of

from roomkey import Issuer


@pytest.mark.parametrize("path", ["/who/", "/async-who/"])
async def test_request_has_the_identity_of_its_token(site: Site, path: str) -> None:
    token = await token_of(await add_user())
    assert (await site.http.get(path, headers=bearer(token))).json() == {"subject": "ada", "guest": False}
    assert (await site.http.get(path)).json() == {"subject": "", "guest": True}
    assert (await site.http.get(path, headers={"Authorization": "Basic YTpi"})).json()["guest"]


@pytest.mark.parametrize("path", ["/who/", "/async-who/", "/edit/", "/async-edit/", "/api/", "/api/open/"])
async def test_views_reject_invalid_tokens_with_401(site: Site, path: str) -> None:
    token = await token_of(await add_user("ada", "editor"), expires_in=-60)
    for sent in (bearer(token), bearer("x.y.z"), {"Authorization": "Bearer"}):
        answer = await site.http.get(path, headers=sent)
        assert answer.status_code == 401, sent
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="roomkey", error="invalid_token"'


@pytest.mark.parametrize("path", ["/who/", "/async-who/", "/api/"])
async def test_views_reject_revoked_tokens(site: Site, path: str) -> None:
    token = await token_of(await add_user())
    assert (await site.http.get(path, headers=bearer(token))).status_code == 200
    await site.guard.revoke(subject="ada")
    answer = await site.http.get(path, headers=bearer(token))
    assert (answer.status_code, "revoked" in answer.text) == (401, True)


@pytest.mark.parametrize("path", ["/edit/", "/async-edit/", "/api/edit/"])
async def test_requires_checks_the_role(site: Site, path: str) -> None:
    now = time.time()
    ada = await token_of(await add_user("ada", "editor"), auth_time=now)
    bob = await token_of(await add_user("bob"), auth_time=now)
    assert (await site.http.get(path, headers=bearer(ada))).status_code == 200
    assert (await site.http.get(path, headers=bearer(bob))).status_code == 403
    anonymous = await site.http.get(path)
    assert (anonymous.status_code, anonymous.headers["WWW-Authenticate"]) == (401, 'Bearer realm="roomkey"')


@pytest.mark.parametrize("path", ["/pay/", "/api/edit/"])
async def test_requires_checks_the_time_of_the_login(site: Site, path: str) -> None:
    user = await add_user("ada", "editor")
    old, recent = await token_of(user), await token_of(user, auth_time=time.time() - 30)
    assert (await site.http.get(path, headers=bearer(recent))).status_code == 200
    answer = await site.http.get(path, headers=bearer(old))
    assert answer.status_code == 401
    assert 'error="insufficient_user_authentication", max_age="60"' in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize("path", ["/who/", "/async-who/", "/api/"])
async def test_an_unavailable_verifier_is_503(site: Site, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from roomkey.errors import Unavailable

    async def fail(*_: Any, **__: Any) -> None:
        raise Unavailable("the store is unavailable")

    monkeypatch.setattr(site.guard, "verify", fail)
    answer = await site.http.get(path, headers=bearer("x.y.z"))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")


async def test_rest_framework_finds_the_user(site: Site) -> None:
    user = await add_user()
    token = await token_of(user)
    assert (await site.http.get("/api/", headers=bearer(token))).json() == {"user": "ada", "subject": "ada"}
    assert (await site.http.get("/api/")).status_code == 401
    assert (await site.http.get("/api/open/")).json() == {"user": ""}


async def test_rest_framework_rejects_users_who_are_not_active(site: Site) -> None:
    from django.contrib.auth.models import User

    token = await token_of(await add_user())
    await User.objects.filter(username="ada").aupdate(is_active=False)  # sends no signal
    answer = await site.http.get("/api/", headers=bearer(token))
    assert (answer.status_code, 'error="invalid_token"' in answer.headers["WWW-Authenticate"]) == (401, True)


async def test_rest_framework_accepts_users_of_another_program(site: Site, settings: Any) -> None:
    from rest_framework.test import APIRequestFactory

    from roomkey.django.rest_framework import IdentityAuthentication

    issuer = Issuer.ephemeral(audience="chat")
    settings(ROOMKEY={"VERIFIER": issuer.verifier()})
    from roomkey.django import AsyncGuard, guards

    guards.ATTACHED[:] = []
    guard = AsyncGuard()
    guards.ATTACHED.append(guard)
    request = APIRequestFactory().get("/", headers=bearer(issuer.issue("sso:ada")))
    request._request = request
    user, who = await sync_to_async(IdentityAuthentication().authenticate)(request)
    assert (user.get_username(), user.is_authenticated, who.subject) == ("sso:ada", True, "sso:ada")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Origin": "https://evil.example"}, 401),
        ({"Sec-Fetch-Site": "cross-site"}, 401),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "https://app.example"}, 200),
        ({"Origin": "OWN"}, 200),
    ],
)
async def test_a_cookie_counts_only_from_allowed_pages(
    settings: Any, headers: dict[str, str], status: int, project: None
) -> None:
    from django.conf import settings as current
    from support.djangosite.running import running

    settings(
        ROOMKEY={**current.ROOMKEY, "HANDSHAKE": {"cookie": "token"}},
        CSRF_TRUSTED_ORIGINS=["https://app.example", "https://*.example.org"],
    )
    async with running() as site:
        own = f"http://{site.host}"
        sent = {name: own if value == "OWN" else value for name, value in headers.items()}
        token = await token_of(await add_user("ada", "editor"))
        answer = await site.http.get("/edit/", headers={**sent, "Cookie": f"token={token}"})
        assert answer.status_code == status


async def test_a_session_gets_a_token(site: Site) -> None:
    await add_user("ada", "editor")
    await site.http.post("/login/", data={"username": "ada", "password": "correct horse"})
    headers = {"X-CSRFToken": site.http.cookies["csrftoken"]}
    answer = await site.http.post("/token/", headers=headers)
    assert (answer.headers["Cache-Control"], answer.json()["expires_in"]) == ("no-store", 900)
    who = await site.guard.verify(answer.json()["access_token"])
    assert (who.subject, who.roles, who.session_id is not None) == ("ada", {"editor"}, True)
    assert who.session_id not in site.http.cookies["sessionid"]
    assert abs(who.claim("auth_time") - time.time()) < 10
    assert (await site.http.get("/pay/", headers=bearer(answer.json()["access_token"]))).status_code == 200


@pytest.mark.parametrize("cookies", ["none", "no csrf"])
async def test_the_token_view_requires_a_session_and_the_csrf_token(site: Site, cookies: str) -> None:
    await add_user()
    if cookies == "none":
        answer = await site.http.post("/token/")
        assert answer.status_code == 403
    else:
        await site.http.post("/login/", data={"username": "ada", "password": "correct horse"})
        assert (await site.http.post("/token/")).status_code == 403
        assert (await site.http.get("/token/")).status_code == 405
        token = site.http.cookies["csrftoken"]
        await site.http.post("/logout/")
        answer = await site.http.post("/token/", headers={"X-CSRFToken": token, "Cookie": f"csrftoken={token}"})
        assert (answer.status_code, answer.json()["error"]) == (401, "login_required")


async def test_a_token_can_be_in_another_header(settings: Any, project: None) -> None:
    from django.conf import settings as current
    from support.djangosite.running import running

    settings(ROOMKEY={**current.ROOMKEY, "HANDSHAKE": {"header": "X-Token"}})
    async with running() as site:
        token = await token_of(await add_user("ada", "editor"))
        assert (await site.http.get("/edit/", headers={"X-Token": token})).status_code == 200
        assert (await site.http.get("/edit/", headers=bearer(token))).status_code == 401
