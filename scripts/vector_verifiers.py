"""The verifiers that the vectors of tokens use, and what their settings change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from vector_forge import (
    CLAIMS,
    INVALID,
    MALFORMED,
    NOW,
    OK,
    OLD_SECRET,
    SECRET,
    SECRET_512,
    SHORT_SECRET,
    SIGNATURE,
    AskedCase,
    Forge,
    without,
    written,
)


def verifiers(forge: Forge) -> dict[str, dict[str, Any]]:
    """The settings that the vectors use, by name."""
    secret = {"keys": {"secret": SECRET, "kid": "k1"}}
    chat = {"audience": "chat", "issuer": "https://login.example"}
    public = {"keys": {"jwks": forge.public("r1", "e1")}, "algorithms": ["RS256", "ES256"], "audience": "chat"}
    kinds = ("r1", "p1", "e1", "e384", "e512", "d1", "d448")
    every = ["RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA", "Ed25519", "Ed448"]
    unbound = {"keys": [{k: v for k, v in forge.keys["r1"].public().to_jwk().items() if k != "alg"}]}
    return {
        "hs256": secret | chat,
        "hs256-any-kid": {"keys": {"secret": SECRET}} | chat,
        "hs512": {"keys": {"secret": SECRET_512, "algorithm": "HS512"}} | chat,
        "previous": {"keys": {"secret": SECRET, "previous": [OLD_SECRET, NOW + 100]}} | chat,
        "short-secret": {"keys": {"secret": SHORT_SECRET, "insecure_short_secret": True}} | chat,
        "previous-short": {
            "keys": {"secret": SECRET, "previous": [SHORT_SECRET, NOW + 100], "insecure_short_secret": True}
        }
        | chat,
        "public": public,
        "every": {"keys": {"jwks": forge.public(*kinds)}, "algorithms": every, "audience": "chat"},
        "twins": {
            "keys": {"jwks": forge.public("e1", "e2", "r1")},
            "algorithms": ["ES256", "RS256", "EdDSA"],
            "audience": "chat",
        },
        "pem": {
            "keys": {"pem": forge.keys["r1"].public().to_pem().decode(), "kid": "r1"},
            "algorithms": ["RS256"],
            "audience": "chat",
        },
        "unbound": {"keys": {"jwks": unbound}, "algorithms": ["RS256", "PS256"], "audience": "chat"},
        "unbound-rs256": {"keys": {"jwks": unbound}, "algorithms": ["RS256"], "audience": "chat"},
        "issuers": {
            "keys": {
                "issuers": {"https://a.example": forge.public("r1"), "https://b.example": forge.public("r2", "e1")}
            },
            "algorithms": ["RS256", "ES256"],
            "audience": "chat",
        },
        "at+jwt": secret | chat | {"token_type": "at+jwt"},
        "JWT": secret | chat | {"token_type": "JWT"},
        "lifetime": secret | chat | {"max_lifetime": 600},
        "endless": secret | chat | {"max_lifetime": 600, "require": ["sub"]},
        "age": secret | chat | {"max_age": 60},
        "no-audience": secret | {"issuer": "https://login.example"},
        "two-names": secret | {"audience": ["a", "b"], "issuer": ["https://a.example", "https://login.example"]},
        "nothing-required": secret | chat | {"require": []},
        "jti-required": secret | chat | {"require": ["exp", "sub", "jti", "tenant"]},
        "claims": secret | chat | {"claims": {"token_type": "access", "level": 1, "mfa": True}},
        "user_id": secret | chat | {"claims_map": {"subject": "user_id"}, "integer_subject": True},
        "integer-sub": secret | chat | {"integer_subject": True},
        "no-leeway": secret | chat | {"leeway": 0},
        "short": secret | chat | {"max_token": 300},
    }


def settings(f: Forge) -> Iterator[AskedCase]:
    """Groups A and B: what a verifier's settings change."""
    for typ, expected in (
        ("at+jwt", OK),
        ("AT+JWT", OK),
        ("application/at+jwt", OK),
        ("JWT", INVALID),
        (None, INVALID),
    ):
        header = {"alg": "HS256", "kid": "k1"} | ({"typ": typ} if typ else {})
        yield "at+jwt", f"a12 at+jwt is demanded, typ {typ}", f.token(header=header), expected
        yield "JWT", f"a12 JWT is demanded, typ {typ}", f.token(header=header), OK if typ == "JWT" else INVALID
    late = CLAIMS | {"iat": NOW + 86_400, "exp": NOW + 86_500}
    yield "lifetime", "b23 within max_lifetime", f.token(), OK
    yield "lifetime", "b23 ten years", f.token(CLAIMS | {"exp": NOW + 315_360_000}), "invalid exp value"
    yield "lifetime", "b23 iat ahead stretches nothing", f.token(late), "invalid exp value"
    yield "lifetime", "b23 no iat", f.token(without("iat")), "invalid iat value"
    yield "endless", "b23 no exp under max_lifetime", f.token(without("exp")), "invalid exp value"
    for at, expected in ((90, OK), (91, "maxAge exceeded"), (-29, OK), (-31, "invalid iat value")):
        yield "age", f"b25 max_age at iat{at:+d}", f.token(CLAIMS | {"exp": NOW + 9000}), expected, {"now": NOW + at}
    yield "age", "b25 max_age without iat", f.token(without("iat")), "invalid iat value"
    yield "no-audience", "b26 no aud expected, none there", f.token(without("aud")), OK
    for aud in ("chat", [], ""):
        yield (
            "no-audience",
            f"b26 no aud expected, {aud!r}",
            f.token(CLAIMS | {"aud": aud}),
            "jwt audience invalid. expected: none",
        )
    yield "two-names", "b26 neither audience", f.token(), "jwt audience invalid. expected: a or b"
    yield "two-names", "b26 the second of each", f.token(CLAIMS | {"aud": ["b"]}), OK
    two = "jwt issuer invalid. expected: https://a.example or https://login.example"
    yield "two-names", "b26 neither issuer", f.token(CLAIMS | {"iss": "https://b.example"}), two
    yield "nothing-required", "b27 no exp and no sub", f.token(without("exp", "sub", "iat")), OK
    yield "jti-required", "b28 no jti", f.token(), "invalid jti value"
    yield "jti-required", "b28 no tenant", f.token(CLAIMS | {"jti": "t"}), "invalid tenant value"
    yield "jti-required", "b28 all there", f.token(CLAIMS | {"jti": "t", "tenant": None}), OK
    exact = CLAIMS | {"token_type": "access", "level": 1, "mfa": True}
    yield "claims", "exact claims", f.token(exact), OK
    for name, value in (
        ("token_type", "Access"),
        ("token_type", ["access"]),
        ("level", 2),
        ("level", True),
        ("level", "1"),
        ("mfa", 1),
        ("mfa", "true"),
        ("mfa", False),
        ("level", 1.5),
        ("mfa", None),
    ):
        yield "claims", f"exact claims, {name} {value!r}", f.token(exact | {name: value}), f"invalid {name} value"
    yield "claims", "exact claims, level 1.0", f.token(json.dumps(exact).replace('"level": 1', '"level": 1.0')), OK
    yield (
        "claims",
        "exact claims, one missing",
        f.token(CLAIMS | {"token_type": "access", "mfa": True}),
        "invalid level value",
    )
    for value, expected in (
        ("7", OK),
        ("-7", OK),
        ("7.0", OK),
        ("7e0", OK),
        ("-0", OK),
        ("7.5", None),
        ("true", None),
        ("null", None),
        ("[7]", None),
        ('"ada"', OK),
        ("9007199254740991", OK),
        ("1e16", None),
        ('""', None),
    ):
        yield (
            "user_id",
            f"i119 user_id {value}",
            f.token(written("user_id", value)),
            expected or "invalid sub value",
        )
        yield "integer-sub", f"i119 sub {value}", f.token(written("sub", value)), expected or "invalid sub value"
    yield "user_id", "i119 user_id missing", f.token(), "invalid sub value"
    yield "no-leeway", "b24 at exp without leeway", f.token(), OK, {"now": NOW + 600}
    yield "no-leeway", "b24 after exp without leeway", f.token(), "jwt expired", {"now": NOW + 600.001}
    yield "short", "a17 over max_token", f.token(CLAIMS | {"pad": "x" * 200}), MALFORMED
    old = f.token(header={"alg": "HS256"}, by="old")
    yield "previous", "the secret before", old, OK
    yield "previous", "the secret before, one second before its end", old, OK, {"now": NOW + 99}
    yield "previous", "the secret before, at its end", old, SIGNATURE, {"now": NOW + 100}
    yield "previous", "the secret now", f.token(header={"alg": "HS256"}), OK
    yield "previous", "neither secret", f.token(header={"alg": "HS256"}, by="other"), SIGNATURE
    short = f.token(header={"alg": "HS256"}, by="tiny")
    yield "short-secret", "a short secret", short, OK
    yield "short-secret", "another secret than the short one", f.token(header={"alg": "HS256"}), SIGNATURE
    yield "previous-short", "a short secret before", short, OK
    yield "previous-short", "a short secret before, at its end", short, SIGNATURE, {"now": NOW + 100}
    yield "previous-short", "the long secret now", f.token(header={"alg": "HS256"}), OK
