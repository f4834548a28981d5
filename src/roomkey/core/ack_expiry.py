"""Expiry of acknowledgement callbacks, so that those of silent clients are not kept forever."""

from __future__ import annotations

from collections import OrderedDict

MAX_CALLBACKS = 1000
"""The most callbacks that wait for one socket; beyond that, the oldest is dropped."""

ACK_SECONDS = 3600.0
"""Seconds after which a socket's callbacks are dropped, counted from the last request for an acknowledgement."""


class AckExpiry:
    """The time of the last request for an acknowledgement, by socket."""

    def __init__(self) -> None:
        self._last: OrderedDict[str, float] = OrderedDict()

    def requested(self, sid: str, now: float) -> list[str]:
        """Record that a socket is requested to send an acknowledgement.

        Args:
            sid: the socket ID.
            now: seconds on a monotonic clock.

        Returns:
            The socket IDs whose callbacks have expired and must be dropped.
        """
        self._last[sid] = now
        self._last.move_to_end(sid)
        expired = []
        while (oldest := next(iter(self._last))) and self._last[oldest] + ACK_SECONDS <= now:
            del self._last[oldest]
            expired.append(oldest)
        return expired

    def forget(self, sid: str) -> None:
        """Forget a socket that has disconnected."""
        self._last.pop(sid, None)
