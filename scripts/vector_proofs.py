"""The vectors about tokens that are bound to a key, and about DPoP proofs (RFC 9449)."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from support.tokens import b64
from vector_forge import CLAIMS, NOW, Forge

OK, INVALID, NONCE = "ok", "invalid DPoP proof", "DPoP nonce required"
URL = "https://chat.example/socket.io/"
LOCAL = "http://localhost:8000/socket.io/"
SECRET = "vectors-2a3b4c5d6e7f8091a2b3c4d5e6f70819"

Case = tuple[str, str, object, str] | tuple[str, str, object, str, dict[str, Any]]
"""Settings, a name, a proof, what is expected, and members of the vector that differ."""

SETTINGS: dict[str, dict[str, Any]] = {
    "default": {"url": URL},
    "two": {"url": [URL, LOCAL]},
    "port": {"url": "https://CHAT.example:443/socket%2Eio/"},
    "nonce": {"url": URL, "nonce_secret": SECRET},
    "eddsa": {"url": URL, "algorithms": ["EdDSA"]},
}

NO_SETTINGS: dict[str, dict[str, Any]] = {
    "no url": {"url": None},
    "empty url": {"url": ""},
    "no path": {"url": "https://chat.example"},
    "no scheme": {"url": "chat.example/socket.io/"},
    "http of another machine": {"url": "http://chat.example/socket.io/"},
    "wss": {"url": "wss://chat.example/socket.io/"},
    "a query": {"url": URL + "?a=b"},
    "a user": {"url": "https://user@chat.example/socket.io/"},
    "dots": {"url": "https://chat.example/a/../socket.io/"},
    "HS256": {"url": URL, "algorithms": ["HS256"]},
    "none": {"url": URL, "algorithms": ["none"]},
    "short secret": {"url": URL, "nonce_secret": "short"},
    "placeholder": {"url": URL, "nonce_secret": "changeme-changeme-changeme-changeme"},
    "no proofs": {"url": URL, "max_proofs": 0},
}

URLS: tuple[str, ...] = (
    "https://a/",
    "https://a",
    "http://A:80/B",
    "https://a:80/",
    "https://a:/",
    "https://[::1]:443/x",
    "https://a/%7euser/%2f/%C3%A4",
    "https://a/%2e%2e/",
    "https://a/..",
    "https://a/.",
    "https://a/...",
    "https://a/%",
    "https://a/%4",
    "https://a/%4g",
    "https://a\\b/",
    "https://a/b\\c",
    "https://a@b/",
    "https://a:b@c/",
    "https://:443/",
    "https://a/\n",
    "https://a/ b",
    "https://a/ä",
    "https://ä/",
    "data:https://a/",
    "https:/a/",
    "https:a/",
    "//a/b",
    "",
    "https://a/b?c=d/../e",
    "https://a/b#c",
    "https://a?b",
    "https://a#b",
    "HTTPS://A/B",
    "https://a//b",
    "https://a/b/",
    "https://a.:443/",
    "https://a:0443/",
    "ftp://a/",
    "https://",
    "https:///a",
)


def public(f: Forge, by: str, /, **changes: Any) -> dict[str, Any]:
    """The public members of a key, with changes; None leaves one out."""
    members = {name: value for name, value in f.jwks[by].items() if name in ("kty", "crv", "x", "y", "n", "e")}
    return {name: value for name, value in {**members, **changes}.items() if value is not None}


class Prover:
    """Makes proofs of any kind for one token."""

    def __init__(self, f: Forge) -> None:
        self._forge = f
        self.token = f.token(CLAIMS | {"cnf": {"jkt": f.keys["e1"].thumbprint()}})
        self.good = {
            "htm": "GET",
            "htu": URL,
            "jti": "one",
            "iat": NOW,
            "ath": b64(sha256(self.token.encode()).digest()),
        }

    def claims(self, **changes: Any) -> str:
        """A proof with other claims; ``...`` leaves one out."""
        return self.raw(self._header("e1"), {k: v for k, v in {**self.good, **changes}.items() if v is not ...})

    def header(self, by: str = "e1", /, **changes: Any) -> str:
        """A proof with another header; ``...`` leaves a member out."""
        header = {name: value for name, value in {**self._header(by), **changes}.items() if value is not ...}
        return self.raw(header, self.good, by)

    def jwk(self, by: str = "e1", /, **changes: Any) -> str:
        """A proof with other members of its key; None leaves one out."""
        return self.header(by, jwk=public(self._forge, by, **changes))

    def raw(self, header: object, payload: object, by: str = "e1") -> str:
        """A proof with any header and payload."""
        return self._forge.token(payload, header, by=by)

    def _header(self, by: str) -> dict[str, Any]:
        return {"typ": "dpop+jwt", "alg": self._forge.keys[by].algorithms[0], "jwk": public(self._forge, by)}


def proofs(f: Forge) -> Iterator[Case]:
    """Every rule of RFC 9449 section 4.3."""
    p = Prover(f)
    for kid in ("e1", "e384", "e512", "r1", "p1", "d1", "d448"):
        yield "default", f"signed by {kid}", p.header(kid), OK
    yield from _claims(p)
    yield from _headers(f, p)
    yield from _forms(p)
    yield from _settings(f, p)


REQUIRED = ("htm", "htu", "jti", "iat", "ath")
OTHER_URLS = (
    "https://other.example/socket.io/",
    "http://chat.example/socket.io/",
    "wss://chat.example/socket.io/",
    "https://chat.example/socket.io",
    "https://chat.example/",
    "https://chat.example:8443/socket.io/",
    "https://chat.example/x/../socket.io/",
    "https://user@chat.example/socket.io/",
    " " + URL,
    LOCAL,
)
SAME_URLS = (
    "HTTPS://CHAT.example:443/socket.io/",
    URL + "?EIO=4&transport=polling",
    URL + "#x",
    "https://chat.example/socket%2eio/",
    "https://chat.example/%73ocket.io/",
)
VALUES: tuple[tuple[str, object, str], ...] = (
    *(("htm", htm, INVALID) for htm in ("POST", "get", "GET ", "CONNECT")),
    *(("htu", htu, INVALID) for htu in OTHER_URLS),
    *(("htu", htu, OK) for htu in SAME_URLS),
    *(("ath", ath, INVALID) for ath in ("x" * 43, "é")),
    *(("iat", iat, INVALID) for iat in (str(NOW), 0, -1, 1e30, 253_402_300_800)),
    *(("jti", jti, INVALID) for jti in ("\n", "a\u200b", "x" * 256)),
    *(("jti", jti, OK) for jti in ("é😀", "x" * 255, "a b")),
    *(("exp", exp, expected) for exp, expected in ((NOW - 61, INVALID), (NOW - 60, OK), ("soon", INVALID))),
    *(("nbf", nbf, expected) for nbf, expected in ((NOW + 61, INVALID), (NOW + 60, OK), ([], INVALID))),
    ("sub", 5, INVALID),
    ("other", {"a": [1]}, OK),
    ("nonce", "x", OK),
    ("nonce", 5, OK),
    ("big", 2**53, INVALID),
)


def _claims(p: Prover) -> Iterator[Case]:
    for name in REQUIRED:
        yield "default", f"{name} missing", p.claims(**{name: ...}), INVALID
        for value in (None, True, [], {}, ""):
            yield "default", f"{name} {value!r}", p.claims(**{name: value}), INVALID
    for name, value, expected in VALUES:
        yield "default", f"{name} {str(value)[:50]!r} of {len(str(value))}", p.claims(**{name: value}), expected
    for ath in (p.good["ath"] + "=", p.good["ath"].swapcase()):
        yield "default", f"ath {ath[-8:]}", p.claims(ath=ath), INVALID
    yield "default", "another token", p.claims(), INVALID, {"token": p.token + "x"}
    for age, expected in ((60, OK), (61, INVALID), (60.5, INVALID), (-60, OK), (-61, INVALID), (1e9, INVALID)):
        yield "default", f"iat {age:g} s ago", p.claims(iat=NOW - age), expected
        yield "default", f"{age:g} s after iat", p.claims(), expected, {"now": NOW + age}


def _headers(f: Forge, p: Prover) -> Iterator[Case]:
    for typ in ("JWT", "at+jwt", "DPoP+JWT", "application/dpop+jwt", "", None, 5, ...):
        yield "default", f"typ {'missing' if typ is ... else repr(typ)}", p.header(typ=typ), INVALID
    for alg in ("none", "HS256", "ES384", "RS256", "EdDSA", "", None, 5, ["ES256"], ...):
        yield "default", f"alg {'missing' if alg is ... else repr(alg)}", p.header(alg=alg), INVALID
    for name in ("crit", "b64", "jku", "x5u", "x5c", "zip", "enc", "cty"):
        yield "default", f"header member {name}", p.header(**{name: None}), INVALID
    yield "default", "other header members", p.header(kid=5, nonce="x", x={"y": 1}), OK
    for jwk in (
        None,
        "x",
        [],
        {},
        {"kty": None},
        {"kty": ["EC"]},
        {"kty": "EC"},
        {"kty": "oct", "k": b64(b"x" * 32)},
        {"kty": "__proto__"},
        ...,
    ):
        yield "default", f"jwk {'missing' if jwk is ... else repr(jwk)}", p.header(jwk=jwk), INVALID
    yield "default", "the private key", p.header(jwk=f.jwks["e1"]), INVALID
    yield "default", "another key", p.header(jwk=public(f, "e2")), INVALID
    for name in ("d", "p", "q", "dp", "dq", "qi", "oth", "k"):
        yield "default", f"jwk with {name}", p.jwk(**{name: "AA"}), INVALID
    x, n = f.jwks["e1"]["x"], f.jwks["r1"]["n"]
    zeros = b64(b"\0\0\0" + urlsafe_b64decode(n + "=" * (-len(n) % 4)))
    for by, name, value in (
        ("e1", "x", "AAAA" + x),
        ("e1", "x", x + "="),
        ("e1", "x", x[:-4]),
        ("e1", "x", ""),
        ("e1", "x", 5),
        ("e1", "x", "é" + x[1:]),
        ("e1", "x", b64(b"\1" * 32)),
        ("e1", "y", None),
        ("e1", "y", x),
        ("e1", "crv", None),
        ("e1", "crv", "P-384"),
        ("e1", "crv", "secp256k1"),
        ("e1", "crv", 5),
        ("e1", "kty", "RSA"),
        ("e1", "kty", "OKP"),
        ("e1", "use", "enc"),
        ("e1", "key_ops", ["encrypt"]),
        ("e1", "key_ops", "verify"),
        ("e1", "alg", "ES384"),
        ("e1", "alg", 5),
        ("r1", "n", zeros),
        ("r1", "e", "AAEAAQ"),
        ("r1", "e", b64(b"\1" * 5)),
        ("r1", "e", "BA"),
        ("r1", "e", "AQ"),
        ("r1", "e", ""),
        ("r1", "n", b64(b"\xff" * 128)),
        ("r1", "n", b64(b"\xfe" * 256)),
        ("d1", "x", "AAAA"),
        ("d1", "crv", "Ed448"),
        ("d1", "crv", "X25519"),
    ):
        yield (
            "default",
            f"jwk of {by} with {name} {str(value)[:8]!r} of {len(str(value))}",
            p.jwk(by, **{name: value}),
            INVALID,
        )
    yield "default", "jwk of a browser", p.jwk(ext=True, key_ops=["verify"]), OK
    yield "default", "jwk with use, alg and kid", p.jwk(use="sig", alg="ES256", kid="k"), OK
    yield "default", "jwk with another kid", p.jwk(kid=5), INVALID


def _forms(p: Prover) -> Iterator[Case]:
    good = p.claims()
    header, payload, signature = good.split(".")
    for value in (None, 5, True, [], {}, "", "a", "a.b", "a.b.c.d", "..", "x" * 4097, [good]):
        yield "default", f"form {str(value)[:10]!r}", value, INVALID
    for name, changed in (
        ("padding", good + "="),
        ("a line break", good + "\n"),
        ("a space", " " + good),
        ("no signature", f"{header}.{payload}."),
        ("half a signature", f"{header}.{payload}.{signature[:43]}"),
        ("zeros", f"{header}.{payload}.{'A' * 86}"),
        ("not an object", p.raw(p._header("e1"), b"[]")),
        ("no JSON", p.raw(p._header("e1"), b"x")),
        ("two jti", p.raw(p._header("e1"), b'{"jti":"a","jti":"b"}')),
        ("a list as the header", p.raw(b"[]", p.good)),
        ("a BOM", p.raw(p._header("e1"), b"\xef\xbb\xbf{}")),
        ("the token", p.token),
        ("a longer proof", p.claims(x="x" * 3000)),
    ):
        yield "default", f"form: {name}", changed, INVALID
    yield "default", "form: a long proof", p.claims(x="x" * 2000), OK


def _settings(f: Forge, p: Prover) -> Iterator[Case]:
    yield "two", "the other URL", p.claims(htu=LOCAL), OK
    yield "port", "a URL in another spelling", p.claims(), OK
    yield "eddsa", "EdDSA where it is the only one", p.header("d1"), OK
    yield "eddsa", "ES256 where EdDSA is the only one", p.header(), INVALID
    nonce = nonce_at(NOW)
    yield "nonce", "no nonce", p.claims(), NONCE
    for value in (5, None, "", nonce[:-1], nonce + "=", nonce.swapcase(), "A" * 32):
        yield "nonce", f"nonce {str(value)[-6:]!r}", p.claims(nonce=value), NONCE
    yield "nonce", "the nonce", p.claims(nonce=nonce), OK
    yield "nonce", "the nonce after 60 s", p.claims(nonce=nonce), OK, {"now": NOW + 60}
    for at, expected in ((60, OK), (61, NONCE), (-60, OK), (-61, NONCE)):
        yield "nonce", f"a nonce of {at} s ago", p.claims(nonce=nonce_at(NOW - at)), expected
    yield "nonce", "an invalid proof without a nonce", p.claims(htm="POST"), INVALID
    yield "nonce", "another secret's nonce", p.claims(nonce=b64(bytes(24))), NONCE


def nonce_at(now: int) -> str:
    """The nonce that a server with the vectors' secret issues."""
    from roomkey.core.nonces import Nonces

    return Nonces(SECRET).issue(now)


def bindings(f: Forge) -> Iterator[tuple[str, dict[str, Any], str | None]]:
    """Claims, and the key that was proved."""
    key, other = f.keys["e1"].thumbprint(), f.keys["e2"].thumbprint()
    bound = {"cnf": {"jkt": key}}
    yield "a bearer token", {}, None
    yield "a proof with a bearer token", {}, key
    yield "a bound token without a proof", bound, None
    yield "a bound token with its key", bound, key
    yield "a bound token with another key", bound, other
    for cnf in (
        None,
        "",
        key,
        5,
        [],
        {},
        {"jkt": None},
        {"jkt": 5},
        {"jkt": ""},
        {"jkt": key + "="},
        {"jkt": key[:-1]},
        {"jkt": "x" * 43},
        {"jkt": [key]},
        {"x5t#S256": key},
        {"jkt": key, "x5t#S256": key},
        {"jkt": key, "kid": "k"},
        {"jwk": public(f, "e1")},
        {"JKT": key},
    ):
        for proved in (None, key):
            with_or_without = "without" if proved is None else "with"
            yield f"cnf {str(cnf).replace(key, 'KEY')[:60]} {with_or_without} a proof", {"cnf": cnf}, proved
