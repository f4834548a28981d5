"""The vectors about claims: time, names, roles and rooms."""

from __future__ import annotations

import json
from collections.abc import Iterator

from vector_forge import CLAIMS, NOW, OK, Case, Forge, without, written


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
    logout = "http://schemas.openid.net/event/backchannel-logout"
    for value in ({}, None, 1):
        yield (
            f"a12 logout event {value}",
            f.token(CLAIMS | {"events": {"urn:e": {}, logout: value}}),
            "invalid events value",
        )
    for value in ({}, {"urn:e": {}}, {f"{logout}2": {}}, [logout], logout, None):
        yield f"a12 no logout event {json.dumps(value)}", f.token(CLAIMS | {"events": value}), OK
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
