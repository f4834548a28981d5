"""RFC 7517, RFC 7518 and RFC 7638: the requirements of the published keys."""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fastapi import FastAPI
from support.rfc import Served

from roomkey import Issuer, Key, KeySet
from roomkey.auth import jwks_router

PATH = "/.well-known/jwks.json"
ALGORITHMS = ("RS256", "PS384", "ES256", "ES384", "ES512", "EdDSA", "Ed448")
KEYS = {algorithm: Key.generate(algorithm) for algorithm in ALGORITHMS}
REQUIRED = {"RSA": ("e", "kty", "n"), "EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x")}
PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}


async def published(*keys: Key) -> httpx.Response:
    app = FastAPI()
    app.include_router(jwks_router(KeySet(keys)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
        return await http.get(PATH)


async def one(algorithm: str) -> dict[str, str]:
    [key] = (await published(KEYS[algorithm])).json()["keys"]
    return key


def octets(text: str) -> bytes:
    """Decode base64url without padding (RFC 7515 section 2)."""
    assert "=" not in text
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_rfc7517_s4_key_names_its_type_and_use(algorithm):
    """``kty`` is required; ``use`` and ``alg`` bind the key to one algorithm, without ``key_ops``."""
    key = await one(algorithm)
    assert key["kty"] in REQUIRED
    assert (key["use"], key["alg"]) == ("sig", algorithm)
    assert "key_ops" not in key


async def test_rfc7517_s4_5_and_5_1_every_key_of_a_set_has_its_own_name():
    """A set is an object with a list of objects, each with a different ``kid``."""
    keys = (await published(*KEYS.values())).json()["keys"]
    assert len({key["kid"] for key in keys}) == len(keys) == len(ALGORITHMS)


@pytest.mark.checklist("G106")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_rfc7517_s9_2_private_keys_are_not_published(algorithm):
    """Only public keys are published, although the set contains private keys."""
    key = await one(algorithm)
    assert KEYS[algorithm].is_private
    assert not PRIVATE & key.keys()
    assert key.keys() <= {*REQUIRED[key["kty"]], "kid", "use", "alg"}


@pytest.mark.checklist("G106")
async def test_rfc7517_s9_2_shared_secrets_are_not_published():
    """A secret next to a key pair is left out; a server with only a secret publishes no key."""
    secret = Key.from_secret("a secret of thirty-two bytes, or more")
    both = await published(secret, KEYS["ES256"])
    assert [key["alg"] for key in both.json()["keys"]] == ["ES256"]
    async with Served.opened(algorithm="HS256") as served:
        assert (await served.http.get(PATH)).json() == {"keys": []}


async def test_rfc7517_s8_5_2_media_type_is_that_of_a_key_set():
    """It is ``application/jwk-set+json``, and no object repeats a member."""
    answer = await published(*KEYS.values())
    assert answer.headers["content-type"] == "application/jwk-set+json"

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    json.loads(answer.content, object_pairs_hook=unique)


@pytest.mark.parametrize(
    ("curve", "length", "scalar"),
    [(ec.SECP256R1(), 32, 379), (ec.SECP256R1(), 32, 43), (ec.SECP384R1(), 48, 197), (ec.SECP521R1(), 66, 2)],
    ids=["P-256 x", "P-256 y", "P-384", "P-521"],
)
async def test_rfc7518_s6_2_1_coordinates_have_their_full_length(curve, length, scalar):
    """This includes a coordinate with a leading zero, as here."""
    pem = ec.derive_private_key(scalar, curve).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    [key] = (await published(Key.from_pem(pem))).json()["keys"]
    assert 0 in (octets(key["x"])[0], octets(key["y"])[0])
    assert (len(octets(key["x"])), len(octets(key["y"]))) == (length, length)


@pytest.mark.parametrize("algorithm", ["RS256", "PS384"])
async def test_rfc7518_s6_3_1_and_3_3_modulus_is_long_and_has_no_leading_zero(algorithm):
    """It has at least 2048 bits, in as few octets as possible."""
    key = await one(algorithm)
    for name in ("n", "e"):
        assert octets(key[name])[0] != 0
    assert len(octets(key["n"])) >= 256


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_rfc7638_s3_key_without_a_name_is_named_by_its_thumbprint(algorithm):
    """It is the SHA-256 of the required members, sorted by name, without white space."""
    key = await one(algorithm)
    members = {name: key[name] for name in REQUIRED[key["kty"]]}
    written = json.dumps(members, separators=(",", ":"), sort_keys=True).encode()
    assert key["kid"] == urlsafe_b64encode(hashlib.sha256(written).digest()).rstrip(b"=").decode()


async def test_rfc7517_s4_5_token_names_the_key_that_verifies_it():
    """Another library finds the key by ``kid``."""
    keys = jwt.PyJWKSet.from_dict((await published(KEYS["ES256"], KEYS["RS256"], KEYS["ES384"])).json())
    for algorithm in ("RS256", "ES384"):
        token = Issuer(KEYS[algorithm]).issue("ada")
        found = keys[jwt.get_unverified_header(token)["kid"]]
        assert jwt.decode(token, found.key, algorithms=[algorithm])["sub"] == "ada"


async def test_server_publishes_its_signing_key():
    """The keys at ``jwks_uri`` (RFC 8414 section 2) verify the issued tokens."""
    async with Served.opened() as served:
        uri = (await served.http.get("/.well-known/oauth-authorization-server")).json()["jwks_uri"]
        keys = jwt.PyJWKSet.from_dict((await served.http.get(uri)).json())
        token = (await served.own_login())["access_token"]
        found = keys[jwt.get_unverified_header(token)["kid"]]
        assert jwt.decode(token, found.key, algorithms=["ES256"], audience="chat")["sub"] == "ada"
