"""Several nodes behind a load balancer without sticky sessions, and the official JavaScript client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from support.balancer import Balancer, balancing
from support.node_process import NodeProcess, node_processes, token
from support.short_directory import short_directory

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.long]
__all__ = ["short_directory"]

TRANSPORTS = ("polling", "upgrade", "websocket")
ROUNDS = 30


class Town(NamedTuple):
    """Nodes and what is in front of them; it looks like a site to clients."""

    balancer: Balancer
    nodes: list[NodeProcess]
    path: str = "/socket.io"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.balancer.port}"


@pytest_asyncio.fixture(loop_scope="module", params=["connection", "request"])
async def town(request: pytest.FixtureRequest, short_directory: Path) -> AsyncIterator[Town]:
    with node_processes(short_directory, 2) as nodes:
        async with balancing([node.port for node in nodes], by_request=request.param == "request") as balancer:
            yield Town(balancer, nodes)


@pytest_asyncio.fixture(loop_scope="module")
async def clients(js_process: Any) -> AsyncIterator[Any]:
    yield js_process
    js_process.close_all()


async def test_clients_of_every_transport_work_without_sticky_sessions(town, clients):
    kinds = [(client, transport) for client in ("first", "current") for transport in TRANSPORTS for _ in range(2)]
    opened = [clients.open(town, kind, auths=[{"token": token()}]) for kind in kinds]
    await asyncio.gather(*(one.opened(kind) for one, kind in zip(opened, kinds, strict=True)))

    async def talk(one: Any) -> int:
        [pid] = await one.call("who")
        for number in range(ROUNDS):
            assert await one.call("echo", number, b"bytes", "ä" * 1000) == [number, b"bytes", "ä" * 1000]
        assert await one.call("who") == [pid]
        return int(pid)

    pids = await asyncio.gather(*map(talk, opened))
    assert set(pids) == {node.pid for node in town.nodes}
    assert all(town.balancer.given[node.port] > 5 for node in town.nodes)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_large_and_many_messages_arrive_in_order(town, clients, transport):
    kinds = [("current", transport)] * 2
    opened = [clients.open(town, kind, auths=[{"token": token()}]) for kind in kinds]
    await asyncio.gather(*(one.opened(kind) for one, kind in zip(opened, kinds, strict=True)))
    for one in opened:
        text = "x" * 300_000
        assert await one.call("echo", text) == [text]
        for size, count in ((10, 500), (200_000, 10)):
            one.emit("send", size, count)
            for number in range(count):
                await one.event("sent", number, "x" * size)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_clients_of_a_killed_node_start_over_on_another(town, clients, transport):
    kinds = [("current", transport)] * 4
    opened = [clients.open(town, kind, auths=[{"token": token()}]) for kind in kinds]
    await asyncio.gather(*(one.opened(kind) for one, kind in zip(opened, kinds, strict=True)))
    pids = [(await one.call("who"))[0] for one in opened]
    dead, left = town.nodes
    assert dead.pid in pids
    dead.kill()
    town.balancer.dead.add(dead.port)

    async def back(one: Any) -> None:
        await one.skip_to("connect")

    async with asyncio.timeout(15):
        lost = [one for one, pid in zip(opened, pids, strict=True) if pid == dead.pid]
        await asyncio.gather(*map(back, lost))
    for one in lost:
        assert await one.call("who") == [left.pid]
