"""uvicorn's HTTP protocol, with limits on what a client may send and how long it may take."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any, Protocol

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from roomkey.hub.http.uvicorn_private.one_write import OneWrite
from roomkey.hub.settings import MAX_HEAD

LOG = logging.getLogger("roomkey.hub")

HEAD_SECONDS = 10.0
STALL_SECONDS = 10.0
BODY_SECONDS = 10.0
SLOWEST_BODY = 1_000
"""How long a request's head may take, how long a body may pause, and how long a body may take altogether, in seconds. A
body gets one more second for each ``SLOWEST_BODY`` bytes that have arrived."""

AROUND_BYTE = 8
"""Bytes of overhead for each byte of a chunked body, in addition to the limit of a head: the chunks' sizes and
extensions, and the trailers."""

MAX_PIPELINED = 16
"""Requests that may wait for an earlier one on the same connection."""


class FirstRequests(Protocol):
    """Takes back a connection whose next request is for Socket.IO's path."""

    def serves(self, url: bytes) -> bool:
        """Return True if a request's target is on Socket.IO's path."""

    def may_be_ours(self, data: bytes) -> bool:
        """Return True if data may begin a request that uvicorn need not read."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""

    def data_received(self, data: bytes) -> None:
        """Read the request."""


def close_now(transport: asyncio.Transport) -> None:
    """Close a connection, without waiting for a client that does not read."""
    if transport.get_write_buffer_size():
        transport.abort()
    else:
        transport.close()


class ClosesAfterResponse:
    """A connection whose method ``shutdown()`` lets a request that waits have its response."""

    __slots__ = ()


class HttpProtocol(HttpToolsProtocol, ClosesAfterResponse):
    """uvicorn's HTTP protocol, with deadlines for heads, for bodies, and for clients that do not read.

    Deadlines run from the first byte. An upgrade to another protocol than WebSocket is ignored (RFC 9110 section 7.8),
    and the body of the request is read.
    """

    _deadline: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None
    _active: RequestResponseCycle | None = None
    _head = 0
    _behind_head = 0
    _body = 0
    _body_began = 0.0
    _in_head = False
    _whole = True
    _body_follows = False
    _muted = False
    sniffer: FirstRequests | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait(None)
        self._read_on()
        self.pipeline.clear()
        if self._active is not None:  # uvicorn only notifies the last request, which may be waiting for this one
            self._active.disconnected = True
            self._active.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._whole:
            if self.sniffer is not None and self._answered and self.sniffer.may_be_ours(data):
                self._give_back(self.sniffer, data)
                return
            self._begin()
        if self._in_head:
            self._head += len(data)
        else:
            self._behind_head += len(data)
        self._unset_keepalive_if_required()
        self._parse(data)
        if self._is_too_much():
            self._give_up()
        elif not self._in_head and not self._whole and not self._answered:
            self._wait(self._seconds_for_body())

    def _is_too_much(self) -> bool:
        """Return True if the head is too long, or the body has too much overhead."""
        if self._in_head:
            return self._head > MAX_HEAD
        return not self._whole and self._behind_head - self._body > MAX_HEAD + AROUND_BYTE * self._body

    def _parse(self, data: bytes) -> None:
        try:
            while data and not self.transport.is_closing():
                data = self._feed(data)
        except httptools.HttpParserError:
            message = "Invalid HTTP request received."
            self.logger.warning(message)
            self.send_400_response(message)

    def _feed(self, data: bytes) -> bytes:
        """Parse. Returns the data after an upgrade request, which has still to be parsed."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return self._upgrade(data[upgrade.args[0] :])
        return b""

    def _upgrade(self, rest: bytes) -> bytes:
        """Switch protocols, or ignore the upgrade. Returns the data that has still to be parsed."""
        if self._should_upgrade():
            self._wait(None)
            self.handle_websocket_upgrade()
            if rest:
                self.transport.get_protocol().data_received(rest)  # type: ignore[attr-defined]
            return b""
        if self._body_follows:
            # The parser considers the message complete; it gets another head, with only the length of the body.
            named = dict(self.headers)
            name = b"transfer-encoding" if b"transfer-encoding" in named else b"content-length"
            self._muted = True
            self.parser.feed_data(b"POST / HTTP/1.1\r\n%b: %b\r\n\r\n" % (name, named[name]))
            self._muted = self._body_follows = False
        return rest

    def on_message_begin(self) -> None:
        if self._muted:
            return
        super().on_message_begin()
        if self._whole:  # it follows another request in the same segment
            self._begin()

    def on_url(self, url: bytes) -> None:
        if not self._muted:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head and not self._muted:  # or it is a trailer, which is not a header (RFC 9110 section 6.5.1)
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._muted:
            return
        self._in_head = False
        self._behind_head, self._body, self._body_began = 0, 0, self.loop.time()
        super().on_headers_complete()
        self._body_follows = self.parser.should_upgrade() and not self._should_upgrade() and self._has_body()
        if len(self.pipeline) > MAX_PIPELINED:
            self._muted = True  # the parser would continue to the end of its data
            self._give_up()
        elif self.pipeline:
            self.flow.resume_reading()  # uvicorn pauses, and would not notice that the client disconnects

    def on_body(self, body: bytes) -> None:
        self._body += len(body)
        if not self._muted:
            super().on_body(body)

    def _should_upgrade(self) -> bool:
        """Return True for a WebSocket handshake: a GET without a body (RFC 6455 section 4.1) for which no earlier
        request waits. On Socket.IO's path, the sniffer handles it."""
        if self._active is not None and not self._active.response_complete:
            return False
        if self.scope["method"] != "GET" or self._has_body() or not super()._should_upgrade():
            return False
        return self.sniffer is None or not self.sniffer.serves(self.url)

    def _has_body(self) -> bool:
        named = dict(self.headers)
        return named.get(b"content-length", b"0").strip(b"0 ") != b"" or b"transfer-encoding" in named

    def on_message_complete(self) -> None:
        if self._muted or self._body_follows:
            return
        self._whole = True
        # uvicorn's timer for idle connections started with the response, and stopped with the rest of the request.
        self._wait(STALL_SECONDS if self._answered else None)
        super().on_message_complete()

    @property
    def _answered(self) -> bool:
        """True if the response was sent before the request was complete.

        The rest is read, so that TCP does not reset the connection before the client has the response.
        """
        return self.cycle is not None and self.cycle.response_complete

    def _begin(self) -> None:
        self._whole, self._in_head, self._head = False, True, 0
        self._wait(HEAD_SECONDS)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._active = cycle
        cycle.transport = OneWrite(cycle.transport, self.loop)  # type: ignore[assignment]
        super()._start_asgi_task(cycle, partial(_without_traceback, app, cycle))

    def _give_back(self, sniffer: FirstRequests, data: bytes) -> None:
        """Pass a request to the sniffer: a browser or a proxy sent it on a connection with earlier requests."""
        self.connections.discard(self)
        self._unset_keepalive_if_required()
        self._wait(None)
        self._read_on()
        self.transport.set_protocol(sniffer)  # type: ignore[arg-type]
        sniffer.connection_made(self.transport)
        sniffer.data_received(data)

    # Deadlines

    def _seconds_for_body(self) -> float:
        ends = self._body_began + BODY_SECONDS + self._body / SLOWEST_BODY
        return min(STALL_SECONDS, ends - self.loop.time())

    def _wait(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, self._expired) if seconds is not None else None

    def _expired(self) -> None:
        if self.flow.read_paused and not self._in_head:  # the application is slow, not the client
            self._body_began += STALL_SECONDS
            self._wait(STALL_SECONDS)
        else:
            self._give_up()

    def _give_up(self) -> None:
        close_now(self.transport)

    def timeout_keep_alive_handler(self) -> None:
        self._give_up()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._read_on()

    def _watch_reader(self, unsent: int | None = None) -> None:
        """Abort the connection if the client has read nothing since the last look."""
        size = self.transport.get_write_buffer_size()
        if unsent is not None and size >= unsent:
            self.transport.abort()
        else:
            self._reading = self.loop.call_later(STALL_SECONDS, self._watch_reader, size)

    def _read_on(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None


async def _without_traceback(app: Any, cycle: RequestResponseCycle, scope: Any, receive: Any, send: Any) -> None:
    """Call the application. An exception because a body ended early is not logged in full: any client can cause it."""
    try:
        await app(scope, receive, send)
    except Exception as error:
        if not (cycle.disconnected and cycle.more_body):
            raise
        LOG.warning("a client disconnected before its request was complete (%s)", type(error).__name__)
