"""The login server logs in Django's users."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from asgiref.sync import sync_to_async
from fastapi import FastAPI
from support.djangosite.running import Site, add_user

from roomkey import ConfigError
from roomkey.auth import LoginService, router
from roomkey.stores import AccountNotFound, Stores

LOGIN = {"username": "ada", "password": "correct horse"}


@pytest.fixture
async def http(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    from roomkey.django.accounts import DjangoAccounts, DjangoPasswords, issuer

    async with Stores.at() as stores:
        logins = LoginService(DjangoAccounts(), stores.sessions, issuer(), site.guard, passwords=DjangoPasswords())
        app = FastAPI()
        app.include_router(router(logins))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
            yield http


async def test_users_log_in_and_a_deactivated_user_is_disconnected(site: Site, http: httpx.AsyncClient) -> None:
    user = await add_user("ada", "editor")
    tokens = (await http.post("/auth/login", json=LOGIN)).json()
    ada = await site.connect(tokens["access_token"])
    [socket] = site.guard.sockets("ada")
    assert socket.identity.roles == {"editor"}
    user.is_active = False
    await user.asave()
    assert await ada.is_closed()
    assert (await http.post("/auth/login", json=LOGIN)).status_code == 400
    assert (await http.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]})).status_code == 401


@pytest.mark.parametrize(
    "typed", [{"username": "bob"}, {"password": "wrong"}, {"username": "a\0"}, {"username": "ADA"}]
)
async def test_wrong_logins_are_refused(http: httpx.AsyncClient, typed: dict[str, str]) -> None:
    await add_user()
    answer = await http.post("/auth/login", json=LOGIN | typed)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


async def test_wrong_passwords_are_throttled(http: httpx.AsyncClient) -> None:
    await add_user()
    codes = [(await http.post("/auth/login", json=LOGIN | {"password": "x"})).status_code for _count in range(6)]
    assert codes == [400] * 5 + [429]


async def test_a_user_without_a_usable_password_cannot_log_in(http: httpx.AsyncClient) -> None:
    user = await add_user()
    user.set_unusable_password()
    await user.asave()
    for password in ("", "!", user.password, "correct horse"):
        assert (await http.post("/auth/login", json=LOGIN | {"password": password})).status_code == 400


async def test_a_login_replaces_a_weak_hash_with_one_of_the_first_hasher(
    http: httpx.AsyncClient, settings: Any, site: Site
) -> None:
    user = await add_user()
    settings(
        PASSWORD_HASHERS=[
            "django.contrib.auth.hashers.ScryptPasswordHasher",
            "django.contrib.auth.hashers.MD5PasswordHasher",
        ]
    )
    tokens = (await http.post("/auth/login", json=LOGIN)).json()
    await user.arefresh_from_db()
    assert user.password.startswith("scrypt$")
    assert (await http.post("/auth/login", json=LOGIN)).status_code == 200
    await site.guard.verify(tokens["access_token"])


async def test_new_passwords_are_checked_by_the_validators_of_the_project(http: httpx.AsyncClient) -> None:
    await add_user()
    token = (await http.post("/auth/login", json=LOGIN)).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    body = {"password": "correct horse", "new_password": "123456789012"}
    answer = await http.post("/auth/password", json=body, headers=headers)
    assert (answer.status_code, "entirely numeric" in answer.text) == (400, True)
    answer = await http.post("/auth/password", json=body | {"new_password": "battery staple"}, headers=headers)
    assert answer.status_code == 200
    assert (await http.post("/auth/login", json=LOGIN | {"password": "battery staple"})).status_code == 200


async def test_unknown_users_take_as_long_as_others(project: None) -> None:
    from roomkey.django.accounts import DjangoPasswords

    passwords = DjangoPasswords()
    hashed: list[str] = []
    matches = passwords.matches

    def count(password_hash: str, typed: bytes) -> bool:
        hashed.append(password_hash.partition("$")[0])
        return matches(password_hash, typed)

    passwords.matches = count  # type: ignore[method-assign]
    user = await add_user()
    assert not await passwords.verify(None, "correct horse")
    assert not await passwords.verify("", "correct horse")
    assert await passwords.verify(user.password, "correct horse")
    assert hashed == ["md5"] * 3


async def test_an_unavailable_database_is_503(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.contrib.auth.models import User
    from django.db import OperationalError

    def fail(self: Any, username: str) -> None:
        raise OperationalError("gone")

    await add_user()
    monkeypatch.setattr(type(User.objects), "get_by_natural_key", fail)
    assert (await http.post("/auth/login", json=LOGIN)).status_code == 503


async def test_set_password_reports_missing_accounts(project: None) -> None:
    from roomkey.django.accounts import DjangoAccounts

    with pytest.raises(AccountNotFound):
        await DjangoAccounts().set_password("nobody", "x")


async def test_accounts_require_usernames_as_subjects(settings: Any) -> None:
    from roomkey.django.accounts import DjangoAccounts

    settings(ROOMKEY={"VERIFIER": "simplejwt"})
    with pytest.raises(ConfigError, match="by their username"):
        await sync_to_async(DjangoAccounts)()
