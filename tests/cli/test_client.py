"""``roomkey client``."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from roomkey.core.revocations import Revocation
from roomkey.errors import Unavailable
from roomkey.stores import Client, SqlRevocations

Cli = Callable[..., Any]


def listed(roomkey: Cli) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(roomkey("client", "list", "--json").out)
    return found


def hash_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def test_add_service_prints_its_secret_once(roomkey: Cli, here: Path) -> None:
    added = roomkey("client", "add", "bot", "--scope", "chat", "--role", "bot", "--room", "lobby")
    secret = added.out.strip()
    assert (added.code, len(secret)) == (0, 43)
    (client,) = listed(roomkey)
    assert (client["kind"], client["grants"], client["scopes"]) == ("confidential", ["client_credentials"], ["chat"])
    database = b"".join(path.read_bytes() for path in here.glob("roomkey.sqlite3*"))
    assert secret.encode() not in database
    assert hash_of(secret).encode() in database
    assert "bot" in roomkey("client", "list").out


@pytest.mark.parametrize(("issuer", "served"), [("roomkey", False), ("https://login.example", True)])
def test_add_client_warns_if_the_server_has_no_oauth(
    roomkey: Cli, monkeypatch: pytest.MonkeyPatch, issuer: str, served: bool
) -> None:
    monkeypatch.setenv("ROOMKEY_ISSUER", issuer)
    added = roomkey("client", "add", "bot")
    assert added.code == 0
    assert ("has no /oauth/ routes; set issuer" not in added.err) == served


def test_public_client_has_redirect_uris_and_no_secret(roomkey: Cli) -> None:
    added = roomkey("client", "add", "app", "--public", "--redirect-uri", "https://app.example/callback")
    assert (added.code, added.out) == (0, "")
    (client,) = listed(roomkey)
    assert (client["kind"], client["grants"]) == ("public", ["authorization_code", "refresh_token"])


def test_first_party_client_is_stored_as_such(roomkey: Cli) -> None:
    roomkey("client", "add", "app", "--public", "--first-party", "--redirect-uri", "https://app.example/callback")
    assert listed(roomkey)[0]["first_party"] is True
    assert "first_party    yes" in roomkey("client", "list").out


def test_client_can_be_disabled_and_enabled(roomkey: Cli) -> None:
    roomkey("client", "add", "bot")
    for command, disabled in (("disable", True), ("enable", False)):
        assert roomkey("client", command, "bot").code == 0
        assert listed(roomkey)[0]["disabled"] is disabled


@pytest.mark.parametrize("command", ["disable", "remove"])
def test_disabled_or_removed_client_loses_its_tokens_and_logins(
    roomkey: Cli, here: Path, tables: Any, command: str
) -> None:
    (here / "roomkey.toml").write_text('issuer = "https://login.example"\n')
    roomkey("client", "add", "app", "--redirect-uri", "https://app.example/callback")
    for login, who, client_id in [
        ("s1", "ada", "app"),
        ("s2", "eve", "app"),
        ("s3", "ada", "roomkey"),
        ("s4", "app", "roomkey"),
    ]:
        tables.log_in(login, subject=who, client_id=client_id)
    before = time.time()
    ran = roomkey("client", command, "app")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"{command}d app and revoked its tokens; running servers disconnect its sockets within a second\n"

    itself, *logins = tables.revocations()
    assert (itself.kind, itself.name) == ("subject", "app")
    assert before <= itself.issued_before <= time.time()
    assert sorted((one.kind, one.name) for one in logins) == [("session", "s1"), ("session", "s2")]
    for one in (itself, *logins):
        assert one.issuer == ("https://login.example" if one is itself else None)
        assert one.expires_at == pytest.approx(itself.issued_before + 7 * 86400)
    assert [tables.logins(who) for who in ("ada", "eve", "app")] == [["s3"], [], ["s4"]]


def test_disable_can_be_repeated_after_a_failure(roomkey: Cli, tables: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No login is ended before its tokens are revoked: nobody would find it any more."""
    roomkey("client", "add", "app", "--public", "--redirect-uri", "https://app.example/callback")
    for login in ("s1", "s2", "s3"):
        tables.log_in(login, client_id="app")
    add, added = SqlRevocations.add, []

    async def fail_at_the_third(self: SqlRevocations, revoked: Revocation) -> None:
        added.append(revoked)
        if len(added) == 3:
            raise Unavailable("the database failed: disk I/O error")
        await add(self, revoked)

    monkeypatch.setattr(SqlRevocations, "add", fail_at_the_third)
    ran = roomkey("client", "disable", "app")
    assert (ran.code, ran.out) == (1, "")
    assert "roomkey doctor" in ran.err
    assert tables.client("app").disabled
    assert len(tables.logins()) == 2

    assert roomkey("client", "disable", "app").code == 0
    assert tables.logins() == []
    assert {one.name for one in tables.revocations()} == {"app", "s1", "s2", "s3"}


