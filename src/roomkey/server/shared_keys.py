"""Whether the nodes of a cluster accept the same signing keys: each tells the others a fingerprint of its own."""

from __future__ import annotations

import logging
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

from roomkey.bus.node import Node
from roomkey.core.key_set import KeySet, LiveKeySet

__all__ = ["CompareKeys", "fingerprint", "fingerprint_of"]

LOG = logging.getLogger("roomkey.keys")

PATIENCE_SECONDS = 60.0
"""How long nodes can have different keys without a warning: after a rotation, the new key has to be copied."""

LENGTH = 8
MEMBER = "keys"


def fingerprint(keys: KeySet) -> str:
    """Return 8 characters that are the same for the same keys, and tell nothing about a shared secret."""
    names = sorted(key.kid if key.kty == "oct" else f"{key.kid} {key.thumbprint()}" for key in keys)
    digest = sha256("\n".join(names).encode("utf-8", "surrogatepass")).digest()
    return urlsafe_b64encode(digest)[:LENGTH].decode()


def fingerprint_of(info: Mapping[str, Any]) -> str | None:
    """Return the fingerprint in what a node tells; None if it tells none, because it is not a login server."""
    told = info.get(MEMBER)
    return told if isinstance(told, str) and len(told) == LENGTH else None


class CompareKeys:
    """Tells the other nodes which keys this one accepts, and logs a warning while another accepts different ones.

    Args:
        node: this node.
        accepted: the keys that verify tokens here.
        clock: seconds since the epoch.
    """

    def __init__(self, node: Node, accepted: KeySet | LiveKeySet, clock: Callable[[], float]) -> None:
        self._node = node
        self._accepted = accepted
        self._clock = clock
        self._since: dict[str, float] = {}
        self._warned = False
        node.on_heartbeat.append(self._compare)

    def _compare(self, now: float) -> None:
        """Compare the fingerprints of all nodes that are alive. The time is that of the node's monotonic clock."""
        keys = self._accepted if isinstance(self._accepted, KeySet) else self._accepted(self._clock())
        own = self._node.info[MEMBER] = fingerprint(keys)
        live = self._node.live
        others = [name for name, one in live.items() if fingerprint_of(one.info) not in (None, own)]
        self._since = {name: self._since.get(name, now) for name in others}
        lasting = [name for name, since in self._since.items() if now - since >= PATIENCE_SECONDS]
        if lasting and not self._warned:
            LOG.warning(
                "other nodes have other signing keys (%s), so tokens of one are rejected by the other; copy the folder "
                "of the keys from one machine to all others",
                ", ".join(live[name].address or name for name in sorted(lasting)),
            )
        self._warned = bool(lasting) or (self._warned and bool(others))
