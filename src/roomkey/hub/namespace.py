"""Class-based namespaces, as in python-socketio."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

from roomkey.hub.handlers import MethodHandlers
from roomkey.hub.rooms import Room
from roomkey.hub.verbs import Verbs


class Namespace(MethodHandlers):
    """A namespace as a class: handlers as methods, and the hub's verbs for this namespace.

    Args:
        namespace: its name.

    Attributes:
        hub: the hub on which it is registered.

    Raises:
        ConfigError: a name that does not begin with ``/``.
    """

    hub: Verbs

    @property
    def server(self) -> Verbs:
        """The hub, under the name that python-socketio's namespaces use."""
        return self.hub

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
