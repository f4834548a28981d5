"""Socket.IO protocol 5: packets with namespaces, acknowledgements and binary attachments.

https://github.com/socketio/socket.io-protocol, version 5::

    <type>[<attachments>-][<namespace>,][<acknowledgement id>][JSON]
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Any

from roomkey.wire import json
from roomkey.wire.limits import Limits
from roomkey.wire.violation import Violation


class PacketType(IntEnum):
    """The first character of a packet."""

    CONNECT = 0
    DISCONNECT = 1
    EVENT = 2
    ACK = 3
    CONNECT_ERROR = 4
    BINARY_EVENT = 5
    BINARY_ACK = 6


Packet = tuple[PacketType, str, Any, int | None]
"""A complete packet of a client: its type, namespace, data and ID. A plain tuple, because each message makes one.

- The type is ``CONNECT``, ``DISCONNECT``, ``EVENT`` or ``ACK``. In binary packets, the attachments are restored.
- The data is the payload of a CONNECT, any JSON or None; the name and arguments of an event; or the arguments of an
  acknowledgement. If the name of an event is a number, it is replaced by its text.
- The ID is that of the requested or sent acknowledgement, or None.
"""


class Message:
    """A packet of the server, encoded once for all its receivers.

    Attributes:
        text: the Engine.IO message in UTF-8, including the ``4``.
        attachments: the binary messages that follow it.
        framed: the WebSocket frames of the message, kept here by a transport for all its connections.
    """

    __slots__ = ("attachments", "framed", "text")

    def __init__(self, text: bytes, attachments: tuple[bytes, ...] = ()) -> None:
        self.text = text
        self.attachments = attachments
        self.framed: bytes | None = None


_HEAD = re.compile(rb"([0-9])(?:([0-9]{1,9})-)?(?:(/[^,]*)(?:,|\Z))?([0-9]+)?")
_CONNECT, _DISCONNECT, _EVENT, _ACK = PacketType.CONNECT, PacketType.DISCONNECT, PacketType.EVENT, PacketType.ACK
_EVENT_DIGIT = ord("2")
_ID_END = 20  # the bracket after an acknowledgement ID is within this number of bytes
# The packets that clients can send, without and with attachments.
_PLAIN = {b"0": _CONNECT, b"1": _DISCONNECT, b"2": _EVENT, b"3": _ACK}
_BINARY = {b"5": _EVENT, b"6": _ACK}


class Decoder:
    """Decodes the packets of one connection, and keeps a packet until all its attachments have arrived.

    Args:
        limits: the limits for the input.
    """

    __slots__ = ("_attachments", "_containers", "_expected", "_held", "_limits", "_nesting", "_packet")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._nesting, self._containers = limits.nesting, limits.containers
        self._packet: Packet | None = None
        self._attachments: list[bytes] = []
        self._expected = 0
        self._held = 0

    @property
    def waiting(self) -> bool:
        """True while attachments are missing."""
        return self._packet is not None

    def text(self, data: bytes, start: int = 0) -> Packet | Violation | None:
        """Decode a text message.

        Args:
            data: the message.
            start: where the packet begins in it, after Engine.IO's ``4``.

        Returns:
            The packet, None if its attachments must follow, or the violation.
        """
        if self._packet is not None:
            return Violation("text where an attachment belongs")
        bracket = data.find(b"[", start, start + _ID_END)
        if bracket == start + 1 and data[start] == _EVENT_DIGIT:  # most packets are events of the namespace "/"
            return self._finish(_EVENT, "/", data[bracket:], None)
        if bracket > 0 and data[start] == _EVENT_DIGIT:
            digits = data[start + 1 : bracket]
            if digits.isdigit() and len(digits) < self._limits.id_digits:
                return self._finish(_EVENT, "/", data[bracket:], int(digits))
        return self._other(data[start:])

    def _other(self, data: bytes) -> Packet | Violation | None:
        head = _HEAD.match(data)
        if head is None:
            return Violation("not a Socket.IO packet")
        digit, count, name, digits = head.groups()
        namespace = "/" if name is None else self._namespace(name)
        if isinstance(namespace, Violation):
            return namespace
        if digits is not None and len(digits) > self._limits.id_digits:
            return Violation("an acknowledgement id with too many digits")
        number = None if digits is None else int(digits)
        kind = (_PLAIN if count is None else _BINARY).get(digit)
        if kind is None:
            return Violation("a packet that clients must not send")
        packet = self._finish(kind, namespace, data[head.end() :], number)
        if count is None or isinstance(packet, Violation):
            return packet
        return self._wait_for(packet, int(count), len(data))

    def binary(self, data: bytes) -> Packet | Violation | None:
        """Decode a binary message, which is an attachment. Return the same as :meth:`text`."""
        packet = self._packet
        if packet is None:
            return Violation("binary data that belongs to no packet")
        self._held += len(data)
        if self._held > self._limits.payload:
            return Violation("attachments over the limit")
        self._attachments.append(data)
        if len(self._attachments) < self._expected:
            return None
        attachments, self._attachments, self._packet = self._attachments, [], None
        kind, namespace, data, number = packet
        try:
            return kind, namespace, json.restore_attachments(data, attachments), number
        except ValueError:
            return Violation("placeholders and attachments do not match")

    def _namespace(self, name: bytes) -> str | Violation:
        if len(name) > self._limits.namespace_length:
            return Violation("a namespace with a very long name")
        try:
            return name.decode()
        except UnicodeDecodeError:
            return Violation("a namespace that is not UTF-8")

    def _finish(self, kind: PacketType, namespace: str, body: bytes, number: int | None) -> Packet | Violation:
        try:
            data = json.loads(body, self._nesting, self._containers) if body else None
        except ValueError:
            return Violation("a packet whose data is not JSON")
        if kind is not _EVENT:
            return _other_packet(kind, namespace, body, data, number)
        if type(data) is not list or not data:
            return Violation(_MISFORMED[kind])
        if type(data[0]) is not str:
            if type(data[0]) not in _NUMBERS:
                return Violation(_MISFORMED[kind])
            data[0] = _number_text(data[0])  # Node calls the handlers of the number's text
        return kind, namespace, data, number

    def _wait_for(self, packet: Packet, count: int, held: int) -> Violation | None:
        if not 1 <= count <= self._limits.attachments:
            return Violation(f"a binary packet without 1 to {self._limits.attachments} attachments")
        if held > self._limits.payload:
            return Violation("a binary packet over the limit")
        self._packet, self._expected, self._held = packet, count, held
        return None


def _other_packet(kind: PacketType, namespace: str, body: bytes, data: Any, number: int | None) -> Packet | Violation:
    if kind is _ACK:
        ok = type(data) is list and number is not None
    elif kind is _CONNECT:
        ok = number is None
    else:
        ok = number is None and not body
    return (kind, namespace, data, number) if ok else Violation(_MISFORMED[kind])


def _number_text(number: float) -> str:
    """Return a number as JavaScript writes it: 5.0 is "5"."""
    whole = isinstance(number, float) and number.is_integer() and abs(number) < 1e21
    return str(int(number) if whole else number)


_NUMBERS = (int, float)
_MISFORMED = {
    _EVENT: "an event that is not a list with a name",
    _ACK: "an acknowledgement without its id or its list",
    _CONNECT: "a CONNECT with an id",
    _DISCONNECT: "a DISCONNECT with an id or data",
}
_HEADS = {kind: b"4%d" % kind for kind in PacketType}
_BINARY_KIND = {PacketType.EVENT: 5, PacketType.ACK: 6}


def encode(kind: PacketType, namespace: str = "/", data: Any = None, id: int | None = None) -> Message:
    """Encode a packet of the server.

    Args:
        kind: the type. An EVENT or ACK with bytes in its data becomes a binary packet.
        namespace: the namespace, such as ``/``.
        data: any JSON, with bytes if the type allows; None writes no data.
        id: the ID of the acknowledgement.

    Raises:
        TypeError: a type that JSON does not have, or bytes in a packet that is neither an EVENT nor an ACK.
        ValueError: NaN, Infinity, or a dict that would be read as a placeholder in data that contains bytes.
    """
    return Message(*encode_parts(kind, namespace, data, id))


def encode_parts(kind: PacketType, namespace: str, data: Any, id: int | None) -> tuple[bytes, tuple[bytes, ...]]:
    """Encode a packet of the server that has one receiver: see :func:`encode`.

    Returns:
        The text of the message, and its attachments.
    """
    text, attachments = json.dumps(data) if data is not None else (b"", ())
    if not attachments:
        head = _HEADS[kind] if namespace == "/" else b"%b%b," % (_HEADS[kind], namespace.encode())
    elif kind in _BINARY_KIND:
        name = b"" if namespace == "/" else namespace.encode() + b","
        head = b"4%d%d-%b" % (_BINARY_KIND[kind], len(attachments), name)
    else:
        raise TypeError(f"a {kind.name} packet cannot carry bytes")
    return (head + text if id is None else b"%b%d%b" % (head, id, text)), attachments
