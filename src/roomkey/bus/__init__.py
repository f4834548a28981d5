"""Several processes or machines that behave as one server.

A :class:`Cluster` has the bus that connects the nodes and the secrets that sign their messages. :class:`RedisBus`
connects machines, :class:`UnixBus` the processes of one machine without a broker, and :class:`MemoryBus` the nodes of
one process, for tests. To carry messages in another way, implement :class:`Bus`.

The public names are those in ``__all__``. The modules of this package are internal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkey.bus.cluster import Cluster
from roomkey.bus.memory import MemoryBus, MemoryNetwork
from roomkey.bus.protocol import Bus
from roomkey.bus.secrets import ClusterSecrets
from roomkey.extras import imported_when_used

if TYPE_CHECKING:
    from roomkey.bus.journal import RedisJournal
    from roomkey.bus.redis import RedisBus
    from roomkey.bus.redis_proofs import RedisProofs
    from roomkey.bus.unix import UnixBus
else:  # they need more, such as a client of Redis
    __getattr__ = imported_when_used(
        __name__,
        RedisBus="redis",
        RedisJournal="journal",
        RedisProofs="redis_proofs",
        UnixBus="unix",
    )

__all__ = [
    "Bus",
    "Cluster",
    "ClusterSecrets",
    "MemoryBus",
    "MemoryNetwork",
    "RedisBus",
    "RedisJournal",
    "RedisProofs",
    "UnixBus",
]
