"""Signed messages between nodes: who can write to the bus, but does not know the secret, cannot speak as a node.

This module is pure: channels, bytes and times are arguments. A message is

    version 1 | key 1 | sender 6 | counter 8 | time 8 | length of kind 1 | kind | body | MAC 16

The MAC is keyed BLAKE2b over the channel and everything before the MAC. A sender is one start of one node. It numbers
its messages on all channels in one sequence.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from hashlib import blake2b
from math import inf
from struct import Struct
from typing import NamedTuple

from roomkey.bus.secrets import ClusterSecrets

__all__ = ["OVERHEAD", "Checker", "Dropped", "Message", "Signer", "is_node_id", "node_id"]

VERSION = 1
HEADER = Struct(">BB6sQQB")
MAC_BYTES = 16
MAX_KIND = 32
OVERHEAD = HEADER.size + MAX_KIND + MAC_BYTES
"""The most bytes that the envelope adds to a body."""

FRESH_SECONDS = 30.0
"""How far the time of a message can be from this node's. An older one is a recording, or a clock is wrong."""

MARK_SECONDS = 3.0
"""What a sender sent this long before its newest message, or up to twice as long, is too old on every channel."""

SKEW_SECONDS = 12.0
"""What was sent this long before this node started, by the sender's clock, is a recording: the node did not listen."""

FORGET_SECONDS = 4 * FRESH_SECONDS
"""How long a silent sender is remembered. All its messages are too old then."""

MAX_SENDERS = 4096
"""The most senders to remember. When they are that many, unknown ones are refused."""

_NODE_ID = re.compile(r"[A-Za-z0-9_-]{8}")
_Key = tuple[int, blake2b]


def node_id(raw: bytes) -> str:
    """Return the name of a node: 8 characters for 6 random bytes."""
    return urlsafe_b64encode(raw).decode("ascii")


def is_node_id(text: str) -> bool:
    """Return True if the text can be the name of a node."""
    return _NODE_ID.fullmatch(text) is not None


def _keys(secrets: ClusterSecrets) -> list[_Key]:
    keys = []
    for key in secrets.keys("message"):
        hint = blake2b(b"hint", key=key, digest_size=1).digest()[0]
        keys.append((hint, blake2b(key=key, digest_size=MAC_BYTES)))
    return keys


def _mac(key: blake2b, channel: str, signed: bytes | memoryview) -> bytes:
    name = channel.encode()
    mac = key.copy()
    mac.update(len(name).to_bytes(4, "big") + name)
    mac.update(signed)
    return mac.digest()


class Signer:
    """Signs what one node sends.

    Args:
        secrets: the secrets of the cluster.
        sender: the 6 random bytes of this start of the node.
    """

    def __init__(self, secrets: ClusterSecrets, sender: bytes) -> None:
        self._hint, self._key = _keys(secrets)[0]
        self._sender = sender
        self._counter = 0

    def sign(self, channel: str, kind: str, body: bytes, now: float) -> bytes:
        """Return a signed message.

        Args:
            channel: where it will be published. On another channel it is not valid.
            kind: what it is about: up to 32 ASCII characters.
            body: its content.
            now: seconds since the epoch.

        Raises:
            ValueError: the kind is not such a name.
        """
        name = kind.encode("ascii")
        if not 0 < len(name) <= MAX_KIND:
            raise ValueError(f"invalid kind of message {kind!r}; use 1 to {MAX_KIND} ASCII characters")
        self._counter += 1
        header = HEADER.pack(VERSION, self._hint, self._sender, self._counter, max(int(now * 1000), 0), len(name))
        signed = b"".join((header, name, body))
        return signed + _mac(self._key, channel, signed)


class Message(NamedTuple):
    """A message that a node sent."""

    sender: str
    kind: str
    body: bytes


class Dropped(Exception):
    """Raised for a message that must not be handled. Its text is the reason, which has nothing of the message."""


@dataclass(slots=True)
class _Sender:
    """What is known of a sender.

    Attributes:
        newest: its highest counter on each channel.
        highest: its highest counter on any channel.
        sent_at: the latest time of a message, by its own clock, in milliseconds.
        floor: a counter that is too old on every channel.
        mark: a counter, and when it was sent: the next floor.
        heard: when it was last heard, by this node's monotonic clock.
    """

    newest: dict[str, int] = field(default_factory=dict)
    highest: int = 0
    sent_at: int = 0
    floor: int = 0
    mark: tuple[int, int] = (0, 0)
    heard: float = -inf

    def advance(self, counter: int, sent_at: int) -> None:
        """Take note of its newest message."""
        self.highest, self.sent_at = counter, max(sent_at, self.sent_at)
        if sent_at >= self.mark[1] + MARK_SECONDS * 1000:
            self.floor, self.mark = self.mark[0], (counter, sent_at)


