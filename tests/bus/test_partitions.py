from __future__ import annotations

from binascii import crc_hqx
from collections import Counter

from roomkey.bus.partitions import PARTITIONS, Channels, partition_of


def test_partition_of_a_room_never_changes():
    assert [partition_of("/", "red"), partition_of("/chat", "red"), partition_of("/", "blue")] == [85, 107, 104]


def test_any_text_has_a_partition():
    for room in ("", "\ud800", "\0", "x" * 100_000, "ä", "🎉"):
        assert 0 <= partition_of("/", room) < PARTITIONS


def test_rooms_are_spread_evenly():
    rooms = Counter(partition_of("/", f"room-{number}") for number in range(128_000))
    assert len(rooms) == PARTITIONS
    assert max(rooms.values()) < 1200
    assert min(rooms.values()) > 800


def test_partitions_have_equal_parts_of_the_slots_of_a_cluster():
    channels = Channels().partitions
    slots = [crc_hqx(name[name.index("{") + 1 : name.index("}")].encode(), 0) % 16_384 for name in channels]
    for servers in (2, 3, 4, 6, 8):
        share = Counter(slot * servers // 16_384 for slot in slots)
        assert max(share.values()) - min(share.values()) <= 1


def test_channels_differ_and_have_the_prefix():
    channels = Channels("chat")
    names = [channels.everybody, channels.of_node("AAAAAAAA"), *channels.partitions]
    assert len(set(names)) == 130
    assert all(name.startswith("chat:") for name in names)
