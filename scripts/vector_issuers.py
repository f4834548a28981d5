"""The vectors about tokens of other issuers: claims in other places, and presets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from support.issuer_tokens import SHAPES
from vector_forge import CLAIMS, SECRET, Forge
from vector_settings import keycloak_keys

from roomkey.core.presets import PRESETS

OK, NOT_OURS = "ok", "jwt audience invalid. expected: app-1"
NO_NAMES: tuple[object, ...] = (
    "admin",
    "",
    1,
    True,
    None,
    {},
    {"admin": True},
    ["admin", 1],
    [["admin"]],
    [""],
    [None],
)

Case = tuple[str, str, object, str]
"""A verifier, a name, a token, and what is expected."""

MAP: dict[str, Any] = {
    "subject": "user_id",
    "audience": "client_id",
    "session": "session_id",
    "roles": "realm_access.roles",
    "role": "https://login.example/role",
    "rooms": ["app", "my.rooms"],
    "scopes": "scp",
}
MAPPED: dict[str, Any] = {
    **CLAIMS,
    "user_id": "7",
    "client_id": "app-1",
    "aud": "app-1",
    "session_id": "s-1",
    "realm_access": {"roles": ["clerk", "admin"]},
    "https://login.example/role": "owner",
    "app": {"my.rooms": {"team-*": ["join"], "hall": ["emit"]}},
    "scp": "read write",
}


def verifiers(f: Forge) -> dict[str, dict[str, Any]]:
    """The settings that the vectors use, by name."""
    secret = {"keys": {"secret": SECRET, "kid": "k1"}}
    public = {"keys": {"jwks": keycloak_keys(f)}}
    presets = {
        name: (secret if shape.shared else public | {"algorithms": list(PRESETS[name].algorithms)})
        | shape.settings
        | {"preset": name}
        for name, shape in SHAPES.items()
    }
    return presets | {
        "typ-or-none": secret | {"audience": "chat", "claims": {"typ": ["Bearer", None], "level": [1, True, "a"]}},
        "mapped": secret | {"audience": "app-1", "claims_map": MAP},
        "mapped-rights": secret
        | {"audience": "chat", "claims_map": {"roles": "x.y", "rooms": "x.y", "scopes": "cognito:groups"}},
        "mapped-roles": secret | {"audience": "chat", "claims_map": {"roles": "groups"}},
        "mapped-required": secret | {"audience": "chat", "claims_map": {"scopes": "scp"}, "require": ["exp", "scope"]},
    }


def claims_map(f: Forge) -> Iterator[Case]:
    """Claims in other places, and what is wrong with them."""
    yield "mapped", "every place", f.token(MAPPED), OK
    unused = {"sid": 5, "roles": ["root"], "role": "root", "rooms": ["*"], "scope": "root", "sub": 5}
    yield "mapped", "claims that the map replaces do not count", f.token(MAPPED | unused), OK
    for name in ("session_id", "realm_access", "https://login.example/role", "app", "scp", "aud"):
        yield "mapped", f"no {name}", f.token({key: value for key, value in MAPPED.items() if key != name}), OK
    for name, claim in (("user_id", "sub"), ("client_id", "aud")):
        token = f.token({key: value for key, value in MAPPED.items() if key != name} | {claim: "app-1"})
        yield "mapped", f"no {name}, but {claim}", token, NOT_OURS if claim == "aud" else "invalid sub value"
    for value in (5, "", None, ["7"], "a\nb", "x" * 256, True):
        yield "mapped", f"user_id {str(value)[:9]!r}", f.token(MAPPED | {"user_id": value}), "invalid sub value"
        yield "mapped", f"session_id {str(value)[:9]!r}", f.token(MAPPED | {"session_id": value}), "invalid sid value"
    for client, expected in (("app-2", NOT_OURS), ([], NOT_OURS), (["a", "app-1"], OK), (5, "invalid aud value")):
        yield "mapped", f"client_id {client!r}", f.token(MAPPED | {"client_id": client}), expected
    for aud, expected in (("app-2", NOT_OURS), (["x"], NOT_OURS), (None, NOT_OURS), (5, NOT_OURS), (["app-1"], OK)):
        yield "mapped", f"aud {aud!r} next to client_id", f.token(MAPPED | {"aud": aud}), expected
    for value in NO_NAMES:
        rights = {"x": {"y": value}, "cognito:groups": value}
        yield "mapped-rights", f"b29 rights {value!r}", f.token(CLAIMS | rights), OK
        yield "mapped-rights", f"b29 rights inside {value!r}", f.token(CLAIMS | {"x": value, "x.y": ["admin"]}), OK
    for scopes in (["read", "write"], ["read write"], ["read", ""], "read  write", ["__proto__"]):
        yield "mapped-rights", f"scopes {scopes!r}", f.token(CLAIMS | {"cognito:groups": scopes}), OK
    named = {"groups": ["clerk"], "roles": "admin", "role": "admin", "rooms": "hall"}
    yield "mapped-roles", "b29 roles only from the map", f.token(CLAIMS | named), OK
    yield "mapped-roles", "b29 roles in the usual claim", f.token(CLAIMS | {"roles": ["admin"]}), OK
    yield "mapped-required", "scope mapped", f.token(CLAIMS | {"scp": "read"}), OK
    yield (
        "mapped-required",
        "scope required, in the usual claim",
        f.token(CLAIMS | {"scope": "read"}),
        "invalid scope value",
    )


def presets(f: Forge) -> Iterator[Case]:
    """Tokens as common issuers write them, and tokens that come close."""
    for name, shape in SHAPES.items():
        by, algorithm = ("k1", "HS256") if shape.shared else ("e1", "ES256") if name == "supabase" else ("r1", "RS256")
        header = {"alg": algorithm, "kid": by} | shape.header
        yield name, name, f.token(shape.claims, header, by=by, algorithm=algorithm), OK
        for near, (changes, claim) in shape.near.items():
            expected = f"invalid {claim} value"
            if claim == "aud":
                audiences = shape.settings.get("audience") or PRESETS[name].audience or "none"
                expected = f"jwt audience invalid. expected: {audiences}"
            elif claim == "iss":
                expected = f"jwt issuer invalid. expected: {shape.settings['issuer']}"
            yield name, f"{name}: {near}", f.token(shape.changed(changes), header, by=by, algorithm=algorithm), expected
        if not shape.shared:
            yield name, f"{name}: HS256", f.token(shape.claims, {"alg": "HS256", "kid": "k1"}), "invalid algorithm"
    for typ, expected in (("Bearer", OK), (None, OK), ("ID", "invalid typ value"), (["Bearer"], "invalid typ value")):
        yield "typ-or-none", f"typ {typ!r}", f.token(CLAIMS | {"typ": typ, "level": 1}), expected
    for level, expected in ((True, OK), ("a", OK), (1.0, OK), (False, "x"), ("1", "x"), (None, "x"), (2, "x")):
        token = f.token(CLAIMS | {"level": level})
        yield "typ-or-none", f"level {level!r}", token, expected if expected == OK else "invalid level value"
