"""WebSocket frames (RFC 6455): what a client may send, and what the server answers. The names contain the sections."""

from __future__ import annotations

import importlib
import random
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from support.examples import examples
from support.rawsocket import ACCEPT, KEY, close_frame, frame, masked

from roomkey.wire import websocket
from roomkey.wire.websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FAILED,
    NOT_UTF8,
    PING,
    PONG,
    PROTOCOL_ERROR,
    TEXT,
    TOO_BIG,
    Frame,
    FrameReader,
    accept_key,
    encode_close,
    encode_frame,
    unmask,
)

LIMIT, FRAGMENTS = 2000, 8


def read(*segments: bytes, limit: int = LIMIT, fragments: int = FRAGMENTS) -> list[Frame]:
    """Return all frames that a new reader finds in the segments."""
    reader = FrameReader(limit, fragments)
    return [one for segment in segments for one in read_more(reader, segment)]


def read_more(reader: FrameReader, segment: bytes) -> list[Frame]:
    found = []
    one = reader.read(segment)
    while one is not None:
        found.append(one)
        one = reader.read() if reader.more else None
    return found


def codes(frames: list[Frame]) -> list[int]:
    """Return the opcodes; for a failure, its close code."""
    return [int.from_bytes(data[:2]) if opcode == FAILED else opcode for opcode, data in frames]


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


# 5.2: frames


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 70_000])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_5_2_all_forms_of_length_are_read(opcode, size):
    data = b"x" * size
    assert read(frame(data, opcode), limit=70_000) == [(opcode, data)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 4096])
def test_5_2_frame_in_pieces_is_read(size):
    sent = frame("a" * 300) + frame(b"", PING) + frame("b" * 5000) + frame("")
    expected = [(TEXT, b"a" * 300), (PING, b""), (TEXT, b"b" * 5000), (TEXT, b"")]
    assert read(*pieces(sent, size), limit=5000) == expected


INVALID = {
    "reserved bit 1": frame("x", rsv=4),
    "reserved bit 2": frame("x", rsv=2),
    "reserved bit 3": frame("x", rsv=1),
    "reserved bit of a ping": frame("x", PING, rsv=4),
    **{f"opcode {opcode}": frame("x", opcode) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "no mask": frame("x", mask=None),
    "no mask, large": frame("x" * 500, mask=None),
    "16 bits for 125": frame("x" * 125, length=b"\x7e\x00\x7d"),
    "64 bits for 65535": frame("x", length=b"\x7f" + (65_535).to_bytes(8)),
    "highest bit": frame("x", length=b"\x7f\x80" + bytes(7)),
    "fragmented ping": frame("x", PING, fin=False),
    "fragmented pong": frame("x", PONG, fin=False),
    "fragmented close": frame(b"\x03\xe8", CLOSE, fin=False),
    "large ping": frame("x" * 126, PING),
    "large pong": frame("x" * 126, PONG),
    "large close": frame(b"\x03\xe8" + b"x" * 124, CLOSE),
    "continuation of nothing": frame("x", CONTINUATION),
    "continuation of nothing, more to come": frame("x", CONTINUATION, fin=False),
}


@pytest.mark.parametrize("sent", INVALID.values(), ids=INVALID.keys())
@pytest.mark.parametrize("size", [1, 1000])
def test_5_2_invalid_frame_fails_and_nothing_follows(sent, size):
    assert codes(read(*pieces(frame("before") + sent + frame("behind"), size))) == [TEXT, PROTOCOL_ERROR]


# 5.3: masks


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 7, 8, 9, 63, 64, 65, 4095, 4096, 4097])
@pytest.mark.parametrize("mask", [bytes(4), b"\xff\xff\xff\xff", b"\x01\x02\x03\x04"])
def test_5_3_mask_is_removed_with_and_without_the_c_extension(size, mask):
    data = random.Random(size).randbytes(size)
    for remove in (unmask, websocket._unmask):
        for form in (bytes, bytearray, memoryview):
            assert remove(form(masked(data, mask)), mask) == data


