"""WebSocket frames of a server (RFC 6455), without I/O and without a clock."""

from __future__ import annotations

import codecs
from binascii import b2a_base64
from hashlib import sha1
from typing import Final

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
"""The opcodes of frames (section 5.2)."""

FAILED: Final = -1
"""Stands for an opcode where the client violated the protocol. The data is the payload for the server's Close frame."""

NORMAL, PROTOCOL_ERROR, NOT_UTF8, POLICY_VIOLATION, TOO_BIG, INTERNAL = 1000, 1002, 1007, 1008, 1009, 1011
"""Close codes (section 7.4.1)."""

Frame = tuple[int, bytes]
"""The opcode and the data of a frame, or of a whole message. A plain tuple, because each message makes one."""

LARGE = 4096
"""A frame that is larger is not copied before its mask is removed, in bytes."""

MAX_CONTROL = 125
"""The largest payload of a control frame, in bytes (section 5.5)."""

_KEY_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_WHOLE_TEXT = 0x80 | TEXT
_CONTROL = 0x08
# The first bytes that a frame can have: no reserved bit (no extension is negotiated), no fragmented control frame.
_FIRST_BYTES = frozenset(
    (*(fin | opcode for fin in (0, 0x80) for opcode in (CONTINUATION, TEXT, BINARY)), 0x88, 0x89, 0x8A)
)
_SHORT_TEXT = tuple(bytes((_WHOLE_TEXT, size)) for size in range(MAX_CONTROL + 1))  # the heads of most frames
_NEVER = 1 << 62
_SMALLEST = 6  # bytes of a frame of a client: its head with the mask
_NOT_UTF8 = (NOT_UTF8, "text that is not UTF-8")


def _unmask(data: bytes | bytearray | memoryview, mask: bytes | bytearray) -> bytes:
    """Remove the mask of a frame (section 5.3). Whole integers are the fastest way without a C extension."""
    size = len(data)
    repeated = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(repeated, "little")).to_bytes(size, "little")


try:
    from websockets.speedups import apply_mask as unmask  # optional: 4 to 200 times as fast
except ImportError:
    unmask = _unmask


class FrameReader:
    """Reads the frames of one client, and joins the fragments of messages.

    Args:
        max_payload: the largest message, in bytes; :meth:`allow` changes it.
        max_fragments: the largest number of frames in a message.

    Attributes:
        more: True if bytes are left that may contain a whole frame. Read again before you pass more bytes.
    """

    __slots__ = ("_at", "_buffer", "_held", "_max_fragments", "_max_payload", "_message", "_needed", "more")

    def __init__(self, max_payload: int, max_fragments: int) -> None:
        self._max_payload = max_payload
        self._max_fragments = max_fragments
        self._buffer: bytes | bytearray = b""  # the bytes that are left, which begin at _at
        self._at = 0
        self._needed = 0  # length of the buffer without which nothing more can be read
        self._message: _Fragments | None = None
        self._held = 0  # bytes of the fragments of the message
        self.more = False

    def allow(self, max_payload: int) -> None:
        """Change the largest message, in bytes, for frames that are not read yet."""
        self._max_payload = max_payload

    def read(self, data: bytes = b"") -> Frame | None:
        """Take bytes that arrived, and return the next frame.

        Args:
            data: the bytes; none to continue with those that are left.

        Returns:
            ``TEXT`` or ``BINARY`` with the whole message, also if it was fragmented; ``CONTINUATION`` with a fragment
            after which more must follow; ``PING``, ``PONG`` or a valid ``CLOSE`` with its payload; or ``FAILED``.
            None if the next frame is not complete. Nothing follows ``CLOSE`` or ``FAILED``.
        """
        buffer = self._appended(data) if self._buffer else data
        at, end = self._at, len(buffer)
        if end < self._needed:
            return None
        start = at + _SMALLEST
        if end < start:
            self._keep(buffer, start)
            return None
        first, size = buffer[at], buffer[at + 1] - 0x80
        if size > MAX_CONTROL:
            start += 2 if size == 126 else 8
            if end < start:
                self._keep(buffer, start)
                return None
            size = _long_size(buffer, at, size)
        most = MAX_CONTROL if first & _CONTROL else self._max_payload - self._held
        if first not in _FIRST_BYTES or not 0 <= size <= most:
            return self._fail(*_why(first, size))
        stop = start + size
        if end < stop:
            self._keep(buffer, stop)
            return None
        masked = buffer[start:stop] if size < LARGE else memoryview(buffer)[start:stop]
        payload = unmask(masked, buffer[start - 4 : start])
        if stop < end:
            self._buffer, self._at, self._needed, self.more = buffer, stop, 0, True
        elif self._buffer:
            self._buffer, self._at, self._needed, self.more = b"", 0, 0, False
        if first == _WHOLE_TEXT and self._message is None:
            return (TEXT, payload) if payload.isascii() or _is_utf8(payload) else self._fail(*_NOT_UTF8)
        return self._special(first, payload)

    # The bytes that are left

    def _appended(self, data: bytes) -> bytes | bytearray:
        """Return the bytes that are left, with new ones, in time that does not depend on the number of those left."""
        if data:
            if self._at or not isinstance(self._buffer, bytearray):  # there is less left than the last read passed
                self._buffer, self._at = bytearray(memoryview(self._buffer)[self._at :]), 0
            self._buffer += data
        return self._buffer

    def _keep(self, buffer: bytes | bytearray, needed: int) -> None:
        """Keep the bytes of a frame that is not complete."""
        self.more = False
        if buffer:
            if self._at or not isinstance(buffer, bytearray):
                buffer = bytearray(memoryview(buffer)[self._at :])
            self._buffer, self._needed, self._at = buffer, needed - self._at, 0

    def _fail(self, code: int, reason: str) -> Frame:
        self.stop()
        return FAILED, code.to_bytes(2, "big") + reason.encode()

    def stop(self) -> None:
        """Ignore everything that follows (section 5.5.1)."""
        self._buffer, self._at, self.more, self._message, self._held = b"", 0, False, None, 0
        self._needed = _NEVER

    # Every frame but a whole text

    def _special(self, first: int, payload: bytes) -> Frame:
        opcode = first & 0x0F
        if opcode < _CONTROL:
            return self._fragment(opcode, payload, final=first >= 0x80)
        if opcode == CLOSE:
            reason = _invalid_close(payload)
            if reason is not None:
                return self._fail(PROTOCOL_ERROR, reason)
            self.stop()
        return opcode, payload

    def _fragment(self, opcode: int, payload: bytes, *, final: bool) -> Frame:
        """Read a data frame, which may be a part of a message (section 5.4)."""
        message = self._message
        if (opcode == CONTINUATION) != (message is not None):
            return self._fail(PROTOCOL_ERROR, "fragments out of order")
        if message is None:
            if final and opcode == BINARY:
                return BINARY, payload
            message = self._message = _Fragments(opcode)
        if not message.add(payload, final=final):
            return self._fail(*_NOT_UTF8)
        self._held += len(payload)
        if len(message.parts) > self._max_fragments:
            return self._fail(TOO_BIG, "a message in too many fragments")
        if not final:
            return CONTINUATION, payload
        self._message, self._held = None, 0
        return message.opcode, b"".join(message.parts)


