"""A guarded server of either engine without a network. It is fast, and the test decides the order of races."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from support.clock import FakeClock
from support.live import new_server
from support.sessions import Session, eio_sids
from support.tokens import issuer_at

from roomkey import Issuer, Policy
from roomkey.hub import Hub
from roomkey.policies import rooms_claim
from roomkey.socketio import AsyncGuard


async def turns(number: int = 30) -> None:
    """Run the event loop until nothing is left to do."""
    for _ in range(number):
        await asyncio.sleep(0)


async def rest(server: Any, guard: Any) -> None:
    """Wait for what was begun in the background, but not for a decision of the hub that the test itself holds up.

    On the hub nothing but decisions and handlers waits, so that some turns of the loop are enough.
    """
    await turns()
    await (turns() if isinstance(server, Hub) else guard.settle())
    await turns()


class Client:
    """A client of an :class:`Offline` server.

    Attributes:
        got: all packets that were sent to it.
    """

    def __init__(self, session: Any) -> None:
        self.session = session
        self.got: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, packet: str) -> None:
        """Deliver a packet without waiting for its effect."""
        if not self.session.closed:
            task = asyncio.ensure_future(self.session.receive(packet))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def begin_event(self, *arguments: Any, ack: int | str = "", namespace: str = "") -> None:
        self.begin(f"2{namespace + ',' if namespace else ''}{ack}{json.dumps(arguments)}")

    def begin_connect(self, token: str | None, namespace: str = "") -> None:
        payload = "" if token is None else json.dumps({"token": token})
        self.begin(f"0{namespace + ',' if namespace else ''}{payload}")

    async def settle(self) -> list[str]:
        """Run the event loop, and return the new packets."""
        await turns()
        new = self.session.sent()
        self.got += new
        return new

    def heard(self, event: str) -> list[Any]:
        """Return the first argument of each event of this name, in any namespace."""
        events = [json.loads(packet[packet.index("[") :]) for packet in self.got if packet[0] == "2"]
        return [arguments[1] for arguments in events if arguments[0] == event]

    def answered(self, ack: int) -> list[Any]:
        """Return the first argument of each acknowledgement with this ID."""
        acks = [
            packet for packet in self.got if packet[0] == "3" and packet.split("[")[0][1:].split(",")[-1] == str(ack)
        ]
        return [json.loads(packet[packet.index("[") :])[0] for packet in acks]


class Offline:
    """One server, its guard, its issuer and its clock."""

    def __init__(
        self,
        engine: str,
        *,
        namespaces: tuple[str, ...] = ("/",),
        verifier: Any = None,
        manager: Any = None,
        clock: FakeClock | None = None,
        issuer: Issuer | None = None,
        **settings: Any,
    ):
        self.clock = clock or FakeClock()
        self.issuer = issuer or issuer_at(self.clock)
        if "policy" not in settings:
            settings["policy"] = Policy()
            settings["policy"].room("*")(rooms_claim)
        verifier = verifier or self.issuer.verifier()
        self.sio: Any
        self.guard: Any
        self.engine = engine
        if engine == "hub":
            self.sio = Hub(verifier, ping_interval=1e9, namespaces=namespaces, clock=self.clock, **settings)
            self.guard = self.sio.guard
        else:
            attach = {name: settings.pop(name) for name in ("own_joins",) if name in settings}
            self.sio = new_server(namespaces=list(namespaces), client_manager=manager, monitor_clients=False)
            self.guard = AsyncGuard(verifier, clock=self.clock, **settings)
            self.guard.attach(self.sio, **attach)
        self.guard.serve_rooms()
        self.clients: list[Client] = []

    async def client(self) -> Client:
        session = Session(self.sio)
        await session.open()
        self.clients.append(Client(session))
        return self.clients[-1]

    async def member(self, subject: str = "ada", namespace: str = "", **claims: Any) -> Client:
        client = await self.client()
        client.begin_connect(self.issuer.issue(subject, **claims), namespace)
        packets = await client.settle()
        assert packets[0].startswith("0"), packets
        return client

    def token(self, subject: str = "ada", **claims: Any) -> str:
        return self.issuer.issue(subject, **claims)

    def admission(self, client: Client, namespace: str = "/") -> Any:
        """Return its namespace connection, or None."""
        connection = eio_sids(self.guard).get(client.session.eio_sid)
        return connection.sockets.get(namespace) if connection is not None else None

    def sid(self, client: Client, namespace: str = "/") -> str:
        return str(self.admission(client, namespace).sid)

    def members(self, room: str, namespace: str = "/") -> set[str]:
        """Return who is in a room, according to the server's tables."""
        if self.engine == "hub":
            return {socket.sid for socket in self.sio.application.rooms.in_room(namespace, room)}
        return set(self.sio.manager.rooms.get(namespace, {}).get(room, ()))

    async def tick(self, seconds: float) -> None:
        self.clock.advance(seconds)
        (self.sio if self.engine == "hub" else self.guard).check_deadlines()
        await self.settle()

    async def settle(self) -> None:
        await rest(self.sio, self.guard)
        for client in self.clients:
            client.got += client.session.sent()

    async def lose_all(self) -> None:
        """Disconnect every client."""
        for client in self.clients:
            if not client.session.closed:
                await client.session.lose()
        await self.settle()

    def leftovers(self) -> dict[str, Any]:
        """Return everything that is kept. It is empty if nobody is connected."""
        guard = self.guard
        use = guard._context.usage
        kept = {
            "connections": guard.index.connections,
            "sockets": guard.index.sockets,
            "named": [names for names in guard.index._named.values() if names],
            "anonymous": guard.index._anonymous,
            "deadlines": guard.background.timers._deadlines._due,
            "tasks": guard.background._running,
            "counted": use._connections if use is not None else {},
            "server": self.sio.application.rooms.by_sid if self.engine == "hub" else self.sio.manager.rooms,
            "rooms": self.sio.application.rooms._rooms if self.engine == "hub" else {},
        }
        return {name: found for name, found in kept.items() if found}

    async def close(self) -> None:
        await self.lose_all()
        await self.guard.close()


@pytest.fixture
async def offline(engine: str) -> AsyncIterator[Callable[..., Offline]]:
    """``offline(**settings)``: a server without a network. After the test, all clients leave and nothing may remain."""
    made: list[Offline] = []

    def make(**settings: Any) -> Offline:
        made.append(Offline(engine, **settings))
        return made[-1]

    yield make
    for server in made:
        await server.close()
        assert server.leftovers() == {}
