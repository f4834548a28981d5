"""DPoP proofs: every rule of RFC 9449 section 4.3, and the binding of tokens to keys."""

from __future__ import annotations

import json

import pytest
from support.clock import FakeClock
from support.dpop import NONCE_SECRET, URL, ClientKey
from support.tokens import issuer_at, part

from roomkey import ConfigError, DPoP, Identity, Key
from roomkey.core.dpop import ASYMMETRIC, MAX_PROOF, WINDOW, check_binding, check_proof, key_of, normal_url
from roomkey.errors import ClaimError, InvalidProof, MissingClaim, NonceRequired

NOW = 1_800_000_000.0
TOKEN = "header.payload.signature"
KEY, OTHER = ClientKey(), ClientKey()
SETTINGS = DPoP(URL)


def rejection(proof: object, settings: DPoP = SETTINGS, token: str = TOKEN, now: float = NOW) -> str:
    with pytest.raises(InvalidProof) as raised:
        check_proof(settings, proof, token, now)
    assert raised.value.to_client() == {
        "message": "invalid DPoP proof",
        "code": "invalid_dpop_proof",
        "type": "UnauthorizedError",
        "reason": "invalid_dpop_proof",
    }
    return str(raised.value)


@pytest.mark.parametrize("algorithm", ASYMMETRIC)
def test_proof_of_each_algorithm_is_accepted(algorithm):
    key = ClientKey(algorithm)
    proof = check_proof(SETTINGS, key.proof(TOKEN, NOW, jti="one"), TOKEN, NOW)
    assert proof == (key.thumbprint, "one", NOW)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"htm": "POST"}, "htm is"),
        ({"htm": "get"}, "htm is"),
        ({"htm": ["GET"]}, "htm is"),
        ({"htu": "https://other.example/socket.io/"}, "htu is"),
        ({"htu": "http://chat.example/socket.io/"}, "htu is"),
        ({"htu": "wss://chat.example/socket.io/"}, "htu is"),
        ({"htu": "https://chat.example/socket.io"}, "htu is"),
        ({"htu": "https://chat.example/a/../socket.io/"}, "htu is"),
        ({"htu": 5}, "htu is"),
        ({"ath": part(b"another")}, "ath is not"),
        ({"ath": 5}, "ath is not"),
        ({"ath": "é"}, "ath is not"),
        ({"iat": NOW - WINDOW - 1}, "issued 61 s ago"),
        ({"iat": NOW + WINDOW + 1}, "issued -61 s ago"),
        ({"iat": str(NOW)}, "iat is"),
        ({"iat": True}, "iat is"),
        ({"jti": ""}, "jti is"),
        ({"jti": 5}, "jti is"),
        ({"jti": "x" * 256}, "jti is"),
        ({"exp": NOW - WINDOW - 1}, "expired"),
        ({"nbf": NOW + WINDOW + 1}, "not yet valid"),
        ({"exp": "soon"}, "exp is"),
        *(({name: None}, f"{name} is missing") for name in ("htm", "htu", "ath", "iat", "jti")),
    ],
)
def test_proof_with_a_wrong_claim_is_rejected(changes, expected):
    assert expected in rejection(KEY.proof(TOKEN, NOW, **changes))


@pytest.mark.parametrize("age", [-WINDOW, 0, WINDOW])
def test_proof_within_the_window_is_accepted(age):
    assert check_proof(SETTINGS, KEY.proof(TOKEN, NOW - age), TOKEN, NOW).issued_at == NOW - age


