"""Keys in each form, and their algorithms. (Rejected keys: tests/security, A19.)"""

from __future__ import annotations

import json
import secrets
import warnings

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa, x448, x25519

from roomkey import ConfigError, Key, KeySet
from roomkey.core.algorithms import ALGORITHMS, check_algorithms, suits

PUBLIC = [name for name in ALGORITHMS if not name.startswith("HS")]
TYPES = {"oct": ("HS",), "RSA": ("RS", "PS"), "EC": ("ES",), "OKP": ("Ed",)}


def pem(key, password: bytes | None = None, form=serialization.PrivateFormat.PKCS8) -> bytes:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, encryption)


@pytest.fixture(scope="module")
def rsa_key():
    return rsa.generate_private_key(65537, 2048)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_generated_keys_sign_and_verify(every_key, algorithm):
    key = every_key[algorithm]
    assert (key.algorithms, key.is_private, key.kid) == ((algorithm,), True, algorithm)
    signature = key.sign(algorithm, b"message")
    assert key.verify(algorithm, b"message", signature)
    assert not key.verify(algorithm, b"messagf", signature)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_key_is_bound_to_its_algorithms(every_key, algorithm):
    key = every_key[algorithm]
    for other in ALGORITHMS:
        if other != algorithm:
            assert not key.verify(other, b"message", b"x" * 64)
            with pytest.raises(ConfigError, match="cannot sign"):
                key.sign(other, b"message")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_jwk_round_trip(every_key, algorithm):
    key = every_key[algorithm]
    again = Key.from_jwk(json.loads(json.dumps(key.to_jwk(private=True))))
    assert (again.kid, again.algorithms, again.is_private) == (algorithm, (algorithm,), True)
    assert key.verify(algorithm, b"m", again.sign(algorithm, b"m"))


@pytest.mark.parametrize("algorithm", PUBLIC)
def test_pem_and_public_half(every_key, algorithm):
    key = every_key[algorithm]
    signature = key.sign(algorithm, b"m")
    for public in (key.public(), Key.from_pem(key.to_pem(), algorithms=[algorithm]), Key.from_jwk(key.to_jwk())):
        assert not public.is_private
        assert public.algorithms == (algorithm,)
        assert public.verify(algorithm, b"m", signature)
        with pytest.raises(ConfigError):
            public.sign(algorithm, b"m")
        with pytest.raises(ConfigError):
            public.to_jwk(private=True)
        with pytest.raises(ConfigError):
            public.to_pem(private=True)
    assert Key.from_pem(key.to_pem(private=True), algorithms=[algorithm]).is_private
    assert key.public().kid == algorithm


@pytest.mark.parametrize("algorithm", PUBLIC)
def test_public_jwk_has_no_private_members(every_key, algorithm):
    told = every_key[algorithm].to_jwk()
    assert not {"d", "p", "q", "dp", "dq", "qi", "oth", "k"} & told.keys()
    assert (told["use"], told["alg"]) == ("sig", algorithm)
    assert KeySet(every_key.values()).to_jwks()["keys"] == [every_key[name].to_jwk() for name in PUBLIC]


def test_other_members_of_a_jwk_are_not_published(every_key):
    carried = every_key["ES256"].to_jwk(private=True) | {"x5u": "https://inside.example", "password": "hush"}
    assert "hush" not in json.dumps(Key.from_jwk(carried).to_jwk())
    assert "inside" not in json.dumps(Key.from_jwk(carried).to_jwk())


def test_public_half_has_the_same_algorithms(rsa_key):
    narrow = Key.from_pem(pem(rsa_key), algorithms=["PS256", "RS256"])
    assert narrow.public().algorithms == narrow.algorithms == ("PS256", "RS256")
    assert "alg" not in narrow.to_jwk()


def test_kid_is_the_thumbprint_unless_given():
    """The example of RFC 7638 section 3.1."""
    modulus = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMs"
        "tn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1"
        "n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
    )
    key = Key.from_jwk({"kty": "RSA", "n": modulus, "e": "AQAB", "alg": "RS256"})
    assert key.kid == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    assert Key.from_jwk({"kty": "RSA", "n": modulus, "e": "AQAB", "kid": "2011-04-29"}).kid == "2011-04-29"


