"""What peer links carry: the handshake of two nodes, and frames. This module is pure.

The node that opens a link, the front, sends a hello, the owner answers with a welcome, and the front with a proof::

    hello    "RKP1" | nonce 16 | front 6 | owner 6 | MAC 16
    welcome  nonce 16 | MAC 16
    proof    MAC 16

Each MAC is keyed BLAKE2b over its own name and everything before it in the conversation. The front uses the first
secret of the cluster, and the owner the one with which the hello was made. Nonces are new for each link, so a recorded
conversation is of no use. Both sides derive one key for each direction from the conversation. Then come frames::

    length 4 | kind 1 | number 4 | payload | MAC 16

The length counts what follows it. The MAC covers the frame's place in its direction, so no frame can be altered, left
out, repeated or moved. Between processes of one machine (Unix sockets), frames have no MAC: nobody is between them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import blake2b
from hmac import compare_digest
from struct import Struct
from typing import NamedTuple

MAGIC = b"RKP1"
NONCE, NODE, MAC = 16, 6, 16
HELLO = len(MAGIC) + NONCE + 2 * NODE + MAC
WELCOME = NONCE + MAC
PROOF = MAC
"""Lengths, in bytes."""

_HEADER = Struct(">IBI")
_PREFIX = 4
OVERHEAD = _HEADER.size - _PREFIX + MAC
"""The most bytes in a frame besides its payload and its length."""

Frame = tuple[int, int, bytes]
"""A frame's kind, number and payload."""


class PeerError(Exception):
    """The other side of a link is not a node of this cluster, or sends something else than frames.

    Its text is the reason, without anything that the other side sent.
    """


class LinkKeys(NamedTuple):
    """The keys of a link: of what this side sends, and of what it receives."""

    sent: bytes
    received: bytes


class FrontHandshake:
    """The front's side of a handshake.

    Args:
        keys: the keys of the cluster for this purpose; the front uses the first.
        front: its own 6 bytes.
        owner: those of the node that it wants to reach.

    Attributes:
        hello: the first bytes to send.
    """

    def __init__(self, keys: Sequence[bytes], front: bytes, owner: bytes) -> None:
        self._key = keys[0]
        said = MAGIC + os.urandom(NONCE) + front + owner
        self.hello = said + _mac(self._key, b"hello", said)

    def answer(self, welcome: bytes) -> tuple[bytes, LinkKeys]:
        """Return the proof and the keys, for the owner's welcome.

        Raises:
            PeerError: the owner does not know the secret, or it is another node.
        """
        said = self.hello + welcome[:NONCE]
        if not compare_digest(_mac(self._key, b"welcome", said), welcome[NONCE:]):
            raise PeerError("the welcome has a wrong signature")
        proof, sent, received = _conclusion(self._key, said)
        return proof, LinkKeys(sent, received)


class OwnerHandshake:
    """The owner's side of a handshake.

    Args:
        keys: the keys of the cluster for this purpose.
        owner: its own 6 bytes.
    """

    def __init__(self, keys: Sequence[bytes], owner: bytes) -> None:
        self._keys = keys
        self._owner = owner
        self._proof = b""
        self._link_keys = LinkKeys(b"", b"")

    def welcome(self, hello: bytes) -> bytes:
        """Return the welcome for a front's hello.

        Raises:
            PeerError: the front does not know a secret of the cluster, or wants to reach another node.
        """
        said, presented = hello[:-MAC], hello[-MAC:]
        found = [key for key in self._keys if compare_digest(_mac(key, b"hello", said), presented)]
        if not said.startswith(MAGIC) or not found:
            raise PeerError("the hello has a wrong signature")
        if said[-NODE:] != self._owner:
            raise PeerError("the hello is for another node")
        nonce = os.urandom(NONCE)
        self._proof, received, sent = _conclusion(found[0], hello + nonce)
        self._link_keys = LinkKeys(sent, received)
        return nonce + _mac(found[0], b"welcome", hello + nonce)

    def finish(self, proof: bytes) -> LinkKeys:
        """Return the keys, for the front's proof.

        Raises:
            PeerError: the front does not know the secret: it repeats another node's hello.
        """
        if not self._proof or not compare_digest(self._proof, proof):
            raise PeerError("the proof has a wrong signature")
        return self._link_keys


def _mac(key: bytes, name: bytes, said: bytes, size: int = MAC) -> bytes:
    return blake2b(said, key=key, digest_size=size, person=name).digest()


def _conclusion(key: bytes, said: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the proof, and the keys of what the front and what the owner sends."""
    return _mac(key, b"proof", said), _mac(key, b"front's key", said, 32), _mac(key, b"owner's key", said, 32)


class FrameWriter:
    """Makes the frames of one direction of a link.

    Args:
        key: the direction's key; None makes frames without MACs.
    """

    __slots__ = ("_key", "_place")

    def __init__(self, key: bytes | None) -> None:
        self._key = None if key is None else blake2b(key=key, digest_size=MAC)
        self._place = 0

    def frame(self, kind: int, number: int, payload: bytes) -> bytes:
        """Return a frame."""
        if self._key is None:
            return _HEADER.pack(len(payload) + 5, kind, number) + payload
        signed = _HEADER.pack(len(payload) + OVERHEAD, kind, number) + payload
        mac = _placed(self._key, self._place, signed)
        self._place += 1
        return signed + mac


class FrameReader:
    """Reads the frames of one direction of a link.

    Args:
        key: the direction's key; None reads frames without MACs.
        largest: the largest payload, in bytes.
    """

    __slots__ = ("_key", "_largest", "_needed", "_place", "_rest", "_smallest", "_tail")

    def __init__(self, key: bytes | None, largest: int) -> None:
        self._key = None if key is None else blake2b(key=key, digest_size=MAC)
        self._tail = 0 if key is None else MAC
        self._smallest = _HEADER.size - _PREFIX + self._tail
        self._largest = largest + self._smallest
        self._rest = bytearray()
        self._needed = 0
        self._place = 0

    def read(self, data: bytes) -> list[Frame]:
        """Return the frames that are complete.

        Raises:
            PeerError: a frame is too large or too small, or has a wrong signature.
        """
        if self._rest:
            self._rest += data
            if len(self._rest) < self._needed:
                return []
            data = bytes(self._rest)
            self._rest.clear()
        frames: list[Frame] = []
        start, size = 0, len(data)
        while size - start >= _HEADER.size:
            length, kind, number = _HEADER.unpack_from(data, start)
            if not self._smallest <= length <= self._largest:
                raise PeerError("a frame has an invalid length")
            end = start + _PREFIX + length
            if end > size:
                self._needed = end - start
                break
            payload_end = end - self._tail
            if self._key is not None:
                self._check(data[start:payload_end], data[payload_end:end])
            frames.append((kind, number, data[start + _HEADER.size : payload_end]))
            start = end
        else:
            self._needed = 0
        if start < size:
            self._rest += data[start:]
        return frames

    def _check(self, signed: bytes, presented: bytes) -> None:
        assert self._key is not None
        if not compare_digest(_placed(self._key, self._place, signed), presented):
            raise PeerError("a frame has a wrong signature")
        self._place += 1


def _placed(key: blake2b, place: int, signed: bytes) -> bytes:
    mac = key.copy()
    mac.update(place.to_bytes(8, "big"))
    mac.update(signed)
    return mac.digest()
