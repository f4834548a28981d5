"""The vectors about keys and algorithms."""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator

from support.tokens import b64, unb64
from vector_forge import ALGORITHM, CLAIMS, INVALID, OK, SIGNATURE, AskedCase, Forge, part

N256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def keys(f: Forge) -> Iterator[AskedCase]:
    """Group A: keys and algorithms, each with the verifier that is asked."""
    for kid, key in (("r1", "r1"), ("e1", "e1")):
        for name, form_of_key in _public_forms(f, key).items():
            body = f"{part({'alg': 'HS256', 'kid': kid})}.{part(CLAIMS)}"
            yield (
                "public",
                f"a03 {kid} as {name}",
                f"{body}.{b64(hmac.digest(form_of_key, body.encode(), 'sha256'))}",
                ALGORITHM,
            )
    yield "public", "a00 RS256", f.token(by="r1"), OK
    yield "public", "a00 ES256", f.token(by="e1"), OK
    yield "public", "a00 RS256 without kid", f.token(header={"alg": "RS256"}, by="r1"), OK
    yield "public", "a06 RS256 with the EC key's kid", f.token(header={"alg": "RS256", "kid": "e1"}, by="r1"), ALGORITHM
    yield (
        "public",
        "a06 ES256 with the RSA key's kid",
        f.token(header={"alg": "ES256", "kid": "r1"}, by="e1"),
        ALGORITHM,
    )
    yield "public", "a05 unknown kid", f.token(header={"alg": "RS256", "kid": "r9"}, by="r1"), SIGNATURE
    yield "public", "a05 another RSA key", f.token(header={"alg": "RS256", "kid": "r1"}, by="r2"), SIGNATURE
    yield "public", "a05 Ed25519 is not accepted here", f.token(by="d1"), ALGORITHM
    yield "pem", "a00 PEM", f.token(by="r1"), OK
    yield "pem", "a05 PEM, another kid", f.token(header={"alg": "RS256", "kid": "r2"}, by="r1"), SIGNATURE
    for kid in ("r1", "p1", "e1", "e384", "e512", "d1", "d448"):
        yield "every", f"a00 {kid}", f.token(by=kid), OK
        yield "every", f"a00 {kid}, changed", f.token(by=kid)[:-8] + "AAAAAAAA"[:8], None  # whatever it is, both agree
    yield "every", "a00 Ed25519 by its own name", f.token(by="d1", header={"alg": "Ed25519", "kid": "d1"}), ALGORITHM
    yield "twins", "a09 no kid, two keys fit", f.token(header={"alg": "ES256"}, by="e1"), SIGNATURE
    yield "twins", "a09 no kid, one key fits", f.token(header={"alg": "RS256"}, by="r1"), OK
    yield "twins", "a09 no kid, no key fits", f.token(header={"alg": "EdDSA"}, by="d1"), ALGORITHM
    for algorithm in ("RS256", "PS256"):
        token = f.token(header={"alg": algorithm, "kid": "r1"}, by="r1u", algorithm=algorithm)
        yield "unbound", f"a05 {algorithm} of a key without alg", token, OK
        yield (
            "unbound-rs256",
            f"a05 {algorithm} where RS256 is accepted",
            token,
            OK if algorithm == "RS256" else ALGORITHM,
        )
    yield "hs256-any-kid", "a09 kid of another key", f.token(), SIGNATURE
    yield "hs256-any-kid", "a09 no kid, one key", f.token(header={"alg": "HS256"}), OK
    yield "hs512", "a00 HS512", f.token(header={"alg": "HS512"}, by="k512"), OK
    yield "hs512", "a05 HS256 where HS512 is accepted", f.token(header={"alg": "HS256"}), ALGORITHM
    yield from _ecdsa(f)
    for kid, iss, expected in (
        ("r1", "https://a.example", OK),
        ("r2", "https://b.example", OK),
        ("e1", "https://b.example", OK),
        ("r1", "https://b.example", SIGNATURE),
        ("r2", "https://a.example", SIGNATURE),
        ("r1", "https://c.example", SIGNATURE),
        ("r1", None, SIGNATURE),
        ("r1", "__proto__", SIGNATURE),
        ("r1", ["https://a.example"], SIGNATURE),
    ):
        yield "issuers", f"i121 {kid} of {iss}", f.token(CLAIMS | {"iss": iss}, by=kid), expected
    yield "issuers", "i121 payload is not JSON", f.token(b"{", by="r1"), INVALID


def _public_forms(f: Forge, kid: str) -> dict[str, bytes]:
    key = f.keys[kid].public()
    pem = key.to_pem()
    der = unb64("".join(pem.decode().split("\n")[1:-2]).replace("+", "-").replace("/", "_").rstrip("="))
    jwk = json.dumps(key.to_jwk(), sort_keys=True).encode()
    return {"PEM": pem, "PEM without newline": pem.strip(), "DER": der, "JWK": jwk}


def _ecdsa(f: Forge) -> Iterator[AskedCase]:
    body, _, signature = f.token(by="e1").rpartition(".")
    raw = unb64(signature)
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")

    def pair(r: int, s: int, size: int = 32) -> bytes:
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    shapes = {
        **{
            f"s = {name}": pair(r, value)
            for name, value in (("0", 0), ("1", 1), ("n", N256), ("n-1", N256 - 1), ("max", 2**256 - 1))
        },
        **{
            f"r = {name}": pair(value, s)
            for name, value in (("0", 0), ("1", 1), ("n", N256), ("n-1", N256 - 1), ("max", 2**256 - 1))
        },
        "zeros": pair(0, 0),
        "swapped": pair(s, r),
        "66 bytes": pair(r, s, 33),
        "two bytes more": raw + b"\0\0",
        "63 bytes": raw[:-1],
        "32 bytes": raw[:32],
        "DER": b"\x30\x44\x02\x20" + pair(r >> 1, s >> 1)[:32] + b"\x02\x20" + raw[32:],
    }
    for name, shape in shapes.items():
        yield "public", f"a21 {name}", f"{body}.{b64(shape)}", SIGNATURE
    yield "public", "a21 88 characters with padding", f"{body}.{signature}==", INVALID
