"""The verbs of python-socketio's ``AsyncServer``: sending, rooms, and clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from roomkey.errors import ConfigError, PermissionDenied
from roomkey.guard.live_sockets import FoundSockets
from roomkey.guard.server_loop import on_server_loop
from roomkey.hub.application import Application
from roomkey.hub.members import Members
from roomkey.hub.presence import Presence
from roomkey.hub.remote import RemoteSockets
from roomkey.hub.rooms import Room, Rooms, Sids, Target
from roomkey.hub.socket import AckCallback, Answer, Socket, as_arguments
from roomkey.wire import PacketType, encode

NOT_CONNECTED = "no client with this socket ID is connected"


class Verbs:
    """The methods with which an application sends to its clients; :class:`roomkey.hub.Hub` has them all.

    Args:
        application: the handlers, the sockets and the guard.

    Attributes:
        guard: identities, policy-checked rooms and revocation: ``hub.guard.identity(sid)`` and so on.
        server_loop: the event loop that the hub runs on.
        sockets: the sockets, by ID and by room.
    """

    def __init__(self, application: Application) -> None:
        self.guard = application.guard
        self.server_loop = application.guard.server_loop
        self._rooms: Rooms[Socket] = application.rooms
        self._deliver = application.deliver
        self._cluster = application.cluster
        self._remote = RemoteSockets(application, application.cluster) if application.cluster is not None else None
        self._presence = Presence(application)
        self._members = Members(application)

    # Sending

    @on_server_loop
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
        """Send an event to admitted clients.

        Args:
            event: the event's name.
            data: the argument. A tuple is several arguments, None is no argument. It can contain bytes anywhere.
            to: the receivers: a socket ID, a room, or several of them. By default, all clients of the namespace.
            room: the same as ``to``.
            skip_sid: one or several socket IDs that do not receive the event.
            namespace: the namespace. By default, ``/``.
            callback: called with the client's acknowledgement; ``to`` must be one socket ID. The hub drops the
                callback if 1,000 later ones wait for the same client, or an hour after the last request for an
                acknowledgement to this client. If the client is not connected, nothing is sent.
            to_subject: the subject whose sockets receive the event, instead of ``to``.

        Raises:
            TypeError: the data cannot be represented in JSON.
            ValueError: the data contains NaN or Infinity, or is too large for the bus of the cluster.
            ConfigError: a callback without exactly one client, or both ``to`` and ``to_subject``.
        """
        target = to if to is not None else room
        if to_subject is not None:
            if target is not None:
                raise ConfigError("pass either to or to_subject, not both")
            target = self.guard.subject_room(to_subject)
        namespace = namespace or "/"
        arguments = [event, *as_arguments(data)]
        if callback is not None:
            self._request_ack(target, namespace, arguments, callback)
        else:
            self._deliver(encode(PacketType.EVENT, namespace, arguments), namespace, target, skip_sid)

    async def send(self, data: object, **where: Any) -> None:
        """Send the event ``message``, with the arguments of :meth:`emit`."""
        await self.emit("message", data, **where)

    @on_server_loop
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
            event: the event's name.
            data: the argument, as for :meth:`emit`.
            to: the client's socket ID.
            sid: the same as ``to``.
            namespace: the namespace. By default, ``/``.
            timeout: how long to wait, in seconds.

        Returns:
            The acknowledgement: one value, a tuple of several, or None.

        Raises:
            TimeoutError: the client did not acknowledge in time, or is not connected.
            ConfigError: not exactly one client.
        """
        answer = Answer()
        expected = self._request_ack(to or sid, namespace or "/", [event, *as_arguments(data)], answer)
        if expected is None:
            raise TimeoutError("the client is not connected")
        try:
            async with asyncio.timeout(timeout):
                values = await answer.values
        finally:
            expected()  # no longer expected
        return values if len(values) > 1 else next(iter(values), None)

    def _request_ack(
        self, target: Target, namespace: str, arguments: list[object], callback: AckCallback
    ) -> Callable[[], object] | None:
        """Send an event to one client, and keep the callback of its acknowledgement.

        Returns:
            A function that drops the callback; None if the client is not connected.
        """
        socket = self._rooms.get(target, namespace) if isinstance(target, str) else None
        if socket is not None:
            number = socket.request_ack(partial(encode, PacketType.EVENT, namespace, arguments), callback)
            return partial(socket.take_ack, number)
        node = self._elsewhere(target)
        if self._remote is not None and node is not None:
            event = encode(PacketType.EVENT, namespace, arguments)
            number = self._remote.request_ack(node, str(target), event, namespace, callback)
            return partial(self._remote.take_ack, number)
        if not isinstance(target, str) or self._rooms.in_room(namespace, target):
            raise ConfigError("an acknowledgement requires exactly one client; pass its socket ID as to=")
        return None

    # Rooms

    @on_server_loop
    async def enter_room(self, sid: str, room: Room, namespace: str | None = None) -> None:
        """Add a client to a room. If the policy has room rules for the namespace, one of them must allow it.

        With ``own_joins="allow"``, the policy is not checked. A client can never join the room of another subject, or
        of another socket. In a cluster, this returns when the client receives what other nodes emit to the room, but
        after 1 second in any case.

        Raises:
            PermissionDenied: the client is not connected, or the policy denies it. If an event handler does not catch
                this, the guard sends the error to the client.
            Unavailable: the client is connected to another node, which did not answer.
        """
        socket = self._rooms.get(sid, namespace)
        if socket is not None:
            await socket.join(room)
        elif not await self._act("enter_room", sid, namespace, room):
            raise PermissionDenied(NOT_CONNECTED)

    @on_server_loop
    async def leave_room(self, sid: str, room: Room, namespace: str | None = None) -> None:
        """Remove a client from a room.

        Raises:
            Unavailable: the client is connected to another node, which did not answer.
        """
        socket = self._rooms.get(sid, namespace)
        if socket is not None:
            socket.remove_from(room)
        else:
            await self._act("leave_room", sid, namespace, room)

    @on_server_loop
    async def close_room(self, room: Room, namespace: str | None = None) -> None:
        """Remove all clients from a room.

        Raises:
            ConfigError: the room is a socket ID.
            Unavailable: another node of the cluster did not answer. On the others, the room is closed.
        """
        if room in self._rooms.by_sid or self._elsewhere(room) is not None:
            raise ConfigError("cannot close a socket's own room; call disconnect(sid) instead")
        for socket in tuple(self._rooms.in_room(namespace or "/", room)):
            socket.remove_from(room)
        if self._remote is not None:
            await self._remote.close_room(room, namespace or "/")

    def rooms(self, sid: str, namespace: str | None = None) -> list[Any]:
        """Return the rooms of a client, which include its own socket ID. Empty if it is not connected.

        Raises:
            ConfigError: the client is connected to another node.
        """
        socket = self._find(sid, namespace)
        return [sid, *socket.rooms] if socket is not None else []

    # Clients

    @on_server_loop
    async def sockets(
        self, *, subject: str | None = None, room: Room | None = None, namespace: str | None = None
    ) -> FoundSockets:
        """Return the admitted sockets on all nodes of the cluster, or those of a subject or in a room.

        Args:
            subject: the subject whose sockets to return.
            room: the room whose sockets to return.
            namespace: the namespace. By default, ``/`` if there is a room, and otherwise all.

        Returns:
            A collection of :class:`LiveSocket`. Its ``missing`` has the nodes that did not answer within a second, and
            its ``complete`` is True if there are none.
        """
        return await self._presence.find(subject, room, namespace)

    def serve_members(self, event: str = "room-members") -> None:
        """Let clients ask who is in a room, if a presence rule of the policy allows it.

        A client in the room sends ``emit(event, room, ack)``. The acknowledgement is ``{"ok": true, "members": […],
        "complete": true}`` with up to 1,000 subjects, from all nodes, or ``{"ok": false, "error": {…}}``. If there are
        more subjects, or a node did not answer, ``complete`` is false.

        Args:
            event: the name of the event.

        Raises:
            ConfigError: a name that is not valid for an event, or that the guard handles already.
        """
        self.guard.events.serve(event, self._members.asked)

    @on_server_loop
    async def disconnect(self, sid: str, namespace: str | None = None) -> None:
        """Disconnect a client from a namespace. The client does not reconnect automatically.

        Raises:
            Unavailable: the client is connected to another node, which did not answer.
        """
        socket = self._rooms.get(sid, namespace)
        if socket is not None:
            await socket.leave_namespace()
        else:
            await self._act("disconnect", sid, namespace)

    async def save_session(self, sid: str, session: dict[str, Any], namespace: str | None = None) -> None:
        """Keep data about a client until it disconnects.

        Raises:
            PermissionDenied: the client is not connected.
        """
        self._socket(sid, namespace).data = session

    async def get_session(self, sid: str, namespace: str | None = None) -> dict[str, Any]:
        """Return the data that :meth:`save_session` kept, or an empty dictionary.

        Raises:
            PermissionDenied: the client is not connected.
        """
        return self._data(sid, namespace)

    @asynccontextmanager
    async def session(self, sid: str, namespace: str | None = None) -> AsyncIterator[dict[str, Any]]:
        """Return the data to read and change: ``async with hub.session(sid) as session: session["cart"] = …``"""
        yield self._data(sid, namespace)

    def get_environ(self, sid: str, namespace: str | None = None) -> dict[str, Any]:
        """Return the HTTP request that opened a client's connection, as a WSGI environ.

        Raises:
            PermissionDenied: the client is not connected.
        """
        return self._socket(sid, namespace).session.request.environ()

    def transport(self, sid: str, namespace: str | None = None) -> str:
        """Return the client's transport: ``"polling"`` or ``"websocket"``.

        Raises:
            PermissionDenied: the client is not connected.
        """
        return "websocket" if self._socket(sid, namespace).session.upgraded else "polling"

    def _data(self, sid: str, namespace: str | None) -> dict[str, Any]:
        socket = self._socket(sid, namespace)
        if socket.data is None:
            socket.data = {}
        return socket.data

    def _socket(self, sid: str, namespace: str | None) -> Socket:
        socket = self._find(sid, namespace)
        if socket is None:
            raise PermissionDenied(NOT_CONNECTED)
        return socket

    def _find(self, sid: str, namespace: str | None) -> Socket | None:
        """Return a socket of this node, or None.

        Raises:
            ConfigError: it is a socket of another node that is alive.
        """
        socket = self._rooms.get(sid, namespace)
        if socket is None and self._cluster is not None and self._elsewhere(sid) in self._cluster.node.live:
            raise ConfigError(
                "this client is connected to another node, and only that node has its request, session and rooms; "
                "call this in a handler of the client, or use hub.sockets()"
            )
        return socket

    async def _act(self, action: str, sid: str, namespace: str | None, room: Room | None = None) -> bool:
        """Let another node do something with one of its sockets; return False if it is not connected."""
        node = self._elsewhere(sid)
        if self._remote is None or node is None:
            return False
        return await self._remote.act(action, node, sid, namespace, room)

    def _elsewhere(self, sid: object) -> str | None:
        """Return the other node that has made a socket ID, or None."""
        return None if self._cluster is None else self._cluster.elsewhere(sid)
