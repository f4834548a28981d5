"""Nothing raises an exception for any bytes, or for valid packets with changed bytes."""

from __future__ import annotations

import ast
import inspect

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.examples import examples
from wire import fuzz
from wire.values import packets

import roomkey.wire.engineio
import roomkey.wire.socketio
from roomkey.wire import Decoder, EnginePacket, EngineType, Message, Violation, encode
from roomkey.wire.engineio import encode_binary, encode_payload

pytestmark = pytest.mark.long

MORE = settings(max_examples=examples(150), suppress_health_check=[HealthCheck.too_slow])
SEEDS = [
    b"40",
    b'40/chat,{"token":"t"}',
    b"41/chat,",
    b'42["say",{"a":[1,2.5,null,true]}]',
    b'42/chat,17["say","\\u2028"]',
    b'431["yes"]',
    b'451-["say",{"_placeholder":true,"num":0}]\x1ebAAEC',
    b'452-/chat,3["say",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]\x1ebAAEC\x1eb',
    b'461-5[{"_placeholder":true,"num":0}]\x1ebAA==',
    b"2probe\x1e3\x1e5\x1e1\x1e6",
]
PIECES = [
    b"",
    b"\x1e",
    b"b",
    b"-",
    b",",
    b"/",
    b"[",
    b"]",
    b"{",
    b"}",
    b'"',
    b"\\",
    b"\xff",
    b"\x00",
    b"9" * 30,
    b"9" * 5000,
    b"\\ud800",
]


def body(message: Message) -> bytes:
    return encode_payload([message.text, *map(encode_binary, message.attachments)])


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid body with bytes removed, changed, doubled or moved."""
    data = draw(st.sampled_from(SEEDS) | packets().map(lambda packet: body(encode(*packet))))
    for _change in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 12)))
        piece = draw(st.sampled_from([*PIECES, data[start:end] * 2]) | st.binary(max_size=3))
        data = data[:start] + piece + data[end:]
    return data


@pytest.mark.checklist("E63")
@given(st.binary(max_size=300))
@MORE
def test_any_bytes_are_read_or_rejected(data):
    fuzz.check(data)


@pytest.mark.checklist("E63")
@given(st.text('0123456789-/,[]{}":\\ub\x1e_placehodrnumt.eE+', max_size=80))
@MORE
def test_any_text_of_special_characters_is_read_or_rejected(text):
    fuzz.check(text.encode())


@pytest.mark.checklist("E63")
@given(mutated())
@MORE
def test_changed_packets_are_read_or_rejected(data):
    fuzz.check(data)


@pytest.mark.checklist("E63")
@given(st.lists(st.tuples(st.booleans(), mutated() | st.binary(max_size=30)), max_size=8))
@settings(MORE, max_examples=examples(100))
def test_any_sequence_of_messages_is_read_or_rejected(messages):
    frames = [EnginePacket(EngineType.MESSAGE, data.removeprefix(b"4"), binary) for binary, data in messages]
    fuzz.check_messages(frames)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_seeds_are_valid(seed):
    """Otherwise mutations of them would test little."""
    messages = list(roomkey.wire.decode_payload(seed, fuzz.LIMITS))
    assert not any(isinstance(message, Violation) for message in messages)
    decoder = Decoder(fuzz.LIMITS)
    told = [
        (decoder.binary if message.binary else decoder.text)(message.data)
        for message in messages
        if message.type is EngineType.MESSAGE
    ]
    assert not any(isinstance(result, Violation) for result in told)
    assert not told or isinstance(told[-1], tuple)
    fuzz.check(seed)


def test_all_reasons_are_known():
    """The reasons in the source are those in the list; reasons with a number depend only on limits."""
    written = set()
    for module in (roomkey.wire.engineio, roomkey.wire.socketio):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Violation":
                (reason,) = node.args
                if isinstance(reason, ast.JoinedStr):
                    values = [ast.unparse(part) for part in reason.values if isinstance(part, ast.FormattedValue)]
                    assert all("limits." in value for value in values), values
                elif isinstance(reason, ast.Constant):
                    written.add(reason.value)
                else:
                    assert ast.unparse(reason) == "_MISFORMED[kind]"
    written |= set(roomkey.wire.socketio._MISFORMED.values())
    numbered = {"more than 20 packets in one body", "a binary packet without 1 to 4 attachments"}
    assert written == fuzz.REASONS - numbered