class _Fragments:
    """A message whose fragments arrive. Text is checked as it arrives (section 8.1)."""

    __slots__ = ("_decoder", "opcode", "parts")

    def __init__(self, opcode: int) -> None:
        self.opcode = opcode
        self.parts: list[bytes] = []
        self._decoder = codecs.getincrementaldecoder("utf-8")() if opcode == TEXT else None

    def add(self, part: bytes, *, final: bool) -> bool:
        """Add a fragment. Returns False if the text is not UTF-8."""
        self.parts.append(part)
        try:
            if self._decoder is not None:
                self._decoder.decode(part, final)
        except UnicodeDecodeError:
            return False
        return True


def encode_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """Return a frame of the server, which is the same for every client."""
    size = len(payload)
    if size <= MAX_CONTROL:
        return (_SHORT_TEXT[size] if opcode == TEXT else bytes((0x80 | opcode, size))) + payload
    if size < 1 << 16:
        return b"%c\x7e%b%b" % (0x80 | opcode, size.to_bytes(2, "big"), payload)
    return b"%c\x7f%b%b" % (0x80 | opcode, size.to_bytes(8, "big"), payload)


def encode_close(code: int) -> bytes:
    """Return a Close frame."""
    return b"\x88\x02" + code.to_bytes(2, "big")


def accept_key(key: str) -> bytes:
    """Return the value of ``Sec-WebSocket-Accept`` for the client's key (section 4.2.2)."""
    digest = sha1(key.encode("latin-1") + _KEY_SUFFIX, usedforsecurity=False).digest()
    return b2a_base64(digest, newline=False)


def _long_size(data: bytes | bytearray, at: int, form: int) -> int:
    """Return the length of a frame that has more bytes for it, or -1 if fewer bytes suffice or it is negative."""
    if form == 126:
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        return size if size > MAX_CONTROL else -1
    size = int.from_bytes(data[at + 2 : at + 10], "big")
    return size if 1 << 16 <= size < 1 << 63 else -1


def _why(first: int, size: int) -> tuple[int, str]:
    """Return the close code and the reason for a frame with an invalid head."""
    if size < 0:
        return PROTOCOL_ERROR, "a frame without a mask, or with an invalid length"
    if first not in _FIRST_BYTES:
        return PROTOCOL_ERROR, "a reserved bit, an unknown opcode, or a fragmented control frame"
    return (PROTOCOL_ERROR, "a large control frame") if first & _CONTROL else (TOO_BIG, "a message over the limit")


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _invalid_close(payload: bytes) -> str | None:
    """Return why the payload of a Close frame is invalid (sections 5.5.1 and 7.4), or None."""
    if not payload:
        return None
    code = int.from_bytes(payload[:2], "big")
    if len(payload) < 2 or not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
        return "a Close frame without a valid code"
    return None if _is_utf8(payload[2:]) else "a Close frame whose reason is not UTF-8"
