"""Who is in a room, for clients that ask."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import orjson

from roomkey.errors import PermissionDenied
from roomkey.guard.socket import GuardedSocket
from roomkey.hub.application import Application

MEMBERS = "members"

MAX_MEMBERS = 1000
"""The most subjects in one answer."""

KNOWN_SECONDS = 1.0
"""How long an answer is used again: however often clients ask, the other nodes are asked once per second and room."""

MAX_KNOWN = 1000


class _Known:
    """The answer about one room."""

    __slots__ = ("at", "complete", "lock", "subjects")

    def __init__(self) -> None:
        self.at = float("-inf")
        self.subjects: list[str] = []
        self.complete = False
        self.lock = asyncio.Lock()


class Members:
    """Answers clients that ask who is in a room.

    Args:
        application: the guard, the rooms and the node.
    """

    def __init__(self, application: Application) -> None:
        self._guard = application.guard
        self._rooms = application.rooms
        self._node = application.node
        self._known: dict[tuple[str, str], _Known] = {}
        if self._node is not None:
            self._node.answer(MEMBERS, self._answer)

    async def asked(self, socket: GuardedSocket, _event: str, arguments: Sequence[object]) -> Mapping[str, object]:
        """Return who is in a room, for the acknowledgement of a client's event.

        Raises:
            AuthError: the client may not know it.
        """
        room = self._guard.events.room_name(socket, "presence", arguments)
        await self._guard.socket_authorizer.check_presence(socket, room)
        known = self._known.get((socket.namespace, room))
        if known is None:
            known = self._known[socket.namespace, room] = _Known()
            if len(self._known) > MAX_KNOWN:
                del self._known[next(iter(self._known))]
        async with known.lock:
            await self._renew(known, socket.namespace, room)
        if not socket.host.is_in(room):  # it has left while others were asked
            raise PermissionDenied("the client is not in the room")
        return {"members": known.subjects, "complete": known.complete}

    async def _renew(self, known: _Known, namespace: str, room: str) -> None:
        now = self._guard.clock.monotonic()
        if known.at + KNOWN_SECONDS > now:
            return
        found = self._here(namespace, room)
        complete = True
        if self._node is not None:
            answers = await self._node.ask(MEMBERS, orjson.dumps([namespace, room]))
            complete = answers.complete
            for answer in answers.by_node.values():
                found |= set(orjson.loads(answer))
        known.at = now
        known.subjects = sorted(found)[:MAX_MEMBERS]
        known.complete = complete and len(found) <= MAX_MEMBERS

    def _here(self, namespace: str, room: str) -> set[str]:
        """Return the subjects with an admitted socket of this node in a room."""
        identities = (
            socket.guarded.identity for socket in self._rooms.in_room(namespace, room) if socket.guarded.admitted
        )
        return {who.subject for who in identities if who is not None and not who.is_guest}

    def _answer(self, _sender: str, question: bytes) -> bytes:
        namespace, room = orjson.loads(question)
        return orjson.dumps(sorted(self._here(namespace, room))[: MAX_MEMBERS + 1])
