"""One port for both: picows gets the WebSockets of the Socket.IO path, and uvicorn every other request.

uvicorn makes one :class:`ProtocolSniffer` for each connection, as its HTTP protocol. The sniffer decides once the head
of the first request is complete.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from roomkey.hub.engine import MAX_HEAD, UPGRADE_SECONDS
from roomkey.hub.http.requests import HttpRequest, split_target
from roomkey.hub.http.uvicorn_private.http import HEAD_SECONDS, HttpProtocol
from roomkey.hub.refusals import BAD_REQUEST, HEAD_TOO_LARGE, Refusal
from roomkey.hub.transports.picows import PicowsWebSocket
from roomkey.wire import TransportState

if TYPE_CHECKING:
    from roomkey.hub.hub import Hub

LOG = logging.getLogger("roomkey.hub")

BLANK_LINE = b"\r\n\r\n"
_REASONS = {400: "Bad Request", 403: "Forbidden", 426: "Upgrade Required", 429: "Too Many Requests", 431: "Too Large"}


class _Head:
    """What httptools finds in a request's head."""

    __slots__ = ("complete", "headers", "url")

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.complete = True


class ProtocolSniffers:
    """What uvicorn takes for its ``http`` setting: it makes a :class:`ProtocolSniffer` for each connection.

    Args:
        hub: whose path it knows.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._proxies: ProxyHeadersMiddleware | None = None

    def __call__(self, config: Any, server_state: Any, app_state: Any, _loop: Any = None) -> ProtocolSniffer:
        """Make the protocol of a connection, with uvicorn's arguments."""
        if config.proxy_headers and self._proxies is None:
            self._proxies = ProxyHeadersMiddleware(_nothing, config.forwarded_allow_ips)
        return ProtocolSniffer(self._hub, partial(HttpProtocol, config, server_state, app_state, _loop), self._proxies)


