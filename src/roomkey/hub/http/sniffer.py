"""One port for two servers: the hub serves Socket.IO's path, and uvicorn every other request.

uvicorn makes one :class:`ProtocolSniffer` for each connection, as its HTTP protocol. The sniffer decides once the head
of the first request is complete: a WebSocket, long-polling, or uvicorn. The latter two give the connection back when
another request is not for them.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from uvicorn import Config

from roomkey.guard.settings import UPGRADE_SECONDS
from roomkey.hub.http.addresses import Addresses, peer_of, scheme_of
from roomkey.hub.http.forwarded_stream import ForwardedStream
from roomkey.hub.http.heads import RawHeaders, read_any, read_plain, read_poll
from roomkey.hub.http.polling_protocol import PollingConnection, PollingConnections
from roomkey.hub.http.requests import HttpRequest, split_target
from roomkey.hub.http.socketio_server import SocketIOServer
from roomkey.hub.http.uvicorn_private.http import HEAD_SECONDS, HttpProtocol
from roomkey.hub.refusals import BAD_REQUEST, HEAD_TOO_LARGE, UNKNOWN_SID, Refusal
from roomkey.hub.settings import MAX_HEAD
from roomkey.hub.transports.sweep import Late, Sweep
from roomkey.hub.transports.websocket import WebSocket, WebSockets
from roomkey.wire import TransportState

BLANK_LINE = b"\r\n\r\n"
_KEY = re.compile("[A-Za-z0-9+/]{22}==")  # 16 bytes in base64 (RFC 6455 section 4.1)
_REASONS = {400: "Bad Request", 403: "Forbidden", 426: "Upgrade Required", 429: "Too Many Requests", 431: "Too Large"}


class ProtocolSniffers:
    """Makes a :class:`ProtocolSniffer` for each connection: the value of uvicorn's ``http`` setting.

    Args:
        hub: the hub.
        poll_headers: further headers of the responses to long-polling clients.

    Attributes:
        hub: the hub.
        requests: opens and finds the hub's sessions.
        tasks: runs what must wait.
        websockets: what the WebSockets share.
        undecided: the connections whose first request is not complete, or whose upgrade waits for the verifier.
        addresses: sets the addresses of requests.
        polls: what the long-polling connections share.
    """

    def __init__(self, hub: SocketIOServer, poll_headers: Mapping[str, str]) -> None:
        self.hub = hub
        self.requests = hub.requests
        self.tasks = hub.tasks
        self.websockets = WebSockets(hub.requests.settings, hub.guard.clock)
        self.undecided = Sweep[Late]()
        self.addresses = Addresses()
        self.polls = PollingConnections(hub, self.addresses, poll_headers)
        path = self.requests.path[:-1].encode()
        self._ours = (b"GET %b" % path, b"POST %b" % path)
        if hub.forwarding is not None:
            hub.forwarding.upgrade = self.upgrade

    def __call__(self, config: Config, server_state: Any, app_state: Any, _loop: Any = None) -> ProtocolSniffer:
        """Create the protocol of a connection, with uvicorn's arguments."""
        if self.polls.state is not server_state:
            self.addresses.configure(config)
            self.polls.configure(config, server_state)
        return ProtocolSniffer(self, partial(HttpProtocol, config, server_state, app_state, _loop))

    def upgrade(self, connection: ForwardedStream, request: HttpRequest) -> None:
        """Begin to upgrade a polling session to a WebSocket whose connection another node has."""
        sniffer = ProtocolSniffer(self)
        connection.set_protocol(sniffer)
        sniffer.connection_made(connection)
        sniffer.forwarded(request)

    def may_be_ours(self, data: bytes) -> bool:
        """Return True if data may begin a request that uvicorn need not read."""
        return b"websocket" in data.lower() or (self.polls.is_used and data.startswith(self._ours))


