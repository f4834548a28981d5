"""Races between threads: nothing reaches, and nothing is handled for, a socket that is not admitted."""

from __future__ import annotations

import itertools
import random
import sys
import threading

import pytest
from support.rawsocket import PATIENCE
from support.sync_world import SyncClient, SyncWorld, together

from roomkey.errors import AuthError

ROUNDS = [pytest.param(40, id="40 rounds"), pytest.param(250, id="250 rounds", marks=pytest.mark.long)]


@pytest.fixture(autouse=True)
def often():
    """Let threads interrupt each other after every few instructions."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class Round:
    """One client, and what happened to it.

    Attributes:
        ended: set when something that ends the socket has returned; from then on nothing may reach it.
        queued: the number of its packets at that moment.
        begun: the number of its events that were begun at that moment.
    """

    def __init__(self, world: SyncWorld, subject: str) -> None:
        self.world, self.subject = world, subject
        self.ends = random.sample(ENDS, random.choice([1, 1, 2]))
        if not set(self.ends) & set(PROMISE):
            del self.ends[1:]
        self.client: SyncClient = world.member(subject, rooms=["red"])
        self.sid = self.client.sid
        world.guard.enter_room(self.sid, "red")
        self.ended = threading.Event()
        self.queued = self.begun = 0
        self.numbers = itertools.count(1)
        self.last = 0
        self._lock = threading.Lock()

    def note_end(self) -> None:
        with self._lock:
            if not self.ended.is_set():
                self.queued, self.begun = len(self.client.packets), self.last
                self.ended.set()

    def _note_end_alone(self) -> None:
        if len(self.ends) == 1:
            self.note_end()

    # What ends it

    def revoke(self) -> None:
        self.world.guard.revoke(subject=self.subject)
        self.note_end()

    def expire(self) -> None:
        self.world.clock.advance(4000)
        self.world.guard.check_deadlines()
        if any(socket.sid == self.sid for socket in self.world.guard.sockets()):  # it was renewed just in time
            self.world.guard.revoke(subject=self.subject)
        self.note_end()

    def leave(self) -> None:
        self.client.send("1")
        self._note_end_alone()

    def disconnect(self) -> None:
        self.world.sio.disconnect(self.sid)
        self._note_end_alone()

    def lose(self) -> None:
        self.client.transport.close(wait=False, abort=True)
        self._note_end_alone()

    # What goes on meanwhile, and a little longer

    def _until_later(self, act) -> None:
        while not self.ended.is_set():
            act()
        for _ in range(3):
            act()

    def emit(self) -> None:
        self._until_later(lambda: self.world.sio.emit("news", 1, room=random.choice(["red", None])))

    def emit_alone(self) -> None:
        self._until_later(lambda: self.world.sio.emit("news", 1, to=self.sid))

    def send(self) -> None:
        def act() -> None:
            number = next(self.numbers)
            self.last = number
            self.client.event("echo", self.subject, number, ack=number)

        self._until_later(act)

    def refresh(self) -> None:
        def act() -> None:
            self.client.event("authenticate", {"token": self.world.token(self.subject, rooms=["red"])}, ack=1)

        self._until_later(act)

    def update(self) -> None:
        for rooms in (["red"], [], ["red"]):
            self.world.guard.update(self.subject, rooms=rooms)

    def join(self) -> None:
        for _ in range(5):
            try:
                self.world.guard.enter_room(self.sid, "red")
                self.world.guard.leave_room(self.sid, "red")
            except AuthError:
                return


ENDS = ("revoke", "expire", "leave", "disconnect", "lose")
PROMISE = ("revoke", "expire")
"""What has ended the socket when it returns, even if something else began to end it before."""


@pytest.mark.parametrize("rounds", ROUNDS)
def test_nothing_reaches_or_is_handled_for_a_socket_that_ended(rounds):
    handled: dict[str, int] = {}

    def prepare(world: SyncWorld) -> None:
        @world.sio.on("echo")
        def echo(_sid, subject, number):
            handled[subject] = number
            return number

    world = SyncWorld(prepare, max_anonymous=10**6)
    world.guard.serve_rooms()
    for number in range(rounds):
        one = Round(world, f"user{number}")
        ends = one.ends
        going_on = (one.emit, one.emit_alone, one.send, one.refresh, one.update, one.join)
        together(*(getattr(one, end) for end in ends), *going_on)
        after = one.client.packets[one.queued :]
        allowed = [packet for packet in after if packet.startswith(('2["unauthorized"', "1"))]
        assert after == allowed or ends != ["revoke"], (ends, after)
        assert not [packet for packet in after if packet.startswith('2["news"')], (ends, after)
        assert handled.get(one.subject, 0) <= one.begun, ends
        world.guard.settle()
    assert not world.guard.index.sockets
    assert not world.sio.manager.rooms


@pytest.mark.parametrize("rounds", ROUNDS)
def test_room_that_was_taken_away_receives_nothing_more(rounds):
    world = SyncWorld()
    client = world.member("ada", rooms=["red"])
    for number in range(rounds):
        world.guard.update("ada", rooms=["red"])
        world.guard.enter_room(client.sid, "red")
        taken = threading.Event()
        found: list[int] = []

        def take(taken=taken, found=found) -> None:
            world.guard.update("ada", rooms=[])
            found.append(len(client.heard("news")))
            taken.set()

        def emit(taken=taken) -> None:
            while not taken.is_set():
                world.sio.emit("news", 1, room="red")
            for _ in range(3):
                world.sio.emit("news", 1, room="red")

        together(take, emit, emit)
        assert len(client.heard("news")) == found[0], number
        client.packets.clear()


@pytest.mark.parametrize("rounds", ROUNDS)
def test_connect_and_revocation_at_once_leave_no_admitted_socket(rounds):
    world = SyncWorld(max_anonymous=10**6)
    for number in range(rounds):
        subject = f"user{number}"
        client, token = SyncClient(world), world.token(subject)
        together(lambda: client.connect(token), lambda: world.guard.revoke(subject=subject))  # noqa: B023
        assert not world.guard.sockets(subject)
        world.guard.settle()


def test_slow_handler_keeps_no_other_thread_waiting():
    entered, may_end = threading.Event(), threading.Event()

    def prepare(world: SyncWorld) -> None:
        @world.sio.on("slow")
        def slow(_sid):
            entered.set()
            may_end.wait(PATIENCE)

    world = SyncWorld(prepare)
    client, other = world.member("ada"), world.member("eve")
    handler = threading.Thread(target=lambda: client.event("slow"))
    handler.start()
    assert entered.wait(PATIENCE)
    world.sio.emit("news", 1)
    assert world.guard.revoke(subject="eve") == 1
    assert other.heard("news") == client.heard("news") == [1]
    may_end.set()
    handler.join(PATIENCE)
