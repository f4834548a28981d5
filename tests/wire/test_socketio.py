"""Socket.IO packets, by section of socket.io-protocol version 5."""

from __future__ import annotations

from typing import Any

import pytest
import socketio.packet
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support.examples import examples
from wire.values import EVENTS, IDS, THOROUGH, packet_of, packets, same

from roomkey.wire import Decoder, Limits, Packet, PacketType, Violation, encode

CONNECT, DISCONNECT, EVENT, ACK = PacketType.CONNECT, PacketType.DISCONNECT, PacketType.EVENT, PacketType.ACK
CONNECT_ERROR = PacketType.CONNECT_ERROR
MANY = Limits(attachments=100)
P0, P1 = b'{"_placeholder":true,"num":0}', b'{"_placeholder":true,"num":1}'


def read(*frames: bytes, binary: tuple[bytes, ...] = (), limits: Limits = MANY) -> Packet | Violation | None:
    """Return the result of the last message; those before it return None."""
    decoder = Decoder(limits)
    results = [decoder.text(frame) for frame in frames] + [decoder.binary(frame) for frame in binary]
    assert results[:-1] == [None] * (len(results) - 1)
    return results[-1]


def refused(*frames: bytes, binary: tuple[bytes, ...] = (), limits: Limits = MANY) -> str:
    result = read(*frames, binary=binary, limits=limits)
    assert isinstance(result, Violation), result
    return result.reason


# Each: the section of the document, the packet, its text, its attachments.
BOTH_WAYS = [
    ("Connection to a namespace: the main one", CONNECT, "/", None, None, b"0", ()),
    ("Connection to a namespace: another", CONNECT, "/chat", None, None, b"0/chat,", ()),
    ("Connection to a namespace: with data", CONNECT, "/", {"token": "t"}, None, b'0{"token":"t"}', ()),
    ("Connection to a namespace: another with data", CONNECT, "/chat", {"a": 1}, None, b'0/chat,{"a":1}', ()),
    ("Sending and receiving data: the main namespace", EVENT, "/", ["say", 1], None, b'2["say",1]', ()),
    ("Sending and receiving data: another", EVENT, "/chat", ["say"], None, b'2/chat,["say"]', ()),
    (
        "Sending and receiving data: binary",
        EVENT,
        "/",
        ["say", b"\x00\xff"],
        None,
        b'51-["say",%b]' % P0,
        (b"\x00\xff",),
    ),
    (
        "Sending and receiving data: binary, two attachments, another namespace",
        EVENT,
        "/chat",
        ["say", b"one", {"two": b"two"}],
        None,
        b'52-/chat,["say",%b,{"two":%b}]' % (P0, P1),
        (b"one", b"two"),
    ),
    ("Acknowledgement: asked for", EVENT, "/", ["say"], 12, b'212["say"]', ()),
    ("Acknowledgement: asked for elsewhere", EVENT, "/chat", ["say"], 7, b'2/chat,7["say"]', ()),
    ("Acknowledgement: asked for with bytes", EVENT, "/", ["say", b"a"], 7, b'51-7["say",%b]' % P0, (b"a",)),
    ("Acknowledgement: given, empty", ACK, "/", [], 12, b"312[]", ()),
    ("Acknowledgement: given elsewhere", ACK, "/chat", ["yes"], 7, b'3/chat,7["yes"]', ()),
    ("Acknowledgement: given with bytes", ACK, "/", [b"a"], 7, b"61-7[%b]" % P0, (b"a",)),
    ("Acknowledgement: with bytes, elsewhere", ACK, "/chat", [b"a"], 0, b"61-/chat,0[%b]" % P0, (b"a",)),
    ("Disconnection from a namespace: the main one", DISCONNECT, "/", None, None, b"1", ()),
    ("Disconnection from a namespace: another", DISCONNECT, "/chat", None, None, b"1/chat,", ()),
    ("Format: numbers of more than one digit", EVENT, "/", ["say", *[b""] * 11], 123, None, (b"",) * 11),
    ("Format: UTF-8", EVENT, "/räume", ["größe", "😀"], None, '2/räume,["größe","😀"]'.encode(), ()),
]


