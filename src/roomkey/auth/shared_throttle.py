"""Throttles of several nodes that learn of each other's wrong passwords (internal).

A node tells the others the result of each attempt, a few at a time. The messages contain hashes of names and addresses,
with a key that only nodes have, so that those who read the messages cannot guess the names and addresses. This module
knows no bus: the server connects it with one.

The key is derived from the first cluster secret. While that is being replaced, nodes with the old secret and nodes with
the new one do not understand each other's hashes: each learns from the nodes with the same secret.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

from roomkey.auth.throttle import Keys, Throttles

__all__ = ["SharedThrottles"]

BATCH_SECONDS = 0.02
MAX_BATCH = 500
"""How long results wait for others, and how many are sent at once."""

_KEY_BYTES = 16
_RESULT_BYTES = 2 + 3 * _KEY_BYTES  # which throttle, right or wrong, and three keys


class SharedThrottles:
    """Sends the results of attempts here to the other nodes, and learns of theirs.

    Args:
        throttles: those of the login server here.
        tell: sends a message to all other nodes, without waiting.
        secret: the key of the hashes, the same on all nodes: up to 64 bytes.
        clock: seconds on a monotonic clock. Default: the machine's.
    """

    def __init__(
        self,
        throttles: Throttles,
        tell: Callable[[bytes], None],
        *,
        secret: bytes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._throttles = throttles
        self._tell = tell
        self._clock = clock
        self._results: list[bytes] = []
        for number, throttle in enumerate(throttles):
            throttle.secret = secret
            throttle.tell = partial(self._result, number)

    def _result(self, number: int, right: bool, keys: Keys) -> None:
        self._results.append(b"".join((bytes((number, right)), *keys)))
        if len(self._results) == 1:
            asyncio.get_running_loop().call_later(BATCH_SECONDS, self.flush)
        elif len(self._results) >= MAX_BATCH:
            self.flush()

    def flush(self) -> None:
        """Send what has not been sent."""
        if self._results:
            message = b"".join(self._results)
            self._results.clear()
            self._tell(message)

    def learn(self, message: bytes) -> None:
        """Learn of the results on another node. A message of another form, as of another version, is ignored."""
        if len(message) % _RESULT_BYTES or len(message) > MAX_BATCH * _RESULT_BYTES:
            return
        now = self._clock()
        for start in range(0, len(message), _RESULT_BYTES):
            number, right, *_ = message[start : start + 2]
            pair, place, account = (
                message[at : at + _KEY_BYTES] for at in range(start + 2, start + _RESULT_BYTES, _KEY_BYTES)
            )
            if number < len(self._throttles) and right in (0, 1):
                self._throttles[number].learn(bool(right), (pair, place, account), now)
