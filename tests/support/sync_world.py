"""A guarded synchronous server without a network: its clients hand packets to engineio, and read its queues."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable
from typing import Any

import socketio
from engineio import packet as eio_packet
from support.clock import FakeClock
from support.rawsocket import PATIENCE
from support.tokens import issuer_at

from roomkey import Policy
from roomkey.policies import rooms_claim
from roomkey.socketio import Guard

HEARTBEAT = {"ping_interval": 6e4, "ping_timeout": 6e4}


class SyncClient:
    """A client of a :class:`SyncWorld`, on a polling session whose packets are fetched at once.

    Attributes:
        packets: all Socket.IO packets that were queued for it.
    """

    def __init__(self, world: SyncWorld) -> None:
        self.world = world
        self.packets: list[str] = []
        known = set(world.sio.eio.sockets)
        world.request("GET")
        [self.eio_sid] = set(world.sio.eio.sockets) - known
        self.transport = world.sio.eio.sockets[self.eio_sid]
        put = self.transport.queue.put

        def note(packet: Any) -> None:
            if packet is None:
                put(None)
            elif packet.packet_type == eio_packet.MESSAGE:
                self.packets.append(packet.data)

        self.transport.queue.put = note

    def send(self, packet: str) -> None:
        """Deliver a packet; when this returns, the server has handled it."""
        self.transport.receive(eio_packet.Packet(eio_packet.MESSAGE, packet))

    def event(self, *arguments: Any, namespace: str = "", ack: int | str = "") -> None:
        self.send(f"2{namespace and namespace + ','}{ack}{json.dumps(arguments)}")

    def connect(self, token: str | None, namespace: str = "") -> str:
        """Send CONNECT and return the reply."""
        payload = "" if token is None else json.dumps({"token": token})
        self.send(f"0{namespace and namespace + ','}{payload}")
        return self.packets[-1] if self.packets else ""

    def heard(self, event: str) -> list[Any]:
        """Return the first argument of each event of this name."""
        events = [json.loads(packet[packet.index("[") :]) for packet in list(self.packets) if packet[0] == "2"]
        return [arguments[1] for arguments in events if arguments[0] == event]

    @property
    def sid(self) -> str:
        return str(self.world.sio.manager.sid_from_eio_sid(self.eio_sid, "/"))


class SyncWorld:
    """A server with threads, its guard and its issuer."""

    def __init__(
        self, prepare: Callable[[SyncWorld], None] | None = None, verifier: Any = None, **settings: Any
    ) -> None:
        self.clock = FakeClock()
        self.issuer = issuer_at(self.clock)
        server = settings.pop("server", {})
        if "policy" not in settings:
            settings["policy"] = Policy()
            settings["policy"].room("*")(rooms_claim)
        self.guard = Guard(verifier or self.issuer.verifier(), clock=self.clock, **settings)
        self.sio = socketio.Server(**{"async_mode": "threading", "async_handlers": False, **HEARTBEAT, **server})
        self.guard.attach(self.sio)
        self.app = socketio.WSGIApp(self.sio)
        if prepare is not None:
            prepare(self)

    def request(self, method: str, query: str = "", body: bytes = b"", **headers: str) -> tuple[str, bytes]:
        """Send a polling request; return the status and the body."""
        environ = {
            "REQUEST_METHOD": method,
            "PATH_INFO": "/socket.io/",
            "QUERY_STRING": f"EIO=4&transport=polling{query}",
            "REMOTE_ADDR": "127.0.0.1",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
            **headers,
        }
        found: list[str] = []
        parts = self.app(environ, lambda status, _headers: found.append(status))
        return found[0], b"".join(parts)

    def token(self, subject: str = "ada", **claims: Any) -> str:
        return self.issuer.issue(subject, **claims)

    def member(self, subject: str = "ada", **claims: Any) -> SyncClient:
        """Return an admitted client."""
        client = SyncClient(self)
        assert client.connect(self.token(subject, **claims)).startswith("0")
        return client


def together(*functions: Callable[[], object]) -> None:
    """Call functions at the same moment, each in a thread, and raise the first error of one."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(len(functions))

    def run(function: Callable[[], object]) -> None:
        try:
            barrier.wait(PATIENCE)
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(function,), daemon=True) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "a thread waits for ever"
    if errors:
        raise errors[0]
