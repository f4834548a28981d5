"""The bodies of messages that carry packets between nodes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkey.hub.emits import Emit, decode_emit, decode_packet, encode_emit, encode_packet
from roomkey.wire import Message

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
ROOMS = st.lists(TEXT | st.integers(-(2**63), 2**63 - 1), max_size=4).map(tuple)
EMITS = st.builds(
    Emit,
    namespace=TEXT,
    rooms=st.none() | ROOMS,
    but=ROOMS,
    sids=st.lists(TEXT, min_size=1, max_size=1).map(tuple),
    skip=st.frozensets(TEXT, max_size=3),
    direct=st.booleans(),
)


@given(EMITS, st.binary(), st.lists(st.binary(), max_size=3))
def test_emit_is_read_as_it_was_written(emit, text, attachments):
    read, message = decode_emit(encode_emit(emit, Message(text, tuple(attachments))))
    assert read == emit
    assert (message.text, message.attachments) == (text, tuple(attachments))


@given(st.binary(max_size=60), st.integers(0, 60))
def test_any_bytes_are_an_emit_or_malformed(body, cut):
    whole = encode_emit(Emit("/", ("red",)), Message(b'42["news"]', (b"\x00",)))
    for some in (body, whole[:cut], whole[:cut] + body):
        try:
            decode_emit(some)
        except ValueError:
            continue


@pytest.mark.parametrize(
    "head",
    [
        {},
        [],
        ["/", None, [], [], [], False, 1],
        [1, None, [], [], [], False],
        ["/", "red", [], [], [], False],
        ["/", [None], [], [], [], False],
        ["/", [["red"]], [], [], [], False],
        ["/", None, [{}], [], [], False],
        ["/", None, [], [1], [], False],
        ["/", None, [], [], [1], False],
        ["/", None, [], [], [], 1],
        ["/", None, [], [], [], True],
        ["/", None, [], ["a", "b"], [], True],
    ],
    ids=repr,
)
def test_emit_with_fields_of_other_types_is_malformed(head):
    with pytest.raises(ValueError, match="emit"):
        decode_emit(encode_packet(head, Message(b"42[]")))


def test_packet_without_text_is_malformed():
    with pytest.raises(ValueError, match="without a packet"):
        decode_packet(b"\x00\x00\x00\x02[]")
