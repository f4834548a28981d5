"""Hypothesis plays clients, applications and a bad network: each client receives what a model of the cluster allows.

The model knows who is in which room, and which nodes are cut off. It says for each event who must receive it, and who
may; nobody receives it twice, or in another order than that of one node's events to one room.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.examples import examples
from support.hubs import Hubs, node
from support.offline import Client, Offline

from roomkey.bus.partitions import partition_of
from roomkey.errors import PermissionDenied, Unavailable

pytestmark = [pytest.mark.long, pytest.mark.checklist("F87", "J7")]

ROOMS = ["red", "blue", "green"]
SUBJECTS = {"ada": ["red", "blue", "green"], "eve": ["red", "blue"]}
WHO = st.integers(0, 5)
WHERE = st.integers(0, 2)
NODES = 3


@dataclass(eq=False)
class Member:
    """What the model knows of a client.

    Attributes:
        must, may: the events that it must and may have received.
    """

    client: Client
    hub: Offline
    subject: str
    sid: str
    rooms: set[str] = field(default_factory=set)
    must: set[int] = field(default_factory=set)
    may: set[int] = field(default_factory=set)
    connected: bool = True


@dataclass
class Event:
    """An event on its way to other nodes.

    Attributes:
        target: a room, several, a subject's room, a socket ID, or None for all.
        there: the sockets that it was meant for when it was sent.
    """

    number: int
    hub: Offline
    target: Any
    skip: str | None
    there: set[Member]


class Cluster(RuleBasedStateMachine):
    """Three hubs, on which clients come and go."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.members: list[Member] = []
        self.cut: set[Offline] = set()
        self.held: list[Event] | None = None
        self.number = 0
        self.dead = False
        self.emitted: dict[int, tuple[Offline, str]] = {}
        self.run(self._start())

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def on_network(self, action: str, *arguments: Any) -> None:
        """Change the network, on the event loop, and let the nodes notice."""

        async def change() -> None:
            getattr(self.world.network, action)(*arguments)
            await self.world.settle()

        self.run(change())

    async def _start(self) -> None:
        self.world = Hubs()
        for _ in range(NODES):
            await self.world.add()
        await self.world.pass_time(1)

    @property
    def hubs(self) -> list[Offline]:
        return self.world.hubs

    @property
    def live(self) -> list[Member]:
        return [member for member in self.members if member.connected]

    def meant(self, target: Any, skip: str | None) -> set[Member]:
        """Return the sockets that an event is meant for now."""
        names = target if isinstance(target, tuple) else (target,)
        return {
            member
            for member in self.live
            if member.sid != skip
            and (target is None or any(name in (member.sid, f"user:{member.subject}", *member.rooms) for name in names))
        }

    def reaches(self, one: Offline, other: Offline) -> bool:
        return one is other or (self.held is None and not {one, other} & self.cut)

    # Clients

    @rule(where=WHERE, subject=st.sampled_from([*SUBJECTS]))
    def connect(self, where: int, subject: str) -> None:
        if len(self.live) == 6:
            return
        hub = self.hubs[where]
        client = self.run(hub.member(subject, rooms=SUBJECTS[subject]))
        self.members.append(Member(client, hub, subject, hub.sid(client)))

    def some(self, which: int) -> Member | None:
        return self.live[which % len(self.live)] if self.live else None

    @rule(which=WHO)
    def lose(self, which: int) -> None:
        if member := self.some(which):
            self.run(member.client.session.lose())
            member.connected = False
            self.run(self.world.settle())

    @rule(which=WHO, room=st.sampled_from(ROOMS))
    def join(self, which: int, room: str) -> None:
        if member := self.some(which):
            allowed = room in SUBJECTS[member.subject]
            assert self.run(self.ask_to_join(member, room)) is allowed
            if allowed:
                member.rooms.add(room)

    @rule(which=WHO, victim=WHO, by_name=st.booleans())
    def join_the_room_of_another(self, which: int, victim: int, by_name: bool) -> None:
        one, other = self.some(which), self.some(victim)
        if one is None or other is None or one.subject == other.subject:
            return
        room = f"user:{other.subject}" if by_name else other.sid
        assert self.run(self.ask_to_join(one, room)) is False

    async def ask_to_join(self, member: Member, room: str) -> bool:
        """Send join-room, and return what the server answers."""
        member.client.begin_event("join-room", room, ack=1)
        await self.world.settle()
        return bool(member.client.answered(1)[-1]["ok"])

    # Applications

    @rule(where=WHERE, which=WHO, action=st.sampled_from(["enter_room", "leave_room"]), room=st.sampled_from(ROOMS))
    def change_rooms(self, where: int, which: int, action: str, room: str) -> None:
        member, hub = self.some(which), self.hubs[where]
        if member is None or (self.held is not None and member.hub is not hub):  # it would wait for an answer
            return
        allowed = action == "leave_room" or room in SUBJECTS[member.subject]
        try:
            self.run(self.finish(getattr(hub.sio, action)(member.sid, room)))
        except (PermissionDenied, Unavailable):
            assert not (allowed and self.reaches(hub, member.hub))
        else:
            if self.reaches(hub, member.hub):
                assert allowed
                (member.rooms.add if action == "enter_room" else member.rooms.discard)(room)

    @precondition(lambda self: self.held is None)
    @rule(where=WHERE, room=st.sampled_from(ROOMS))
    def close_room(self, where: int, room: str) -> None:
        hub = self.hubs[where]
        try:
            self.run(self.finish(hub.sio.close_room(room)))
        except Unavailable:
            assert self.cut or self.dead
        for member in self.live:
            if self.reaches(hub, member.hub):
                member.rooms.discard(room)

    @precondition(lambda self: self.held is None)
    @rule(where=WHERE, which=WHO)
    def disconnect(self, where: int, which: int) -> None:
        member, hub = self.some(which), self.hubs[where]
        if member is None:
            return
        try:
            self.run(self.finish(hub.sio.disconnect(member.sid)))
        except Unavailable:
            assert not self.reaches(hub, member.hub)
        self.run(self.world.settle())
        if self.reaches(hub, member.hub):
            member.connected = False

    @rule(where=WHERE, subject=st.sampled_from([*SUBJECTS]), how=st.sampled_from(["revoke", "disconnect"]))
    def end_subject(self, where: int, subject: str, how: str) -> None:
        self.run(getattr(self.hubs[where].guard, how)(subject=subject))
        for hub in self.hubs:  # a node that is cut off reads the journal twice per second by itself
            hub.guard.read_revocations()
        self.run(self.world.settle())
        for member in self.live:
            if member.subject == subject:
                member.connected = False
                assert member.client.session.closed
        self.world.clock.advance(1)  # the tokens of the same second are revoked, too

    @rule(
        where=WHERE,
        kind=st.sampled_from(["all", "room", "room", "rooms", "user", "sid", "mixed"]),
        rooms=st.lists(st.sampled_from(ROOMS), min_size=1, max_size=3),
        which=WHO,
        skips=st.booleans(),
    )
    def emit(self, where: int, kind: str, rooms: list[str], which: int, skips: bool) -> None:
        hub, member = self.hubs[where], self.some(which)
        sid = member.sid if member is not None else "nobody"
        target = {
            "all": None,
            "room": rooms[0],
            "rooms": tuple(rooms),
            "user": f"user:{member.subject if member else 'ada'}",
            "sid": sid,
            "mixed": (sid, *rooms),
        }[kind]
        skip = sid if skips else None
        self.number += 1
        event = Event(self.number, hub, target, skip, self.meant(target, skip))
        self.emitted[self.number] = (hub, str(target))
        for one in event.there:
            if one.hub is hub:
                one.must.add(self.number)
                one.may.add(self.number)
        self.run(hub.sio.emit("news", self.number, to=target, skip_sid=skip))
        if hub not in self.cut:
            self.arrive(event) if self.held is None else self.held.append(event)
        self.run(self.world.settle())

    def arrive(self, event: Event) -> None:
        for one in self.meant(event.target, event.skip):
            if one.hub is event.hub or one.hub in self.cut:
                continue
            one.may.add(event.number)  # it may have joined since, and its node may have been subscribed before
            if one in event.there:
                one.must.add(event.number)

    # The network and the clock

    @precondition(lambda self: self.held is None)
    @rule()
    def hold(self) -> None:
        self.held = []
        self.world.network.hold()

    @precondition(lambda self: self.held is not None)
    @rule()
    def release(self) -> None:
        held, self.held = self.held or [], None
        for event in held:
            self.arrive(event)
        self.on_network("release")

    @precondition(lambda self: self.held is None)
    @rule(where=WHERE)
    def cut_off(self, where: int) -> None:
        self.cut.add(self.hubs[where])
        self.on_network("cut", node(self.hubs[where]))

    @precondition(lambda self: self.held is None)
    @rule()
    def mend(self) -> None:
        for hub in self.cut:
            self.on_network("mend", node(hub))
        self.cut.clear()

    @precondition(lambda self: self.held is None)
    @rule(seconds=st.sampled_from([1, 4, 12, 62]))
    def pass_time(self, seconds: int) -> None:
        self.run(self.world.pass_time(seconds))

    @precondition(lambda self: self.held is None)
    @rule(where=WHERE)
    def die(self, where: int) -> None:
        hub = self.hubs[where]
        for member in self.live:
            if member.hub is hub:
                member.connected = False
        self.dead = True
        self.cut.discard(hub)
        self.run(self.world.die(hub))
        self.run(self.world.add())

    # What must hold

    @invariant()
    def each_client_received_what_it_must_and_nothing_else(self) -> None:
        for member in self.members:
            got = member.client.heard("news")
            assert len(got) == len(set(got)), "an event came twice"
            assert set(got) <= member.may, "an event came to a client that it is not for"
            if member.connected:
                assert member.must <= set(got), "an event is missing"
            for way in set(self.emitted.values()):
                numbers = [number for number in got if self.emitted[number] == way]
                assert numbers == sorted(numbers), "events of one node to one room changed places"

    @invariant()
    def each_node_knows_its_sockets_and_subscribes_for_their_rooms_alone(self) -> None:
        for hub in self.hubs:
            here = [member for member in self.live if member.hub is hub]
            assert hub.sio.application.rooms.by_sid.keys() == {member.sid for member in here}
            for room in ROOMS:
                assert hub.members(room) == {member.sid for member in here if room in member.rooms}
            rooms = {room for member in here for room in (*member.rooms, f"user:{member.subject}")}
            assert node(hub)._needed == Counter(partition_of("/", room) for room in rooms)

    @precondition(lambda self: self.held is None)
    @invariant()
    def each_connected_node_finds_the_sockets_of_all_connected_nodes(self) -> None:
        for hub in self.hubs:
            found = self.run(self.finish(hub.sio.sockets()))
            there = {member.sid for member in self.live if self.reaches(hub, member.hub)}
            assert {live.sid for live in found} == there
            assert found.complete <= (hub not in self.cut)

    async def finish(self, work: Any) -> Any:
        """Wait for an answer of other nodes. One that died without a word is waited for until the time is over."""
        doing = asyncio.ensure_future(work)
        await self.world.settle()
        while not doing.done():
            await self.world.pass_time(1)
        return await doing

    def teardown(self) -> None:
        try:
            self.on_network("release")
            self.run(self.world.close())
            assert [task for task in asyncio.all_tasks(self.loop) if not task.done()] == []
        finally:
            self.loop.close()


TestCluster = Cluster.TestCase
TestCluster.settings = settings(
    max_examples=examples(25), stateful_step_count=25, suppress_health_check=list(HealthCheck)
)
