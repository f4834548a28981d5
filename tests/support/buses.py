"""The buses that the contract in tests/bus/contract runs on. Each has a harness, registered in ``HARNESSES``."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Protocol

import redis
from support.brokers import Broker, BrokerCluster
from support.rawsocket import PATIENCE

from roomkey.bus import Bus, MemoryBus, MemoryNetwork, RedisBus
from roomkey.bus.unix import UnixBus

__all__ = ["HARNESSES", "Ear", "Harness", "MemoryHarness", "UnixHarness"]


class Harness(Protocol):
    """Starts what a kind of bus needs, and breaks it."""

    async def start(self, folder: Path) -> None:
        """Start the servers that the bus needs, if any."""

    def bus(self, *, max_payload: int = 100_000) -> Bus:
        """Create the bus of one more node."""

    async def inject(self, channel: str, payload: bytes) -> None:
        """Publish as a stranger."""

    async def lose(self) -> None:
        """Break the connections of all buses, so that they notice, and let them fail to connect again."""

    async def restore(self) -> None:
        """Let the buses connect again."""

    async def stop(self) -> None:
        """Stop everything."""


class MemoryHarness:
    """Buses in memory."""

    def __init__(self) -> None:
        self._network = MemoryNetwork()

    async def start(self, folder: Path) -> None: ...

    def bus(self, *, max_payload: int = 100_000) -> Bus:
        return MemoryBus(self._network, max_payload=max_payload)

    async def inject(self, channel: str, payload: bytes) -> None:
        self._network.send(None, channel, payload)

    async def lose(self) -> None:
        for bus in self._network.buses:
            bus.set_connected(False)

    async def restore(self) -> None:
        for bus in self._network.buses:
            bus.set_connected(True)

    async def stop(self) -> None: ...


class RedisHarness:
    """Buses on a server of Redis or Valkey, or on a cluster of three. They find out which of them it is."""

    def __init__(self, kind: str, *, cluster: bool = False) -> None:
        self._kind = kind
        self._cluster = cluster
        self._servers: Broker | BrokerCluster | None = None

    async def start(self, folder: Path) -> None:
        make = BrokerCluster if self._cluster else Broker
        self._servers = make(self._kind, folder).start()

    def bus(self, *, max_payload: int = 100_000) -> Bus:
        assert self._servers is not None
        return RedisBus(self._servers.url, max_payload=max_payload, probe_key="roomkey:probe")

    def _each(self) -> list[Broker]:
        assert self._servers is not None
        return [self._servers] if isinstance(self._servers, Broker) else self._servers.servers

    async def inject(self, channel: str, payload: bytes) -> None:
        for server in self._each():
            with suppress(redis.exceptions.ResponseError):  # another server has the channel
                server.command("SPUBLISH" if self._cluster else "PUBLISH", channel, payload)

    async def lose(self) -> None:
        self._each()[0].kill()

    async def restore(self) -> None:
        if isinstance(self._servers, BrokerCluster):
            self._servers.restore()
        elif self._each()[0].process is None:
            self._each()[0].start()

    async def stop(self) -> None:
        for server in self._each():
            server.kill()


class UnixHarness:
    """Buses of one machine. They lose each other if their folder is missing."""

    def __init__(self) -> None:
        self.buses: list[UnixBus] = []

    async def start(self, folder: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rk"))  # its path is short

    def bus(self, *, max_payload: int = 100_000) -> Bus:
        self.buses.append(UnixBus(self.folder, max_payload=max_payload))
        return self.buses[-1]

    async def inject(self, channel: str, payload: bytes) -> None:
        raise NotImplementedError

    async def lose(self) -> None:
        self.folder.rename(self.folder.with_suffix(".away"))
        for bus in self.buses:
            for link in list(bus._links.values()):
                link.abort()

    async def restore(self) -> None:
        with suppress(FileNotFoundError):  # it was not lost
            self.folder.with_suffix(".away").rename(self.folder)

    async def stop(self) -> None:
        for bus in self.buses:
            await bus.close()
        for folder in (self.folder, self.folder.with_suffix(".away")):
            shutil.rmtree(folder, ignore_errors=True)


HARNESSES: dict[str, Callable[[], Harness]] = {
    "memory": MemoryHarness,
    "redis": partial(RedisHarness, "redis"),
    "redis-cluster": partial(RedisHarness, "redis", cluster=True),
    "unix": UnixHarness,
    "valkey": partial(RedisHarness, "valkey"),
    "valkey-cluster": partial(RedisHarness, "valkey", cluster=True),
}


class Ear:
    """A bus with what it received.

    Attributes:
        heard: the messages, as (channel, payload).
        states: what ``on_state`` was called with.
    """

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.heard: list[tuple[str, bytes]] = []
        self.states: list[bool] = []
        self._changed = asyncio.Event()

    async def open(self, *channels: str) -> None:
        """Open the bus and wait until these subscriptions are in effect."""
        for channel in channels:
            self.bus.subscribe(channel)
        await self.bus.open(self._heard, self._state)
        await self.until(lambda: self.bus.connected)  # open() gives up sooner than a busy machine may need
        await self.subscribed(*channels)

    async def subscribed(self, *channels: str) -> None:
        """Wait until these subscriptions are in effect, which can take a busy machine longer than the bus waits."""
        async with asyncio.timeout(PATIENCE):
            for channel in channels:
                while not await self.bus.subscribed(channel):
                    await asyncio.sleep(0.01)

    def _heard(self, channel: str, payload: bytes) -> None:
        assert type(payload) is bytes
        self.heard.append((channel, payload))
        self._changed.set()

    def _state(self, connected: bool) -> None:
        assert self.bus.connected is connected
        self.states.append(connected)
        self._changed.set()

    def payloads(self, channel: str = "a") -> list[bytes]:
        return [payload for where, payload in self.heard if where == channel]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds, which is tried when something arrives."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def receives(self, number: int, channel: str = "a") -> list[bytes]:
        """Wait until so many messages of a channel have arrived, and return them."""
        await self.until(lambda: len(self.payloads(channel)) >= number)
        return self.payloads(channel)
