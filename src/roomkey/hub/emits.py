"""The messages between nodes that carry a packet: its receivers, and its bytes, which nobody decodes. Pure.

::

    <length of the head, 4 bytes><head: JSON><length, 4 bytes><text>(<length, 4 bytes><attachment>)*
"""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from roomkey.wire import Message

LENGTH = 4


class Emit(NamedTuple):
    """The receivers of a packet on another node.

    Attributes:
        namespace: the namespace.
        rooms: the rooms; None means all sockets of the namespace.
        but: rooms whose sockets receive another copy of this packet.
        sids: the sockets, instead of rooms.
        skip: socket IDs that do not receive it.
        direct: it is addressed to one socket alone, which may receive it before it is admitted.
    """

    namespace: str
    rooms: tuple[str | int, ...] | None = None
    but: tuple[str | int, ...] = ()
    sids: tuple[str, ...] = ()
    skip: frozenset[str] = frozenset()
    direct: bool = False


def encode_emit(emit: Emit, message: Message) -> bytes:
    """Return the body of a message to another node.

    Raises:
        TypeError: the name of a room is neither a string nor a 64-bit number.
    """
    namespace, rooms, but, sids, skip, direct = emit
    return encode_packet([namespace, rooms, but, sids, tuple(skip), direct], message)


def decode_emit(body: bytes) -> tuple[Emit, Message]:
    """Read the body of a message from another node.

    Raises:
        ValueError: it is malformed.
    """
    head, message = decode_packet(body)
    if not isinstance(head, list) or len(head) != len(Emit._fields):
        raise ValueError("the head of an emit is not a list of its fields")
    namespace, rooms, but, sids, skip, direct = head
    if not (isinstance(namespace, str) and _is_list(sids, str) and _is_list(skip, str) and isinstance(direct, bool)):
        raise ValueError("a field of an emit has the wrong type")
    if not (rooms is None or _is_list(rooms, str, int)) or not _is_list(but, str, int) or (direct and len(sids) != 1):
        raise ValueError("the receivers of an emit have the wrong type")
    receivers = None if rooms is None else tuple(rooms)
    return Emit(namespace, receivers, tuple(but), tuple(sids), frozenset(skip), direct), message


def encode_packet(head: Any, message: Message) -> bytes:
    """Return a head and a packet as bytes.

    Raises:
        TypeError: the head is not JSON.
    """
    parts = (orjson.dumps(head), message.text, *message.attachments)
    return b"".join(piece for part in parts for piece in (len(part).to_bytes(LENGTH, "big"), part))


def decode_packet(body: bytes) -> tuple[Any, Message]:
    """Read a head and a packet.

    Raises:
        ValueError: the lengths do not fit, or the head is not JSON.
    """
    parts: list[bytes] = []
    at = 0
    while at < len(body):
        end = at + LENGTH + int.from_bytes(body[at : at + LENGTH], "big")
        if end > len(body) or at + LENGTH > len(body):
            raise ValueError("a part is longer than the message")
        parts.append(body[at + LENGTH : end])
        at = end
    if len(parts) < 2:
        raise ValueError("a message without a packet")
    return orjson.loads(parts[0]), Message(parts[1], tuple(parts[2:]))


def _is_list(value: object, *kinds: type) -> bool:
    return isinstance(value, list) and all(isinstance(one, kinds) for one in value)
