"""The vectors about keys of other servers: when they are fetched and given up, and what is read from an answer."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from support import remote_vectors
from vector_forge import Forge

from roomkey.keysets.remote_state import COOLDOWN, DUE, KEPT, LOST

Step = dict[str, Any]
A, B = ["a", "e1"], ["b", "e2"]
PAUSES = (0.0, 0.5, 1.0, 3.0, 29.5, 30.0, 299.0, 300.0, 3600.0, 86_100.0)
ISSUER = "https://sso.example"


def remote_keys(f: Forge) -> dict[str, Any]:
    """``remote_keys.json``."""
    return {
        "states": [
            {"name": name, "steps": remote_vectors.replay(steps, f.jwks)} for name, steps in _scenarios().items()
        ],
        "key_sets": [
            {"name": name, **vector, **remote_vectors.key_set_verdict(vector)} for name, vector in _key_sets(f)
        ],
        "discovery": [
            {
                "name": name,
                "issuer": ISSUER,
                "body": body,
                **remote_vectors.discovery_verdict({"issuer": ISSUER, "body": body}),
            }
            for name, body in _documents()
        ],
    }


def _good(at: float, *keys: list[str]) -> list[Step]:
    return [{"at": at, "start": True}, {"at": at, "succeed": list(keys)}]


def _bad(at: float) -> list[Step]:
    return [{"at": at, "start": True}, {"at": at, "fail": True}]


def _look(at: float, kid: str) -> Step:
    return {"at": at, "look_up": kid}


def _scenarios() -> dict[str, list[Step]]:
    first = _good(0.0, A)
    named = {
        "no answer yet": [_look(0.0, "a"), *_bad(0.0), _look(0.5, "a"), _look(1.0, "a"), *_bad(1.0), *_bad(3.0)],
        "due, stale and given up": [
            *first,
            *(_look(at, "a") for at in (DUE - 0.5, DUE)),
            *_bad(DUE),
            *_bad(KEPT - 1),
            *_bad(KEPT),
            *_good(KEPT + 60, A),
        ],
        "the first unknown kid starts a fetch, others wait for the cooldown": [
            *first,
            _look(1.0, "x"),
            {"at": 1.0, "start": True},
            _look(1.1, "y"),
            {"at": 1.2, "succeed": [A]},
            *(_look(at, kid) for at in (1.3, COOLDOWN + 0.9, COOLDOWN + 1.0) for kid in ("x", "y")),
        ],
        "a kid that appeared during the request is not given up for its answer": [
            *first,
            {"at": DUE, "start": True},
            _look(DUE, "b"),
            {"at": DUE + 1, "succeed": [A]},
            _look(DUE + 1, "b"),
        ],
        "unknown kids are forgotten when the keys change": [
            *first,
            _look(1.0, "x"),
            *_good(1.0, A),
            _look(2.0, "x"),
            *_good(20.0, A, B),
            _look(20.0, "x"),
        ],
        "an unknown kid is rejected for the cooldown after the answer without it": [
            *first,
            _look(1.0, "b"),
            {"at": 1.0, "start": True},
            {"at": 3.0, "succeed": [A]},
            *(_look(at, "b") for at in (3.0, COOLDOWN + 2.5, COOLDOWN + 3.0)),
            *_good(COOLDOWN + 3.0, A, B),
            _look(COOLDOWN + 3.0, "x"),
        ],
        "an unknown kid is unknown again during the cooldown": [
            *first,
            _look(1.0, "x"),
            *_good(1.0, A),
            *_good(5.0, B),
            _look(6.0, "x"),
            _look(COOLDOWN + 0.5, "x"),
            _look(COOLDOWN + 1.0, "x"),
        ],
        "an unknown kid is rejected for the cooldown after each answer without it": [
            *first,
            _look(1.0, "x"),
            *_good(1.0, A),
            _look(COOLDOWN, "y"),
            _look(COOLDOWN + 1.0, "y"),
            *_good(COOLDOWN + 0.5, A),
            *(_look(at, "x") for at in (COOLDOWN + 5.0, 2 * COOLDOWN, 2 * COOLDOWN + 0.5)),
            *_good(3 * COOLDOWN, A),
            _look(3 * COOLDOWN, "y"),
        ],
        "a failed fetch gives up no kid": [*first, _look(1.0, "x"), *_bad(1.0), _look(2.0, "x"), _look(31.0, "x")],
        "a token without kid": [
            *first,
            _look(1.0, ""),
            *_good(1.0, B),
            _look(40.0, ""),
            *_good(40.0, B),
            _look(69.5, ""),
            _look(70.0, ""),
        ],
        "a fetch that never ends": [{"at": 0.0, "start": True}, _look(LOST - 1, "a"), _look(LOST, "a")],
        "another key under a known kid": [
            *_good(0.0, A, B),
            *_good(DUE, ["a", "e384"], B),
            *_good(2 * DUE, ["a", "r1"], B),
            *_good(DUE + KEPT, ["a", "r1"], B),
            *_good(DUE + KEPT + 1, B),
            *_good(DUE + KEPT + 2, ["a", "e1"], B),
        ],
    }
    return named | {f"random {seed}": _random(seed) for seed in range(20)}


def _random(seed: int) -> list[Step]:
    """Return steps as a program could take them: a fetch starts only if it may, and ends once."""
    chance = random.Random(seed)
    at, fetching, steps = 0.0, False, []
    for _ in range(40):
        at += chance.choice(PAUSES)
        kind = chance.choice(("look_up", "look_up", "fetch", "fetch"))
        if kind == "look_up":
            steps.append(_look(at, chance.choice(("a", "b", "x", "y", "z", ""))))
        elif not fetching:
            fetching = True
            steps.append({"at": at, "start": True})
        else:
            fetching = False
            answer = [[kid, chance.choice(("e1", "e2", "r1"))] for kid in ("a", "b") if chance.random() < 0.8]
            steps.append({"at": at, "succeed": answer} if answer else {"at": at, "fail": True})
    return steps


def _key_sets(f: Forge) -> Iterator[tuple[str, dict[str, Any]]]:
    def public(name: str, **members: Any) -> dict[str, Any]:
        changed = {**f.public(name)["keys"][0], **members}
        return {member: value for member, value in changed.items() if value is not None}

    good = public("e1")

    def body(*keys: Any, **others: Any) -> dict[str, Any]:
        return {"body": json.dumps({"keys": list(keys), **others})}

    yield "one key", body(good)
    yield "other members", body(good, version=1, cache=None)
    for name, other in {
        "a secret": {"kty": "oct", "kid": "s", "k": "A" * 43},
        "a private key": f.jwks["e2"],
        "a private RSA key without use": {m: v for m, v in f.jwks["r1"].items() if m not in {"use", "alg"}},
        "a key for encryption": public("e2", use="enc"),
        "a key for RSA-OAEP": public("r1", alg="RSA-OAEP"),
        "alg none": public("e2", alg="none"),
        "a short RSA key": public("r1", n="w" * 171),
        "no object": 7,
        "null": None,
        "another type": {"kty": "AKP", "kid": "q", "alg": "ML-DSA-44"},
        "the same kid": public("e2", kid=good["kid"]),
        "the same kid, another algorithm": public("r1", kid=good["kid"]),
        "the same key twice": good,
    }.items():
        yield f"a good key and {name}", body(good, other)
        yield f"only {name}", body(other)
    rsa = public("r1", alg=None)
    yield "RSA without alg", body(rsa)
    yield "RSA without alg, discovery names RS256", body(rsa) | {"offered": ["RS256", "none", "HS256"]}
    yield "RSA without alg, discovery names another", body(rsa) | {"offered": ["ES256"]}
    yield "RSA with alg, discovery names another", body(public("r1", alg="RS256")) | {"offered": ["ES256"]}
    yield "an algorithm that is not accepted", body(public("r1", alg="RS256"), good) | {"algorithms": ["ES256"]}
    yield "none that is accepted", body(public("r1", alg="RS256")) | {"algorithms": ["ES256"]}
    yield "a hundred keys", body(*[good] * 100)
    yield "101 keys", body(*[good] * 101)
    for text in (
        "",
        "{}",
        "[]",
        "null",
        "7",
        '{"keys": []}',
        '{"keys": {}}',
        '{"keys": null}',
        "<html>",
        '{"keys": [',
        '{"__proto__": {"keys": []}}',
        "\ufeff{}",
    ):
        yield f"body {text!r}", {"body": text}
    yield "duplicate member", {"body": json.dumps({"keys": [good]})[:-1] + ', "keys": []}'}
    yield "nested too deep", {"body": '{"keys":' + "[" * 40 + "]" * 40 + "}"}


def _documents() -> Iterator[tuple[str, str]]:
    good = {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/jwks"}
    for name, members in {
        "complete": {"id_token_signing_alg_values_supported": ["RS256", "ES256"]},
        "without algorithms": {},
        "algorithms of another type": {"id_token_signing_alg_values_supported": "RS256"},
        "some algorithms of another type": {"id_token_signing_alg_values_supported": ["RS256", 7]},
        "no algorithms": {"id_token_signing_alg_values_supported": []},
        "a slash more": {"issuer": f"{ISSUER}/"},
        "another issuer": {"issuer": "https://evil.example"},
        "another letter case": {"issuer": ISSUER.upper()},
        "no issuer": {"issuer": None},
        "keys elsewhere": {"jwks_uri": "https://keys.example/certs?x=1"},
        "keys without TLS": {"jwks_uri": "http://sso.example/jwks"},
        "keys on this machine": {"jwks_uri": "http://127.0.0.1:8080/jwks"},
        "keys on this machine, ::1": {"jwks_uri": "http://[::1]:8080/jwks"},
        "keys on localhost": {"jwks_uri": "http://localhost/jwks"},
        "keys on a name like this machine": {"jwks_uri": "http://127.0.0.1.evil.example/jwks"},
        "keys without a host": {"jwks_uri": "https://"},
        "keys with a fragment": {"jwks_uri": f"{ISSUER}/jwks#keys"},
        "keys with a line break": {"jwks_uri": f"{ISSUER}/\njwks"},
        "keys with a space": {"jwks_uri": f"{ISSUER}/ jwks"},
        "keys outside ASCII": {"jwks_uri": f"{ISSUER}/ä"},
        "keys in a file": {"jwks_uri": "file:///etc/passwd"},
        "keys with a password": {"jwks_uri": "https://a:b@sso.example/jwks"},
        "keys of another type": {"jwks_uri": ["https://sso.example/jwks"]},
        "no keys": {"jwks_uri": None},
    }.items():
        yield name, json.dumps(good | members)
    for text in ("", "[]", "<html>"):
        yield f"body {text!r}", text
