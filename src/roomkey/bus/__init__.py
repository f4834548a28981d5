"""Several processes or machines that behave as one server.

A :class:`Cluster` has the bus that connects the nodes and the secrets that sign their messages. To carry messages in
another way, implement :class:`Bus`.

The public names are those in ``__all__``. The modules of this package are internal.
"""

from __future__ import annotations

from roomkey.bus.cluster import Cluster
from roomkey.bus.memory import MemoryBus, MemoryNetwork
from roomkey.bus.protocol import Bus
from roomkey.bus.secrets import ClusterSecrets

__all__ = ["Bus", "Cluster", "ClusterSecrets", "MemoryBus", "MemoryNetwork"]
