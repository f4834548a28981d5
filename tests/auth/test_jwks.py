"""``GET /.well-known/jwks.json`` over HTTP (ASGI), and a verifier that uses it elsewhere."""

from __future__ import annotations

import json

import httpx
import jwt
import pytest
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from roomkey import Issuer, Key, KeySet
from roomkey.auth import jwks_router
from roomkey.auth.jwks import MAX_AGE
from roomkey.core.algorithms import ALGORITHMS
from roomkey.keysets.rotation import PUBLISH_BEFORE

NOW = 1_800_000_000.0
PATH = "/.well-known/jwks.json"
KEYS = {algorithm: Key.generate(algorithm, kid=algorithm) for algorithm in ALGORITHMS}


def application(keys: object, **options: object) -> FastAPI:
    app = FastAPI()
    app.include_router(jwks_router(keys, clock=lambda: NOW, **options))  # type: ignore[arg-type]
    return app


def client(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


async def fetch(keys: object, **headers: str) -> httpx.Response:
    async with client(application(keys)) as opened:
        return await opened.get(PATH, headers=headers)


async def test_jwks_has_the_media_type_and_public_keys() -> None:
    answer = await fetch(KeySet([KEYS["ES256"]]))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/jwk-set+json")
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.json() == {"keys": [KEYS["ES256"].to_jwk()]}


def test_cache_lifetime_is_shorter_than_the_time_before_a_key_signs() -> None:
    assert MAX_AGE <= PUBLISH_BEFORE / 2


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_jwks_never_contains_private_keys(algorithm: str) -> None:
    key = KEYS[algorithm]
    answer = await fetch(lambda _now: KeySet([key]))
    private = key.to_jwk(private=True)
    for name in ("d", "p", "q", "dp", "dq", "qi", "k"):
        assert name not in private or private[name] not in answer.text
        assert not any(name in published for published in answer.json()["keys"])
    assert answer.json()["keys"] == ([] if algorithm.startswith("HS") else [key.public().to_jwk()])


async def test_verifier_elsewhere_uses_the_published_keys() -> None:
    key = KEYS["ES256"]
    published = jwt.PyJWKSet.from_dict((await fetch(KeySet([key]))).json())
    token = Issuer(key, clock=lambda: NOW).issue("ada", expires_in=10**9)
    assert (
        jwt.decode(token, published["ES256"].key, algorithms=["ES256"], options={"verify_iat": False})["sub"] == "ada"
    )


async def test_jwks_is_sent_again_only_after_a_change() -> None:
    sets = [KeySet([KEYS["ES256"]])]
    times: list[float] = []
    app = application(lambda now: times.append(now) or sets[-1])
    async with client(app) as opened:
        first = await opened.get(PATH)
        tag = first.headers["etag"]
        for asked in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            again = await opened.get(PATH, headers={"If-None-Match": asked})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
            assert again.headers["cache-control"] == first.headers["cache-control"]
            assert again.headers["access-control-allow-origin"] == "*"
        for asked in ("", '"other"', tag.strip('"'), tag[:-2] + '"'):
            assert (await opened.get(PATH, headers={"If-None-Match": asked})).status_code == 200
        sets.append(KeySet([KEYS["ES256"], KEYS["EdDSA"]]))
        changed = await opened.get(PATH, headers={"If-None-Match": tag})
        assert (changed.status_code, len(changed.json()["keys"])) == (200, 2)
        assert changed.headers["etag"] != tag
    assert set(times) == {NOW}


async def test_jwks_path_and_cache_lifetime_can_be_set() -> None:
    async with client(application(KeySet([KEYS["ES256"]]), path="/keys", max_age=30)) as opened:
        assert (await opened.get("/keys")).headers["cache-control"] == "public, max-age=30"
        assert (await opened.get(PATH)).status_code == 404


async def test_any_page_can_read_jwks_even_if_cors_is_limited() -> None:
    app = application(KeySet([KEYS["ES256"]]))
    app.add_middleware(CORSMiddleware, allow_origins=["https://app.example"], allow_methods=["POST"])
    async with client(app) as opened:
        for origin in ("https://app.example", "https://else.example"):
            answer = await opened.get(PATH, headers={"Origin": origin})
            assert answer.headers.get_list("access-control-allow-origin") in (["*"], [origin])


def test_openapi_documents_jwks() -> None:
    answers = application(KeySet([KEYS["ES256"]])).openapi()["paths"][PATH]["get"]["responses"]
    assert set(answers) == {"200", "304"}
    assert list(answers["200"]["content"]) == ["application/jwk-set+json"]
    assert "keys" in json.dumps(answers["200"]["content"])
