"""Faults of Redis, of nodes and of the network between them, while clients receive, connect and are revoked.

``make chaos`` runs the long version, with more clients and longer faults, and writes the counts.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cluster.clients import Client
from cluster.world import SCALE, World
from support.brokers import Broker

LONG = os.environ.get("CHAOS") == "full"

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(1200 if LONG else 180),
    pytest.mark.asyncio(loop_scope="module"),
]

REPORT = Path(__file__).parents[2] / "bench/results/chaos.json"


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=SCALE.kinds)
async def world(request: Any, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Return three nodes on one Redis, the second with a clock that is 5 seconds ahead."""
    broker = Broker(request.param, tmp_path_factory.mktemp("broker"), "--appendonly", "yes").start()
    world = World(broker)
    try:
        await world.start(offsets=(0.0, 5.0, 0.0))
        yield world
    finally:
        await world.stop()
        broker.kill()
        record(str(request.param), world)


def record(kind: str, world: World) -> None:
    for line in world.report:
        print(json.dumps({"server": kind, **line}))
    if LONG:
        known = json.loads(REPORT.read_text()) if REPORT.exists() else {}
        known[kind] = world.report
        REPORT.write_text(json.dumps(known, indent=1) + "\n")


async def nothing() -> None:
    """Do nothing: the fault heals itself."""


# Redis


@pytest.mark.checklist("H110", "J6")
async def test_redis_that_restarts(world: World) -> None:
    async def fault() -> None:
        await asyncio.to_thread(world.broker.kill, signal.SIGTERM)

    async def heal() -> None:
        await asyncio.to_thread(world.broker.start)

    await world.suffer("Redis restarted (SIGTERM)", fault, heal, lasts=1.0, bound=4.0, away=None)


@pytest.mark.checklist("H110", "J6")
async def test_redis_that_is_killed(world: World) -> None:
    async def fault() -> None:
        await asyncio.to_thread(world.broker.kill)

    async def heal() -> None:
        await asyncio.to_thread(world.broker.start)

    await world.suffer("Redis killed (SIGKILL)", fault, heal, lasts=SCALE.away, bound=4.0)


@pytest.mark.checklist("H110", "J6")
async def test_redis_that_stops_responding(world: World) -> None:
    async def fault() -> None:
        world.broker.suspend()

    async def heal() -> None:
        world.broker.resume()

    await world.suffer("Redis stopped (SIGSTOP)", fault, heal, lasts=SCALE.stopped, bound=4.0)


async def test_redis_that_forgets_everything(world: World) -> None:
    async def fault() -> None:
        await asyncio.to_thread(world.broker.command, "FLUSHALL")

    await world.suffer("Redis flushed", fault, nothing, lasts=1.0, bound=4.0, away=None)


@pytest.mark.checklist("H110", "J6")
async def test_redis_without_memory(world: World) -> None:
    async def fault() -> None:
        await asyncio.to_thread(world.broker.command, "CONFIG", "SET", "maxmemory-policy", "noeviction")
        await asyncio.to_thread(world.broker.command, "CONFIG", "SET", "maxmemory", "100kb")

    async def heal() -> None:
        await asyncio.to_thread(world.broker.command, "CONFIG", "SET", "maxmemory", "0")

    await world.suffer("Redis out of memory", fault, heal, lasts=2.5, bound=4.0)


async def test_node_whose_output_buffer_overruns(world: World) -> None:
    """A node is so slow that Redis ends its subscription: what it missed is lost, but not the revocations."""
    limit = "pubsub 65536 65536 1"

    async def fault() -> None:
        await asyncio.to_thread(world.broker.command, "CONFIG", "SET", "client-output-buffer-limit", limit)
        world.nodes[2].signal(signal.SIGSTOP)
        for _ in range(40):  # more than the buffers of the system hold
            await world.nodes[0].do("emit", room="bulk", number=100, size=20_000)

    async def heal() -> None:
        world.nodes[2].signal(signal.SIGCONT)

    reader = Client(world.ledger, "reader", ["bulk"])
    await reader.enter(world.nodes[2].port)
    before = (await world.nodes[2].do("stats"))["bus"]["connects"]
    await world.suffer("output buffer overrun", fault, heal, lasts=1.5, bound=4.0, silent=frozenset({2}), away=False)
    reader.close()
    assert (await world.nodes[2].do("stats"))["bus"]["connects"] > before
    await asyncio.to_thread(
        world.broker.command, "CONFIG", "SET", "client-output-buffer-limit", "pubsub 33554432 8388608 60"
    )


# Nodes and their network


@pytest.mark.parametrize("mode", ["drop", "delay", "reset"])
@pytest.mark.checklist("H110", "J6")
async def test_node_that_is_cut_off_from_redis(world: World, mode: Any) -> None:
    proxy = world.nodes[1].proxy

    async def fault() -> None:
        proxy.set(mode)

    async def heal() -> None:
        proxy.set("pass")

    name = f"node cut off by the proxy ({mode})"
    await world.suffer(name, fault, heal, lasts=SCALE.away, bound=4.0, away=None if mode == "delay" else True)


