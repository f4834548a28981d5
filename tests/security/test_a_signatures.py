"""Group A of the checklist: forged signatures, and key sets as providers publish them."""

from __future__ import annotations

import base64
import datetime
import json
from collections import Counter

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from support import vectors

from roomkey import Key, KeySet, Verifier
from roomkey.core import jws
from roomkey.errors import AuthError, BadSignature
from roomkey.keysets.remote_answers import parse_key_set

TOKENS = vectors.read("tokens")
FORGED = [vector for vector in TOKENS["vectors"] if vector["name"].startswith("signatures: a20 ")]


def rejection(verifier: Verifier, token: str) -> AuthError | None:
    """Check a token's signature only."""
    try:
        jws.check_signature(jws.split(token), verifier.keys, verifier.algorithms)
    except AuthError as error:
        return error
    return None


@pytest.mark.checklist("A20")
def test_forged_signatures_are_rejected_by_the_signature_check():
    """The repository's own vectors, which Node.js runs too. They aim at what the Wycheproof vectors aim at.

    Those are not in the repository. Where they are next to it, ``test_wycheproof_vectors_give_the_expected_results``
    counts 467 of 476, and names the nine that are wrong themselves.
    """
    made = {name: vectors.verifier_of(TOKENS["verifiers"][name]) for name in {vector["verifier"] for vector in FORGED}}
    counts = Counter()
    for vector in FORGED:
        error = rejection(made[vector["verifier"]], vector["token"])
        told = None if error is None else error.to_client()["message"]
        assert told == vector.get("rejected", {}).get("message"), vector["name"]
        counts["accepted" if error is None else type(error)] += 1
    assert counts["accepted"] == 7
    assert counts[BadSignature] >= 170


@pytest.fixture(scope="module")
def realm():
    """A key set as Keycloak publishes it: two signing keys and an encryption key, each with its certificate."""
    return {"keys": [certified("enc", "RSA-OAEP", "enc"), certified("now", "RS256"), certified("before", "RS256")]}


def certified(kid: str, algorithm: str, use: str = "sig") -> dict[str, object]:
    private = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "main")])
    began = datetime.datetime(2026, 1, 1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(began)
        .not_valid_after(began + datetime.timedelta(days=3650))
        .sign(private, hashes.SHA256())
    )
    der = certificate.public_bytes(serialization.Encoding.DER)
    pem = private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    numbers = {name: value for name, value in Key.from_pem(pem).to_jwk().items() if name in ("kty", "n", "e")}
    return numbers | {
        "kid": kid,
        "alg": algorithm,
        "use": use,
        "x5c": [base64.b64encode(der).decode()],
        "x5t": base64.urlsafe_b64encode(certificate.fingerprint(hashes.SHA1())).rstrip(b"=").decode(),
        "x5t#S256": base64.urlsafe_b64encode(certificate.fingerprint(hashes.SHA256())).rstrip(b"=").decode(),
    }


@pytest.mark.checklist("A19")
def test_key_set_of_keycloak_keeps_the_keys_that_sign(realm):
    loaded = KeySet.from_jwks(realm)
    assert [(key.kid, key.algorithms) for key in loaded] == [("now", ("RS256",)), ("before", ("RS256",))]
    assert [kid for kid, _ in loaded.refused] == ["enc"]


@pytest.mark.checklist("A19")
def test_key_set_of_keycloak_from_its_server_keeps_the_keys_that_sign(realm):
    fetched = parse_key_set(json.dumps(realm).encode(), ["RS256", "ES256"], ["RS256", "RSA-OAEP"])
    assert [key.kid for key in fetched] == ["now", "before"]
