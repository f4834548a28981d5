"""The settings of the hub: those of its guard, and its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, field

from roomkey.guard.settings import GuardSettings
from roomkey.guard.socket_authorizer import OwnJoins
from roomkey.hub.http.origins import AnyOrigin
from roomkey.wire import Limits


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
        max_unsent: bytes that may wait for a slow client; if there are more, its connection is closed.
        event_rate: events per second that one connection may send. Further events are rejected; twice as many close
            the connection.
        limits: the size and number of everything that a client may send.
        max_namespaces: not an argument; it is the ``namespaces`` of ``limits``.
    """

    _: KW_ONLY
    path: str = "/socket.io"
    namespaces: Iterable[str] = ("/",)
    cors_allowed_origins: AnyOrigin = None
    session_binding: str | None = None
    own_joins: OwnJoins = "policy"
    ping_interval: float = 25.0
    ping_timeout: float = 20.0
    max_unsent: int = 1 << 20
    event_rate: float = 2000.0
    limits: Limits = field(default_factory=Limits)
    max_namespaces: int = field(init=False)

    def __post_init__(self) -> None:
        """Check the settings."""
        object.__setattr__(self, "max_namespaces", self.limits.namespaces)
        super().__post_init__()
