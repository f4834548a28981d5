"""The settings of the hub: those of its guard, and its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass, field
from math import inf

from roomkey.bus.cluster import Cluster
from roomkey.errors import ConfigError
from roomkey.guard.settings import GuardSettings
from roomkey.guard.socket_authorizer import OwnJoins
from roomkey.wire import Limits

ATTACHMENT_SECONDS = 10.0
REQUEST_SECONDS = 10.0
"""How long the attachments of a packet and the body of a request may take."""

LINGER_SECONDS = 1.0
"""How long after the end of a session a poll may fetch what it did not receive."""

MAX_HEAD = 16_384
"""Largest head of a request, in bytes."""

BINDINGS = (None, "address", "cookie")

AnyOrigin = str | Iterable[str] | Callable[..., bool] | None
"""The forms of ``cors_allowed_origins``."""


@dataclass(frozen=True, eq=False, repr=False)
class HubSettings(GuardSettings):
    """The settings that the hub has besides those of :class:`roomkey.guard.settings.GuardSettings`.

    Attributes:
        path: where Socket.IO is served, relative to the prefix under which :attr:`Hub.asgi` is mounted.
        namespaces: namespaces that clients can connect to even if they have no handler; ``"*"`` allows every name.
        cors_allowed_origins: other origins whose web pages can connect: one, several, ``"*"``, or a function
            ``allowed(origin, environ)``. By default, only the server's own origin.
        session_binding: ``"cookie"`` binds a polling session to a cookie, ``"address"`` to the client's address. A
            session that was opened with a token in a header, cookie or query is always bound to its subject.
        own_joins: ``"policy"`` also checks the application's own :meth:`Hub.enter_room` in namespaces for which the
            policy has room rules; ``"allow"`` does not.
        ping_interval: seconds between the server's pings.
        ping_timeout: seconds to wait for a pong.
        event_rate: events per second that one connection may send. Further events are rejected; twice as many close
            the connection.
        limits: the size and number of everything that a client may send.
        cluster: makes the hub one of several nodes that behave as one server. Its journal is the default of
            ``revocations``.
        max_namespaces: not an argument; it is the ``namespaces`` of ``limits``.
        packet_before_admission: not an argument; the limit of a packet while the connection has no admitted socket,
            in bytes.
        body_before_admission: not an argument; the same for the body of a polling request.
    """

    _: KW_ONLY
    path: str = "/socket.io"
    namespaces: Iterable[str] = ("/",)
    cors_allowed_origins: AnyOrigin = None
    session_binding: str | None = None
    own_joins: OwnJoins = "policy"
    ping_interval: float = 25.0
    ping_timeout: float = 20.0
    event_rate: float = 2000.0
    limits: Limits = field(default_factory=Limits)
    cluster: Cluster | None = None
    max_namespaces: int = field(init=False)
    packet_before_admission: int = field(init=False)
    body_before_admission: int = field(init=False)

    def __post_init__(self) -> None:
        """Check the settings."""
        object.__setattr__(self, "max_namespaces", self.limits.namespaces)
        if self.cluster is not None:
            self._check_cluster(self.cluster)
        super().__post_init__()
        if self.session_binding not in BINDINGS:
            raise ConfigError("session_binding must be None, 'address' or 'cookie'")
        if not (0 < self.ping_interval < inf and 0 < self.ping_timeout < inf):
            raise ConfigError("ping_interval and ping_timeout must be more than 0 seconds")
        if not self.event_rate >= 1:
            raise ConfigError("event_rate must be at least 1 event per second")
        # Attributes, because every message is compared with them.
        object.__setattr__(self, "packet_before_admission", min(self.limits.payload, self.anonymous_packet))
        object.__setattr__(self, "body_before_admission", min(self.limits.payload, self.anonymous_body))

    def _check_cluster(self, cluster: Cluster) -> None:
        if not isinstance(cluster, Cluster):
            raise ConfigError("cluster must be a roomkey.bus.Cluster: Cluster(bus, secrets=[…])")
        if self.revocations is None:
            object.__setattr__(self, "revocations", cluster.journal)
        if self.revocations is None:
            raise ConfigError(
                "a cluster requires a store of revocations that all nodes share, or a revocation would reach one node "
                "alone; pass Cluster(…, journal=…), or revocations=SqlRevocations('postgresql://…')"
            )
