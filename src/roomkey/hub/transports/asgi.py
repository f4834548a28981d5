"""WebSockets of an ASGI server; they are slower than the hub's own."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from roomkey.hub.engine_session import NORMAL, EngineSession, Part
from roomkey.hub.settings import HubSettings
from roomkey.wire import Message

CLOSE_SECONDS = 1.0


class AsgiWebSocket:
    """A WebSocket of an ASGI server: a :class:`roomkey.hub.engine_session.Transport`.

    Args:
        settings: the hub's.
        send: the ASGI callable.

    Attributes:
        session: the session that it carries, or that may be upgraded to it.
        ended: set when nothing more is read; the application then returns, and the server closes the connection.
    """

    def __init__(self, settings: HubSettings, send: Any) -> None:
        self._max_unsent = settings.max_unsent
        self._send = send
        self._outbox: list[tuple[dict[str, Any], int]] = []
        self._unsent = 0
        self._wake = asyncio.Event()
        self._closed = False
        self.ended = asyncio.Event()
        self._writer = asyncio.ensure_future(self._write())
        self.session: EngineSession | None = None

    def send(self, message: Message) -> None:
        """Send a Socket.IO packet, with its attachments."""
        self.send_packet(message.text)
        for attachment in message.attachments:
            self.send_packet(attachment, binary=True)

    send_batched = send

    def send_packet(self, packet: bytes, *, binary: bool = False) -> None:
        """Send one Engine.IO packet, or the data of a binary message."""
        data: dict[str, Any] = {"bytes": packet} if binary else {"text": packet.decode()}
        self._put({"type": "websocket.send", **data}, len(packet))

    def close(self, code: int = NORMAL) -> bool:
        """Close when everything is sent, or after a short time."""
        self._put({"type": "websocket.close", "code": code}, 0)
        self._closed = True
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, self.gone)
        return True

    def abort(self) -> None:
        """Close immediately."""
        self._outbox.clear()
        self.gone()

    def client_closing(self) -> None:
        """Do nothing: the client closes the WebSocket as well."""

    def on_admitted(self) -> None:
        """Do nothing: the session limits each message."""

    def drain(self) -> list[Part]:
        """Return nothing: a session never moves from a WebSocket to another transport."""
        return []

    def gone(self) -> None:
        """Stop sending and reading."""
        self._closed = True
        self._writer.cancel()
        self.ended.set()

    def _put(self, event: dict[str, Any], size: int) -> None:
        if self._closed:
            return
        self._outbox.append((event, size))
        self._unsent += size
        self._wake.set()
        if self._unsent > self._max_unsent and self.session is not None:
            self.session.too_slow()

    async def _write(self) -> None:
        with contextlib.suppress(Exception):  # the client has disconnected; servers raise different exceptions
            while True:
                await self._wake.wait()
                self._wake.clear()
                outbox, self._outbox = self._outbox, []
                for event, size in outbox:
                    await self._send(event)
                    self._unsent -= size
                    if event["type"] == "websocket.close":
                        return
