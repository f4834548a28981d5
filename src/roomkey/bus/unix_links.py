"""The connections of a :class:`roomkey.bus.unix.UnixBus`: one in each direction between two buses.

Messages travel from the side that connected to the side that accepted. In the other direction, the accepting side tells
which channels it wants. So a sender sends nothing in vain, and a side that is slow delays only its own messages.
"""

from __future__ import annotations

import asyncio
import re
from typing import Protocol, cast

from roomkey.bus.unix_frames import BYE, HAVE, HELLO, MESSAGE, MISSED, WANT, FrameError, Frames, Wanted, frame

__all__ = ["Accepted", "Connected", "LinkOwner"]

MAX_CONTROL = 4 * 1024 * 1024
"""The largest list of channels, in bytes."""

MAX_UNREAD = 8 * 1024 * 1024
"""The largest number of bytes that wait for the other side to read the lists of channels."""

BATCH = 1000
"""Channels in one list."""

_NAME = re.compile(rb"[0-9a-f]{12}")


class LinkOwner(Protocol):
    """The bus."""

    name: str
    max_payload: int

    @property
    def may_have_sent(self) -> bool:
        """Return True if it may have sent messages to the buses that it knew."""

    def link_ready(self, link: Connected) -> None:
        """Take note that the other side told which channels it wants."""

    def link_lost(self, link: Connected) -> None:
        """Take note that a connection to another bus is lost."""

    def greeted(self, link: Accepted) -> None:
        """Take note that another bus has connected and told its name."""

    def missed(self, link: Accepted) -> None:
        """Take note that another bus sent messages before the connection began."""

    def confirmed(self) -> None:
        """Take note that another bus knows the channels."""

    def accepted_lost(self, link: Accepted) -> None:
        """Take note that a connection from another bus is lost, or that the other bus said goodbye."""

    def arrived(self, body: bytes | None) -> None:
        """Take the body of a message; None if it was too large."""


class _Link(asyncio.Protocol):
    """What both directions have in common."""

    def __init__(self, owner: LinkOwner, limit: int) -> None:
        self.owner = owner
        self.transport: asyncio.Transport | None = None
        self.lost = asyncio.get_running_loop().create_future()
        self._frames = Frames(limit)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            for kind, body in self._frames.feed(data):
                self.take(kind, body)
        except FrameError:
            self.abort()

    def take(self, kind: int, body: bytes | None) -> None:
        """Handle a frame."""
        raise NotImplementedError

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if not self.lost.done():
            self.lost.set_result(None)

    def abort(self) -> None:
        """Close immediately."""
        if self.transport is not None:
            self.transport.abort()

    def write(self, data: bytes) -> None:
        """Send bytes."""
        if self.transport is not None:
            self.transport.write(data)


class Connected(_Link):
    """A connection to another bus, on which this one sends.

    Args:
        owner: the bus.
        peer: the name of the other bus.
        max_queue: the most bytes that wait to be sent.

    Attributes:
        peer: as above.
        wants: the channels that the other bus wants, encoded.
        ready: done when the other bus has told them.
    """

    def __init__(self, owner: LinkOwner, peer: str, max_queue: int) -> None:
        super().__init__(owner, MAX_CONTROL)
        self.peer = peer
        self.wants: set[bytes] = set()
        self.ready = asyncio.get_running_loop().create_future()
        self._max_queue = max_queue
        self._queue: list[bytes] = []
        self._queued = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.write(frame(HELLO, self.owner.name.encode()))

    def take(self, kind: int, body: bytes | None) -> None:
        if kind != WANT or body is None:
            raise FrameError("an unknown frame")
        wanted = Wanted.decode(body)
        self.wants.difference_update(channel.encode() for channel in wanted.end)
        self.wants.update(channel.encode() for channel in wanted.begin)
        self.flush()  # what was sent before it belongs before it
        is_first = not self.ready.done()
        if is_first and self.owner.may_have_sent:
            self.write(frame(MISSED))
        self.write(frame(HAVE, b"%d" % wanted.number))
        if is_first:
            self.ready.set_result(None)
            self.owner.link_ready(self)

    def send(self, data: bytes) -> bool:
        """Queue a frame until :meth:`flush`. Returns False, and closes, if too much waits: the other bus stalls."""
        transport = self.transport
        if transport is None or self._queued + len(data) + transport.get_write_buffer_size() > self._max_queue:
            self.abort()
            return False
        self._queue.append(data)
        self._queued += len(data)
        return True

    def flush(self) -> None:
        """Send what is queued, in one write."""
        if self._queue:
            data = b"".join(self._queue)
            self._queue.clear()
            self._queued = 0
            self.write(data)

    def leave(self) -> None:
        """Say goodbye, and close when everything is sent."""
        self.flush()
        self.write(frame(BYE))
        if self.transport is not None:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._queue.clear()
        self._queued = 0
        self.owner.link_lost(self)


class Accepted(_Link):
    """A connection from another bus, on which this one receives.

    Attributes:
        peer: the name of the other bus; empty until it has told it.
        left: True once it said goodbye.
    """

    def __init__(self, owner: LinkOwner) -> None:
        super().__init__(owner, owner.max_payload)
        self.peer = ""
        self.left = False
        self._sent = 0
        self._confirmed = 0

    @property
    def confirmed(self) -> bool:
        """Return True if the other bus knows all the channels that it was told."""
        return 0 < self._sent == self._confirmed

    def take(self, kind: int, body: bytes | None) -> None:
        if kind == MESSAGE and self.peer:
            self.owner.arrived(body)
        elif body is None:
            raise FrameError("a frame that is too large")
        elif kind == HELLO and not self.peer:
            if not _NAME.fullmatch(body):
                raise FrameError("an invalid name")
            self.peer = body.decode()
            self.owner.greeted(self)
        elif kind == HAVE and body.isdigit():
            self._confirmed = int(body)
            self.owner.confirmed()
        elif kind == MISSED:
            self.owner.missed(self)
        elif kind == BYE:
            self.left = True
            self.owner.accepted_lost(self)
        else:
            raise FrameError("an unknown frame")

    def tell(self, begin: list[str], end: list[str]) -> None:
        """Tell the other bus which channels this one wants from now on, and which no more."""
        for at in range(0, max(len(begin), len(end), 1), BATCH):
            self._sent += 1
            self.write(Wanted(self._sent, begin[at : at + BATCH], end[at : at + BATCH]).encode())
        if self.transport is not None and self.transport.get_write_buffer_size() > MAX_UNREAD:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if not self.left:
            self.owner.accepted_lost(self)
