"""Redis, nodes in processes of their own, their clients, and what must hold whatever fails."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.clients import Client, Ledger
from support.brokers import Broker
from support.proxy import Proxy

__all__ = ["SCALE", "NodeProcess", "Scale", "World"]

PROGRAM = Path(__file__).with_name("node_program.py")
ROOMS = [f"team:{number}" for number in range(8)]


@dataclass(frozen=True)
class Scale:
    """How much a run takes: the short version for CI, or the long one of ``make chaos``.

    Attributes:
        clients: on each node.
        stopped: how long something is stopped, in seconds.
        away: how long other faults last, in seconds.
        storm: clients that reconnect at once.
        connects: attempts on each node during a fault.
        kinds: the servers on which every fault is tried.
        slack: what a busy machine may add to a bound, in seconds.
    """

    clients: int = 12
    stopped: float = 3.0
    away: float = 2.0
    storm: int = 200
    connects: int = 4
    kinds: tuple[str, ...] = ("redis",)
    slack: float = 1.5


SCALE = Scale()
if os.environ.get("CHAOS") == "full":
    SCALE = Scale(clients=100, stopped=30.0, away=10.0, storm=2000, connects=20, kinds=("redis", "valkey"))


class NodeProcess:
    """A node.

    Attributes:
        port: where clients connect.
        proxy: between the node and Redis.
    """

    def __init__(self, name: str, proxy: Proxy, **settings: Any) -> None:
        self.name, self.proxy = name, proxy
        self._settings = {"redis": f"redis://127.0.0.1:{proxy.port}/0", "name": name, **settings}
        self.port = 0
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(PROGRAM.parents[1])}
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(PROGRAM),
            json.dumps(self._settings),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment,
        )
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        assert line, "the node did not start"
        self.port = int(line)

    async def do(self, what: str, **arguments: Any) -> dict[str, Any]:
        """Let the node do something, and return its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        async with self._turn, asyncio.timeout(30):
            self.process.stdin.write(json.dumps({"do": what, **arguments}).encode() + b"\n")
            answer: dict[str, Any] = json.loads(await self.process.stdout.readline())
            return answer

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    async def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        await self.process.wait()