async def test_node_that_is_stopped(world: World) -> None:
    node = world.nodes[2]

    async def fault() -> None:
        node.signal(signal.SIGSTOP)

    async def heal() -> None:
        node.signal(signal.SIGCONT)

    await world.suffer(
        "node stopped (SIGSTOP)",
        fault,
        heal,
        lasts=SCALE.stopped,
        bound=4.0,
        silent=frozenset({2}),
        away=False,
    )


@pytest.mark.checklist("H112", "J7")
async def test_node_that_is_killed(world: World) -> None:
    """Its clients connect to the others, and nothing of its sockets is left when its lease ends."""
    node, others = world.nodes[2], world.nodes[:2]
    homeless = [client for client in world.clients if client.port == node.port]

    async def fault() -> None:
        await node.kill()
        await asyncio.gather(*(client.enter(others[n % 2].port, pause=1.0) for n, client in enumerate(homeless)))

    async def heal() -> None:
        async with asyncio.timeout(12 + SCALE.slack):
            while not (found := await others[0].do("find"))["complete"]:
                await asyncio.sleep(0.2)
        assert found["sockets"] == sum(client.admitted for client in world.clients)
        for client in homeless:
            client.close()
        world.clients = [client for client in world.clients if client not in homeless]
        await node.start()

    await world.suffer(
        "node killed (SIGKILL)",
        fault,
        heal,
        lasts=1.0,
        bound=4.0,
        silent=frozenset({2}),
        away=False,
    )


# Everybody at once


async def test_clients_that_reconnect_at_once(world: World) -> None:
    before = await world.stats()
    crowd = [world.make_client() for _ in range(SCALE.storm)]
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await asyncio.gather(*(client.enter(world.nodes[n % 3].port, pause=1.0) for n, client in enumerate(crowd)))
    took = loop.time() - begun
    stats = await world.stats()
    assert sum(one["sockets"] for one in stats) == sum(one["sockets"] for one in before) + len(crowd)
    for client in crowd:
        client.close()
    line = {
        "fault": f"{SCALE.storm} clients connect at once",
        "seconds": round(took, 2),
        "lag": round(max(one["lag"] for one in stats), 2),
        "violations": world.ledger.violations(),
    }
    world.report.append(line)
    assert line["violations"] == {}
    await world._same_as(before, line)


# Messages of others


@pytest.mark.checklist("H111")
async def test_messages_that_others_write_to_redis_are_dropped_and_counted(world: World) -> None:
    """Record what the nodes say, and write it to Redis again: unchanged, altered, and to other channels."""
    import redis.asyncio

    before = await world.stats()
    async with redis.asyncio.Redis(port=world.broker.port) as attacker, attacker.pubsub() as pubsub:
        await pubsub.psubscribe("roomkey:*")
        recorded: list[tuple[bytes, bytes]] = []
        await world.nodes[0].do("stream", rooms=["team:1", "team:2"], seconds=2.0, rate=100)
        async with asyncio.timeout(20):
            while len(recorded) < 50:
                if (message := await pubsub.get_message(ignore_subscribe_messages=True, timeout=1)) and message["data"]:
                    recorded.append((message["channel"], message["data"]))
        channels = sorted({channel for channel, _ in recorded})
        written = 0
        for channel, payload in recorded:
            middle = len(payload) // 2
            altered = payload[:middle] + bytes([payload[middle] ^ 1]) + payload[middle + 1 :]
            elsewhere = next(name for name in [*channels, b"roomkey:all"] if name != channel)
            for where, what in (
                (channel, payload),
                (channel, altered),
                (elsewhere, payload),
                (channel, os.urandom(90)),
            ):
                written += await attacker.publish(where, what)
        forged = {"e": json.dumps({"kind": "subject", "value": "user1"}), "m": "x" * 22}
        for _ in range(20):
            await attacker.xadd("{roomkey}:journal", forged, id="0-*")
    await world.all_rooms_reach_everybody()
    after = await world.stats()
    dropped = {
        name: sum(one["node"].get(name, 0) for one in after) - sum(one["node"].get(name, 0) for one in before)
        for name in ("dropped: replayed", "dropped: bad signature", "dropped: malformed")
    }
    entries = sum(sum(n for name, n in one["journal"].items() if name.startswith("dropped")) for one in after)
    world.report.append({"fault": "messages forged in Redis", "written": written, **dropped, "entries": entries})
    assert world.ledger.violations() == {}
    assert all(client.admitted for client in world.clients)
    assert dropped["dropped: replayed"] >= 50
    assert dropped["dropped: bad signature"] >= 100
    assert entries >= 20 * len(world.nodes)


async def test_clients_of_this_module_are_real(world: World) -> None:
    """The counters find what they are there to find: a room of others, a repeated message."""
    client = Client(world.ledger.__class__(), "eve", ["team:1"])
    for said in ({"from": "a", "room": "team:2", "n": 1}, {"from": "a", "room": "team:2", "n": 1}):
        client._said(said)
    assert client.ledger.violations() == {"foreign room": 2, "repeated": 1}
