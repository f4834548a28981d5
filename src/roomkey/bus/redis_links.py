"""The two connections of a Redis bus to one server: one publishes, and one receives."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, NamedTuple

from roomkey.bus.redis_connections import AbstractConnection, LostConnection, pack, send

__all__ = ["TICKS", "TICK_SECONDS", "Publisher", "Subscriber", "Verbs"]

TICK_SECONDS = 0.25
TICKS = 4
"""How often progress is looked at, and how often a server can be seen without any before it counts as lost.

Ticks are counted instead of time: after this process was stopped or busy, the first tick sees no progress, although the
answer has arrived.
"""

BATCH_BYTES = 256 * 1024
BATCH_COMMANDS = 512
"""The most that is sent before the answers to it are read."""


class Verbs(NamedTuple):
    """The commands of publish and subscribe, which differ in a cluster."""

    publish: bytes
    subscribe: bytes
    unsubscribe: bytes
    message: bytes


CLASSIC = Verbs(b"PUBLISH", b"SUBSCRIBE", b"UNSUBSCRIBE", b"message")
SHARDED = Verbs(b"SPUBLISH", b"SSUBSCRIBE", b"SUNSUBSCRIBE", b"smessage")


class Progress:
    """Notices that a server does not answer any more.

    Attributes:
        count: how much was answered.
        waiting: True while an answer is due.
    """

    def __init__(self) -> None:
        self.count = 0
        self.waiting = False
        self._seen = -1
        self._ticks = 0

    def tick(self) -> None:
        """Look at the progress; this is called every 0.25 s.

        Raises:
            TimeoutError: an answer is due, and there was no progress for a second.
        """
        if not self.waiting or self.count != self._seen:
            self._seen, self._ticks = self.count, 0
            return
        self._ticks += 1
        if self._ticks >= TICKS:
            raise TimeoutError("the server does not answer")


class Publisher:
    """Sends messages in batches: what is published while a batch is under way is the next batch.

    Args:
        connection: a connection that is used for nothing else.
        probe: the command that shows whether the server works.
        limit: the most bytes in the queue.
    """

    def __init__(self, connection: AbstractConnection, probe: bytes, limit: int) -> None:
        self.connection = connection
        self.progress = Progress()
        self._probe = probe
        self._limit = limit
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._wake = asyncio.Event()
        self._due = 0
        self._answered = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()

    def put(self, command: bytes) -> bool:
        """Queue a packed command; return False if the queue is full. An empty queue has room for any command."""
        if self._queued and self._queued + len(command) > self._limit:
            return False
        self._queue.append(command)
        self._queued += len(command)
        self._wake.set()
        self._drained.clear()
        return True

    def probe(self) -> None:
        """Ask the server whether it works."""
        self.put(self._probe)

    async def flush(self) -> None:
        """Wait until everything is sent and answered."""
        await self._drained.wait()

    async def run(self) -> None:
        """Send what is queued, for ever.

        Raises:
            ExceptionGroup: the connection is lost, or the server refuses a command.
        """
        await _both(self._send(), self._read())

    async def _send(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                batch = self._take()
                self._due = len(batch)
                self._answered.clear()
                self.progress.waiting = True
                await send(self.connection, batch)
                await self._answered.wait()

    async def _read(self) -> None:
        """Read answers all the time, so that a lost connection is noticed at once."""
        progress, read = self.progress, self.connection.read_response
        while True:
            await read(disable_decoding=True)
            progress.count += 1
            self._due -= 1
            if self._due <= 0:
                progress.waiting = False
                self._answered.set()
                if not self._queue:
                    self._drained.set()

    def _take(self) -> list[bytes]:
        batch: list[bytes] = []
        size = 0
        queue = self._queue
        while queue and size < BATCH_BYTES and len(batch) < BATCH_COMMANDS:
            batch.append(queue.popleft())
            size += len(batch[-1])
        self._queued -= size
        return batch


class Subscriber:
    """Receives messages.

    Args:
        connection: a connection that is used for nothing else.
        verbs: the commands.
        on_message: called with the channel and the payload of each message.
        on_change: called when a subscription has taken effect.
    """

    def __init__(
        self,
        connection: AbstractConnection,
        verbs: Verbs,
        on_message: Callable[[bytes, bytes], None],
        on_change: Callable[[], None],
    ) -> None:
        self.connection = connection
        self.progress = Progress()
        self._verbs = verbs
        self._on_message = on_message
        self._on_change = on_change
        self._subscribed: set[bytes] = set()
        self._due: Counter[bytes] = Counter()
        self._probes = 0
        self._queue: list[bytes] = []
        self._wake = asyncio.Event()

    def subscribe(self, channels: Iterable[bytes]) -> None:
        """Subscribe to channels."""
        self._request(self._verbs.subscribe, channels)

    def unsubscribe(self, channels: Iterable[bytes]) -> None:
        """Unsubscribe from channels."""
        self._request(self._verbs.unsubscribe, channels)

    def _request(self, verb: bytes, channels: Iterable[bytes]) -> None:
        for channel in channels:
            self._due[channel] += 1
            self._queue.append(pack(verb, channel))
        self.progress.waiting = True
        self._wake.set()

    def probe(self) -> None:
        """Ask the server whether it still sends."""
        self._queue.append(pack(b"PING"))
        self._probes += 1
        self.progress.waiting = True
        self._wake.set()

    def has(self, channel: bytes) -> bool:
        """Return True if a subscription is in effect, and no other request about it is under way."""
        return channel in self._subscribed and not self._due[channel]

    def settled(self) -> bool:
        """Return True if all requests have taken effect."""
        return not self._due.total()

    async def run(self) -> None:
        """Send requests and receive messages, for ever.

        Raises:
            ExceptionGroup: the connection is lost, or the server refuses a subscription.
        """
        await _both(self._send(), self._receive())

    async def _send(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch, self._queue = self._queue, []
            await send(self.connection, batch)

    async def _receive(self) -> None:
        read, on_message, progress, message = (
            self.connection.read_response, self._on_message, self.progress, self._verbs.message,
        )  # fmt: skip
        while True:
            arrived = await read(disable_decoding=True)
            progress.count += 1
            if arrived[0] == message:
                on_message(arrived[1], arrived[2])
            else:
                self._answered(arrived)
                progress.waiting = self._probes > 0 or not self.settled()

    def _answered(self, answer: list[bytes] | bytes) -> None:
        if answer == b"PONG" or answer[0] == b"pong":
            self._probes -= 1
            return
        kind, channel = answer[0], answer[1]
        assert isinstance(channel, bytes)
        if not self._due[channel]:  # a cluster moved the channel to another server: messages are lost from now on
            raise LostConnection("the server ended a subscription")
        self._due[channel] -= 1
        if not self._due[channel]:
            del self._due[channel]
        if kind == self._verbs.subscribe.lower():
            self._subscribed.add(channel)
        else:
            self._subscribed.discard(channel)
        self._on_change()


async def _both(sends: Coroutine[Any, Any, None], receives: Coroutine[Any, Any, None]) -> None:
    """Run both until one of them fails."""
    async with asyncio.TaskGroup() as group:
        group.create_task(sends)
        group.create_task(receives)