def test_5_3_reader_works_without_the_c_extension(monkeypatch):
    monkeypatch.setitem(sys.modules, "websockets.speedups", None)
    try:
        plain = importlib.reload(websocket)
        assert plain.unmask is plain._unmask
        assert plain.FrameReader(LIMIT, FRAGMENTS).read(frame("hello")) == (TEXT, b"hello")
    finally:
        monkeypatch.undo()
        importlib.reload(websocket)


# 5.4: fragments


def test_5_4_fragments_are_joined():
    sent = frame("a", fin=False) + frame(b"p", PING) + frame("b", CONTINUATION, fin=False) + frame("c", CONTINUATION)
    assert read(sent + frame("d")) == [
        (CONTINUATION, b"a"),
        (PING, b"p"),
        (CONTINUATION, b"b"),
        (TEXT, b"abc"),
        (TEXT, b"d"),
    ]


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("fin", [True, False])
def test_5_4_message_within_a_message_fails(opcode, fin):
    assert codes(read(frame("a", BINARY, fin=False) + frame("b", opcode, fin=fin))) == [CONTINUATION, PROTOCOL_ERROR]


# 5.5.1, 7.4: Close


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1011, 1012, 1014, 3000, 3999, 4000, 4999])
def test_7_4_valid_close_code_is_read(code):
    assert read(close_frame(code, "going home")) == [(CLOSE, code.to_bytes(2) + b"going home")]


@pytest.mark.parametrize("code", [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2999, 5000, 65_535])
def test_7_4_reserved_close_code_fails(code):
    assert codes(read(close_frame(code))) == [PROTOCOL_ERROR]


def test_5_5_1_close_without_a_code_is_read():
    assert read(close_frame(None)) == [(CLOSE, b"")]


@pytest.mark.parametrize("payload", [b"\x03", b"\x03\xe8\xff\xfe", b"\x03\xe8\xed\xa0\x80"])
def test_5_5_1_malformed_close_fails(payload):
    assert codes(read(frame(payload, CLOSE))) == [PROTOCOL_ERROR]


@pytest.mark.parametrize("behind", [close_frame(), close_frame(0), frame("x"), frame("x", 3), b"\xff\xff", b"\x81"])
@pytest.mark.parametrize("size", [1, 5, 1000])
def test_5_5_1_nothing_follows_a_close(behind, size):
    reader = FrameReader(LIMIT, FRAGMENTS)
    found = [one for segment in pieces(close_frame() + behind * 3, size) for one in read_more(reader, segment)]
    assert codes(found) == [CLOSE]
    assert not reader._buffer


# 8.1: text is UTF-8


