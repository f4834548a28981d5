"""Every test of this folder runs against every host."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hosts.clients import Bench
from hosts.host import Host, Options
from hosts.hosts import HOSTS
from support.clock import FakeClock


@pytest.fixture(params=[pytest.param(host, marks=[pytest.mark.long] * host.is_slow, id=host.name) for host in HOSTS])
def host(request: pytest.FixtureRequest) -> Host:
    """One of the hosts; a test that needs what it lacks is skipped."""
    made: Host = request.param
    needed = {feature for marker in request.node.iter_markers("needs") for feature in marker.args}
    if needed & made.lacks:
        pytest.skip(f"{made.name} has no {', '.join(sorted(needed & made.lacks))}")
    return made


@pytest.fixture
async def start(host: Host) -> AsyncIterator[Callable[..., Any]]:
    """``await start(via="authenticate", …)``: a bench with a server that has these options."""
    async with AsyncExitStack() as stack:

        async def begin(**options: Any) -> Bench:
            clock = FakeClock()
            bench = Bench(await stack.enter_async_context(host.start(Options(**options), clock)), clock)
            stack.push_async_callback(bench.close)
            return bench

        yield begin


@pytest.fixture(params=["websocket", "polling"])
def transport(request: pytest.FixtureRequest, host: Host) -> str:
    """How the client of the test talks to the server."""
    if request.param in host.lacks:
        pytest.skip(f"{host.name} has no {request.param}")
    return str(request.param)
