"""Several hubs on one bus in memory, without a network, with a clock that tests advance and faults of the bus."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from unittest import mock

import pytest
from support.clock import FakeClock
from support.nodes import SECRET, FaultyNetwork
from support.offline import Client, Offline, turns
from support.tokens import issuer_at

from roomkey.bus import Cluster, MemoryBus
from roomkey.guard import nap
from roomkey.stores import MemoryRevocations

__all__ = ["Hubs", "make_hubs"]


class Hubs:
    """Some hubs that are the nodes of one cluster.

    Attributes:
        network: what connects them, and its faults.
        hubs: the hubs, in the order in which they started.
    """

    def __init__(self, **settings: Any) -> None:
        self.clock = FakeClock()
        self.issuer = issuer_at(self.clock)
        self.network = FaultyNetwork()
        self.journal = MemoryRevocations()
        self.hubs: list[Offline] = []
        self._settings = settings
        self._without_pauses = mock.patch.object(nap, "SHORTEST_SECONDS", 0)  # they are not by the fake clock
        self._without_pauses.start()

    async def add(self, **settings: Any) -> Offline:
        """Start another hub, and let it become known."""
        max_payload = settings.pop("max_payload", 1_000_000)
        shared = {"revocations": self.journal, "clock": self.clock, "issuer": self.issuer, **self._settings}
        bus = MemoryBus(self.network, max_payload=max_payload)
        hub = Offline("hub", cluster=Cluster(bus, secrets=[SECRET]), **{**shared, **settings})
        self.hubs.append(hub)
        await hub.sio.open()
        await self.settle()
        return hub

    async def settle(self) -> None:
        """Wait until nothing is on its way and nothing is left to do."""
        for _ in range(3):
            await self.network.settle()
            await turns()
        for hub in self.hubs:
            await hub.settle()

    async def pass_time(self, seconds: float) -> None:
        """Let time pass in small steps, in each of which the nodes act on their deadlines."""
        while seconds > 0:
            step = min(seconds, 0.5)
            seconds -= step
            self.clock.advance(step)
            for hub in self.hubs:
                hub.sio.check_deadlines()
                node(hub).check_deadlines()
            await self.settle()

    async def die(self, hub: Offline) -> None:
        """End a node as ``kill -9`` does: without a word to the others."""
        self.hubs.remove(hub)
        self.network.deafen(node(hub))
        await hub.sio.close()
        self.network.deafen()

    async def close(self) -> None:
        self._without_pauses.stop()
        for hub in self.hubs:
            await hub.close()
            assert hub.leftovers() == {}
            assert +node(hub)._needed == {}
            assert hub.sio._remote._waiting == {}
            await hub.sio.close()


def node(hub: Offline) -> Any:
    """Return the node of a hub."""
    return hub.sio.application.cluster.node


def heard(*clients: Client, event: str = "news") -> list[list[Any]]:
    """Return the first argument of each event of this name, for each client."""
    return [client.heard(event) for client in clients]


@pytest.fixture
async def make_hubs() -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    """Return a coroutine function that starts hubs which know each other: ``world, a, b = await make_hubs(2)``."""
    worlds: list[Hubs] = []

    async def make(number: int, **settings: Any) -> tuple[Any, ...]:
        world = Hubs(**settings)
        worlds.append(world)
        hubs = [await world.add() for _ in range(number)]
        await world.pass_time(1)
        return (world, *hubs)

    yield make
    for world in worlds:
        await world.close()
