"""What a host (python-socketio, the hub) does for a guard."""

from __future__ import annotations

import os
from binascii import b2a_base64
from collections.abc import Coroutine
from typing import Any, Protocol

from roomkey.core.admission import Admission

_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def new_sid() -> str:
    """A new id of a session or a socket: 120 random bits in base64url, 20 characters."""
    return b2a_base64(os.urandom(15), newline=False).translate(_URL_SAFE).decode()


class ServerPort(Protocol):
    """The host's side. Every method copes with a connection that is gone already."""

    async def send_event(self, admission: Admission, event: str, data: object) -> None:
        """Send an event straight to one socket, past the quarantine: only what the guard itself says."""

    async def send_ack(self, admission: Admission, ack_id: int, data: object) -> None:
        """Answer an event that asked for an acknowledgement."""

    async def disconnect(self, admission: Admission) -> None:
        """Send DISCONNECT for the namespace; closing the transport does the rest."""

    async def leave(self, admission: Admission) -> None:
        """Send DISCONNECT and end this namespace connection; the others on its transport go on."""

    async def run_disconnect(self, admission: Admission) -> None:
        """Call the application's disconnect handler."""

    def close(self, connection_id: str) -> Coroutine[Any, Any, None] | None:
        """Close the transport truly, after what was sent before has left, or after a short while if it does not.

        Returns:
            What remains to be done, if anything.
        """

    async def emit(self, admission: Admission, room: str, event: str, data: object) -> None:
        """Send an event to everybody in a room of the socket's namespace, but not to the socket itself."""

    def is_in_room(self, admission: Admission, room: str) -> bool:
        """True if the socket is in the room, whoever put it there."""

    async def enter_room(self, admission: Admission, room: str) -> None:
        """Put the socket into a room."""

    async def leave_room(self, admission: Admission, room: str) -> None:
        """Take the socket out of a room."""

    def is_reserved_room(self, room: str) -> bool:
        """True for a name that the host uses for one socket, so that nobody may enter it as a room."""
