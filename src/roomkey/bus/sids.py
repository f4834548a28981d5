"""Session and socket IDs that name their node, sealed: any node finds the owner of an ID, and clients learn nothing.

An ID is 15 random bytes and 15 sealed bytes, both in base64url, separated by a dot. The sealed bytes are the node's 6
bytes, XORed with a keyed hash of the random bytes, and the first 9 bytes of a keyed hash of both (keyed BLAKE2b, RFC
7693). So two IDs of one node have nothing in common, and a client can make no ID that names a node.
"""

from __future__ import annotations

import os
from binascii import Error, a2b_base64, b2a_base64
from collections.abc import Sequence
from hashlib import blake2b
from hmac import compare_digest

from roomkey.bus.messages import node_id

RANDOM, NODE, TAG = 15, 6, 9
LENGTH = 41  # two times 20 characters and the dot
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_STANDARD = str.maketrans("-_+/=", "+/!!!")  # an exclamation mark is invalid


class SealedSids:
    """Makes the session and socket IDs of a node, and reads which node an ID is from.

    Args:
        node_id: this node's ID, 8 characters of base64url.
        keys: one key or two, of at least 32 bytes: the first one seals, all of them open.

    Raises:
        ValueError: the node's ID has another form, or there is no key.
    """

    __slots__ = ("_ciphers", "_node", "_node_id")

    def __init__(self, node_id: str, keys: Sequence[bytes]) -> None:
        if not keys:
            raise ValueError("no key for session IDs: pass one or two")
        self._node = decode(node_id)
        self._node_id = node_id
        if len(self._node) != NODE:
            raise ValueError("invalid node ID; use 8 characters of base64url")
        self._ciphers = tuple(
            (
                blake2b(key=blake2b(key).digest(), digest_size=NODE, person=b"sid: name"),
                blake2b(key=blake2b(key).digest(), digest_size=TAG, person=b"sid: tag"),
            )
            for key in keys
        )

    def new(self) -> str:
        """Return a new ID of this node: 120 random bits, and the node, 41 characters."""
        unique = os.urandom(RANDOM)
        name, tag = self._ciphers[0]
        name, tag = name.copy(), tag.copy()
        name.update(unique)
        tag.update(unique + self._node)
        sealed = _xor(self._node, name.digest()) + tag.digest()
        text = b2a_base64(unique + sealed, newline=False).translate(_URL_SAFE).decode()
        return f"{text[:20]}.{text[20:]}"

    def node_of(self, sid: str) -> str | None:
        """Return the ID of the node that made an ID, or None if no node with these keys did."""
        if len(sid) != LENGTH or sid[20] != ".":
            return None
        try:
            raw = decode(sid[:20] + sid[21:])
        except ValueError:
            return None
        unique, sealed, presented = raw[:RANDOM], raw[RANDOM:-TAG], raw[-TAG:]
        for name, tag in self._ciphers:
            name, tag = name.copy(), tag.copy()
            name.update(unique)
            node = _xor(sealed, name.digest())
            tag.update(unique + node)
            if compare_digest(tag.digest(), presented):
                return self._node_id if node == self._node else node_id(node)
        return None


def _xor(one: bytes, other: bytes) -> bytes:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(NODE, "big")


def decode(text: str) -> bytes:
    """Return the bytes of a base64url text without padding, in its only spelling.

    Raises:
        ValueError: it is not one.
    """
    try:
        return a2b_base64(text.translate(_STANDARD), strict_mode=True)
    except Error as error:
        raise ValueError("invalid base64url") from error
