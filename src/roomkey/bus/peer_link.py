"""One link between two nodes: its handshake, and the conversations on it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import Protocol, cast

from roomkey.bus.peer_frames import (
    HELLO,
    PROOF,
    WELCOME,
    FrameReader,
    FrameWriter,
    FrontHandshake,
    LinkKeys,
    OwnerHandshake,
    PeerError,
)

LOG = logging.getLogger("roomkey.bus")

CONNECT_SECONDS = 1.0
"""How long a connection and its handshake may take; until then, conversations wait."""

MAX_MESSAGE = 16 << 20
MAX_CONVERSATIONS = 65_536
"""The largest payload in bytes, and the conversations of one link. A front begins no more, an owner refuses them."""

HIGH_WATER = 1 << 20
"""When so many bytes wait for a peer that does not read, streams pause."""

MAX_EARLY = 4 << 20
"""The bytes that may wait for the handshake."""

LARGE_WAIT, SMALL_WAIT = 2, 3
"""How many of the largest messages may wait for a peer that does not read. Large frames leave room for small ones, so
that the clients who cause them do not disturb the others."""

FULL = 65_536
"""Frames that are larger together, in bytes, do not wait for the end of the turn of the event loop."""

QUIET_TESTS = 3
"""A peer that says nothing between so many tests is gone."""

PING, PONG, REFUSED = 0, 1, 2
OPENINGS = (3, 4)
REQUEST, STREAM = OPENINGS
"""Kinds of frames. Conversations use higher numbers for their own."""


class Conversation(Protocol):
    """A request or a stream on a link."""

    def arrived(self, kind: int, payload: bytes) -> None:
        """Handle a frame of the other side."""

    def lost(self) -> None:
        """Stop: the link is gone, or the other side refused. Nothing can be sent any more."""

    def pause(self) -> None:
        """Send no more for now: the other side does not read."""

    def resume(self) -> None:
        """Continue to send."""


class LinkOwner(Protocol):
    """The links of a node, as one of them sees them."""

    keys: tuple[bytes, ...]
    max_message: int

    def begin(self, link: Link, kind: int, number: int, payload: bytes) -> None:
        """Begin a conversation that the other side has opened."""

    def opened(self, link: Link) -> None:
        """Note that a link's handshake is done."""

    def lost(self, link: Link, reason: str, *, was_open: bool) -> None:
        """Forget a link."""


