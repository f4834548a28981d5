"""Verification of passwords: throttled, bounded, and with one error for every failure (internal)."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace

from roomkey import audit
from roomkey.auth.issued_tokens import ClientInfo, InvalidGrant
from roomkey.auth.passwords import Passwords
from roomkey.auth.throttle import Throttle
from roomkey.errors import ConfigError, Unavailable
from roomkey.stores import Account, AccountNotFound, Accounts

__all__ = ["PasswordAuthenticator", "record_login"]

MAX_WAITING = 64
"""Logins that wait for others of their account or address. One more fails with Unavailable."""


class PasswordAuthenticator:
    """Verifies the passwords of accounts.

    Args:
        accounts: the users who can log in.
        passwords: verifies one password.
        throttle: delays attempts after wrong ones.
    """

    def __init__(self, accounts: Accounts, passwords: Passwords, throttle: Throttle) -> None:
        self._throttle = throttle
        self._decided = asyncio.Event()
        self._waiting = 0
        self._accounts = accounts
        self._passwords = passwords

    async def authenticate(self, username: str, password: str, info: ClientInfo) -> Account:
        """Return the account, if username and password are right. Every failure raises the same error as late.

        Meanwhile the account may change. Before you issue tokens, read it again, as
        :meth:`roomkey.auth.LoginService.start_session` does.

        Args:
            username: as the user typed it.
            password: as the user typed it.
            info: the client that asks.

        Raises:
            InvalidGrant: username or password are wrong, or the account is disabled.
            Throttled: too many attempts from this client, or for this account, were wrong.
            Unavailable: too many passwords are being verified, or the accounts are unavailable.
        """
        address = info.address
        await self._wait_for_turn(username, address)
        self._throttle.check(username, address, time.monotonic())
        self._throttle.begin(username, address, time.monotonic())
        try:
            account = await self._accounts.find(username)
            right = await self._passwords.verify(account.password_hash if account else None, password)
        except Exception:  # the password was not verified: the attempt counts as neither right nor wrong
            self._throttle.withdraw(username, address)
            raise
        except BaseException:  # the client disconnected: that must not avoid the delays
            self._throttle.failed(username, address, time.monotonic())
            raise
        else:
            if account is None or account.disabled or not right:
                self._throttle.failed(username, address, time.monotonic())
            else:
                self._throttle.succeeded(username, address)
        finally:
            self._decided.set()
            self._decided = asyncio.Event()
        if account is None or account.disabled or not right:
            reason = "no such user" if account is None else "disabled" if account.disabled else "wrong password"
            # An unknown name is not logged: users sometimes type their password into the wrong field.
            record_login("refused", account.username if account else None, info, reason)
            raise InvalidGrant(reason)
        return await self._rehash_if_weak(account, password)

    async def _wait_for_turn(self, username: str, address: str) -> None:
        """Wait while running attempts could put this one over a limit, because several correct attempts are not an
        attack.

        Raises:
            Unavailable: too many attempts wait already.
        """
        while self._throttle.is_undecided(username, address, time.monotonic()):
            if self._waiting >= MAX_WAITING:
                raise Unavailable(f"{self._waiting} logins already wait for others of the same account or address")
            self._waiting += 1
            try:
                await self._decided.wait()
            finally:
                self._waiting -= 1

    async def _rehash_if_weak(self, account: Account, password: str) -> Account:
        """Replace a hash with weaker parameters than today's while the password is available."""
        if not self._passwords.is_weak(account.password_hash):
            return account
        try:
            stronger = await self._passwords.hash(password)
            now = await self._accounts.find(account.username)
            if now is None or now.password_hash != account.password_hash:
                return account  # else this would undo a change of the password
            await self._accounts.set_password(account.username, stronger)
        except (AccountNotFound, ConfigError, Unavailable):  # keep the hash: removed account, short password, busy
            return account
        return replace(account, password_hash=stronger)


def record_login(outcome: str, subject: str | None, info: ClientInfo, reason: str) -> None:
    """Write the result of a login or a refresh to the audit log."""
    level = logging.INFO if outcome == "granted" else logging.WARNING
    audit.record("login", level=level, outcome=outcome, sub=subject, reason=reason, address=info.address)
