"""Sockets of a Node.js server with the tokens of a real OpenID provider, while it rotates, is slow and is down."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support.lag import seconds_awake
from support.live import Raw
from support.node import built_node_package
from support.provider import BACK, CLIENT, CLIENT_SECRET, Provider
from support.tokens import part

from roomkey.keysets.introspection import POSITIVE
from roomkey.keysets.remote_state import COOLDOWN, FRESH

pytestmark = pytest.mark.long

RESOURCE = "https://chat.example/"
PLACES = pytest.mark.parametrize("place", ["handshake", "event"])


class NodeServer:
    """The server as a process, with a clock that the test moves."""

    def __init__(self, op: Provider, **settings: str) -> None:
        environment = {"ISSUER": op.issuer, "AUDIENCE": RESOURCE, "CLIENT_ID": CLIENT, "CLIENT_SECRET": CLIENT_SECRET}
        script = built_node_package() / "test" / "support" / "provider_server.mjs"
        self._process = subprocess.Popen(
            ["node", str(script)],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **environment, **settings},
        )
        self.address = f"127.0.0.1:{self._answer().strip()}"

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def status(self, **command: Any) -> dict[str, Any]:
        """Move the clock (``advance``), wait for a fetch (``settle``), present tokens to a route (``verify``).

        Returns:
            What the server knows, and the ``outcomes`` of the tokens.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._answer())
        return found

    async def present(self, token: str, place: str = "handshake") -> tuple[Raw, str]:
        """Return a connection that has presented a token, and the answer."""
        raw = await Raw.open(self.address)
        if place == "handshake":
            return raw, await raw.ask({"token": token})
        assert (await raw.ask()).startswith("40")
        await raw.send(f"42{json.dumps(['authenticate', {'token': token}])}")
        return raw, str(await raw.receive())

    async def admitted(self, token: str, place: str = "handshake") -> Raw:
        raw, answer = await self.present(token, place)
        assert answer.startswith("40" if place == "handshake" else '42["authenticated"'), answer
        return raw

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def node(op: Provider) -> Iterator[NodeServer]:
    server = NodeServer(op)
    yield server
    server.stop()


async def is_alive(raw: Raw) -> bool:
    """Return True if the socket gets an answer to an event."""
    await raw.send('4217["echo","x"]')
    return str(await raw.receive()).startswith("4317")


@pytest.mark.checklist("G106")
@PLACES
async def test_a_rotation_refuses_no_token(op: Provider, node: NodeServer, place: str) -> None:
    tokens = [await asyncio.to_thread(op.access_token, RESOURCE, alg) for alg in ("RS256", "ES256", "EdDSA")]
    sockets = [await node.admitted(token, place) for token in tokens]
    for _ in range(3):
        await asyncio.to_thread(op.rotate)
        new = await asyncio.to_thread(op.access_token, RESOURCE)
        sockets += [await node.admitted(token, place) for token in (new, *tokens)]
        node.status(advance=COOLDOWN)
    assert all([await is_alive(raw) for raw in sockets])
    assert sorted(set(node.status()["subjects"])) == ["service-ES256", "service-EdDSA", "service-RS256"]
    assert op.requests() == 4
    assert op.requests("/.well-known/openid-configuration") == 1


@pytest.mark.checklist("G107")
@PLACES
async def test_an_outage_disturbs_neither_old_nor_new_sockets(op: Provider, node: NodeServer, place: str) -> None:
    token = await asyncio.to_thread(op.access_token, RESOURCE)
    old = await node.admitted(token, place)
    await asyncio.to_thread(op.down)
    node.status(advance=FRESH)
    new = [await node.admitted(token, place) for _ in range(5)]
    assert all([await is_alive(raw) for raw in (old, *new)])
    found = node.status(settle=True)
    assert (found["state"], found["lastError"]) == ("stale", "ECONNREFUSED")
    forged = f"{part({'alg': 'ES256', 'kid': 'new'})}.{token.split('.')[1]}.{part(b'x' * 64)}"
    _, answer = await node.present(forged, place)
    assert "temporarily unavailable" in answer  # nobody knows whether the key exists
    await asyncio.to_thread(op.up)
    found = node.status(advance=COOLDOWN, settle=True)
    assert (found["state"], found["lastError"]) == ("fresh", None)


