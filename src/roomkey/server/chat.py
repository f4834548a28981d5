"""The events of the web page: ``message`` for a room that the socket has joined, and ``whoami``."""

from __future__ import annotations

from typing import Any, Protocol

from roomkey.guard.contract import accepted, rejected
from roomkey.guard.guard import AsyncioGuard

__all__ = ["MAX_TEXT", "SocketServer", "serve_chat"]

MAX_TEXT = 2000


class SocketServer(Protocol):
    """The methods of a hub and a ``socketio.AsyncServer`` that this package uses."""

    def on(self, event: str, handler: Any) -> Any:
        """Register a handler."""

    def rooms(self, sid: str) -> list[str]:
        """Return the rooms of a client."""

    async def emit(self, event: str, data: object, *, room: str, namespace: str | None = None) -> None:
        """Send an event to a room."""

    async def disconnect(self, sid: str, namespace: str | None = None) -> None:
        """Disconnect a client from a namespace."""


def serve_chat(sio: SocketServer, guard: AsyncioGuard) -> None:
    """Register the events. The guard calls their handlers only for admitted sockets.

    A client sends ``message`` with ``{"room", "text"}``, where the text has 1 to 2000 characters. Everyone in the room,
    including the sender, receives ``{"room", "from", "text"}``. The acknowledgement is ``{"ok": true}`` or
    ``{"ok": false, "error": {"code", "message"}}``.

    Args:
        sio: the server.
        guard: the guard of the server.
    """

    async def message(sid: str, *arguments: object) -> dict[str, object]:
        sent = arguments[0] if len(arguments) == 1 else None
        room, text = (sent.get("room"), sent.get("text")) if isinstance(sent, dict) else (None, None)
        if not isinstance(room, str) or not isinstance(text, str) or not 0 < len(text) <= MAX_TEXT:
            return _rejected("invalid_message", f"Send {{room, text}}, a text of 1 to {MAX_TEXT} characters.")
        if room not in sio.rooms(sid):
            return _rejected("not_in_room", "Join the room first.")
        await guard.check_emit(sid, room, "message")  # if it raises, the guard sends the error
        await sio.emit("message", {"room": room, "from": guard.identity(sid).subject, "text": text}, room=room)
        return accepted()

    async def whoami(sid: str, *_arguments: object) -> dict[str, Any]:
        who = guard.identity(sid)
        return {
            "subject": who.subject,
            "roles": sorted(who.roles),
            "rooms": list(who.rooms),
            "expires_at": who.expires_at,
        }

    sio.on("message", message)
    sio.on("whoami", whoami)


def _rejected(code: str, message: str) -> dict[str, object]:
    return rejected({"code": code, "message": message})
