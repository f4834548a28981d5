"""The limit of connections for each subject: on this node, or together on all nodes of a cluster.

In a cluster, one node at a time decides about a subject (:mod:`roomkey.core.turns`): it asks the others how many
connections the subject has there, and they answer after their own decisions. So the limit is exact, also for clients
that connect to several nodes at the same moment. If the connections cannot be counted, the socket is refused.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple

from roomkey.bus.node import SETTLE_SECONDS, Node
from roomkey.core.admission import AdmissionEvent
from roomkey.core.identity import Identity
from roomkey.core.subject_limits import SubjectUsage
from roomkey.core.turns import MAX_NUMBER, Turns
from roomkey.errors import LimitExceeded, Unavailable
from roomkey.guard.clock import Clock
from roomkey.guard.socket import ConnectionState, GuardContext, GuardedSocket
from roomkey.guard.waiting import Event, Lock, Waiting

ASK, END_OLDEST = "limit?", "limit-end?"
"""The questions to other nodes: how many connections a subject has, and to end its oldest one."""

ANSWER_SECONDS = 1.0
DECISION_SECONDS = 2.0
"""How long a node can take to answer, and how long a decision can take with its wait for earlier ones."""

START_SECONDS = SETTLE_SECONDS
"""How long decisions wait after the node has connected to the bus, until it knows the other nodes."""

Usage = SubjectUsage[ConnectionState]

_QUESTION = Struct(">16sQ")  # the subject's hash, and the number of the request for a turn
_ANSWER = Struct(">IQ")


class Held(NamedTuple):
    """The connections of a subject on one node.

    Attributes:
        number: how many there are.
        age: how long the oldest of them has been open, in milliseconds. Unlike a time, it means the same everywhere.
    """

    number: int
    age: int


class ConnectionLimit:
    """Counts the connections of each subject, and refuses or ends what is over the limit.

    Args:
        context: what all connections share, with the counts of this node.
    """

    def __init__(self, context: GuardContext) -> None:
        self._context = context
        self._cluster: ClusterCounts | None = None

    def share(self, node: Node) -> None:
        """Count the connections on all nodes from now on. Call this before the first connection."""
        usage = self._context.usage
        if usage is not None and usage.limits.sockets is not None:
            usage.use_hashes()
            self._cluster = ClusterCounts(usage, node, self._context.background, self._context.clock)

    async def count(self, socket: GuardedSocket, who: Identity) -> bool:
        """Count a socket for its subject, if that is limited and the socket has not ended.

        Returns:
            True if other nodes were asked: meanwhile, anything may have changed.

        Raises:
            LimitExceeded: the subject has too many connections.
            Unavailable: it is not known how many it has on other nodes.
        """
        usage = self._context.usage
        if usage is None or who.is_guest or not socket.live:
            return False
        name = usage.name_of(who)
        forget_ended(usage, name)
        if self._cluster is None or socket.connection in usage.connections(name):
            oldest = usage.connect(who, socket.connection)
            _counts_for(socket, who)
            if oldest is not None:
                end_connection(oldest)
            return False

        def take_place() -> None:
            if socket.live:  # it may have ended while the others were asked
                usage.add(who, socket.connection)
                _counts_for(socket, who)

        assert isinstance(name, bytes)
        await self._cluster.admit(name, socket.connection, take_place)
        return True


def _counts_for(socket: GuardedSocket, who: Identity) -> None:
    socket.uncount()  # a guest who presents two tokens at once counts for one of them
    socket.counted_for = who


def forget_ended(usage: Usage, name: object) -> None:
    """Stop counting what has ended, however long its transport and its disconnect handler take."""
    for connection in usage.connections(name):
        for socket in list(connection.sockets.values()):
            if not socket.live:
                socket.uncount()


def end_connection(connection: ConnectionState) -> None:
    """End the sockets of a connection, because a newer one takes its place."""
    for socket in list(connection.sockets.values()):
        socket.end(AdmissionEvent.REVOKE, LimitExceeded("sockets", "a newer connection took its place"))


@dataclass(slots=True)
class _Decisions:
    """The decisions about one subject on this node, one after the other.

    Attributes:
        lock: held by the decision under way.
        users: the number of decisions that hold the lock or wait for it.
        over: set when the decision under way is over; nodes that must wait for it wait for this.
    """

    lock: Lock
    over: Event
    users: int = 0


class ClusterCounts:
    """The connections of each subject on all nodes.

    Args:
        usage: the connections of this node, by the hash of their subject.
        node: this node.
        background: what to wait with.
        clock: where to read the time.
    """

    def __init__(self, usage: Usage, node: Node, background: Waiting, clock: Clock) -> None:
        self._usage = usage
        self._node = node
        self._background = background
        self._clock = clock
        self._turns = Turns(node.id)
        self._decisions: dict[bytes, _Decisions] = {}
        node.answer(ASK, self._asked)
        node.answer(END_OLDEST, self._told_to_end)

    async def admit(self, name: bytes, connection: ConnectionState, take_place: Callable[[], None]) -> None:
        """Call ``take_place`` if the subject can have one more connection, after its oldest has ended if necessary.

        Args:
            name: the hash of the subject.
            connection: the new one. If it counts since an earlier decision, because its client joins several
                namespaces at once, nobody is asked again.
            take_place: counts the new connection. Nothing else is decided about the subject meanwhile.

        Raises:
            LimitExceeded: the subject has too many connections.
            Unavailable: it is not known how many it has on other nodes.
        """
        decisions = self._decisions.get(name)
        if decisions is None:
            decisions = self._decisions[name] = _Decisions(self._background.lock(), self._background.event())
        decisions.users += 1
        try:
            async with self._background.deadline(DECISION_SECONDS), decisions.lock:
                if connection in self._usage.connections(name):
                    take_place()
                else:
                    await self._decide(name, decisions, take_place)
        except TimeoutError:
            raise Unavailable(
                f"the connections of the subject were not counted within {DECISION_SECONDS:g} s"
            ) from None
        finally:
            decisions.users -= 1
            if not decisions.users:
                del self._decisions[name]

    async def _decide(self, name: bytes, decisions: _Decisions, take_place: Callable[[], None]) -> None:
        if self._node.connected and not self._node.settled:  # it has just started: do not refuse those who come first
            await self._background.sleep(START_SECONDS)
        number = self._turns.request(name)
        try:
            held = await self._count(name, number)
            await self._make_room(name, held)
            take_place()
        finally:
            self._turns.end(name)
            decisions.over.set()
            decisions.over = self._background.event()

    async def _count(self, name: bytes, number: int) -> dict[str, Held]:
        """Ask all nodes, and return what they hold, by node."""
        if not self._node.settled:
            raise Unavailable("the other nodes are not known, so the connections of the subject cannot be counted")
        answers = await self._node.ask(ASK, _QUESTION.pack(name, number), seconds=ANSWER_SECONDS)
        # A node that has just gone has no connections any more, and its answer is not missing.
        if not self._node.settled or answers.missing & self._node.live.keys():
            raise Unavailable("a node did not say how many connections the subject has there")
        return {node: _read(answer) for node, answer in answers.by_node.items()} | {self._node.id: self._held(name)}

    async def _make_room(self, name: bytes, held: dict[str, Held]) -> None:
        """End the oldest connections until one more can be counted, or refuse it."""
        limits = self._usage.limits
        assert limits.sockets is not None
        while (total := sum(one.number for one in held.values())) >= limits.sockets:
            if limits.when_full == "refuse":
                raise LimitExceeded("sockets", f"{total} connections on all nodes already")
            oldest = max(held, key=lambda node: (held[node].number > 0, held[node].age))
            held[oldest] = await self._end_oldest(name, oldest)

    async def _end_oldest(self, name: bytes, node: str) -> Held:
        """End the oldest connection of a subject on a node, and return what it holds then."""
        if node == self._node.id:
            return self._end_here(name)
        answers = await self._node.ask(END_OLDEST, name, to=node, seconds=ANSWER_SECONDS)
        if node in answers.by_node:
            return _read(answers.by_node[node])
        if node in self._node.live:
            raise Unavailable("a node did not end the oldest connection of the subject")
        return Held(0, 0)

    def _end_here(self, name: bytes) -> Held:
        for connection in self._usage.connections(name)[:1]:
            end_connection(connection)
        return self._held(name)

    def _held(self, name: bytes) -> Held:
        """Return what this node holds."""
        forget_ended(self._usage, name)
        connections = self._usage.connections(name)
        age = self._clock.monotonic() - connections[0].opened_at if connections else 0.0
        return Held(len(connections), max(0, int(age * 1000)))

    # Questions of other nodes

    def _asked(self, sender: str, body: bytes) -> bytes | Awaitable[bytes]:
        """Say what this node holds: now, or after its own decision about the subject."""
        if len(body) != _QUESTION.size:
            raise ValueError("not a question about a subject")
        name, number = _QUESTION.unpack(body)
        if number >= MAX_NUMBER:
            raise ValueError("not the number of a turn")
        if sender not in self._node.live:  # this node would not ask it in turn, so it must not decide
            return b""
        if self._turns.must_wait(name, number, sender):
            return self._answer_after(self._decisions[name].over, name)
        return _ANSWER.pack(*self._held(name))

    async def _answer_after(self, over: Event, name: bytes) -> bytes:
        await over.wait()
        return _ANSWER.pack(*self._held(name))

    def _told_to_end(self, sender: str, body: bytes) -> bytes:
        """End the oldest connection here, and say what is left."""
        return _ANSWER.pack(*self._end_here(body))


def _read(answer: bytes) -> Held:
    if len(answer) != _ANSWER.size:
        raise Unavailable("a node did not say how many connections the subject has there")
    return Held(*_ANSWER.unpack(answer))
