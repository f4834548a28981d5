"""The interface of a hub for the modules that serve HTTP."""

from __future__ import annotations

from typing import Protocol

from roomkey.guard.background import Background
from roomkey.guard.guard import AsyncioGuard
from roomkey.hub.http.forwarding import Forwarding
from roomkey.hub.http.polling_requests import PollingRequests
from roomkey.hub.http.session_requests import SessionRequests


class SocketIOServer(Protocol):
    """The parts of a hub that HTTP uses."""

    @property
    def requests(self) -> SessionRequests:
        """Opens and finds sessions."""

    @property
    def polling(self) -> PollingRequests:
        """Answers the requests of long-polling clients."""

    @property
    def forwarding(self) -> Forwarding | None:
        """Forwards requests for the sessions of other nodes; None if there are no other nodes."""

    @property
    def guard(self) -> AsyncioGuard:
        """Has the clock and the event loop."""

    @property
    def tasks(self) -> Background:
        """Runs coroutines."""

    async def open(self) -> None:
        """Join the cluster, if there is one."""

    async def close(self) -> None:
        """Close every connection."""
