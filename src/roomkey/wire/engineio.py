"""Engine.IO protocol 4: packets, and the bodies of long-polling requests.

https://github.com/socketio/engine.io-protocol, version 4.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple

from roomkey.wire.limits import Limits
from roomkey.wire.violation import Violation

SEPARATOR = b"\x1e"
BINARY = b"b"


class EngineType(IntEnum):
    """The first character of a packet."""

    OPEN = 0
    CLOSE = 1
    PING = 2
    PONG = 3
    MESSAGE = 4
    UPGRADE = 5
    NOOP = 6


class EnginePacket(NamedTuple):
    """A packet.

    Attributes:
        type: the type of the packet.
        data: the data after the first character, or a whole binary message.
        binary: True for a binary message.
    """

    type: EngineType
    data: bytes
    binary: bool = False


_BY_DIGIT = {ord(str(int(kind))): kind for kind in EngineType}


def decode_packet(text: bytes) -> EnginePacket | Violation:
    """Decode a text packet from a WebSocket text frame or a polling body.

    Args:
        text: the packet; UTF-8 is not checked here.
    """
    kind = _BY_DIGIT.get(text[0]) if text else None
    if kind is None:
        return Violation("not an Engine.IO packet")
    return EnginePacket(kind, text[1:])


def decode_payload(body: bytes, limits: Limits) -> Iterator[EnginePacket | Violation]:
    """Decode the body of a long-polling POST: packets between separators (0x1e), binary packets as ``b`` and base64.

    The packets are decoded one by one: the protocol limits the bytes of a body and not its packets, so a caller that
    counts packets can stop early. Nothing follows a violation.
    """
    if len(body) > limits.payload:
        yield Violation("a body over the limit")
        return
    start = 0
    while True:
        end = body.find(SEPARATOR, start)
        part = body[start : end if end >= 0 else len(body)]
        packet = _decode_binary(part) if part[:1] == BINARY else decode_packet(part)
        yield packet
        if end < 0 or isinstance(packet, Violation):
            return
        start = end + 1


def _decode_binary(part: bytes) -> EnginePacket | Violation:
    try:
        return EnginePacket(EngineType.MESSAGE, binascii.a2b_base64(part[1:], strict_mode=True), binary=True)
    except binascii.Error:
        return Violation("a binary packet that is not base64")


def encode_binary(data: bytes) -> bytes:
    """Encode a binary message for a long-polling body."""
    return BINARY + binascii.b2a_base64(data, newline=False)


def encode_payload(parts: Iterable[bytes]) -> bytes:
    """Join packets into the body of a long-polling response."""
    return SEPARATOR.join(parts)
