"""Properties that hold for any bytes.

Run by itself it is a coverage-guided fuzzer: ``python tests/wire/fuzz.py -max_total_time=60``, with a
folder of inputs to start from if there is one. That needs ``atheris``, which nothing else here does: the tests call
:func:`check` with hypothesis.
"""

from __future__ import annotations

import inspect
import sys

import roomkey.wire.engineio
import roomkey.wire.json
import roomkey.wire.socketio
from roomkey.wire import (
    Decoder,
    EnginePacket,
    EngineType,
    Limits,
    Packet,
    PacketType,
    Violation,
    decode_packet,
    decode_payload,
    encode,
)

LIMITS = Limits(payload=2000, attachments=4, namespace_length=40, nesting=20)
# All reasons of violations; none contains data that was sent.
REASONS = {
    "not an Engine.IO packet",
    "a body over the limit",
    "a binary packet that is not base64",
    "text where an attachment belongs",
    "not a Socket.IO packet",
    "an acknowledgement id with too many digits",
    "a packet that clients must not send",
    "binary data that belongs to no packet",
    "attachments over the limit",
    "placeholders and attachments do not match",
    "a namespace with a very long name",
    "a namespace that is not UTF-8",
    "a binary packet without 1 to 4 attachments",
    "a binary packet over the limit",
    "a packet whose data is not JSON",
    "an event that is not a list with a name",
    "an acknowledgement without its id or its list",
    "a CONNECT with an id",
    "a DISCONNECT with an id or data",
}


def check(data: bytes) -> None:
    """Nothing raises an exception; results are packets, None or violations; memory stays within the limits."""
    one = decode_packet(data)
    assert isinstance(one, EnginePacket) or one.reason in REASONS
    told = list(decode_payload(data, LIMITS))
    body = [packet for packet in told if isinstance(packet, EnginePacket)]
    assert told[: len(body)] == body  # nothing follows a violation
    assert sum(len(packet.data) for packet in body) <= LIMITS.payload
    if isinstance(told[-1], Violation):
        assert told[-1].reason in REASONS
        # The same parts as frames, so that the fuzzer does not have to guess base64.
        parts = data.split(b"\x1e")
        body = [EnginePacket(EngineType.MESSAGE, part[1:], binary=part[:1] == b"b") for part in parts]
    check_messages(body)


def check_messages(messages: list[EnginePacket]) -> None:
    decoder = Decoder(LIMITS)
    for message in messages:
        told = (decoder.binary if message.binary else decoder.text)(message.data)
        assert sum(map(len, decoder._attachments)) <= LIMITS.payload  # visible only in the private attribute
        if told is None:
            assert decoder.waiting
        elif isinstance(told, Violation):
            assert told.reason in REASONS
        else:
            assert not decoder.waiting
            check_packet(told)


def check_packet(packet: Packet) -> None:
    """A decoded packet can be encoded and decoded again."""
    kind, namespace, data, number = packet
    assert kind in (PacketType.CONNECT, PacketType.DISCONNECT, PacketType.EVENT, PacketType.ACK)
    assert namespace.startswith("/")
    assert "," not in namespace
    assert number is None or 0 <= number < 10**LIMITS.id_digits
    if kind is PacketType.CONNECT and type(data) in (int, float):
        return  # a server's CONNECT has an object; after the type, a number would be an ID
    message = encode(kind, namespace, data, number)
    decoder = Decoder(Limits())
    told = [decoder.text(message.text[1:]), *map(decoder.binary, message.attachments)][-1]
    assert repr(told) == repr(packet)  # 1 == 1.0 == True


if __name__ == "__main__":
    import atheris

    for owner in (roomkey.wire.engineio, roomkey.wire.json, roomkey.wire.socketio, Decoder):
        for _name, function in inspect.getmembers(owner, inspect.isfunction):
            atheris.instrument_func(function)
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
