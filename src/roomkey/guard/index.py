"""The connections and sockets of one guard, and the sockets of a token, a login session or a subject."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from operator import attrgetter
from typing import Generic, Literal, Protocol, TypeVar

from roomkey.core.identity import Identity
from roomkey.core.networks import network_of

IdentityName = Literal["token", "session", "subject"]

_NAMES: tuple[IdentityName, ...] = ("subject", "session", "token")
_names_of = attrgetter("subject", "session_id", "token_id")
"""Returns the names of an identity under which its sockets are found, in the order of ``_NAMES``."""


class IndexedConnection(Hashable, Protocol):
    """The attributes of a connection that the index uses."""

    address: str
    anonymous: bool


class IndexedSocket(Hashable, Protocol):
    """The attributes of a socket that the index uses."""

    sid: str
    identity: Identity | None


C = TypeVar("C", bound=IndexedConnection)
S = TypeVar("S", bound=IndexedSocket)


class SocketIndex(Generic[C, S]):
    """Who is connected.

    Attributes:
        connections: all of them.
        sockets: by Socket.IO id, from their CONNECT on.
    """

    def __init__(self) -> None:
        self.connections: set[C] = set()
        self.sockets: dict[str, S] = {}
        # A name with one socket, as most are, needs no dictionary of its own: thousands of them would cost memory.
        self._named: dict[IdentityName, dict[str | None, S | dict[S, None]]] = {kind: {} for kind in _NAMES}
        self._anonymous: Counter[str] = Counter()  # by the name that network_of gives an address

    def __iter__(self) -> Iterator[S]:
        return iter(list(self.sockets.values()))

    # Connections

    def open(self, connection: C) -> None:
        """Add a connection, which does not have an admitted socket yet."""
        self.connections.add(connection)
        self._anonymous[network_of(connection.address)] += 1

    def anonymous_from(self, address: str) -> int:
        """Return the number of connections without an admitted socket from this address, or from its /64 network."""
        return self._anonymous[network_of(address)]

    def mark_admitted(self, connection: C) -> None:
        """Stop counting a connection for its address."""
        if connection.anonymous:
            connection.anonymous = False
            network = network_of(connection.address)
            self._anonymous[network] -= 1
            if self._anonymous[network] <= 0:
                del self._anonymous[network]

    def close(self, connection: C) -> None:
        """Forget a connection."""
        if connection in self.connections:
            self.connections.remove(connection)
            if connection.anonymous:
                self.mark_admitted(connection)

    # Sockets

    def identify(self, socket: S, who: Identity) -> None:
        """Set or replace the identity of a socket."""
        if socket.identity is not None:
            self._drop_names(socket, socket.identity)
        socket.identity = who
        for named, name in zip(self._named.values(), _names_of(who), strict=True):
            others = named.setdefault(name, socket) if name is not None else socket
            if others is not socket:
                if not isinstance(others, dict):
                    others = named[name] = {others: None}
                others[socket] = None

    def named(self, kind: IdentityName, name: str) -> tuple[S, ...]:
        """Return the sockets of one token, login session or subject, the oldest first."""
        found = self._named[kind].get(name)
        if found is None:
            return ()
        return tuple(found) if isinstance(found, dict) else (found,)

    def remove(self, socket: S) -> None:
        """Forget a socket. Its identity stays, for its disconnect handler."""
        if self.sockets.pop(socket.sid, None) is not None and socket.identity is not None:
            self._drop_names(socket, socket.identity)

    def _drop_names(self, socket: S, who: Identity) -> None:
        for named, name in zip(self._named.values(), _names_of(who), strict=True):
            found = named.get(name)
            if found is socket:
                del named[name]
            elif isinstance(found, dict):
                found.pop(socket, None)
                if not found:
                    del named[name]