@pytest.mark.parametrize(
    "url",
    [
        "https://CHAT.example/socket.io/",
        "HTTPS://chat.example:443/socket.io/",
        "https://chat.example/socket.io/?EIO=4&transport=polling#x",
        "https://chat.example/socket%2eio/",
        "https://chat.example/%73ocket.io/",
    ],
)
def test_proof_for_another_spelling_of_the_url_is_accepted(url):
    assert check_proof(SETTINGS, KEY.proof(TOKEN, NOW, htu=url), TOKEN, NOW).key == KEY.thumbprint


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"typ": "JWT"}, "typ is"),
        ({"typ": "at+jwt"}, "typ is"),
        ({"typ": "DPoP+JWT"}, "typ is"),
        ({"typ": None}, "typ is"),
        ({"alg": "none"}, "alg 'none' is not accepted"),
        ({"alg": "HS256"}, "alg 'HS256' is not accepted"),
        ({"alg": "ES384"}, "not for this key"),
        ({"alg": None}, "no alg"),
        ({"alg": 5}, "no alg"),
        ({"jwk": None}, "no jwk"),
        ({"jwk": "key"}, "no jwk"),
        ({"jwk": {}}, "not a public key"),
        ({"jwk": {"kty": ["EC"]}}, "not a public key"),
        ({"jwk": KEY.key.to_jwk(private=True)}, "not a public key"),
        ({"jwk": {"kty": "oct", "k": part(b"x" * 32)}}, "not a public key"),
        ({"jwk": {**KEY.jwk, "k": "AA"}}, "not a public key"),
        ({"jwk": OTHER.jwk}, "signature is not that of jwk"),
        ({"jwk": {**KEY.jwk, "crv": "P-384"}}, "not canonical"),
        ({"jwk": {**KEY.jwk, "crv": "secp256k1"}}, "jwk"),  # another check finds a random key with a leading zero
        ({"jwk": {**KEY.jwk, "crv": None}}, "jwk:"),
        ({"jwk": {**KEY.jwk, "x": "AA" + KEY.jwk["x"]}}, "stray bits"),
        ({"jwk": {**KEY.jwk, "x": "AAAA" + KEY.jwk["x"]}}, "not canonical"),
        ({"jwk": {**KEY.jwk, "x": KEY.jwk["x"] + "="}}, "outside base64url"),
        ({"jwk": {**KEY.jwk, "x": "é"}}, "jwk has no x"),
        ({"jwk": {**KEY.jwk, "x": part(b"\x01" * 32)}}, "jwk:"),
        ({"jwk": {**KEY.jwk, "use": "enc"}}, "jwk: use"),
        ({"jwk": {**KEY.jwk, "key_ops": ["encrypt"]}}, "jwk: key_ops"),
        ({"jwk": {**KEY.jwk, "alg": "ES384"}}, "jwk:"),
        *(({name: "x"}, f"header member {name}") for name in ("crit", "b64", "jku", "x5u", "x5c", "zip", "enc", "cty")),
    ],
)
def test_proof_with_a_wrong_header_is_rejected(header, expected):
    assert expected in rejection(KEY.proof(TOKEN, NOW, header=header))


def test_proof_with_harmless_header_members_is_accepted():
    assert check_proof(SETTINGS, KEY.proof(TOKEN, NOW, header={"kid": 5, "x": 1}), TOKEN, NOW).key == KEY.thumbprint


def test_rsa_key_in_another_spelling_is_rejected():
    key = ClientKey("RS256")
    for name, value, expected in (
        ("n", "AAAA" + key.jwk["n"], "not canonical"),
        ("e", "AAAAAQAB", "not canonical"),
        ("e", part(b"\x01" * 5), "unusable public exponent"),
        ("e", part(b"\x04"), "jwk:"),
    ):
        assert expected in rejection(key.proof(TOKEN, NOW, header={"jwk": {**key.jwk, name: value}}))


def test_short_rsa_key_is_rejected():
    key = ClientKey("RS256")
    assert "1024 bits" in rejection(key.proof(TOKEN, NOW, header={"jwk": {**key.jwk, "n": part(b"\xff" * 128)}}))


@pytest.mark.parametrize("proof", [None, 5, True, [], {}, "", "a", "a.b", "a.b.c.d", "..", "x" * (MAX_PROOF + 1)])
def test_value_that_is_not_a_proof_is_rejected(proof):
    assert rejection(proof)


