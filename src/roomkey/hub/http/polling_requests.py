"""The requests of long-polling clients and their responses, whoever reads the requests."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from operator import call
from typing import NamedTuple, Protocol

from roomkey.guard.background import Background
from roomkey.guard.host import SERVER_DISCONNECT
from roomkey.hub.engine_session import PING_TIMEOUT, TRANSPORT_ERROR, VIOLATION, EngineSession
from roomkey.hub.http.requests import HttpRequest
from roomkey.hub.http.session_requests import SessionRequests
from roomkey.hub.refusals import (
    BAD_METHOD,
    BAD_REQUEST,
    CLOSED_BY_SERVER,
    UNKNOWN_SID,
    Refusal,
)
from roomkey.hub.transports.end_of_turn import EndOfTurn
from roomkey.hub.transports.polling import Polling
from roomkey.wire import TransportState, Violation, decode_payload
from roomkey.wire.engineio import SEPARATOR

LOG = logging.getLogger("roomkey.hub")

Headers = tuple[tuple[bytes, bytes], ...]

NO_STORE = (b"cache-control", b"no-store")
TEXT: Headers = ((b"content-type", b"text/plain; charset=UTF-8"), NO_STORE)
JSON: Headers = ((b"content-type", b"application/json"), NO_STORE)

BAD_PACKET = BAD_REQUEST._replace(detail="a packet that clients must not send")
RECONNECTS = (SERVER_DISCONNECT, PING_TIMEOUT)
"""Ends of a session after which a polling client gets ``CLOSED_BY_SERVER``, so that it reconnects."""


class PollingResponse(NamedTuple):
    """The response to a request.

    Attributes:
        status: HTTP status code.
        headers: without ``content-length``.
        body: what its name says.
        closes: True if the connection must be closed after it.
    """

    status: int
    headers: Headers
    body: bytes
    closes: bool = False


SERVER_ERROR = PollingResponse(500, TEXT, b"Internal Server Error", closes=True)


class PollingClient(Protocol):
    """Reads one request and sends its response: a connection, an ASGI server, or another node."""

    def read_body(self, limit: int) -> None:
        """Read the request's body, and pass it to :meth:`Exchange.received`, now or later.

        Args:
            limit: its largest size in bytes. For a larger one, pass ``BODY_TOO_LARGE`` as soon as that is known; for
                one that does not arrive in time, ``BODY_TOO_SLOW``.
        """

    def respond(self, response: PollingResponse) -> None:
        """Send the response. This is the last call."""


class Exchange(Protocol):
    """A request and its response, from the head of the request on. Its client's methods may be called at any time."""

    def received(self, body: bytes | Refusal) -> None:
        """Continue with the body, or with the reason why there is none."""

    def gone(self) -> None:
        """Stop, because the client has disconnected. Nothing happens if it has its response."""


class Forwarder(Protocol):
    """Lets other nodes answer requests for their sessions."""

    def forward(self, eio_sid: str, request: HttpRequest, client: PollingClient) -> Exchange | None:
        """Forward a request for a session that this node does not have.

        Returns:
            What continues the request; None if no other node has the session, or its node cannot be reached.
        """


class PollingRequests:
    """Answers the requests of long-polling clients.

    Args:
        requests: opens and finds sessions.
        tasks: runs what must wait for a verifier.
        opens: False answers only requests for sessions that exist.

    Attributes:
        requests: opens and finds sessions.
        tasks: runs what must wait for a verifier.
        opens: the same as above.
        turn: calls the polls for which packets have come, at the end of a turn of the event loop.
        forwarder: forwards requests for other nodes' sessions; None if there are no other nodes.
    """

    def __init__(self, requests: SessionRequests, tasks: Background, *, opens: bool = True) -> None:
        self.requests = requests
        self.tasks = tasks
        self.opens = opens
        self.turn = EndOfTurn[Callable[[], None]](call, "could not answer a request")
        self.forwarder: Forwarder | None = None

    def begin(self, request: HttpRequest, client: PollingClient) -> Exchange:
        """Begin to answer a request for Socket.IO's path whose head was read. The response may be sent before this
        returns."""
        exchange = PollingExchange(self, request, client)
        exchange.begin()
        return exchange

    def refusal(self, request: HttpRequest, refusal: Refusal) -> PollingResponse:
        """Return the response with a refusal, and log it."""
        if refusal is not CLOSED_BY_SERVER:
            self.requests.refuse(request.address, refusal)
        cors = self.requests.origins.headers(request)
        headers = (JSON[0], *cors, NO_STORE) if cors else JSON
        return PollingResponse(refusal.status, headers, refusal.body, closes=refusal.status == 408)


