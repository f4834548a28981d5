"""Which server of a Redis cluster has which channel."""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from roomkey.bus.partitions import SLOTS, TAGS
from roomkey.bus.redis_connections import LostConnection, text_of

__all__ = ["Server", "servers_of", "slot_of"]


@dataclass(frozen=True, slots=True)
class Server:
    """A server that accepts writes.

    Attributes:
        host: its address.
        port: its port.
        slots: the first and last slot of each of its ranges.
    """

    host: str
    port: int
    slots: tuple[tuple[int, int], ...]

    def tag(self) -> str:
        """Return a hash tag for which this server is responsible."""
        for tag in TAGS:
            if any(first <= slot_of(tag.encode()) <= last for first, last in self.slots):
                return tag
        return TAGS[0]


def slot_of(name: bytes) -> int:
    """Return the hash slot of a key or channel: CRC16 of its name, or of its hash tag."""
    start = name.find(b"{")
    if start >= 0:
        end = name.find(b"}", start + 1)
        if end > start + 1:
            name = name[start + 1 : end]
    return crc_hqx(name, 0) % SLOTS


def servers_of(answer: Sequence[Any], asked: str) -> tuple[Server, ...]:
    """Read the answer to CLUSTER SLOTS.

    Args:
        answer: ranges of slots, each with its first and last slot, its primary server and its replicas.
        asked: the host that answered. A server that does not know its own address leaves it empty.

    Raises:
        LostConnection: not every slot has a server.
    """
    ranges: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for first, last, primary, *_ in answer:
        host = text_of(primary[0]) if primary[0] else asked
        ranges.setdefault((asked if host == "?" else host, int(primary[1])), []).append((int(first), int(last)))
    covered = sum(last - first + 1 for slots in ranges.values() for first, last in slots)
    if covered != SLOTS:
        raise LostConnection("the cluster is incomplete")
    return tuple(Server(host, port, tuple(slots)) for (host, port), slots in sorted(ranges.items()))
