"""Limits for the input."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

import pytest

from roomkey.wire import Limits

NAMES = [field.name for field in fields(Limits)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0, -1])
def test_limits_must_be_at_least_one(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be at least 1$"):
        Limits(**{name: value})


@pytest.mark.parametrize("name", NAMES)
def test_limits_of_one_are_accepted(name):
    assert getattr(Limits(**{name: 1}), name) == 1


@pytest.mark.parametrize(("name", "most"), [("nesting", 250), ("id_digits", 18)])
def test_limits_must_not_exceed_the_maximum(name, most):
    assert getattr(Limits(**{name: most}), name) == most
    with pytest.raises(ValueError, match=f"^{name} must be at most {most}$"):
        Limits(**{name: most + 1})


def test_limits_are_immutable():
    with pytest.raises(FrozenInstanceError):
        Limits().payload = 2  # type: ignore[misc]


def test_default_payload_is_that_of_the_protocol():
    """engine.io-protocol 4, Handshake: ``maxPayload`` of the example."""
    assert Limits().payload == 1_000_000
