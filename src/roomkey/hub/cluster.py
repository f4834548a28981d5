"""The hub's side of its node in a cluster: subscriptions for its rooms, and emits to the sockets of other nodes.

A node's own sockets receive a packet first, and never wait for the bus. To the others, the packet goes once for each
partition with one of its rooms, encoded once. It arrives at most once, and from one node to one room in order.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from math import inf
from typing import Generic, NamedTuple, TypeVar

from roomkey.bus.cluster import Cluster
from roomkey.bus.node import Node
from roomkey.bus.partitions import partition_of
from roomkey.bus.protocol import Clock
from roomkey.bus.secrets import ClusterSecrets
from roomkey.bus.sids import SealedSids
from roomkey.errors import ConfigError
from roomkey.hub.emits import Emit, decode_emit, encode_emit
from roomkey.hub.rooms import Member, Room, Rooms, Sids, Target
from roomkey.wire import Message

LOG = logging.getLogger("roomkey.hub")

MOST_COPIES = 16
"""A packet for rooms in more partitions goes to every node instead."""

HEADROOM = 1024
"""Bytes of a message to another node besides its body."""

UNSUBSCRIBED_SECONDS = 5.0
"""How long joins do not wait for subscriptions after one of them took too long."""

EMIT = "emit"

S = TypeVar("S", bound=Member)


def check_room(room: object) -> Room:
    """Return the name of a room.

    Raises:
        ConfigError: nodes cannot send it to each other.
    """
    if not isinstance(room, str | int):
        raise ConfigError(f"the name of a room must be a string or a number in a cluster, not {type(room).__name__}")
    return room


class Copy(NamedTuple):
    """One message of an emit: to a node, to the nodes that need a partition, or to all; and its receivers there."""

    to: str | None
    partition: int | None
    emit: Emit


class ClusterRooms(Rooms[S]):
    """The sockets of a node, which subscribes to the partitions of its rooms.

    Args:
        node: the node.
    """

    def __init__(self, node: Node) -> None:
        super().__init__()
        self._node = node

    def enter(self, socket: S, room: Room) -> None:
        """Add a socket to a room; its first socket needs the room's partition."""
        is_new = (socket.namespace, room) not in self._rooms
        super().enter(socket, room)
        if is_new:
            self._node.need(partition_of(socket.namespace, str(room)))

    def _drop(self, socket: S, rooms: Iterable[Room]) -> None:
        """Remove a socket from rooms; the last socket of a room releases its partition."""
        before = [(socket.namespace, room) for room in rooms if (socket.namespace, room) in self._rooms]
        super()._drop(socket, [room for _, room in before])
        for namespace, room in before:
            if (namespace, room) not in self._rooms:
                self._node.release(partition_of(namespace, str(room)))


