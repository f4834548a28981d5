"""What is wrong with bytes that a peer sent."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Violation:
    """A value, never raised: the peer broke the protocol.

    Attributes:
        reason: what is wrong, in words fit for a log; nothing of what was sent stands in it.
    """

    reason: str
