"""The keys of the server: rotated while it runs, published, and read from the environment."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from support.clock import FakeClock

from roomkey import Key, KeySet
from roomkey.errors import ConfigError
from roomkey.keysets.files import KEY
from roomkey.keysets.folder import KeyFolder, rotate
from roomkey.server import run
from roomkey.server.app import Application, build
from roomkey.server.settings import Settings
from roomkey.stores import Stores

PATH = "/.well-known/jwks.json"


async def published(product: Application) -> list[str]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(product.asgi), base_url="http://test") as client:
        answer = await client.get(PATH)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/jwk-set+json")
    return [key["kid"] for key in answer.json()["keys"]]


@pytest.mark.parametrize("algorithm", ["ES256", "HS256"])
async def test_keys_rotate_without_a_restart(tmp_path: Path, algorithm: str) -> None:
    clock = FakeClock()
    settings = Settings(keys=tmp_path / "keys", algorithm=algorithm)
    keys = run._keys(settings)
    assert isinstance(keys, KeyFolder)
    product = build(settings, Stores.at(), keys, clock=clock.now)
    old = product.issuer.key.kid
    token = product.issuer.issue("ada")
    assert await published(product) == ([] if algorithm == "HS256" else [old])
    *_, new = rotate(settings.keys, algorithm, clock.time, lifetime=settings.token_lifetime, publish_before=600)
    clock.advance(1)
    assert (await published(product), product.issuer.key.kid) == (
        [] if algorithm == "HS256" else [old, new.file.key.kid],
        old,
    )
    clock.advance(599)
    assert product.issuer.key.kid == new.file.key.kid
    for made in (token, product.issuer.issue("ada")):
        assert product.verifier.verify(made, clock.time).subject == "ada"
    clock.advance(settings.token_lifetime + 60)
    assert await published(product) == ([] if algorithm == "HS256" else [new.file.key.kid])


async def test_key_in_the_environment_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = Key.generate("ES256")
    monkeypatch.setenv(KEY, json.dumps(key.to_jwk(private=True)))
    settings = Settings(keys=tmp_path / "keys")
    keys = run._keys(settings)
    assert isinstance(keys, KeySet)
    assert not (tmp_path / "keys").exists()
    product = build(settings, Stores.at(), keys)
    assert (product.issuer.key.kid, await published(product)) == (key.kid, [key.kid])
    with pytest.raises(ConfigError, match=f"the key in {KEY} is for ES256, not RS256"):
        run._keys(Settings(keys=tmp_path / "keys", algorithm="RS256"))
