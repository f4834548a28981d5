"""Socket.IO packets as a client reads and writes them, without I/O.

https://github.com/socketio/socket.io-protocol, version 5. The standard library reads the JSON: guards of any host can
be tested, and the hub's own reader is not installed with each of them.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR, BINARY_EVENT, BINARY_ACK = range(7)

_HEAD = re.compile(r"([0-6])(?:([0-9]+)-)?(?:(/[^,]*)(?:,|\Z))?([0-9]+)?")
_PLAIN = {BINARY_EVENT: EVENT, BINARY_ACK: ACK}


class Packet(NamedTuple):
    """A packet.

    Attributes:
        type: one of the constants of this module, but never a binary one.
        namespace: the namespace.
        data: the payload, or None.
        id: the ID of the acknowledgement that is requested or sent, or None.
    """

    type: int
    namespace: str
    data: Any = None
    id: int | None = None


class Reader:
    """Reads the packets of one connection."""

    def __init__(self) -> None:
        self._waiting: tuple[Packet, int] | None = None
        self._attachments: list[bytes] = []

    def text(self, message: str) -> Packet | None:
        """Return the packet of a message; None if its attachments must follow.

        Raises:
            ValueError: it is not a packet.
        """
        head = _HEAD.match(message)
        if head is None or self._waiting is not None:
            raise ValueError(f"the server sent something that is not a Socket.IO packet: {message[:40]!r}")
        digit, count, namespace, number = head.groups()
        body = message[head.end() :]
        kind = int(digit)
        data = json.loads(body) if body else None
        packet = Packet(_PLAIN.get(kind, kind), namespace or "/", data, int(number) if number else None)
        if not count:
            return packet
        self._waiting = packet, int(count)
        return None

    def binary(self, attachment: bytes) -> Packet | None:
        """Return the packet that an attachment completes, or None.

        Raises:
            ValueError: no packet waits for it.
        """
        if self._waiting is None:
            raise ValueError("the server sent an attachment without a packet")
        self._attachments.append(attachment)
        packet, count = self._waiting
        if len(self._attachments) < count:
            return None
        attachments, self._attachments, self._waiting = self._attachments, [], None
        return packet._replace(data=_restored(packet.data, attachments))


def encode(packet: Packet) -> tuple[str, list[bytes]]:
    """Return a packet's text, and the attachments that follow it.

    Raises:
        TypeError, ValueError: the data is not JSON with bytes.
    """
    attachments: list[bytes] = []
    body = "" if packet.data is None else json.dumps(_put_aside(packet.data, attachments), allow_nan=False)
    if packet.type == CONNECT and body[:1].isdigit():
        body = f" {body}"  # it would be read as an ID
    head = str(packet.type)
    if attachments:
        head = f"{BINARY_EVENT if packet.type == EVENT else BINARY_ACK}{len(attachments)}-"
    namespace = "" if packet.namespace == "/" else f"{packet.namespace},"
    return f"{head}{namespace}{'' if packet.id is None else packet.id}{body}", attachments


def _put_aside(value: Any, attachments: list[bytes]) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        attachments.append(bytes(value))
        return {"_placeholder": True, "num": len(attachments) - 1}
    if isinstance(value, dict):
        return {name: _put_aside(part, attachments) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_put_aside(part, attachments) for part in value]
    return value


def _restored(value: Any, attachments: list[bytes]) -> Any:
    if isinstance(value, dict):
        if value.get("_placeholder") is True:
            return attachments[value["num"]]
        return {name: _restored(part, attachments) for name, part in value.items()}
    if isinstance(value, list):
        return [_restored(part, attachments) for part in value]
    return value
