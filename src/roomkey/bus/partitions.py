"""The channels of a cluster. Rooms are hashed into 128 partitions, each with a channel of its own.

So a node receives only the broadcasts for the partitions that its rooms need, and a server with a million rooms does
not have a million channels. This module is pure.
"""

from __future__ import annotations

from binascii import crc_hqx
from itertools import count
from zlib import crc32

__all__ = ["PARTITIONS", "Channels", "partition_of"]

PARTITIONS = 128

SLOTS = 16_384
"""The hash slots of a Redis cluster."""


def partition_of(namespace: str, room: str) -> int:
    """Return the partition of a room, from 0 to 127. It is the same on all nodes and in all versions."""
    return crc32(f"{namespace}\0{room}".encode("utf-8", "surrogatepass")) % PARTITIONS


def _tags() -> tuple[str, ...]:
    """Return one hash tag for each partition, so that each has its own 128th of the slots of a Redis cluster.

    Then each of its servers has as many partitions as another. The tags 0 to 127 would not be spread evenly.
    """
    tags: dict[int, str] = {}
    for number in count():
        tag = str(number)
        tags.setdefault(crc_hqx(tag.encode(), 0) % SLOTS * PARTITIONS // SLOTS, tag)
        if len(tags) == PARTITIONS:
            return tuple(tags[partition] for partition in range(PARTITIONS))
    raise AssertionError("unreachable")


TAGS = _tags()


class Channels:
    """The names of the channels of one cluster.

    Args:
        prefix: what they begin with. Clusters that share a Redis server need different ones.

    Attributes:
        everybody: the channel of all nodes.
        partitions: the channels of the partitions.
    """

    def __init__(self, prefix: str = "roomkey") -> None:
        self._prefix = prefix
        self.everybody = f"{prefix}:all"
        self.partitions = tuple(f"{prefix}:{{{tag}}}" for tag in TAGS)

    def of_node(self, node: str) -> str:
        """Return the channel of one node."""
        return f"{self._prefix}:node:{node}"
