"""The vectors about other servers: several issuers, and header members that some of them send."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vector_forge import CLAIMS, SECRET, Forge, part

Case = tuple[str, str, object, str | None]
"""A verifier, a name, a token, and what is expected."""

OK, NO_KEY, WRONG_ALGORITHM = "ok", "invalid signature", "invalid algorithm"
HOME, SSO = "https://login.example", "https://sso.example"
THEIRS: dict[str, Any] = CLAIMS | {"iss": SSO, "aud": "sso-chat"}


def verifiers(f: Forge) -> dict[str, dict[str, Any]]:
    """The settings that the vectors use, by name."""
    home = {"keys": {"jwks": f.public("e1")}, "algorithms": ["ES256"], "issuer": HOME, "audience": "chat"}
    sso = {"keys": {"jwks": f.public("r1")}, "algorithms": ["RS256"], "issuer": SSO, "audience": "sso-chat"}
    return {
        "tolerant": home | {"tolerate_header": ["jku", "x5u"]},
        "prefix": {"keys": {"secret": SECRET, "kid": "k1"}, "audience": "chat", "subject_prefix": "sso:"},
        "two-issuers": {"any_of": [home, sso | {"subject_prefix": "sso:", "max_token": 600}]},
    }


def issuers(f: Forge) -> Iterator[Case]:
    """One verifier for two issuers, a prefix for the subjects of one, and tolerated header members."""
    ours, theirs = f.token(by="e1"), f.token(THEIRS, by="r1")
    yield "two-issuers", "ours", ours, OK
    yield "two-issuers", "theirs", theirs, OK
    yield "two-issuers", "theirs, for our audience", f.token(THEIRS | {"aud": "chat"}, by="r1"), None
    yield "two-issuers", "theirs, signed by us", f.token(THEIRS, by="e1"), WRONG_ALGORITHM
    yield "two-issuers", "ours, signed by them", f.token(by="r1"), WRONG_ALGORITHM
    yield "two-issuers", "theirs, longer than theirs may be", f.token(THEIRS | {"x": "x" * 600}, by="r1"), None
    for issuer in ("https://evil.example", HOME + "/", HOME.upper(), "", None, 1, [HOME], {HOME: HOME}, "__proto__"):
        yield "two-issuers", f"iss {issuer!r}", f.token(CLAIMS | {"iss": issuer}, by="e1"), NO_KEY
    yield "two-issuers", "no iss", f.token({k: v for k, v in CLAIMS.items() if k != "iss"}, by="e1"), NO_KEY
    _, payload, signature = ours.split(".")
    for name, token in {
        "two parts": f"{payload}.{signature}",
        "four parts": f"{ours}.x",
        "no parts": "opaque",
        "empty": "",
        "not ASCII": f"{ours[:-1]}ä",
        "payload no object": f"e30.{part([1])}.e30",
        "payload not base64url": f"e30.{payload}=.e30",
        "header no object, another issuer": f"x.{part({'iss': 'x'})}.x",
        "header no object": f"x.{payload}.{signature}",
        "no signature": f"e30.{payload}.",
        "long": "x" * 9000,
        "long parts": f"{'x' * 9000}.{payload}.x",
    }.items():
        yield "two-issuers", name, token, None
    for token in (7, None, [ours], {"token": ours}):
        yield "two-issuers", f"a {type(token).__name__}", token, "invalid token datatype"
    for subject in ("ada", "", "x" * 251, "x" * 252, "x" * 255, "😀" * 251, "😀" * 252):
        yield "prefix", f"subject {subject!r:.5} of {len(subject)} characters", f.token(CLAIMS | {"sub": subject}), None
    header = {"alg": "ES256", "kid": "e1"}
    url = "https://sso.example/jwks"
    for members, expected in (
        ({"jku": url}, OK),
        ({"x5u": url, "jku": 7}, OK),
        ({"x5c": ["MIIC"]}, "invalid token"),
        ({"jwk": f.public("e1")["keys"][0]}, "invalid token"),
        ({"jku": url, "crit": ["jku"]}, "invalid token"),
        ({"jku": url, "b64": True}, "invalid token"),
        ({"cty": "JWT"}, "invalid token"),
        ({"jku": url, "kid": "other"}, NO_KEY),
    ):
        named = ", ".join(members)
        yield "tolerant", f"a07 header with {named}", f.token(header=header | members, by="e1"), expected
    for member in ("jku", "x5u"):
        named = f"a07 header with {member}, not tolerated"
        yield "two-issuers", named, f.token(header=header | {member: url}, by="e1"), "invalid token"
