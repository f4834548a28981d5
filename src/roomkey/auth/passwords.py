"""Password hashing with Argon2id (RFC 9106), in a few threads (internal; import from :mod:`roomkey.auth`)."""

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
    """Check the length of a new password.

    Returns:
        The password, unchanged.

    Raises:
        ConfigError: the password is too short, too long, or not valid Unicode; the error never contains it.
    """
    if len(password) < MIN_PASSWORD_LENGTH:
        raise ConfigError(f"invalid password; use at least {MIN_PASSWORD_LENGTH} characters")
    if _prepared(password) is None:
        raise ConfigError(f"invalid password; use at most {MAX_PASSWORD_BYTES} bytes of Unicode text")
    return password


class Passwords:
    """Hashes and verifies passwords.

    One hash takes tens of milliseconds and 64 MiB, so that guessing is expensive for a thief of the database. Only
    ``at_once`` run in parallel, in threads, and at most ``waiting`` more wait: a storm of logins delays other logins,
    but not the connected sockets of the same process.

    Args:
        at_once: the greatest number of passwords that are hashed in parallel.
        waiting: the greatest number of passwords that wait.
        hasher: Argon2id with its parameters. Default: the low-memory choice of RFC 9106 section 4.
    """

    def __init__(self, *, at_once: int = 2, waiting: int = 64, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher if hasher is not None else PasswordHasher()
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="roomkey-password")
        self._limit = at_once + waiting
        self._running = 0
        self._dummy_hash = self._hasher.hash(secrets.token_bytes(16))

    async def hash(self, password: str) -> str:
        """Return the hash of a new password.

        Raises:
            ConfigError: as :func:`check_new_password`.
            Unavailable: too many passwords wait already.
        """
        return await self._in_thread(self._hash, check_new_password(password))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Return True if this is the password.

        Args:
            password_hash: as :meth:`hash` returned it. None (no such account) and an empty string (no password) take
                as long and are never true, so that the response time does not reveal which names exist.
            password: as the user typed it. More than 1024 bytes are wrong without being hashed.

        Raises:
            Unavailable: too many passwords wait already.
        """
        return await self._in_thread(self._verify, password_hash, password)

    def matches(self, password_hash: str, typed: bytes) -> bool:
        """Return True if this is the password. It runs in a thread. Override it to also accept other hashes.

        Args:
            password_hash: the stored hash.
            typed: the password, at most 1024 bytes of UTF-8.
        """
        try:
            return self._hasher.verify(password_hash, typed)
        except (VerificationError, InvalidHashError):
            return False

    def is_weak(self, password_hash: str) -> bool:
        """Return True if a hash has other parameters than today's, so that the next login replaces it."""
        try:
            return self._hasher.check_needs_rehash(password_hash)
        except InvalidHashError:
            return False

    async def _in_thread(self, function: Callable[..., _Result], *args: object) -> _Result:
        if self._running >= self._limit:
            raise Unavailable(f"{self._running} passwords are already being hashed or waiting")
        self._running += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)
        finally:
            self._running -= 1

    def _hash(self, password: str) -> str:
        return self._hasher.hash(_prepared(password) or b"")

    def _verify(self, password_hash: str | None, password: str) -> bool:
        typed = _prepared(password)
        return typed is not None and self.matches(password_hash or self._dummy_hash, typed) and bool(password_hash)

    def close(self) -> None:
        """Stop the threads when their current work is done."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _prepared(password: str) -> bytes | None:
    """Return the bytes to hash, or None if they cannot be a password.

    They are in Unicode form NFC: the same letters, typed on two systems, must be the same password.
    """
    # Check the length first: normalizing takes time in proportion to it.
    if len(password) > MAX_PASSWORD_BYTES:
        return None
    try:
        data = unicodedata.normalize("NFC", password).encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return None
    return data if len(data) <= MAX_PASSWORD_BYTES else None
