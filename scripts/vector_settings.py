"""The vectors about settings that must fail, key sets, presented credentials and grants."""

from __future__ import annotations

import json
from typing import Any

from support.tokens import b64
from vector_forge import NOW, OLD_SECRET, SECRET, SHORT_SECRET, Forge

Named = dict[str, dict[str, Any]]


def settings(f: Forge) -> Named:
    """Settings of a verifier, some of them mistakes."""
    chat = {"audience": "chat"}
    key = {"keys": {"secret": SECRET}}
    public = {"keys": {"jwks": f.public("r1", "e1")}}
    pem = f.keys["r1"].public().to_pem().decode()
    secrets: dict[str, object] = {
        "empty": "",
        "31 bytes": SECRET[:31],
        "one character": "x" * 64,
        "seven characters": "abcdefg" * 8,
        "placeholder": "your-256-bit-secret-your-256-bit-secret",
        "Secret": "Secret-of-the-whole-wide-world-and-more",
        "documentation": "a-string-secret-at-least-256-bits-long",
        "PEM": pem,
        "PEM in one line": pem.replace("\n", "\\n"),
        "SSH": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGkq8rVz",
        "URL": "https://login.example/.well-known/jwks.json",
        "line break": SECRET + "\n",
        "null": None,
        "number": 32,
        "list": [SECRET],
        "tutorial": "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
        "Keyboard Cat": "Keyboard Cat and some thirty more characters",
    }
    found: Named = {f"a04 secret: {name}": {"keys": {"secret": secret}} for name, secret in secrets.items()}
    found |= {
        "secret": key,
        "secret of non-ASCII characters": {"keys": {"secret": "ключ-№-😀-" * 4}},
        "a04 HS384 with 40 bytes": {"keys": {"secret": SECRET, "algorithm": "HS384"}},
        "a04 HS512 with 40 bytes": {"keys": {"secret": SECRET, "algorithm": "HS512"}},
        "HS512 with 80 bytes": {"keys": {"secret": SECRET * 2, "algorithm": "HS512"}},
        "kid empty": {"keys": {"secret": SECRET, "kid": ""}},
        "kid long": {"keys": {"secret": SECRET, "kid": "k" * 256}},
        "previous": {"keys": {"secret": SECRET, "previous": [OLD_SECRET, NOW]}},
        "previous the same": {"keys": {"secret": SECRET, "previous": [SECRET, NOW]}},
        "previous without a time": {"keys": {"secret": SECRET, "previous": [OLD_SECRET]}},
        "previous, a time as text": {"keys": {"secret": SECRET, "previous": [OLD_SECRET, "1800000000"]}},
        "previous, a negative time": {"keys": {"secret": SECRET, "previous": [OLD_SECRET, -1]}},
        "previous short": {"keys": {"secret": SECRET, "previous": ["short", NOW]}},
    }
    short = {"insecure_short_secret": True}
    found |= {
        f"a04 insecure_short_secret: {name}": {"keys": keys | short}
        for name, keys in {
            "short": {"secret": SHORT_SECRET},
            "short, HS512": {"secret": SHORT_SECRET, "algorithm": "HS512"},
            "long": {"secret": SECRET},
            "previous short": {"secret": SECRET, "previous": [SHORT_SECRET, NOW]},
            "both short": {"secret": SHORT_SECRET, "previous": ["another-11c", NOW]},
            "only the new one short": {"secret": SHORT_SECRET, "previous": [SECRET, NOW]},
            "empty": {"secret": ""},
            "placeholder": {"secret": "supersecret"},
            "previous placeholder": {"secret": SECRET, "previous": ["supersecret", NOW]},
            "seven characters": {"secret": "abcdefg"},
            "URL": {"secret": "http://a.example"},
            "line break": {"secret": SHORT_SECRET + "\n"},
            "PEM": {"secret": pem},
        }.items()
    }
    found["a04 insecure_short_secret: text"] = {"keys": {"secret": SHORT_SECRET, "insecure_short_secret": "yes"}}
    found |= {
        f"tolerate_header {tolerated!r}": key | {"tolerate_header": tolerated}
        for tolerated in ([], ["jku", "x5u", "x5c"], ["jwk"], ["jku", "crit"], ["b64"], ["cty"], ["alg"], "jku", [7])
    }
    found |= {
        f"subject_prefix {str(prefix)[:9]!r}": key | {"subject_prefix": prefix}
        for prefix in ("sso:", "", "a\nb", "x" * 256, 7)
    }
    home, any_issuer = key | {"issuer": "https://a.example"}, key
    both = public | {"algorithms": ["RS256", "ES256"], "issuer": ["https://b.example"], "audience": "x"}
    for name, several in {
        "two issuers": [home, both],
        "one": [home],
        "none": [],
        "any issuer": [home, any_issuer],
        "the same issuer": [home, home | chat],
        "nested": [{"any_of": [home, both]}, key | {"issuer": "https://c.example"}],
        "nested, the same issuer": [{"any_of": [home, both]}, home],
    }.items():
        found[f"any_of: {name}"] = {"any_of": several}
    algorithms: dict[str, object] = {
        "empty": [],
        "none": ["none"],
        "RS256 and none": ["RS256", "none"],
        "HS256 and RS256": ["HS256", "RS256"],
        "unknown": ["RS1"],
        "a text": "RS256",
        "numbers": [256],
        "of no key": ["ES384"],
        "HS256 with public keys": ["HS256"],
        "null in it": ["RS256", None],
    }
    found |= {f"a22 algorithms: {name}": public | {"algorithms": value} for name, value in algorithms.items()}
    found |= {
        "public keys": public | {"algorithms": ["RS256", "ES256"]},
        "twice one": public | {"algorithms": ["RS256", "RS256"]},
    }
    for name in ("issuer", "audience"):
        values: tuple[object, ...] = ("", [], [""], [5], 5, {}, [None], " x", "x\n", ["a", "b "], "x\u00a0", True)
        found |= {f"{name} {value!r}": key | {name: value} for value in values}
        found |= {f"{name} of two": key | {name: ["a", "b"]}, f"{name} none": key | {name: None}}
    for name in ("leeway", "max_lifetime", "max_age"):
        found |= {f"b31 {name} {value!r}": key | {name: value} for value in (-1, "30", True, [], -0.5)}
        found |= {f"{name} {value!r}": key | {name: value} for value in (0, 1.5, 10**9)}
    found |= {
        f"max_token {value!r}": key | {"max_token": value}
        for value in (0, -1, 65_537, 1.5, "8192", True, None, 1, 65_536)
    }
    found |= {
        f"token_type {value!r}": key | {"token_type": value}
        for value in ("", "jwt", "id+jwt", 5, True, "JWT", "at+jwt", None)
    }
    found |= {
        f"require {value!r}": key | {"require": value} for value in ([5], [""], "exp", ["exp "], [], ["sub", "tenant"])
    }
    found |= {
        f"claims {value!r}": key | {"claims": value}
        for value in (
            *({"a": None}, {"a": ["x"]}, {"a": {}}, {}, {"a": 1, "b": True}, {"a": [1, None]}, {"a": []}),
            *({"a": [None]}, {"a": [["x"]]}, {"a": ["x", {}]}, [], "a"),
        )
    }
    subjects: tuple[object, ...] = ("", "exp", "aud", "roles", "jti", "a\nb", 5, None, "x" * 256, "user_id", "email")
    found |= {f"claims_map subject {value!r:.20}": key | {"claims_map": {"subject": value}} for value in subjects}
    places: tuple[object, ...] = (".", "a.", "a..b", [], [""], ["a", 5], {}, "iss", "a.b", "https://a.b/c", ["a.b"])
    found |= {f"claims_map roles {value!r:.20}": key | {"claims_map": {"roles": value}} for value in places}
    found |= {
        f"claims_map {value!r:.20}": key | {"claims_map": value}
        for value in ("subject", ["subject"], 5, {}, None, {"sub": "a"}, {"constructor": "a"}, {"groups": "a"})
    }
    found |= {
        f"preset {value!r}": key | {"preset": value}
        for value in ("simplejwt", "keycloak", "cognito", "Keycloak", "", 5, None, "constructor", ["keycloak"])
    }
    found |= {
        "claims_map audience without an audience": key | {"claims_map": {"audience": "client_id"}},
        "claims_map audience": key | chat | {"claims_map": {"audience": "client_id"}},
        "claims_map audience aud": key | {"claims_map": {"audience": "aud"}},
    }
    found |= {
        "two issuers, two keys": public | {"algorithms": ["RS256"], "issuer": ["a", "b"]},
        "two issuers, one key": {"keys": {"jwks": f.public("r1")}, "algorithms": ["RS256"], "issuer": ["a", "b"]},
        "issuers and issuer": {"keys": {"issuers": {"a": f.public("r1")}}, "algorithms": ["RS256"], "issuer": "a"},
        "no issuers": {"keys": {"issuers": {}}, "algorithms": ["RS256"]},
        "issuers": {"keys": {"issuers": {"a": f.public("r1"), "b": f.public("r2")}}, "algorithms": ["RS256"]} | chat,
        "issuers, one without a usable key": {
            "keys": {"issuers": {"a": f.public("r1"), "b": f.public("e1")}},
            "algorithms": ["RS256"],
        },
        "issuer with a space": {"keys": {"issuers": {"a ": f.public("r1")}}, "algorithms": ["RS256"]},
        "PEM": {"keys": {"pem": pem}, "algorithms": ["RS256"]},
        "PEM of a private key": {"keys": {"pem": f.keys["e1"].to_pem(private=True).decode()}, "algorithms": ["ES256"]},
        "PEM, another algorithm": {"keys": {"pem": pem}, "algorithms": ["ES256"]},
        "PEM cut": {"keys": {"pem": pem[:200]}, "algorithms": ["RS256"]},
        "PEM twice": {"keys": {"pem": pem * 2}, "algorithms": ["RS256"]},
        "PEM of nonsense": {"keys": {"pem": "key"}, "algorithms": ["RS256"]},
        "PEM with \\n": {"keys": {"pem": pem.replace("\n", "\\n")}, "algorithms": ["RS256"]},
        "PEM with CRLF and text around": {
            "keys": {"pem": "x\r\n" + pem.replace("\n", "\r\n") + "y"},
            "algorithms": ["RS256"],
        },
        "PEM a URL": {"keys": {"pem": "https://login.example/key.pem"}, "algorithms": ["RS256"]},
        "PEM null": {"keys": {"pem": None}, "algorithms": ["RS256"]},
        "PEM of RSA with 1024 bits": {"keys": {"pem": WEAK_PEM}, "algorithms": ["RS256"]},
        "shared secret in a set": {
            "keys": {"jwks": {"keys": [{"kty": "oct", "k": b64(SECRET.encode())}]}},
            "algorithms": ["HS256"],
        },
        "shared secret in a set, allowed": {
            "keys": {"jwks": {"keys": [{"kty": "oct", "k": b64(SECRET.encode())}]}, "allow_symmetric": True},
            "algorithms": ["HS256"],
        },
        "short secret in a set, allowed": {
            "keys": {"jwks": {"keys": [{"kty": "oct", "k": "AAAA"}]}, "allow_symmetric": True},
            "algorithms": ["HS256"],
        },
        "one kid for two keys": {
            "keys": {"jwks": {"keys": _one_kid(f, "r1", "r2")}, "strict": True},
            "algorithms": ["RS256"],
        },
        "one kid for RSA and EC": {
            "keys": {"jwks": {"keys": _one_kid(f, "r1", "e1")}, "strict": True},
            "algorithms": ["RS256"],
        },
    }
    return found