@pytest.mark.parametrize(
    ("kind", "namespace", "data", "number", "text", "attachments"),
    [row[1:] for row in BOTH_WAYS],
    ids=[row[0] for row in BOTH_WAYS],
)
def test_encode_writes_the_packets_of_the_protocol(kind, namespace, data, number, text, attachments):
    message = encode(kind, namespace, data, number)
    if text is None:
        text = message.text[1:]
        assert text.startswith(b'511-123["say",')
    assert message.text == b"4" + text
    assert message.attachments == attachments
    assert read(text, binary=attachments) == packet_of(kind, namespace, data, number)


def test_protocol_has_seven_packet_types():
    """Exchange protocol: the table of types."""
    assert {kind.name: int(kind) for kind in PacketType} == {
        "CONNECT": 0,
        "DISCONNECT": 1,
        "EVENT": 2,
        "ACK": 3,
        "CONNECT_ERROR": 4,
        "BINARY_EVENT": 5,
        "BINARY_ACK": 6,
    }


def test_connect_error_is_only_sent_by_servers():
    """Connection to a namespace: only servers send CONNECT_ERROR, so it is encoded and never decoded."""
    data = {"message": "no"}
    assert encode(CONNECT_ERROR, "/", data).text == b'44{"message":"no"}'
    assert encode(CONNECT_ERROR, "/chat", data).text == b'44/chat,{"message":"no"}'
    assert refused(b'4{"message":"no"}') == "a packet that clients must not send"


@pytest.mark.parametrize(
    ("text", "packet"),
    [
        pytest.param(b"0/chat", packet_of(CONNECT, "/chat"), id="a namespace at the end needs no comma"),
        pytest.param(b"1/chat", packet_of(DISCONNECT, "/chat"), id="nor in a DISCONNECT"),
        pytest.param(b'2/,["a"]', packet_of(EVENT, "/", ["a"]), id="the main namespace by its name"),
        pytest.param(
            b'2/chat?a=1,["a"]', packet_of(EVENT, "/chat?a=1", ["a"]), id="a namespace ends at the comma only"
        ),
        pytest.param(b'2/a/b,["a"]', packet_of(EVENT, "/a/b", ["a"]), id="a slash within a namespace"),
        pytest.param(b'2/1-,5["a"]', packet_of(EVENT, "/1-", ["a"], 5), id="what looks like a number in a namespace"),
        pytest.param(b'2["/chat,",1]', packet_of(EVENT, "/", ["/chat,", 1]), id="what looks like a namespace in data"),
        pytest.param(b'2["1-"]', packet_of(EVENT, "/", ["1-"]), id="what looks like a number in data"),
        pytest.param(b"0[1]", packet_of(CONNECT, "/", [1]), id="CONNECT with other data than an object"),
        pytest.param(b"0-1", packet_of(CONNECT, "/", -1), id="CONNECT with a number that is no id"),
        pytest.param(b"0null", packet_of(CONNECT, "/"), id="CONNECT with null"),
        pytest.param(b'2 [ "a" ] ', packet_of(EVENT, "/", ["a"]), id="spaces of JSON"),
    ],
)
def test_decoder_reads_the_format_of_the_protocol(text, packet):
    """Format: the order of the parts, and the optional parts."""
    assert read(text) == packet


