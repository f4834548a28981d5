"""A Socket.IO session over HTTP long-polling."""

from __future__ import annotations

import json
from collections.abc import Callable

from wire import Caller, Swarm


class Polling:
    """A session over long-polling, from its opening to its admission."""

    def __init__(self, swarm: Swarm, token: str, admitted: Callable[[Polling, bool], None]) -> None:
        self.port, self.sid, self.admitted, self.done = swarm.port, "", admitted, 0
        self.caller = Caller(swarm)
        self.token = token
        self.get(self._opened)

    def get(self, answered: Callable[[Caller, bytes], None]) -> None:
        line = f"GET /socket.io/?EIO=4&transport=polling{self.sid} HTTP/1.1"
        self.caller.request(f"{line}\r\nHost: 127.0.0.1:{self.port}\r\n\r\n".encode(), answered)

    def post(self, packet: bytes, answered: Callable[[Caller, bytes], None]) -> None:
        self.caller.request(
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
