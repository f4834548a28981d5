"""Two workers as one server: limits, wrong passwords, lists of sockets and metrics. Real processes on one port."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.serve_process import Served, start_server
from websockets.asyncio.client import ClientConnection, connect

from roomkey.auth.throttle import FREE_FOR_PAIR

pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]

PATIENCE = 30.0
LIMIT = 5


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("together")
    running = start_server(folder, "--workers", "2", "--metrics", "--sockets-per-subject", str(LIMIT))
    yield running
    running.end()


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as made:
        yield made


async def ask(served: Served, method: str, path: str, **options: object) -> httpx.Response:
    """Send a request on a connection of its own, which either worker may accept."""
    async with httpx.AsyncClient(base_url=served.url, timeout=PATIENCE) as http:
        return await http.request(method, path, **options)  # type: ignore[arg-type]


async def login(served: Served, username: str) -> str:
    typed = {"username": username, "password": served.passwords()[username]}
    return str((await ask(served, "POST", "/auth/login", json=typed)).json()["access_token"])


async def socket(served: Served, token: str, stack: AsyncExitStack) -> str:
    """Open a socket, and return the reply to its CONNECT."""
    address = served.url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket"
    raw: ClientConnection = await stack.enter_async_context(connect(address, open_timeout=PATIENCE))
    await raw.recv()
    await raw.send(f"40{json.dumps({'token': token})}")
    return str(await raw.recv())


async def metrics(served: Served) -> dict[str, Counter[str]]:
    """Return each value of one label or none, by metric and worker."""
    found: dict[str, Counter[str]] = {}
    for family in text_string_to_metric_families((await ask(served, "GET", "/metrics")).text):
        for sample in family.samples:
            found.setdefault(sample.name, Counter())[sample.labels["worker"]] += sample.value
    return found


async def test_sockets_of_a_subject_are_limited_and_listed_over_all_workers(served, stack):
    token = await login(served, "ada")
    replies = await asyncio.gather(*(socket(served, token, stack) for _ in range(3 * LIMIT)))
    assert sum(reply.startswith("40") for reply in replies) == LIMIT
    assert all("limit_exceeded" in reply for reply in replies if not reply.startswith("40"))
    counted = await metrics(served)
    assert counted["roomkey_workers"].total() == 2
    assert {*counted["roomkey_process_cpu_seconds_total"]} == {"1", "2"}
    assert counted["roomkey_admissions_total"].total() == LIMIT
    for _ in range(4):  # whichever worker responds
        listed = (await ask(served, "GET", "/auth/sessions", headers={"Authorization": f"Bearer {token}"})).json()
        assert [entry["sockets"] for entry in listed["sessions"]] == [LIMIT]
        assert listed["complete"]


@pytest.mark.checklist("G95")
async def test_wrong_passwords_delay_attempts_on_all_workers(served):
    typed = {"username": "linus", "password": "wrong"}
    begun = time.monotonic()
    statuses = [(await ask(served, "POST", "/auth/login", json=typed)).status_code for _ in range(3 * FREE_FOR_PAIR)]
    assert statuses[:FREE_FOR_PAIR] == [400] * FREE_FOR_PAIR
    # Delays of 1, 2, 4, … s may have passed, and one result may have been on its way. Two workers on their own would
    # allow twice as many.
    passed = int(math.log2(time.monotonic() - begun + 1))
    assert statuses.count(400) <= FREE_FOR_PAIR + passed + 1
    assert 429 in statuses