WEAK_PEM = """-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC0bCKRFMxQtgDCt3PXDWEVrrPB
v4zuxPhdO30YVGyL4KHGNEWR+QAcEAK3RYBWPnVZ6TAfKDEPX+0mfh0CZFUrmMMp
8/LTvzIcuyWqcLBsnIJQ0HcXGLlJBXvbmBhWsFI4nVJB9TIeTLuFx3cJn+C5Ge2x
QGmJUyDDOQTTXvNc+QIDAQAB
-----END PUBLIC KEY-----
"""


def _one_kid(f: Forge, *kids: str) -> list[dict[str, Any]]:
    return [f.keys[kid].public().to_jwk() | {"kid": "k"} for kid in kids]


def keycloak_keys(f: Forge) -> dict[str, Any]:
    """A key set as Keycloak publishes it: a key to encrypt, several to sign, and the certificate of each key."""
    certificate = {"x5c": ["MIICmzCCAYMCBgGPx"], "x5t": "b64thumbprint", "x5t#S256": "b64thumbprint256"}
    encrypt = f.public("r2")["keys"][0] | {"kid": "enc", "use": "enc", "alg": "RSA-OAEP"} | certificate
    sign = f.public("r1", "e1", "p1", "d1")["keys"]
    return {"keys": [encrypt, *(key | certificate for key in sign)]}


