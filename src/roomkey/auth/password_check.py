"""Is this the password of this account: slowed down, bounded, and saying only yes or no."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace

from roomkey import audit
from roomkey.auth.issued_tokens import InvalidGrant, Origin
from roomkey.auth.passwords import Passwords
from roomkey.auth.throttle import Throttle
from roomkey.errors import ConfigError, Unavailable
from roomkey.stores.accounts import Account, AccountNotFound, Accounts

__all__ = ["PasswordCheck", "record_login"]

MOST_WAITING = 64
"""Logins that wait for others of their account or address; one more is told to try again."""


class PasswordCheck:
    """Checks passwords of accounts.

    Args:
        accounts: who may log in.
        passwords: how passwords are checked.
    """

    def __init__(self, accounts: Accounts, passwords: Passwords) -> None:
        self.throttle = Throttle()
        self._decided = asyncio.Event()
        self._waiting = 0
        self._accounts = accounts
        self._passwords = passwords

    async def check(self, username: str, password: str, origin: Origin) -> Account:
        """The account, if name and password are right; the same refusal, as late, for every way in which they are not.

        That takes its time, in which the account may change: whoever makes tokens looks at it again afterwards, as
        :meth:`roomkey.auth.logins.LoginService.begin` does.

        Raises:
            InvalidGrant: they are not.
            Throttled: too many were wrong from there.
            Unavailable: too many passwords are being checked at once, or the accounts are out of reach.
        """
        address = origin.address
        await self._turn(username, address)
        self.throttle.check(username, address, time.monotonic())
        self.throttle.begin(username, address, time.monotonic())
        try:
            account = await self._accounts.find(username)
            right = await self._passwords.verify(account.password_hash if account else None, password)
        except Exception:  # nobody has looked at the password: it was neither right nor wrong
            self.throttle.withdraw(username, address)
            raise
        except BaseException:  # whoever asked has left: that is no way around the delays
            self.throttle.failed(username, address, time.monotonic())
            raise
        else:
            if account is None or account.disabled or not right:
                self.throttle.failed(username, address, time.monotonic())
            else:
                self.throttle.succeeded(username, address)
        finally:
            self._decided.set()
            self._decided = asyncio.Event()
        if account is None or account.disabled or not right:
            reason = "no such user" if account is None else "disabled" if account.disabled else "wrong password"
            # An unknown name is not written down: people type their password into the wrong field.
            record_login("refused", account.username if account else None, origin, reason)
            raise InvalidGrant(reason)
        return await self._strengthen(account, password)

    async def _turn(self, username: str, address: str) -> None:
        """Wait while others' attempts could make this one too many: several right ones at once are no attack.

        Raises:
            Unavailable: too many are waiting already.
        """
        while self.throttle.is_undecided(username, address, time.monotonic()):
            if self._waiting >= MOST_WAITING:
                raise Unavailable(f"{self._waiting} logins already wait for others of the same account or address")
            self._waiting += 1
            try:
                await self._decided.wait()
            finally:
                self._waiting -= 1

    async def _strengthen(self, account: Account, password: str) -> Account:
        """A hash made with weaker parameters than today's is replaced while the password is at hand."""
        if not self._passwords.is_weak(account.password_hash):
            return account
        try:
            stronger = await self._passwords.hash(password)
            now = await self._accounts.find(account.username)
            if now is None or now.password_hash != account.password_hash:
                return account  # or a new password would become the old one again
            await self._accounts.set_password(account.username, stronger)
        except (AccountNotFound, ConfigError, Unavailable):  # gone, too short for today's rules, or no time: as it was
            return account
        return replace(account, password_hash=stronger)


def record_login(outcome: str, subject: str | None, origin: Origin, reason: str) -> None:
    """Write down what became of an attempt to log in or to refresh."""
    level = logging.INFO if outcome == "granted" else logging.WARNING
    audit.record("login", level=level, outcome=outcome, sub=subject, reason=reason, address=origin.address)