class ProtocolSniffer(asyncio.Protocol):
    """Looks at a connection's first request, and steps aside.

    Args:
        hub: whose path it knows.
        others: makes the protocol for every other request.
        proxies: knows whose word about the client's address counts; None if nobody's does.
    """

    __slots__ = ("_buffer", "_deadline", "_hub", "_offering", "_others", "_proxies", "_transport")

    def __init__(self, hub: Hub, others: Callable[[], HttpProtocol], proxies: ProxyHeadersMiddleware | None) -> None:
        self._hub = hub
        self._others = others
        self._proxies = proxies
        self._buffer = b""
        self._deadline: asyncio.TimerHandle | None = None
        self._offering: asyncio.Task[None] | None = None  # an upgrade that waits for its verifier
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A connection was accepted."""
        self._transport = transport  # type: ignore[assignment]
        self._hub.engine.pending.add(self)
        self._deadline = asyncio.get_running_loop().call_later(HEAD_SECONDS, self.shutdown)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone before it said what it wants, or before it was known whether it may."""
        self._decided()
        self._leave()

    def eof_received(self) -> None:
        """It will not say what it wants: the transport closes."""

    def data_received(self, data: bytes) -> None:
        """A part of the first request."""
        transport = self._transport
        if transport is None:
            return
        data = self._buffer + data
        if self._offering is not None:
            self._keep(data)
            return
        end = data.find(BLANK_LINE)
        if end < 0:
            self._buffer = data
            if len(data) > MAX_HEAD:
                self._refuse(self._hub.engine.refused(self._peer(), HEAD_TOO_LARGE))
            elif self._deadline is None:  # a first request's runs from the connection
                self._deadline = asyncio.get_running_loop().call_later(HEAD_SECONDS, self.shutdown)
            return
        self._decided()
        self._buffer = b""
        if end > MAX_HEAD:  # it came in one piece
            self._refuse(self._hub.engine.refused(self._peer(), HEAD_TOO_LARGE))
            return
        end += len(BLANK_LINE)
        request = self._upgrade(data[:end])
        if request is None:
            http = self._others()
            http.sniffer = self
            http.connection_made(transport)
            transport.set_protocol(http)
            http.data_received(data)
        else:
            self._websocket(transport, request, data[end:])

    def serves(self, url: bytes) -> bool:
        """True if a request's target is Socket.IO's, however it is written."""
        return self._hub.serves(split_target(url)[0])

    def shutdown(self) -> None:
        """The server stops, or the head or the verifier's answer does not come."""
        self._decided()
        self._leave()
        if self._transport is not None:
            self._transport.close()

    def _leave(self) -> None:
        """Do no more for an upgrade that nobody waits for."""
        if self._offering is not None and not self._offering.done():
            self._offering.cancel()

    def _keep(self, data: bytes) -> None:
        """Keep what arrives before the answer to an upgrade; while it is read, a client that leaves is noticed."""
        self._buffer = data
        if len(data) > MAX_HEAD:
            self.shutdown()

    def _decided(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._hub.engine.pending.discard(self)

    def _upgrade(self, head: bytes) -> HttpRequest | None:
        """The request, if it asks for a WebSocket on our path."""
        if b"websocket" not in head.lower():
            return None
        found = _Head()
        parser = httptools.HttpRequestParser(found)
        try:
            parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError:
            return None  # uvicorn has the answer to that
        if not found.complete or parser.get_method() != b"GET" or parser.get_http_version() == "1.0":
            return None
        path, query = split_target(found.url)
        request = HttpRequest("GET", path, query, found.headers)
        if not request.is_upgrade() or not self._hub.serves(path):
            return None
        self._address(request, found.headers)
        return request

    def _address(self, request: HttpRequest, headers: list[tuple[bytes, bytes]]) -> None:
        """Whose request it is; a proxy is believed if uvicorn is told to."""
        transport = self._transport
        assert transport is not None
        request.address = self._peer()
        request.scheme = "https" if transport.get_extra_info("ssl_object") is not None else "http"
        if self._proxies is None:
            return
        scope: dict[str, Any] = {
            "type": "http",
            "scheme": request.scheme,
            "client": (request.address, 0),
            "headers": headers,
        }
        # Nothing in it waits, so one step is all.
        try:
            self._proxies(scope, None, None).send(None)  # type: ignore[arg-type]
        except StopIteration:
            request.address = scope["client"][0]
            request.scheme = "https" if scope["scheme"] in ("https", "wss") else "http"

    def _peer(self) -> str:
        """The address at the other end."""
        assert self._transport is not None
        peer = self._transport.get_extra_info("peername")
        return str(peer[0]) if isinstance(peer, tuple) else "unknown"

    def _websocket(self, transport: asyncio.Transport, request: HttpRequest, rest: bytes) -> None:
        engine = self._hub.engine
        parameters = request.parameters()
        key = request.header("sec-websocket-key") or ""
        refusal = engine.check(request, parameters)
        if refusal is None and request.header("sec-websocket-version") != "13":
            refusal = BAD_REQUEST._replace(status=426, detail="a WebSocket handshake of another version")
        elif refusal is None and not (_is_key(key) and request.header("host")):
            refusal = BAD_REQUEST._replace(detail="a WebSocket handshake without its key or a host")
        if refusal is not None:
            self._refuse(engine.refused(request.address, refusal))
        elif "sid" not in parameters:
            session = engine.open(request, TransportState.WEBSOCKET)
            if isinstance(session, Refusal):
                self._refuse(engine.refused(request.address, session))
                return
            websocket = PicowsWebSocket(engine)
            websocket.session = session
            session.use(websocket)
            websocket.start(transport, key, rest, first=engine.greet(session))
        else:
            engine.pending.add(self)
            self._deadline = asyncio.get_running_loop().call_later(UPGRADE_SECONDS, self.shutdown)
            self._buffer = rest
            offer = self._offer(transport, request, parameters["sid"], key)
            self._offering = self._hub.tasks.background(offer)

    async def _offer(self, transport: asyncio.Transport, request: HttpRequest, eio_sid: str, key: str) -> None:
        """A WebSocket for a session that polls."""
        engine = self._hub.engine
        try:
            session = await engine.find(eio_sid, request)
        finally:
            self._decided()
        if transport.is_closing():
            return
        if isinstance(session, Refusal):
            self._refuse(engine.refused(request.address, session))
            return
        websocket = PicowsWebSocket(engine, _offer)
        websocket.session = session
        rest, self._buffer = self._buffer, b""
        websocket.start(transport, key, rest)

    def _refuse(self, refusal: Refusal) -> None:
        transport = self._transport
        if transport is None:
            return
        body = refusal.body
        status = f"HTTP/1.1 {refusal.status} {_REASONS[refusal.status]}\r\n"
        headers = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
        # RFC 6455 section 4.4
        headers += "Sec-WebSocket-Version: 13\r\n\r\n" if refusal.status == 426 else "\r\n"
        transport.write((status + headers).encode() + body)
        transport.close()


def _offer(websocket: PicowsWebSocket) -> None:
    session = websocket.session
    if session is not None and not session.offer(websocket):
        websocket.close()


def _is_key(key: str) -> bool:
    """True for 16 bytes in base64 (RFC 6455 section 4.1)."""
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


async def _nothing(*_arguments: Any) -> None:
    """The application behind the proxy headers: there is none."""
