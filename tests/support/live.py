"""A Socket.IO server on a real port, in the test's event loop, and a client that sends raw packets."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import httpx
import socketio
import uvicorn
from support.rawsocket import PATIENCE
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from roomkey.hub import Authenticate, Handshake, Hub, runner

SEPARATOR = "\x1e"
T = TypeVar("T")

ENDS_HEARTBEATS = hasattr(socketio.Server, "reason")
"""Older versions of engineio begin the first heartbeat before the guard knows the session; it ends with its ping."""


@asynccontextmanager
async def serve(server_app: Any, /, **settings: Any) -> AsyncIterator[str]:
    """Run an ASGI app, or a hub on its own transports, on a free port. Yields ``127.0.0.1:PORT``."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    quiet: dict[str, Any] = {"log_level": "error", "lifespan": "off", "timeout_graceful_shutdown": 1, **settings}
    if isinstance(server_app, Hub):
        config = runner.config(server_app, quiet.pop("app", None), **quiet)
        server: uvicorn.Server = runner.Server(server_app, config)
    else:
        server = uvicorn.Server(uvicorn.Config(server_app, **quiet))
    # What Server.serve() does, without its main loop, which checks ten times a second whether to stop.
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup(sockets=[listener])
    await server.on_tick(0)
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.force_exit = True
        await server.shutdown(sockets=[listener])


def new_server(**settings: Any) -> socketio.AsyncServer:
    """Return a python-socketio server whose heartbeat does not disturb tests."""
    return socketio.AsyncServer(async_mode="asgi", ping_interval=60, ping_timeout=60, **settings)


class Raw:
    """A client over a raw WebSocket. It answers pings and keeps all packets."""

    def __init__(self, ws: ClientConnection) -> None:
        self.ws = ws
        self.inbox: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self.seen: list[str | bytes] = []
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def open(
        cls, host: str, *, query: str = "", headers: dict[str, str] | list[tuple[str, str]] | None = None
    ) -> Raw:
        """Open the transport, without a namespace yet."""
        url = f"ws://{host}/socket.io/?EIO=4&transport=websocket{query}"
        raw = cls(await connect(url, additional_headers=headers, max_size=None, compression=None, close_timeout=1))
        assert str(await raw.receive()).startswith("0{")
        return raw

    @classmethod
    async def upgrade(cls, host: str, eio_sid: str) -> Raw:
        """Upgrade a polling session."""
        url = f"ws://{host}/socket.io/?EIO=4&transport=websocket&sid={eio_sid}"
        raw = cls(await connect(url, max_size=None, compression=None, close_timeout=1))
        await raw.send("2probe")
        assert await raw.receive() == "3probe"
        await raw.send("5")
        return raw

    async def _read(self) -> None:
        try:
            async for packet in self.ws:
                if packet == "2":
                    await self.ws.send("3")
                else:
                    self.seen.append(packet)
                    self.inbox.put_nowait(packet)
        except ConnectionClosed:
            pass
        finally:
            self.inbox.put_nowait(None)

    async def send(self, packet: str | bytes) -> None:
        """Send unchanged. Nothing happens if the connection is closed."""
        with suppress(ConnectionClosed):
            await self.ws.send(packet)

    async def event(self, name: str, *arguments: Any, namespace: str = "/", ack: int | None = None) -> None:
        prefix = "42" + ("" if namespace == "/" else namespace + ",") + ("" if ack is None else str(ack))
        await self.send(prefix + json.dumps([name, *arguments]))

    async def receive(self, timeout: float = PATIENCE) -> str | bytes | None:
        """Return the next packet, or None once the server has closed."""
        return await asyncio.wait_for(self.inbox.get(), timeout)

    async def ask(self, auth: Any = None, namespace: str = "/") -> str:
        """Send CONNECT and return the reply."""
        payload = "" if auth is None else json.dumps(auth)
        if payload[:1].isdigit():
            payload = " " + payload  # or it would be read as the packet's ID
        await self.send("40" + ("" if namespace == "/" else namespace + ",") + payload)
        return str(await self.receive())

    async def present(self, token: str, way: Handshake | Authenticate) -> None:
        """Present a token in CONNECT or in ``authenticate``, and do not wait for the answer."""
        if isinstance(way, Authenticate):
            await self.ask()
            await self.event("authenticate", {"token": token})
        else:
            await self.send("40" + json.dumps({"token": token}))

    async def ask_data(self, auth: Any = None, namespace: str = "/") -> dict[str, Any]:
        """Send CONNECT and return the object of the refusal."""
        reply = await self.ask(auth, namespace)
        assert reply.startswith("44"), reply
        return json.loads(reply[reply.index("{") :])

    async def expect_event(self, name: str, timeout: float = PATIENCE) -> list[Any]:
        """Skip packets until an event of this name, and return its arguments."""
        while True:
            packet = await self.receive(timeout)
            assert packet is not None, f"closed before {name}; seen {self.seen}"
            if isinstance(packet, str) and packet.startswith("42") and "[" in packet:
                data = json.loads(packet[packet.index("[") :])
                if data[0] == name:
                    return data[1:]

    async def expect_ack(self, ack: int, timeout: float = PATIENCE) -> list[Any]:
        """Skip packets until this acknowledgement, and return its arguments."""
        while True:
            packet = await self.receive(timeout)
            assert packet is not None, f"closed before ack {ack}; seen {self.seen}"
            if isinstance(packet, str) and packet.startswith("43") and packet[2:].startswith(f"{ack}["):
                return json.loads(packet[packet.index("[") :])

    async def is_closed(self, within: float = PATIENCE) -> bool:
        """Return True once the server has closed the transport."""
        try:
            async with asyncio.timeout(within):
                while await self.inbox.get() is not None:
                    pass
            return True
        except TimeoutError:
            return False

    async def sync(self, namespace: str = "/") -> None:
        """A round trip: when it returns, the server has handled all that was sent before, or has closed.

        A second one follows, because a heartbeat that came with the first is answered behind it.
        """
        with suppress(ConnectionClosed):
            for _count in range(2):
                pong = await self.ws.ping()
                await asyncio.wait_for(pong, PATIENCE)

    async def quiet(self, seconds: float = 0.15) -> list[str | bytes]:
        """Return the packets that arrive within a short time."""
        got: list[str | bytes] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while (packet := await self.inbox.get()) is not None:
                    got.append(packet)
        return got

    async def close(self) -> None:
        await self.ws.close()
        await self._reader


