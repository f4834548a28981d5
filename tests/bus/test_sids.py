"""Session IDs that name their node, sealed."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkey.bus.sids import SealedSids
from roomkey.core.names import looks_like_sid
from roomkey.guard.host import new_sid

OLD, NEW, STRANGE = b"o" * 32, b"n" * 32, b"s" * 32
HERE, THERE = "aaaaAAA0", "-_-_zzz9"
CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def test_every_node_reads_the_node_of_a_session_id():
    here, there = SealedSids(HERE, [OLD]), SealedSids(THERE, [OLD])
    assert there.node_of(here.new()) == here.node_of(here.new()) == HERE
    assert here.node_of(there.new()) == THERE


def test_session_id_has_its_own_form_and_names_nothing():
    sids = SealedSids(HERE, [OLD])
    made = {sids.new() for _ in range(1000)}
    assert len(made) == 1000
    assert all(re.fullmatch(r"[\w-]{20}\.[\w-]{20}", sid) and HERE not in sid for sid in made)
    for place in (*range(20), *range(21, 41)):  # every character differs from ID to ID
        assert len({sid[place] for sid in made}) > 40, place


@pytest.mark.checklist("F87")
@pytest.mark.parametrize("make", [new_sid, SealedSids(HERE, [OLD]).new], ids=["alone", "cluster"])
def test_session_ids_are_recognized_as_names_of_rooms(make):
    assert all(looks_like_sid(make()) for _ in range(1000))


@pytest.mark.parametrize(
    "room",
    [
        "5a105e8b9d40e1329780d62ea2265d8a5a105e8b",  # SHA-1
        "123e4567-e89b-12d3-a456-426614174000",
        "a" * 41,
        f"{'a' * 20}.{'b' * 19}",
        f"{'a' * 20}.{'b' * 20}.",
        f"{'a' * 19}.{'b' * 20}",
        f"{'a' * 20}.{'b' * 20}\n",
    ],
)
def test_other_names_of_rooms_are_not_session_ids(room):
    assert not looks_like_sid(room)


def test_two_secrets_are_accepted_while_they_are_rotated():
    before, both, turned, after = (SealedSids(HERE, keys) for keys in ([OLD], [OLD, NEW], [NEW, OLD], [NEW]))
    for maker, readers in ((before, (both, turned)), (both, (before, turned)), (turned, (both, after))):
        assert [reader.node_of(maker.new()) for reader in readers] == [HERE] * len(readers)
    assert after.node_of(before.new()) is None


def test_stranger_without_the_secret_cannot_name_a_node():
    assert SealedSids(HERE, [OLD, NEW]).node_of(SealedSids(THERE, [STRANGE]).new()) is None


def test_altered_session_id_names_no_node():
    here, there = SealedSids(HERE, [OLD]), SealedSids(THERE, [OLD])
    sid, other = here.new(), there.new()
    for place in (*range(20), *range(21, 41)):
        for character in CHARACTERS:
            altered = sid[:place] + character + sid[place + 1 :]
            assert there.node_of(altered) == (HERE if altered == sid else None)
    assert here.node_of(f"{sid[:20]}.{other[21:]}") is None  # the sealed half of another ID
    assert here.node_of(f"{other[:20]}.{sid[21:]}") is None


@pytest.mark.parametrize(
    "text", ["", ".", "a" * 20, f"{'a' * 20}.", f"{'+' * 20}.{'/' * 20}", f"{'=' * 20}.{'=' * 20}"]
)
def test_anything_else_names_no_node(text):
    assert SealedSids(HERE, [OLD]).node_of(text) is None


@given(st.text(max_size=60) | st.text(alphabet=CHARACTERS, min_size=40, max_size=40))
def test_any_text_names_no_node(text):
    sids = SealedSids(HERE, [OLD])
    assert sids.node_of(text) is None
    assert sids.node_of(f"{text[:20]}.{text[20:]}") is None


@pytest.mark.parametrize("node_id", ["", "short", "aaaaAAA", "aaaaAAA0a", "aaaaAA==", "aaaa AA0", "aaaaAAA+"])
def test_invalid_node_id_is_refused(node_id):
    with pytest.raises(ValueError, match=r"base64url"):
        SealedSids(node_id, [OLD])


def test_node_without_a_secret_is_refused():
    with pytest.raises(ValueError, match="no key"):
        SealedSids(HERE, [])
