"""The current state of admitted sockets, for applications that ask who is connected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from roomkey.core.identity import Identity


@dataclass(frozen=True, slots=True)
class LiveSocket:
    """The current state of an admitted socket.

    Attributes:
        sid: its Socket.IO ID. Do not log or return it: with it, a client could continue a polling session.
        namespace: its namespace.
        identity: the identity of its token.
        rooms: the rooms that the policy allowed.
        address: the client's address.
        node: the node that it is connected to; empty without a cluster.
    """

    sid: str = field(repr=False)
    namespace: str
    identity: Identity
    rooms: frozenset[str]
    address: str
    node: str = ""


@dataclass(frozen=True, slots=True)
class FoundSockets:
    """The admitted sockets that a query found, on all nodes: a collection to iterate over.

    Attributes:
        sockets: the sockets.
        missing: the nodes that did not answer in time. Their sockets are not among those found.
        complete: True if every node answered. While the bus is away, this is False, and other nodes may not be known.
    """

    sockets: tuple[LiveSocket, ...]
    missing: frozenset[str] = frozenset()
    complete: bool = True

    def __iter__(self) -> Iterator[LiveSocket]:
        return iter(self.sockets)

    def __len__(self) -> int:
        return len(self.sockets)
