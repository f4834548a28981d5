"""Several nodes on one bus in memory, with a clock that tests advance and faults that tests switch on."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import pytest
from support.clock import FakeClock

from roomkey.bus import ClusterSecrets, MemoryBus, MemoryNetwork
from roomkey.bus.node import Node

__all__ = ["SECRET", "FaultyNetwork", "Nodes", "make_nodes"]

SECRET = "Zr9Ysi1gR0nPBf3YDx3lD3ZqB1oS7cJm4Vv0d8QhWkE"


class Carried(NamedTuple):
    """A message on its way."""

    sender: MemoryBus | None
    receiver: MemoryBus
    channel: str
    payload: bytes


class FaultyNetwork(MemoryNetwork):
    """A network that loses, delays, repeats and reorders messages.

    Attributes:
        lost: called with each message; those for which it returns True are lost.
        held: called with each message; those for which it returns True wait for :meth:`release`.
        copies: how often each message arrives.
        shuffled: messages of different senders change places, while those of one sender keep their order.
        sent: every message that was sent, as (channel, payload), for those who record it.
    """

    def __init__(self, seed: int = 1) -> None:
        super().__init__()
        self.lost: Callable[[Carried], bool] = lambda message: False
        self.held: Callable[[Carried], bool] = lambda message: False
        self.copies = 1
        self.shuffled = False
        self.sent: list[tuple[str, bytes]] = []
        self._random = random.Random(seed)
        self._waiting: list[Carried] = []
        self._queue: deque[Carried] = deque()
        self._scheduled = False

    def send(self, sender: MemoryBus | None, channel: str, payload: bytes) -> None:
        if sender is not None:
            self.sent.append((channel, payload))
        super().send(sender, channel, payload)

    def inject(self, channel: str, payload: bytes) -> None:
        """Send as a stranger who can write to the bus."""
        self.send(None, channel, payload)

    def cut(self, node: Node) -> None:
        """Cut a node off; it notices."""
        _bus(node).set_connected(False)

    def mend(self, node: Node) -> None:
        """Connect a node again."""
        _bus(node).set_connected(True)

    def deafen(self, *nodes: Node) -> None:
        """Lose what is sent to and by these nodes, without their notice; without arguments, lose nothing more."""
        buses = {id(node.bus) for node in nodes}
        self.lost = lambda message: id(message.receiver) in buses or id(message.sender) in buses

    def hold(self, *senders: Node) -> None:
        """Delay what these nodes send, or all nodes, until :meth:`release`."""
        buses = {id(node.bus) for node in senders}
        self.held = lambda message: not buses or id(message.sender) in buses

    def release(self) -> None:
        """Deliver what was held, and hold nothing more."""
        self.held = lambda message: False
        waiting, self._waiting = self._waiting, []
        for message in waiting:
            self._put(message)

    def carry(self, sender: MemoryBus | None, receiver: MemoryBus, channel: str, payload: bytes) -> None:
        message = Carried(sender, receiver, channel, payload)
        if self.lost(message):
            return
        for _ in range(self.copies):
            if self.held(message):
                self._waiting.append(message)
            else:
                self._put(message)

    def _put(self, message: Carried) -> None:
        self._queue.append(message)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        self._scheduled = False
        queue = list(self._queue)
        self._queue.clear()
        if self.shuffled:
            senders = [message.sender for message in queue]
            self._random.shuffle(senders)
            of: dict[int, deque[Carried]] = {}
            for message in queue:
                of.setdefault(id(message.sender), deque()).append(message)
            queue = [of[id(sender)].popleft() for sender in senders]
        for message in queue:
            message.receiver.receive(message.channel, message.payload)

    async def settle(self) -> None:
        """Wait until nothing is on its way, except what is held."""
        quiet = 0
        while quiet < 3:  # those who received something may answer in the next turns
            quiet = 0 if self._queue else quiet + 1
            await asyncio.sleep(0)


def _bus(node: Node) -> MemoryBus:
    assert isinstance(node.bus, MemoryBus)
    return node.bus


class Nodes:
    """Some nodes on one network.

    Attributes:
        network: what connects them, and its faults.
        clock: their clock.
    """

    def __init__(self, clock: FakeClock) -> None:
        self.network = FaultyNetwork()
        self.clock = clock
        self.secrets = ClusterSecrets([SECRET])
        self._all: list[Node] = []

    async def add(self, *, clock: Any = None, secrets: ClusterSecrets | None = None, **settings: Any) -> Node:
        """Start another node, and let it become known."""
        bus = MemoryBus(self.network, max_payload=settings.pop("max_payload", 1_000_000))
        node = Node(bus, secrets or self.secrets, clock or self.clock, **settings)
        self._all.append(node)
        await node.open()
        await self.network.settle()
        return node

    async def settle(self) -> None:
        """Wait until nothing is on its way."""
        await self.network.settle()

    async def pass_time(self, seconds: float) -> None:
        """Let time pass in small steps, in each of which the nodes act on their deadlines.

        A larger step is a machine that slept: its node does not take the others for dead.
        """
        while seconds > 0:
            step = min(seconds, 0.5)
            seconds -= step
            self.clock.advance(step)
            for node in self._all:
                node.check_deadlines()
            await self.network.settle()

    async def close(self) -> None:
        for node in self._all:
            await node.close()


MakeNodes = Callable[..., Awaitable[tuple[Nodes, list[Node]]]]


@pytest.fixture
async def make_nodes() -> AsyncIterator[MakeNodes]:
    """Return a coroutine function that starts nodes which know each other: ``world, [a, b] = await make_nodes(2)``."""
    worlds = []

    async def make(number: int, **settings: Any) -> tuple[Nodes, list[Node]]:
        world = Nodes(FakeClock())
        worlds.append(world)
        nodes = [await world.add(**settings) for _ in range(number)]
        await world.pass_time(1)  # now they know that they know all others
        return world, nodes

    yield make
    for world in worlds:
        await world.close()
