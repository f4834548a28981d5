"""The short ways of common packets have the verdicts of the general way."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from wire.values import PLAIN, THOROUGH, packets, same

from roomkey.wire import Decoder, Limits, Packet, PacketType, Violation, encode, encode_parts, json

LIMITS = Limits(nesting=4, containers=12, id_digits=5, namespace_length=12)
IDS = st.none() | st.integers(0, 10**7).map(str) | st.text("0123456789-/, ٣", max_size=7)
JSON = PLAIN.map(lambda value: encode(PacketType.CONNECT, "/", [value]).text[2:])
BODIES = st.one_of(
    packets().map(lambda packet: encode(*packet).text[2:]),
    JSON,
    st.text('[]{}",:\\ud8001.eE- ', max_size=12).map(str.encode),
    st.integers(0, 40).map(lambda levels: b"[" * levels + b'"say"' + b"]" * levels),
    st.integers(0, 40).map(lambda containers: b'["say"' + b",[]" * containers + b"]"),
)


def told(answer: Packet | Violation | None) -> object:
    return answer.reason if isinstance(answer, Violation) else answer


@given(st.sampled_from("0123456789[ "), IDS, BODIES, st.binary(max_size=2))
@example("2", "12345", b'["say"]', b"")
@example("2", "123456", b'["say"]', b"")
@example("2", "1", b'["say"' + b",[]" * 20 + b"]", b"")
@example("2", "1", b"[" * 9 + b"]" * 9, b"")
@example("2", "", b"", b"")
@example("[", "", b"", b"")
@THOROUGH
def test_short_way_of_the_decoder_has_the_same_verdicts(kind, number, body, before):
    text = f"{kind}{number or ''}".encode() + body
    short, general = Decoder(LIMITS), Decoder(LIMITS)
    assert same(told(short.text(before + text, len(before))), told(general._other(text)))
    assert short.waiting == general.waiting


@given(PLAIN)
@example([1.5, None])
@example("\ud800")
@example({"_placeholder": True, "num": 0})
@THOROUGH
def test_values_without_bytes_are_written_alike_in_both_ways(value):
    assert json.dumps(value) == json._with_attachments(value)


@pytest.mark.parametrize("value", [float("nan"), [float("inf"), None], object(), {1, 2}, 2**64, [10**400]])
def test_values_that_are_not_json_are_rejected_in_both_ways(value):
    with pytest.raises((TypeError, ValueError)):
        encode_parts(PacketType.ACK, "/", [value], 1)
    with pytest.raises((TypeError, ValueError)):
        encode_parts(PacketType.ACK, "/", [value, b"bytes"], 1)
