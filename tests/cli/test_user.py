"""``roomkey user``."""

from __future__ import annotations

import asyncio
import json
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roomkey.auth import Passwords

Cli = Callable[..., Any]
PASSWORD = "correct horse battery"


def test_account_can_be_added_listed_and_changed(roomkey: Cli, here: Path, tables: Any) -> None:
    arguments = ("user", "add", "ada", "--role", "admin", "--room", "red", "--room", "blue", "--password-stdin")
    added = roomkey(*arguments, stdin=PASSWORD + "\n")
    assert (added.code, added.out) == (0, "added ada\n")
    account = tables.account("ada")
    assert (account.roles, account.rooms, account.disabled) == (("admin",), ("red", "blue"), False)
    assert asyncio.run(Passwords().verify(account.password_hash, PASSWORD))
    assert stat.S_IMODE((here / "roomkey.sqlite3").stat().st_mode) == 0o600

    listed = roomkey("user", "list")
    assert "ada" in listed.out
    assert "argon2" not in listed.out
    (row,) = json.loads(roomkey("user", "list", "--json").out)
    assert (row["username"], row["rooms"], row["disabled"]) == ("ada", ["red", "blue"], False)

    disabled = roomkey("user", "disable", "ada")
    assert (disabled.code, "running servers disconnect its sockets" in disabled.out) == (0, True)
    assert tables.account("ada").disabled
    assert roomkey("user", "enable", "ada").code == 0
    assert roomkey("user", "passwd", "ada", "--password-stdin", stdin="another password").code == 0
    changed = tables.account("ada")
    assert not changed.disabled
    assert asyncio.run(Passwords().verify(changed.password_hash, "another password"))


def test_wrong_usage_is_one_line_without_the_password(roomkey: Cli) -> None:
    assert roomkey("user", "add", "ada", "--password-stdin", stdin=PASSWORD).code == 0
    mistakes = [
        (("user", "add", "ada", "--password-stdin"), "ada already"),
        (("user", "add", "two words", "--password-stdin"), "no spaces"),
        (("user", "passwd", "nobody", "--password-stdin"), "no account 'nobody'"),
        (("user", "disable", "nobody"), "roomkey user list"),
    ]
    for arguments, said in mistakes:
        ran = roomkey(*arguments, stdin=PASSWORD)
        assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1), arguments
        assert said in ran.err
        assert PASSWORD not in ran.err
    short = roomkey("user", "add", "linus", "--password-stdin", stdin="short")
    assert (short.code, short.err) == (1, "invalid password; use at least 8 characters\n")


def test_password_is_not_read_from_the_command_line(roomkey: Cli) -> None:
    assert roomkey("user", "add", "ada", "--password", PASSWORD).code == 2
    nobody_to_ask = roomkey("user", "add", "ada")
    assert (nobody_to_ask.code, "--password-stdin" in nobody_to_ask.err) == (2, True)


@pytest.mark.parametrize("command", [("disable", "ada"), ("passwd", "ada", "--password-stdin")])
def test_disabled_account_or_new_password_revokes_tokens(
    roomkey: Cli, here: Path, tables: Any, command: tuple[str, ...]
) -> None:
    (here / "roomkey.toml").write_text('issuer = "hotel"\n')
    roomkey("user", "add", "ada", "--password-stdin", stdin=PASSWORD)
    before = time.time()
    tables.log_in()
    assert roomkey("user", *command, stdin=PASSWORD).code == 0

    kept, its_login = tables.revocations()
    assert (its_login.kind, its_login.name, its_login.issuer) == ("session", "s1", None)
    assert (kept.kind, kept.name, kept.issuer) == ("subject", "ada", "hotel")
    assert before <= kept.issued_before <= time.time()
    assert kept.expires_at == pytest.approx(kept.issued_before + 7 * 86400)
    assert tables.logins() == []


@pytest.mark.parametrize("what", [("--subject", "ada"), ("--session-id", "s1")])
def test_revoked_login_cannot_be_refreshed(roomkey: Cli, tables: Any, what: tuple[str, str]) -> None:
    roomkey("user", "add", "ada", "--password-stdin", stdin=PASSWORD)
    tables.log_in()
    assert tables.logins() == ["s1"]
    assert roomkey("token", "revoke", *what).code == 0
    assert tables.logins() == []


