"""Class-based namespaces, as in python-socketio."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from roomkey.errors import ConfigError

if TYPE_CHECKING:
    from roomkey.hub.hub import Hub
    from roomkey.hub.socket import Room


class Namespace:
    """Handlers as methods: ``on_connect``, ``on_disconnect``, and ``on_<event>`` for each event.

    Args:
        namespace: its name, ``/`` if absent.

    Raises:
        ConfigError: a name that does not begin with ``/``.
    """

    hub: Hub

    def __init__(self, namespace: str = "/") -> None:
        if not namespace.startswith("/") and namespace != "*":
            raise ConfigError(f"a namespace begins with '/': {namespace!r}")
        self.namespace = namespace

    @property
    def server(self) -> Hub:
        """The hub, by the name that python-socketio's namespaces have for it."""
        return self.hub

    def handler(self, event: str) -> Callable[..., Any] | None:
        """The method for an event, or None."""
        method = getattr(type(self), f"on_{event}", None) if event.isidentifier() else None
        return getattr(self, f"on_{event}") if callable(method) else None

    async def emit(self, event: str, data: object = None, **where: Any) -> None:
        """:meth:`Hub.emit` in this namespace."""
        await self.hub.emit(event, data, **{"namespace": self.namespace, **where})

    async def send(self, data: object, **where: Any) -> None:
        """:meth:`Hub.send` in this namespace."""
        await self.hub.send(data, **{"namespace": self.namespace, **where})

    async def call(self, event: str, data: object = None, **where: Any) -> Any:
        """:meth:`Hub.call` in this namespace."""
        return await self.hub.call(event, data, **{"namespace": self.namespace, **where})

    async def enter_room(self, sid: str, room: Room) -> None:
        """:meth:`Hub.enter_room` in this namespace."""
        await self.hub.enter_room(sid, room, self.namespace)

    async def leave_room(self, sid: str, room: Room) -> None:
        """:meth:`Hub.leave_room` in this namespace."""
        await self.hub.leave_room(sid, room, self.namespace)

    async def close_room(self, room: Room) -> None:
        """:meth:`Hub.close_room` in this namespace."""
        await self.hub.close_room(room, self.namespace)

    def rooms(self, sid: str) -> list[Any]:
        """:meth:`Hub.rooms` in this namespace."""
        return self.hub.rooms(sid, self.namespace)

    async def disconnect(self, sid: str) -> None:
        """:meth:`Hub.disconnect` in this namespace."""
        await self.hub.disconnect(sid, self.namespace)

    async def save_session(self, sid: str, session: dict[str, Any]) -> None:
        """:meth:`Hub.save_session` in this namespace."""
        await self.hub.save_session(sid, session, self.namespace)

    async def get_session(self, sid: str) -> dict[str, Any]:
        """:meth:`Hub.get_session` in this namespace."""
        return await self.hub.get_session(sid, self.namespace)

    def session(self, sid: str) -> AbstractAsyncContextManager[dict[str, Any]]:
        """:meth:`Hub.session` in this namespace."""
        return self.hub.session(sid, self.namespace)