class ProtocolSniffer(asyncio.Protocol):
    """Reads the head of a connection's first request, and hands the connection over.

    Args:
        shared: what all sniffers of the hub share.
        make_http: makes the protocol for a request that is not a WebSocket of the Socket.IO path. None if there are
            no such requests.
    """

    __slots__ = ("_buffer", "_make_http", "_offering", "_shared", "_transport")

    def __init__(self, shared: ProtocolSniffers, make_http: Callable[[], HttpProtocol] | None = None) -> None:
        self._shared = shared
        self._make_http = make_http
        self._buffer = b""
        self._offering: asyncio.Task[None] | None = None  # an upgrade that waits for the verifier
        self._transport: asyncio.Transport | None = None

    # What asyncio reports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first request."""
        self._transport = transport  # type: ignore[assignment]
        self._shared.requests.pending.add(self)
        self._shared.undecided.add(self, HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop, because the client has disconnected."""
        self._decided()
        self._cancel_upgrade()

    def eof_received(self) -> None:
        """Let the transport close."""

    def data_received(self, data: bytes) -> None:
        """Read a part of the first request."""
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
                self._refuse(self._shared.requests.refuse(self._peer(), HEAD_TOO_LARGE))
            elif self not in self._shared.undecided:  # for the first request it runs from the connection
                self._shared.undecided.add(self, HEAD_SECONDS)
            return
        self._decided()
        self._buffer = b""
        if end > MAX_HEAD:  # it arrived in one piece
            self._refuse(self._shared.requests.refuse(self._peer(), HEAD_TOO_LARGE))
            return
        end += len(BLANK_LINE)
        head = data[:end]
        request = self._websocket_request(head)
        if request is not None:
            self._websocket(transport, request, data[end:])
        elif self._is_poll(head):
            PollingConnection(self._shared.polls, self).start(transport, data)
        else:
            self._hand_over(transport, data)

    # What decides

    def forwarded(self, request: HttpRequest) -> None:
        """Decide about a request that another node forwards."""
        assert self._transport is not None
        if "sid" in request.parameters():
            self._decided()
            self._websocket(self._transport, request, b"", is_forwarded=True)
        else:  # nodes forward only upgrades
            self._refuse(UNKNOWN_SID)

    def serves(self, url: bytes) -> bool:
        """Return True if a request's target is on Socket.IO's path, however it is written."""
        return self._shared.requests.serves(split_target(url)[0])

    def may_be_ours(self, data: bytes) -> bool:
        """Return True if data may begin a request that uvicorn need not read."""
        return self._shared.may_be_ours(data)

    def _is_poll(self, head: bytes) -> bool:
        found = read_poll(head) if self._shared.polls.is_used else None
        return found is not None and self._shared.requests.serves(found[0].path)

    def shutdown(self) -> None:
        """Close, because the server stops, or because the head or the verifier's answer is late."""
        self._decided()
        self._cancel_upgrade()
        if self._transport is not None:
            self._transport.close()

    too_late = shutdown

    def _decided(self) -> None:
        """Forget the deadline: the request is decided, or the connection is gone."""
        self._shared.undecided.discard(self)
        self._shared.requests.pending.discard(self)

    def _cancel_upgrade(self) -> None:
        if self._offering is not None and not self._offering.done():
            self._offering.cancel()

    def _keep(self, data: bytes) -> None:
        """Keep what arrives before an upgrade is decided; reading on shows when the client disconnects."""
        self._buffer = data
        if len(data) > MAX_HEAD:
            self.shutdown()

    def _hand_over(self, transport: asyncio.Transport, data: bytes) -> None:
        """Let uvicorn read the request. uvicorn returns the connection if a later request is for Socket.IO's path."""
        assert self._make_http is not None
        http = self._make_http()
        http.sniffer = self
        http.connection_made(transport)
        transport.set_protocol(http)
        http.data_received(data)

    def _websocket_request(self, head: bytes) -> HttpRequest | None:
        """Return the request if it asks for a WebSocket on Socket.IO's path."""
        if b"websocket" not in head.lower():
            return None
        raw: RawHeaders | None = None
        request = read_plain(head) if self._shared.addresses.proxies is None else None
        if request is None:
            found = read_any(head)
            if found is None:
                return None  # uvicorn responds to it
            request, raw = found
        if not request.is_upgrade() or not self._shared.requests.serves(request.path):
            return None
        assert self._transport is not None
        self._shared.addresses.set(request, self._peer(), scheme_of(self._transport), raw)
        return request

    def _peer(self) -> str:
        """Return the address at the other end of the connection."""
        assert self._transport is not None
        return peer_of(self._transport)

    # WebSockets

    def _websocket(
        self, transport: asyncio.Transport, request: HttpRequest, rest: bytes, *, is_forwarded: bool = False
    ) -> None:
        """Open a session on a WebSocket, or begin to upgrade a polling session."""
        requests = self._shared.requests
        parameters = request.parameters()
        key = request.header("sec-websocket-key") or ""
        refusal = requests.check(request, parameters) or _refused_handshake(request, key)
        if refusal is not None:
            self._refuse(requests.refuse(request.address, refusal))
        elif "sid" not in parameters:
            session = requests.open(request, TransportState.WEBSOCKET)
            if isinstance(session, Refusal):
                self._refuse(requests.refuse(request.address, session))
                return
            websocket = WebSocket(self._shared.websockets, session)
            session.use(websocket)
            websocket.start(transport, key, rest, first=requests.sessions.greet(session))
        elif is_forwarded or not self._forward(transport, request, parameters["sid"], rest):
            requests.pending.add(self)
            self._shared.undecided.add(self, UPGRADE_SECONDS)
            self._buffer = rest
            offer = self._offer(transport, request, parameters["sid"], key)
            self._offering = self._shared.tasks.background(offer)

    def _forward(self, transport: asyncio.Transport, request: HttpRequest, eio_sid: str, rest: bytes) -> bool:
        """Let another node upgrade its session. Return False if no other node can do it."""
        forwarding, requests, undecided = self._shared.hub.forwarding, self._shared.requests, self._shared.undecided
        if forwarding is None or requests.sessions.find(eio_sid) is not None:
            return False
        pump = forwarding.forward_stream(eio_sid, request)
        if pump is None:
            return False

        def answered() -> None:
            undecided.discard(pump)

        def ended() -> None:
            requests.pending.discard(pump)

        def refuse() -> None:
            self._refuse(requests.refuse(request.address, UNKNOWN_SID))

        requests.pending.add(pump)
        undecided.add(pump, UPGRADE_SECONDS)
        pump.start(transport, rest, answered=answered, ended=ended, refuse=refuse)
        return True

    async def _offer(self, transport: asyncio.Transport, request: HttpRequest, eio_sid: str, key: str) -> None:
        """Offer a WebSocket to a session that polls, once its owner is verified."""
        requests = self._shared.requests
        try:
            session = await requests.find(eio_sid, request)
        finally:
            self._decided()
        if transport.is_closing():
            return
        if isinstance(session, Refusal):
            self._refuse(requests.refuse(request.address, session))
            return
        websocket = WebSocket(self._shared.websockets, session, _offer)
        rest, self._buffer = self._buffer, b""
        websocket.start(transport, key, rest)

    def _refuse(self, refusal: Refusal) -> None:
        """Respond with a refusal, and close."""
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


def _refused_handshake(request: HttpRequest, key: str) -> Refusal | None:
    """Return why a WebSocket's handshake is invalid (RFC 6455 section 4.2.1), or None."""
    if request.header("sec-websocket-version") != "13":
        return BAD_REQUEST._replace(status=426, detail="another version of the WebSocket protocol")
    if not (_KEY.fullmatch(key) and request.header("host")):
        return BAD_REQUEST._replace(detail="a WebSocket handshake without a valid key or a host")
    return None


def _offer(websocket: WebSocket) -> None:
    session = websocket.session
    if session is not None and not session.offer_upgrade(websocket):
        websocket.close()
