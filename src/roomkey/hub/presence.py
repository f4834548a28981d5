"""Which sockets are connected, on this node and on the others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from heapq import nsmallest
from types import MappingProxyType
from typing import Any

import orjson

from roomkey.core.identity import Identity
from roomkey.guard.live_sockets import FoundSockets, LiveSocket
from roomkey.hub.application import Application
from roomkey.hub.rooms import Room
from roomkey.wire import json

SOCKETS = "sockets"

PAGE_SOCKETS, PAGE_BYTES = 500, 200_000
"""The most sockets, and about the most bytes, in one answer to another node; it asks for the rest."""


class Presence:
    """Finds sockets on all nodes.

    Nothing about other nodes is kept: each query asks all that are alive, so that nothing stays of a node that died.

    Args:
        application: the guard, the rooms and the node.
    """

    def __init__(self, application: Application) -> None:
        self._guard = application.guard
        self._rooms = application.rooms
        self._node = application.node
        if self._node is not None:
            self._node.answer(SOCKETS, self._page)
            self._guard.set_presence(self.find)

    async def find(self, subject: str | None, room: Room | None = None, namespace: str | None = None) -> FoundSockets:
        """Return the admitted sockets of a subject, in a room, or all of them."""
        here = self._here(subject, room, namespace)
        node = self._node
        if node is None:
            return FoundSockets(tuple(here))
        answers = await node.ask(SOCKETS, orjson.dumps([subject, room, namespace, ""]))
        rest = [self._rest(name, page, subject, room, namespace) for name, page in answers.by_node.items()]
        found = [LiveSocket(*_fields(live), node=node.id) for live in here]
        missing = set(answers.missing)
        for name, sockets, is_whole in await asyncio.gather(*rest):
            found += sockets
            missing |= set() if is_whole else {name}
        return FoundSockets(tuple(found), frozenset(missing), answers.complete and not missing)

    async def _rest(
        self, name: str, page: bytes, subject: str | None, room: Room | None, namespace: str | None
    ) -> tuple[str, list[LiveSocket], bool]:
        """Return the sockets of a node, of which the first page is known; and whether these are all."""
        assert self._node is not None
        found: list[LiveSocket] = []
        while True:
            after, entries = orjson.loads(page)
            found += [decode_socket(entry, name) for entry in entries]
            if after is None:
                return name, found, True
            question = orjson.dumps([subject, room, namespace, after])
            answers = await self._node.ask(SOCKETS, question, to=name)
            if name not in answers.by_node:
                return name, found, False
            page = answers.by_node[name]

    def _page(self, _sender: str, question: bytes) -> bytes:
        """Return some of the sockets that another node asks for: those whose IDs follow the last one that it has."""
        subject, room, namespace, after = orjson.loads(question)
        later = (live for live in self._here(subject, room, namespace) if live.sid > after)
        entries: list[bytes] = []
        size, last = 0, None
        for live in nsmallest(PAGE_SOCKETS, later, key=lambda live: live.sid):
            entries.append(encode_socket(live))
            size += len(entries[-1])
            if size > PAGE_BYTES or len(entries) == PAGE_SOCKETS:
                last = live.sid  # there may be more
                break
        return b"[%b,[%b]]" % (orjson.dumps(last), b",".join(entries))

    def _here(self, subject: str | None, room: Room | None, namespace: str | None) -> list[LiveSocket]:
        """Return the sockets of this node."""
        if room is not None:
            members = [socket.guarded for socket in self._rooms.in_room(namespace or "/", room)]
            found = [live for member in members if (live := self._guard.live_socket(member)) is not None]
            return [live for live in found if subject in (None, live.identity.subject)]
        return [live for live in self._guard.sockets(subject) if namespace in (None, live.namespace)]


def _fields(live: LiveSocket) -> tuple[str, str, Identity, frozenset[str], str]:
    return live.sid, live.namespace, live.identity, live.rooms, live.address


def encode_socket(live: LiveSocket) -> bytes:
    """Return a socket as JSON, for another node."""
    who = live.identity
    fields = {
        **vars(who),
        "roles": list(who.roles),
        "scopes": list(who.scopes),
        "claims": dict(who.claims),
        "room_actions": {pattern: list(actions) for pattern, actions in who.room_actions.items()},
    }
    return json.dumps([live.sid, live.namespace, fields, list(live.rooms), live.address])[0]


def decode_socket(entry: Iterable[Any], node: str) -> LiveSocket:
    """Read a socket of another node."""
    sid, namespace, fields, rooms, address = entry
    actions = {pattern: frozenset(given) for pattern, given in fields["room_actions"].items()}
    who = Identity(
        **{
            **fields,
            "roles": frozenset(fields["roles"]),
            "scopes": frozenset(fields["scopes"]),
            "rooms": tuple(fields["rooms"]),
            "claims": MappingProxyType(fields["claims"]),
            "room_actions": MappingProxyType(actions),
        }
    )
    return LiveSocket(sid, namespace, who, frozenset(rooms), address, node)
