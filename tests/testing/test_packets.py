"""Packets as test clients read and write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkey.testing.packets import ACK, CONNECT, EVENT, Packet, Reader, encode
from roomkey.wire import Decoder, Limits, PacketType

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(VALUES, max_size=3), st.sampled_from(["/", "/chat"]), st.none() | st.integers(0, 10**6))
def test_packet_is_read_as_it_was_written(values, namespace, number):
    packet = Packet(EVENT, namespace, ["say", *values], number)
    text, attachments = encode(packet)
    reader = Reader()
    read = reader.text(text)
    for attachment in attachments:
        assert read is None
        read = reader.binary(attachment)
    assert read == packet
    decoder = Decoder(Limits())
    decoded = decoder.text(text.encode())
    for attachment in attachments:
        decoded = decoder.binary(attachment)
    assert decoded == (PacketType.EVENT, namespace, packet.data, number)


def test_number_as_payload_is_not_an_id():
    assert encode(Packet(CONNECT, "/", 5)) == ("0 5", [])


@pytest.mark.parametrize("text", ["", "x", "9", "2{"])
def test_what_is_no_packet_is_an_error(text):
    with pytest.raises(ValueError):
        Reader().text(text)


def test_attachments_belong_to_a_packet():
    reader = Reader()
    with pytest.raises(ValueError, match="an attachment without a packet"):
        reader.binary(b"x")
    assert reader.text('61-7[{"_placeholder":true,"num":0}]') is None
    with pytest.raises(ValueError):
        reader.text("2[]")
    assert reader.binary(b"x") == Packet(ACK, "/", [b"x"], 7)
