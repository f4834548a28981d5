"""Accounts in memory, in real SQLite files and in a real PostgreSQL."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from roomkey.errors import ConfigError
from roomkey.stores import Account, AccountExists, AccountNotFound, SqlAccounts
from roomkey.stores.records import check_name

ADA = Account("ada", "$argon2id$hash", roles=("admin",), rooms=("red", "blue"))


@pytest.fixture(params=["file", "memory", "postgresql"])
async def accounts(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlAccounts]:
    places: dict[str, Callable[[], Path | str | None]] = {
        "file": lambda: tmp_path / "accounts.sqlite3",
        "memory": lambda: None,
        "postgresql": lambda: request.getfixturevalue("postgres").database(),
    }
    opened = SqlAccounts(places[request.param](), clock=lambda: 1_700_000_000.9)
    await opened.open()
    yield opened
    await opened.close()


async def test_added_account_is_found(accounts: SqlAccounts) -> None:
    await accounts.add(ADA)
    found = await accounts.find("ada")
    assert found == Account("ada", "$argon2id$hash", ("admin",), ("red", "blue"), False, 1_700_000_000)


@pytest.mark.parametrize("name", ["", "Ada", "ada ", "grace", "ada' OR '1'='1", "ada\x00", "ada\ud800", "a" * 100_000])
async def test_only_the_exact_name_is_found(accounts: SqlAccounts, name: str) -> None:
    await accounts.add(ADA)
    assert await accounts.find(name) is None


async def test_name_can_be_added_once(accounts: SqlAccounts) -> None:
    await accounts.add(ADA)
    with pytest.raises(AccountExists, match="ada already"):
        await accounts.add(Account("ada", "other"))
    assert (await accounts.find("ada") or ADA).password_hash == ADA.password_hash


async def test_password_and_disabled_can_be_changed(accounts: SqlAccounts) -> None:
    await accounts.add(ADA)
    await accounts.add(Account("grace", "hers"))
    await accounts.set_password("ada", "new")
    await accounts.set_disabled("ada", True)
    changed = await accounts.find("ada")
    assert changed is not None
    assert (changed.password_hash, changed.disabled, changed.roles) == ("new", True, ("admin",))
    other = await accounts.find("grace")
    assert other is not None
    assert (other.password_hash, other.disabled) == ("hers", False)
    await accounts.set_disabled("ada", False)
    assert (await accounts.find("ada") or ADA).disabled is False


async def test_unknown_account_raises(accounts: SqlAccounts) -> None:
    with pytest.raises(AccountNotFound, match="roomkey user list"):
        await accounts.set_password("nobody", "x")
    with pytest.raises(AccountNotFound):
        await accounts.set_disabled("nobody", True)


async def test_created_at_is_kept_if_given(accounts: SqlAccounts) -> None:
    after_2038 = 2**31 + 5
    await accounts.add(Account("ada", "x", created_at=after_2038))
    assert (await accounts.find("ada") or ADA).created_at == after_2038


async def test_accounts_are_listed_by_name(accounts: SqlAccounts) -> None:
    for name in ("linus", "ada", "grace"):
        await accounts.add(Account(name, "x"))
    assert [one.username for one in await accounts.all()] == ["ada", "grace", "linus"]


def test_hash_is_not_in_the_repr() -> None:
    assert "argon2" not in repr(ADA)


@pytest.mark.parametrize(
    "name", ["", "a" * 151, "two words", "tab\t", "new\nline", "nul\x00", "\u202eada", "ﬁne", "e\u0301", "\ud800"]
)
def test_names_that_could_be_mistaken_are_rejected(name: str) -> None:
    with pytest.raises(ConfigError):
        check_name(name)


@pytest.mark.parametrize("name", ["ada", "ada@example.org", "zoë", "李", "a" * 150, "team:red"])
def test_names_of_users_and_rooms_are_accepted(name: str) -> None:
    assert check_name(name) == name


async def test_roles_and_rooms_are_checked(accounts: SqlAccounts) -> None:
    with pytest.raises(ConfigError, match="role"):
        await accounts.add(Account("ada", "x", roles=("admin ",)))
    with pytest.raises(ConfigError, match="room"):
        await accounts.add(Account("ada", "x", rooms=("",)))


async def test_file_is_private_and_survives(tmp_path: Path) -> None:
    path = tmp_path / "accounts.sqlite3"
    first = SqlAccounts(path)
    await first.open()
    await first.add(ADA)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    await first.close()
    assert set(modes.values()) == {0o600}, modes
    second = SqlAccounts(path)
    await second.open()
    assert await second.find("ada") is not None
    await second.close()


async def test_command_line_can_write_while_the_server_reads(tmp_path: Path) -> None:
    server, command = SqlAccounts(tmp_path / "a.sqlite3"), SqlAccounts(tmp_path / "a.sqlite3")
    await server.open()
    await command.open()
    await asyncio.gather(
        *(command.add(Account(f"user{number}", "x")) for number in range(20)),
        *(server.find("user1") for _ in range(20)),
        *(server.add(Account(f"other{number}", "x")) for number in range(20)),
    )
    assert len(await server.all()) == 40
    await server.close()
    await command.close()
    with sqlite3.connect(tmp_path / "a.sqlite3") as raw:
        assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_invalid_database_raises(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite3").write_text("this is not a database, it is a text of some length" * 100)
    broken = SqlAccounts(tmp_path / "a.sqlite3")
    with pytest.raises(ConfigError, match="cannot use the database"):
        await broken.open()
    await broken.close()
    with pytest.raises(ConfigError, match="cannot open the database"):
        await SqlAccounts(tmp_path / "nowhere" / "a.sqlite3").open()
