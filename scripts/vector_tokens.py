"""The vectors about the form of tokens: the compact form, its header and its JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator

from vector_forge import (
    ALGORITHM,
    CLAIMS,
    DATATYPE,
    INVALID,
    MALFORMED,
    OK,
    SIGNATURE,
    Case,
    Forge,
    b64,
    part,
    unb64,
    written,
)


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


def long(f: Forge) -> Iterator[Case]:
    """Tokens around the limit of 8192 bytes, and far beyond."""

    def padded(extra: int) -> str:
        return f.token(CLAIMS | {"pad": "x" * extra})

    fits = max((padded(extra) for extra in range(5880, 6010) if len(padded(extra)) <= 8192), key=len)
    yield "a17 the longest token", fits, OK
    yield "a17 one too long", padded(6010), MALFORMED
