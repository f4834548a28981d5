"""The sockets of a hub, by namespace and room, and the delivery of packets to them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Generic, Protocol, TypeAlias, TypeVar

from roomkey.core.admission import AdmissionState
from roomkey.guard.socket import GuardedSocket
from roomkey.hub.engine_session import EngineSession
from roomkey.wire import Message

Room: TypeAlias = str | int
"""A room's name; whatever can be a dictionary's key works."""

Target: TypeAlias = Room | Iterable[Room] | None
Sids: TypeAlias = str | Iterable[str] | None

NOWHERE: set[Room] = set()
"""The rooms of every socket that is in none: thousands of empty sets would cost memory. Nothing is added to it."""

_ADMITTED = AdmissionState.ADMITTED  # an Enum's members are slow to look up by its name


class Member(Protocol):
    """The attributes of a socket that the table uses."""

    sid: str
    namespace: str
    rooms: set[Room]
    guarded: GuardedSocket
    session: EngineSession

    def send_direct(self, message: Message) -> None:
        """Send a packet that is addressed to this socket alone."""


S = TypeVar("S", bound=Member)


class Rooms(Generic[S]):
    """Sockets by namespace, and by room within it. A socket's own sid is a room with it alone, and costs nothing.

    Attributes:
        by_sid: all of them.
        delivered: the number of packets that were written to them.
    """

    def __init__(self) -> None:
        self.by_sid: dict[str, S] = {}
        self.delivered = 0
        self._namespaces: dict[str, dict[str, S]] = {}
        # A room with one socket, as most are, needs no dictionary of its own: thousands of them would cost memory.
        self._rooms: dict[tuple[str, Room], S | dict[str, S]] = {}

    def get(self, sid: str, namespace: str | None = None) -> S | None:
        """Return the socket with this sid (in this namespace), or None."""
        socket = self.by_sid.get(sid)
        return socket if socket is not None and namespace in (None, socket.namespace) else None

    def add(self, socket: S) -> None:
        """Add a new socket to its namespace."""
        self.by_sid[socket.sid] = socket
        self._namespaces.setdefault(socket.namespace, {})[socket.sid] = socket

    def remove(self, socket: S) -> None:
        """Remove a socket from its namespace and all its rooms. A second call does nothing."""
        self.by_sid.pop(socket.sid, None)
        self._drop(socket, socket.rooms)
        socket.rooms = NOWHERE
        others = self._namespaces.get(socket.namespace, {})
        if others.pop(socket.sid, None) is not None and not others:
            del self._namespaces[socket.namespace]

    def enter(self, socket: S, room: Room) -> None:
        """Add a socket to a room."""
        if socket.rooms is NOWHERE:
            socket.rooms = set()
        socket.rooms.add(room)
        key = socket.namespace, room
        others = self._rooms.setdefault(key, socket)
        if others is not socket:
            if not isinstance(others, dict):
                others = self._rooms[key] = {others.sid: others}
            others[socket.sid] = socket

    def leave(self, socket: S, room: Room) -> None:
        """Remove a socket from a room, if it is in it."""
        self._drop(socket, (room,))
        socket.rooms.discard(room)

    def _drop(self, socket: S, rooms: Iterable[Room]) -> None:
        for room in rooms:
            key = socket.namespace, room
            found = self._rooms.get(key)
            if isinstance(found, dict):
                found.pop(socket.sid, None)
            if found is socket or found == {}:
                del self._rooms[key]

    def in_room(self, namespace: str, room: Room | None) -> Iterable[S]:
        """Return the sockets in a room, or in a namespace if there is no room."""
        if room is None:
            return self._namespaces.get(namespace, {}).values()
        alone = self.by_sid.get(room) if isinstance(room, str) else None
        if alone is not None:
            return (alone,) if alone.namespace == namespace else ()
        found = self._rooms.get((namespace, room))
        if isinstance(found, dict):
            return found.values()
        return () if found is None else (found,)

    def receivers(self, namespace: str, target: Target, skipped: frozenset[str]) -> tuple[S, ...]:
        """Return the sockets that receive a packet for a room, for several (each socket once) or for all.

        Returns:
            A copy: a socket that reads too slowly is closed, and leaves its rooms, while it is written to.
        """
        found: Iterable[S]
        if isinstance(target, Iterable) and not isinstance(target, str):
            found = {socket.sid: socket for room in target for socket in self.in_room(namespace, room)}.values()
        else:
            found = self.in_room(namespace, target)
        return tuple(socket for socket in found if socket.sid not in skipped) if skipped else tuple(found)

    def deliver(self, message: Message, namespace: str, target: Target, skip: Sids = None) -> None:
        """Write a packet, which was encoded once, to each admitted socket, without a task for each."""
        skipped = frozenset((skip,) if isinstance(skip, str) else skip or ())
        alone = self.get(target, namespace) if isinstance(target, str) else None
        if alone is None:
            self.write(message, self.receivers(namespace, target, skipped))
        elif alone.sid not in skipped:
            self.write_direct(message, alone)

    def write(self, message: Message, receivers: Collection[S]) -> None:
        """Write a packet to those of some sockets that are admitted."""
        self.delivered += len(receivers)
        for socket in receivers:
            if socket.guarded.state is _ADMITTED:
                socket.session.send_batched(message)

    def write_direct(self, message: Message, socket: S) -> None:
        """Write a packet that is addressed to one socket alone."""
        self.delivered += 1
        socket.send_direct(message)
