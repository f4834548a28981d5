"""Hypothesis plays nodes that come, go, crash and are cut off, while messages are repeated, delayed and reordered.

The model knows who can reach whom and for how long. It leaves open what happens just after a change; what must hold
after that, and at all times, is checked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support.clock import FakeClock, Skewed
from support.examples import examples
from support.nodes import Nodes

from roomkey.bus.leases import HEARTBEAT_SECONDS, LEASE_SECONDS
from roomkey.bus.node import Node

pytestmark = [pytest.mark.long, pytest.mark.checklist("H111")]

WHICH = st.integers(0, 9)
HEARD_WITHIN = HEARTBEAT_SECONDS + 1.0
MOST_NODES = 5


@dataclass(eq=False)
class Known:
    """What the model knows of a node.

    Attributes:
        fine_since: since when it can reach and hear all others that are fine; None while it cannot.
        heard: the numbers that it received, by sender.
    """

    node: Node
    fine_since: float | None
    state: str = "fine"
    heard: dict[str, list[int]] = field(default_factory=dict)
    live: set[str] = field(default_factory=set)


class Cluster(RuleBasedStateMachine):
    """Some nodes."""

    @initialize(seed=st.integers(0, 1000))
    def begin(self, seed: int) -> None:
        self.loop = asyncio.new_event_loop()
        self.clock = FakeClock()
        self.world = Nodes(self.clock)
        self.world.network.__init__(seed)  # type: ignore[misc]
        self.nodes: list[Known] = []
        self.gone: set[str] = set()
        self.sent = 0
        for _ in range(2):
            self.come(0.0)

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(work, 20))

    def act(self, action: Callable[[], object]) -> None:
        """Do something on the event loop, and wait until all its messages have arrived."""

        async def work() -> None:
            action()
            await self.world.settle()

        self.run(work())

    def pick(self, which: int) -> Known:
        return self.nodes[which % len(self.nodes)]

    def fine(self, seconds: float) -> set[str]:
        """Return the nodes that have reached each other for so long."""
        now = self.clock.monotonic()
        return {
            known.node.id for known in self.nodes if known.fine_since is not None and now - known.fine_since >= seconds
        }

    # What happens

    @rule(skew=st.sampled_from([0.0, -5.0, 5.0]))
    def come(self, skew: float) -> None:
        if len(self.nodes) >= MOST_NODES:
            return

        async def add() -> Node:
            return await self.world.add(clock=Skewed(self.clock, skew))

        node = self.run(add())
        known = Known(node, self.clock.monotonic())
        node.on("number", lambda sender, body: known.heard.setdefault(sender, []).append(int(body)))
        node.answer("echo", lambda sender, body: body + node.id.encode())
        node.on_joined.append(known.live.add)
        node.on_left.append(known.live.remove)  # raises if it is unknown
        known.live.update(node.live)
        self.nodes.append(known)

    @rule(which=WHICH)
    def leave(self, which: int) -> None:
        if len(self.nodes) > 1:
            known = self.pick(which)
            self.nodes.remove(known)
            self.gone.add(known.node.id)
            self.run(known.node.close())
            self.run(self.world.settle())
            if known.state == "fine" and self.world.network.copies:
                for other in self.nodes:
                    if other.state == "fine":
                        assert known.node.id not in other.node.live
            self.world._all.remove(known.node)

    @rule(which=WHICH, state=st.sampled_from(["fine", "cut", "deaf"]))
    def change(self, which: int, state: str) -> None:
        """Cut a node off so that it notices, or does not, or connect it again."""
        known = self.pick(which)
        if state == known.state:
            return
        before, known.state = known.state, state
        known.fine_since = self.clock.monotonic() if state == "fine" else None

        def act() -> None:
            self.world.network.deafen(*(each.node for each in self.nodes if each.state == "deaf"))
            if before == "cut":
                self.world.network.mend(known.node)
            if state == "cut":
                self.world.network.cut(known.node)

        self.act(act)

    @rule(copies=st.sampled_from([1, 1, 2]), shuffled=st.booleans())
    def weather(self, copies: int, shuffled: bool) -> None:
        self.world.network.copies, self.world.network.shuffled = copies, shuffled

    @rule(seconds=st.sampled_from([0.5, 2.0, 5.0, 12.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        self.run(self.world.pass_time(seconds))

    @rule(which=WHICH, number=st.integers(1, 5))
    def tell(self, which: int, number: int) -> None:
        sender = self.pick(which)

        def act() -> None:
            for _ in range(number):
                self.sent += 1
                sender.node.tell("number", b"%d" % self.sent)

        self.act(act)
        if sender.state == "fine":
            wanted = list(range(self.sent - number + 1, self.sent + 1))
            for other in self.nodes:
                if other is not sender and other.state == "fine":
                    assert other.heard[sender.node.id][-number:] == wanted

    @rule(which=WHICH, seconds=st.sampled_from([0.5, 1.0]))
    def ask(self, which: int, seconds: float) -> None:
        asker = self.pick(which)

        async def ask() -> Any:
            asking = asyncio.create_task(asker.node.ask("echo", b"x", seconds=seconds))
            await self.world.settle()
            await self.world.pass_time(seconds)
            assert asking.done()
            return await asking

        long_fine = self.fine(HEARD_WITHIN)
        answers = self.run(ask())
        for node, answer in answers.by_node.items():
            assert answer == b"x" + node.encode()
            assert node not in self.gone
        assert asker.node.id not in answers.by_node
        assert not answers.missing & answers.by_node.keys()
        if asker.node.id in long_fine:
            assert long_fine - {asker.node.id} <= answers.by_node.keys()
            if len(long_fine) == len(self.nodes):
                assert answers.complete or answers.missing <= self.gone
        if answers.complete:
            assert asker.node.connected
            assert not answers.missing

    # What always holds

    @invariant()
    def messages_arrive_once_and_in_order(self) -> None:
        for known in self.nodes:
            assert known.node.id not in known.heard
            for numbers in known.heard.values():
                assert numbers == sorted(set(numbers))

    @invariant()
    def nodes_know_those_that_they_reach(self) -> None:
        for known in self.nodes:
            live = known.node.live.keys()
            assert known.live == live
            assert known.node.id not in live
            fine = self.fine(HEARD_WITHIN)
            if known.node.id in fine:
                assert fine - {known.node.id} <= live

    @invariant()
    def unreachable_nodes_are_forgotten(self) -> None:
        now = self.clock.monotonic()
        for known in self.nodes:
            for info in known.node.live.values():
                heard = info.heard - known.node._clock.monotonic() + now
                assert now - heard < LEASE_SECONDS + 0.5

    @invariant()
    def nothing_is_left_of_questions(self) -> None:
        for known in self.nodes:
            assert len(known.node._questions) == 0
            assert known.node.counts["failed"] == 0

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.run(self.world.close())
            self.loop.close()


TestCluster = Cluster.TestCase
TestCluster.settings = settings(
    max_examples=examples(50), stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
