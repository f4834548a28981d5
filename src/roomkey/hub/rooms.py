"""Who is in which room."""

from __future__ import annotations

from collections.abc import Iterable

from roomkey.hub.socket import NOWHERE, Room, Socket

_NOBODY: dict[str, Socket] = {}


class Rooms:
    """Sockets by namespace, and by room within it. A socket's own sid is a room with it alone, and costs nothing."""

    def __init__(self) -> None:
        self.by_sid: dict[str, Socket] = {}
        self._namespaces: dict[str, dict[str, Socket]] = {}
        self._rooms: dict[tuple[str, Room], dict[str, Socket]] = {}

    def get(self, sid: str, namespace: str | None = None) -> Socket | None:
        """The socket of this sid (in this namespace), or None."""
        socket = self.by_sid.get(sid)
        return socket if socket is not None and namespace in (None, socket.namespace) else None

    def add(self, socket: Socket) -> None:
        """A socket has come."""
        self.by_sid[socket.sid] = socket
        self._namespaces.setdefault(socket.namespace, {})[socket.sid] = socket

    def remove(self, socket: Socket) -> None:
        """A socket has gone."""
        self.by_sid.pop(socket.sid, None)
        for room in tuple(socket.rooms):
            self.leave(socket, room)
        _drop(self._namespaces, socket.namespace, socket.sid)

    def enter(self, socket: Socket, room: Room) -> None:
        """Put a socket into a room."""
        if socket.rooms is NOWHERE:
            socket.rooms = set()
        socket.rooms.add(room)
        self._rooms.setdefault((socket.namespace, room), {})[socket.sid] = socket

    def leave(self, socket: Socket, room: Room) -> None:
        """Take a socket out of a room, if it is there."""
        socket.rooms.discard(room)
        _drop(self._rooms, (socket.namespace, room), socket.sid)

    def in_room(self, namespace: str, room: Room | None) -> Iterable[Socket]:
        """Who is in a room, or in a namespace where no room is given."""
        if room is None:
            return self._namespaces.get(namespace, _NOBODY).values()
        alone = self.by_sid.get(room) if isinstance(room, str) else None
        if alone is not None:
            return (alone,) if alone.namespace == namespace else ()
        return self._rooms.get((namespace, room), _NOBODY).values()

    def receivers(
        self, namespace: str, target: Room | Iterable[Room] | None, skipped: frozenset[str]
    ) -> tuple[Socket, ...]:
        """Who gets a packet for a room, for several (each socket once) or for everybody.

        Returns:
            A copy: a socket that reads too slowly is closed, and leaves its rooms, while it is written to.
        """
        found: Iterable[Socket]
        if isinstance(target, Iterable) and not isinstance(target, str):
            found = {socket.sid: socket for room in target for socket in self.in_room(namespace, room)}.values()
        else:
            found = self.in_room(namespace, target)
        return tuple(socket for socket in found if socket.sid not in skipped) if skipped else tuple(found)


def _drop(owner: dict, key: object, sid: str) -> None:  # type: ignore[type-arg]
    """Take a sid out of an inner dictionary, and that out of the outer one when it is empty."""
    inner = owner.get(key)
    if inner is not None:
        inner.pop(sid, None)
        if not inner:
            del owner[key]
