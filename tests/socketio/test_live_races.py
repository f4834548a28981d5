"""Races between threads of a server on a real port, over WebSocket and long-polling.

Nothing reaches a client after its end, handlers run only for admitted sockets, and nothing waits for ever.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable

import httpx
import pytest
from support.live import ENDS_HEARTBEATS
from support.rawsocket import PATIENCE
from support.sync_live import join, serving
from support.sync_world import SyncWorld, together
from websockets.exceptions import ConnectionClosed

from roomkey.errors import AuthError

ROUNDS = [pytest.param(25, id="25 rounds"), pytest.param(250, id="250 rounds", marks=pytest.mark.long)]


class OverWebSocket:
    """A client that reads until the server closes its WebSocket."""

    def __init__(self, host: str, token: str) -> None:
        self.packets: list[str] = []
        self._ws = join(host, token)

    def send(self, *arguments: object) -> bool:
        """Send an event with an acknowledgement; return False at the end."""
        try:
            self._ws.send("421" + json.dumps(arguments))
        except ConnectionClosed:
            return False
        return True

    def read(self) -> None:
        """Collect packets up to the end."""
        try:
            while True:
                self.packets.append(str(self._ws.recv(PATIENCE)))
        except ConnectionClosed:
            return

    def close(self) -> None:
        self._ws.close()


class OverPolling:
    """The same over long-polling."""

    def __init__(self, host: str, token: str) -> None:
        self.packets: list[str] = []
        self._http = httpx.Client(base_url=f"http://{host}", timeout=PATIENCE, trust_env=False)
        opened = self._http.get("/socket.io/?EIO=4&transport=polling").text
        self._url = f"/socket.io/?EIO=4&transport=polling&sid={json.loads(opened[1:])['sid']}"
        self._http.post(self._url, content="40" + json.dumps({"token": token}))
        reply = self._http.get(self._url).text
        assert reply.startswith("40"), reply

    def send(self, *arguments: object) -> bool:
        try:
            return self._http.post(self._url, content="421" + json.dumps(arguments)).status_code == 200
        except httpx.TransportError:
            return False

    def read(self) -> None:
        while True:
            try:
                response = self._http.get(self._url)
            except httpx.TransportError:
                return
            if response.status_code != 200:
                return
            found = response.text.split("\x1e")
            self.packets += found
            if "1" in found:
                return

    def close(self) -> None:
        self._http.close()


class Race:
    """One client, and the threads that do something to its socket."""

    def __init__(self, world: SyncWorld, host: str, number: int) -> None:
        self.world, self.subject = world, f"user{number}"
        kind = (OverWebSocket, OverPolling)[number % 2]
        self.client = kind(host, world.token(self.subject, rooms=["red"]))
        [socket] = world.guard.sockets(self.subject)
        self.sid = socket.sid
        world.guard.enter_room(self.sid, "red")
        self.ended = threading.Event()

    def run(self) -> None:
        end = random.choice([self.revoke, self.expire])
        together(end, self.client.read, self.emit, self.send, self.refresh, self.update)
        self.client.close()

    def revoke(self) -> None:
        time.sleep(random.random() / 100)
        self.world.guard.revoke(subject=self.subject)
        self.ended.set()

    def expire(self) -> None:
        time.sleep(random.random() / 100)
        self.world.clock.advance(4000)
        self.world.guard.check_deadlines()
        self.revoke()  # it may have been renewed just in time

    def _until_later(self, act: Callable[[], object]) -> None:
        while not self.ended.is_set():
            act()
        for _ in range(3):
            act()

    def emit(self) -> None:
        def act() -> None:
            self.world.sio.emit("news", 1, room=random.choice(["red", self.sid, None]))
            time.sleep(0.001)

        self._until_later(act)

    def send(self) -> None:
        self._until_later(lambda: self.client.send("echo", self.subject))

    def refresh(self) -> None:
        def act() -> None:
            self.client.send("authenticate", {"token": self.world.token(self.subject, rooms=["red"])})

        self._until_later(act)

    def update(self) -> None:
        for rooms in ([], ["red"]):
            self.world.guard.update(self.subject, rooms=rooms)
            try:
                self.world.guard.enter_room(self.sid, "red")
            except AuthError:
                continue


@pytest.mark.parametrize("rounds", ROUNDS)
def test_client_receives_nothing_after_its_end(rounds):
    strangers: list[str] = []
    handled = 0

    def prepare(world: SyncWorld) -> None:
        @world.sio.on("echo")
        def echo(sid, subject):
            nonlocal handled
            handled += 1
            if world.guard.identity(sid).subject != subject:
                strangers.append(subject)
            return subject

    world = SyncWorld(prepare, max_anonymous=10**6, server={"async_handlers": True})
    with serving(world) as host:
        Race(world, host, 0).run()
        world.guard.settle()
        threads = threading.active_count()
        for number in range(1, rounds + 1):
            race = Race(world, host, number)
            race.run()
            packets = race.client.packets
            if "41" in packets:  # DISCONNECT; earlier, a token that had expired was rejected, perhaps several times
                end = packets.index("41")
                assert packets[end - 1].startswith('42["unauthorized"'), packets[end - 5 :]
                assert set(packets[end + 1 :]) <= {"1"}, packets[end - 1 :]
            world.guard.settle()
            assert not world.guard.sockets()
        if ENDS_HEARTBEATS:
            until = time.monotonic() + PATIENCE
            while threading.active_count() > threads + 5 and time.monotonic() < until:
                time.sleep(0.05)  # the threads of engineio, which nothing announces
            assert threading.active_count() <= threads + 5
    assert handled
    assert not strangers
    assert not world.guard.index.connections
    assert not world.sio.eio.sockets
