"""PEM texts: all their keys, or an error with the reason. None of them is accepted as a shared secret."""

from __future__ import annotations

import base64
import os

import pytest

from roomkey import ConfigError, Key, KeySet, Verifier
from roomkey.core.pem import key_blocks

EC, RSA = Key.generate("ES256"), Key.generate("RS256")
PARAMETERS = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
CERTIFICATE = b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"


def test_key_is_found_among_other_blocks():
    text = b"\xef\xbb\xbfBag Attributes\n" + PARAMETERS + EC.to_pem(private=True) + CERTIFICATE
    assert Key.from_pem(text).thumbprint() == EC.thumbprint()


def test_set_contains_every_key_of_a_pem():
    keys = KeySet.from_pem(EC.to_pem() + RSA.to_pem(), EC.to_pem(private=True))
    assert {(key.kty, key.is_private) for key in keys} == {("EC", True), ("RSA", False)}


@pytest.mark.parametrize("read", [Key.from_pem, lambda pem: Verifier.pem(pem, algorithms=["ES256"])])
def test_several_keys_are_rejected_by_key_from_pem(read):
    with pytest.raises(ConfigError, match="contains 2 keys"):
        read(EC.to_pem() + RSA.to_pem())


@pytest.mark.parametrize("line_break", ["\\n", "\\r\\n", "\r\n", " "])
def test_escaped_line_breaks_are_accepted(line_break):
    text = EC.to_pem(private=True).decode().replace("\n", line_break)
    assert Key.from_pem(text).thumbprint() == EC.thumbprint()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "not a PEM file"),
        (EC.to_pem().lower(), "not a PEM file"),
        (EC.to_pem()[:-10], "has no line '-----END"),
        (EC.to_pem()[:60] + RSA.to_pem(), "has no line '-----END"),
        (PARAMETERS, "does not contain a key"),
        (CERTIFICATE * 2, "several certificates"),
        (b"-----BEGIN PUBLIC KEY-----\n" + b"A" * 20_000 + b"\n-----END PUBLIC KEY-----\n", "more than 16384 bytes"),
    ],
)
def test_pem_error_has_the_reason(text, said):
    with pytest.raises(ConfigError, match=said) as caught:
        Key.from_pem(text)
    assert "\n" not in str(caught.value)


def test_pem_with_many_headers_is_rejected_quickly():
    with pytest.raises(ConfigError, match="has no line '-----END"):
        key_blocks(b"-----BEGIN PUBLIC KEY-----\n" * 2000)


MARKED = {
    "PEM": EC.to_pem(),
    "lower case": EC.to_pem().lower(),
    "mixed case": EC.to_pem().replace(b"BEGIN PUBLIC", b"Begin Public"),
    "private": EC.to_pem(private=True).lower(),
    "indented": b"  " + RSA.to_pem().lower(),
    "literal line breaks": RSA.to_pem().replace(b"\n", b"\\n").lower(),
    "only the end": b"x" * 40 + b"-----end public key-----",
    "SSH": b"SSH-ED25519 " + base64.b64encode(os.urandom(51)) + b" ada@example",
    "SSH2": b"---- begin ssh2 public key ----\n" + base64.b64encode(os.urandom(51)),
}


@pytest.mark.parametrize("name", MARKED)
def test_key_in_any_letter_case_is_not_a_secret(name):
    secret = MARKED[name]
    jwk = {"kty": "oct", "k": base64.urlsafe_b64encode(secret).rstrip(b"=").decode(), "alg": "HS256"}
    for read in (
        Key.from_secret,
        Verifier.hs256,
        lambda raw: Key.from_secret(raw.decode()),
        lambda _: Key.from_jwk(jwk),
    ):
        with pytest.raises(ConfigError, match=r"PEM or SSH key|not a valid oct key"):
            read(secret)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_secret_with_a_final_line_break_is_rejected(end):
    secret = base64.b64encode(os.urandom(48)).decode() + end
    for written in (secret, secret.encode()):
        with pytest.raises(ConfigError, match="ends with a line break"):
            Verifier.hs256(written)


def test_random_secret_may_end_with_any_byte():
    assert Key.from_secret(b"\xf0" + os.urandom(40) + b"\n").kty == "oct"