class Poll:
    """A client over raw long-polling requests."""

    def __init__(self, host: str, headers: dict[str, str] | None = None, *, local_address: str | None = None) -> None:
        transport = httpx.AsyncHTTPTransport(local_address=local_address)
        self.http = httpx.AsyncClient(base_url=f"http://{host}", headers=headers, timeout=PATIENCE, transport=transport)
        self.sid = ""

    @classmethod
    async def member(cls, host: str, token: str) -> Poll:
        """Open a session and join the main namespace."""
        poll = await cls(host).open()
        answer = await poll.post("40" + json.dumps({"token": token}))
        assert answer.status_code == 200, answer
        packets = await poll.get()
        assert packets[0].startswith("40"), packets
        return poll

    async def open(self, query: str = "") -> Poll:
        packets = await self.get(query)
        self.sid = json.loads(packets[0][1:])["sid"]
        return self

    def url(self, query: str = "") -> str:
        return f"/socket.io/?EIO=4&transport=polling{'&sid=' + self.sid if self.sid else ''}{query}"

    async def get(self, query: str = "") -> list[str]:
        response = await self.http.get(self.url(query))
        assert response.status_code == 200, (response.status_code, response.text)
        return response.text.split(SEPARATOR)

    async def answer(self) -> tuple[int, str]:
        """Return status and body of a poll."""
        response = await self.http.get(self.url())
        return response.status_code, response.text

    async def post(self, *packets: str) -> httpx.Response:
        return await self.http.post(self.url(), content=SEPARATOR.join(packets))

    async def close(self) -> None:
        await self.http.aclose()


async def refused_status(host: str, **arguments: Any) -> int:
    """Return the HTTP status of a WebSocket handshake that the server refuses."""
    try:
        raw = await Raw.open(host, **arguments)
    except InvalidStatus as error:
        return error.response.status_code
    await raw.close()
    raise AssertionError("the server opened the WebSocket")


async def until(condition: Any, timeout: float = PATIENCE) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.002)


async def begin_poll(hub: Hub, request: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Start a GET of the hub's only session, and return when the hub has received it and waits for a packet."""
    task = asyncio.create_task(request)
    [session] = hub.sessions.active.values()
    await until(lambda: session.transport.busy)
    return task
