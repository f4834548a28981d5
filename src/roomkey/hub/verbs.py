"""The verbs of python-socketio's ``AsyncServer``: sending, rooms, and clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from roomkey.errors import ConfigError, PermissionDenied
from roomkey.guard.home import at_home
from roomkey.hub.application import Application
from roomkey.hub.rooms import Room, Rooms, Sids, Target
from roomkey.hub.socket import Answer, Socket, as_arguments
from roomkey.wire import PacketType, encode


class Verbs:
    """What an application does with its clients; :class:`roomkey.hub.Hub` has these methods.

    Args:
        application: the handlers, the sockets and the guard.

    Attributes:
        guard: identities, policy-checked rooms and revocation: ``hub.guard.identity(sid)`` and so on.
        home: the event loop that the hub runs on.
        sockets: the sockets, by ID and by room.
    """

    def __init__(self, application: Application) -> None:
        self.guard = application.guard
        self.home = application.guard.home
        self.sockets: Rooms[Socket] = application.sockets
        self._ack_expiry = application.ack_expiry

    # Sending

    @at_home
    async def emit(
        self,
        event: str,
        data: object = None,
        to: Target = None,
        room: Target = None,
        skip_sid: Sids = None,
        namespace: str | None = None,
        callback: Callable[..., Any] | None = None,
        *,
        to_subject: str | None = None,
    ) -> None:
        """Send an event to whoever is admitted.

        Args:
            event: its name.
            data: its argument; a tuple is several arguments, None is none. Bytes may stand anywhere in it.
            to: a sid or a room, or several; everybody in the namespace if absent.
            room: the same as ``to``.
            skip_sid: who does not get it: one sid or several.
            namespace: ``/`` if absent.
            callback: called with the client's acknowledgement; only where ``to`` is one sid. It is dropped if 1,000
                later ones wait for the same client, or an hour after the client was last asked.
            to_subject: a person's ``sub``, instead of ``to``: every socket of theirs.

        Raises:
            TypeError: data that JSON has no form for.
            ValueError: NaN or Infinity in it.
            ConfigError: a callback, and not one client. A client that is gone gets nothing and answers nothing.
        """
        target = to if to is not None else room
        if to_subject is not None:
            if target is not None:
                raise ConfigError("emit takes to or to_subject, not both")
            target = self.guard.subject_room(to_subject)
        namespace = namespace or "/"
        arguments = [event, *as_arguments(data)]
        if callback is not None:
            socket = self._asked(target, namespace)
            if socket is not None:
                self._ask(socket, arguments, callback)
        else:
            self.sockets.deliver(encode(PacketType.EVENT, namespace, arguments), namespace, target, skip_sid)

    async def send(self, data: object, **where: Any) -> None:
        """Send the event ``message``; the arguments are those of :meth:`emit`."""
        await self.emit("message", data, **where)

    @at_home
    async def call(
        self,
        event: str,
        data: object = None,
        to: str | None = None,
        sid: str | None = None,
        namespace: str | None = None,
        timeout: float = 60.0,  # noqa: ASYNC109 - python-socketio's name
    ) -> Any:
        """Send an event to one client and wait for its acknowledgement.

        Args:
            to: the client's sid.
            sid: the same as ``to``.
            timeout: seconds to wait.

        Returns:
            What the client answered: one value, a tuple of several, or None.

        Raises:
            TimeoutError: no answer in time, or the client is gone.
            ConfigError: not one client.
        """
        socket = self._asked(to or sid, namespace or "/")
        if socket is None:
            raise TimeoutError("the client is gone")
        answer = Answer()
        number = self._ask(socket, [event, *as_arguments(data)], answer)
        try:
            async with asyncio.timeout(timeout):
                values = await answer.values
        finally:
            socket.take_ack(number)  # nobody waits for it any more
        return values if len(values) > 1 else next(iter(values), None)

    def _asked(self, target: Target, namespace: str) -> Socket | None:
        """The one client that is asked for an acknowledgement; None if it is gone."""
        socket = self.sockets.get(target, namespace) if isinstance(target, str) else None
        if socket is None and (not isinstance(target, str) or self.sockets.in_room(namespace, target)):
            raise ConfigError("an acknowledgement is asked of one client: to=sid")
        return socket

    def _ask(self, socket: Socket, arguments: list[object], callback: Callable[..., Any]) -> int:
        for sid in self._ack_expiry.requested(socket.sid, self.guard.clock.monotonic()):
            if late := self.sockets.get(sid):
                late.forget_acks()
        number = socket.expect_ack(callback)
        socket.send_direct(encode(PacketType.EVENT, socket.namespace, arguments, number))
        return number

    # Rooms

    @at_home
    async def enter_room(self, sid: str, room: Room, namespace: str | None = None) -> None:
        """Put a client into a room, if its policy has no rules about rooms here, or one that allows it.

        With ``own_joins="allow"`` the policy is not asked. The room of another subject stays closed in any case.

        Raises:
            PermissionDenied: no such client, or it may not enter. Let it pass out of an event handler, and the guard
                answers the client.
        """
        socket = self._socket(sid, namespace)
        if room != sid:
            await self.guard.socket_authorizer.check_own_join(socket.guarded, room)
            self.sockets.enter(socket, room)

    @at_home
    async def leave_room(self, sid: str, room: Room, namespace: str | None = None) -> None:
        """Take a client out of a room, if it is there."""
        socket = self.sockets.get(sid, namespace)
        if socket is not None:
            socket.guarded.lose_rooms({room})
            self.sockets.leave(socket, room)

    @at_home
    async def close_room(self, room: Room, namespace: str | None = None) -> None:
        """Take everybody out of a room.

        Raises:
            ConfigError: the room is a client's sid.
        """
        self._no_sid(room)
        for socket in tuple(self.sockets.in_room(namespace or "/", room)):
            socket.guarded.lose_rooms({room})
            self.sockets.leave(socket, room)

    def rooms(self, sid: str, namespace: str | None = None) -> list[Any]:
        """The rooms a client is in, its own sid included; none if there is no such client."""
        socket = self.sockets.get(sid, namespace)
        return [sid, *socket.rooms] if socket is not None else []

    def _no_sid(self, room: Room) -> None:
        if room in self.sockets.by_sid:
            raise ConfigError("cannot close a socket's own room; call disconnect(sid) instead")

    # Clients

    @at_home
    async def disconnect(self, sid: str, namespace: str | None = None) -> None:
        """End a client's connection to a namespace; it does not come back by itself."""
        socket = self.sockets.get(sid, namespace)
        if socket is not None:
            await socket.leave_namespace()

    async def save_session(self, sid: str, session: dict[str, Any], namespace: str | None = None) -> None:
        """Keep something about a client until it disconnects.

        Raises:
            PermissionDenied: no such client.
        """
        self._socket(sid, namespace).data = session

    async def get_session(self, sid: str, namespace: str | None = None) -> dict[str, Any]:
        """What :meth:`save_session` kept; an empty dictionary if nothing.

        Raises:
            PermissionDenied: no such client.
        """
        return self._data(sid, namespace)

    @asynccontextmanager
    async def session(self, sid: str, namespace: str | None = None) -> AsyncIterator[dict[str, Any]]:
        """``async with hub.session(sid) as session: session["cart"] = …``"""
        yield self._data(sid, namespace)

    def get_environ(self, sid: str, namespace: str | None = None) -> dict[str, Any]:
        """The HTTP request that opened a client's connection, as a WSGI environ.

        Raises:
            PermissionDenied: no such client.
        """
        return self._socket(sid, namespace).session.request.environ()

    def transport(self, sid: str, namespace: str | None = None) -> str:
        """``"polling"`` or ``"websocket"``.

        Raises:
            PermissionDenied: no such client.
        """
        return "websocket" if self._socket(sid, namespace).session.upgraded else "polling"

    def _data(self, sid: str, namespace: str | None) -> dict[str, Any]:
        socket = self._socket(sid, namespace)
        if socket.data is None:
            socket.data = {}
        return socket.data

    def _socket(self, sid: str, namespace: str | None) -> Socket:
        socket = self.sockets.get(sid, namespace)
        if socket is None:
            raise PermissionDenied("no such client is connected")
        return socket
