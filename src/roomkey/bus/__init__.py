"""Several processes or machines that behave as one server.

A :class:`Cluster` has the bus that connects the nodes and the secrets that sign their messages. :class:`RedisBus`
connects machines, :class:`UnixBus` the processes of one machine without a broker, and :class:`MemoryBus` the nodes of
one process, for tests. To carry messages in another way, implement :class:`Bus`.

The public names are those in ``__all__``. The modules of this package are internal.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from roomkey.bus.cluster import Cluster
from roomkey.bus.memory import MemoryBus, MemoryNetwork
from roomkey.bus.protocol import Bus
from roomkey.bus.secrets import ClusterSecrets

if TYPE_CHECKING:
    from roomkey.bus.journal import RedisJournal
    from roomkey.bus.redis import RedisBus
    from roomkey.bus.redis_proofs import RedisProofs
    from roomkey.bus.unix import UnixBus

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

_MODULES = {
    "RedisBus": "redis",
    "RedisJournal": "journal",
    "RedisProofs": "redis_proofs",
    "UnixBus": "unix",
}


def __getattr__(name: str) -> Any:
    """Import the names that need more, such as a client of Redis, when they are first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
