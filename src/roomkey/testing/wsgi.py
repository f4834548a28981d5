"""Long-polling of test clients to a WSGI application in memory, in the thread or greenlet of the test."""

from __future__ import annotations

import io
import sys
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

from roomkey.testing.asgi import CLOSE, MESSAGE, PING, PONG, SEPARATOR, sid_of
from roomkey.testing.outcomes import Refused
from roomkey.testing.servers import Opening

Arrived = Callable[[str | bytes], None]


class PollingSession:
    """An Engine.IO session of one client. It polls only when something waits for it, so that no poll ever blocks.

    Args:
        app: the WSGI application.
        server: python-socketio's server.
        path: where it serves Socket.IO.
        opening: the headers and the query of the requests.
        arrived: called with the data of each message.
        lost: called when the session has ended.

    Attributes:
        is_open: from the server's OPEN packet to the end.
        eio_sid: its ID.

    Raises:
        Refused: the server refused the request.
    """

    def __init__(
        self, app: Any, server: Any, path: str, opening: Opening, arrived: Arrived, lost: Callable[[], None]
    ) -> None:
        self._app = app
        self._engine = server.eio
        self._path = path
        self._query = f"EIO=4&transport=polling{opening.query}"
        self._headers = list(opening.headers)
        self._arrived = arrived
        self._lost = lost
        self._fetching = threading.Lock()
        status, body = self._request("GET")
        if status != 200 or not body.startswith("0"):
            raise Refused(body or "the server refused the request", status=status)
        self.eio_sid = sid_of(body.split(SEPARATOR, 1)[0])
        self._query += f"&sid={self.eio_sid}"
        self._session = self._engine.sockets.get(self.eio_sid)
        self.is_open = self._session is not None

    def _request(self, method: str, body: str = "") -> tuple[int, str]:
        """Return status and body of a response."""
        content = body.encode()
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": self._path,
            "QUERY_STRING": self._query,
            "RAW_URI": f"{self._path}?{self._query}",
            "CONTENT_TYPE": "text/plain;charset=UTF-8",
            "CONTENT_LENGTH": str(len(content)),
            "REMOTE_ADDR": "127.0.0.1",
            "REMOTE_PORT": "50000",
            "SERVER_NAME": "testserver",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": "testserver",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(content),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        environ |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in self._headers}
        statuses = [500]

        def start_response(status: str, headers: list[tuple[str, str]], _error: Any = None) -> Callable[[bytes], None]:
            statuses.append(int(status.split(" ", 1)[0]))
            cookies = [value.partition(";")[0] for name, value in headers if name.lower() == "set-cookie"]
            self._headers += [("Cookie", cookie) for cookie in cookies]
            return lambda _data: None

        parts = self._app(environ, start_response)
        try:
            return statuses[-1], b"".join(parts).decode()
        finally:
            if hasattr(parts, "close"):
                parts.close()

    def fetch(self) -> bool:
        """Fetch the packets that wait, and return True if there were any.

        While one thread fetches, another one does not: the poll of one of them would wait.
        """
        if not self._fetching.acquire(blocking=False):
            return False
        try:
            return self._fetch()
        finally:
            self._fetching.release()

    def _fetch(self) -> bool:
        before = self.is_open
        fetched = False
        while self.is_open and self._is_known() and not self._session.queue.empty():
            fetched = True
            status, body = self._request("GET")
            for packet in body.split(SEPARATOR) if status == 200 else [CLOSE]:
                self._packet(packet)
        if self.is_open and (self._session.closed or not self._is_known()):
            self._end()
        return fetched or before is not self.is_open

    def _is_known(self) -> bool:
        """Return True while the server knows the session."""
        return self._engine.sockets.get(self.eio_sid) is self._session

    def _packet(self, packet: str) -> None:
        if packet == CLOSE:
            self._end()
        elif packet == PING:
            self._request("POST", PONG)
        elif packet.startswith("b"):
            self._arrived(b64decode(packet[1:]))
        elif packet.startswith(MESSAGE):
            self._arrived(packet[1:])

    def send(self, text: str, attachments: list[bytes]) -> None:
        """Send a message; nothing happens if the session has ended."""
        if self.is_open:
            parts = [MESSAGE + text, *(f"b{b64encode(part).decode()}" for part in attachments)]
            self._request("POST", SEPARATOR.join(parts))

    def close(self) -> None:
        """Close the session."""
        self.fetch()
        if self.is_open:
            self._end()
            self._request("POST", CLOSE)

    def _end(self) -> None:
        if self.is_open:
            self.is_open = False
            self._lost()