@pytest.mark.checklist("E63")
@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"4", id="CONNECT_ERROR"),
        pytest.param(b'4{"message":"x"}', id="CONNECT_ERROR with data"),
        pytest.param(b"6", id="BINARY_ACK alone"),
        pytest.param(b"7", id="type 7"),
        pytest.param(b'7["a"]', id="type 7 with data"),
        pytest.param(b"8", id="type 8"),
        pytest.param(b"9", id="type 9"),
        pytest.param(b'["a"]', id="no type"),
        pytest.param(b"-1", id="a negative type"),
        pytest.param(b" 2", id="a space first"),
        pytest.param(b"\x02", id="a byte for a digit"),
        pytest.param('٢["a"]'.encode(), id="a digit of another script"),
        pytest.param(b"2", id="EVENT without data"),
        pytest.param(b"2[]", id="EVENT without a name"),
        pytest.param(b"2[true]", id="EVENT named by a boolean"),
        pytest.param(b"2[null]", id="EVENT named by null"),
        pytest.param(b'2[["a"]]', id="EVENT named by a list"),
        pytest.param(b'2[{"_placeholder":true,"num":0}]', id="EVENT named by a placeholder"),
        pytest.param(b"2{}", id="EVENT with an object"),
        pytest.param(b'2"a"', id="EVENT with a string"),
        pytest.param(b"2null", id="EVENT with null"),
        pytest.param(b'2["a"', id="EVENT cut"),
        pytest.param(b'2["a"]]', id="EVENT with more behind it"),
        pytest.param(b'2["a"]2["b"]', id="two packets in one"),
        pytest.param(b'2/chat["a"]', id="a namespace without its comma"),
        pytest.param(b'2,["a"]', id="a comma without a namespace"),
        pytest.param(b'2chat,["a"]', id="a namespace without its slash"),
        pytest.param(b'2/\xff,["a"]', id="a namespace that is not UTF-8"),
        pytest.param(b"2123", id="EVENT with an id alone"),
        pytest.param(b"2" + b"9" * 5000, id="EVENT with more digits alone than Python reads"),
        pytest.param(b"2" + b"9" * 18 + b"[", id="EVENT with digits and a bracket alone"),
        pytest.param(b"3[]", id="ACK without an id"),
        pytest.param(b"31", id="ACK without data"),
        pytest.param(b"31{}", id="ACK with an object"),
        pytest.param(b"31null", id="ACK with null"),
        pytest.param(b"3", id="ACK alone"),
        pytest.param(b"01", id="CONNECT with an id"),
        pytest.param(b"01{}", id="CONNECT with an id and data"),
        pytest.param(b"0{", id="CONNECT cut"),
        pytest.param(b"01-{}", id="CONNECT with attachments"),
        pytest.param(b"1{}", id="DISCONNECT with data"),
        pytest.param(b"1null", id="DISCONNECT with null"),
        pytest.param(b"11", id="DISCONNECT with an id"),
        pytest.param(b"11-", id="DISCONNECT with attachments"),
        pytest.param(b'21-["a"]', id="EVENT with attachments"),
        pytest.param(b"31-1[]", id="ACK with attachments"),
        pytest.param(b'51-1["a"', id="BINARY_EVENT cut"),
        pytest.param(b"51-[]", id="BINARY_EVENT without a name"),
        pytest.param(b"51-[%b]" % P0, id="BINARY_EVENT named by bytes"),
        pytest.param(b"61-[%b]" % P0, id="BINARY_ACK without an id"),
        pytest.param(b"51-{}", id="BINARY_EVENT with an object"),
    ],
)
def test_malformed_packets_are_rejected(text):
    decoder = Decoder(MANY)
    assert isinstance(decoder.text(text), Violation)
    assert not decoder.waiting


@pytest.mark.checklist("E64")
@pytest.mark.parametrize("text", [b"50-", b"5", b'5["x"]', b'50-["x"]', b"60-1[]", b"61[]", b"5-", b'5-["x"]', b"51-"])
def test_binary_packet_without_attachments_is_rejected(text):
    """Otherwise the decoder would wait for ever."""
    decoder = Decoder(MANY)
    assert isinstance(decoder.text(text), Violation)
    assert not decoder.waiting
    assert decoder.text(b'2["next"]') == packet_of(EVENT, "/", ["next"])


@pytest.mark.checklist("E65")
@pytest.mark.parametrize("count", [b"11", b"12", b"99", b"999999999", b"9999999999", b"9" * 5000, b"0", b"00", b"-1"])
def test_too_many_attachments_are_rejected_at_the_header(count):
    decoder = Decoder(Limits())
    assert isinstance(decoder.text(b'5%b-["x",%b]' % (count, P0)), Violation)
    assert not decoder.waiting


@pytest.mark.checklist("E65")
def test_attachment_limit_is_exact():
    assert read(b'5150-["x",%b]' % P0, limits=Limits(attachments=150)) is None
    assert refused(b'5151-["x",%b]' % P0, limits=Limits(attachments=150)).endswith("1 to 150 attachments")


@pytest.mark.checklist("E65")
def test_allowed_number_of_attachments_is_awaited():
    decoder = Decoder(Limits())
    parts = b",".join(b'{"_placeholder":true,"num":%d}' % number for number in range(10))
    assert decoder.text(b'510-["x",%b]' % parts) is None
    results = [decoder.binary(b"%d" % number) for number in range(10)]
    assert results == [None] * 9 + [packet_of(EVENT, "/", ["x", *[b"%d" % number for number in range(10)]])]


