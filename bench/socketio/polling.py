"""A Socket.IO session over HTTP long-polling."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from wire import Caller, Swarm

SAID = b'420["message",{"ack":true,"text":"hello world"}]'

IDLE_SECONDS = 2.0  # servers close an idle connection after 5


class Polling:
    """A session over long-polling, from its opening to its admission."""

    def __init__(self, swarm: Swarm, token: str, admitted: Callable[[Polling, bool], None]) -> None:
        self.port, self.sid, self.admitted, self.left = swarm.port, "", admitted, 0
        self.swarm = swarm
        self.caller = Caller(swarm)
        self.poster: Caller | None = None
        self.posting, self.last_post = False, 0.0
        self.waiting: list[tuple[bytes, Callable[[Caller, bytes], None]]] = []
        self.token = token
        self.get(self._opened)

    def get(self, answered: Callable[[Caller, bytes], None]) -> None:
        line = f"GET /socket.io/?EIO=4&transport=polling{self.sid} HTTP/1.1"
        self.caller.request(f"{line}\r\nHost: 127.0.0.1:{self.port}\r\n\r\n".encode(), answered)

    def poll(self) -> None:
        """Poll without an end."""
        self.get(self._polled)

    def _polled(self, caller: Caller, body: bytes) -> None:
        if not body:
            raise ConnectionError("a poll failed")
        self.get(self._polled)
        for packet in body.split(b"\x1e"):
            if packet == b"2":
                self._say(b"3", self._heard)
            elif packet.startswith(b"43"):
                self._half()

    def echo(self, count: int) -> None:
        """Send an event so many times, each when the one before was answered."""
        self.left = 2 * count
        self._say(SAID, self._said)

    def _half(self) -> None:
        """Note an acknowledgement, or the response to its POST: the next event follows both."""
        self.left -= 1
        if self.left % 2 == 0:
            self.swarm.received += 1
            if self.left:
                self._say(SAID, self._said)

    def _said(self, caller: Caller, body: bytes) -> None:
        self._heard(caller, body)
        self._half()

    def _heard(self, caller: Caller, body: bytes) -> None:
        """Note the response to a POST, and send the packet that waits for it."""
        if body not in (b"ok", b"OK"):
            raise ConnectionError(f"a POST was answered with {body[:50]!r}")
        self.posting = False
        if self.waiting:
            self._say(*self.waiting.pop(0))

    def _say(self, packet: bytes, answered: Callable[[Caller, bytes], None]) -> None:
        """Send a packet on a second connection, as browsers do, after the response to the one before.

        Two POST requests at once would end the session. Servers close a connection that was idle for seconds, so it is
        left before that.
        """
        if self.posting:
            self.waiting.append((packet, answered))
            return
        now = time.monotonic()
        if self.poster is not None and now - self.last_post > IDLE_SECONDS:
            self.poster.close()
        if self.poster is None or not self.poster.is_open:
            self.poster = Caller(self.swarm)
        self.posting, self.last_post = True, now
        self.post(packet, answered, self.poster)

    def post(self, packet: bytes, answered: Callable[[Caller, bytes], None], caller: Caller | None = None) -> None:
        (caller or self.caller).request(
            f"POST /socket.io/?EIO=4&transport=polling{self.sid} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
            f"Content-Type: text/plain;charset=UTF-8\r\nContent-Length: {len(packet)}\r\n\r\n".encode()
            + packet,
            answered,
        )

    def _opened(self, caller: Caller, body: bytes) -> None:
        if not body.startswith(b"0{"):
            raise ConnectionError("no session over long-polling")
        self.sid = "&sid=" + json.loads(body[1:].split(b"\x1e")[0])["sid"]
        self.post(b'40{"token":"%s"}' % self.token.encode(), self._told)

    def _told(self, caller: Caller, body: bytes) -> None:
        self.get(self._decided)

    def _decided(self, caller: Caller, body: bytes) -> None:
        self.admitted(self, body.startswith(b"40"))
