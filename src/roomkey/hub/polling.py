"""The long-polling side of a session."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from roomkey.hub.session import NOOP, NORMAL
from roomkey.wire import Message, encode_payload
from roomkey.wire.engineio import encode_binary

if TYPE_CHECKING:
    from roomkey.hub.engine import Engine
    from roomkey.hub.session import EngineSession

CLOSE = b"1"


class Polling:
    """What waits to be fetched, and the request that waits for it: a :class:`roomkey.hub.session.Transport`.

    Args:
        engine: says how much may wait.
        session: whose it is.

    Attributes:
        posting: a POST of the session is being read.
    """

    __slots__ = ("_closed", "_engine", "_queue", "_session", "_size", "_waiter", "posting")

    def __init__(self, engine: Engine, session: EngineSession) -> None:
        self._engine = engine
        self._session = session
        self._queue: list[Message | bytes] = []
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self.posting = False

    def send(self, message: Message) -> None:
        """Send a Socket.IO packet, with its attachments."""
        self._put(message, message.size)

    send_soon = send

    def send_packet(self, packet: bytes) -> None:
        """Send an Engine.IO packet that is no message; nobody has to fetch a NOOP."""
        if packet == NOOP:
            self._release(NOOP)
        else:
            self._put(packet, len(packet))

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
        self._queue.clear()
        self._release(CLOSE)

    def left(self) -> None:
        """The client has said that it closes: a poll of its is released, and nothing more is for it."""
        self._closed = True
        self._queue.clear()
        self._release(NOOP)

    def _put(self, packet: Message | bytes, size: int) -> None:
        if self._closed:
            return
        self._queue.append(packet)
        self._size += size
        if self._size > self._engine.max_unsent:
            self._engine.too_slow(self._session)
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _release(self, packet: bytes) -> None:
        """Answer a waiting poll with this, if there is one."""
        if self._waiter is not None and not self._waiter.done():
            self._queue.append(packet)
            self._waiter.set_result(None)

    @property
    def empty(self) -> bool:
        """True if nothing waits to be fetched, but for the word that it is closed."""
        return not self._queue

    @property
    def busy(self) -> bool:
        """True while a poll waits."""
        return self._waiter is not None

    def take(self) -> list[Message | bytes]:
        """What waits to be fetched; it waits no more."""
        queue, self._queue, self._size = self._queue, [], 0
        return queue

    def body(self) -> bytes:
        """What waits to be fetched, as the body of an answer, which is never empty."""
        parts: list[bytes] = []
        for packet in self.take() or [CLOSE if self._closed else NOOP]:
            if isinstance(packet, Message):
                parts += (packet.text, *map(encode_binary, packet.attachments))
            else:
                parts.append(packet)
        return encode_payload(parts)

    def begin(self) -> asyncio.Future[None]:
        """A poll has come: what is returned is done when there is something to fetch."""
        self._waiter = asyncio.get_running_loop().create_future()
        if self._queue or self._closed:
            self._waiter.set_result(None)
        return self._waiter

    def finish(self) -> None:
        """The poll is answered, or gone."""
        self._waiter = None