@pytest.mark.checklist("E66")
@pytest.mark.parametrize("text", [b'2["next"]', b"1", b"0", b"", b'51-["x",%b]' % P0, b"garbage"])
def test_text_instead_of_an_attachment_is_rejected(text):
    decoder = Decoder(MANY)
    assert decoder.text(b'52-["x",%b,%b]' % (P0, P1)) is None
    assert decoder.binary(b"one") is None
    assert decoder.text(text) == Violation("text where an attachment belongs")


@pytest.mark.checklist("E66")
def test_missing_attachments_are_awaited():
    """The host decides how long: it checks ``waiting``."""
    decoder = Decoder(MANY)
    assert not decoder.waiting
    assert decoder.text(b'52-["x",%b,%b]' % (P0, P1)) is None
    assert decoder.waiting
    assert decoder.binary(b"one") is None
    assert decoder.waiting
    assert decoder.binary(b"two") == packet_of(EVENT, "/", ["x", b"one", b"two"])
    assert not decoder.waiting


@pytest.mark.checklist("E66")
def test_attachment_without_a_packet_is_rejected():
    decoder = Decoder(MANY)
    assert decoder.binary(b"data") == Violation("binary data that belongs to no packet")
    decoder.text(b'51-["x",%b]' % P0)
    decoder.binary(b"data")
    assert decoder.binary(b"more") == Violation("binary data that belongs to no packet")


def placed(number: bytes) -> bytes:
    return b'{"_placeholder":true,"num":%b}' % number


@pytest.mark.checklist("E67")
@pytest.mark.parametrize("number", [b"-1", b'"0"', b"1.5", b"99", b"true", b"false", b"null", b"[0]", b"0.0", b"1e0"])
def test_placeholder_number_without_an_attachment_is_rejected(number):
    assert refused(b'51-["x",%b]' % placed(number), binary=(b"data",)) == "placeholders and attachments do not match"


@pytest.mark.checklist("E67")
@pytest.mark.parametrize(
    ("text", "count"),
    [
        pytest.param(b'52-["x",%b,%b]' % (P0, P0), 2, id="one num twice"),
        pytest.param(b'51-["x",%b,%b]' % (P0, P0), 1, id="one num twice, one attachment"),
        pytest.param(b'51-["x"]', 1, id="none"),
        pytest.param(b'52-["x",%b]' % P0, 2, id="one too few"),
        pytest.param(b'51-["x",%b,%b]' % (P0, P1), 1, id="one too many"),
        pytest.param(b'51-["x",{"_placeholder":true}]', 1, id="no num"),
        pytest.param(b'51-["x",{"_placeholder":1,"num":0}]', 1, id="1 for true"),
        pytest.param(b'52-["x",{"_placeholder":true,"num":0,"in":%b}]' % P1, 2, id="one within another"),
        pytest.param(b'51-["x","{\\"_placeholder\\":true,\\"num\\":0}"]', 1, id="one in a string"),
    ],
)
def test_unmatched_placeholders_and_attachments_are_rejected(text, count):
    decoder = Decoder(MANY)
    assert decoder.text(text) is None
    results = [decoder.binary(b"data") for _ in range(count)]
    assert results == [None] * (count - 1) + [Violation("placeholders and attachments do not match")]
    # Nothing is left for the next packet.
    assert not decoder.waiting
    assert decoder.text(b'51-["y",%b]' % P0) is None
    assert decoder.binary(b"other") == packet_of(EVENT, "/", ["y", b"other"])


@pytest.mark.checklist("E67")
def test_placeholder_in_a_plain_event_is_plain_data():
    assert read(b'2["x",%b]' % P0) == packet_of(EVENT, "/", ["x", {"_placeholder": True, "num": 0}])


@pytest.mark.checklist("E67")
def test_attachments_are_read_in_the_order_of_their_numbers():
    assert read(b'52-["x",%b,%b]' % (P1, P0), binary=(b"0", b"1")) == packet_of(EVENT, "/", ["x", b"1", b"0"])


