"""The long-polling transport."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from roomkey.guard.settings import POLL_PACKETS
from roomkey.hub.engine_session import NOOP, NORMAL, EngineSession, Part
from roomkey.hub.settings import HubSettings
from roomkey.hub.transports.end_of_turn import EndOfTurn
from roomkey.wire import Message, encode_payload
from roomkey.wire.engineio import encode_binary

CLOSE = b"1"


class Polling:
    """Long-polling: packets that wait for a poll, or a poll that waits for packets.

    It is a :class:`roomkey.hub.engine_session.Transport`.

    Args:
        settings: the hub's.
        turn: calls polls at the end of a turn of the event loop, so that one response has all packets of the turn.
        session: the session that it carries.

    Attributes:
        posting: True while a POST request of the session is read.
    """

    __slots__ = ("_closed", "_max_unsent", "_poll", "_queue", "_released", "_session", "_size", "_turn", "posting")

    def __init__(self, settings: HubSettings, turn: EndOfTurn[Callable[[], None]], session: EngineSession) -> None:
        self._max_unsent = settings.max_unsent
        self._turn = turn
        self._session = session
        self._queue: deque[Part] = deque()
        self._size = 0
        self._poll: Callable[[], None] | None = None
        self._closed = self._released = False
        self.posting = False

    def send(self, message: Message) -> None:
        """Send a Socket.IO packet, with its attachments."""
        self._put((message.text, False), *((attachment, True) for attachment in message.attachments))

    send_batched = send

    def send_packet(self, packet: bytes, *, binary: bool = False) -> None:
        """Send an Engine.IO packet, or the data of a binary message. A NOOP is sent only if a poll waits."""
        if packet == NOOP and not binary:
            self._release(NOOP)
        else:
            self._put((packet, binary))

    def close(self, code: int = NORMAL) -> bool:
        """Close when everything is fetched. After an upgrade, only release a poll that still waits.

        The close is a response of its own: JavaScript clients act on it immediately, but later on packets before it.
        """
        self._closed = True
        if self._session.upgraded:
            self._release(NOOP)
            return True
        self._call_poll()
        return self._poll is not None and not self._queue

    def abort(self) -> None:
        """Close immediately."""
        self._closed = True
        self._drop()
        self._release(CLOSE)

    def client_closing(self) -> None:
        """Release a poll that still waits, and drop everything else: the client closes."""
        self._closed = True
        self._drop()
        self._release(NOOP)

    def on_admitted(self) -> None:
        """Do nothing: each request is limited by the session."""

    def _drop(self) -> None:
        self._queue.clear()
        self._size = 0

    def _put(self, *parts: Part) -> None:
        if self._closed:
            return
        self._queue.extend(parts)
        for data, _binary in parts:
            self._size += len(data)
        if self._size > self._max_unsent:
            self._session.too_slow()
        elif self._poll is not None:
            self._call_poll()

    def _release(self, packet: bytes) -> None:
        """Send a packet to a poll that waits, if there is one."""
        if self._poll is not None and not self._released:
            self._queue.append((packet, False))
            self._size += len(packet)
            self._call_poll()

    def _call_poll(self) -> None:
        """Let a poll that waits fetch the packets when this turn of the event loop is over."""
        if self._poll is not None and not self._released:
            self._released = True
            self._turn.add(self._poll)

    @property
    def empty(self) -> bool:
        """True if no packet waits to be fetched."""
        return not self._queue

    @property
    def busy(self) -> bool:
        """True while a poll waits."""
        return self._poll is not None

    @property
    def ready(self) -> bool:
        """True if a poll need not wait."""
        return self._closed or bool(self._queue)

    def drain(self, most: int | None = None) -> list[Part]:
        """Remove and return the packets that wait to be fetched, or the first ``most`` of them."""
        count = len(self._queue) if most is None else min(most, len(self._queue))
        taken = [self._queue.popleft() for _ in range(count)]
        self._size -= sum(len(data) for data, _binary in taken)
        return taken

    def body(self) -> bytes:
        """Return the body of a response, which is never empty; the next poll fetches the packets that are left."""
        parts = self.drain(POLL_PACKETS) or [(CLOSE if self._closed else NOOP, False)]
        return encode_payload(encode_binary(data) if binary else data for data, binary in parts)

    def begin(self, poll: Callable[[], None]) -> None:
        """Begin a poll that waits: the function is called once, when there is something to fetch."""
        self._poll, self._released = poll, False

    def finish(self) -> None:
        """End the poll: it has its response, or the client has disconnected."""
        self._poll = None