@PLACES
async def test_a_slow_provider_delays_no_handshake_and_no_loop(op: Provider, node: NodeServer, place: str) -> None:
    known = await asyncio.to_thread(op.access_token, RESOURCE)
    await node.admitted(known, place)
    await asyncio.to_thread(op.rotate)
    unknown = await asyncio.to_thread(op.access_token, RESOURCE)
    await asyncio.to_thread(op.delay, 6.0)
    node.status()
    started = time.monotonic()
    with seconds_awake() as seconds:
        waiting = [asyncio.create_task(node.present(unknown, place)) for _ in range(20)]
        await asyncio.sleep(0.1)
        before = seconds()
        await node.admitted(known, place)
        assert seconds() - before < 1.9  # not delayed by the others
        answers = [answer for _, answer in await asyncio.gather(*waiting)]
        assert seconds() < 5.5
    assert time.monotonic() - started >= 2.0
    assert all("temporarily unavailable" in answer for answer in answers)
    assert node.status()["blocked"] < 1000  # milliseconds; 50 on a quiet machine
    node.status(settle=True)
    await node.admitted(unknown, place)
    assert op.requests() == 2


@pytest.mark.checklist("G109")
async def test_10000_unknown_kids_cause_one_fetch(op: Provider, node: NodeServer) -> None:
    token = await asyncio.to_thread(op.access_token, RESOURCE)
    await node.admitted(token)
    _, payload, signature = token.split(".")

    forged = [f"{part({'alg': 'RS256', 'kid': f'x{number}'})}.{payload}.{signature}" for number in range(10_000)]
    attack = asyncio.create_task(asyncio.to_thread(node.status, verify=forged))
    for _ in range(20):
        await node.admitted(token)
    assert set((await attack)["outcomes"]) <= {"401 invalid signature", "503 temporarily unavailable"}
    for number in range(10):
        for place in ("handshake", "event"):
            _, answer = await node.present(forged[number], place)
            assert "UnauthorizedError" in answer
    assert op.requests() == 2  # the first one, and one for all of them
    assert node.status()["unknown"] <= 1000


@PLACES
async def test_200_sockets_on_a_cold_cache_cause_one_fetch(op: Provider, place: str) -> None:
    token = await asyncio.to_thread(op.access_token, RESOURCE)
    await asyncio.to_thread(op.delay, 0.5)
    node = NodeServer(op, FETCH_TIMEOUT="10000")  # 200 connections at once can take seconds on a busy machine
    try:
        sockets = await asyncio.gather(*(node.admitted(token, place) for _ in range(200)))
    finally:
        node.stop()
    assert len(sockets) == 200
    assert (op.requests(), op.requests("/.well-known/openid-configuration")) == (1, 1)


async def test_an_opaque_token_connects_until_it_is_revoked(op: Provider, node: NodeServer) -> None:
    op.client("phone", redirect_uris=[BACK], token_format="opaque")
    tokens = await asyncio.to_thread(lambda: op.log_in(op.browser("ada"), resource=RESOURCE, client="phone"))
    opaque = tokens["access_token"]
    for place in ("handshake", "event"):
        await node.admitted(opaque, place)
    assert node.status()["subjects"] == ["ada", "ada"]
    form, auth = {"token": opaque}, ("phone", CLIENT_SECRET)
    async with httpx.AsyncClient() as web:
        assert (await web.post(f"{op.issuer}/token/revocation", data=form, auth=auth)).status_code == 200
    await node.admitted(opaque)  # the answer is kept
    node.status(advance=POSITIVE)
    _, answer = await node.present(opaque)
    assert "jwt expired" in answer
    assert op.requests("/token/introspection") == 2
