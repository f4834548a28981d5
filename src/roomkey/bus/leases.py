"""Which nodes are alive: each has a lease, which its heartbeats extend. This module is pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["HEARTBEAT_SECONDS", "LEASE_SECONDS", "Hello", "Leases", "NodeInfo"]

HEARTBEAT_SECONDS = 3.0
LEASE_SECONDS = 10.0
"""How often a node says that it is alive, and how long after that it counts as alive."""

MAX_HELLO = 4096
"""The largest body of a heartbeat, in bytes."""

MAX_ADDRESS = 256


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """Another node that is alive.

    Attributes:
        id: its name, which is new at each start.
        address: where it accepts peer links; None if it does not.
        info: what its other parts tell about themselves, such as the number of sockets.
        heard: when its last heartbeat arrived, by this node's monotonic clock.
    """

    id: str
    address: str | None
    info: Mapping[str, Any]
    heard: float


@dataclass(frozen=True, slots=True)
class Hello:
    """The body of a heartbeat.

    Attributes:
        address: as in :class:`NodeInfo`.
        info: as in :class:`NodeInfo`.
        reply: True if the sender does not know the other nodes, and asks for their heartbeats.
    """

    address: str | None = None
    info: Mapping[str, Any] = field(default_factory=dict)
    reply: bool = False

    def encode(self) -> bytes:
        """Return the body.

        Raises:
            ValueError: it is too large.
        """
        members = {"address": self.address, "info": dict(self.info), "reply": self.reply}
        body = json.dumps(members, separators=(",", ":")).encode()
        if len(body) > MAX_HELLO:
            raise ValueError(f"the info of a node has more than {MAX_HELLO} bytes; keep it short")
        return body

    @classmethod
    def decode(cls, body: bytes) -> Hello:
        """Read the body.

        Raises:
            ValueError: it is not the body of a heartbeat.
        """
        if len(body) > MAX_HELLO:
            raise ValueError("a heartbeat is too large")
        try:
            members = json.loads(body)
        except RecursionError:
            raise ValueError("a heartbeat is nested too deeply") from None
        if not isinstance(members, dict):
            raise ValueError("a heartbeat is not an object")
        address, info, reply = members.get("address"), members.get("info"), members.get("reply")
        if not isinstance(info, dict) or not isinstance(reply, bool):
            raise ValueError("a heartbeat has a member of the wrong type")
        if address is not None and not (isinstance(address, str) and len(address) <= MAX_ADDRESS):
            raise ValueError("a heartbeat has an invalid address")
        return cls(address, info, reply)


class Leases:
    """The nodes that are alive.

    Attributes:
        live: the other nodes by their name.
    """

    def __init__(self) -> None:
        self.live: dict[str, NodeInfo] = {}

    def extend(self, node: str, hello: Hello, now: float) -> bool:
        """Give a node a lease, or extend it; return True if it had none.

        Args:
            node: its name.
            hello: its heartbeat.
            now: seconds on a monotonic clock, here and below.
        """
        is_new = node not in self.live
        self.live[node] = NodeInfo(node, hello.address, hello.info, now)
        return is_new

    def end(self, node: str) -> bool:
        """End a lease; return True if there was one."""
        return self.live.pop(node, None) is not None

    def expired(self, now: float) -> list[str]:
        """Return the nodes whose lease is over."""
        return [node for node, info in self.live.items() if info.heard + LEASE_SECONDS <= now]

    def excuse(self, now: float) -> None:
        """Give every node the time of two heartbeats, because this node itself did not listen for a while."""
        earliest = now - LEASE_SECONDS + 2 * HEARTBEAT_SECONDS
        for node, info in self.live.items():
            if info.heard < earliest:
                self.live[node] = NodeInfo(node, info.address, info.info, earliest)
