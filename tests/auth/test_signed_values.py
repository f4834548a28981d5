"""Tickets and codes that prove who created them."""

from __future__ import annotations

import re

import pytest

from roomkey.auth.signed_values import is_signed_value, new_signed_value

KEY, NOW = b"for tests only: 32 bytes or more", 1_800_000_000


def test_signed_value_has_43_characters_and_is_never_repeated() -> None:
    made = {new_signed_value(KEY, "ticket", NOW + 30) for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", one) for one in made)


@pytest.mark.parametrize(
    ("key", "kind", "now", "good"),
    [
        (KEY, "ticket", NOW, True),
        (KEY, "ticket", NOW + 29.9, True),
        (KEY, "ticket", NOW + 30, False),
        (KEY, "code", NOW, False),
        (KEY[::-1], "ticket", NOW, False),
    ],
)
def test_signed_value_is_valid_for_its_key_kind_and_time(key: bytes, kind: str, now: float, good: bool) -> None:
    assert is_signed_value(key, kind, new_signed_value(KEY, "ticket", NOW + 30), now) is good  # type: ignore[arg-type]


@pytest.mark.parametrize("place", range(43))
def test_changed_character_invalidates_a_signed_value(place: int) -> None:
    """This includes the last character: two of its bits have no meaning, but the store would look for another value."""
    made = new_signed_value(KEY, "ticket", NOW + 30)
    for other in "AB_":
        changed = made[:place] + other + made[place + 1 :]
        assert is_signed_value(KEY, "ticket", changed, NOW) is (changed == made)


@pytest.mark.parametrize("text", ["", "A", "A" * 42, "A" * 43, "A" * 44, "é" * 43, "=" * 43, " " * 43, "A" * 10_000])
def test_made_up_text_is_not_a_signed_value(text: str) -> None:
    assert not is_signed_value(KEY, "code", text, NOW)
