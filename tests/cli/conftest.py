"""Run the command line in this process, in an empty folder."""

from __future__ import annotations

import asyncio
import io
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from roomkey.cli import main
from roomkey.core.revocations import Revocation
from roomkey.stores import Account, Client, LoginSession, SqlAccounts, SqlClients, SqlRevocations, SqlSessions


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


class Tables:
    """What a database holds."""

    def __init__(self, where: Path | str) -> None:
        self.where = where

    def at(self, where: Path | str) -> Tables:
        return Tables(where)

    def add_account(self, username: str, *, roles: tuple[str, ...] = (), rooms: tuple[str, ...] = ()) -> None:
        """One that nobody can log in to: a password takes a while to hash."""
        self._ask(SqlAccounts, lambda accounts: accounts.add(Account(username, "no hash", roles, rooms)))

    def account(self, username: str) -> Account | None:
        return self._ask(SqlAccounts, lambda accounts: accounts.find(username))

    def add_client(self, client: Client) -> None:
        self._ask(SqlClients, lambda clients: clients.add(client))

    def client(self, client_id: str) -> Client | None:
        return self._ask(SqlClients, lambda clients: clients.find(client_id))

    def revocations(self) -> list[Revocation]:
        return list(self._ask(SqlRevocations, lambda journal: journal.since(0))[0])

    def log_in(self, session_id: str = "s1", *, subject: str = "ada", client_id: str = "roomkey") -> None:
        now = int(time.time())
        login = LoginSession(session_id, subject, client_id, now, now, now + 3600)
        self._ask(SqlSessions, lambda sessions: sessions.add(login, session_id.ljust(64, "0")))

    def logins(self, subject: str = "ada") -> list[str]:
        found = self._ask(SqlSessions, lambda sessions: sessions.list_for(subject, int(time.time())))
        return sorted(login.session_id for login in found)

    def _ask(self, store: type[Any], question: Callable[[Any], Awaitable[Any]]) -> Any:
        async def ask() -> Any:
            made = store(self.where)
            try:
                return await question(made)
            finally:
                await made.close()

        return asyncio.run(ask())


@pytest.fixture
def tables(here: Path) -> Tables:
    """Of the database that the defaults name."""
    return Tables(here / "roomkey.sqlite3")


@pytest.fixture
def roomkey(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    def run(*arguments: str, stdin: str = "") -> Ran:
        monkeypatch.setattr(sys, "argv", ["roomkey", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as stopped:
            main()
        code = stopped.value.code
        assert code is None or isinstance(code, int), code
        return Ran(code or 0, *capsys.readouterr())

    return run
