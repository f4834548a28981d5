"""Passwords: hashed with Argon2id (RFC 9106), off the event loop, a few at a time."""

from __future__ import annotations

import asyncio
import secrets
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from roomkey.errors import ConfigError, Unavailable

__all__ = ["MAX_PASSWORD_BYTES", "MIN_PASSWORD_LENGTH", "Passwords", "check_new_password"]

MAX_PASSWORD_BYTES = 1024
MIN_PASSWORD_LENGTH = 8  # NIST SP 800-63B section 3.1.1.2

_Result = TypeVar("_Result")


def check_new_password(password: str) -> str:
    """A password for a new account, if it is long enough to be one and short enough to be hashed.

    Returns:
        The password, unchanged.

    Raises:
        ConfigError: too short, too long, or not text; the error never shows it.
    """
    if len(password) < MIN_PASSWORD_LENGTH:
        raise ConfigError(f"a password has at least {MIN_PASSWORD_LENGTH} characters")
    if _prepared(password) is None:
        raise ConfigError(f"a password has at most {MAX_PASSWORD_BYTES} bytes of Unicode text")
    return password


class Passwords:
    """Hashes and checks passwords.

    One hash takes tens of milliseconds and 64 MiB, so that a thief of the database pays for each guess. Therefore
    only ``at_once`` run together, in threads, and at most ``waiting`` more stand in line: a storm of logins costs
    logins, never the open sockets of the same process.

    Args:
        at_once: how many are hashed at the same time.
        waiting: how many may wait for their turn.
        hasher: Argon2id with its cost; the low-memory choice of RFC 9106 section 4 if absent.
    """

    def __init__(self, *, at_once: int = 2, waiting: int = 64, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher if hasher is not None else PasswordHasher()
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="roomkey-password")
        self._most = at_once + waiting
        self._running = 0
        self._nobody = self._hasher.hash(secrets.token_bytes(16))

    async def hash(self, password: str) -> str:
        """The hash to keep of a new password.

        Raises:
            ConfigError: as :func:`check_new_password`.
            Unavailable: too many are waiting already.
        """
        return await self._in_thread(self._hash, check_new_password(password))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether this is the password.

        Args:
            password_hash: as :meth:`hash` made it. None (nobody of this name) takes as long and is never true, so
                that the time of the answer does not tell which names exist.
            password: as it was typed; one of more than 1024 bytes is wrong without being hashed.

        Raises:
            Unavailable: too many are waiting already.
        """
        return await self._in_thread(self._verify, password_hash, password)

    def matches(self, password_hash: str, typed: bytes) -> bool:
        """Whether this is the password, within a thread; override it to know other hashes than Argon2id, too.

        Args:
            password_hash: as it was kept.
            typed: at most 1024 bytes of UTF-8.
        """
        try:
            return self._hasher.verify(password_hash, typed)
        except (VerificationError, InvalidHashError):
            return False

    def is_weak(self, password_hash: str) -> bool:
        """True if a hash was made in another way than today's, so that it is to be made anew at the next login."""
        try:
            return self._hasher.check_needs_rehash(password_hash)
        except InvalidHashError:
            return False

    async def _in_thread(self, function: Callable[..., _Result], *args: object) -> _Result:
        if self._running >= self._most:
            raise Unavailable(f"{self._running} passwords are being hashed or waiting for it")
        self._running += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)
        finally:
            self._running -= 1

    def _hash(self, password: str) -> str:
        return self._hasher.hash(_prepared(password) or b"")

    def _verify(self, password_hash: str | None, password: str) -> bool:
        typed = _prepared(password)
        return typed is not None and self.matches(password_hash or self._nobody, typed) and password_hash is not None

    def close(self) -> None:
        """End the threads, when what they are at is done."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _prepared(password: str) -> bytes | None:
    """The bytes to hash, or None if they cannot be a password.

    One form of Unicode (NFC) for all: the same letters, typed on two systems, must be the same password.
    """
    # Before normalizing, which takes time in proportion to the length.
    if len(password) > MAX_PASSWORD_BYTES:
        return None
    try:
        data = unicodedata.normalize("NFC", password).encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return None
    return data if len(data) <= MAX_PASSWORD_BYTES else None
