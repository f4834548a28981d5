"""Fixtures of roomkey for pytest. It is a package of its own, so that loading it does not import roomkey."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from roomkey import Issuer
    from roomkey.testing import Clock, FakeProvider

__all__ = ["roomkey_clock", "roomkey_issuer", "roomkey_provider"]


@pytest.fixture
def roomkey_clock() -> Clock:
    """Return a clock that the test advances: pass it to the guard as ``clock``."""
    from roomkey.testing import Clock

    return Clock()


@pytest.fixture
def roomkey_issuer(roomkey_clock: Clock) -> Issuer:
    """Return an issuer with a new key and the clock of the test; its ``verifier()`` accepts its tokens."""
    from roomkey import Issuer

    return Issuer.ephemeral(issuer="https://login.test", audience="tests", clock=roomkey_clock.now)


@pytest.fixture
def roomkey_provider(roomkey_clock: Clock) -> Iterator[FakeProvider]:
    """Return an OpenID provider in memory, with the clock of the test; its tokens are for the audience ``tests``."""
    from roomkey.testing import FakeProvider

    with FakeProvider(audience="tests", clock=roomkey_clock) as provider:
        yield provider
