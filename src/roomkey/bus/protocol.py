"""The interface of a bus: a pipe for bytes between nodes.

A bus does not sign, and does not know what the bytes mean: :class:`roomkey.bus.node.Node` does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Protocol

__all__ = ["MAX_PAYLOAD", "Bus", "Clock", "OnPayload", "OnState"]

MAX_PAYLOAD = 4 * 1024 * 1024
"""The largest message between nodes, in bytes, by default."""

OnPayload = Callable[[str, bytes], None]
"""Receives the channel and the bytes of a message, on the event loop."""

OnState = Callable[[bool], None]
"""Receives True when the bus is connected, and False when messages may be lost, on the event loop."""


class Clock(Protocol):
    """The clocks of a node. Tests pass an object whose time they set."""

    def now(self) -> float:
        """Return seconds since the epoch."""

    def monotonic(self) -> float:
        """Return seconds that never run backwards, for intervals."""


class Bus(Protocol):
    """Carries bytes between nodes, at most once, and in order for each sender and channel while it stays connected.

    A sender that subscribed to a channel may receive its own messages.

    Attributes:
        max_payload: the largest message in bytes. Larger ones are not sent, and dropped on arrival.
        counts: what happened: ``published``, ``received``, ``connects``, ``dropped: not connected``,
            ``dropped: queue full``, ``dropped: too large``.
    """

    max_payload: int
    counts: Counter[str]

    @property
    def connected(self) -> bool:
        """Return True while messages can be sent and received."""

    async def open(self, on_payload: OnPayload, on_state: OnState) -> None:
        """Connect. Return when connected, and after 1 s in any case; go on trying in the background.

        Args:
            on_payload: called for each message of a subscribed channel.
            on_state: called when the bus is connected, and when messages may have been lost. A bus that lost messages
                without losing the connection reports False and then True.
        """

    async def close(self) -> None:
        """Send what is queued, for 1 s at most, and disconnect. Nothing is called back afterwards."""

    def publish(self, channel: str, payload: bytes) -> None:
        """Send a message to those who subscribed to a channel. Never wait; drop and count it if it cannot be sent.

        Raises:
            ValueError: it is larger than ``max_payload``.
        """

    def subscribe(self, channel: str) -> None:
        """Receive the messages of a channel from now on, also after reconnects. A second call does nothing."""

    def unsubscribe(self, channel: str) -> None:
        """Do not receive the messages of a channel any more."""

    async def subscribed(self, channel: str) -> bool:
        """Wait until a subscription is in effect, for 1 s at most; return False if it is not."""
