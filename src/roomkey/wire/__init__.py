"""Engine.IO protocol 4 and Socket.IO protocol 5, without I/O and without a clock.

The functions turn bytes into values. They return a :class:`Violation` for malformed input, and never raise an exception
for what a peer sent.
"""

from __future__ import annotations

try:
    import orjson  # noqa: F401
except ImportError as missing:
    raise ImportError("roomkey.wire requires orjson; run: pip install 'roomkey[hub]'") from missing

from roomkey.wire.engineio import EnginePacket, EngineType, decode_packet, decode_payload, encode_payload
from roomkey.wire.limits import Limits
from roomkey.wire.socketio import Decoder, Message, Packet, PacketType, encode, encode_parts
from roomkey.wire.transport_state import TransportAction, TransportInput, TransportMachine, TransportState
from roomkey.wire.violation import Violation

__all__ = [
    "Decoder",
    "EnginePacket",
    "EngineType",
    "Limits",
    "Message",
    "Packet",
    "PacketType",
    "TransportAction",
    "TransportInput",
    "TransportMachine",
    "TransportState",
    "Violation",
    "decode_packet",
    "decode_payload",
    "encode",
    "encode_parts",
    "encode_payload",
]
