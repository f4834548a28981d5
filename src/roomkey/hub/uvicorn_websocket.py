"""uvicorn's WebSocket protocol with a bound on frames that no application ever hears of."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from roomkey.core.rate import TokenBucket
from roomkey.hub.websocket import CONTROL_RATE

FRAGMENTS_PER_SECOND = 2000.0
"""Frames that continue a message, of one connection."""

SLICE = 4096
"""Bytes that are read before the counts are looked at."""


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol, with a bound on frames that no application ever hears of."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._control = TokenBucket(CONTROL_RATE, self.loop.time())
        self._fragments = TokenBucket(FRAGMENTS_PER_SECOND, self.loop.time())
        self._flooded = False

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), SLICE):
            if self._flooded:
                return
            super().data_received(data[start : start + SLICE])

    def handle_ping(self) -> None:
        if self._takes(self._control):
            super().handle_ping()

    def handle_pong(self, event: Frame) -> None:
        if self._takes(self._control):
            super().handle_pong(event)

    def handle_cont(self, event: Frame) -> None:
        if self._takes(self._fragments):
            super().handle_cont(event)

    def _takes(self, bucket: TokenBucket) -> bool:
        if not self._flooded and bucket.take(self.loop.time()) < 0:
            self._flooded = True
            self.transport.abort()  # what it sends on its way out is not worth reading
        return not self._flooded