@dataclass
class World:
    """A cluster of nodes with clients.

    Attributes:
        broker: Redis or Valkey.
        report: one line for each fault.
    """

    broker: Broker
    nodes: list[NodeProcess] = field(default_factory=list)
    clients: list[Client] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)
    report: list[dict[str, Any]] = field(default_factory=list)
    made: int = 0

    async def start(self, offsets: tuple[float, ...] = (0.0, 0.0, 0.0), **settings: Any) -> None:
        for number, offset in enumerate(offsets):
            proxy = Proxy(self.broker.port)
            await proxy.open()
            self.nodes.append(NodeProcess(f"node{number}", proxy, offset=offset, **settings))
        await asyncio.gather(*(node.start() for node in self.nodes))
        await self.until_all_know_each_other()
        await self.populate(SCALE.clients)

    async def stop(self) -> None:
        for client in self.clients:
            client.close()
        for node in self.nodes:
            await node.kill()
            await node.proxy.close()

    async def populate(self, number: int) -> None:
        """Fill every node with clients, each of which may join some rooms."""
        for node in self.nodes:
            there = sum(client.port == node.port and client.admitted for client in self.clients)
            made = [self.make_client() for _ in range(number - there)]
            self.clients += made
            await together([lambda client=client, node=node: client.enter(node.port) for client in made], 50)

    def make_client(self) -> Client:
        self.made += 1
        rooms = [ROOMS[self.made % len(ROOMS)], ROOMS[(self.made // 2) % len(ROOMS)]]
        return Client(self.ledger, f"user{self.made}", sorted(set(rooms)))

    async def until_all_know_each_other(self, seconds: float = 30.0) -> None:
        end = time.monotonic() + seconds
        while True:
            stats = await self.stats()
            if all(len(one["live"]) == len(self.nodes) - 1 and one["connected"] for one in stats):
                return
            assert time.monotonic() < end, [(one["live"], one["connected"]) for one in stats]
            await asyncio.sleep(0.1)  # leases are only said in intervals

    async def stats(self) -> list[dict[str, Any]]:
        return list(await asyncio.gather(*(node.do("stats") for node in self.nodes)))

    async def all_rooms_reach_everybody(self, seconds: float = 30.0) -> float:
        """Emit from every node to every room until each member has received it. Return how long that took."""
        begun = time.monotonic()
        for node in self.nodes:
            for room in ROOMS:
                members = [client for client in self.clients if client.admitted and room in client.rooms]
                while True:
                    said = await node.do("emit", room=room)
                    source = (said["from"], room)
                    heard = await asyncio.gather(*(member.hears(source, said["n"]) for member in members))
                    if all(heard):
                        break
                    assert time.monotonic() < begun + seconds, (node.name, room, heard.count(False))
        return time.monotonic() - begun

    # What must hold

    async def suffer(
        self,
        name: str,
        fault: Callable[[], Awaitable[None]],
        heal: Callable[[], Awaitable[None]],
        *,
        lasts: float,
        bound: float,
        silent: frozenset[int] = frozenset(),
        away: bool | None = True,
    ) -> dict[str, Any]:
        """Break something, go on emitting, connecting and revoking meanwhile, heal it, and check what must hold.

        Args:
            name: for the report.
            fault: breaks something.
            heal: repairs it.
            lasts: seconds between the two.
            bound: how long after the revocation, or after the end of the fault, a revoked socket may live.
            silent: the nodes that cannot answer meanwhile.
            away: True if Redis is away for some node, which therefore has to refuse connects after a second;
                None if that depends on when they come.
        """
        await self.populate(SCALE.clients)  # a fault before may have ended early
        before = await self.stats()
        ledger, able = self.ledger, [node for number, node in enumerate(self.nodes) if number not in silent]
        seen = ledger.counts.copy()
        ledger.slowest = 0.0
        for node in able:
            await node.do("stream", rooms=ROOMS, seconds=lasts + 1, rate=100)
        await fault()
        began = time.monotonic()
        victims = self._victims(able)
        revoking = [asyncio.ensure_future(self._revoke(able, victim.subject)) for victim in victims]
        outcomes = await self._try_connects(able, lasts)
        await asyncio.gather(*revoking)
        slowest = ledger.slowest
        await asyncio.sleep(max(0.0, lasts - (time.monotonic() - began)))
        during = await asyncio.gather(*(node.do("stats", tidy=False) for node in able))
        healed = time.monotonic()
        await heal()
        late = await self._wait_until_closed(victims, healed, bound)
        recovered = await self._until_admitted(healed)
        self.clients = [client for client in self.clients if client not in victims]
        self.clients = [client for client in self.clients if client.admitted]
        await self.until_all_know_each_other()
        reached = await self.all_rooms_reach_everybody()
        await self._revoked_stay_out(victims)
        line = {
            "fault": name,
            "clients": len(self.clients),
            "deliveries": ledger.counts["deliveries"] - seen["deliveries"],
            "connects": dict(outcomes),
            "slowest_decision": round(slowest, 2),
            "lag": round(max(one["lag"] for one in during), 2),
            "revoked": len(victims),
            "closed_after": round(late, 2),
            "admits_after": round(recovered, 2),
            "reaches_all_within": round(reached, 2),
            "violations": ledger.violations(),
        }
        self.report.append(line)
        assert ledger.violations() == {}, line
        assert slowest <= 2.0 + SCALE.slack, line
        assert set(outcomes) <= {"admitted", "temporarily_unavailable"}, line
        assert away is None or ("temporarily_unavailable" in outcomes) == away, line
        await self._same_as(before, line)
        return line

    def _victims(self, able: list[NodeProcess]) -> list[Client]:
        """Return a client of each node that can end its sockets."""
        ports = {node.port for node in able}
        found = {client.port: client for client in self.clients if client.admitted and client.port in ports}
        return list(found.values())

    async def _revoke(self, able: list[NodeProcess], subject: str) -> None:
        """Revoke a subject on a node that is not the one with its socket."""
        [socket] = [client for client in self.clients if client.subject == subject]
        self.ledger.revoked[subject] = time.monotonic()
        await random.choice([node for node in able if node.port != socket.port] or able).do("revoke", subject=subject)

    async def _try_connects(self, able: list[NodeProcess], seconds: float) -> dict[str, int]:
        """Connect to each node again and again, from the beginning of the fault to its end."""
        outcomes: dict[str, int] = {}

        async def attempt(node: NodeProcess, after: float) -> None:
            await asyncio.sleep(after)
            client = self.make_client()
            outcome = await client.connect(node.port)
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
            client.close()

        times = [seconds * number / SCALE.connects for number in range(SCALE.connects)]
        await asyncio.gather(*(attempt(node, after) for node in able for after in times))
        return outcomes

    async def _wait_until_closed(self, victims: list[Client], healed: float, bound: float) -> float:
        """Return how long the slowest revoked socket lived after its revocation and after the end of the fault."""
        late = 0.0
        for client in victims:
            start = max(self.ledger.revoked[client.subject], healed)
            async with asyncio.timeout(max(0.1, bound + SCALE.slack - (time.monotonic() - start))):
                await client.closed.wait()
            late = max(late, self.ledger.revoked[client.subject] + self.ledger.closed[client.subject] - start)
        return late

    async def _until_admitted(self, healed: float) -> float:
        """Wait until every node admits clients again. Return how long that took."""

        async def enter(node: NodeProcess) -> None:
            client = self.make_client()
            await client.enter(node.port, 30.0)
            client.close()

        await asyncio.gather(*map(enter, self.nodes))
        return time.monotonic() - healed

    async def _revoked_stay_out(self, victims: list[Client]) -> None:
        for node in self.nodes:
            for victim in victims:
                again = Client(self.ledger, victim.subject, victim.rooms, victim.token)
                await again.connect(node.port)
                assert again.outcome != "admitted", victim.subject
                again.close()

    async def _same_as(self, before: list[dict[str, Any]], line: dict[str, Any]) -> None:
        """Check that nothing is left of the fault: memory, tasks, descriptors, sockets."""
        await self.populate(SCALE.clients)
        end = time.monotonic() + 10
        while True:
            after = await self.stats()
            left = [excess for pair in zip(before, after, strict=True) if (excess := _left(*pair))]
            if not left:
                break
            assert time.monotonic() < end, (line["fault"], left)
            await asyncio.sleep(0.2)
        line["memory_kb"] = max(now["memory"] - then["memory"] for then, now in zip(before, after, strict=True))


def _left(before: dict[str, Any], after: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Return what a node has more of than before. A node that was started again has another ID."""
    allowed = {"tasks": 4, "descriptors": 6, "sockets": 0, "memory": 12_000}
    return {
        name: (before[name], after[name])
        for name, more in allowed.items()
        if after[name] > before[name] + more and (name != "memory" or before["id"] == after["id"])
    }


async def together(works: list[Callable[[], Awaitable[Any]]], number: int) -> None:
    """Do many things, so many at once."""
    turn = asyncio.Semaphore(number)

    async def one(work: Callable[[], Awaitable[Any]]) -> None:
        async with turn:
            await work()

    await asyncio.gather(*(one(work) for work in works))
