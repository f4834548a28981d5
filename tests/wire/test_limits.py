"""Bounds on what is read."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

import pytest

from roomkey.wire import Limits

NAMES = [field.name for field in fields(Limits)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0, -1])
def test_a_limit_is_at_least_one(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be at least 1$"):
        Limits(**{name: value})


@pytest.mark.parametrize("name", NAMES)
def test_one_is_enough(name):
    assert getattr(Limits(**{name: 1}), name) == 1


@pytest.mark.parametrize(("name", "most"), [("nesting", 250), ("id_digits", 18)])
def test_what_could_not_be_read_or_written_again_is_no_limit(name, most):
    assert getattr(Limits(**{name: most}), name) == most
    with pytest.raises(ValueError, match=f"^{name} must be at most {most}$"):
        Limits(**{name: most + 1})


def test_limits_do_not_change():
    with pytest.raises(FrozenInstanceError):
        Limits().payload = 2  # type: ignore[misc]


def test_by_default_the_body_is_what_a_handshake_of_the_protocol_document_promises():
    """engine.io-protocol 4, Handshake: ``maxPayload`` of the example."""
    assert Limits().payload == 1_000_000
