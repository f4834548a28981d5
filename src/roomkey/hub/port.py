"""What a guard has the hub do: the hub's :class:`roomkey.guard.port.ServerPort`."""

from __future__ import annotations

from roomkey.core.admission import Admission
from roomkey.core.names import looks_like_sid
from roomkey.hub.dispatch import Dispatch
from roomkey.hub.session import SERVER_DISCONNECT
from roomkey.hub.sessions import Sessions
from roomkey.hub.verbs import Verbs
from roomkey.wire import Message, PacketType, encode


class HubPort:
    """The hub, seen by its guard.

    Args:
        verbs: the hub's verbs.
        sessions: its sessions.
        dispatch: calls the disconnect handler.
    """

    def __init__(self, verbs: Verbs, sessions: Sessions, dispatch: Dispatch) -> None:
        self._verbs = verbs
        self._sockets = verbs.sockets
        self._sessions = sessions
        self._dispatch = dispatch

    async def send_event(self, admission: Admission, event: str, data: object) -> None:
        """Send an event straight to one socket."""
        self._send(admission, encode(PacketType.EVENT, admission.namespace, [event, data]))

    async def send_ack(self, admission: Admission, ack_id: int, data: object) -> None:
        """Answer an event."""
        self._send(admission, encode(PacketType.ACK, admission.namespace, [data], ack_id))

    async def disconnect(self, admission: Admission) -> None:
        """Send DISCONNECT."""
        self._send(admission, encode(PacketType.DISCONNECT, admission.namespace))

    def _send(self, admission: Admission, message: Message) -> None:
        session = self._sessions.active.get(admission.connection_id)
        if session is not None:
            session.send(message)

    async def leave(self, admission: Admission) -> None:
        """End one namespace connection."""
        await self._verbs.disconnect(admission.sid)

    async def run_disconnect(self, admission: Admission) -> None:
        """Call the application's disconnect handler."""
        await self._dispatch.run_disconnect(admission, SERVER_DISCONNECT)

    def close(self, connection_id: str) -> None:
        """Close the transport; nothing remains to be done."""
        session = self._sessions.active.get(connection_id)
        if session is not None:
            session.end(SERVER_DISCONNECT)

    async def emit(self, admission: Admission, room: str, event: str, data: object) -> None:
        """Send an event to the others in a room."""
        await self._verbs.emit(event, data, room=room, skip_sid=admission.sid, namespace=admission.namespace)

    def is_in_room(self, admission: Admission, room: str) -> bool:
        """True if the socket is in the room."""
        socket = self._sockets.get(admission.sid)
        return socket is not None and room in socket.rooms

    async def enter_room(self, admission: Admission, room: str) -> None:
        """Put the socket into a room."""
        socket = self._sockets.get(admission.sid)
        if socket is not None:
            self._sockets.enter(socket, room)

    async def leave_room(self, admission: Admission, room: str) -> None:
        """Take the socket out of a room."""
        socket = self._sockets.get(admission.sid)
        if socket is not None:
            self._sockets.leave(socket, room)

    def is_reserved_room(self, room: str) -> bool:
        """True for what looks like a sid."""
        return looks_like_sid(room)
