"""The handshake and the frames of peer links, without I/O."""

from __future__ import annotations

import os
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkey.bus.peer_frames import (
    HELLO,
    MAC,
    PROOF,
    WELCOME,
    FrameReader,
    FrameWriter,
    FrontHandshake,
    LinkKeys,
    OwnerHandshake,
    PeerError,
)

OLD, NEW, STRANGE = b"o" * 32, b"n" * 32, b"s" * 32
FRONT, OWNER, OTHER = b"front1", b"owner1", b"other1"
LARGEST = 1000

frames = st.lists(
    st.tuples(st.integers(0, 255), st.integers(0, 2**32 - 1), st.binary(max_size=LARGEST)), min_size=1, max_size=8
)


def shake(front_keys: list[bytes], owner_keys: list[bytes], *, owner: bytes = OWNER) -> tuple[LinkKeys, LinkKeys]:
    """Do a handshake, and return the keys of both sides."""
    front, host = FrontHandshake(front_keys, FRONT, OWNER), OwnerHandshake(owner_keys, owner)
    welcome = host.welcome(front.hello)
    proof, keys = front.answer(welcome)
    assert (len(front.hello), len(welcome), len(proof)) == (HELLO, WELCOME, PROOF)
    return keys, host.finish(proof)


def test_both_sides_have_the_same_keys_and_each_link_new_ones():
    (sent, received), (owner_sent, owner_received) = shake([OLD], [OLD])
    assert (sent, received) == (owner_received, owner_sent)
    assert len({sent, received, *shake([OLD], [OLD])[0]}) == 4


@pytest.mark.parametrize(
    ("front", "owner"), [([OLD], [OLD, NEW]), ([OLD, NEW], [OLD]), ([OLD, NEW], [NEW, OLD]), ([NEW, OLD], [NEW])]
)
def test_nodes_agree_while_the_secret_is_rotated(front, owner):
    shake(front, owner)
    shake(owner, front)


@pytest.mark.checklist("H111")
@pytest.mark.parametrize("case", ["stranger", "other node", "altered", "other magic", "reflected"])
def test_hello_of_a_stranger_or_for_another_node_is_refused(case):
    front = FrontHandshake([STRANGE if case == "stranger" else OLD], FRONT, OTHER if case == "other node" else OWNER)
    hello = front.hello
    if case == "altered":
        hello = hello[:10] + bytes([hello[10] ^ 1]) + hello[11:]
    elif case == "other magic":
        hello = b"RKP2" + hello[4:]
    elif case == "reflected":
        welcome = OwnerHandshake([OLD], OWNER).welcome(hello)
        hello = (welcome + welcome)[:HELLO]
    with pytest.raises(PeerError):
        OwnerHandshake([OLD], OWNER).welcome(hello)


@pytest.mark.checklist("H111")
def test_recorded_handshake_is_of_no_use():
    front, owner = FrontHandshake([OLD], FRONT, OWNER), OwnerHandshake([OLD], OWNER)
    proof, _keys = front.answer(owner.welcome(front.hello))
    owner.finish(proof)
    again = OwnerHandshake([OLD], OWNER)
    again.welcome(front.hello)
    with pytest.raises(PeerError, match="proof"):
        again.finish(proof)
    with pytest.raises(PeerError, match="proof"):
        OwnerHandshake([OLD], OWNER).finish(b"")  # nobody has said hello


@pytest.mark.checklist("H111")
@pytest.mark.parametrize("case", ["stranger", "recorded", "altered", "own hello"])
def test_owner_without_the_secret_is_refused(case):
    front = FrontHandshake([OLD], FRONT, OWNER)
    welcome = OwnerHandshake([OLD], OWNER).welcome(front.hello)
    if case == "stranger":
        welcome = os.urandom(WELCOME)
    elif case == "recorded":
        welcome = OwnerHandshake([OLD], OWNER).welcome(FrontHandshake([OLD], FRONT, OWNER).hello)
    elif case == "altered":
        welcome = bytes([welcome[0] ^ 1]) + welcome[1:]
    else:
        welcome = front.hello[4:20] + front.hello[-MAC:]
    with pytest.raises(PeerError, match="welcome"):
        front.answer(welcome)


@pytest.mark.parametrize("key", [None, OLD], ids=["unix", "tcp"])
@given(sent=frames, cuts=st.lists(st.integers(0, 5000), max_size=20))
def test_frames_cut_at_any_byte_are_read(key, sent, cuts):
    writer, reader = FrameWriter(key), FrameReader(key, LARGEST)
    data = b"".join(writer.frame(*frame) for frame in sent)
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    read = [frame for a, b in pairwise(places) for frame in reader.read(data[a:b])]
    assert read == sent


def test_frames_byte_by_byte_are_read():
    writer, reader = FrameWriter(OLD), FrameReader(OLD, LARGEST)
    sent = [(1, 2, b""), (255, 2**32 - 1, b"x" * LARGEST)]
    data = b"".join(writer.frame(*frame) for frame in sent)
    assert [frame for place in range(len(data)) for frame in reader.read(data[place : place + 1])] == sent


@pytest.mark.checklist("H111")
@given(sent=frames, place=st.integers(0, 10**6), flip=st.integers(1, 255))
def test_altered_frames_are_refused(sent, place, flip):
    writer, reader = FrameWriter(OLD), FrameReader(OLD, LARGEST)
    data = bytearray(b"".join(writer.frame(*frame) for frame in sent))
    data[place % len(data)] ^= flip
    read = []
    try:
        read = reader.read(bytes(data))
    except PeerError:
        return
    assert len(read) < len(sent)  # a length has become larger: the frame is incomplete
    assert read == sent[: len(read)]


@pytest.mark.checklist("H111")
@pytest.mark.parametrize(
    "order", [[1, 0], [0, 0], [1], [0, 2]], ids=["swapped", "repeated", "first left out", "left out"]
)
def test_repeated_moved_or_missing_frames_are_refused(order):
    writer, reader = FrameWriter(OLD), FrameReader(OLD, LARGEST)
    made = [writer.frame(7, number, b"text") for number in range(3)]
    with pytest.raises(PeerError, match="signature"):
        reader.read(b"".join(made[place] for place in order))


def test_frame_of_the_other_direction_or_another_link_is_refused():
    for other in (shake([OLD], [OLD])[0].received, shake([OLD], [OLD])[0].sent):
        keys = shake([OLD], [OLD])[0]
        with pytest.raises(PeerError):
            FrameReader(keys.received, LARGEST).read(FrameWriter(other).frame(1, 1, b"x"))


@pytest.mark.parametrize("key", [None, OLD], ids=["unix", "tcp"])
@pytest.mark.parametrize("length", [0, 1, 4, LARGEST + 30, 2**32 - 1])
def test_frame_with_an_invalid_length_is_refused_before_it_arrives(key, length):
    with pytest.raises(PeerError, match="length"):
        FrameReader(key, LARGEST).read(length.to_bytes(4, "big") + bytes(5))
