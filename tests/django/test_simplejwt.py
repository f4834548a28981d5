"""Tokens of simplejwt: accepted by sockets, and blacklisted tokens disconnect them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import jwt
import pytest
from asgiref.sync import sync_to_async
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from support.djangosite.running import Site, add_user
from support.live import Raw

from roomkey import AuthError, ConfigError

PRIVATE = rsa.generate_private_key(65537, 2048)
PUBLIC = (
    PRIVATE.public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    .decode()
)
LOGIN = {"username": "ada", "password": "correct horse"}


@pytest.fixture
def simple_jwt() -> dict[str, Any]:
    """Return settings that differ from the project's. simplejwt reads most of them once, when it is imported."""
    return {}


@pytest.fixture(autouse=True)
def simplejwt_settings(settings: Any, simple_jwt: dict[str, Any]) -> Iterator[None]:
    from rest_framework_simplejwt.settings import api_settings

    settings(ROOMKEY={"VERIFIER": "simplejwt"})
    before = api_settings._user_settings
    api_settings._user_settings = before | simple_jwt
    api_settings.reload()
    api_settings._user_settings = before | simple_jwt
    yield
    api_settings.reload()
    api_settings._user_settings = before


async def obtain(site: Site) -> dict[str, str]:
    answer = await site.http.post("/jwt/", json=LOGIN)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_sockets_accept_access_tokens_and_no_refresh_tokens(site: Site) -> None:
    user = await add_user("ada", "editor")
    tokens = await obtain(site)
    ada = await site.connect(tokens["access"])
    [socket] = site.guard.sockets(str(user.pk))
    assert (socket.identity.roles, socket.identity.session_id is not None) == ({"editor"}, True)
    thief = await Raw.open(site.host)
    assert (await thief.ask_data({"token": tokens["refresh"]}))["data"]["code"] == "invalid_token"
    await ada.close()
    await thief.close()


async def test_rotation_keeps_sockets_and_a_blacklisted_token_ends_those_of_its_login(site: Site) -> None:
    await add_user()
    first, second = await obtain(site), await obtain(site)
    ada, other = await site.connect(first["access"]), await site.connect(second["access"])
    answer = await site.http.post("/jwt/refresh/", json={"refresh": first["refresh"]})
    newer = answer.json()
    await ada.event("authenticate", {"token": newer["access"]})
    await ada.expect_event("authenticated")
    assert (await site.http.post("/jwt/refresh/", json={"refresh": first["refresh"]})).status_code == 401
    assert (await site.http.post("/jwt/blacklist/", json={"refresh": newer["refresh"]})).status_code == 200
    assert await ada.is_closed()
    await other.sync()
    assert other.inbox.empty()
    await other.close()


async def test_without_sid_a_blacklisted_token_ends_all_sockets_of_the_user(site: Site) -> None:
    from rest_framework_simplejwt.tokens import RefreshToken

    users = [await add_user("ada"), await add_user("bob")]
    refresh = [await sync_to_async(RefreshToken.for_user)(user) for user in (users[0], *users)]
    first, second, bob = [await site.connect(str(token.access_token)) for token in refresh]
    await sync_to_async(refresh[0].blacklist)()
    assert await first.is_closed()
    assert await second.is_closed()
    await bob.sync()
    assert bob.inbox.empty()
    await bob.close()


SLIDING = {"AUTH_TOKEN_CLASSES": ("rest_framework_simplejwt.tokens.SlidingToken",)}


@pytest.mark.parametrize("simple_jwt", [SLIDING])
async def test_a_blacklisted_sliding_token_ends_its_own_sockets(site: Site) -> None:
    from rest_framework_simplejwt.tokens import SlidingToken

    user = await add_user()
    first, second = [await sync_to_async(SlidingToken.for_user)(user) for _count in range(2)]
    ada, other = await site.connect(str(first)), await site.connect(str(second))
    await sync_to_async(first.blacklist)()
    assert await ada.is_closed()
    await other.sync()
    assert other.inbox.empty()
    await other.close()


CUSTOM = {
    "AUDIENCE": "api",
    "ISSUER": "https://site.example",
    "USER_ID_CLAIM": "uid",
    "TOKEN_TYPE_CLAIM": "kind",
    "LEEWAY": timedelta(seconds=40),
}


@pytest.mark.parametrize("simple_jwt", [CUSTOM])
def test_the_verifier_follows_the_settings_of_simplejwt() -> None:
    from django.conf import settings

    from roomkey.django.simplejwt_verifier import simplejwt_verifier

    verifier, now = simplejwt_verifier(), 1_800_000_000
    claims = {"kind": "access", "uid": "7", "aud": "api", "iss": "https://site.example", "exp": now - 35, "jti": "j"}
    assert verifier.verify(jwt.encode(claims, settings.SECRET_KEY), now).subject == "7"
    wrong = [{"kind": "refresh"}, {"kind": None}, {"aud": "x"}, {"iss": "x"}, {"exp": now - 45}, {"uid": None}]
    for change in wrong:
        changed = {name: value for name, value in (claims | change).items() if value is not None}
        with pytest.raises(AuthError):
            verifier.verify(jwt.encode(changed, settings.SECRET_KEY), now)


@pytest.mark.parametrize("simple_jwt", [{"TOKEN_TYPE_CLAIM": None}])
def test_the_verifier_requires_a_type_of_tokens() -> None:
    from roomkey.django.simplejwt_verifier import simplejwt_verifier

    with pytest.raises(ConfigError, match="set TOKEN_TYPE_CLAIM"):
        simplejwt_verifier()


@pytest.mark.parametrize("simple_jwt", [{"SIGNING_KEY": "too short"}, {"SIGNING_KEY": "django-insecure-" + "x" * 40}])
def test_a_weak_key_is_rejected_with_the_name_of_the_setting() -> None:
    from roomkey.django.simplejwt_verifier import simplejwt_verifier

    with pytest.raises(ConfigError, match=r"SIGNING_KEY in SIMPLE_JWT, .* cannot protect tokens: .* generate one with"):
        simplejwt_verifier()


@pytest.mark.parametrize("simple_jwt", [{"ALGORITHM": "RS256", "VERIFYING_KEY": PUBLIC}])
def test_public_keys_verify() -> None:
    from roomkey.django.simplejwt_verifier import simplejwt_verifier

    now = 1_800_000_000
    token = jwt.encode({"token_type": "access", "user_id": "7", "exp": now + 9}, PRIVATE, "RS256")
    assert simplejwt_verifier().verify(token, now).subject == "7"
