"""A server in memory for the requests that roomkey sends to other servers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from roomkey.extras import needs

with needs("remote", "roomkey.testing.FakeProvider"):
    import httpcore

from roomkey.keysets.fetching import STAND_INS

__all__ = ["MemoryServer"]

_HEAD = "HTTP/1.1 {} \r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n"

Respond = Callable[[str, bytes], tuple[int, bytes]]


class MemoryServer(httpcore.NetworkBackend):
    """A server in memory, in place of the real one at an origin.

    Args:
        origin: such as ``https://login.example``.
        respond: returns the status and the body for a path and the body of the request.

    Attributes:
        is_down: connections fail.
        released: set while the server responds; otherwise, requests wait.
    """

    def __init__(self, origin: str, respond: Respond) -> None:
        self.is_down = False
        self.released = threading.Event()
        self.released.set()
        self.respond = respond
        self._origin = origin
        STAND_INS[origin] = self

    def close(self) -> None:
        """Let the real server take its place again."""
        self.released.set()
        if STAND_INS.get(self._origin) is self:
            del STAND_INS[self._origin]

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect."""
        if self.is_down:
            raise httpcore.ConnectError("the provider of the test is down")
        return _Stream(self)


class _Stream(httpcore.NetworkStream):
    """One request and its response."""

    def __init__(self, server: MemoryServer) -> None:
        self._server = server
        self._request = b""
        self._response: bytes | None = None

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Take a part of the request."""
        self._request += buffer

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return a part of the response."""
        if not self._server.released.wait(timeout):
            raise httpcore.ReadTimeout("the provider of the test does not respond")
        if self._response is None:
            head, _, body = self._request.partition(b"\r\n\r\n")
            status, answer = self._server.respond(head.split(b" ")[1].decode(), body)
            self._response = _HEAD.format(status, len(answer)).encode() + answer
        part, self._response = self._response[:max_bytes], self._response[max_bytes:]
        return part

    def close(self) -> None:
        """Do nothing: there is no connection."""

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """Go on as before: nobody can read what stays in this process."""
        return self

    def get_extra_info(self, info: str) -> Any:
        """Return nothing."""
        return None
