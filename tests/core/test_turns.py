"""At most one node has the turn for a name, in whatever order messages arrive, and everybody gets one."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given, settings
from support.examples import examples

from roomkey.core.turns import Turns

ADA = b"ada"


def test_later_request_waits_for_the_earlier_one():
    one, two = Turns("one"), Turns("two")
    assert not two.must_wait(ADA, first := one.request(ADA), "one")
    second = two.request(ADA)
    assert second > first
    assert one.must_wait(ADA, second, "two")
    one.end(ADA)
    assert not one.must_wait(ADA, second, "two")


def test_equal_requests_are_ordered_by_node():
    one, two = Turns("one"), Turns("two")
    first, second = one.request(ADA), two.request(ADA)
    assert first == second
    assert one.must_wait(ADA, second, "two")
    assert not two.must_wait(ADA, first, "one")


def test_requests_for_other_names_do_not_wait():
    one = Turns("one")
    one.request(ADA)
    assert not one.must_wait(b"eve", 99, "two")
    assert one.request(b"bob") == 100


class World:
    """Nodes that want turns, and the messages between them, which arrive in an order that the test draws."""

    def __init__(self, count: int) -> None:
        self.turns = {str(node): Turns(str(node)) for node in range(count)}
        self.numbers: dict[str, int] = {}
        self.missing: dict[str, set[str]] = {}  # the nodes that have not answered
        self.deferred: dict[str, list[str]] = {node: [] for node in self.turns}
        self.under_way: list[tuple[str, str, str]] = []  # what, from, to
        self.had: list[str] = []

    def want(self, node: str) -> None:
        self.numbers[node] = self.turns[node].request(ADA)
        self.missing[node] = set(self.turns) - {node}
        self.under_way += [("ask", node, other) for other in self.missing[node]]

    def holders(self) -> list[str]:
        return [node for node, missing in self.missing.items() if not missing]

    def end(self, node: str) -> None:
        self.had.append(node)
        self.turns[node].end(ADA)
        del self.missing[node]
        self.under_way += [("answer", node, other) for other in self.deferred[node]]
        self.deferred[node] = []

    def arrive(self, index: int) -> None:
        what, sender, to = self.under_way.pop(index)
        if what == "answer":
            self.missing[to].discard(sender)
        elif self.turns[to].must_wait(ADA, self.numbers[sender], sender):
            self.deferred[to].append(sender)
        else:
            self.under_way.append(("answer", to, sender))


@settings(max_examples=examples(300))
@given(st.integers(2, 4), st.data())
def test_one_node_has_the_turn_and_all_get_one(count, data):
    world = World(count)
    wanted = data.draw(st.lists(st.sampled_from(sorted(world.turns)), min_size=1, max_size=6))
    todo = list(wanted)
    while todo or world.missing:
        choices = [("arrive", index) for index in range(len(world.under_way))]
        choices += [("end", node) for node in world.holders()]
        choices += [("want", node) for node in sorted({*todo} - {*world.missing})]
        assert choices, "nobody can go on"
        what, which = data.draw(st.sampled_from(choices))
        if what == "want":
            todo.remove(which)
        getattr(world, what)(which)
        assert len(world.holders()) <= 1
    assert sorted(world.had) == sorted(wanted)