@pytest.mark.checklist("E68")
@pytest.mark.parametrize("sizes", [(100,), (60, 40), (0, 100), (100, 0)], ids=str)
def test_packet_and_attachments_share_one_size_limit(sizes):
    places = b",".join(placed(b"%d" % number) for number in range(len(sizes)))
    text = b'5%d-["x",%b]' % (len(sizes), places)
    exactly = Limits(payload=len(text) + 100)
    whole = tuple(bytes(size) for size in sizes)
    assert read(text, binary=whole, limits=exactly) == packet_of(EVENT, "/", ["x", *whole])
    tight = Decoder(Limits(payload=len(text) + 99))
    tight.text(text)
    results = [tight.binary(part) for part in whole]
    assert Violation("attachments over the limit") in results
    assert not any(isinstance(result, tuple) for result in results)


@pytest.mark.checklist("E68")
def test_nothing_is_read_after_the_size_limit():
    decoder = Decoder(Limits(payload=100))
    decoder.text(b'52-["x",%b,%b]' % (P0, P1))
    for data in (bytes(101), b"", b"x", b""):
        assert decoder.binary(data) == Violation("attachments over the limit")


@pytest.mark.checklist("E68")
def test_packet_over_the_limit_is_rejected_without_its_attachments():
    text = b'51-["x",%b]' % P0
    assert Decoder(Limits(payload=len(text))).text(text) is None
    decoder = Decoder(Limits(payload=len(text) - 1))
    assert decoder.text(text) == Violation("a binary packet over the limit")
    assert not decoder.waiting


@pytest.mark.checklist("E78")
@pytest.mark.parametrize(
    "text", [b"2" + b"[" * 1_000_000, b'2["a",' + b"[" * 99 + b"1" + b"]" * 99 + b",[[]" + b"]" * 2]
)
def test_deep_nesting_is_rejected(text):
    assert refused(text, limits=Limits(nesting=99)) == "a packet whose data is not JSON"


@pytest.mark.checklist("E78")
def test_attachments_are_restored_at_any_allowed_depth():
    """Even the highest limit is below that of Python's stack."""
    limits = Limits(nesting=250)
    inner = b"[" * 248 + P0 + b"]" * 248
    packet = read(b'51-["x",%b]' % inner, binary=(b"data",), limits=limits)
    assert isinstance(packet, tuple)
    value = packet[2][1]
    while isinstance(value, list):
        (value,) = value
    assert value == b"data"


@pytest.mark.checklist("E78")
def test_namespace_length_is_bounded():
    longest = b"/" + b"x" * 254
    assert read(b'2%b,["a"]' % longest) == packet_of(EVENT, longest.decode(), ["a"])
    assert refused(b'2%bx,["a"]' % longest) == "a namespace with a very long name"
    assert refused(b"0" + b"/" * 1_000_000) == "a namespace with a very long name"


@pytest.mark.checklist("E79")
@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400"])
@pytest.mark.parametrize("head", [b'2["x",%b]', b'2/chat,7["x",%b]', b"31[%b]", b'0{"a":%b}', b'51-["x",[%b]]'])
def test_numbers_that_are_not_json_are_rejected(head, number):
    assert refused(head % number) == "a packet whose data is not JSON"


@pytest.mark.checklist("E79")
@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("kind", [CONNECT, EVENT, ACK, CONNECT_ERROR])
def test_numbers_that_are_not_json_are_not_sent(kind, number):
    with pytest.raises(ValueError, match="not JSON"):
        encode(kind, "/", ["x", number], 1)


@pytest.mark.checklist("E80")
@pytest.mark.parametrize(
    ("text", "packet"),
    [
        (b'2["\\ud800"]', packet_of(EVENT, "/", ["\ufffd"])),
        (b'2/chat,7["a","\\udc00\\ud800"]', packet_of(EVENT, "/chat", ["a", "\ufffd\ufffd"], 7)),
        (b'0{"token":"\\ud83c"}', packet_of(CONNECT, "/", {"token": "\ufffd"})),
        (b'31["\\ud83c"]', packet_of(ACK, "/", ["\ufffd"], 1)),
        (b'2["\xed\xa0\x80"]', None),
        (b'2["a\x00"]', None),
        (b'2["a\\u0000"]', packet_of(EVENT, "/", ["a\0"])),
        ('2["\u2028\u2029"]'.encode(), packet_of(EVENT, "/", ["\u2028\u2029"])),
        (b'2["\\ud83d\\ude00"]', packet_of(EVENT, "/", ["😀"])),
    ],
)
def test_strings_that_would_break_receivers_are_kept_or_replaced(text, packet):
    if packet is None:
        assert refused(text) == "a packet whose data is not JSON"
    else:
        assert read(text) == packet


