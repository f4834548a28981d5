"""The vectors about tokens: each has a name, a verifier, a token, and what is expected of the verdict.

The expectation is written by hand, ``ok`` or the client's message; the rest of the verdict is Python's.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator
from typing import Any

from vector_forge import CLAIMS, NOW, OLD_SECRET, SECRET, SECRET_512, Forge, b64, part, unb64

OK, MALFORMED, INVALID, SIGNATURE = "ok", "jwt malformed", "invalid token", "invalid signature"
ALGORITHM, DATATYPE = "invalid algorithm", "invalid token datatype"
N256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

Case = tuple[str, object, str]
"""A name, a token, and what is expected; a fourth member holds further members of the vector."""


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


def without(*names: str) -> dict[str, Any]:
    """The good claims but these."""
    return {name: value for name, value in CLAIMS.items() if name not in names}


def written(name: str, text: str) -> str:
    """The good claims as JSON, with one value that only a hand can write."""
    return json.dumps(without(name), separators=(",", ":"))[:-1] + f',"{name}":{text}}}'


def form(f: Forge) -> Iterator[Case]:
    """Group A: the compact form, its header and its JSON."""
    good = f.token()
    header, payload, signature = good.split(".")
    yield "a00 good", good, OK
    for alg in ("none", "None", "nOnE", "NONE", "", None, 0, True, ["HS256"], {"HS256": 1}, "hs256", "HS384", "ES256"):
        yield f"a01 alg {alg!r}", f.token(header={"alg": alg, "kid": "k1"}), ALGORITHM
    yield "a01 no alg", f.token(header={"kid": "k1"}), ALGORITHM
    yield "a01 alg none without a signature", f"{part({'alg': 'none'})}.{payload}.", "jwt signature is required"
    yield "a02 signature removed", f"{header}.{payload}.", "jwt signature is required"
    yield "a02 two parts", f"{header}.{payload}", MALFORMED
    yield "a02 zero signature", f"{header}.{payload}.{b64(bytes(32))}", SIGNATURE
    for bit in (0, 100, 255):
        raw = bytearray(unb64(signature))
        raw[bit // 8] ^= 1 << bit % 8
        yield f"a02 bit {bit} of the signature flipped", f"{header}.{payload}.{b64(bytes(raw))}", SIGNATURE
    yield "a02 signature cut short", f"{header}.{payload}.{b64(unb64(signature)[:16])}", SIGNATURE
    yield "a02 another payload", f"{header}.{part(CLAIMS | {'sub': 'eve'})}.{signature}", SIGNATURE
    for kid in (
        "../../dev/null",
        "' OR 1=1 --",
        "k1\0",
        "K1",
        " k1",
        "k1 ",
        "k1\r\nX: y",
        "ｋ1",
        "👾" * 255,
        "__proto__",
    ):
        yield f"a08 kid {kid[:20]!r}", f.token(header={"alg": "HS256", "kid": kid}), SIGNATURE
    for kid in ("", "k" * 256, 1, 1.5, None, True, ["k1"], {"$ne": 1}):
        yield f"a08 kid {str(kid)[:20]!r} is not a name", f.token(header={"alg": "HS256", "kid": kid}), INVALID
    yield "a08 kid unpaired surrogate", f.token(header='{"alg":"HS256","kid":"\\ud800"}'), INVALID
    yield from _header(f)
    yield from _spellings(f, good)
    yield from _json(f)


def _header(f: Forge) -> Iterator[Case]:
    for crit in (["exp"], ["b64"], ["x"], [], None, "exp", {}, 0):
        yield f"a10 crit {crit!r}", f.token(header={"alg": "HS256", "kid": "k1", "crit": crit}), INVALID
    for name in ("b64", "jwk", "jku", "x5u", "x5c", "zip", "enc", "cty"):
        for value in ("x", None, False, [], {}):
            yield f"a07 header {name}: {value!r}", f.token(header={"alg": "HS256", "kid": "k1", name: value}), INVALID
    ignored = ({"cat": "x"}, {"nonce": "x"}, {"version": 5}, {"x5t": "k"}, {"__proto__": 1}, {"x": [{"y": [1]}]})
    for members in ignored:
        yield f"a00 header {members} is ignored", f.token(header={"alg": "HS256", "kid": "k1"} | members), OK
    for typ in ("refresh+jwt", "id+jwt", "logout+jwt", "dpop+jwt", "JOSE", "", " JWT", "JWT\0", None, 5, ["JWT"]):
        yield f"a12 typ {typ!r}", f.token(header={"alg": "HS256", "kid": "k1", "typ": typ}), INVALID
    for typ in ("JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt"):
        yield f"a12 typ {typ}", f.token(header={"alg": "HS256", "kid": "k1", "typ": typ}), OK


def _spellings(f: Forge, good: str) -> Iterator[Case]:
    header, payload, signature = good.split(".")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    stray = signature[:-1] + alphabet[alphabet.index(signature[-1]) ^ 1]
    yield "a11 detached payload", f"{header}..{signature}", SIGNATURE
    flat = {"protected": header, "payload": payload, "signature": signature}
    yield "a11 JSON serialization as text", json.dumps(flat), MALFORMED
    yield "a11 JSON serialization", flat, DATATYPE
    yield "a13 encrypted", f"{b64(b'{}')}..{b64(bytes(12))}.{b64(bytes(40))}.{b64(bytes(16))}", MALFORMED
    yield "a13 PBES2", f.token(header={"alg": "PBES2-HS256+A128KW", "kid": "k1", "p2c": 2**31}), ALGORITHM
    spelled = {
        "padded signature": f"{good}=",
        "padded header": f"{header}==.{payload}.{signature}",
        "space inside": f"{header}.{payload[:9]} {payload[9:]}.{signature}",
        "newline inside": f"{header}.{payload[:9]}\n{payload[9:]}.{signature}",
        "trailing newline": f"{good}\n",
        "leading space": f" {good}",
        "stray bits": f"{header}.{payload}.{stray}",
        "NUL": f"{good}\0",
        "standard alphabet": f"{header}.{payload}.{'+' + signature[1:]}",
    }
    for name, token in spelled.items():
        yield f"a14 {name}", token, INVALID
    yield "a14 two characters more", f"{good}AA", INVALID
    yield "a14 no-break space", f"{good}\u00a0", MALFORMED
    yield "a14 full-width digit", f"{header}.{payload}１.{signature}", MALFORMED
    for token in (None, 5, 1.5, True, ["a.b.c"], {"token": "a.b.c"}, [], {}, False):
        yield f"a18 token {token!r}", token, DATATYPE
    yield "a18 empty", "", "jwt must be provided"
    for token in ("\0" * 100, "é.é.é", "\ud800.a.b", "undefined", "[object Object]", "a.b", "a.b.c.d", "."):
        yield f"a18 garbage {token[:20]!r}", token, MALFORMED
    yield "a18 only dots", "..", "jwt signature is required"
    for token in (".b.c", "a.b.c", "a b.c.d"):
        yield f"a18 garbage {token}", token, INVALID


def _json(f: Forge) -> Iterator[Case]:
    good = json.dumps(CLAIMS, separators=(",", ":"))
    for name, header in {
        "byte order mark": b'\xef\xbb\xbf{"alg":"HS256","kid":"k1"}',
        "duplicate kid": b'{"alg":"HS256","kid":"k1","kid":"k1"}',
        "duplicate alg": b'{"alg":"none","alg":"HS256","kid":"k1"}',
        "list": b'["HS256"]',
        "null": b"null",
        "escaped duplicate": b'{"alg":"HS256","kid":"k1","\\u0061lg":"HS256"}',
        "empty": b"",
    }.items():
        yield f"a15 header: {name}", f.token(header=header), INVALID
    for text in (
        "\ufeff" + good,
        '{"sub":"eve",' + good[1:],
        '{"\\u0073ub":"eve",' + good[1:],
        good[:-1] + ",}",
        '{"n":{"a":1,"a":1},' + good[1:],
        '{"__proto__":1,"__proto__":2,' + good[1:],
        good + good,
        '{"":1,"":2,' + good[1:],
        good + "\u00a0",
        good + "\0",
    ):
        yield f"a15 payload {text[:9]!r}…{text[-5:]!r}", f.token(text), INVALID
    payloads = (
        b"",
        b" ",
        b"[]",
        b'[{"sub":"ada"}]',
        b'"ada"',
        b"5",
        b"null",
        b"true",
        b"{",
        b"{}{}",
        b'{"sub":"ada"} x',
        b'{"sub":"\xff"}',
        b'{"sub":"\xed\xa0\x80"}',
        b'{"sub":"\xc0\xaf"}',
        b"{'sub':'ada'}",
        b'{"sub":"a\nb"}',
        b"\xff\xfe{\x00}\x00",
        b'{"sub":"\\x41"}',
        b'{"n":01}',
        b'{"n":+1}',
        b'{"n":.5}',
        b'{"n":1.}',
        b'{"n":0x1}',
        b'{"n":1_0}',
        b'{"n":NaN}',
        b'{"n":-Infinity}',
        b"{sub:1}",
        b'{"sub"}',
        b'{"sub":}',
        b'{"a":tru}',
        b"{,}",
        b'{"a":1,,"b":2}',
        b'{"a"1}',
        b'"\\ud800"',
    )
    for payload in payloads:
        yield f"a16 payload {payload[:30]!r}", f.token(payload), INVALID
    spaced = json.dumps(CLAIMS, indent=1).replace("\n", "\r\n\t ")
    yield "a16 white space of JSON", f.token(f" {spaced}\r\n\t"), OK
    for number in (
        "9007199254740992",
        "-9007199254740992",
        "1" + "0" * 30,
        "9" * 5000,
        "1e400",
        "-1e400",
        "1" + "0" * 400 + ".5",
    ):
        yield f"a16 number {number[:20]} of {len(number)}", f.token(written("n", number)), INVALID
    for number in (
        "9007199254740991",
        "-9007199254740991",
        "1e300",
        "1e-400",
        "-0",
        "0.1",
        "123456789012345678.5",
        "1E+2",
    ):
        yield f"a16 number {number}", f.token(written("n", number)), OK
    for depth, expected in ((31, OK), (32, INVALID), (1000, INVALID), (2500, INVALID)):
        yield f"a16 {depth} arrays in a claim", f.token(written("n", "[" * depth + "]" * depth)), expected
    yield "a16 31 objects in a claim", f.token(written("n", '{"a":' * 31 + "1" + "}" * 31)), OK
    yield "a16 32 objects in a claim", f.token(written("n", '{"a":' * 32 + "1" + "}" * 32)), INVALID
    yield "a16 brackets in strings", f.token(written("n", '"' + "[{" * 50 + '\\"[[[[\\\\"')), OK
    yield "a16 many lists side by side", f.token(written("n", "[" + ",".join(["[[]]"] * 50) + "]")), OK
    for surrogate in ("\\ud800", "\\uDC00", "\\uD83D", "a\\udfffb", "\\ude00\\ud83d"):
        yield f"b27 surrogate {surrogate}", f.token(written("sub", f'"{surrogate}"')), INVALID
        yield f"b27 surrogate {surrogate} in a key", f.token(f'{{"{surrogate}":1,{good[1:]}'), INVALID
    yield "b27 surrogate pair", f.token(written("sub", '"\\ud83d\\ude00"')), OK


def claims(f: Forge) -> Iterator[Case]:
    """Group B: claims and time."""
    for exp in (
        None,
        "123",
        "x",
        "1900000000",
        True,
        False,
        [],
        [1_900_000_000],
        {},
        0,
        -1,
        -0.0,
        1e30,
        253_402_300_800,
    ):
        yield f"b23 exp {exp!r}", f.token(CLAIMS | {"exp": exp}), "invalid exp value"
    yield "b23 exp missing", f.token(without("exp")), "invalid exp value"
    yield "b23 exp in the year 9999", f.token(CLAIMS | {"exp": 253_402_300_799}), OK
    yield "b23 exp as 1.8000006e9", f.token(written("exp", "1.8000006e9")), OK
    for at, expected in ((630, OK), (631, "jwt expired"), (630.5, "jwt expired"), (-(10**9), OK)):
        yield f"b24 at exp{at - 600:+g}", f.token(), expected, {"now": NOW + at}
    yield "b24 float exp", f.token(CLAIMS | {"exp": NOW + 0.5}), OK, {"now": NOW + 30.5}
    yield "b24 float exp, later", f.token(CLAIMS | {"exp": NOW + 0.5}), "jwt expired", {"now": NOW + 30.75}
    yield "b25 nbf ahead", f.token(CLAIMS | {"nbf": NOW + 60}), "jwt not active"
    yield "b25 nbf within leeway", f.token(CLAIMS | {"nbf": NOW + 30}), OK
    yield "b25 nbf before exp is judged", f.token(CLAIMS | {"nbf": NOW + 60, "exp": NOW - 60}), "jwt not active"
    for name in ("nbf", "iat"):
        for value in ("1800000000", "", None, True, [1], {}, 0, -5, 1e300):
            yield f"b25 {name} {value!r}", f.token(CLAIMS | {name: value}), f"invalid {name} value"
    yield "b25 exp before iat", f.token(CLAIMS | {"iat": NOW + 700}), "invalid exp value"
    yield "b25 iat ahead", f.token(CLAIMS | {"iat": NOW + 300}), OK
    wrong = "jwt issuer invalid. expected: https://login.example"
    for iss in (
        "https://login.example/",
        "https://login.example.evil",
        "https://login.exampl",
        "login.example",
        "HTTPS://login.example",
        " https://login.example",
    ):
        yield f"b26 iss {iss!r}", f.token(CLAIMS | {"iss": iss}), wrong
    for iss in ("", None, 5, ["https://login.example"], {"iss": "x"}):
        yield f"b26 iss {iss!r}", f.token(CLAIMS | {"iss": iss}), "invalid iss value"
    yield "b26 iss missing", f.token(without("iss")), wrong
    for aud in ("", "cha", "chat2", "CHAT", "chat ", [], ["cha"], ["other", "chat2"], [""]):
        yield f"b26 aud {aud!r}", f.token(CLAIMS | {"aud": aud}), "jwt audience invalid. expected: chat"
    for aud in ({"chat": 1}, {}, [None], ["chat", None], ["chat", 5], [["chat"]], 5, None, True):
        yield f"b26 aud {aud!r}", f.token(CLAIMS | {"aud": aud}), "invalid aud value"
    yield "b26 aud missing", f.token(without("aud")), "jwt audience invalid. expected: chat"
    yield "b26 aud one of several", f.token(CLAIMS | {"aud": ["other", "chat"]}), OK
    key = "x" * 42 + "A"
    yield "bound to a key", f.token(CLAIMS | {"cnf": {"jkt": key}}), "DPoP proof required"
    yield "bound to a key, expired", f.token(CLAIMS | {"cnf": {"jkt": key}, "exp": NOW - 60}), "jwt expired"
    for cnf in (None, {}, key, {"jkt": key, "x5t#S256": key}, {"x5t#S256": key}, {"jkt": "short"}):
        yield f"cnf {cnf!r}", f.token(CLAIMS | {"cnf": cnf}), "invalid cnf value"
    yield from _names(f)
    yield from _rights(f)


def _names(f: Forge) -> Iterator[Case]:
    bad = (
        "",
        None,
        1,
        1.5,
        True,
        [],
        ["ada"],
        {},
        "a\0",
        "a\r\nb",
        "\n",
        "\x7f",
        "\x85",
        "x" * 256,
        "😀" * 256,
        "a\u200bb",
        "a\u202eb",
        "\u2028",
        "a\u00a0b",
        "\ufeffada",
        "\ue000",
        "\U000f0000",
        "\u3000",
        "a\u00adb",
    )
    for name in ("sub", "jti", "sid"):
        for value in bad if name == "sub" else bad[::3]:
            yield (
                f"b27 {name} {value!r:.30} of {len(str(value))}",
                f.token(CLAIMS | {name: value}),
                f"invalid {name} value",
            )
    yield "b27 sub missing", f.token(without("sub")), "invalid sub value"
    for value in (
        "x" * 255,
        "😀" * 255,
        "Ada Lovelace, née Byron",
        "a b",
        "\u0378",
        "\U0003ffff",
        "__proto__",
        "\u0300",
    ):
        yield f"b27 sub {value!r:.30} of {len(value)}", f.token(CLAIMS | {"sub": value}), OK
    yield "b27 sub of the largest payload", f.token(CLAIMS | {"jti": "t", "sid": "s", "nbf": NOW}), OK
    for name, value in (
        ("token_type", "refresh"),
        ("type", "Refresh_Token"),
        ("typ", "ID"),
        ("token_use", "id_token"),
        ("type", "offline"),
    ):
        yield f"a12 claim {name} {value}", f.token(CLAIMS | {name: value}), f"invalid {name} value"
    yield "a12 claim token_use access", f.token(CLAIMS | {"token_use": "access", "type": ["refresh"]}), OK


def _rights(f: Forge) -> Iterator[Case]:
    lists = (
        "admin",
        "",
        1,
        True,
        None,
        {},
        {"admin": True},
        {"0": "admin"},
        ["admin", 1],
        [["admin"]],
        [""],
        [None],
        ["a", "a\u200b"],
        [],
        ["admin", "member", "admin"],
        ["__proto__", "constructor"],
    )
    for value in lists:
        yield f"b29 roles and rooms {value!r}", f.token(CLAIMS | {"roles": value, "rooms": value}), OK
    for value in (["admin"], {"admin": 1}, 5, None, True, "", " a  b ", "a\tb"):
        yield f"b29 scope and role {value!r}", f.token(CLAIMS | {"scope": value, "role": value}), OK
    yield "b29 1001 roles", f.token(CLAIMS | {"roles": ["r"] * 1001}), OK
    yield "b29 1000 roles", f.token(CLAIMS | {"roles": ["r"] * 1000}), OK
    for rooms in (
        {"lobby": ["join"], "team-*": ["emit:say"]},
        {"a": []},
        {"a": "join"},
        {"": ["join"]},
        {"a": [1]},
        ["*", "a:*"],
    ):
        yield f"b29 rooms {rooms}", f.token(CLAIMS | {"rooms": rooms}), OK
    for role in ("Admin", "admin ", "аdmin", "ａdmin"):
        yield f"b30 role {role}", f.token(CLAIMS | {"roles": [role], "role": role}), OK
    yield "b29 own member __proto__", f.token('{"__proto__":{"admin":true},' + json.dumps(CLAIMS)[1:]), OK


def keys(f: Forge) -> Iterator[tuple[str, str, object, str]]:
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


def _ecdsa(f: Forge) -> Iterator[tuple[str, str, object, str]]:
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


def settings(f: Forge) -> Iterator[tuple[str, str, object, str]]:
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


def long(f: Forge) -> Iterator[Case]:
    """Tokens around the limit of 8192 bytes, and far beyond."""

    def padded(extra: int) -> str:
        return f.token(CLAIMS | {"pad": "x" * extra})

    fits = max((padded(extra) for extra in range(5880, 6010) if len(padded(extra)) <= 8192), key=len)
    yield "a17 the longest token", fits, OK
    yield "a17 one too long", padded(6010), MALFORMED
