"""Which clients were asked for acknowledgements: callbacks that are never called are not kept forever."""

from __future__ import annotations

from collections import OrderedDict

MAX_CALLBACKS = 1000
"""Callbacks that wait for one socket; beyond that, the oldest is dropped."""

ACK_SECONDS = 3600.0
"""Seconds after which a socket's callbacks are dropped, counted from the last time it was asked."""


class AckExpiry:
    """The sockets that were asked, by when that was last."""

    def __init__(self) -> None:
        self._last: OrderedDict[str, float] = OrderedDict()

    def requested(self, sid: str, now: float) -> list[str]:
        """Note that a socket is asked for an acknowledgement.

        Args:
            sid: its socket ID.
            now: seconds on a monotonic clock.

        Returns:
            The sockets whose callbacks have waited too long and must be dropped.
        """
        self._last[sid] = now
        self._last.move_to_end(sid)
        late = []
        while (oldest := next(iter(self._last))) and self._last[oldest] + ACK_SECONDS <= now:
            del self._last[oldest]
            late.append(oldest)
        return late

    def forget(self, sid: str) -> None:
        """A socket is gone, and its callbacks with it."""
        self._last.pop(sid, None)
