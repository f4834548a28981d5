"""The limit of rejected tokens per address: on this node, or together on all nodes of a cluster.

The nodes of a cluster tell each other what they have counted, some addresses at a time. A message contains hashes of
addresses, with a key that only nodes have, so that those who read the messages cannot guess the addresses. Tokens that
several nodes reject before they know of each other are a debt of the address, so in the long run all nodes together
answer as many as one.

The key is derived from the first cluster secret. While that is being replaced, nodes with the old secret and nodes with
the new one do not understand each other's hashes: each counts what the nodes with the same secret reject.
"""

from __future__ import annotations

from struct import Struct

from roomkey.bus.node import Node
from roomkey.core.bad_tokens import KEY_BYTES, BadTokens, Verdict, counts_as_bad, key_of
from roomkey.errors import AuthError, TooManyAttempts
from roomkey.guard.clock import Clock
from roomkey.guard.timers import Timers

REJECTED = "bad-tokens"
"""The message to other nodes: how many tokens were rejected here, by address."""

BATCH_SECONDS = 0.02
MAX_BATCH = 500
"""How long counts wait for others, and how many addresses are sent at once."""

_COUNT = Struct(f">{KEY_BYTES}sH")
_MOST = 0xFFFF


class BadTokenLimit:
    """Limits the rejected tokens of each address.

    Args:
        per_minute: how many tokens of one address can be rejected per minute.
        clock: where to read the time.
        timers: when to tell other nodes.
    """

    def __init__(self, per_minute: int, clock: Clock, timers: Timers) -> None:
        self._per_minute = per_minute
        self._addresses = BadTokens(per_minute)
        self._clock = clock
        self._timers = timers
        self._node: Node | None = None
        self._secret = b""
        self._unsent: dict[bytes, int] = {}

    def share(self, node: Node) -> None:
        """Count the rejected tokens of all nodes from now on."""
        self._node = node
        self._secret = node.secrets.keys("address")[0]
        node.on(REJECTED, self._learn)

    def count(self, error: AuthError, address: str) -> tuple[AuthError, bool]:
        """Count a rejected token, if it was never valid here.

        Args:
            error: why it was rejected.
            address: where it came from.

        Returns:
            The error for the client, which is :class:`TooManyAttempts` over the limit; and False if the rejection must
            only be counted, because the address was reported within the last minute.
        """
        if not counts_as_bad(error):
            return error, True
        key = key_of(address, self._secret)
        verdict = self._addresses.count(key, self._clock.monotonic())
        if verdict is Verdict.WITHIN:
            self._tell(key)
            return error, True
        text = f"more than {self._per_minute} rejected tokens per minute from this address; for a minute, only counted"
        return TooManyAttempts(text), verdict is Verdict.FIRST_OVER

    def _tell(self, key: bytes) -> None:
        if self._node is None:
            return
        if not self._unsent:
            self._timers.after(self._send, BATCH_SECONDS)
        self._unsent[key] = min(_MOST, self._unsent.get(key, 0) + 1)
        if len(self._unsent) >= MAX_BATCH:
            self._send()

    def _send(self) -> None:
        """Tell the other nodes what they do not know yet."""
        self._timers.cancel(self._send)
        if self._node is not None and self._unsent:
            message = b"".join(_COUNT.pack(*counted) for counted in self._unsent.items())
            self._unsent.clear()
            self._node.tell(REJECTED, message)

    def _learn(self, _sender: str, message: bytes) -> None:
        """Count what another node has counted. A message of another form, as of another version, is ignored."""
        if len(message) % _COUNT.size or len(message) > MAX_BATCH * _COUNT.size:
            return
        now = self._clock.monotonic()
        for key, number in _COUNT.iter_unpack(message):
            self._addresses.learn(key, number, now)