@pytest.mark.checklist("E80")
def test_python_only_text_is_not_sent():
    assert encode(EVENT, "/", ["x", "\ud800"]).text == '42["x","\ufffd"]'.encode()
    with pytest.raises(ValueError):  # a UnicodeEncodeError is one
        encode(EVENT, "/\ud800", ["x"])


@pytest.mark.parametrize(
    ("number", "name"), [(b"5", "5"), (b"-5", "-5"), (b"5.0", "5"), (b"5.5", "5.5"), (b"-0.0", "0"), (b"1e21", "1e+21")]
)
def test_numeric_event_name_becomes_text(number, name):
    """As in Node: ``emit(5, "x")``."""
    assert read(b'2[%b,"x"]' % number) == packet_of(EVENT, "/", [name, "x"])
    assert read(b"51-[%b,%b]" % (number, P0), binary=(b"data",)) == packet_of(EVENT, "/", [name, b"data"])


@pytest.mark.checklist("E81")
@pytest.mark.parametrize("name", [b"__proto__", b"constructor", b"prototype"])
def test_names_of_javascript_are_plain_data(name):
    packet = read(b'2["%b",{"%b":{"admin":true}}]' % (name, name))
    assert packet == packet_of(EVENT, "/", [name.decode(), {name.decode(): {"admin": True}}])
    assert encode(*packet).text == b'42["%b",{"%b":{"admin":true}}]' % (name, name)
    binary = read(b'51-["x",{"%b":%b}]' % (name, P0), binary=(b"data",))
    assert binary == packet_of(EVENT, "/", ["x", {name.decode(): b"data"}])


@pytest.mark.checklist("E82")
@pytest.mark.parametrize(
    ("digits", "number"),
    [
        (b"0", 0),
        (b"1", 1),
        (b"007", 7),
        (b"9" * 15, 10**15 - 1),
        *[(digits, None) for digits in (b"9" * 16, b"9007199254740992", b"9" * 100, b"9" * 5000, b"0" * 16)],
        *[(digits, None) for digits in (b"-1", b"1.5", b"1e3", b"+1", b"0x1", "٣".encode())],
    ],
    ids=lambda part: str(part)[:24],
)
def test_acknowledgement_ids_are_checked(digits, number):
    for head, body, kind in ((b"2", b'["x"]', EVENT), (b"3", b"[]", ACK), (b"3/chat,", b"[]", ACK)):
        if number is None:
            assert isinstance(read(head + digits + body), Violation)
        else:
            packet = read(head + digits + body)
            assert (packet[0], packet[3]) == (kind, number)
            assert type(packet[3]) is int


@pytest.mark.checklist("E82")
def test_acknowledgement_id_digits_are_bounded():
    limits = Limits(id_digits=3)
    assert read(b'2999["x"]', limits=limits) == packet_of(EVENT, "/", ["x"], 999)
    assert refused(b'21000["x"]', limits=limits) == "an acknowledgement id with too many digits"
    widest = Limits(id_digits=18)
    assert read(b'2%b["x"]' % (b"9" * 18), limits=widest) == packet_of(EVENT, "/", ["x"], 10**18 - 1)


@pytest.mark.parametrize("kind", [CONNECT, CONNECT_ERROR, DISCONNECT])
def test_bytes_are_rejected_outside_events_and_acknowledgements(kind):
    with pytest.raises(TypeError, match=f"a {kind.name} packet cannot carry bytes"):
        encode(kind, "/", {"a": b"bytes"})


# For every event and acknowledgement.


@given(packets())
@THOROUGH
def test_encoded_packets_decode(packet):
    message = encode(packet[0], packet[1], packet[2], packet[3])
    decoder = Decoder(MANY)
    results = [decoder.text(message.text.removeprefix(b"4")), *map(decoder.binary, message.attachments)]
    assert results[:-1] == [None] * len(message.attachments)
    assert same(results[-1], packet_of(*packet))
    assert message.attachments == () or message.text[1:2] in (b"5", b"6")