@pytest.mark.parametrize(
    ("options", "roles", "rooms", "said"),
    [
        (("--room", "green", "--room", "blue"), ("admin",), ("green", "blue"), "roles admin and rooms green, blue"),
        (("--role", "guest"), ("guest",), ("red",), "roles guest and rooms red"),
        (("--no-roles",), (), ("red",), "no roles and rooms red"),
        (("--no-rooms", "--role", "guest"), ("guest",), (), "roles guest and no rooms"),
    ],
)
def test_set_replaces_rights(
    roomkey: Cli, tables: Any, options: tuple[str, ...], roles: tuple[str, ...], rooms: tuple[str, ...], said: str
) -> None:
    tables.add_account("ada", roles=("admin",), rooms=("red",))
    ran = roomkey("user", "set", "ada", *options)
    assert (ran.code, ran.err) == (0, "")
    first, then = ran.out.splitlines()
    assert first == f"ada has {said}"
    assert "within a second" in then
    (kept,) = tables.revocations()
    assert (kept.kind, kept.name) == ("rights", "ada")
    assert {name: tuple(names) for name, names in kept.rights.items()}.items() <= {
        "roles": roles,
        "rooms": rooms,
    }.items()
    account = tables.account("ada")
    assert (account.roles, account.rooms) == (roles, rooms)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("ada",), 2, "nothing to replace; use --role, --no-roles, --room or --no-rooms"),
        (("ada", "--role", "x", "--no-roles"), 2, "use either"),
        (("ada", "--room", "x", "--no-rooms", "--role", "x"), 2, "use either"),
        (("ada", "--room", "two words"), 1, "use only visible characters"),
        (("ada", "--room", "x", "--role", ""), 1, "use 1 to 150 characters"),
        (("nobody", "--no-rooms"), 1, "no account 'nobody'; list the accounts with `roomkey user list`"),
    ],
)
def test_set_with_wrong_usage_changes_nothing(
    roomkey: Cli, tables: Any, arguments: tuple[str, ...], code: int, said: str
) -> None:
    tables.add_account("ada", roles=("admin",), rooms=("red",))
    ran = roomkey("user", "set", *arguments)
    assert (ran.code, ran.out, ran.err.count("\n")) == (code, "", 1)
    assert said in ran.err
    account = tables.account("ada")
    assert (account.roles, account.rooms) == (("admin",), ("red",))


def test_user_list_fits_into_80_columns(roomkey: Cli, tables: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    rooms = tuple(f"team:{number}" for number in range(20))
    for name in ("ada", "x" * 60):
        tables.add_account(name, roles=("moderator",), rooms=rooms)
    listed = roomkey("user", "list").out
    assert max(map(len, listed.splitlines())) <= 80
    assert "…" not in listed
    assert listed.count("x") == 60
    for word in ("ada", "moderator", *(f"{room}," for room in rooms[:-1]), rooms[-1]):
        assert word in listed
    assert "name" not in listed.split(), "a column without a value"
    assert json.loads(roomkey("user", "list", "--json").out)[0]["name"] == ""


def test_accounts_can_be_kept_in_postgresql(
    roomkey: Cli, postgres: Any, monkeypatch: pytest.MonkeyPatch, here: Path
) -> None:
    monkeypatch.setenv("ROOMKEY_DATABASE", postgres.database())
    assert "no accounts in postgresql:///test" in roomkey("doctor").out
    assert roomkey("user", "add", "ada", "--room", "red", "--password-stdin", stdin=PASSWORD).code == 0
    assert roomkey("user", "disable", "ada").code == 0
    (row,) = json.loads(roomkey("user", "list", "--json").out)
    assert (row["username"], row["rooms"], row["disabled"]) == ("ada", ["red"], True)
    assert "ok    1 account(s) in postgresql:///test" in roomkey("doctor").out
    assert list(here.iterdir()) == []


def test_database_option_takes_precedence_over_the_file(roomkey: Cli, here: Path, tables: Any) -> None:
    (here / "roomkey.toml").write_text('database = "other.sqlite3"\n')
    roomkey("user", "add", "ada", "--password-stdin", stdin=PASSWORD)
    assert tables.at(here / "other.sqlite3").account("ada") is not None
    assert "no accounts yet" in roomkey("user", "list", "--database", "third.sqlite3").err


PROVIDERS = """
[providers.sso]
issuer = "https://sso.example"
client_id = "chat"
login = true
"""


def test_user_of_a_provider_can_be_linked_and_unlinked(roomkey: Cli, here: Path, tables: Any) -> None:
    (here / "roomkey.toml").write_text(PROVIDERS)
    assert roomkey("user", "add", "ada", "--no-password").code == 0
    assert tables.account("ada").password_hash == ""
    named = ("--provider", "sso", "--subject", "auth0|5f7c")
    linked = roomkey("user", "link", "ada", *named)
    assert (linked.code, linked.out) == (0, "linked auth0|5f7c of sso to ada\n")
    [row] = json.loads(roomkey("user", "links", "--json").out)
    assert row == {"username": "ada", "issuer": "https://sso.example", "subject": "auth0|5f7c"}

    assert roomkey("user", "unlink", *named).code == 0
    assert json.loads(roomkey("user", "links", "--json").out) == []
    [revoked] = tables.revocations()
    assert (revoked.kind, revoked.name, revoked.issuer) == ("subject", "sso:auth0|5f7c", "https://sso.example")


def test_link_that_cannot_be_is_one_line(roomkey: Cli, here: Path, tables: Any) -> None:
    (here / "roomkey.toml").write_text(PROVIDERS)
    for name in ("ada", "grace"):
        assert roomkey("user", "add", name, "--no-password").code == 0
    named = ("--provider", "sso", "--subject", "1")
    assert roomkey("user", "link", "ada", *named).code == 0
    for arguments, said in [
        (("link", "grace", *named), "already linked to 'ada'"),
        (("link", "nobody", *named), "no account 'nobody'"),
        (("link", "ada", "--provider", "other", "--subject", "1"), "no table [providers.other]"),
        (("unlink", "--provider", "sso", "--subject", "2"), "'2' of sso has no link"),
        (("link", "ada", "--provider", "sso", "--subject", "a\nb"), "invalid issuer or subject"),
    ]:
        ran = roomkey("user", *arguments)
        assert (ran.code, ran.out, ran.err.count("\n"), said in ran.err) == (1, "", 1, True), (arguments, ran)
