"""Password hashing: Argon2id, bounded, in threads."""

from __future__ import annotations

import asyncio
import threading

import pytest
from argon2 import PasswordHasher
from support.live import until

from roomkey.auth import Passwords
from roomkey.auth.passwords import MAX_PASSWORD_BYTES
from roomkey.errors import ConfigError, Unavailable

GOOD = "correct horse battery"


def cheap(**settings: int) -> Passwords:
    return Passwords(hasher=PasswordHasher(time_cost=1, memory_cost=8, parallelism=1), **settings)


async def test_hashed_password_verifies() -> None:
    passwords = cheap()
    hashed = await passwords.hash(GOOD)
    assert hashed.startswith("$argon2id$")
    assert GOOD not in hashed
    assert await passwords.verify(hashed, GOOD)
    assert not await passwords.verify(hashed, GOOD + " ")
    assert not await passwords.verify(hashed, "")
    assert hashed != await passwords.hash(GOOD), "each hash has a salt of its own"


def test_default_parameters_are_those_of_rfc_9106() -> None:
    hashed = asyncio.run(Passwords().hash(GOOD))
    assert hashed.startswith("$argon2id$v=19$m=65536,t=3,p=4$")


async def test_missing_or_malformed_hash_never_verifies() -> None:
    passwords = cheap()
    assert not await passwords.verify(None, GOOD)
    assert not await passwords.verify("not a hash", GOOD)
    assert not await passwords.verify("", GOOD)


@pytest.mark.checklist("G97")
@pytest.mark.parametrize(
    "password",
    ["x" * (MAX_PASSWORD_BYTES + 1), "é" * 513, "x" * 1_000_000, "half a \ud800 pair"],
    ids=["bytes", "letters", "megabyte", "surrogate"],
)
async def test_invalid_password_is_wrong_without_hashing_and_cannot_be_set(
    password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    passwords = cheap()
    hashed = await passwords.hash(GOOD)
    looked_at: list[bytes] = []
    monkeypatch.setattr(passwords, "matches", lambda _hash, typed: looked_at.append(typed))
    assert not await passwords.verify(hashed, password)
    assert looked_at == []
    with pytest.raises(ConfigError) as caught:
        await passwords.hash(password)
    assert password not in str(caught.value)


@pytest.mark.checklist("G97")
async def test_password_bytes_count_after_nul_and_beyond_72() -> None:
    passwords = cheap()
    hashed = await passwords.hash("a" * 100 + "\x00b")
    assert await passwords.verify(hashed, "a" * 100 + "\x00b")
    assert not await passwords.verify(hashed, "a" * 100 + "\x00c")
    assert not await passwords.verify(hashed, "a" * 100)


async def test_password_typed_on_two_systems_is_the_same() -> None:
    passwords = cheap()
    assert await passwords.verify(await passwords.hash("caf\u00e9 con leche"), "cafe\u0301 con leche")


async def test_short_password_cannot_be_set() -> None:
    with pytest.raises(ConfigError, match="at least 8"):
        await cheap().hash("1234567")


class Slow(PasswordHasher):
    """Counts how many passwords are hashed in parallel, and waits for a signal."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.go = threading.Event()
        self.now = self.most = 0

    def verify(self, hash: str | bytes, password: str | bytes) -> bool:  # type: ignore[override]
        self.now += 1
        self.most = max(self.most, self.now)
        self.go.wait(10)
        self.now -= 1
        return super().verify(hash, password)  # type: ignore[return-value]


@pytest.mark.checklist("G97")
async def test_password_hashing_is_bounded_in_concurrency_and_queue() -> None:
    slow = Slow()
    passwords = Passwords(at_once=2, waiting=3, hasher=slow)
    hashed = await passwords.hash(GOOD)
    tasks = [asyncio.create_task(passwords.verify(hashed, GOOD)) for _ in range(5)]
    await until(lambda: slow.now == 2)
    with pytest.raises(Unavailable):
        await passwords.verify(hashed, GOOD)
    slow.go.set()
    assert await asyncio.gather(*tasks) == [True] * 5
    assert slow.most == 2
    assert await passwords.verify(hashed, GOOD), "the line is open again"
    passwords.close()
