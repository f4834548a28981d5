"""A raw Socket.IO client over either transport, and what tests of the contract share."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any, Literal

import httpx
from hosts.host import Server
from support.clock import FakeClock
from support.live import SEPARATOR, Poll, Raw, until
from support.rawsocket import PATIENCE
from support.tokens import issuer_at

Transport = Literal["websocket", "polling"]


class PollingClient(Raw):
    """The client of :class:`support.live.Raw` over long-polling: one poll always waits, and packets are posted."""

    def __init__(self, poll: Poll) -> None:
        self.poll = poll
        self.inbox: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self.seen: list[str | bytes] = []
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def begin(cls, address: str, headers: dict[str, str] | None = None) -> PollingClient:
        poll = Poll(address, headers)
        poll.http.timeout = httpx.Timeout(PATIENCE)
        return cls(await poll.open())

    async def _read(self) -> None:
        with suppress(httpx.TransportError):
            while (response := await self.poll.http.get(self.poll.url())).status_code == 200:
                packets = response.text.split(SEPARATOR)
                for packet in packets:
                    if packet.startswith(("4", "b")):
                        self.seen.append(packet)
                        self.inbox.put_nowait(packet)
                if "1" in packets:
                    break
        self.inbox.put_nowait(None)

    async def send(self, packet: str | bytes) -> None:
        assert isinstance(packet, str)
        with suppress(httpx.TransportError):
            await self.poll.post(packet)

    async def sync(self, namespace: str = "/") -> None:
        """A post is answered when the server has handled it."""

    async def close(self) -> None:
        if self.poll.http.is_closed:
            return
        with suppress(httpx.TransportError):
            await self.poll.post("1")
        self._reader.cancel()
        await self.poll.close()


class Bench:
    """A server, a clock that only the test moves, tokens, and clients that are closed after the test."""

    def __init__(self, server: Server, clock: FakeClock) -> None:
        self.server, self.clock = server, clock
        self._issuer = issuer_at(clock)
        self._clients: list[Raw] = []

    def token(self, subject: str = "ada", **claims: Any) -> str:
        return self._issuer.issue(subject, **claims)

    async def client(self, transport: Transport = "websocket", *, headers: dict[str, str] | None = None) -> Raw:
        """Open a connection, without a namespace yet."""
        if transport == "polling":
            client: Raw = await PollingClient.begin(self.server.address, headers)
        else:
            client = await Raw.open(self.server.address, headers=headers)
        self._clients.append(client)
        return client

    async def member(
        self, subject: str = "ada", transport: Transport = "websocket", namespace: str = "/", **claims: Any
    ) -> Raw:
        """Open a connection that is admitted to a namespace."""
        client = await self.client(transport)
        reply = await client.ask({"token": self.token(subject, **claims)}, namespace)
        assert reply.startswith("40"), reply
        return client

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.server.clock_has_moved()

    async def called(self, *calls: tuple[Any, ...]) -> None:
        """Wait until the handlers were called exactly so."""
        await until(lambda: len(self.server.calls) >= len(calls))
        assert self.server.calls == list(calls)

    async def close(self) -> None:
        for client in self._clients:
            await client.close()


async def replies(client: Raw, argument: Any = 1, namespace: str = "/") -> bool:
    """Call ``echo``: True if the acknowledgement arrives, which proves that the socket is admitted and works."""
    await client.event("echo", argument, namespace=namespace, ack=77)
    prefix = "43" + ("" if namespace == "/" else f"{namespace},")
    while (packet := await client.receive()) is not None:
        if packet == f"{prefix}77{json.dumps([argument])}":
            return True
    return False


async def is_gone(client: Raw) -> bool:
    """True once the server has closed the WebSocket, or does not know the polling session any more.

    While the last packets of a session wait, a server accepts requests and ignores what they contain.
    """
    if isinstance(client, PollingClient):
        async with asyncio.timeout(PATIENCE):
            while (await client.poll.post("3")).status_code < 400:
                await asyncio.sleep(0.02)
        return True
    return await client.is_closed() if client.ws.close_code is None else True


async def rest(client: Raw) -> list[str | bytes]:
    """Return the packets until the server closes the connection."""
    packets: list[str | bytes] = []
    while (packet := await client.receive()) is not None:
        packets.append(packet)
    return packets


def told(packet: str | bytes | None) -> dict[str, Any]:
    """Return the argument of an ``unauthorized`` event."""
    name, argument = json.loads(str(packet)[2:])
    assert name == "unauthorized", packet
    return dict(argument)
