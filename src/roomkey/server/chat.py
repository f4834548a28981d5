"""The events of the page: ``message`` to a room one has joined, and ``whoami``."""

from __future__ import annotations

from typing import Any, Protocol

from roomkey.guard.guard import Guard

__all__ = ["MAX_TEXT", "Server", "serve_chat"]

MAX_TEXT = 2000


class Server(Protocol):
    """What a hub and a ``socketio.AsyncServer`` have in common, as far as it is of use here."""

    def on(self, event: str, handler: Any) -> Any:
        """Register a handler."""

    def rooms(self, sid: str) -> list[str]:
        """The rooms a client is in."""

    async def emit(self, event: str, data: object, *, room: str, namespace: str | None = None) -> None:
        """Send an event to a room."""

    async def disconnect(self, sid: str, namespace: str | None = None) -> None:
        """End a client's connection to a namespace."""


def serve_chat(sio: Server, guard: Guard) -> None:
    """Register the events. Only admitted sockets reach them: the guard is in front.

    ``message`` takes ``{"room", "text"}`` with a text of 1 to 2000 characters, goes as ``{"room", "from", "text"}`` to
    everybody in the room, the sender included, and acknowledges ``{"ok": true}`` or
    ``{"ok": false, "error": {"code", "message"}}``.

    Args:
        sio: the server.
        guard: knows who a socket belongs to.
    """

    async def message(sid: str, *arguments: object) -> dict[str, Any]:
        sent = arguments[0] if len(arguments) == 1 else None
        room, text = (sent.get("room"), sent.get("text")) if isinstance(sent, dict) else (None, None)
        if not isinstance(room, str) or not isinstance(text, str) or not 0 < len(text) <= MAX_TEXT:
            return _refusal("invalid_message", f"Send {{room, text}}, a text of 1 to {MAX_TEXT} characters.")
        if room not in sio.rooms(sid):
            return _refusal("not_in_room", "Join the room first.")
        await guard.check_emit(sid, room, "message")  # raises, and the guard answers
        await sio.emit("message", {"room": room, "from": guard.identity(sid).subject, "text": text}, room=room)
        return {"ok": True}

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


def _refusal(code: str, message: str) -> dict[str, Any]:
    return {"ok": False, "error": {"code": code, "message": message}}
