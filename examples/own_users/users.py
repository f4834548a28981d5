"""Use a team's own user table as the accounts of the login server: two methods, without changing the table."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import sqlite3

from roomkey.auth import Passwords
from roomkey.stores import Account, AccountNotFound

TABLE = """
CREATE TABLE IF NOT EXISTS people (
    email TEXT PRIMARY KEY COLLATE NOCASE,
    full_name TEXT NOT NULL,
    password TEXT NOT NULL,
    is_staff INTEGER NOT NULL DEFAULT 0,
    team TEXT NOT NULL,
    is_active INTEGER NOT NULL DEFAULT 1
)
"""


class OwnUsers:
    """``roomkey.stores.Accounts`` over the table ``people``.

    Args:
        path: of the SQLite file.
    """

    def __init__(self, path: str) -> None:
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute(TABLE)
        self._one_at_a_time = asyncio.Lock()

    async def find(self, username: str) -> Account | None:
        """Return the account with this email address, in any letter case."""
        query = "SELECT email, password, is_staff, team, is_active, full_name FROM people WHERE email = ?"
        row = await self._run(query, username)
        if row is None:
            return None
        email, password, is_staff, team, is_active, full_name = row
        return Account(
            username=email,  # becomes the subject of tokens; find() receives it later
            password_hash=password,
            roles=("admin",) if is_staff else (),
            rooms=(f"team-{team}",),
            disabled=not is_active,
            name=full_name,
        )

    async def set_password(self, username: str, password_hash: str) -> None:
        """Replace the password hash."""
        change = "UPDATE people SET password = ? WHERE email = ? RETURNING email"
        if await self._run(change, password_hash, username) is None:
            raise AccountNotFound(username)

    async def _run(self, statement: str, *values: str) -> tuple | None:
        async with self._one_at_a_time:
            return await asyncio.to_thread(lambda: self._database.execute(statement, values).fetchone())


class OwnPasswords(Passwords):
    """Verify hashes from Django (PBKDF2). The first login replaces each with an Argon2id hash."""

    def matches(self, password_hash: str, typed: bytes) -> bool:
        """Return True if this is the password."""
        if not password_hash.startswith("pbkdf2_sha256$"):
            return super().matches(password_hash, typed)
        _, iterations, salt, expected = password_hash.split("$")
        made = hashlib.pbkdf2_hmac("sha256", typed, salt.encode(), int(iterations))
        return hmac.compare_digest(made, base64.b64decode(expected))

    def is_weak(self, password_hash: str) -> bool:
        """Return True if the hash should be replaced."""
        return password_hash.startswith("pbkdf2_sha256$") or super().is_weak(password_hash)
