"""The interface that a host implements: a connection that can be closed, and one socket for each namespace on it.

A host is a Socket.IO server, such as the hub or python-socketio. For each thing that arrives, it calls one method of a
:class:`roomkey.guard.connection.GuardedConnection`; the guard decides, and answers through the objects described here.
Every method must work even if the connection is already gone. The page docs/internals/hosts.md has the rest.
"""

from __future__ import annotations

import os
from binascii import b2a_base64
from typing import Any, Protocol

from roomkey.errors import AuthError

CLIENT_DISCONNECT, SERVER_DISCONNECT = "client disconnect", "server disconnect"
"""Reasons that disconnect handlers receive, with the texts that python-socketio uses."""

_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def new_sid() -> str:
    """Return a new session or socket ID: 120 random bits in base64url, 20 characters."""
    return b2a_base64(os.urandom(15), newline=False).translate(_URL_SAFE).decode()


class HostConnection(Protocol):
    """One Engine.IO connection of the host.

    Attributes:
        reopens: a client can join a namespace again while the disconnect handler of its previous socket still runs.
    """

    reopens: bool

    async def refuse(self, namespace: str, message: str, data: object) -> None:
        """Reply to a CONNECT with CONNECT_ERROR.

        Args:
            message: the member ``message``.
            data: the member ``data``; None if there is none.
        """

    def on_admitted(self) -> None:
        """Allow what an admitted client can send, because a socket of the connection is admitted."""

    def close(self, code: int | None) -> None:
        """Close the transport after all sent packets have left, or after a short time. A second call does nothing.

        Args:
            code: the close code of a WebSocket, if it is not the usual one.
        """


class HostSocket(Protocol):
    """One client in one namespace.

    Attributes:
        sid: its Socket.IO id.
    """

    sid: str

    async def accept(self) -> None:
        """Reply to the CONNECT, and then send the packets that were held back for this socket."""

    async def send_event(self, event: str, data: object) -> None:
        """Send an event to this socket, in quarantine too."""

    async def send_ack(self, ack_id: int, data: object) -> None:
        """Send the acknowledgement of an event."""

    async def disconnect(self) -> None:
        """Send DISCONNECT for the namespace. The guard closes the connection next."""

    async def leave_namespace(self) -> None:
        """Send DISCONNECT and end this socket; others on its connection stay."""

    async def enter(self, room: str) -> None:
        """Add the socket to a room."""

    async def leave(self, room: str) -> None:
        """Remove the socket from a room, if it is in it."""

    def is_in(self, room: str) -> bool:
        """Return True if the socket is in the room, no matter who added it."""

    async def emit(self, room: str, event: str, data: object) -> None:
        """Send an event to all others in a room of this namespace."""

    def takes_payload(self) -> bool:
        """Return True if the application's connect handler accepts the payload of the CONNECT."""

    async def call_connect(self, payload: object) -> AuthError | None:
        """Call the application's connect handler.

        Args:
            payload: of the CONNECT packet.

        Returns:
            None if the handler accepted the client; otherwise an error with the handler's message and data.
        """

    def hears_disconnect(self) -> bool:
        """Return True if the application has a disconnect handler for this namespace."""

    async def call_disconnect(self, reason: str) -> None:
        """Call the application's disconnect handler, and log its exceptions."""

    def forget(self) -> None:
        """Delete everything that is kept about this socket, because it has ended. A second call does nothing."""


class _Gone:
    """The host's side of a connection or a socket that was forgotten. Its methods do nothing.

    It takes the place of the real one, so that the two sides do not keep each other in memory until the garbage
    collector runs.
    """

    sid = ""
    reopens = True

    def _do_nothing(self, *_arguments: object) -> None:
        """Reach nobody."""

    async def _reach_nobody(self, *_arguments: object) -> None:
        """Reach nobody."""

    def _is_not(self, *_arguments: object) -> bool:
        return False

    on_admitted = close = forget = _do_nothing
    refuse = accept = send_event = send_ack = disconnect = leave_namespace = _reach_nobody
    enter = leave = emit = call_connect = call_disconnect = _reach_nobody
    is_in = takes_payload = hears_disconnect = _is_not


GONE: Any = _Gone()
"""The host's side of what was forgotten: a :class:`HostConnection` and a :class:`HostSocket`."""
