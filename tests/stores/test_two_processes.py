"""Two processes on one database: what can be used once is used once, whichever process is asked first."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from subprocess import PIPE

import pytest
from support.rawsocket import PATIENCE

from roomkey.stores import LoginSession, Stores

NOW = 1_800_000_000
VALUES = 40
LATER = NOW + 3600

PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from roomkey.stores import RotationResult, Stores

NOW, VALUES = 1_800_000_000, 40

async def use(stores, kind, name):
    if kind == "refresh":
        return await stores.sessions.rotate(name, f"{name}-next", NOW, 0) is RotationResult.ROTATED
    if kind in ("logout", "proof"):
        return await stores.single_use.add_once(kind, name, NOW + 60)
    return not (await stores.single_use.consume(kind, name, NOW)).already_used

async def main(where):
    async with Stores.at(where if "://" in where else Path(where)) as stores:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        numbers = range(VALUES) if sys.argv[2] == "forwards" else reversed(range(VALUES))
        names = [(kind, f"{kind}{number}") for number in numbers for kind in sys.argv[3:]]
        print(json.dumps([name for kind, name in names if await use(stores, kind, name)]), flush=True)

asyncio.run(main(sys.argv[1]))
"""

KINDS = ("ticket", "code", "logout", "proof", "refresh")


async def fill(where: str | Path) -> None:
    async with Stores.at(where) as stores:
        for number in range(VALUES):
            await stores.single_use.store("ticket", f"ticket{number}", {}, LATER)
            await stores.single_use.store("code", f"code{number}", {}, LATER)
            session = LoginSession(f"s{number}", "ada", "roomkey", NOW, NOW, LATER)
            await stores.sessions.add(session, f"refresh{number}")


@pytest.mark.long
async def test_two_processes_use_each_value_once(where: str | Path) -> None:
    """They begin at different ends, so that each is the first for some values, and they meet in the middle."""
    await fill(where)
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", PROGRAM, str(where), order, *KINDS], stdin=PIPE, stdout=PIPE, text=True
                )
            )
            for order in ("forwards", "backwards")
        ]
        pipes = [(process.stdin, process.stdout) for process in processes]
        for _, output in pipes:
            assert output is not None
            assert output.readline() == "ready\n"
        for given, _ in pipes:
            assert given is not None
            given.write("\n")
            given.flush()
        won = [json.loads(process.communicate(timeout=PATIENCE)[0]) for process in processes]
    assert Counter(name for names in won for name in names) == Counter(
        f"{kind}{number}" for kind in KINDS for number in range(VALUES)
    )
    assert all(won), "one process did everything before the other began"