class Checker:
    """Checks what arrives: its size, its signature, and that it is neither a repetition nor a recording.

    Each message counts once, only on its channel, and only near the time in it. A sender is remembered until all its
    messages are too old.

    Args:
        secrets: the secrets of the cluster.
        own: the 6 bytes of this node, whose messages are ignored.
        max_payload: the largest message in bytes.
        started: when this node started, in seconds since the epoch.
    """

    def __init__(self, secrets: ClusterSecrets, own: bytes, max_payload: int, started: float) -> None:
        self._keys = _keys(secrets)
        self._own = own
        self._max_payload = max_payload
        self._senders: dict[bytes, _Sender] = {}
        self._newest_forgotten = int((started - SKEW_SECONDS) * 1000)

    def check(self, channel: str, payload: bytes, now: float, monotonic: float) -> Message | None:
        """Return a message; None if this node sent it.

        Args:
            channel: where it arrived.
            payload: its bytes.
            now: seconds since the epoch.
            monotonic: seconds on a monotonic clock.

        Raises:
            Dropped: it is too large, malformed or not signed, it was received before, or it is a recording.
        """
        if len(payload) > self._max_payload:
            raise Dropped("too large")
        if len(payload) < HEADER.size + MAC_BYTES or payload[0] != VERSION:
            raise Dropped("malformed")
        _, hint, sender, counter, sent_at, length = HEADER.unpack_from(payload)
        if sender == self._own:
            return None
        self._check_signature(channel, payload, hint)
        start = HEADER.size + length
        kind = payload[HEADER.size : start]
        if not 0 < length <= MAX_KIND or start > len(payload) - MAC_BYTES or not kind.isascii():
            raise Dropped("malformed")
        self._check_order(channel, sender, counter, sent_at, now, monotonic)
        return Message(node_id(sender), kind.decode("ascii"), payload[start:-MAC_BYTES])

    def _check_signature(self, channel: str, payload: bytes, hint: int) -> None:
        signed, mac = memoryview(payload)[:-MAC_BYTES], payload[-MAC_BYTES:]
        for number, key in self._keys:
            if number == hint and hmac.compare_digest(_mac(key, channel, signed), mac):
                return
        raise Dropped("bad signature")

    def _check_order(
        self, channel: str, sender: bytes, counter: int, sent_at: int, now: float, monotonic: float
    ) -> None:
        # If this machine's clock is set back, recordings of forgotten senders seem to be fresh: hence the second test.
        known = self._senders.get(sender)
        if abs(sent_at / 1000 - now) > FRESH_SECONDS or (known is None and sent_at <= self._newest_forgotten):
            raise Dropped("stale")
        if known is None:
            known = self._new_sender(sender, sent_at, monotonic)
        if counter <= known.newest.get(channel, 0) or counter <= known.floor:
            raise Dropped("replayed")
        known.newest[channel] = counter
        known.heard = monotonic
        if counter > known.highest:
            known.advance(counter, sent_at)

    def _new_sender(self, sender: bytes, sent_at: int, monotonic: float) -> _Sender:
        if len(self._senders) >= MAX_SENDERS:
            self.forget(monotonic)
            if len(self._senders) >= MAX_SENDERS:
                raise Dropped("too many senders")
        known = self._senders[sender] = _Sender(mark=(0, sent_at))
        return known

    def opened(self, channel: str) -> None:
        """Ignore what was sent to a channel before now: this node subscribes to it, or does so again."""
        for known in self._senders.values():
            known.newest[channel] = known.highest

    def closed(self, channel: str) -> None:
        """Free what is remembered about a channel; :meth:`opened` comes before its next message."""
        for known in self._senders.values():
            known.newest.pop(channel, None)

    def forget(self, monotonic: float) -> None:
        """Forget the senders that have been silent for so long that their messages are too old."""
        for sender, known in list(self._senders.items()):
            if known.heard + FORGET_SECONDS < monotonic:
                self._newest_forgotten = max(self._newest_forgotten, known.sent_at)
                del self._senders[sender]