@given(packets())
@THOROUGH
def test_python_socketio_reads_what_is_encoded(packet):
    """With another implementation, because encode and Decoder could have the same mistake."""
    kind, namespace, data, number = packet
    message = encode(kind, namespace, data, number)
    theirs = socketio.packet.Packet(encoded_packet=message.text.decode()[1:])
    complete = [theirs.add_attachment(part) for part in message.attachments]
    assert complete == [False] * (len(complete) - 1) + [True] * bool(complete)
    assert theirs.packet_type in (kind, kind + 3)
    assert same((theirs.namespace or "/", theirs.data, theirs.id), (namespace.partition("?")[0], data, number))


@given(EVENTS, st.sampled_from(["/", "/chat", "/räume"]), st.none() | IDS)
@THOROUGH
def test_packets_of_python_socketio_decode(data, namespace, number):
    theirs = socketio.packet.Packet(EVENT, data=data, namespace=namespace, id=number).encode()
    text, *attachments = theirs if isinstance(theirs, list) else [theirs]
    assert same(read(text.encode(), binary=tuple(attachments)), packet_of(EVENT, namespace, data, number))


class OneDecoder(RuleBasedStateMachine):
    """A decoder that gets any input, and a model of what it waits for."""

    limits = Limits(payload=120, attachments=3)

    def __init__(self) -> None:
        super().__init__()
        self.decoder = Decoder(self.limits)
        self.expected = 0  # missing attachments
        self.got: list[bytes] = []
        self.budget = 0
        self.matches = True

    def over(self) -> bool:
        return self.budget < 0

    @rule(name=st.text("ab", min_size=1, max_size=3), number=st.none() | st.integers(0, 99))
    def plain(self, name: str, number: int | None) -> None:
        told = self.decoder.text(encode(EVENT, "/", [name], number).text[1:])
        if self.expected:
            assert told == Violation("text where an attachment belongs")
        else:
            assert told == packet_of(EVENT, "/", [name], number)

    @rule(count=st.integers(0, 4), places=st.integers(0, 4), filler=st.integers(0, 60))
    def binary_header(self, count: int, places: int, filler: int) -> None:
        parts: list[Any] = ["x" * filler, *[{"_placeholder": True, "num": number} for number in range(places)]]
        text = b"5%d-" % count + encode(EVENT, "/", parts).text[2:]
        told = self.decoder.text(text)
        if self.expected:
            assert told == Violation("text where an attachment belongs")
        elif count in (1, 2, 3) and len(text) <= self.limits.payload:
            assert told is None
            self.expected, self.got, self.matches = count, [], count == places
            self.budget = self.limits.payload - len(text)
            self.parts = parts
        else:
            assert isinstance(told, Violation)

    @rule(text=st.binary(max_size=8) | st.sampled_from([b"", b"5", b"50-", b'2["a"', b"7", b"2" + b"[" * 200]))
    def garbage(self, text: bytes) -> None:
        told = self.decoder.text(text)
        assert told is not None
        if self.expected:
            assert told == Violation("text where an attachment belongs")

    # Often enough in a row to complete a packet.
    @rule(frames=st.lists(st.binary(max_size=40), min_size=1, max_size=3))
    def attachments(self, frames: list[bytes]) -> None:
        for data in frames:
            told = self.decoder.binary(data)
            if not self.expected:
                assert told == Violation("binary data that belongs to no packet")
                continue
            self.budget -= len(data)
            if self.over():
                assert told == Violation("attachments over the limit")
                continue
            self.got.append(data)
            if len(self.got) < self.expected:
                assert told is None
                continue
            self.expected = 0
            if self.matches:
                assert told == packet_of(EVENT, "/", [self.parts[0], *self.got])
            else:
                assert told == Violation("placeholders and attachments do not match")

    @precondition(lambda self: self.over())
    @rule()
    def a_host_closes(self) -> None:
        """Over the limit the connection ends; a new connection has a new decoder."""
        self.__init__()  # type: ignore[misc]

    @invariant()
    def it_waits_for_what_was_announced(self) -> None:
        assert self.decoder.waiting is bool(self.expected)

    @invariant()
    def it_holds_no_more_than_allowed(self) -> None:
        # Visible only in private attributes.
        held = sum(map(len, self.decoder._attachments))
        assert held <= self.limits.payload
        assert held == (sum(map(len, self.got)) if self.expected else 0)


TestOneDecoder = OneDecoder.TestCase
TestOneDecoder.settings = settings(max_examples=examples(60), stateful_step_count=30)
