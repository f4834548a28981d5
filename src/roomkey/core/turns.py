"""Turns: which node of a cluster decides next about something that all nodes count together.

The algorithm is that of Ricart and Agrawala (1981). A node that wants a turn asks all others, and has the turn when all
of them have answered. A node answers immediately, unless it wants a turn for the same name and its own request is the
earlier one, or has the turn already: then it answers after its turn. So at most one node has the turn for a name, and
each answer includes everything that was decided in earlier turns.

Which request is earlier is decided without a clock: each request has a number that is higher than all numbers that its
node has seen (Lamport 1978). Between equal numbers, the name of the node decides.
"""

from __future__ import annotations

MAX_NUMBER = 1 << 62
"""Numbers from here on are not accepted: no honest cluster reaches them, and the next ones must still fit."""


class Turns:
    """The requests of one node for turns, at most one at a time for each name.

    Args:
        node: the name of this node, different from those of all others.
    """

    def __init__(self, node: str) -> None:
        self._node = node
        self._highest = 0
        self._requests: dict[bytes, int] = {}

    def request(self, name: bytes) -> int:
        """Begin to want a turn, and return the number of the request, which the other nodes are told.

        Call :meth:`end` after the turn, and also if no turn came.
        """
        assert name not in self._requests
        self._highest += 1
        self._requests[name] = self._highest
        return self._highest

    def end(self, name: bytes) -> None:
        """End a turn, or the wish for it. The nodes that wait can be answered now."""
        del self._requests[name]

    def must_wait(self, name: bytes, number: int, node: str) -> bool:
        """Note another node's request; return True if it is answered only after this node's own turn."""
        self._highest = max(self._highest, number)
        mine = self._requests.get(name)
        return mine is not None and (mine, self._node) < (number, node)
