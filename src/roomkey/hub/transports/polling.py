"""The long-polling side of a session."""

from __future__ import annotations

import asyncio
from collections import deque

from roomkey.hub.session import NOOP, NORMAL, EngineSession, Part
from roomkey.hub.settings import HubSettings
from roomkey.wire import Message, encode_payload
from roomkey.wire.engineio import encode_binary

CLOSE = b"1"
MOST_PACKETS = 16
"""Packets of one answer: python-socketio's client accepts no more, and loses the connection over it."""


class Polling:
    """What waits to be fetched, and the request that waits for it: a :class:`roomkey.hub.session.Transport`.

    Args:
        settings: the hub's, with the limit of what may wait.
        session: whose it is.

    Attributes:
        posting: a POST of the session is being read.
    """

    __slots__ = ("_closed", "_max_unsent", "_queue", "_session", "_size", "_waiter", "posting")

    def __init__(self, settings: HubSettings, session: EngineSession) -> None:
        self._max_unsent = settings.max_unsent
        self._session = session
        self._queue: deque[Part] = deque()
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self.posting = False

    def send(self, message: Message) -> None:
        """Send a Socket.IO packet, with its attachments."""
        self._put((message.text, False), *((attachment, True) for attachment in message.attachments))

    send_batched = send

    def send_packet(self, packet: bytes, *, binary: bool = False) -> None:
        """Send an Engine.IO packet; nobody has to fetch a NOOP."""
        if packet == NOOP and not binary:
            self._release(NOOP)
        else:
            self._put((packet, binary))

    def close(self, code: int = NORMAL) -> bool:
        """Close, once what was sent is fetched; after an upgrade nothing is left here, and a last poll is released.

        The end comes by a poll of its own: JavaScript clients act on it at once, and on a packet before it only later.
        """
        self._closed = True
        if self._session.upgraded:
            self._release(NOOP)
            return True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        return self._waiter is not None and not self._queue

    def abort(self) -> None:
        """Close now."""
        self._closed = True
        self._drop()
        self._release(CLOSE)

    def client_closing(self) -> None:
        """The client has said that it closes: a poll of its is released, and nothing more is for it."""
        self._closed = True
        self._drop()
        self._release(NOOP)

    def _drop(self) -> None:
        self._queue.clear()
        self._size = 0

    def _put(self, *parts: Part) -> None:
        if self._closed:
            return
        self._queue.extend(parts)
        self._size += sum(len(data) for data, _binary in parts)
        if self._size > self._max_unsent:
            self._session.too_slow()
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _release(self, packet: bytes) -> None:
        """Answer a waiting poll with this, if there is one."""
        if self._waiter is not None and not self._waiter.done():
            self._queue.append((packet, False))
            self._size += len(packet)
            self._waiter.set_result(None)

    @property
    def empty(self) -> bool:
        """True if nothing waits to be fetched, but for the word that it is closed."""
        return not self._queue

    @property
    def busy(self) -> bool:
        """True while a poll waits."""
        return self._waiter is not None

    def drain(self, most: int | None = None) -> list[Part]:
        """What waits to be fetched, or so many packets of it; they wait no more."""
        count = len(self._queue) if most is None else min(most, len(self._queue))
        taken = [self._queue.popleft() for _ in range(count)]
        self._size -= sum(len(data) for data, _binary in taken)
        return taken

    def body(self) -> bytes:
        """What waits to be fetched, as the body of an answer, which is never empty; the next one has what is left."""
        parts = self.drain(MOST_PACKETS) or [(CLOSE if self._closed else NOOP, False)]
        return encode_payload(encode_binary(data) if binary else data for data, binary in parts)

    def begin(self) -> asyncio.Future[None]:
        """A poll has come: what is returned is done when there is something to fetch."""
        self._waiter = asyncio.get_running_loop().create_future()
        if self._queue or self._closed:
            self._waiter.set_result(None)
        return self._waiter

    def finish(self) -> None:
        """The poll is answered, or gone."""
        self._waiter = None
