"""A check from outside hears which nodes are alive, and no node depends on it."""

from __future__ import annotations

import asyncio

import pytest
from support.clock import FakeClock
from support.nodes import SECRET, make_nodes

from roomkey.bus import ClusterSecrets, MemoryBus
from roomkey.bus import overhearing as module
from roomkey.bus.overhearing import overhear

__all__ = ["make_nodes"]

OTHER = "p8Vx2mQkT9rL4wZ7yB1nC6dF3gH5jP0sAq1w2e3r4t5"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(module, "MARGIN_SECONDS", 0.0)


class Ahead:
    """The clock of another machine."""

    def __init__(self, clock: FakeClock, seconds: float) -> None:
        self._clock, self._seconds = clock, seconds
        self.monotonic = clock.monotonic

    def now(self) -> float:
        return self._clock.now() + self._seconds


async def listen(world, secrets=None):
    """Listen while the nodes send a heartbeat."""
    bus = MemoryBus(world.network)
    task = asyncio.ensure_future(overhear(bus, secrets or world.secrets, world.clock))
    await asyncio.sleep(0)
    await world.pass_time(3.5)
    return await task


async def test_live_nodes_are_heard_with_their_addresses_and_clocks(make_nodes):
    world, [one, two] = await make_nodes(2, address="10.0.0.5:7400")
    late = await world.add(clock=Ahead(world.clock, -7.0))
    heard = await listen(world)
    assert heard.connected
    assert {*heard.nodes} == {one.id, two.id, late.id}
    assert heard.nodes[one.id].hello.address == "10.0.0.5:7400"
    assert abs(heard.nodes[one.id].ahead) < 1
    assert heard.nodes[late.id].ahead == pytest.approx(-7, abs=1)


async def test_nodes_do_not_notice_who_listens(make_nodes):
    world, [one, two] = await make_nodes(2)
    before = {**one.live}
    await listen(world)
    assert one.live.keys() == before.keys() == {two.id}


async def test_nodes_with_another_secret_or_a_wrong_clock_are_counted(make_nodes):
    world, _ = await make_nodes(0)
    await world.add(secrets=ClusterSecrets([OTHER]))
    await world.add(clock=Ahead(world.clock, 100.0))
    heard = await listen(world)
    assert heard.nodes == {}
    assert heard.dropped["bad signature"] >= 1
    assert heard.dropped["stale"] >= 1


async def test_unreachable_bus_is_reported(make_nodes):
    class Away(MemoryBus):
        async def subscribed(self, channel: str) -> bool:
            return False

    world, _ = await make_nodes(1)
    heard = await overhear(Away(world.network), ClusterSecrets([SECRET]), world.clock)
    assert not heard.connected