def test_proof_in_another_form_is_rejected():
    proof = KEY.proof(TOKEN, NOW)
    header, payload, signature = proof.split(".")
    for changed in (
        proof + "=",
        proof + "\n",
        " " + proof,
        f"{header}.{payload}.",
        f"{header}.{payload}.{signature[:-4]}",
        f"{header}.{part(json.dumps(KEY.claims(TOKEN, NOW)).encode())}.{signature}",
        KEY.sign(json.dumps({"typ": "dpop+jwt", "alg": "ES256", "jwk": KEY.jwk}).encode(), b"[]"),
        KEY.sign(json.dumps({"typ": "dpop+jwt", "alg": "ES256", "jwk": KEY.jwk}).encode(), b'{"jti":"a","jti":"b"}'),
        KEY.sign(b'{"alg":"ES256","alg":"ES256"}', b"{}"),
    ):
        assert rejection(changed)


def test_clock_without_a_time_accepts_no_proof():
    assert rejection(KEY.proof(TOKEN, NOW), now=float("nan"))


def test_algorithm_that_the_settings_do_not_name_is_rejected():
    assert "alg 'ES256'" in rejection(KEY.proof(TOKEN, NOW), DPoP(URL, algorithms=["EdDSA"]))


def test_each_configured_url_is_accepted():
    settings = DPoP([URL, "http://localhost:8000/socket.io/"])
    for url in (URL, "http://localhost:8000/socket.io/"):
        assert check_proof(settings, KEY.proof(TOKEN, NOW, htu=url), TOKEN, NOW)


# Nonces


def test_nonce_of_the_server_is_required_and_accepted():
    settings = DPoP(URL, nonce_secret=NONCE_SECRET)
    with pytest.raises(NonceRequired) as raised:
        check_proof(settings, KEY.proof(TOKEN, NOW), TOKEN, NOW)
    told = raised.value.to_client()
    assert (told["code"], told["retry"]) == ("use_dpop_nonce", True)
    nonce = told["nonce"]
    assert check_proof(settings, KEY.proof(TOKEN, NOW, nonce=nonce), TOKEN, NOW + 60)
    for wrong in ("", 5, nonce[:-1], nonce[:-1] + "=", "A" * 32, nonce.swapcase()):
        with pytest.raises(NonceRequired):
            check_proof(settings, KEY.proof(TOKEN, NOW, nonce=wrong), TOKEN, NOW)
    with pytest.raises(NonceRequired):
        check_proof(settings, KEY.proof(TOKEN, NOW + 61, nonce=nonce), TOKEN, NOW + 61)


def test_nonce_of_another_secret_is_rejected():
    other = DPoP(URL, nonce_secret=NONCE_SECRET[::-1])
    assert other.nonces is not None
    proof = KEY.proof(TOKEN, NOW, nonce=other.nonces.issue(NOW))
    with pytest.raises(NonceRequired):
        check_proof(DPoP(URL, nonce_secret=NONCE_SECRET), proof, TOKEN, NOW)


def test_invalid_proof_receives_no_nonce():
    assert "htm" in rejection(KEY.proof(TOKEN, NOW, htm="POST"), DPoP(URL, nonce_secret=NONCE_SECRET))


# The binding of tokens


@pytest.mark.parametrize(
    "cnf",
    [
        None, "", [], {}, {"jkt": None}, {"jkt": 5}, {"jkt": ""}, {"jkt": "x" * 43}, {"jkt": KEY.thumbprint + "="},
        {"x5t#S256": KEY.thumbprint}, {"jkt": KEY.thumbprint, "x5t#S256": "x"}, {"jwk": KEY.jwk},
    ],
)  # fmt: skip
@pytest.mark.parametrize("proved", [None, KEY.thumbprint], ids=["no proof", "proof"])
def test_binding_that_cannot_be_checked_is_rejected(cnf, proved):
    with pytest.raises(ClaimError) as raised:
        check_binding({"cnf": cnf}, proved)
    assert raised.value.claim == "cnf"