def test_pem_forms(rsa_key):
    for text in (
        pem(rsa_key),
        pem(rsa_key, form=serialization.PrivateFormat.TraditionalOpenSSL),
        pem(rsa_key).decode(),
    ):
        assert Key.from_pem(text).algorithms == ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
    locked = pem(rsa_key, b"open sesame")
    assert Key.from_pem(locked, password="open sesame").is_private
    for password in (None, "wrong"):
        with pytest.raises(ConfigError, match="no RSA"):
            Key.from_pem(locked, password=password)


FOREIGN = {
    "RSA of 1024 bits": lambda: rsa.generate_private_key(65537, 1024),
    "X25519": x25519.X25519PrivateKey.generate,
    "X448": x448.X448PrivateKey.generate,
    "DSA": lambda: dsa.generate_private_key(1024),
    "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
    "brainpool": lambda: ec.generate_private_key(ec.BrainpoolP256R1()),
    "P-224": lambda: ec.generate_private_key(ec.SECP224R1()),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_from_pem_rejects_unusable_keys(name):
    private = FOREIGN[name]()
    spki = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for text in (pem(private), spki):
        with pytest.raises(ConfigError):
            Key.from_pem(text)


@pytest.mark.parametrize(
    "text", ["", "key", b"\0", "-----BEGIN", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", None, 5]
)
def test_from_pem_rejects_other_text(text):
    with pytest.raises(ConfigError):
        Key.from_pem(text)


def test_algorithm_must_suit_the_key(rsa_key):
    with pytest.raises(ConfigError, match="not usable for ES256"):
        Key.from_pem(pem(rsa_key), algorithms=["ES256"])
    with pytest.raises(ConfigError, match="signs with"):
        Key.from_secret(secrets.token_bytes(64), algorithm="RS256")
    with pytest.raises(ConfigError, match="unknown algorithm"):
        Key.generate("none")


@pytest.mark.parametrize("kid", ["", "k" * 256, 5])
def test_kid_must_be_a_short_string(rsa_key, kid):
    with pytest.raises(ConfigError, match="kid"):
        Key.from_pem(pem(rsa_key), kid=kid)


def test_from_secret_rejects_weak_secrets():
    secret = secrets.token_urlsafe(48)
    key = Key.from_secret(secret)
    assert key.algorithms == ("HS256",)
    assert Key.from_secret(secret.encode()).kid == key.kid
    assert Key.from_secret(secret, kid="shared").kid == "shared"
    with pytest.raises(ConfigError, match="no public half"):
        key.to_jwk()
    with pytest.raises(ConfigError, match="no public half"):
        key.public()
    with pytest.raises(ConfigError, match="no PEM"):
        key.to_pem(private=True)
    assert secret not in repr(key)


def test_repr_does_not_show_key_material(every_key):
    for key in every_key.values():
        shown = repr(key)
        private = key.to_jwk(private=True)
        assert not [member for member in ("k", "d", "n", "x") if private.get(member, "\0") in shown]


def test_creating_keys_emits_no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Key.from_pem(pem(ed25519.Ed25519PrivateKey.generate()))
        Key.from_secret(secrets.token_bytes(32))
        with pytest.raises(ConfigError):
            Key.from_jwk({"kty": "oct", "k": "AAAA"})


def test_algorithm_suits_keys_of_its_type():
    curves = {"oct": [None], "RSA": [None], "EC": ["P-256", "P-384", "P-521"], "OKP": ["Ed25519", "Ed448"]}
    for algorithm in ALGORITHMS:
        fitting = [(kty, curve) for kty in curves for curve in curves[kty] if suits(algorithm, kty, curve)]
        assert fitting
        assert all(algorithm.startswith(TYPES[kty]) for kty, _ in fitting)
        assert not suits(algorithm, "OKP", "X25519")
        assert not suits(algorithm, "EC", None)
    assert "none" not in ALGORITHMS
    assert check_algorithms(iter(["RS256", "ES256"])) == ("RS256", "ES256")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_verifying_returns_the_public_half_or_the_secret(every_key, algorithm):
    key = every_key[algorithm]
    verifying = key.verifying()
    assert verifying.is_private is algorithm.startswith("HS")
    assert (verifying.kid, verifying.verifying()) == (key.kid, verifying)
    assert verifying.verify(algorithm, b"m", key.sign(algorithm, b"m"))
