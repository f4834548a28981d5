"""The application's own ``sio.enter_room``: where the guard intercepts python-socketio's room manager."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from roomkey.errors import AuthError, PermissionDenied
from roomkey.guard.base import BaseGuard
from roomkey.guard.socket import GuardedSocket
from roomkey.socketio.checks import NODE_SEAMS, ROOM_SEAMS, check_seams

NODE_SECONDS = 1.0
"""How long a join for another node can delay the next message of that node."""


class Joins:
    """Decides about the rooms to which the application adds sockets, by any function of python-socketio.

    A manager has two: ``enter_room``, which can wait for a rule, and below it ``basic_enter_room``, which allows only
    what was decided. Managers with several nodes call the second one directly.

    Args:
        guard: decides.
        manager: the manager of the server's rooms.
        installed: makes the functions that the manager gets of those of this class.
    """

    def __init__(
        self, guard: BaseGuard, manager: Any, installed: Callable[[Callable[..., Any]], Callable[..., Any]]
    ) -> None:
        self._guard = guard
        self._manager = manager
        self._installed = installed
        self._inner: dict[str, Callable[..., Any]] = {}

    def install(self) -> None:
        """Replace the manager's functions."""
        has_nodes = hasattr(self._manager, "channel")
        seams = ROOM_SEAMS | (NODE_SEAMS if has_nodes else {})
        check_seams(self._manager, seams)
        for name in seams:
            self._inner[name] = getattr(self._manager, name)
            setattr(self._manager, name, self._installed(getattr(self, name)))

    def _socket(self, sid: str, namespace: str) -> GuardedSocket | None:
        socket = self._guard.index.sockets.get(sid)
        return socket if socket is not None and socket.namespace == namespace else None

    async def enter_room(self, sid: str, namespace: str, room: object, eio_sid: str | None = None) -> Any:
        """Add a socket to a room, if that is allowed; the node that a socket is connected to decides.

        Raises:
            AuthError: it is not allowed.
        """
        socket = self._socket(sid, namespace)
        if socket is not None and room != sid:
            await self._guard.socket_authorizer.check_own_join(socket, room)
        return await self._guard.background.perform(self._inner["enter_room"], sid, namespace, room, eio_sid=eio_sid)

    def basic_enter_room(self, sid: str, namespace: str, room: object, eio_sid: str | None = None) -> Any:
        """Add a socket to a room; python-socketio itself does so for the whole namespace and for the socket's own ID.

        Raises:
            PermissionDenied: it was not decided, or is not allowed any more.
        """
        if room is not None and room != sid:
            socket = self._socket(sid, namespace)
            if socket is None and self._manager.is_connected(sid, namespace):
                raise PermissionDenied("this socket is not admitted")
            if socket is not None and not self._guard.socket_authorizer.may_be_in(socket, room):
                raise self._guard.socket_authorizer.denied(socket, "room", room)
        return self._inner["basic_enter_room"](sid, namespace, room, eio_sid=eio_sid)

    def basic_leave_room(self, sid: str, namespace: str, room: Any) -> Any:
        """Remove a socket from a room."""
        socket = self._socket(sid, namespace)
        if socket is not None:
            socket.lose_rooms({room})
        return self._inner["basic_leave_room"](sid, namespace, room)

    async def _handle_enter_room(self, message: Mapping[str, Any]) -> None:
        """Add one of our sockets to a room for another node. A slow rule does not delay anything else."""
        sid, namespace = str(message.get("sid")), str(message.get("namespace"))
        if self._socket(sid, namespace) is not None:
            entering = self._guard.background.spawn(self._enter_for_node(sid, namespace, message.get("room")))
            await self._guard.background.wait([entering], NODE_SECONDS)

    async def _enter_for_node(self, sid: str, namespace: str, room: object) -> None:
        try:
            await self.enter_room(sid, namespace, room)
        except AuthError:
            return  # the audit log has it, and nothing waits for an answer