class HubNode(Generic[S]):
    """A hub as one node of a cluster.

    Args:
        cluster: the bus and the secrets.
        clock: where to read the time.

    Attributes:
        node: the node.
        rooms: the sockets of this node, by ID and by room.
        new_sid: makes session and socket IDs that name this node.
        node_of: returns the node that made an ID, or None.
        max_body: the largest body of a message to other nodes, in bytes.
        prepare_to_join: called before the node joins the cluster.

    Raises:
        ConfigError: the cluster already belongs to another hub.
    """

    def __init__(self, cluster: Cluster, clock: Clock) -> None:
        self.node = cluster.node(clock)
        self.rooms: ClusterRooms[S] = ClusterRooms(self.node)
        assert isinstance(cluster.secrets, ClusterSecrets)
        self._sids = SealedSids(self.node.id, cluster.secrets.keys("sid"))
        self.new_sid = self._sids.new
        self.node_of = self._sids.node_of
        self.max_body = cluster.bus.max_payload - HEADROOM
        self.prepare_to_join: Callable[[], Awaitable[None]] | None = None
        self._clock = clock
        self._opening: asyncio.Future[None] | None = None
        self._waits_from = -inf
        self.node.on(EMIT, self._emitted)

    async def open(self) -> None:
        """Join the cluster, unless that has begun. Return when connected, and after 1 s in any case."""
        if self._opening is None or self._opening.cancelled():
            self._opening = asyncio.ensure_future(self._join())
        if not self._opening.done() or self._opening.exception() is not None:
            await asyncio.shield(self._opening)

    async def _join(self) -> None:
        if self.prepare_to_join is not None:
            await self.prepare_to_join()
        await self.node.open()

    async def close(self) -> None:
        """Leave the cluster."""
        await self.node.close()

    # Where a socket is

    def elsewhere(self, sid: object) -> str | None:
        """Return the node of a socket ID that another node has made, whether that is alive or not; or None."""
        owner = self.node_of(sid) if isinstance(sid, str) and sid not in self.rooms.by_sid else None
        return None if owner == self.node.id else owner

    # Joins

    async def ready(self, namespace: str, room: Room) -> None:
        """Wait until the emits of other nodes to a room arrive: 1 second at most, and not while the bus is away."""
        if not self.node.connected or self._clock.monotonic() < self._waits_from:
            return
        if not await self.node.ready(partition_of(namespace, str(room))):
            self._waits_from = self._clock.monotonic() + UNSUBSCRIBED_SECONDS

    async def prepare(self, namespace: str, room: Room | None) -> None:
        """Join the cluster, and subscribe for the room that a socket joins when it is admitted."""
        await self.open()
        if room is None:
            return
        partition = partition_of(namespace, str(room))
        self.node.need(partition)
        try:
            await self.ready(namespace, room)
        finally:
            self.node.release(partition)  # it stays for a minute

    # Emits

    def deliver(self, message: Message, namespace: str, target: Target, skip: Sids = None) -> None:
        """Write a packet to the sockets of this node that are meant, and send it to the nodes of the others.

        Raises:
            ValueError: the packet is too large for the bus; nobody receives it.
            ConfigError: the name of a room is neither a string nor a number; nobody receives it.
        """
        if isinstance(target, str) and target in self.rooms.by_sid:
            self.rooms.deliver(message, namespace, target, skip)
            return
        if isinstance(target, Iterable) and not isinstance(target, str):
            target = tuple(target)
        skipped = frozenset((skip,) if isinstance(skip, str) else skip or ())
        copies = [
            (node, partition, self.check_size(encode_emit(emit, message)))
            for node, partition, emit in self._copies(namespace, target, skipped)
        ]
        self.rooms.deliver(message, namespace, target, skipped)
        for node, partition, body in copies:
            self.node.tell(EMIT, body, to=node, partition=partition)

    def check_size(self, body: bytes) -> bytes:
        """Return the body of a message.

        Raises:
            ValueError: it is too large for the bus.
        """
        if len(body) > self.max_body:
            raise ValueError(f"the event is too large for the bus: more than {self.max_body} bytes")
        return body

    def _copies(self, namespace: str, target: Target, skip: frozenset[str]) -> Iterable[Copy]:
        """Return to which nodes and partitions a packet goes, and its receivers there; each socket is in one copy."""
        if target is None:
            return (Copy(None, None, Emit(namespace, skip=skip)),)
        if isinstance(target, tuple):
            return self._copies_for_several(namespace, target, skip)
        room = check_room(target)
        owner = self.node_of(room) if isinstance(room, str) else None
        if owner is None:
            return (Copy(None, partition_of(namespace, str(room)), Emit(namespace, (room,), skip=skip)),)
        if owner == self.node.id or room in skip:
            return ()
        return (Copy(owner, None, Emit(namespace, sids=(str(room),), direct=True)),)

    def _copies_for_several(self, namespace: str, target: tuple[Room, ...], skip: frozenset[str]) -> Iterable[Copy]:
        sids: dict[str, list[str]] = {}
        rooms: dict[int, list[Room]] = {}
        for name in dict.fromkeys(map(check_room, target)):
            owner = self.node_of(name) if isinstance(name, str) else None
            if owner is None:
                rooms.setdefault(partition_of(namespace, str(name)), []).append(name)
            elif owner != self.node.id:
                sids.setdefault(owner, []).append(str(name))
        for owner, named in sids.items():
            yield Copy(owner, None, Emit(namespace, (), sids=tuple(named), skip=skip))
        skip = skip.union(*sids.values())
        if len(rooms) > MOST_COPIES:
            every = tuple(room for names in rooms.values() for room in names)
            yield Copy(None, None, Emit(namespace, every, skip=skip))
            return
        before: tuple[Room, ...] = ()
        for partition, names in rooms.items():
            yield Copy(None, partition, Emit(namespace, tuple(names), before, skip=skip))
            before += tuple(names)

    def _emitted(self, _sender: str, body: bytes) -> None:
        """Write a packet of another node to the sockets of this one that are meant."""
        try:
            emit, message = decode_emit(body)
        except ValueError:
            self.node.counts["dropped: malformed"] += 1
            return
        namespace, rooms, but, sids, skip, direct = emit
        if direct:
            if (socket := self.rooms.get(sids[0], namespace)) is not None:
                self.rooms.write_direct(message, socket)
            return
        found: Collection[S]
        if sids:
            found = [
                socket for sid in sids if sid not in skip and (socket := self.rooms.get(sid, namespace)) is not None
            ]
        else:
            found = self.rooms.receivers(namespace, rooms if rooms is None or len(rooms) != 1 else rooms[0], skip)
        if but:
            found = [socket for socket in found if socket.rooms.isdisjoint(but)]
        self.rooms.write(message, found)
