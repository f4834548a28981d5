"""The settings of a cluster: several processes or machines that behave as one server."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path

from roomkey.bus.node import Node
from roomkey.bus.peers import Peers, split_address
from roomkey.bus.protocol import MAX_PAYLOAD, Bus, Clock
from roomkey.bus.secrets import ClusterSecrets, secrets_of
from roomkey.errors import ConfigError
from roomkey.stores.protocols import RevocationStore

__all__ = ["Cluster"]

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, eq=False, repr=False)
class Cluster:
    """Settings that make a hub one of several nodes.

    Args:
        bus: carries the messages between the nodes. Each node needs its own.
        secrets: one secret that all nodes share, or two while it is being rotated; see :class:`ClusterSecrets`.
        journal: the revocations of all nodes. By default, the ``revocations`` of the hub.
        address: what other machines call this node, as ``host:port``: there, it accepts the requests that they
            forward.
        listen: where it accepts them, if that differs from ``address``; port 0 chooses a free one.
        directory: a private directory, in which the nodes of one machine accept forwarded requests of each other.
        name: the name of the cluster. Clusters that share a Redis server need different ones.

    Raises:
        ConfigError: a secret, an address or the name is not valid.
    """

    bus: Bus
    _: KW_ONLY
    secrets: ClusterSecrets | Sequence[str | bytes]
    journal: RevocationStore | None = None
    address: str | None = None
    listen: str | None = None
    directory: Path | None = None
    name: str = "roomkey"
    _nodes: list[Node] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        """Check the settings."""
        object.__setattr__(self, "secrets", secrets_of(self.secrets))
        if not _NAME.fullmatch(self.name):
            raise ConfigError("invalid name of a cluster; use up to 64 letters, digits, dots, hyphens and underscores")
        for address in (self.address, self.listen):
            if address is not None:
                split_address(address)

    @classmethod
    def redis(
        cls,
        url: str,
        *,
        secrets: ClusterSecrets | Sequence[str | bytes],
        journal: RevocationStore | None = None,
        address: str | None = None,
        listen: str | None = None,
        directory: Path | None = None,
        name: str = "roomkey",
        max_payload: int = MAX_PAYLOAD,
    ) -> Cluster:
        """Return a cluster whose bus is Redis or Valkey, and which keeps its journal there.

        Args:
            url: the URL of the server, such as ``redis://localhost``; see :class:`RedisBus`.
            secrets: as for the class.
            journal: another journal, such as one in PostgreSQL. By default, a :class:`RedisJournal` at the same URL.
            address: as for the class.
            listen: as for the class.
            directory: as for the class.
            name: as for the class.
            max_payload: the largest message between nodes, in bytes.

        Raises:
            ConfigError: the URL, a secret or the name is not valid.
            ImportError: redis-py is missing.
        """
        from roomkey.bus.journal import RedisJournal
        from roomkey.bus.redis import RedisBus

        known = secrets_of(secrets)
        bus = RedisBus(url, max_payload=max_payload, probe_key=f"{name}:probe" if journal is None else None)
        if journal is None:
            journal = RedisJournal.at(url, secrets=known, name=name)
        return cls(bus, secrets=known, journal=journal, address=address, listen=listen, directory=directory, name=name)

    def node(self, clock: Clock) -> Node:
        """Create the node.

        Args:
            clock: where it reads the time.

        Raises:
            ConfigError: this cluster already has a node.
        """
        assert isinstance(self.secrets, ClusterSecrets)
        if self._nodes:
            raise ConfigError("this cluster already belongs to a hub; create one cluster for each hub")
        self._nodes.append(Node(self.bus, self.secrets, clock, address=self.address, prefix=self.name))
        return self._nodes[0]

    def peers(self, node: Node, max_message: int) -> Peers | None:
        """Create the links on which the node forwards requests. None if it has no address and no directory.

        Args:
            node: from :meth:`node`.
            max_message: the largest message in bytes.

        Raises:
            ConfigError: the path of the directory is too long.
        """
        assert isinstance(self.secrets, ClusterSecrets)
        listen = self.listen or self.address
        if listen is None and self.directory is None:
            return None
        return Peers(
            node,
            self.secrets.keys("peer"),
            directory=self.directory,
            listen=listen,
            address=self.address,
            max_message=max_message,
        )