def test_bound_token_requires_a_proof_by_its_key():
    check_binding(KEY.binding, KEY.thumbprint)
    with pytest.raises(InvalidProof, match="setting dpop") as missing:
        check_binding(KEY.binding, None)
    assert missing.value.message == "DPoP proof required"
    with pytest.raises(ClaimError, match="another key"):
        check_binding(KEY.binding, OTHER.thumbprint)


def test_proof_with_a_token_that_is_not_bound_is_rejected():
    check_binding({}, None)
    with pytest.raises(MissingClaim):
        check_binding({}, KEY.thumbprint)


def test_verifier_rejects_bound_tokens_unless_the_key_is_proved():
    clock = FakeClock()
    issuer = issuer_at(clock)
    verifier, token = issuer.verifier(), issuer.issue("ada", claims=KEY.binding)
    who = verifier.verify(token, clock.now(), proved_key=KEY.thumbprint)
    assert key_of(who) == KEY.thumbprint
    for proved, error in ((None, InvalidProof), (OTHER.thumbprint, ClaimError)):
        with pytest.raises(error):
            verifier.verify(token, clock.now(), proved_key=proved)
        with pytest.raises(error):
            verifier.identify(dict(who.claims), clock.now(), proved_key=proved)
    with pytest.raises(MissingClaim):
        verifier.verify(issuer.issue("ada"), clock.now(), proved_key=KEY.thumbprint)


def test_identity_without_a_binding_has_no_key():
    assert key_of(Identity("ada")) is None
    assert key_of(Identity("ada", claims={"cnf": "x"})) is None


# Settings


@pytest.mark.parametrize(
    "url",
    ["", "chat.example", "/socket.io/", "https://chat.example", "http://chat.example/socket.io/", "ftp://a/b",
     "https://chat.example/socket.io/?x", "https://chat.example/socket.io/#x", "https://u@chat.example/socket.io/",
     "https://chat.example/a b/", "https://chat.example/%zz/", "https://chat.example/./socket.io/",
     "https://ch\u00e4t.example/", "https:///socket.io/", "https://chat.example:x/socket.io/", None, 5, []],
)  # fmt: skip
def test_setting_that_is_not_a_public_url_is_rejected(url):
    with pytest.raises(ConfigError, match="url"):
        DPoP(url)


@pytest.mark.parametrize(
    "settings",
    [
        {"algorithms": ["HS256"]},
        {"algorithms": ["none"]},
        {"nonce_secret": "short"},
        {"max_proofs": 0},
        {"max_proofs_per_subject": 0},
    ],
)
def test_setting_that_is_not_safe_is_rejected(settings):
    with pytest.raises(ConfigError):
        DPoP(URL, **settings)


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("https://a/", "https://a/"),
        ("https://a", "https://a/"),
        ("http://A:80/B", "http://a/B"),
        ("https://a:80/", "https://a:80/"),
        ("https://a:/", "https://a/"),
        ("https://[::1]:443/x", "https://[::1]/x"),
        ("https://a/%7euser/%2f/%C3%A4", "https://a/~user/%2F/%C3%A4"),
        ("https://a/%2e%2e/", None),
        ("https://a/..", None),
        ("https://a/%", None),
        ("https://a/%4", None),
        ("https://a\\b/", None),
        ("https://a/b\\c", None),
        ("https://a@b/", None),
        ("https://:443/", None),
        ("https://a/\n", None),
        ("data:https://a/", None),
    ],
)
def test_url_has_one_normal_form(url, normal):
    assert normal_url(url) == normal


def test_key_is_named_by_its_public_half():
    assert Key.from_jwk(KEY.jwk).thumbprint() == KEY.thumbprint
