"""Listening to the nodes of a cluster without being one: for checks from outside."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from dataclasses import dataclass, field

from roomkey.bus.leases import HEARTBEAT_SECONDS, Hello
from roomkey.bus.messages import FRESH_SECONDS, HEADER, Checker, Dropped
from roomkey.bus.partitions import Channels
from roomkey.bus.protocol import Bus, Clock
from roomkey.bus.secrets import ClusterSecrets

__all__ = ["Heard", "HeardNode", "overhear"]

MARGIN_SECONDS = 0.5
"""How much longer than the pause between two heartbeats to listen."""


@dataclass(frozen=True, slots=True)
class HeardNode:
    """A node that is alive.

    Attributes:
        hello: its heartbeat.
        ahead: how many seconds its clock is ahead of the one here, with the time that the message took.
    """

    hello: Hello
    ahead: float


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard.

    Attributes:
        connected: False if the bus was not reached.
        nodes: the nodes by their name.
        dropped: messages that were not valid, by reason.
    """

    connected: bool
    nodes: dict[str, HeardNode] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)


async def overhear(bus: Bus, secrets: ClusterSecrets, clock: Clock, *, prefix: str = "roomkey") -> Heard:
    """Listen for the time between two heartbeats, and return which nodes are alive.

    A node would have to answer the questions of the others. Nothing is sent here, so nothing depends on this process.
    """
    channel = Channels(prefix).everybody
    # As if it had listened for long: a node would not take a message from a clock that is far behind for a new one.
    checker = Checker(secrets, os.urandom(6), bus.max_payload, clock.now() - FRESH_SECONDS)
    nodes: dict[str, HeardNode] = {}
    dropped: Counter[str] = Counter()

    def arrived(where: str, payload: bytes) -> None:
        now = clock.now()
        try:
            message = checker.check(where, payload, now, clock.monotonic())
            if message is not None and message.kind == "hello":
                sent_at = HEADER.unpack_from(payload)[4] / 1000
                nodes[message.sender] = HeardNode(Hello.decode(message.body), sent_at - now)
        except (Dropped, ValueError) as error:
            dropped[str(error)] += 1

    checker.opened(channel)
    bus.subscribe(channel)
    await bus.open(arrived, lambda connected: None)
    try:
        if not await bus.subscribed(channel):
            return Heard(connected=False)
        await asyncio.sleep(HEARTBEAT_SECONDS + MARGIN_SECONDS)
    finally:
        await bus.close()
    return Heard(True, nodes, dropped)