class Link(asyncio.Protocol):
    """One connection to another node. Make it with :meth:`to` or :meth:`of_stranger`.

    Attributes:
        conversations: those that have not ended, by number.
        paused: True while too much waits for the other side; streams then send nothing.
        max_message: the largest payload in bytes.
    """

    def __init__(self, peers: LinkOwner, handshake: FrontHandshake | OwnerHandshake, *, signed: bool) -> None:
        self.conversations: dict[int, Conversation] = {}
        self.paused = False
        self.max_message = peers.max_message
        self._peers = peers
        self._handshake = handshake
        self._signed = signed
        self._greeting = bytearray()
        self._welcomed = False
        self._reader: FrameReader | None = None
        self._writer: FrameWriter | None = None
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._queue: list[tuple[int, int, bytes]] = []
        self._queued = 0
        self._last_number = 0
        self._heard = True
        self._quiet = 0
        self._gone = False

    @classmethod
    def to(cls, peers: LinkOwner, own: bytes, other: bytes, *, signed: bool) -> Link:
        """Return a link to another node, which is not connected yet.

        Args:
            peers: the links of this node.
            own: this node's 6 bytes.
            other: those of the other one.
            signed: True if each frame has a MAC.
        """
        link = cls(peers, FrontHandshake(peers.keys, own, other), signed=signed)
        link._deadline = asyncio.get_running_loop().call_later(CONNECT_SECONDS, link.fail, "no answer in time")
        return link

    @classmethod
    def of_stranger(cls, peers: LinkOwner, own: bytes, *, signed: bool, refused: bool = False) -> Link:
        """Return a link that somebody opens. Except for ``refused``, the arguments are those of :meth:`to`.

        Args:
            refused: True closes it at once.
        """
        link = cls(peers, OwnerHandshake(peers.keys, own), signed=signed)
        link._gone = refused
        return link

    @property
    def is_front(self) -> bool:
        """True if this side opened the link, and begins the conversations."""
        return isinstance(self._handshake, FrontHandshake)

    # Conversations

    def open(self, conversation: Conversation) -> int | None:
        """Begin a conversation. Return its number, or None if there are too many or the link is gone."""
        if self._gone or len(self.conversations) >= MAX_CONVERSATIONS:
            return None
        self._last_number += 1
        self.conversations[self._last_number] = conversation
        return self._last_number

    def join(self, number: int, conversation: Conversation) -> None:
        """Take part in a conversation that the other side has begun."""
        self.conversations[number] = conversation

    def end(self, number: int) -> None:
        """End a conversation. What the other side still sends for it is ignored."""
        self.conversations.pop(number, None)

    def refuse(self, number: int) -> None:
        """Refuse a conversation that the other side has begun, or end it at once."""
        self.end(number)
        self.send(REFUSED, number, b"")

    def send(self, kind: int, number: int, payload: bytes) -> None:
        """Send a frame at the end of this turn of the event loop, together with others."""
        if self._gone:
            return
        if (self.paused or self._writer is None) and payload and not self._has_room(len(payload)):
            self._give_up(number)
            return
        queue = self._queue
        if not queue and self._writer is not None:
            asyncio.get_running_loop().call_soon(self._flush)
        queue.append((kind, number, payload))
        self._queued += len(payload)
        if self._queued > FULL and self._writer is not None:
            self._flush()

    def _has_room(self, size: int) -> bool:
        """Return True if a frame of this size can wait, too. If not, only its conversation ends, not the link."""
        if self._transport is None or self._writer is None:
            return self._queued + size <= MAX_EARLY
        most = (LARGE_WAIT if size > FULL else SMALL_WAIT) * self.max_message
        return self._queued + self._transport.get_write_buffer_size() + size <= most

    def _flush(self) -> None:
        transport, writer = self._transport, self._writer
        if transport is None or writer is None or not self._queue:
            return
        queue, self._queue, self._queued = self._queue, [], 0
        transport.write(b"".join([writer.frame(*frame) for frame in queue]))

    # What asyncio reports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake."""
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass
        if self._gone:
            transport.abort()
            return
        transport.set_write_buffer_limits(high=HIGH_WATER)
        if self._signed:
            with contextlib.suppress(OSError):
                transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if isinstance(self._handshake, FrontHandshake):
            transport.write(self._handshake.hello)
        else:
            self._deadline = asyncio.get_running_loop().call_later(CONNECT_SECONDS, self.fail, "no proof in time")

    def data_received(self, data: bytes) -> None:
        """Handle the handshake or frames."""
        self._heard = True
        if self._gone:
            return
        try:
            if self._reader is None:
                data = self._greet(data)
                if self._reader is None:
                    return
            frames = self._reader.read(data)
        except PeerError as error:
            self.fail(str(error))
            return
        for kind, number, payload in frames:
            try:
                self._arrived(kind, number, payload)
            except Exception:  # the other conversations continue
                LOG.exception("could not handle a frame of another node")
                self._give_up(number)

    def eof_received(self) -> None:
        """Let the transport close."""

    def connection_lost(self, exc: Exception | None) -> None:
        """End all conversations."""
        said_nothing = self._writer is None and not self._greeting and not self._welcomed
        self.fail("" if said_nothing else "the connection is closed")

    def pause_writing(self) -> None:
        """Let streams pause."""
        self.paused = True
        for conversation in list(self.conversations.values()):
            conversation.pause()

    def resume_writing(self) -> None:
        """Let streams continue."""
        self.paused = False
        for conversation in list(self.conversations.values()):
            if not self.paused:
                conversation.resume()

    def _give_up(self, number: int) -> None:
        """End a conversation on both sides."""
        conversation = self.conversations.get(number)
        self.refuse(number)
        if conversation is not None:
            _lose(conversation)

    def _arrived(self, kind: int, number: int, payload: bytes) -> None:
        conversation = self.conversations.get(number)
        if conversation is not None:
            if kind == REFUSED:
                self.end(number)
                conversation.lost()
            else:
                conversation.arrived(kind, payload)
        elif kind in OPENINGS and not self.is_front:  # a front never answers: one hop at most
            if len(self.conversations) >= MAX_CONVERSATIONS:
                self.refuse(number)
            else:
                self._peers.begin(self, kind, number, payload)
        elif kind == PING:
            self.send(PONG, 0, b"")

    # The handshake

    def _greet(self, data: bytes) -> bytes:
        """Continue the handshake. Return the bytes after it.

        Raises:
            PeerError: the other side is not a node of this cluster.
        """
        self._greeting += data
        handshake, transport = self._handshake, self._transport
        assert transport is not None
        if isinstance(handshake, FrontHandshake):
            if len(self._greeting) < WELCOME:
                return b""
            proof, keys = handshake.answer(bytes(self._greeting[:WELCOME]))
            transport.write(proof)
            return self._opened(keys, WELCOME)
        if not self._welcomed:
            if len(self._greeting) < HELLO:
                return b""
            transport.write(handshake.welcome(bytes(self._greeting[:HELLO])))
            del self._greeting[:HELLO]
            self._welcomed = True
        if len(self._greeting) < PROOF:
            return b""
        return self._opened(handshake.finish(bytes(self._greeting[:PROOF])), PROOF)

    def _opened(self, keys: LinkKeys, length: int) -> bytes:
        if self._deadline is not None:
            self._deadline.cancel()
        self._writer = FrameWriter(keys.sent if self._signed else None)
        self._reader = FrameReader(keys.received if self._signed else None, self.max_message)
        rest = bytes(self._greeting[length:])
        self._greeting.clear()
        self._peers.opened(self)
        self._flush()
        return rest

    # The end

    def test(self) -> None:
        """Give up the link if the other side has been silent for too long; a front asks for a sign of life."""
        if self._writer is None:
            return
        self._quiet = 0 if self._heard else self._quiet + 1
        self._heard = False
        if self._quiet >= QUIET_TESTS:
            self.fail("the other side is silent")
        elif self.is_front:
            self.send(PING, 0, b"")

    def close(self) -> None:
        """Close when everything is sent, because this node stops."""
        self._flush()
        if self._transport is not None:
            self._transport.close()
        self.fail("this node stops")

    def fail(self, reason: str) -> None:
        """Give up the link, and end all conversations. A second call does nothing."""
        if self._gone:
            return
        self._gone = True
        if self._deadline is not None:
            self._deadline.cancel()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.abort()
        self._queue.clear()
        conversations, self.conversations = self.conversations, {}
        self._peers.lost(self, reason, was_open=self._writer is not None)
        for conversation in conversations.values():
            _lose(conversation)


def _lose(conversation: Conversation) -> None:
    try:
        conversation.lost()
    except Exception:  # the others end all the same
        LOG.exception("could not end a conversation with another node")
