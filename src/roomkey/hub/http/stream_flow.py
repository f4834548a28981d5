"""The flow of bytes in a forwarded connection: each side sends as many as the other one allows."""

from __future__ import annotations

from collections import deque

from roomkey.bus.peer_link import Link

DATA, CREDIT, EOF, CLOSE, RESET = 9, 10, 11, 12, 13
"""Kinds of frames."""

WINDOW = 131_072
CHUNK = 32_768
"""The bytes that may be on their way in one direction, and the most in one frame."""


class Sender:
    """Sends the bytes of one direction, as far as the other side allows.

    Args:
        link: the link.
        number: of the conversation.

    Attributes:
        credit: the bytes that the other side allows at the moment.
        number: of the conversation.
        size: the bytes that wait.
        waiting: what could not be sent yet.
    """

    __slots__ = ("_link", "credit", "number", "size", "waiting")

    def __init__(self, link: Link, number: int) -> None:
        self._link = link
        self.number = number
        self.credit = WINDOW
        self.waiting: deque[bytes] = deque()
        self.size = 0

    def put(self, data: bytes) -> None:
        """Send bytes, or keep them."""
        if not self.waiting and len(data) <= self.credit and len(data) <= CHUNK and not self._link.paused:
            self.credit -= len(data)
            self._link.send(DATA, self.number, bytes(data))
            return
        self.waiting.append(bytes(data))
        self.size += len(data)
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as it is allowed."""
        while self.waiting and self.credit > 0 and not self._link.paused:
            data = self.waiting.popleft()
            most = min(self.credit, CHUNK)
            if len(data) > most:
                self.waiting.appendleft(data[most:])
                data = data[:most]
            self.size -= len(data)
            self.credit -= len(data)
            self._link.send(DATA, self.number, data)

    def clear(self) -> None:
        """Drop what waits."""
        self.waiting.clear()
        self.size = 0


class Receiver:
    """Counts the bytes that were read, and allows the other side to send more.

    Args:
        link: the link.
        number: of the conversation.
    """

    __slots__ = ("_link", "_number", "_read")

    def __init__(self, link: Link, number: int) -> None:
        self._link = link
        self._number = number
        self._read = 0

    def read(self, size: int) -> None:
        """Count bytes that were read."""
        self._read += size

    def allow(self) -> None:
        """Allow as many bytes again, if that is worth a frame."""
        if self._read >= WINDOW // 2:
            read, self._read = self._read, 0
            self._link.send(CREDIT, self._number, read.to_bytes(4, "big"))
