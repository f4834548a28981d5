"""The frames on the connections between the buses of one machine. This module is pure.

A frame is the length of its body (4 bytes), its kind (1 byte) and the body.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable

__all__ = [
    "BYE",
    "HAVE",
    "HELLO",
    "MESSAGE",
    "MISSED",
    "WANT",
    "FrameError",
    "Frames",
    "Wanted",
    "frame",
    "message",
    "split_message",
]

HELLO, MESSAGE, WANT, HAVE, BYE, MISSED = range(1, 7)
"""HELLO: the sender's name. MESSAGE: a channel and a payload. WANT: the channels that begin and end. HAVE: the number
of a WANT that is in effect. BYE: the sender leaves. MISSED: the sender may have sent messages before the connection."""

_HEADER = struct.Struct("!IB")
_CHANNEL = struct.Struct("!H")

MAX_CHANNEL = 1024
"""The longest name of a channel, in bytes."""


class FrameError(ValueError):
    """Raised when a frame has no valid content."""


def frame(kind: int, body: bytes = b"") -> bytes:
    """Return a frame."""
    return _HEADER.pack(len(body), kind) + body


def message(channel: bytes, payload: bytes) -> bytes:
    """Return the frame of a message."""
    size = _CHANNEL.size + len(channel) + len(payload)
    return b"".join((_HEADER.pack(size, MESSAGE), _CHANNEL.pack(len(channel)), channel, payload))


def split_message(body: bytes) -> tuple[bytes, bytes]:
    """Return the channel and the payload of a message.

    Raises:
        FrameError: it is too short.
    """
    if len(body) < _CHANNEL.size:
        raise FrameError("a message without a channel")
    end = _CHANNEL.size + _CHANNEL.unpack_from(body)[0]
    if end > len(body):
        raise FrameError("a message without its channel")
    return body[_CHANNEL.size : end], body[end:]


class Wanted:
    """The body of a WANT: its number, and the channels that begin and end with it."""

    __slots__ = ("begin", "end", "number")

    def __init__(self, number: int, begin: Iterable[str], end: Iterable[str] = ()) -> None:
        self.number = number
        self.begin = list(begin)
        self.end = list(end)

    def encode(self) -> bytes:
        """Return the frame."""
        return frame(WANT, json.dumps([self.number, self.begin, self.end]).encode())

    @classmethod
    def decode(cls, body: bytes) -> Wanted:
        """Read the body.

        Raises:
            FrameError: it is malformed.
        """
        try:
            number, begin, end = json.loads(body)
        except (ValueError, TypeError, RecursionError):
            raise FrameError("malformed subscriptions") from None
        lists = (begin, end)
        if not isinstance(number, int) or not all(isinstance(each, list) for each in lists):
            raise FrameError("malformed subscriptions")
        if not all(isinstance(channel, str) for each in lists for channel in each):
            raise FrameError("malformed subscriptions")
        return cls(number, begin, end)


class Frames:
    """Splits a stream into frames.

    Args:
        limit: the largest payload in bytes; the body of a larger frame is skipped, and never kept.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit + _CHANNEL.size + MAX_CHANNEL
        self._chunks: list[bytes] = []
        self._size = 0
        self._needed = _HEADER.size
        self._skip = 0

    def feed(self, data: bytes) -> list[tuple[int, bytes | None]]:
        """Return the frames that are complete now: kinds and bodies. A body that is too large is None."""
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        self._chunks.append(data)
        self._size += len(data)
        if self._size < self._needed:
            return []
        return self._split(b"".join(self._chunks))

    def _split(self, data: bytes) -> list[tuple[int, bytes | None]]:
        found: list[tuple[int, bytes | None]] = []
        at, self._needed = 0, _HEADER.size
        while len(data) - at >= _HEADER.size:
            size, kind = _HEADER.unpack_from(data, at)
            begin, end = at + _HEADER.size, at + _HEADER.size + size
            if size > self._limit:
                found.append((kind, None))
                self._skip = max(0, end - len(data))
            elif end > len(data):
                self._needed = _HEADER.size + size
                break
            else:
                found.append((kind, data[begin:end]))
            at = min(end, len(data))
        rest = data[at:]
        self._chunks, self._size = [rest] if rest else [], len(rest)
        return found
