"""Measure the cost of the login server: ``python bench/login.py`` prints the numbers as JSON.

Logins, refreshes and introspections in one process without HTTP, on SQLite in a file; Argon2id with the default cost.
Then the time of the answer for a name that nobody has against a wrong password, 500 of each in turns: the medians, and
the Mann-Whitney rank test, whose p is the probability of such a difference between two of one kind.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from roomkey import Issuer, Key
from roomkey.auth import ClientInfo, InvalidGrant, LoginService, Passwords
from roomkey.auth.introspection import introspect
from roomkey.stores import Account, Client, Database, SqlAccounts, SqlSessions

PASSWORD = "correct horse battery"


async def rate(work: Callable[[int], Awaitable[object]], *, count: int, at_once: int) -> float:
    """Return how many finish per second, with ``at_once`` of them at the same time."""
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await work(number)

    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(at_once)))
    return count / (time.perf_counter() - started)


def rank_test(first: list[float], second: list[float]) -> float:
    """Return the two-sided p of the Mann-Whitney test, by its normal approximation (a clock's floats have no ties)."""
    ranked = sorted([(value, 0) for value in first] + [(value, 1) for value in second])
    ranks = sum(rank for rank, (_, which) in enumerate(ranked, 1) if which == 0)
    n, m = len(first), len(second)
    u = ranks - n * (n + 1) / 2
    z = (u - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
    return math.erfc(abs(z) / math.sqrt(2))


async def timing(logins: LoginService, samples: int) -> dict[str, object]:
    """Compare unknown names with wrong passwords, each from another address, so that nothing is throttled."""
    took: dict[str, list[float]] = {"wrong password": [], "unknown user": []}
    names = {"wrong password": "ada", "unknown user": "nobody"}
    for number in range(samples):
        for what in sorted(took, reverse=bool(number % 2)):
            came_from = ClientInfo(f"10.{number >> 8}.{number & 255}.1")
            started = time.perf_counter()
            try:
                await logins.login(names[what], "a wrong one", came_from)
            except InvalidGrant:
                took[what].append(time.perf_counter() - started)
    medians = {what: statistics.median(times) * 1000 for what, times in took.items()}
    wrong, unknown = medians["wrong password"], medians["unknown user"]
    return {
        "samples of each": samples,
        "median ms": {what: round(value, 3) for what, value in medians.items()},
        "difference of the medians %": round(100 * abs(wrong - unknown) / wrong, 2),
        "rank test p": round(rank_test(*took.values()), 3),
    }


async def main(samples: int) -> dict[str, object]:
    """Run all measurements once."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / "roomkey.sqlite3")
        accounts, passwords = SqlAccounts(database), Passwords()
        await database.open()
        await accounts.add(Account("ada", await passwords.hash(PASSWORD)))
        issuer = Issuer(Key.generate("ES256"), issuer="bench", audience="chat")
        logins = LoginService(accounts, SqlSessions(database), issuer, passwords=passwords)

        async def login(number: int) -> None:
            await logins.login("ada", PASSWORD, ClientInfo(f"10.0.0.{number % 250}"))

        found: dict[str, object] = {
            "logins per second, one after the other": round(await rate(login, count=50, at_once=1), 1),
            "logins per second, 8 at once": round(await rate(login, count=100, at_once=8), 1),
        }
        # At the end, because an account has a limited number of logins, and these must not be replaced.
        granted = await asyncio.gather(*(logins.login("ada", PASSWORD, ClientInfo(f"10.1.0.{n}")) for n in range(8)))
        waiting = [str(one.refresh_token) for one in granted]

        async def refresh(number: int) -> None:
            token = waiting.pop()
            waiting.append(str((await logins.refresh(token, ClientInfo())).refresh_token))

        gateway = Client("gateway", "0" * 64, grants=("client_credentials",))
        access = granted[0].access_token

        async def look_into(_number: int) -> None:
            if not (await introspect(logins, gateway, access)).active:
                raise RuntimeError("a good token is not active")

        found |= {
            "refreshes per second, one after the other": round(await rate(refresh, count=500, at_once=1)),
            "refreshes per second, 8 at once": round(await rate(refresh, count=1000, at_once=8)),
            "introspections per second, one after the other": round(await rate(look_into, count=2000, at_once=1)),
            "timing": await timing(logins, samples),
        }
        passwords.close()
        await database.close()
        return found


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--samples", type=int, default=500)
    print(json.dumps(asyncio.run(main(arguments.parse_args().samples)), indent=2))