class PollingExchange:
    """A request for a session of this hub, and its response: an :class:`Exchange`.

    Args:
        shared: what all requests share.
        request: its head.
        client: reads its body, and sends the response.
    """

    __slots__ = ("_client", "_elsewhere", "_finding", "_request", "_session", "_shared", "_transport")

    def __init__(self, shared: PollingRequests, request: HttpRequest, client: PollingClient) -> None:
        self._shared = shared
        self._request = request
        self._client: PollingClient | None = client
        self._session: EngineSession | None = None
        self._transport: Polling | None = None
        self._finding: asyncio.Task[None] | None = None
        self._elsewhere: Exchange | None = None

    def begin(self) -> None:
        """Answer the request, or find out what to wait for."""
        request, requests = self._request, self._shared.requests
        if request.method == "OPTIONS":
            cors = tuple(requests.origins.headers(request))
            self._send(PollingResponse(204 if cors else 403, (*cors, NO_STORE), b""))
            return
        parameters = request.parameters()
        refusal = requests.check(request, parameters)
        if refusal is not None:
            self._refuse(refusal)
        elif parameters["transport"] != "polling":
            self._refuse(BAD_REQUEST._replace(detail="a WebSocket handshake on a server without WebSockets"))
        elif request.method not in ("GET", "POST"):
            self._refuse(BAD_METHOD)
        elif "sid" in parameters:
            self._continue(parameters["sid"])
        elif self._shared.opens:
            self._open()
        else:
            self._refuse(UNKNOWN_SID)

    def received(self, body: bytes | Refusal) -> None:
        """Handle the packets of a POST request."""
        if self._elsewhere is not None:
            self._elsewhere.received(body)
            return
        session, transport = self._session, self._transport
        assert session is not None
        assert transport is not None
        transport.posting = False
        if isinstance(body, Refusal):
            session.violation(body.detail)
            self._refuse(body)
        elif not session.alive:
            # The packets are dropped. After an error, the client would not fetch its last ones, with the reason.
            self._answer(UNKNOWN_SID if transport.empty else b"ok")
        elif session.transport is not transport:
            self._refuse(BAD_REQUEST._replace(detail="polling after the upgrade"))
        else:
            self._answer(self._handle_packets(session, body))

    def gone(self) -> None:
        """End the session of a poll that waits: a cancelled poll may have lost packets."""
        if self._elsewhere is not None:
            self._elsewhere.gone()
        elif self._client is not None:
            self._gone()

    def _gone(self) -> None:
        self._client = None
        if self._finding is not None:
            self._finding.cancel()
        session, transport = self._session, self._transport
        if session is None or transport is None:
            return
        if self._request.method == "POST":
            transport.posting = False
            return
        transport.finish()
        if session.transport is transport:
            session.end(TRANSPORT_ERROR)

    # Opening and finding a session

    def _open(self) -> None:
        request, requests = self._request, self._shared.requests
        if request.method != "GET":
            self._refuse(BAD_METHOD)
            return
        request.headers = dict(request.headers)  # later requests of a connection share theirs
        session = requests.open(request, TransportState.POLLING)
        if isinstance(session, Refusal):
            self._refuse(session)
            return
        session.use(Polling(requests.settings, self._shared.turn, session))
        cookie = requests.bind_by_cookie(session, request)
        body = requests.sessions.greet(session)
        self._succeed(body, () if cookie is None else ((b"set-cookie", cookie),))

    def _continue(self, eio_sid: str) -> None:
        """Find the session, here or on another node."""
        found, forwarder = self._shared.requests.find_now(eio_sid, self._request), self._shared.forwarder
        if found is UNKNOWN_SID and forwarder is not None and self._client is not None:
            self._elsewhere = forwarder.forward(eio_sid, self._request, self._client)
        if self._elsewhere is not None:
            self._client = None  # its response comes from there
        elif found is not None:
            self._found(found)
        else:
            self._finding = self._shared.tasks.spawn(self._find(eio_sid))

    async def _find(self, eio_sid: str) -> None:
        """Find the session once its owner is verified."""
        try:
            found = await self._shared.requests.find(eio_sid, self._request)
            self._finding = None
            if self._client is not None:
                self._found(found)
        except Exception:  # the application's, from its key set or its revocation store
            LOG.exception("could not answer a long-polling request")
            self._send(SERVER_ERROR)

    def _found(self, session: EngineSession | Refusal) -> None:
        """Answer a poll, let it wait, or read the body of a POST request."""
        if isinstance(session, Refusal):
            self._refuse(session)
            return
        transport = session.transport
        if not isinstance(transport, Polling):
            self._refuse(BAD_REQUEST._replace(detail="polling after the upgrade"))
        elif self._request.method == "GET":
            self._poll(session, transport)
        elif transport.posting:
            session.end(TRANSPORT_ERROR)
            self._refuse(BAD_REQUEST._replace(detail="two posts at once"))
        else:
            self._session, self._transport = session, transport
            transport.posting = True
            assert self._client is not None
            self._client.read_body(session.max_body)

    # GET

    def _poll(self, session: EngineSession, transport: Polling) -> None:
        if session.alive and transport.busy:  # the protocol allows one poll at a time
            session.end(TRANSPORT_ERROR)
            self._refuse(BAD_REQUEST._replace(detail="two polls at once"))
        elif not session.alive or session.upgrading or transport.ready:
            self._answer(self._fetched(session, transport))
        else:
            self._session, self._transport = session, transport
            transport.begin(self._fetch)

    def _fetch(self) -> None:
        """Answer a poll that has waited."""
        session, transport = self._session, self._transport
        if self._client is None or session is None or transport is None:
            return
        transport.finish()
        self._answer(self._fetched(session, transport))

    def _fetched(self, session: EngineSession, transport: Polling) -> bytes | Refusal:
        """Return the packets that wait; for a session that has ended, last of all, its end."""
        if not session.alive and transport.empty:
            self._shared.requests.sessions.drained(session)
            if session.ended_for in RECONNECTS:
                return CLOSED_BY_SERVER
        return transport.body()

    # POST

    def _handle_packets(self, session: EngineSession, body: bytes) -> bytes | Refusal:
        if body.startswith(b"4") and SEPARATOR not in body:  # most bodies: one message
            session.text(body)
            return BAD_PACKET if session.ended_for == VIOLATION else b"ok"
        for packet in decode_payload(body, self._shared.requests.settings.limits):
            if isinstance(packet, Violation):
                session.violation(packet.reason)
                return BAD_REQUEST._replace(detail=packet.reason)
            if packet.binary:
                session.binary(packet.data)
            else:
                session.text(b"%d%b" % (packet.type, packet.data))
            if session.connection.closing or not session.alive:
                break  # the rest, which may be much, is ignored
        if session.ended_for == VIOLATION:
            return BAD_PACKET
        return b"ok"

    # Responses

    def _answer(self, answer: bytes | Refusal) -> None:
        if isinstance(answer, Refusal):
            self._refuse(answer)
        else:
            self._succeed(answer)

    def _succeed(self, body: bytes, more: Headers = ()) -> None:
        headers = TEXT
        if more or "origin" in self._request.headers:
            headers = (TEXT[0], *more, *self._shared.requests.origins.headers(self._request), NO_STORE)
        self._send(PollingResponse(200, headers, body))

    def _refuse(self, refusal: Refusal) -> None:
        self._send(self._shared.refusal(self._request, refusal))

    def _send(self, response: PollingResponse) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.respond(response)
