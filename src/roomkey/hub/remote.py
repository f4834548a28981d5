"""The sockets of other nodes: what an application does with them by their IDs is done by the node that they are on."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any, NamedTuple

import orjson

from roomkey.errors import AuthError, PermissionDenied, Unavailable
from roomkey.hub.application import Application
from roomkey.hub.cluster import HubNode
from roomkey.hub.emits import decode_packet, encode_packet
from roomkey.hub.rooms import Room
from roomkey.hub.socket import AckCallback, Expected, Socket, call_back, give_up
from roomkey.wire import Decoder, Message, Packet, PacketType, encode

LOG = logging.getLogger("roomkey.hub")

CALL, CALLED, DO, CLOSE_ROOM = "call", "called", "do", "closeroom"

MAX_WAITING = 10_000
"""The most acknowledgements of sockets on other nodes that are awaited; beyond that, the oldest is given up."""

ACTION_SECONDS = 5.0
"""How long another node may take to ask its policy about a join."""

OK, GONE, DENIED, UNAVAILABLE = "ok", "gone", "denied", "unavailable"


class _Waiting(NamedTuple):
    node: str
    callback: AckCallback


class _Forwarded(Expected):
    """The callback of an acknowledgement that another node waits for."""

    __slots__ = ("_cluster", "_node", "_number")

    def __init__(self, cluster: HubNode[Socket], node: str, number: int) -> None:
        self._cluster, self._node, self._number = cluster, node, number

    def __call__(self, *values: Any) -> None:
        """Send the acknowledgement to the node that waits for it."""
        answer = encode_packet([self._number, True], encode(PacketType.ACK, "/", list(values), 0))
        if len(answer) > self._cluster.max_body:
            LOG.error("dropped an acknowledgement: it is larger than the bus allows")
            self.lost()
        else:
            self._cluster.node.tell(CALLED, answer, to=self._node)

    def lost(self) -> None:
        """Tell the node that waits that there will be no acknowledgement."""
        self._cluster.node.tell(CALLED, encode_packet([self._number, False], Message(b"")), to=self._node)


class RemoteSockets:
    """Acts on the sockets of other nodes, and on those of this one for them.

    Args:
        application: the guard and the rooms.
        cluster: this node.
    """

    def __init__(self, application: Application, cluster: HubNode[Socket]) -> None:
        self._application = application
        self._cluster = cluster
        self._node = cluster.node
        self._numbers = count(1)
        self._waiting: dict[int, _Waiting] = {}
        self._actions: dict[str, Callable[[Socket, Room], Awaitable[None]]] = {
            "enter_room": _enter_room,
            "leave_room": _leave_room,
            "disconnect": self._disconnect,
        }
        self._node.on(CALL, self._call)
        self._node.on(CALLED, self._called)
        self._node.answer(DO, self._do)
        self._node.answer(CLOSE_ROOM, self._close_room)
        self._node.on_left.append(self._left)

    # Actions

    async def act(self, action: str, node: str, sid: str, namespace: str | None, room: Room | None = None) -> bool:
        """Let a node do something with one of its sockets.

        Returns:
            False if the socket is not connected any more.

        Raises:
            PermissionDenied: the policy of its node denies it.
            Unavailable: the node did not answer. It may have done it.
        """
        if self._node.connected and node not in self._node.live:
            return False
        question = orjson.dumps([action, sid, namespace, room])
        answers = await self._node.ask(DO, question, to=node, seconds=ACTION_SECONDS)
        if node not in answers.by_node:
            raise Unavailable("the node of this socket did not answer")
        outcome, why = orjson.loads(answers.by_node[node])
        if outcome == DENIED:
            raise PermissionDenied(why)
        if outcome == UNAVAILABLE:
            raise Unavailable(why)
        return bool(outcome == OK)

    async def _do(self, _sender: str, body: bytes) -> bytes:
        action, sid, namespace, room = orjson.loads(body)
        socket: Socket | None = self._application.rooms.get(sid, namespace)
        if socket is None:
            return orjson.dumps([GONE, ""])
        try:
            await self._actions[action](socket, room)
        except AuthError as error:
            return orjson.dumps([UNAVAILABLE if error.temporary else DENIED, str(error)])
        return orjson.dumps([OK, ""])

    async def _disconnect(self, socket: Socket, _room: Room) -> None:
        self._application.tasks.start(socket.leave_namespace())  # its disconnect handler can take longer

    async def close_room(self, room: Room, namespace: str) -> None:
        """Remove the sockets of all other nodes from a room.

        Raises:
            Unavailable: a node did not answer. It may have done it.
        """
        answers = await self._node.ask(CLOSE_ROOM, orjson.dumps([room, namespace]))
        if answers.missing or not self._node.connected:
            raise Unavailable("the room is closed on this node, but not all others have answered")

    def _close_room(self, _sender: str, body: bytes) -> bytes:
        room, namespace = orjson.loads(body)
        for socket in tuple(self._application.rooms.in_room(namespace, room)):
            if socket.sid != room:
                socket.remove_from(room)
        return b""

    # Acknowledgements

    def request_ack(self, node: str, sid: str, event: Message, namespace: str, callback: AckCallback) -> int:
        """Send an event to a socket of another node, and keep the callback of its acknowledgement.

        Args:
            node: the node.
            sid: the socket's ID.
            event: the event, encoded without an ID.
            namespace: the socket's namespace.
            callback: called with the values of the acknowledgement.

        Returns:
            The number under which the callback is kept.

        Raises:
            ValueError: the event is too large for the bus.
        """
        number = next(self._numbers)
        at = event.text.index(b"[", 0 if namespace == "/" else event.text.index(b",") + 1)
        body = self._cluster.check_size(encode_packet([number, sid, namespace, at], event))
        self._waiting[number] = _Waiting(node, callback)
        if len(self._waiting) > MAX_WAITING:
            self._give_up(next(iter(self._waiting)))
        if self._node.connected and node in self._node.live:
            self._node.tell(CALL, body, to=node)
        else:
            self._give_up(number)
        return number

    def take_ack(self, number: int) -> None:
        """Do not wait for an acknowledgement any more."""
        self._waiting.pop(number, None)

    def _call(self, sender: str, body: bytes) -> None:
        """Send an event of another node to a socket of this one, and its acknowledgement back."""
        (number, sid, namespace, at), event = decode_packet(body)
        answer = _Forwarded(self._cluster, sender, number)
        socket: Socket | None = self._application.rooms.get(sid, namespace)
        if socket is None:
            answer.lost()
            return

        def with_id(ack_id: int) -> Message:
            return Message(b"%b%d%b" % (event.text[:at], ack_id, event.text[at:]), event.attachments)

        socket.request_ack(with_id, answer)

    def _called(self, sender: str, body: bytes) -> None:
        (number, is_answered), answer = decode_packet(body)
        waiting = self._waiting.get(number)
        if waiting is None or waiting.node != sender:
            return
        packet = self._decode(answer) if is_answered else None
        if packet is None:
            self._give_up(number)
            return
        del self._waiting[number]
        _, _, data, _ = packet
        call_back(self._application.tasks.start, waiting.callback, data)

    def _decode(self, answer: Message) -> Packet | None:
        decoder = Decoder(self._application.settings.limits)
        packet = decoder.text(answer.text, 1)
        for attachment in answer.attachments:
            packet = decoder.binary(attachment)
        return packet if isinstance(packet, tuple) else None

    def _left(self, node: str) -> None:
        for number in [number for number, waiting in self._waiting.items() if waiting.node == node]:
            self._give_up(number)

    def _give_up(self, number: int) -> None:
        give_up(self._waiting.pop(number).callback)


async def _enter_room(socket: Socket, room: Room) -> None:
    await socket.join(room)


async def _leave_room(socket: Socket, room: Room) -> None:
    socket.remove_from(room)
