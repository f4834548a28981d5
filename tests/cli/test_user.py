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

from roomkey.auth.passwords import Passwords
from roomkey.core.revocations import Revocation
from roomkey.stores.accounts import Account, SqlAccounts
from roomkey.stores.sessions import LoginSession, SqlSessions
from roomkey.stores.sql_revocations import SqlRevocations

Cli = Callable[..., Any]
PASSWORD = "correct horse battery"


def stored(here: Path, username: str, database: str = "roomkey.sqlite3") -> Account | None:
    async def find() -> Account | None:
        accounts = SqlAccounts(here / database)
        await accounts.open()
        found = await accounts.find(username)
        await accounts.close()
        return found

    return asyncio.run(find())


def test_add_list_and_change(roomkey: Cli, here: Path) -> None:
    arguments = ("user", "add", "ada", "--role", "admin", "--room", "red", "--room", "blue", "--password-stdin")
    added = roomkey(*arguments, stdin=PASSWORD + "\n")
    assert (added.code, added.out) == (0, "added ada\n")
    account = stored(here, "ada")
    assert account is not None
    assert (account.roles, account.rooms, account.disabled) == (("admin",), ("red", "blue"), False)
    assert asyncio.run(Passwords().verify(account.password_hash, PASSWORD))
    assert stat.S_IMODE((here / "roomkey.sqlite3").stat().st_mode) == 0o600

    listed = roomkey("user", "list")
    assert "ada" in listed.out
    assert "argon2" not in listed.out
    (row,) = json.loads(roomkey("user", "list", "--json").out)
    assert (row["username"], row["rooms"], row["disabled"]) == ("ada", ["red", "blue"], False)

    disabled = roomkey("user", "disable", "ada")
    assert (disabled.code, "running servers end the sockets" in disabled.out) == (0, True)
    assert (stored(here, "ada") or account).disabled
    assert roomkey("user", "enable", "ada").code == 0
    assert roomkey("user", "passwd", "ada", "--password-stdin", stdin="another password").code == 0
    changed = stored(here, "ada")
    assert changed is not None
    assert not changed.disabled
    assert asyncio.run(Passwords().verify(changed.password_hash, "another password"))


def test_mistakes_are_one_line_without_the_password(roomkey: Cli) -> None:
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
    assert (short.code, short.err) == (1, "a password has at least 8 characters\n")


def test_no_password_on_the_command_line(roomkey: Cli) -> None:
    assert roomkey("user", "add", "ada", "--password", PASSWORD).code == 2
    nobody_to_ask = roomkey("user", "add", "ada")
    assert (nobody_to_ask.code, "--password-stdin" in nobody_to_ask.err) == (2, True)


@pytest.mark.parametrize("command", [("disable", "ada"), ("passwd", "ada", "--password-stdin")])
def test_who_is_disabled_or_has_a_new_password_is_revoked(roomkey: Cli, here: Path, command: tuple[str, ...]) -> None:
    (here / "roomkey.toml").write_text('issuer = "hotel"\n')
    roomkey("user", "add", "ada", "--password-stdin", stdin=PASSWORD)
    before = time.time()
    asyncio.run(log_in(here))
    assert roomkey("user", *command, stdin=PASSWORD).code == 0

    async def read() -> list[Revocation]:
        store = SqlRevocations(here / "roomkey.sqlite3")
        await store.open()
        found, _ = await store.since(0)
        await store.close()
        return list(found)

    kept, its_login = asyncio.run(read())
    assert (its_login.kind, its_login.name, its_login.issuer) == ("session", "s1", "hotel")
    assert (kept.kind, kept.name, kept.issuer) == ("subject", "ada", "hotel")
    assert before <= kept.issued_before <= time.time()
    assert kept.expires_at == pytest.approx(kept.issued_before + 7 * 86400)
    assert asyncio.run(logins_of(here)) == []


@pytest.mark.parametrize("what", [("--subject", "ada"), ("--session-id", "s1")])
def test_a_revoked_login_is_refreshed_no_more(roomkey: Cli, here: Path, what: tuple[str, str]) -> None:
    roomkey("user", "add", "ada", "--password-stdin", stdin=PASSWORD)
    asyncio.run(log_in(here))
    assert asyncio.run(logins_of(here)) == ["s1"]
    assert roomkey("token", "revoke", *what).code == 0
    assert asyncio.run(logins_of(here)) == []


async def log_in(here: Path) -> None:
    sessions, now = SqlSessions(here / "roomkey.sqlite3"), int(time.time())
    await sessions.begin(LoginSession("s1", "ada", "roomkey", now, now, now + 3600), "0" * 64)
    await sessions.close()


async def logins_of(here: Path) -> list[str]:
    sessions = SqlSessions(here / "roomkey.sqlite3")
    found = [session.session_id for session in await sessions.of("ada", int(time.time()))]
    await sessions.close()
    return found


def test_accounts_in_postgresql(roomkey: Cli, postgres: Any, monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    monkeypatch.setenv("ROOMKEY_DATABASE", postgres.database())
    assert "no account in postgresql:///test" in roomkey("doctor").out
    assert roomkey("user", "add", "ada", "--room", "red", "--password-stdin", stdin=PASSWORD).code == 0
    assert roomkey("user", "disable", "ada").code == 0
    (row,) = json.loads(roomkey("user", "list", "--json").out)
    assert (row["username"], row["rooms"], row["disabled"]) == ("ada", ["red"], True)
    assert "ok    1 account(s) in postgresql:///test" in roomkey("doctor").out
    assert list(here.iterdir()) == []


def test_another_database(roomkey: Cli, here: Path) -> None:
    (here / "roomkey.toml").write_text('database = "other.sqlite3"\n')
    roomkey("user", "add", "ada", "--password-stdin", stdin=PASSWORD)
    assert stored(here, "ada", "other.sqlite3") is not None
    assert "no accounts yet" in roomkey("user", "list", "--database", "third.sqlite3").err
