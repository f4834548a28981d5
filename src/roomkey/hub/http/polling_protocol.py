"""The connections of long-polling clients, without uvicorn and ASGI.

Such a connection reads requests without anything unusual for Socket.IO's path, one after the other. With any other
request, it gives the connection back to the sniffer, which hands it to uvicorn; so requests about whose limits two
parsers could disagree are never read here. Both answer through the same :class:`PollingRequests`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any

from uvicorn import Config

from roomkey.hub.http.addresses import Addresses, peer_of, scheme_of
from roomkey.hub.http.heads import NO_HEADERS, read_poll
from roomkey.hub.http.polling_requests import SERVER_ERROR, Exchange, PollingResponse
from roomkey.hub.http.polling_responses import ResponseBytes
from roomkey.hub.http.requests import HttpRequest
from roomkey.hub.http.socketio_server import SocketIOServer
from roomkey.hub.http.uvicorn_private import http as uvicorn_http
from roomkey.hub.http.uvicorn_private.http import ClosesAfterResponse, FirstRequests
from roomkey.hub.refusals import BODY_TOO_LARGE, BODY_TOO_SLOW, HEAD_TOO_LARGE, Refusal
from roomkey.hub.settings import MAX_HEAD, REQUEST_SECONDS
from roomkey.hub.transports.sweep import Sweep

LOG = logging.getLogger("roomkey.hub")

BLANK_LINE = b"\r\n\r\n"
MAX_AHEAD = MAX_HEAD
"""Bytes that a client may send before its last request is answered. Then the connection is not read."""

MAX_FIELDS = 64
"""Headers of a request that are remembered for the next one. Thousands of short ones would take 200 KB in an idle
connection, which costs a stranger nothing."""


class Phase(Enum):
    """What a connection does."""

    __hash__ = object.__hash__

    HEAD = auto()  # reads the head of a request, or is idle
    ANSWERING = auto()  # waits for the response
    BODY = auto()  # reads the body of a request
    SKIPPING = auto()  # reads a body that is not used: the response was sent before
    TURN = auto()  # has another request, which waits for its turn
    CLOSED = auto()


_HEAD, _ANSWERING, _BODY, _CLOSED = Phase.HEAD, Phase.ANSWERING, Phase.BODY, Phase.CLOSED


class PollingConnections:
    """What the long-polling connections of a server share.

    Args:
        hub: the hub.
        addresses: sets the addresses of requests.
        headers: further headers of all responses.

    Attributes:
        polling: answers the requests.
        requests: opens and finds sessions.
        responses: makes the bytes of responses.
        addresses: sets the addresses of requests.
        state: uvicorn's state of the server: its connections and default headers.
        keep_alive: seconds that a connection may be idle between two requests.
        heads: the connections that read the head of a request.
        bodies: those that read a body.
        idle: those that wait for a request.
        unread: those whose client does not read.
    """

    def __init__(self, hub: SocketIOServer, addresses: Addresses, headers: Mapping[str, str]) -> None:
        self.polling = hub.polling
        self.requests = hub.requests
        self.addresses = addresses
        self.state: Any = None
        self.keep_alive = 5.0
        self.is_used = False
        self.heads = Sweep(PollingConnection.give_up)
        self.bodies = Sweep(PollingConnection.body_late)
        self.idle = Sweep(PollingConnection.give_up)
        self.unread = Sweep(PollingConnection.reader_late)
        self.responses = ResponseBytes(headers)

    def configure(self, config: Config, state: Any) -> None:
        """Use the settings of uvicorn. Its limits and its log of all requests need its own protocol."""
        self.state = self.responses.state = state
        self.keep_alive = config.timeout_keep_alive
        self.is_used = not config.access_log and config.limit_concurrency is None


class PollingConnection(asyncio.Protocol, ClosesAfterResponse):
    """One connection: the protocol of its transport, and the client of its requests.

    Args:
        shared: what all connections of the server share.
        sniffer: takes the connection back.
    """

    __slots__ = (
        "_body",
        "_buffer",
        "_exchange",
        "_keep_alive",
        "_last_get",
        "_last_post",
        "_left",
        "_limit",
        "_peer",
        "_phase",
        "_reading_paused",
        "_scheme",
        "_shared",
        "_sniffer",
        "_transport",
        "_unsent",
    )

    def __init__(self, shared: PollingConnections, sniffer: FirstRequests) -> None:
        self._shared = shared
        self._sniffer = sniffer
        self._transport: asyncio.Transport
        self._phase = _HEAD
        self._buffer = b""
        self._body = bytearray()  # of a request whose body did not arrive together with its head
        self._exchange: Exchange | None = None
        self._last_get = self._last_post = NO_HEADERS
        self._left = 0  # bytes of the body that are not taken from the buffer yet
        self._limit = 0
        self._keep_alive = True
        self._reading_paused = False
        self._unsent: int | None = None  # what waited for the client at the last look, while it does not read

    def start(self, transport: asyncio.Transport, data: bytes) -> None:
        """Take over a connection, with the whole head of its first request."""
        self._transport = transport
        self._peer = peer_of(transport)
        self._scheme = scheme_of(transport)
        self._shared.state.connections.add(self)
        transport.set_protocol(self)
        unsent = transport.get_write_buffer_size()
        if unsent and unsent > transport.get_write_buffer_limits()[0]:
            self.pause_writing()  # the transport told uvicorn, whose response the client has not read
        self.data_received(data)

    # What asyncio reports

    def data_received(self, data: bytes) -> None:
        """Read a part of a request."""
        phase = self._phase
        if phase is _HEAD:
            if self._unsent is None:
                self._read_head(self._buffer + data if self._buffer else data)
            else:  # no request is read while the client does not read the responses
                self._phase = Phase.TURN
                self._keep(data)
        elif phase is _BODY:
            self._body += data
            if len(self._body) >= self._left:
                self._receive_late_body()
        elif phase is Phase.SKIPPING:
            self._buffer = data
            self._skip()
        elif phase is not _CLOSED:
            self._keep(data)

    def eof_received(self) -> None:
        """Let the transport close."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop, because the client has disconnected."""
        self._leave()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.gone()

    def pause_writing(self) -> None:
        """Watch a client that does not read."""
        self._unsent = self._transport.get_write_buffer_size()
        self._shared.idle.discard(self)
        self._shared.unread.add(self, uvicorn_http.STALL_SECONDS)

    def resume_writing(self) -> None:
        """Go on, because the client reads."""
        self._unsent = None
        self._shared.unread.discard(self)
        if self._phase is Phase.TURN:
            self._wait_for_turn()
        elif self._phase is _HEAD and not self._buffer:
            self._shared.idle.add(self, self._shared.keep_alive)

    # Requests

    def _read_head(self, data: bytes) -> None:
        shared = self._shared
        end = data.find(BLANK_LINE)
        if end < 0 and len(data) <= MAX_HEAD:
            if not self._buffer:
                shared.idle.discard(self)
                shared.heads.add(self, uvicorn_http.HEAD_SECONDS)
            self._buffer = data
            return
        if self._buffer:
            shared.heads.discard(self)
        else:
            shared.idle.discard(self)
        if end < 0 or end > MAX_HEAD:
            self._buffer = b""
            self._refuse(HEAD_TOO_LARGE)
            return
        end += len(BLANK_LINE)
        is_post = data.startswith(b"P")
        found = read_poll(data[:end], self._last_post if is_post else self._last_get)
        if found is None or not shared.requests.serves(found[0].path):
            self._give_back(data)
            return
        request, headers = found
        remembered = headers if len(headers.fields) <= MAX_FIELDS else NO_HEADERS
        if is_post:
            self._last_post = remembered
        else:
            self._last_get = remembered
        self._buffer, self._left = data[end:], headers.length or 0
        if headers.closes:
            self._keep_alive = False
        self._begin(request)

    def _begin(self, request: HttpRequest) -> None:
        """Begin to answer a request."""
        shared = self._shared
        shared.state.total_requests += 1
        request.address, request.scheme = self._peer, self._scheme
        if shared.addresses.proxies is not None:
            shared.addresses.set(request, self._peer, self._scheme)
        self._phase = _ANSWERING
        try:
            exchange = shared.polling.begin(request, self)
        except Exception:  # such as the application's, which decides about origins
            self._fail()
            return
        # It may have its response, or want the body, already.
        if self._phase is _ANSWERING:
            self._exchange = exchange
        elif self._phase is _BODY:
            self._exchange = exchange
            self._read_body()

    def read_body(self, limit: int) -> None:
        """Read the body of the request."""
        self._phase, self._limit = _BODY, limit
        if self._exchange is not None:
            self._read_body()

    def _read_body(self) -> None:
        if self._left > self._limit:
            self._pass(BODY_TOO_LARGE)
        elif len(self._buffer) >= self._left:
            self._receive_body()
        else:
            self._body += self._buffer
            self._buffer = b""
            self._shared.bodies.add(self, REQUEST_SECONDS)
            self._resume_reading()

    def _receive_late_body(self) -> None:
        self._shared.bodies.discard(self)
        self._buffer, self._body = bytes(self._body), bytearray()
        self._receive_body()

    def _receive_body(self) -> None:
        body, self._buffer, self._left = self._buffer[: self._left], self._buffer[self._left :], 0
        self._pass(body)

    def _pass(self, body: bytes | Refusal) -> None:
        exchange, self._phase = self._exchange, _ANSWERING
        assert exchange is not None
        try:
            exchange.received(body)
        except Exception:  # the handlers' errors do not come here, so it is ours
            self._fail()

    def _fail(self) -> None:
        LOG.exception("could not answer a long-polling request")
        if self._phase is _ANSWERING or self._phase is _BODY:
            self.respond(SERVER_ERROR)

    def respond(self, response: PollingResponse) -> None:
        """Send the response, in one write."""
        self._exchange = None
        transport = self._transport
        if self._phase is _CLOSED or transport.is_closing():
            return
        closes = response.closes or not self._keep_alive
        transport.write(self._shared.responses.bytes_of(response, closes=closes))
        if closes:
            self._close()
        elif self._left:
            self._skip()
        else:
            self._next()

    def _skip(self) -> None:
        """Drop the rest of a body, so that TCP does not reset the connection before the client has the response."""
        if self._phase is not Phase.SKIPPING:
            self._phase = Phase.SKIPPING
            self._buffer, self._body = self._buffer + bytes(self._body), bytearray()
            self._shared.bodies.add(self, REQUEST_SECONDS)
        dropped = min(self._left, len(self._buffer))
        self._left -= dropped
        self._buffer = self._buffer[dropped:]
        if not self._left:
            self._shared.bodies.discard(self)
            self._next()
        else:
            self._resume_reading()

    def _next(self) -> None:
        """Wait for the next request, or for its turn if it is there already."""
        if self._buffer:
            self._phase = Phase.TURN
            if self._unsent is None:
                self._wait_for_turn()
            return
        self._phase = _HEAD
        if self._unsent is None:
            self._shared.idle.add(self, self._shared.keep_alive)
        self._resume_reading()

    def _wait_for_turn(self) -> None:
        """Read the next request after the other connections have had their turn."""
        self._shared.polling.turn.add(self._take_turn)

    def _take_turn(self) -> None:
        if self._phase is Phase.TURN and self._unsent is None and not self._transport.is_closing():
            data, self._buffer, self._phase = self._buffer, b"", _HEAD
            self._resume_reading()
            self._read_head(data)

    def _keep(self, data: bytes) -> None:
        """Keep what arrives before the last request is answered."""
        self._buffer += data
        if len(self._buffer) > MAX_AHEAD and not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._reading_paused:
            self._reading_paused = False
            self._transport.resume_reading()

    # The end

    def _give_back(self, data: bytes) -> None:
        """Let the sniffer decide who reads a request that is not for long-polling, or unusual."""
        self._leave()
        self._transport.set_protocol(self._sniffer)  # type: ignore[arg-type]
        self._sniffer.connection_made(self._transport)
        self._sniffer.data_received(data)

    def _refuse(self, refusal: Refusal) -> None:
        self._shared.requests.refuse(self._peer, refusal)
        headers = ((b"content-type", b"application/json"),)
        self.respond(PollingResponse(refusal.status, headers, refusal.body, closes=True))

    def _leave(self) -> None:
        shared, self._phase = self._shared, _CLOSED
        self._buffer = b""
        shared.state.connections.discard(self)
        for sweep in (shared.heads, shared.bodies, shared.idle, shared.unread):
            sweep.discard(self)

    def _close(self) -> None:
        """Close when the response is sent."""
        self._phase = _CLOSED
        self._buffer = b""
        self._transport.close()
        self._unsent = self._transport.get_write_buffer_size()
        if self._unsent:
            self._shared.unread.add(self, uvicorn_http.STALL_SECONDS)

    def shutdown(self) -> None:
        """Close, because the server stops; after the response if a request waits for it."""
        self._keep_alive = False
        if self._exchange is None:
            self.give_up()

    def give_up(self) -> None:
        """Close, because the client is late or the server stops."""
        self._phase = _CLOSED
        uvicorn_http.close_now(self._transport)

    def body_late(self) -> None:
        """Refuse a request whose body is late."""
        if self._phase is _BODY:
            self._body = bytearray()
            self._pass(BODY_TOO_SLOW)
        else:
            self.give_up()

    def reader_late(self) -> None:
        """Abort the connection if its client has read nothing since the last look."""
        size = self._transport.get_write_buffer_size()
        if not size:
            self.resume_writing()
        elif self._unsent is None or size >= self._unsent:
            self._transport.abort()
        else:
            self._unsent = size
            self._shared.unread.add(self, uvicorn_http.STALL_SECONDS)
