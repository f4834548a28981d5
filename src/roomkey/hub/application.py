"""The application of a hub: its handlers, its sockets and the guard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from roomkey.bus.node import Node
from roomkey.core.ack_expiry import AckExpiry
from roomkey.core.revocations import Revocation
from roomkey.guard.guard import AsyncioGuard
from roomkey.guard.host import new_sid
from roomkey.hub.cluster import HubNode
from roomkey.hub.handlers import Handlers
from roomkey.hub.rooms import Rooms, Sids, Target
from roomkey.hub.settings import HubSettings
from roomkey.wire import Message

WAKE = "wake"
"""The message that the store of revocations has something new."""


class Application:
    """The objects that the parts of a hub share. It does not depend on any of these parts.

    Args:
        settings: the hub's.

    Attributes:
        settings: the hub's.
        guard: decides about connections, sockets and events.
        handlers: finds the handler of an event.
        rooms: the sockets, by ID and by room.
        ack_expiry: tells which acknowledgements are no longer expected.
        tasks: runs coroutines.
        counts: the number of refused requests and closed connections, by reason.
        cluster: this node of a cluster; None without one.
        deliver: writes a packet to each admitted socket of a room, on all nodes.
        new_sid: makes the IDs of sessions and sockets; in a cluster, they name their node.
    """

    __slots__ = (
        "ack_expiry",
        "cluster",
        "counts",
        "deliver",
        "guard",
        "handlers",
        "new_sid",
        "rooms",
        "settings",
        "tasks",
    )

    def __init__(self, settings: HubSettings) -> None:
        self.settings = settings
        self.guard = AsyncioGuard.of(settings)
        self.handlers = Handlers(settings.namespaces)
        self.ack_expiry = AckExpiry()
        self.tasks = self.guard.background
        self.counts: Counter[str] = Counter()
        self.cluster: HubNode[Any] | None = None
        self.rooms: Rooms[Any] = Rooms()  # of Socket, which needs the application itself
        self.deliver: Callable[[Message, str, Target, Sids], None] = self.rooms.deliver
        self.new_sid: Callable[[], str] = new_sid
        if settings.cluster is not None:
            self._join(HubNode(settings.cluster, self.guard.clock))

    @property
    def node(self) -> Node | None:
        """This node on the bus; None without a cluster."""
        return None if self.cluster is None else self.cluster.node

    def _join(self, cluster: HubNode[Any]) -> None:
        """Share with the other nodes what would otherwise be of this process alone."""
        self.cluster = cluster
        self.rooms = cluster.rooms
        self.deliver = cluster.deliver
        self.new_sid = cluster.new_sid
        guard, node = self.guard, cluster.node
        guard.join_cluster(node, cluster.node_of)

        def wake_others(_revoked: Revocation) -> int:
            node.tell(WAKE, b"")
            return 0

        def connected(is_connected: bool) -> None:
            if is_connected:  # messages may have been lost before
                guard.read_revocations()

        guard.follow_revocations(wake_others)
        node.on(WAKE, lambda sender, body: guard.read_revocations())
        node.on_state.append(connected)
