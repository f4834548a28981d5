"""Measure the bus between nodes: CPU per message, signed and checked, and through Redis.

    python bench/bus.py [sign] [redis]

Everything is CPU time of one process, and ratios within one run are firmer than the numbers. ``redis`` starts a
redis-server, and a process that receives. As a comparison, the same messages go through the pipeline and the
``get_message`` of redis-py.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import redis
import redis.asyncio
from redis_server import running_redis

from roomkey.bus import ClusterSecrets, MemoryBus, MemoryNetwork, RedisBus
from roomkey.bus.messages import Checker, Signer
from roomkey.bus.node import Node
from roomkey.guard.clock import SystemClock

SECRETS = ClusterSecrets(["Zr9Ysi1gR0nPBf3YDx3lD3ZqB1oS7cJm4Vv0d8QhWkE"])
BODY = os.urandom(220)
TOTAL = 50_000


def row(name: str, microseconds: float) -> None:
    print(f"{name:58} {microseconds:8.2f} us")


def best(number: int, work: Callable[[], object]) -> float:
    """Return the CPU time of one of so many operations in microseconds, the best of five."""
    times = []
    for _ in range(5):
        begun = time.process_time()
        work()
        times.append((time.process_time() - begun) / number * 1e6)
    return min(times)


# Signatures


def sign() -> None:
    signer, number = Signer(SECRETS, b"sender"), 20_000
    row("sign 220 bytes", best(number, lambda: [signer.sign("a", "emit", BODY, 1e9) for _ in range(number)]))
    batches = iter([[signer.sign("a", "emit", BODY, 1e9) for _ in range(number)] for _ in range(5)])
    checker = Checker(SECRETS, b"myself", 100_000, started=0.0)
    row("check", best(number, lambda: [checker.check("a", payload, 1e9, 0.0) for payload in next(batches)]))
    asyncio.run(memory(number))


async def memory(number: int) -> None:
    network = MemoryNetwork()
    nodes = [Node(MemoryBus(network), SECRETS, SystemClock()) for _ in range(2)]
    heard = 0

    def count(sender: str, body: bytes) -> None:
        nonlocal heard
        heard += 1

    nodes[1].on("note", count)
    for node in nodes:
        await node.open()
    await asyncio.sleep(0.1)
    begun = time.process_time()
    for _ in range(number // 100):
        for _ in range(100):
            nodes[0].tell("note", BODY, to=nodes[1].id)
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)
    row("tell and handle, two nodes in memory", (time.process_time() - begun) / number * 1e6)
    assert heard == number
    for node in nodes:
        await node.close()


# Redis


async def receive(kind: str, url: str) -> None:
    """Receive until a message says that it is over; print the CPU time for each message."""
    done = asyncio.Event()
    heard = 0
    begun = 0.0

    def arrived(channel: str, payload: bytes) -> None:
        nonlocal heard, begun
        if payload == b"begin":
            heard, begun = 0, time.process_time()
        elif payload == b"end":
            print(json.dumps([heard, (time.process_time() - begun) / max(heard, 1) * 1e6]), flush=True)
        elif payload == b"stop":
            done.set()
        else:
            heard += 1

    if kind == "bus":
        bus = RedisBus(url)
        bus.subscribe("a")
        await bus.open(arrived, lambda connected: None)
        print("ready", flush=True)
        await done.wait()
        await bus.close()
        return
    async with redis.asyncio.from_url(url) as client, client.pubsub() as pubsub:
        await pubsub.subscribe("a")
        print("ready", flush=True)
        while not done.is_set():
            message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=10)
            if message is not None:
                arrived("a", message["data"])


async def publish_bus(url: str, batch: int, pause: float) -> float:
    bus = RedisBus(url)
    await bus.open(lambda channel, payload: None, lambda connected: None)
    bus.publish("a", b"begin")
    payload = os.urandom(220)
    begun = time.process_time()
    for _ in range(TOTAL // batch if pause == 0 else int(2 / pause)):
        for _ in range(batch):
            bus.publish("a", payload)
        if pause:
            await asyncio.sleep(pause)
        else:
            await bus._links[0].publisher.flush()
    await bus._links[0].publisher.flush()
    spent = (time.process_time() - begun) / bus.counts["published"] * 1e6
    bus.publish("a", b"end")
    await bus.close()
    return spent


async def publish_pipeline(url: str, batch: int, pause: float) -> float:
    payload, number = os.urandom(220), 0
    async with redis.asyncio.from_url(url) as client:
        await client.publish("a", b"begin")
        begun = time.process_time()
        for _ in range(TOTAL // batch if pause == 0 else int(2 / pause)):
            async with client.pipeline(transaction=False) as pipeline:
                for _ in range(batch):
                    pipeline.publish("a", payload)
                await pipeline.execute()
            number += batch
            if pause:
                await asyncio.sleep(pause)
        spent = (time.process_time() - begun) / number * 1e6
        await client.publish("a", b"end")
    return spent


def through_redis() -> None:
    with running_redis() as (url, _):
        for title, batch, pause in (
            ("100 messages at a time", 100, 0.0),
            ("10 at a time, 5,000/s", 10, 0.002),
            ("single ones, 500/s", 1, 0.002),
        ):
            ours = measure(url, "bus", publish_bus, batch, pause)
            theirs = measure(url, "redis-py", publish_pipeline, batch, pause)
            for part, number in enumerate(("publish", "receive")):
                row(f"{title}: {number}", ours[part])
                row(f"{title}: {number}, redis-py ({theirs[part] / ours[part]:.1f} times)", theirs[part])
            row(f"{title}: Redis itself", ours[2])


def measure(url: str, kind: str, publish: Any, batch: int, pause: float) -> tuple[float, float, float]:
    """Return the CPU time for each message of the publisher, the receiver and Redis: the median of three."""
    receiver = subprocess.Popen([sys.executable, __file__, "--receive", kind, url], stdout=subprocess.PIPE, text=True)
    assert receiver.stdout is not None
    assert receiver.stdout.readline() == "ready\n"
    results = []
    with redis.Redis.from_url(url) as client:
        for _ in range(3):
            before = cpu(client)
            spent = asyncio.run(publish(url, batch, pause))
            heard, received = json.loads(receiver.stdout.readline())
            results.append((spent, received, (cpu(client) - before) / heard * 1e6))
        client.publish("a", b"stop")
    receiver.wait()
    return tuple(statistics.median(column) for column in zip(*results, strict=True))  # type: ignore[return-value]


def cpu(client: redis.Redis) -> float:
    info: Any = client.info("cpu")
    return float(info["used_cpu_user"] + info["used_cpu_sys"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="sign or redis; default: both")
    parser.add_argument("--receive", nargs=2, metavar=("KIND", "URL"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.receive:
        asyncio.run(receive(*arguments.receive))
        return
    parts = arguments.parts or ["sign", "redis"]
    if "sign" in parts:
        sign()
    if "redis" in parts:
        through_redis()


if __name__ == "__main__":
    main()
