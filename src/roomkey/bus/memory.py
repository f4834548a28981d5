"""A bus in the memory of one process: for tests, and the model that the other buses follow."""

from __future__ import annotations

import asyncio
from collections import Counter

from roomkey.bus.protocol import MAX_PAYLOAD, OnPayload, OnState

__all__ = ["MemoryBus", "MemoryNetwork"]


class MemoryNetwork:
    """What connects the buses of one process."""

    def __init__(self) -> None:
        self.buses: list[MemoryBus] = []

    def send(self, sender: MemoryBus | None, channel: str, payload: bytes) -> None:
        """Carry a message to the buses that subscribed to its channel, from the next turn of the event loop on.

        Args:
            sender: who sends it; None for a stranger who can write to the bus.
            channel: the channel.
            payload: the message.
        """
        for bus in self.buses:
            if channel in bus.channels:
                self.carry(sender, bus, channel, payload)

    def carry(self, sender: MemoryBus | None, receiver: MemoryBus, channel: str, payload: bytes) -> None:
        """Carry a message to one bus. Tests override this, to lose or delay messages."""
        asyncio.get_running_loop().call_soon(receiver.receive, channel, payload)


class MemoryBus:
    """One node's bus in a :class:`MemoryNetwork`.

    Args:
        network: what connects it to the others.
        max_payload: the largest message in bytes.

    Attributes:
        channels: the channels to which it subscribed.
    """

    def __init__(self, network: MemoryNetwork, *, max_payload: int = MAX_PAYLOAD) -> None:
        self.max_payload = max_payload
        self.counts: Counter[str] = Counter()
        self.channels: set[str] = set()
        self._network = network
        self._connected = False
        self._on_payload: OnPayload | None = None
        self._on_state: OnState | None = None

    @property
    def connected(self) -> bool:
        """Return True while messages can be sent and received."""
        return self._connected

    async def open(self, on_payload: OnPayload, on_state: OnState) -> None:
        """Connect; see :meth:`Bus.open`."""
        self._on_payload, self._on_state = on_payload, on_state
        self._network.buses.append(self)
        self.set_connected(True)

    def set_connected(self, connected: bool) -> None:
        """Lose the connection, or connect again."""
        if connected is self._connected or self._on_state is None:
            return
        self._connected = connected
        self.counts["connects"] += connected
        self._on_state(connected)

    async def close(self) -> None:
        """Disconnect. What others sent before is lost."""
        self._on_payload = self._on_state = None
        self._connected = False
        self.channels.clear()
        if self in self._network.buses:
            self._network.buses.remove(self)

    def publish(self, channel: str, payload: bytes) -> None:
        """Send a message; see :meth:`Bus.publish`."""
        if len(payload) > self.max_payload:
            raise ValueError(f"a message of {len(payload)} bytes is larger than max_payload, {self.max_payload}")
        if not self._connected:
            self.counts["dropped: not connected"] += 1
            return
        self.counts["published"] += 1
        self._network.send(self, channel, payload)

    def receive(self, channel: str, payload: bytes) -> None:
        """Take a message that arrives; the network calls this."""
        if not self._connected or channel not in self.channels or self._on_payload is None:
            return
        if len(payload) > self.max_payload:
            self.counts["dropped: too large"] += 1
            return
        self.counts["received"] += 1
        self._on_payload(channel, payload)

    def subscribe(self, channel: str) -> None:
        """Receive the messages of a channel from now on."""
        self.channels.add(channel)

    def unsubscribe(self, channel: str) -> None:
        """Do not receive the messages of a channel any more."""
        self.channels.discard(channel)

    async def subscribed(self, channel: str) -> bool:
        """Return True if the bus is connected and has subscribed to the channel."""
        return self._connected and channel in self.channels
