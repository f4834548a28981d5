"""Violations of the protocol."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Violation:
    """A violation of the protocol by the peer. It is returned, never raised.

    Attributes:
        reason: what is wrong, for the log, without any of the data that the peer sent.
    """

    reason: str