def key_sets(f: Forge) -> dict[str, object]:
    """JWK Sets, with entries that cannot be used."""
    rsa, rsa2, ec, ec384 = (f.keys[kid].public().to_jwk() for kid in ("r1", "r2", "e1", "e384"))
    ed = f.keys["d1"].public().to_jwk()
    good = ec | {"kid": "good"}
    bare = {name: value for name, value in rsa.items() if name not in ("alg", "use")} | {"kid": "bad"}
    bad_ec = {name: value for name, value in ec.items() if name not in ("alg", "use")} | {"kid": "bad"}
    short = b64(int(rsa2["n"].encode().hex()[:256] or "1", 16).to_bytes(128, "big"))
    entries: dict[str, object] = {
        "RSA of 1024 bits": bare | {"n": short},
        "RSA with e = 1": bare | {"e": "AQ"},
        "RSA with an even e": bare | {"e": "AQAA"},
        "RSA with an e of 32 bits": bare | {"e": b64((2**32 - 1).to_bytes(4))},
        "RSA with an e of 33 bits": bare | {"e": b64((2**32 + 1).to_bytes(5))},
        "RSA with an e as long as the modulus": bare | {"e": b64(b"\x7f" + b"\xff" * 255)},
        "RSA of the ROCA generator": bare | {"n": b64(_roca())},
        "RSA for encryption": bare | {"use": "enc"},
        "RSA with RSA-OAEP": bare | {"alg": "RSA-OAEP"},
        "RSA with an ES algorithm": bare | {"alg": "ES256"},
        "RSA without a modulus": {"kty": "RSA", "kid": "bad", "e": "AQAB"},
        "RSA over 16384 bits": bare | {"n": b64(b"\xff" * 2049)},
        "RSA modulus a number": bare | {"n": 5},
        "RSA modulus not base64url": bare | {"n": "***"},
        "point off the curve": bad_ec | {"x": b64(b"\1" * 32)},
        "point of another curve": bad_ec | {"crv": "P-384"},
        "curve unknown": bad_ec | {"crv": "P-999"},
        "curve and alg": bad_ec | {"alg": "ES384"},
        "EC without y": {k: v for k, v in bad_ec.items() if k != "y"},
        "alg none": bad_ec | {"alg": "none"},
        "alg a list": bad_ec | {"alg": ["ES256"]},
        "alg null": bad_ec | {"alg": None},
        "use enc": bad_ec | {"use": "enc"},
        "use a list": bad_ec | {"use": ["sig"]},
        "use null": bad_ec | {"use": None},
        "key_ops without verify": bad_ec | {"key_ops": ["deriveKey"]},
        "key_ops only sign": bad_ec | {"key_ops": ["sign"]},
        "key_ops a string": bad_ec | {"key_ops": "verify"},
        "key_ops a number": bad_ec | {"key_ops": 5},
        "key_ops null": bad_ec | {"key_ops": None},
        "key_ops of objects": bad_ec | {"key_ops": [{}]},
        "kid a number": bad_ec | {"kid": 5},
        "kid a list": bad_ec | {"kid": ["bad"]},
        "kid null": bad_ec | {"kid": None},
        "kid empty": bad_ec | {"kid": ""},
        "kid too long": bad_ec | {"kid": "k" * 256},
        "key agreement curve": {"kty": "OKP", "kid": "bad", "crv": "X25519", "x": b64(b"\7" * 32)},
        "Ed25519 cut short": ed | {"kid": "bad", "x": "AA"},
        "shared secret": {"kty": "oct", "kid": "bad", "k": b64(b"s" * 32)},
        "unknown kty": {"kty": "AKP", "kid": "bad"},
        "kty a list": bad_ec | {"kty": ["EC"]},
        "no kty": {"kid": "bad"},
        "not an object": ["not", "a", "key"],
        "null": None,
        "without kid": {k: v for k, v in bare.items() if k != "kid"},
        "RSA without alg": bare,
        "RSA with key_ops verify": bare | {"key_ops": ["verify"], "alg": "PS384"},
        "further members": bad_ec | {"x5c": ["x"], "exp": 1},
        "private key": f.jwks["e1"] | {"kid": "bad"},
    }
    found: dict[str, object] = {f"a19 {name}": {"keys": [entry, good]} for name, entry in entries.items()}
    found |= {f"a19 {name}, alone": {"keys": [entry]} for name, entry in list(entries.items())[::5]}
    shared = {
        "Keycloak": [bare | {"use": "enc", "alg": "RSA-OAEP"}, rsa2],
        "the same key twice": [ec, ec],
        "RSA and EC": [rsa, ec],
        "RS256 and PS256": [rsa, rsa2 | {"alg": "PS256"}],
        "two curves": [ec, ec384],
        "one key for two algorithms": [rsa, rsa | {"alg": "PS256"}],
        "weak and good": [bare | {"n": short}, rsa],
        "two RSA keys": [rsa, rsa2],
        "two RSA keys and an EC key": [rsa, rsa2, ec],
        "RSA with and without alg": [rsa, {k: v for k, v in rsa2.items() if k != "alg"}],
        "Ed25519 and EC": [ed, ec],
        "private and public half": [f.jwks["e1"] | {"alg": "ES256"}, ec],
    }
    for name, listed in shared.items():
        found[f"a19 one kid: {name}"] = {"keys": [*({**entry, "kid": "k"} for entry in listed), good]}
    found |= {
        "a19 a realm of Keycloak": keycloak_keys(f),
        "a19 a realm of Keycloak with two more keys for encryption": {
            "keys": [
                *(
                    {**entry, "use": "enc", "alg": alg, "kid": alg}
                    for entry, alg in ((rsa, "RSA-OAEP-256"), (ec, "ECDH-ES"))
                ),
                *keycloak_keys(f)["keys"],
            ]
        },
    }
    found |= {
        f"a19 not a set: {json.dumps(value)}": value
        for value in (None, [], {}, {"keys": None}, {"keys": {}}, {"keys": []}, "keys", 5)
    }
    return found


