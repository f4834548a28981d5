"""Connections of test clients to an ASGI application in memory, over both transports of Engine.IO."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from roomkey.testing.outcomes import Refused
from roomkey.testing.servers import Opening
from roomkey.testing.sockets import PATIENCE

SEPARATOR = "\x1e"
CLOSE, PING, PONG, MESSAGE = "1", "2", "3", "4"
END_SECONDS = 2.0
"""How long an application may take to end a request, after its client has gone."""
POLL_TURNS = 25
"""Turns of the event loop in which a poll must end, after its session has."""

Arrived = Callable[[str | bytes], None]


class Transport:
    """A connection of one client.

    Args:
        app: the ASGI application.
        path: where it serves Socket.IO.
        opening: the headers and the query of the requests.
        arrived: called with the data of each message.
        lost: called when the transport has ended.

    Attributes:
        is_open: from the server's OPEN packet to the end.
        eio_sid: the ID of its Engine.IO session.
        task: runs the request that stays open.
    """

    kind = ""

    def __init__(self, app: Any, path: str, opening: Opening, arrived: Arrived, lost: Callable[[], None]) -> None:
        self._app = app
        self._path = path
        self._query = f"EIO=4&transport={self.kind}{opening.query}"
        given = {name.lower() for name, _ in opening.headers}
        usual = [("host", "testserver")] if "host" not in given else []
        self._headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in [*usual, *opening.headers]
        ]
        self._arrived = arrived
        self._lost = lost
        self.is_open = False
        self.eio_sid = ""
        self.task: asyncio.Task[None] | None = None

    def _scope(self, kind: str, **members: Any) -> dict[str, Any]:
        return {
            "type": kind,
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "path": self._path,
            "raw_path": self._path.encode(),
            "root_path": "",
            "query_string": self._query.encode(),
            "headers": self._headers,
            "client": ("127.0.0.1", 50_000),
            "server": ("testserver", 80),
            **members,
        }

    def _end(self) -> None:
        if self.is_open:
            self.is_open = False
            self._lost()

    async def open(self) -> None:
        """Open the connection.

        Raises:
            Refused: the server refused the request.
        """
        raise NotImplementedError

    async def send(self, text: str, attachments: list[bytes]) -> None:
        """Send a message; nothing happens if the transport has ended."""
        raise NotImplementedError

    async def close(self) -> None:
        """Close the connection, and wait until the server has ended it."""
        raise NotImplementedError

    async def ended(self) -> None:
        """Wait until the application has ended the request; it is cancelled if it does not."""
        if self.task is not None and self.task is not asyncio.current_task():
            await asyncio.wait([self.task], timeout=END_SECONDS)
            if not self.task.done():
                self.task.cancel()
                await asyncio.wait([self.task], timeout=END_SECONDS)


class WebSocket(Transport):
    """A WebSocket."""

    kind = "websocket"

    async def open(self) -> None:
        """Open the WebSocket."""
        self._headers += [(b"connection", b"upgrade"), (b"upgrade", b"websocket")]
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._inbox.put_nowait({"type": "websocket.connect"})
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._status = 403
        self.task = asyncio.create_task(self._run(), name="roomkey.testing")
        try:
            async with asyncio.timeout(PATIENCE):
                await self._opened
        except TimeoutError:
            await self.close()
            raise Refused(f"the server did not open the connection within {PATIENCE:g} seconds") from None
        except Refused:
            await self.ended()
            raise

    async def _run(self) -> None:
        scope = self._scope("websocket", scheme="ws", subprotocols=[], extensions={"websocket.http.response": {}})
        try:
            await self._app(scope, self._inbox.get, self._sent)
        except Exception as error:  # of the application under test
            self._refused(error)
            if not isinstance(error, OSError):  # which is how some applications end
                raise
        finally:
            self._refused(Refused("the server did not accept the WebSocket", status=self._status))
            self._end()

    def _refused(self, error: Exception) -> None:
        if not self._opened.done():
            self._opened.set_exception(error)

    async def _sent(self, event: dict[str, Any]) -> None:
        """Handle what the application sends."""
        kind = event["type"]
        if kind == "websocket.send":
            text = event.get("text")
            self._packet(event["bytes"] if text is None else text)
        elif kind == "websocket.http.response.start":
            self._status = event["status"]
        elif kind == "websocket.http.response.body":
            self._refused(Refused(bytes(event.get("body", b"")).decode(errors="replace"), status=self._status))
        elif kind == "websocket.close":
            self._refused(Refused(event.get("reason") or "the server closed the WebSocket", status=403))
            self._inbox.put_nowait({"type": "websocket.disconnect", "code": event.get("code", 1000)})
            self._end()

    def _packet(self, packet: str | bytes) -> None:
        if isinstance(packet, bytes):
            self._arrived(packet)
        elif packet.startswith("0"):
            self.is_open, self.eio_sid = True, sid_of(packet)
            if not self._opened.done():
                self._opened.set_result(None)
        elif packet == PING:
            self._inbox.put_nowait({"type": "websocket.receive", "text": PONG})
        elif packet.startswith(MESSAGE):
            self._arrived(packet[1:])

    async def send(self, text: str, attachments: list[bytes]) -> None:
        """Send a message."""
        if self.is_open:
            self._inbox.put_nowait({"type": "websocket.receive", "text": MESSAGE + text})
            for attachment in attachments:
                self._inbox.put_nowait({"type": "websocket.receive", "bytes": attachment})

    async def close(self) -> None:
        """Close the WebSocket."""
        self._inbox.put_nowait({"type": "websocket.disconnect", "code": 1000})
        self._end()
        await self.ended()


class Polling(Transport):
    """Long-polling: one request always waits for packets, and others bring them."""

    kind = "polling"

    async def open(self) -> None:
        """Open the session, and begin to poll."""
        self._gone = asyncio.Event()
        status, body = await self._request("GET")
        if status != 200 or not body.startswith("0"):
            raise Refused(body or "the server refused the request", status=status)
        self.eio_sid = sid_of(body.split(SEPARATOR, 1)[0])
        self._query += f"&sid={self.eio_sid}"
        self.is_open = True
        self.task = asyncio.create_task(self._poll(), name="roomkey.testing")

    async def _request(self, method: str, body: str = "") -> tuple[int, str]:
        """Return status and body of a response."""
        sent = {"type": "http.request", "body": body.encode(), "more_body": False}
        response: dict[str, Any] = {"status": 0, "body": b""}

        async def receive() -> dict[str, Any]:
            nonlocal sent
            if sent:
                event, sent = sent, {}
                return event
            await self._gone.wait()
            return {"type": "http.disconnect"}

        async def send(event: dict[str, Any]) -> None:
            if event["type"] == "http.response.start":
                response["status"] = event["status"]
                self._keep_cookies(event.get("headers", ()))
            elif event["type"] == "http.response.body":
                content = event.get("body", b"")
                response["body"] += content.encode() if isinstance(content, str) else content

        length = [(b"content-length", str(len(body.encode())).encode())] if method == "POST" else []
        scope = self._scope("http", method=method, scheme="http", headers=[*self._headers, *length])
        await self._app(scope, receive, send)
        return response["status"], response["body"].decode()

    def _keep_cookies(self, headers: Any) -> None:
        for name, value in headers:
            if bytes(name).lower() == b"set-cookie":
                self._headers.append((b"cookie", bytes(value).partition(b";")[0]))

    async def _poll(self) -> None:
        try:
            while self.is_open:
                status, body = await self._request("GET")
                for packet in body.split(SEPARATOR) if status == 200 else [CLOSE]:
                    await self._packet(packet)
        except asyncio.CancelledError:
            if self.is_open:  # the event loop of the test ends, and the server may be used in the next one
                await self._request("POST", CLOSE)
            raise
        finally:
            self._end()

    async def _packet(self, packet: str) -> None:
        if packet == CLOSE:
            self._end()
        elif packet == PING:
            await self._request("POST", PONG)
        elif packet.startswith("b"):
            self._arrived(b64decode(packet[1:]))
        elif packet.startswith(MESSAGE):
            self._arrived(packet[1:])

    async def send(self, text: str, attachments: list[bytes]) -> None:
        """Send a message."""
        if self.is_open:
            parts = [MESSAGE + text, *(f"b{b64encode(part).decode()}" for part in attachments)]
            await self._request("POST", SEPARATOR.join(parts))

    async def close(self) -> None:
        """Close the session."""
        if self.is_open:
            self._end()
            with suppress(Exception):  # the server has ended the session first
                await self._request("POST", CLOSE)
        await self._poll_ends()
        self._gone.set()
        await self._poll_ends()
        if self.task is not None:
            self.task.cancel()  # engineio's poll does not end with its session
        await self.ended()

    async def _poll_ends(self) -> None:
        """Give the poll the time to end that a server needs in which nothing waits."""
        for _turn in range(POLL_TURNS):
            if self.task is None or self.task.done():
                return
            await asyncio.sleep(0)


def sid_of(opened: str) -> str:
    """Return the session ID in an OPEN packet."""
    return str(json.loads(opened[1:])["sid"])
