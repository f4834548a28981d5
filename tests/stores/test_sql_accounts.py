"""What only the SQL store of accounts does."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from pathlib import Path

import pytest

from roomkey.errors import ConfigError
from roomkey.stores import Account, SqlAccounts

ADA = Account("ada", "$argon2id$hash", roles=("admin",), rooms=("red", "blue"))


async def test_clock_dates_new_accounts() -> None:
    accounts = SqlAccounts(clock=lambda: 1_700_000_000.9)
    await accounts.add(ADA)
    assert (await accounts.find("ada") or ADA).created_at == 1_700_000_000
    await accounts.close()


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