def _roca() -> bytes:
    """A number that passes for a modulus of the broken generator: a power of 65537 modulo the primorial."""
    primes = [
        2,
        3,
        5,
        7,
        11,
        13,
        17,
        19,
        23,
        29,
        31,
        37,
        41,
        43,
        47,
        53,
        59,
        61,
        67,
        71,
        73,
        79,
        83,
        89,
        97,
        101,
        103,
        107,
        109,
        113,
        127,
        131,
        137,
        139,
        149,
        151,
        157,
        163,
        167,
    ]
    primorial = 1
    for prime in primes:
        primorial *= prime
    modulus = pow(65537, 1001, primorial) + primorial * (1 << (2047 - primorial.bit_length()))
    return modulus.to_bytes((modulus.bit_length() + 7) // 8, "big")


ALL = {"auth": True, "header": True, "cookie": "session", "query": "token"}
DEFAULT = {"auth": True, "header": True}
HEADER = {"auth": False, "header": True}


def _split_cookies(t: str, u: str) -> Named:
    """Cookies that are split into chunks."""
    most = "; ".join(f"session_{number}=x" for number in range(32))
    cookies = {
        "dots": f"session.0={t[:4]}; session.1={t[4:8]}; session.2={t[8:]}",
        "underlines": f"session_0={t[:4]}; session_1={t[4:]}",
        "in another order": f"a=b; session.2={t[8:]}; session.0={t[:4]}; session.1={t[4:8]}",
        "eleven, the tenth is no second": "; ".join(f"session_{n}={t[n]}" for n in range(10)) + "; session_10=z",
        "only one": f"session_0={t}",
        "quoted": f'session_0="{t[:4]}"; session_1="{t[4:]}"',
        "one twice": f"session_0={t[:4]}; session_0={t[:4]}; session_1={t[4:]}",
        "two values of one": f"session_0={t[:4]}; session_1={t[4:]}; session_1=x",
        "the first is missing": f"session_1={t[:4]}; session_2={t[4:]}",
        "one in the middle is missing": f"session_0={t[:4]}; session_2={t[4:]}",
        "one in the middle is empty": f"session_0={t[:4]}; session_1=; session_2={t[4:]}",
        "the last is empty": f"session_0={t}; session_1=",
        "all are empty": "session_0=; session_1=",
        "mixed": f"session_0={t[:4]}; session.1={t[4:]}",
        "both": f"session_0={t}; session.0={t}",
        "the whole one, too": f"session={t}; session_0={t[:4]}; session_1={t[4:]}",
        "the whole one is empty": f"session=; session_0={t[:4]}; session_1={t[4:]}",
        "the whole one, and cookies of another purpose": f"session={t}; session_2024=x; session.1=x",
        "leading zeros": f"session_00={t}",
        "a sign": f"session_+0={t}",
        "no number": f"session_={t}; session_a={t}; session-0={t}; session0={t}",
        "another digit": f"session_\u00b2={t}",
        "not ASCII": "session_0=\u00e9\u00e8; session_1=\u00fc",
        "another scheme": f"session_0=Basic x; session_1={u}",
        "bearer": f"session_0=Bearer {t[:4]}; session_1={t[4:]}",
        "32": most,
        "33": f"{most}; session_32=x",
        "a number over the limit": f"session_0={t}; session_99999999999999999999={t}",
        "too long": f"session_0={'x' * 40_000}; session_1={'x' * 40_000}",
    }
    found = {f"chunks, {name}": {"sources": ALL, "request": {"cookie": cookie}} for name, cookie in cookies.items()}
    found["chunks where auth has a token"] = {
        "sources": ALL,
        "auth": {"token": t},
        "request": {"cookie": "session_1=x"},
    }
    dotted = {"auth": False, "header": False, "cookie": "a.b"}
    found["chunks of a name that is a pattern"] = {"sources": dotted, "request": {"cookie": f"aXb_0={t}; a.b.0={u}"}}
    return found


def _named_places(t: str, u: str) -> Named:
    """Tokens in a header and in a member of another name."""
    named = {"auth": "jwt", "header": "X-Token"}
    alone = {"auth": False, "header": "X-Token"}
    same = {"auth": False, "header": "Authorization"}
    found: Named = {}
    for header in (
        *("", " ", t, f" {t}\t", f"Bearer {t}", f"bearer {t}", f"Basic {t}", f"DPoP {t}", "Bearer", f"Bearer  {t}"),
        *(f"{t}, {t}", f"{t},{u}", f"Bearer {t}, Bearer {t}", ",", f"{t} {u}", "\u00e9", "x" * 65_544),
    ):
        found[f"named header {header!r:.40}"] = {"sources": named, "request": {"authorization": header}}
        found[f"named header alone {header!r:.40}"] = {"sources": alone, "request": {"authorization": header}}
    for header in ("Basic abc", f"Bearer {t}, Bearer {t}", f"Bearer {t}"):
        found[f"the header by its own name {header}"] = {"sources": same, "request": {"authorization": header}}
    found["the header by its own name, none sent"] = {"sources": same}
    for auth in (
        *({"jwt": t}, {"jwt": f"Bearer {t}"}, {"jwt": ""}, {"jwt": None}, {"jwt": 42}, {"jwt": {"token": t}}),
        *(
            {"token": t},
            {"jwt": t, "token": u},
            {"jwt": "", "token": u},
            {"jwt": t, "dpop": "d.d.d"},
            {},
            None,
            "x",
            [t],
        ),
    ):
        found[f"named member {json.dumps(auth)}"] = {"sources": named, "auth": auth}
    request = {"authorization": u}
    found["named member and named header"] = {"sources": named, "auth": {"jwt": t}, "request": request}
    found["named member and the same header"] = {"sources": named, "auth": {"jwt": u}, "request": request}
    found["a proof and the named header"] = {"sources": named, "auth": {"jwt": u, "dpop": "d"}, "request": request}
    found["a member that is inherited"] = {"sources": {"auth": "constructor", "header": False}, "auth": {"x": 1}}
    return found


SOURCES: tuple[dict[str, object], ...] = (
    {},
    *(
        {"header": name}
        for name in ("X-Token", "authorization", "x1", "", "X Token", "X_Token", "cookie", "Cookie", "é", 5)
    ),
    *({"auth": name} for name in ("jwt", "token", "a b", "é", "\n", "", "dpop", 5, None)),
    *({"cookie": name} for name in ("session", "", True, None)),
    *({"query": name} for name in ("token", "", False, None)),
    {"header": None},
    {"auth": False, "header": False},
    {"auth": False, "header": False, "cookie": "session"},
)
"""Sources of tokens, of which some must fail."""


def credentials() -> Named:
    """Where a token may stand, and every row of the contract's table of credentials."""
    t, u = "aaa.bbb.ccc", "ddd.eee.fff"
    auths: tuple[object, ...] = (
        None,
        {},
        "",
        [],
        5,
        True,
        t,
        {"token": None},
        {"token": ""},
        {"token": 42},
        {"token": [t]},
        {"token": {"a": t}},
        {"token": t},
        {"access_token": t},
        {"auth_token": t},
        {"jwt": t},
        {"token": f"Bearer {t}"},
        {"token": f"bearer {t}"},
        {"token": f"BEARER {t}"},
        {"token": f"Basic {t}"},
        {"token": f"Bearer  {t}"},
        {"token": "Bearer"},
        {"token": "Bearer "},
        {"token": f" {t}"},
        {"token": f"{t} x"},
        {"token": t, "access_token": t},
        {"token": t, "access_token": u},
        {"token": t, "auth_token": f"Bearer {t}"},
        {"token": "", "access_token": u},
        {"token": None, "auth_token": t},
        {"token": "x" * 65_544},
        {"token": False},
        {"token": 0},
        {"token": t, "dpop": "d.d.d"},
        {"access_token": t, "dpop": "d.d.d"},
        {"token": t, "dpop": ""},
        {"token": t, "dpop": None},
        {"token": t, "dpop": 5},
        {"token": t, "dpop": ["d.d.d"]},
        {"token": "", "dpop": "d.d.d"},
        {"dpop": "d.d.d"},
    )
    found: Named = {f"auth {json.dumps(auth):.50}": {"sources": DEFAULT, "auth": auth} for auth in auths}
    for header in (
        "",
        t,
        f"Bearer {t}",
        f"bearer {t}",
        f"Basic {t}",
        "Basic",
        "Bearer",
        f"Basic abc, Bearer {t}",
        f"Bearer {t} x",
        "Negotiate a b",
        f"DPoP {t}",
        f"dpop {t}",
    ):
        request = {"authorization": header}
        found[f"header {header!r}"] = {"sources": DEFAULT, "request": request}
        found[f"header alone {header!r}"] = {"sources": HEADER, "request": request}
    found["header alone, none sent"] = {"sources": HEADER}
    found["header alone, the token in auth"] = {"sources": HEADER, "auth": {"token": t}}
    for query in (
        f"token={t}",
        f"token={t}&token={t}",
        f"token={t}&token={u}",
        "token=",
        "EIO=4",
        f"TOKEN={t}",
        f"token=Bearer+{t}",
        f"token=Bearer%20{t}",
        f"a=1&token={t.replace('.', '%2E')}",
        "token",
        f"token={t};x=1",
    ):
        found[f"query {query}"] = {"sources": ALL, "request": {"query": query}}
    found["query where it is off"] = {"sources": DEFAULT, "request": {"query": f"token={t}"}}
    for cookie in (
        f"session={t}",
        f'session="{t}"',
        f"a=b; session={t} ; c=d",
        f"session={t}; session={t}",
        f"session={t}; session={u}",
        "session=",
        f"Session={t}",
        "session",
        f"xsession={t}",
    ):
        found[f"cookie {cookie}"] = {"sources": ALL, "request": {"cookie": cookie}}
    found |= _split_cookies(t, u) | _named_places(t, u)
    pairs = {"authorization": f"Bearer {t}", "query": f"token={t}", "cookie": f"session={u}"}
    found |= {
        "the cookie counts where nothing else is": {"sources": ALL, "request": pairs},
        "auth before the cookie": {"sources": ALL, "auth": {"token": t}, "request": {"cookie": f"session={u}"}},
        "c36 auth and header": {"sources": ALL, "auth": {"token": u}, "request": {"authorization": f"Bearer {t}"}},
        "c36 header and query": {"sources": ALL, "request": {"authorization": f"Bearer {t}", "query": f"token={u}"}},
        "the same in all": {"sources": ALL, "auth": {"token": t}, "request": pairs | {"cookie": f"session={t}"}},
        "auth of a wrong type and a header": {
            "sources": ALL,
            "auth": {"token": 5},
            "request": {"authorization": f"Bearer {t}"},
        },
        "all sources, nothing": {"sources": ALL},
        "a proof and the same token in a header": {
            "sources": ALL,
            "auth": {"token": t, "dpop": "d.d.d"},
            "request": {"authorization": f"Bearer {t}"},
        },
        "a proof and a token of another scheme": {
            "sources": ALL,
            "auth": {"token": t, "dpop": "d.d.d"},
            "request": {"authorization": f"DPoP {t}", "cookie": f"session={u}"},
        },
    }
    events: tuple[list[object], ...] = (
        [],
        [None],
        [{}],
        [{"token": t}],
        [{"token": None}],
        [{"token": 42}],
        [t],
        [5],
        [[t]],
        [{"token": f"Bearer {t}"}, {"token": u}],
        [{"access_token": t}],
        [{"token": t, "access_token": u}],
        [""],
        [{"token": ""}],
    )
    found |= {f"event {json.dumps(event)}": {"event": event} for event in events}
    return found


def grants() -> Named:
    """What a ``rooms`` claim grants."""
    claims: tuple[object, ...] = (
        ["lobby"],
        ["team-*"],
        ["*"],
        ["a:*"],
        ["*:*"],
        ["**"],
        ["a*b*"],
        ["a-*:b-*"],
        {"lobby": ["join"]},
        {"lobby": ["emit"]},
        {"team-*": ["emit:say"]},
        {"lobby": []},
        {"lobby": ["admin"]},
        {"lobby": "join"},
        "lobby",
        None,
        ["lobby", 1],
        [],
        {},
        ["te.m"],
        ["__proto__"],
        {"__proto__": ["join"]},
        ["a\u200b", "lobby"],
        {"*": ["join"], "lobby": ["emit:say"]},
    )
    rooms = (
        "lobby",
        "team-1",
        "team-",
        "team-a:b",
        "a:b",
        "a:",
        "te.m",
        "team",
        "a-x:b-y",
        "__proto__",
        "L obby",
        "a\nb",
        "😀",
    )
    found: Named = {}
    for claim in claims:
        for room in rooms:
            found[f"{json.dumps(claim)} {room!r}"] = {"rooms": claim, "room": room}
        found[f"{json.dumps(claim)} say to lobby"] = {"rooms": claim, "room": "lobby", "event": "say"}
        found[f"{json.dumps(claim)} say to team-1"] = {"rooms": claim, "room": "team-1", "event": "say"}
    return found