def test_client_with_the_servers_client_id_keeps_the_logins_of_users(roomkey: Cli, tables: Any) -> None:
    """They are in the name ``roomkey``: a client of that name would end those of everybody."""
    refused = roomkey("client", "add", "roomkey")
    assert (refused.code, refused.out) == (2, "")
    assert "choose another name" in refused.err
    tables.add_client(Client("roomkey", "0" * 64, grants=("client_credentials",)))
    tables.log_in("s1", client_id="roomkey")
    assert roomkey("client", "remove", "roomkey").code == 0
    assert tables.client("roomkey") is None
    assert tables.logins() == ["s1"]


def test_removed_client_is_gone(roomkey: Cli, tables: Any) -> None:
    for name in ("bot", "other"):
        roomkey("client", "add", name)
    assert roomkey("client", "remove", "bot").code == 0
    assert tables.client("bot") is None
    assert [client["client_id"] for client in listed(roomkey)] == ["other"]


def test_new_secret_replaces_the_old_one(roomkey: Cli, tables: Any) -> None:
    first = roomkey("client", "add", "bot", "--scope", "chat").out.strip()
    before = tables.client("bot")
    ran = roomkey("client", "secret", "bot")
    second = ran.out.strip()
    assert (ran.code, len(second)) == (0, 43)
    assert second != first
    assert tables.client("bot") == replace(before, secret_hash=hash_of(second))
    assert second not in ran.err


def test_public_client_cannot_get_a_secret(roomkey: Cli, tables: Any) -> None:
    roomkey("client", "add", "app", "--public", "--redirect-uri", "https://app.example/callback")
    ran = roomkey("client", "secret", "app")
    assert (ran.code, ran.out, ran.err) == (1, "", "cannot set a secret: app is a public client\n")
    assert tables.client("app").secret_hash is None


def test_client_list_fits_into_80_columns(roomkey: Cli) -> None:
    uris = ["https://app.example/callback", "com.example.app:/back/to/where/the/person/has/come/from"]
    roomkey("client", "add", "bot", "--role", "worker", "--room", "red", "--room", "blue", "--scope", "jobs")
    roomkey("client", "add", "app", "--title", "The \x1b[31mApp", "--redirect-uri", uris[0], "--redirect-uri", uris[1])
    roomkey("client", "disable", "bot")
    app, bot = listed(roomkey)
    assert bot | {"created_at": ""} == {
        **{"client_id": "bot", "title": "", "kind": "confidential", "grants": ["client_credentials"]},
        **{"redirect_uris": [], "scopes": ["jobs"], "roles": ["worker"], "rooms": ["red", "blue"]},
        **{"first_party": False, "disabled": True, "created_at": ""},
    }
    assert (app["title"], app["redirect_uris"], app["disabled"]) == ("The \x1b[31mApp", uris, False)
    shown = roomkey("client", "list").out
    assert shown.splitlines() == [
        "app",
        '  title          "The \\u001b[31mApp"',
        "  kind           confidential",
        "  grants         authorization_code, refresh_token",
        f"  redirect_uris  {uris[0]}",
        f"                 {uris[1]}",
        f"  created_at     {app['created_at']}",
        "bot",
        "  kind           confidential",
        "  grants         client_credentials",
        "  scopes         jobs",
        "  roles          worker",
        "  rooms          red, blue",
        "  disabled       yes",
        f"  created_at     {bot['created_at']}",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("add", "bot", "--public"), 2, "requires a secret"),
        (("add", "app", "--redirect-uri", "https://app.example/", "--scope", "roomkey:admin"), 1, "service"),
        (("add", "bot", "--first-party"), 2, "--redirect-uri"),
        (("add", "b ot"), 1, "no spaces"),
        (("add", "app", "--redirect-uri", "/callback"), 1, "redirect URI"),
        (("add", "taken"), 1, "already"),
        (("disable", "nobody"), 1, "roomkey client list"),
        (("remove", "nobody"), 1, "roomkey client list"),
        (("secret", "nobody"), 1, "roomkey client list"),
    ],
)
def test_wrong_usage_says_what_to_do(
    roomkey: Cli, tables: Any, arguments: tuple[str, ...], code: int, words: str
) -> None:
    roomkey("client", "add", "taken")
    before = listed(roomkey)
    ran = roomkey("client", *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert words in ran.err
    assert listed(roomkey) == before
    assert tables.revocations() == []


def test_empty_client_list_says_how_to_add_one(roomkey: Cli) -> None:
    assert "roomkey client add" in roomkey("client", "list").err


def test_clients_can_be_kept_in_postgresql(
    roomkey: Cli, tables: Any, postgres: Any, monkeypatch: pytest.MonkeyPatch, here: Path
) -> None:
    where = postgres.database()
    monkeypatch.setenv("ROOMKEY_DATABASE", where)
    there = tables.at(where)
    roomkey("client", "add", "bot")
    there.log_in(client_id="bot")
    secret = roomkey("client", "secret", "bot").out.strip()
    assert there.client("bot").secret_hash == hash_of(secret)
    assert roomkey("client", "remove", "bot").code == 0
    assert (there.client("bot"), there.logins()) == (None, [])
    assert [one.name for one in there.revocations()] == ["bot", "s1"]
    assert list(here.iterdir()) == []
