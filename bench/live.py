"""Measure the cost of enforcing tokens on connected sockets.

    python bench/live.py [deadlines] [lookups] [revoke]

``deadlines``: memory of 100 000 admissions with random expiries, and the processor time they use while nothing happens.
``lookups``: one look whether a token was revoked, among 100 000 revocations of each kind.
``revoke``: from the call to the closed socket, on a hub with 5 000 sockets in a process and on a core of its own; a
thousand sockets of one subject at once, too. Needs two cores.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import random
import statistics
import sys
import tempfile
import time
import timeit
import tracemalloc
from pathlib import Path
from subprocess import Popen
from types import MappingProxyType
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "socketio"))
import servers
from wire import Client, Swarm, frame

from roomkey import Identity, Issuer, Key, Verifier
from roomkey.core.admission import AdmissionState
from roomkey.core.credentials import Request
from roomkey.core.revocations import Revocation, Revocations
from roomkey.guard.guard import AsyncioGuard
from roomkey.guard.socket import ConnectionState, GuardedSocket
from roomkey.hub import Hub

ADMISSIONS, IDLE_SECONDS = 100_000, 10.0
REVOKED = 100_000
SOCKETS, CROWD, ROUNDS = 5000, 1000, 500


def identity(number: int, now: float) -> Identity:
    claims = {"sub": f"user-{number}", "sid": f"s-{number}", "exp": now + random.uniform(3600, 86400)}
    return Identity(
        f"user-{number}", claims=MappingProxyType(claims), expires_at=claims["exp"], session_id=f"s-{number}"
    )


class Nowhere:
    """A connection without a transport."""

    reopens = True

    async def refuse(self, namespace: str, message: str, data: object) -> None: ...

    def on_admitted(self) -> None: ...

    def close(self, code: int | None) -> None: ...


async def deadlines() -> dict[str, float]:
    guard = AsyncioGuard(Issuer.ephemeral(audience="chat").verifier(), user_rooms=False)
    now = time.time()
    people = [identity(number, now) for number in range(ADMISSIONS)]
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    sockets = []
    for number, who in enumerate(people):
        connection = ConnectionState(guard._context, "127.0.0.1", Request(), Nowhere())
        guard.index.open(connection)
        connection.sockets["/"] = socket = GuardedSocket(connection, "/", 1)
        socket.sid, socket.state = f"sid-{number:015}", AdmissionState.ADMITTED
        guard.index.sockets[socket.sid] = socket
        guard.index.identify(socket, who)
        sockets.append(socket)
    whole = tracemalloc.get_traced_memory()[0] - before
    for socket in sockets:
        guard._context.expiry.watch(socket.identity, socket.deadline_passed)
    gc.collect()
    alone = tracemalloc.get_traced_memory()[0] - before - whole
    tracemalloc.stop()
    used, started = time.process_time(), time.monotonic()
    await asyncio.sleep(IDLE_SECONDS)
    used = time.process_time() - used
    return {
        "admission_bytes": (whole + alone) / ADMISSIONS,
        "deadline_bytes": alone / ADMISSIONS,
        "idle_percent_of_a_core": 100 * used / (time.monotonic() - started),
    }


def lookups() -> dict[str, float]:
    revocations, now = Revocations(), time.time()
    for number in range(REVOKED):
        for name in ("token_id", "session_id", "subject"):
            revocations.add(Revocation.of(**{name: f"x{number}"}, expires_at=now + 86400, now=now), now)  # type: ignore[arg-type]
    known = Identity("nobody", token_id="t", session_id="s", issued_at=now, issuer="https://login.example")
    taken = timeit.repeat(lambda: revocations.is_revoked(known), number=20_000, repeat=21)
    return {"microseconds": statistics.median(taken) / 20_000 * 1e6}


class Watched(Client):
    """A client that records when it was disconnected."""

    __slots__ = ("ended_at",)

    def lost(self) -> None:
        if self.is_open:
            self.ended_at = time.perf_counter()
            self.close()


def connect(swarm: Swarm, tokens: list[str]) -> list[Watched]:
    """Return one client for each token, in the same order."""
    made: dict[bytes, Watched] = {}

    def settled(client: Any, admitted: bool) -> None:
        if not admitted:
            raise ConnectionError("a good token was refused")
        made[client.hello] = client

    hellos = [frame(b'40{"token":"%b"}' % token.encode()) for token in tokens]
    for number, hello in enumerate(hellos, 1):
        Watched(swarm, hello, settled)
        if number % 64 == 0 or number == len(hellos):
            swarm.until(lambda expected=number: len(made) == expected)
    return [made[hello] for hello in hellos]


def revoke() -> dict[str, float]:
    servers.allow_connections()
    issuer = Issuer(Key.from_secret(servers.SECRET), issuer=None, expires_in=7200)
    with serving() as port:
        swarm = Swarm(port)
        (asker,) = connect(swarm, [issuer.issue("asker")])
        crowd = connect(swarm, [issuer.issue("crowd", session_id=f"c-{number}") for number in range(CROWD)])
        single = connect(swarm, [issuer.issue(f"u-{n}", session_id=f"s-{n}") for n in range(SOCKETS - CROWD)])
        taken = []
        for number in random.sample(range(len(single)), ROUNDS):
            began = time.perf_counter()
            asker.send(frame(b'42["revoke",{"session_id":"s-%d"}]' % number))
            swarm.until(lambda victim=single[number]: not victim.is_open)
            taken.append((single[number].ended_at - began) * 1e3)
        began = time.perf_counter()
        asker.send(frame(b'42["revoke",{"subject":"crowd"}]'))
        swarm.until(lambda: not any(client.is_open for client in crowd))
        all_gone = (max(client.ended_at for client in crowd) - began) * 1e3
        swarm.close()
    cuts = statistics.quantiles(taken, n=100)
    return {
        "sockets": SOCKETS,
        "one_p50_ms": cuts[49],
        "one_p99_ms": cuts[98],
        "one_max_ms": max(taken),
        f"{CROWD}_of_one_subject_ms": all_gone,
    }


@contextlib.contextmanager
def serving() -> Any:
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile())
        port = free_port()
        env = {**os.environ, "SECRET": servers.SECRET, "PORT": str(port)}
        command = ["taskset", "-c", str(servers.cores()[0]), sys.executable, __file__, "--serve"]
        process = Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
        stack.callback(servers.stop, process)
        servers.await_port(process, port, log)
        yield port


def free_port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def serve() -> None:
    hub = Hub(Verifier.hs256(os.environ["SECRET"]))

    @hub.event
    async def revoke(sid: str, names: dict[str, str]) -> int:
        return await hub.guard.revoke(**names)  # type: ignore[arg-type]

    hub.run(port=int(os.environ["PORT"]))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", help="deadlines, lookups, revoke; default: all")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return 0
    for name in options.parts or ("deadlines", "lookups", "revoke"):
        part = {"deadlines": lambda: asyncio.run(deadlines()), "lookups": lookups, "revoke": revoke}[name]
        found = {key: round(value, 3) for key, value in part().items()}
        print(json.dumps({name: found}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
