"""Engine.IO packets and polling bodies, by section of engine.io-protocol version 4."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire.values import THOROUGH

from roomkey.wire import EnginePacket, EngineType, Limits, Violation, decode_packet, decode_payload, encode_payload
from roomkey.wire.engineio import encode_binary

LIMITS = Limits()
MESSAGE = EngineType.MESSAGE


@pytest.mark.parametrize(
    ("digit", "kind"),
    [
        (b"0", EngineType.OPEN),
        (b"1", EngineType.CLOSE),
        (b"2", EngineType.PING),
        (b"3", EngineType.PONG),
        (b"4", EngineType.MESSAGE),
        (b"5", EngineType.UPGRADE),
        (b"6", EngineType.NOOP),
    ],
)
def test_decode_packet_reads_the_seven_types(digit, kind):
    """Protocol: a type, and optional data."""
    assert decode_packet(digit) == EnginePacket(kind, b"")
    assert decode_packet(digit + b"data") == EnginePacket(kind, b"data")
    assert list(decode_payload(digit, LIMITS)) == [EnginePacket(kind, b"")]


def test_protocol_has_seven_types():
    assert [int(kind) for kind in EngineType] == list(range(7))


@pytest.mark.parametrize(
    ("text", "packet"),
    [
        pytest.param(b"2probe", EnginePacket(EngineType.PING, b"probe"), id="Upgrade: the probe"),
        pytest.param(b"5", EnginePacket(EngineType.UPGRADE, b""), id="Upgrade: the end of it"),
        pytest.param(b"3", EnginePacket(EngineType.PONG, b""), id="Heartbeat: the answer"),
        pytest.param(b"4two words", EnginePacket(MESSAGE, b"two words"), id="Packet encoding, WebSocket: text"),
        pytest.param("4ü€😀".encode(), EnginePacket(MESSAGE, "ü€😀".encode()), id="Packet encoding: UTF-8"),
        pytest.param(b"4", EnginePacket(MESSAGE, b""), id="Packet encoding: empty data"),
        pytest.param(b"44", EnginePacket(MESSAGE, b"4"), id="Packet encoding: one digit is the type"),
        pytest.param(b"4b", EnginePacket(MESSAGE, b"b"), id="Packet encoding: b is a prefix in the first place only"),
        pytest.param(b"4a\x1e4b", EnginePacket(MESSAGE, b"a\x1e4b"), id="Packet encoding, WebSocket: one per frame"),
    ],
)
def test_decode_packet_reads_a_text_message(text, packet):
    assert decode_packet(text) == packet


@pytest.mark.checklist("E63")
@pytest.mark.parametrize(
    "text", [b"", b"7", b"8", b"9", b"a", b"b", b"bAQID", b" 4", b"-1", b"\x00", b"\x04", b"\xff", "٤".encode()]
)
def test_decode_rejects_invalid_packets(text):
    assert decode_packet(text) == Violation("not an Engine.IO packet")


@pytest.mark.checklist("E63")
@pytest.mark.parametrize("digit", [b"0", b"2", b"6"])
def test_decode_reads_packet_types_of_servers(digit):
    """The session decides whether clients can send a packet, not the parser."""
    assert decode_packet(digit).type == EngineType(int(digit))


@pytest.mark.parametrize(
    ("body", "packets"),
    [
        pytest.param(b"4one", [(MESSAGE, b"one", False)], id="one packet needs no separator"),
        pytest.param(
            b"4one\x1e2\x1e4two",
            [(MESSAGE, b"one", False), (EngineType.PING, b"", False), (MESSAGE, b"two", False)],
            id="several, in their order",
        ),
        pytest.param(
            b"4one\x1eb/+8B",
            [(MESSAGE, b"one", False), (MESSAGE, b"\xff\xef\x01", True)],
            id="binary data is base64 behind a b",
        ),
        pytest.param(b"bCg==", [(MESSAGE, b"\n", True)], id="base64 with padding"),
        pytest.param(b"b", [(MESSAGE, b"", True)], id="empty binary data"),
        pytest.param(b"4\x1e4", [(MESSAGE, b"", False)] * 2, id="empty messages"),
    ],
)
def test_packet_encoding_http_long_polling(body, packets):
    """Packet encoding, HTTP long-polling."""
    assert list(decode_payload(body, LIMITS)) == packets


@pytest.mark.checklist("E63")
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x1e", id="a separator alone"),
        pytest.param(b"4a\x1e", id="a separator at the end"),
        pytest.param(b"\x1e4a", id="a separator at the start"),
        pytest.param(b"4a\x1e\x1e4b", id="two separators"),
        pytest.param(b"4a\x1e7\x1e4b", id="one bad packet among good ones"),
        pytest.param(b"bAQI", id="base64 without its padding"),
        pytest.param(b"bA===", id="base64 with too much padding"),
        pytest.param(b"bAQ==AQ==", id="base64 after its end"),
        pytest.param(b"bAQID\n", id="a line break in base64"),
        pytest.param(b"bA QI=", id="a space in base64"),
        pytest.param(b"b-_-_", id="base64 with the alphabet for URLs"),
        pytest.param(b"b\xff\xff\xff\xff", id="bytes that are no base64"),
        pytest.param(b"B4a", id="a large B"),
        pytest.param(b"9:4packets", id="lengths, as version 3 wrote them"),
    ],
)
def test_decode_stops_a_body_at_the_first_invalid_packet(body):
    *read, last = decode_payload(body, LIMITS)
    assert isinstance(last, Violation)
    assert read == [EnginePacket(MESSAGE, b"a")] * body.startswith(b"4a")


def test_body_can_have_as_many_packets_as_fit():
    """engine.io-protocol 4: the server announces ``maxPayload``, and no number of packets."""
    assert list(decode_payload(b"\x1e".join([b"4x"] * 5000), LIMITS)) == [EnginePacket(MESSAGE, b"x")] * 5000


@pytest.mark.checklist("E71")
def test_decode_reads_a_body_packet_by_packet():
    """A caller that counts packets can stop."""
    flood = decode_payload(b"\x1e".join([b"4x"] * 300_000), LIMITS)
    assert next(flood) == EnginePacket(MESSAGE, b"x")


def test_body_over_the_limit_is_rejected():
    limits = Limits(payload=5)
    assert list(decode_payload(b"4abcd", limits)) == [EnginePacket(MESSAGE, b"abcd")]
    assert list(decode_payload(b"4abcde", limits)) == [Violation("a body over the limit")]


@pytest.mark.parametrize(
    ("parts", "body"),
    [
        ([b"4one"], b"4one"),
        ([b"4one", b"2", b"4two"], b"4one\x1e2\x1e4two"),
        ([b"4one", encode_binary(b"\x00\x01\x02")], b"4one\x1ebAAEC"),
        ([encode_binary(b"")], b"b"),
        ([], b""),
    ],
)
def test_encode_payload_joins_packets(parts, body):
    """Packet encoding, HTTP long-polling: the server's side."""
    assert encode_payload(parts) == body
    assert encode_payload(iter(parts)) == body


@given(st.binary(max_size=200))
@THOROUGH
def test_binary_data_is_base64_as_the_standard_library_writes_it(data):
    assert encode_binary(data) == b"b" + base64.standard_b64encode(data)


MESSAGES = st.tuples(
    st.sampled_from(EngineType), st.binary(max_size=20).map(lambda data: data.replace(b"\x1e", b"")), st.just(False)
) | st.tuples(st.just(MESSAGE), st.binary(max_size=20), st.just(True))


@given(st.lists(MESSAGES, min_size=1, max_size=8))
@THOROUGH
def test_what_is_written_is_read_back(packets):
    parts = [encode_binary(data) if binary else b"%d%b" % (kind, data) for kind, data, binary in packets]
    assert list(decode_payload(encode_payload(parts), LIMITS)) == packets