@pytest.mark.parametrize(
    "text", [b"\xff", b"a\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"x" * 999 + b"\xc3"]
)
def test_8_1_text_that_is_not_utf_8_fails(text):
    assert codes(read(frame(text))) == [NOT_UTF8]
    assert codes(read(frame(text, BINARY))) == [BINARY]
    assert codes(read(frame("", fin=False) + frame(text, CONTINUATION)))[-1] == NOT_UTF8


def test_8_1_character_can_span_fragments():
    first, second = "aé"[:2].encode()[:2], "é".encode()[1:]
    assert read(frame(first, fin=False) + frame(second, CONTINUATION))[-1] == (TEXT, "aé".encode())
    assert codes(read(frame(first, fin=False) + frame(b"", CONTINUATION))) == [CONTINUATION, NOT_UTF8]


def test_8_1_fragment_that_is_not_utf_8_fails_before_the_message_ends():
    assert codes(read(frame("a", fin=False) + frame(b"\xff", CONTINUATION, fin=False))) == [CONTINUATION, NOT_UTF8]


# 10.4: limits


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_10_4_frame_over_the_limit_fails_at_its_head(opcode):
    assert read(frame("x" * LIMIT, opcode)) == [(opcode, b"x" * LIMIT)]
    head = frame(b"", opcode, length=b"\x7e" + (LIMIT + 1).to_bytes(2))
    assert codes(read(head)) == [TOO_BIG]
    assert codes(read(frame("x" * 11, opcode), limit=10)) == [TOO_BIG]


def test_10_4_fragments_over_the_limit_fail_at_a_head():
    part = frame("x" * 1500, BINARY, fin=False)
    head = frame(b"", CONTINUATION, length=b"\x7e" + (501).to_bytes(2))
    assert codes(read(part + frame("x" * 500, CONTINUATION))) == [CONTINUATION, BINARY]
    assert codes(read(part + head)) == [CONTINUATION, TOO_BIG]
    assert codes(read(part + frame(b"x" * 125, PING) + frame(b"x" * 501, CONTINUATION)))[1:] == [PING, TOO_BIG]


def test_10_4_more_fragments_than_the_limit_fail():
    parts = frame("x", fin=False) + frame("", CONTINUATION, fin=False) * (FRAGMENTS - 2)
    assert codes(read(parts + frame("", CONTINUATION)))[-1] == TEXT
    assert codes(read(parts + frame("", CONTINUATION, fin=False) * 2)) == [CONTINUATION] * FRAGMENTS + [TOO_BIG]


def test_limit_changes_for_frames_that_are_not_read_yet():
    reader = FrameReader(10, FRAGMENTS)
    assert reader.read(frame("small") + frame("x" * 11)) == (TEXT, b"small")
    reader.allow(11)
    assert reader.read() == (TEXT, b"x" * 11)


# The cost


def test_reader_keeps_nothing_between_frames():
    reader = FrameReader(LIMIT, FRAGMENTS)
    assert read_more(reader, frame("x") + frame("y")) == [(TEXT, b"x"), (TEXT, b"y")]
    assert (reader._buffer, reader._at, reader._message) == (b"", 0, None)


def _seconds(segments: list[bytes], limit: int) -> float:
    began = time.process_time()
    read(*segments, limit=limit, fragments=limit)
    return time.process_time() - began


@pytest.mark.long
@pytest.mark.parametrize(
    "segments",
    [
        lambda size: pieces(frame(b"x" * size), 1),
        lambda size: [frame("x") * (size // 7)],
        lambda size: pieces(frame("x") * (size // 7), 1000),
        lambda size: [frame(b"x", fin=False) + frame(b"x", CONTINUATION, fin=False) * (size // 7)],
        lambda size: pieces(frame(b"x" * (size // 2)) + frame("x") * (size // 14), 7001),
    ],
    ids=["one byte at a time", "small frames at once", "small frames", "fragments", "large, then small frames"],
)
def test_cost_is_linear(segments):
    small, large = segments(200_000), segments(1_600_000)
    few = min(_seconds(small, 200_001) for _ in range(3))
    many = min(_seconds(large, 1_600_001) for _ in range(3))
    assert many < 8 * few * 2.5, (few, many)  # quadratic: 64 times as long


# Any segments


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """A frame, mostly a valid one."""
    opcode = draw(st.sampled_from([TEXT, TEXT, BINARY, CONTINUATION, CONTINUATION, PING, PONG, CLOSE, 3, 11]))
    payload = draw(st.one_of(st.binary(max_size=8), st.text(max_size=200).map(str.encode), st.just(b"x" * 1999)))
    fin = draw(st.booleans()) or opcode >= CLOSE
    return frame(
        payload,
        opcode,
        fin=fin,
        rsv=draw(st.sampled_from([0] * 20 + [4])),
        mask=draw(st.binary(min_size=4, max_size=4)),
    )


class AnySegments(RuleBasedStateMachine):
    """Two readers get the same bytes, one of them in other segments, and find the same frames."""

    def __init__(self) -> None:
        super().__init__()
        self.whole, self.cut = FrameReader(LIMIT, FRAGMENTS), FrameReader(LIMIT, FRAGMENTS)
        self.by_whole: list[Frame] = []
        self.by_cut: list[Frame] = []

    @rule(sent=st.lists(frames(), min_size=1, max_size=6).map(b"".join), data=st.data())
    def send(self, sent: bytes, data: st.DataObject) -> None:
        self.by_whole += read_more(self.whole, sent)
        while sent:
            size = data.draw(st.integers(1, len(sent)))
            self.by_cut += read_more(self.cut, sent[:size])
            sent = sent[size:]

    @rule(junk=st.binary(max_size=20))
    def send_junk(self, junk: bytes) -> None:
        self.by_whole += read_more(self.whole, junk)
        for byte in junk:
            self.by_cut += read_more(self.cut, bytes((byte,)))

    @rule(limit=st.integers(1, LIMIT))
    def allow(self, limit: int) -> None:
        self.whole.allow(limit)
        self.cut.allow(limit)

    @invariant()
    def same_frames(self) -> None:
        assert self.by_whole == self.by_cut
        assert bytes(self.whole._buffer) == bytes(self.cut._buffer)
        assert len(self.whole._buffer) <= LIMIT + 14
        assert not self.whole.more


TestAnySegments = AnySegments.TestCase
TestAnySegments.settings = settings(max_examples=examples(60), stateful_step_count=12)


@given(
    st.lists(
        st.tuples(st.sampled_from([TEXT, BINARY]), st.lists(st.text(max_size=60), min_size=1, max_size=5)), max_size=6
    )
)
def test_valid_messages_are_read_as_they_were_sent(messages):
    sent, expected = b"", []
    for opcode, parts in messages:
        for at, part in enumerate(parts):
            last = at == len(parts) - 1
            sent += frame(part, opcode if at == 0 else CONTINUATION, fin=last) + frame(b"now", PONG)
            expected += [(opcode, "".join(parts).encode())] if last else [(CONTINUATION, part.encode())]
            expected.append((PONG, b"now"))
    assert read(sent) == expected


def fuzz(count: int, seed: int) -> None:
    """Read random frames, some of them damaged, in random segments."""
    source = random.Random(seed)
    reader = FrameReader(LIMIT, FRAGMENTS)
    for _ in range(count):
        opcode = source.choice((0, 1, 1, 1, 2, 2, 8, 9, 10, source.randrange(16)))
        size = source.choice((0, 1, 5, 125, 126, 300, 2001)) if source.random() < 0.3 else source.randrange(60)
        made = frame(
            source.randbytes(size) if source.random() < 0.2 else b"x" * size, opcode, fin=source.random() < 0.8
        )
        if source.random() < 0.05:
            at = source.randrange(len(made))
            made = made[:at] + source.randbytes(source.randrange(4)) + made[at + source.randrange(4) :]
        at = source.randrange(len(made) + 1)
        for segment in (made[:at], made[at:]):
            found = read_more(reader, segment)
            assert all(type(data) is bytes for _opcode, data in found)
            assert len(reader._buffer) <= LIMIT + 14
            if found and found[-1][0] in (CLOSE, FAILED):
                reader = FrameReader(LIMIT, FRAGMENTS)
                break


def test_fuzzed_frames_raise_nothing():
    fuzz(5_000, 1)


@pytest.mark.long
def test_one_million_fuzzed_frames_raise_nothing():
    fuzz(1_000_000, 2)


# What the server sends


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
@pytest.mark.parametrize("opcode", [TEXT, BINARY, PONG])
def test_5_2_encoded_frame_has_the_shortest_length(opcode, size):
    data = b"x" * size
    assert encode_frame(data, opcode) == frame(data, opcode, mask=None)


def test_5_5_1_encoded_close_has_its_code():
    assert encode_close(1000) == b"\x88\x02\x03\xe8"


def test_1_3_accept_key_is_that_of_the_rfc():
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert accept_key(KEY).decode() == ACCEPT
