"""The limit of connections for each subject holds over all nodes: exactly, without a deadlock, and without a leak."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clock import FakeClock
from support.examples import examples
from support.nodes import Nodes

from roomkey import Identity
from roomkey.bus.leases import LEASE_SECONDS
from roomkey.bus.node import SETTLE_SECONDS, Node
from roomkey.core.subject_limits import SubjectLimits, SubjectUsage, subject_hash
from roomkey.errors import AuthError, LimitExceeded, Unavailable
from roomkey.guard import limits
from roomkey.guard.background import Background
from roomkey.guard.limits import ANSWER_SECONDS, ClusterCounts

ADA, EVE = Identity("ada"), Identity("eve")


class Socket:
    """The part of a guarded socket that the counts use."""

    def __init__(self, place: Place, who: Identity) -> None:
        self.place, self.who = place, who
        self.live = self.counted = True
        self.opened_at = place.node._clock.monotonic()
        self.sockets = {"/": self}  # it is its own connection
        self.ended_by: AuthError | None = None

    def end(self, why: object, error: AuthError) -> None:
        self.live, self.ended_by = False, error

    def uncount(self) -> None:
        if self.counted:
            self.counted = False
            self.place.usage.leave(self.who, self)

    def close(self) -> None:
        """The client goes."""
        self.live = False
        self.uncount()


class Place:
    """One node with its counts."""

    def __init__(self, node: Node, limits: SubjectLimits) -> None:
        self.node = node
        self.usage: SubjectUsage[Any] = SubjectUsage(limits)
        self.usage.use_hashes()
        self.counts = ClusterCounts(self.usage, node, Background(node._clock), node._clock)
        self.sockets: list[Socket] = []

    async def connect(self, who: Identity = ADA) -> AuthError | None:
        """Return why a new connection was refused, or None."""
        socket = Socket(self, who)

        def take_place() -> None:
            self.sockets.append(socket)
            self.usage.add(who, socket)

        try:
            await self.counts.admit(subject_hash(who), socket, take_place)
        except AuthError as error:
            return error
        return None

    def held(self, who: Identity = ADA) -> list[Socket]:
        return [socket for socket in self.sockets if socket.live and socket.who is who]

    @property
    def is_empty(self) -> bool:
        return not (self.counts._decisions or self.counts._turns._requests or self.usage._connections)


class World:
    """Nodes that count together."""

    def __init__(self, nodes: Nodes, places: list[Place]) -> None:
        self.nodes, self.places = nodes, places

    async def run(self, work: Awaitable[Any]) -> Any:
        """Let time pass until something has ended."""
        task = asyncio.ensure_future(work)
        await self.nodes.settle()
        while not task.done():
            await self.nodes.pass_time(0.5)
            await self.nodes.settle()
        return task.result()

    async def connect(self, place: int, who: Identity = ADA) -> AuthError | None:
        found: AuthError | None = await self.run(self.places[place].connect(who))
        return found

    def total(self, who: Identity = ADA) -> int:
        return sum(len(place.held(who)) for place in self.places)


async def start(nodes: Nodes, count: int, **given: Any) -> World:
    places = [Place(await nodes.add(), SubjectLimits(**given)) for _ in range(count)]
    await nodes.pass_time(SETTLE_SECONDS)
    return World(nodes, places)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "START_SECONDS", 0.02)


@pytest.fixture
async def nodes():
    made = Nodes(FakeClock())
    yield made
    await made.close()


async def test_limit_counts_the_connections_on_all_nodes(nodes):
    world = await start(nodes, 3, sockets=2)
    assert [await world.connect(place) for place in (0, 1)] == [None, None]
    for place in range(3):
        error = await world.connect(place)
        assert isinstance(error, LimitExceeded)
    assert await world.connect(2, EVE) is None
    world.places[0].sockets[0].close()
    assert await world.connect(2) is None
    assert world.total() == 2


@pytest.mark.parametrize("limit", [1, 2, 5])
async def test_connections_at_the_same_moment_are_exactly_as_many_as_allowed(nodes, limit):
    world = await start(nodes, 4, sockets=limit)
    nodes.network.shuffled = True
    errors = await world.run(asyncio.gather(*(place.connect() for place in world.places for _ in range(3))))
    assert Counter(map(type, errors)) == {type(None): limit, LimitExceeded: 12 - limit}
    assert world.total() == limit


async def test_oldest_connection_of_all_nodes_makes_room(nodes):
    world = await start(nodes, 3, sockets=3, when_full="end_oldest")
    for place in (1, 0, 2):
        assert await world.connect(place) is None
        await nodes.pass_time(1)
    for place, oldest in ((0, 1), (0, 0), (0, 2)):
        [first] = world.places[oldest].held()[:1]
        assert await world.connect(place) is None
        assert isinstance(first.ended_by, LimitExceeded)
        assert world.total() == 3
        await nodes.pass_time(1)


async def test_two_that_end_the_oldest_at_the_same_moment_end_two(nodes):
    world = await start(nodes, 2, sockets=2, when_full="end_oldest")
    for place in (0, 1):
        await world.connect(place)
    before = [socket for place in world.places for socket in place.sockets]
    assert await world.run(asyncio.gather(*(place.connect() for place in world.places))) == [None, None]
    assert [socket.live for socket in before] == [False, False]
    assert world.total() == 2


async def test_connections_that_cannot_be_counted_are_refused(nodes):
    world = await start(nodes, 2, sockets=2)
    nodes.network.deafen(world.places[1].node)
    before = nodes.clock.monotonic()
    assert isinstance(await world.connect(0), Unavailable)
    assert nodes.clock.monotonic() - before <= ANSWER_SECONDS + 0.5
    await nodes.pass_time(LEASE_SECONDS)  # the silent node counts as dead, and its connections as closed
    assert await world.connect(0) is None


async def test_node_without_its_bus_refuses(nodes):
    world = await start(nodes, 2, sockets=1)
    assert await world.connect(0) is None
    nodes.network.cut(world.places[1].node)
    assert isinstance(await world.places[1].connect(), Unavailable)
    nodes.network.mend(world.places[1].node)
    await nodes.pass_time(SETTLE_SECONDS)
    assert isinstance(await world.connect(1), LimitExceeded)


async def test_first_connections_of_a_node_wait_until_it_knows_the_others(nodes, monkeypatch):
    monkeypatch.setattr(limits, "START_SECONDS", 1.0)
    world = await start(nodes, 2, sockets=1)
    assert await world.connect(0) is None
    late = Place(await nodes.add(), SubjectLimits(sockets=1))
    assert not late.node.settled
    task = asyncio.ensure_future(late.connect())
    await nodes.pass_time(SETTLE_SECONDS)
    assert isinstance(await world.run(task), LimitExceeded)


async def test_node_that_does_not_get_to_know_the_others_refuses(nodes):
    late = Place(await nodes.add(), SubjectLimits(sockets=1))
    assert isinstance(await late.connect(), Unavailable)


async def test_node_that_says_goodbye_is_not_waited_for(nodes):
    world = await start(nodes, 2, sockets=1)
    nodes.network.hold(world.places[1].node)
    task = asyncio.ensure_future(world.places[0].connect())
    await nodes.settle()
    assert not task.done()
    await world.places[1].node.close()
    nodes.network.release()
    assert await world.run(asyncio.wait_for(task, 20)) is None


async def test_single_node_asks_nobody(nodes):
    world = await start(nodes, 1, sockets=1)
    before = len(nodes.network.sent)
    assert await world.places[0].connect() is None
    assert isinstance(await world.places[0].connect(), LimitExceeded)
    assert len(nodes.network.sent) == before


@pytest.mark.parametrize("body", [b"", bytes(23), bytes(25), bytes(16) + b"\xff" * 8])
async def test_questions_of_another_form_get_no_answer(nodes, body, caplog):
    world = await start(nodes, 2, sockets=1)
    answers = await world.run(world.places[0].node.ask("limit?", body))
    assert answers.missing == {world.places[1].node.id}
    assert await world.connect(0) is None


async def test_abandoned_decision_leaves_nothing(nodes):
    world = await start(nodes, 2, sockets=1)
    nodes.network.hold()
    task = asyncio.ensure_future(world.places[0].connect())
    await nodes.settle()
    task.cancel()
    nodes.network.release()
    await asyncio.wait({task})
    assert world.places[0].is_empty
    assert await world.connect(1) is None


class Story:
    """What the model test does, one step after the other."""

    def __init__(self, world: World, limit: int) -> None:
        self.world, self.limit = world, limit
        self.tasks: list[asyncio.Task[AuthError | None]] = []
        self.dead: list[Place] = []
        self.held_for = 0.0

    def alive(self) -> list[Place]:
        return [place for place in self.world.places if place not in self.dead]

    def check(self) -> None:
        for who in (ADA, EVE):
            assert sum(len(place.held(who)) for place in self.alive()) <= self.limit

    def chosen(self, number: int) -> Place:
        return self.alive()[number % len(self.alive())]

    async def connect(self, number: int) -> None:
        """One client or several connect to a node."""
        for _ in range(1 + number // 8):
            self.tasks.append(asyncio.ensure_future(self.chosen(number).connect((ADA, EVE)[number % 5 == 0])))

    async def turn(self, number: int) -> None:
        for _ in range(1 + number):
            await asyncio.sleep(0)

    async def close(self, number: int) -> None:
        sockets = [socket for place in self.alive() for who in (ADA, EVE) for socket in place.held(who)]
        if sockets:
            sockets[number % len(sockets)].close()

    async def hold(self, number: int) -> None:
        self.world.nodes.network.hold(self.chosen(number).node)

    async def release(self, _: int) -> None:
        self.held_for = 0.0
        self.world.nodes.network.release()

    async def pass_time(self, number: int) -> None:
        """Not so long that a node which is held up loses its lease."""
        seconds = 0.25 * (1 + number % 4)
        self.held_for += seconds
        if self.held_for > LEASE_SECONDS / 2:
            await self.release(0)
        await self.world.nodes.pass_time(seconds)

    async def cut_off(self, number: int) -> None:
        place = self.chosen(number)
        self.world.nodes.network.cut(place.node)
        await self.turn(number)
        self.world.nodes.network.mend(place.node)

    async def crash(self, number: int) -> None:
        if len(self.alive()) > 1:
            self.dead.append(self.chosen(number))
            self.world.nodes.network.deafen(*(place.node for place in self.dead))

    async def end(self) -> None:
        """Everything comes to its end, and nothing is left."""
        self.world.nodes.network.release()
        await self.world.nodes.pass_time(LEASE_SECONDS + 3)
        await self.world.run(asyncio.wait_for(asyncio.gather(*self.tasks), 60))
        self.check()
        for place in self.alive():
            for socket in [*place.held(ADA), *place.held(EVE)]:
                socket.close()
            for who in (ADA, EVE):
                place.counts._held(subject_hash(who))  # forgets those that were ended for newer ones
            assert place.is_empty
        for place in self.alive():
            assert await self.world.run(place.connect()) is None
            place.held()[0].close()


STEPS = ["connect", "connect", "connect", "turn", "turn", "close", "hold", "release", "pass_time", "cut_off", "crash"]


@pytest.mark.long
@settings(max_examples=examples(300), deadline=None)
@given(
    st.integers(2, 4),
    st.integers(1, 3),
    st.sampled_from(["refuse", "end_oldest"]),
    st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 20)), max_size=40),
)
def test_limit_holds_in_every_story(count, limit, when_full, steps):
    async def tell() -> None:
        nodes = Nodes(FakeClock())
        story = Story(await start(nodes, count, sockets=limit, when_full=when_full), limit)
        for step, number in steps:
            await getattr(story, step)(number)
            story.check()
        await story.end()
        await nodes.close()

    asyncio.run(tell())
