"""Requests that reach another node than the one with their session: this node, the front, forwards them to the owner.

The owner answers as if the request had come to it, with the same checks and limits. It never forwards a request again:
if it does not have the session, the answer is ``unknown sid``, and the client starts over.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from struct import Struct
from typing import Any

import orjson

from roomkey.bus.peer_link import REQUEST, Link
from roomkey.bus.peers import Peers
from roomkey.bus.sids import LENGTH
from roomkey.hub.http.forwarded_stream import ForwardedStream
from roomkey.hub.http.polling_requests import Exchange, Headers, PollingClient, PollingRequests, PollingResponse
from roomkey.hub.http.requests import HttpRequest
from roomkey.hub.http.stream_pump import StreamPump
from roomkey.hub.refusals import BODY_TOO_LARGE, BODY_TOO_SLOW, UNKNOWN_SID, Refusal

LOG = logging.getLogger("roomkey.hub")

READ, BODY, RESPONSE, GONE = 5, 6, 7, 8
"""Kinds of frames: the owner asks for a body, the front sends it; the response; the client has disconnected."""

SMALL_BODY = 16_384
"""A body that is announced not to be larger, in bytes, is sent with its request. The owner asks for a larger one once
it knows the session and its limit."""

REMEMBERED = 4096
"""Session IDs whose node is remembered: to open a seal takes 3 µs."""

_LENGTH = Struct(">I")
_RESPONSE = Struct(">H?H")
_NO_BODY = {refusal.status: refusal for refusal in (BODY_TOO_LARGE, BODY_TOO_SLOW)}

NodeOf = Callable[[str], "str | None"]
Upgrade = Callable[[ForwardedStream, HttpRequest], None]


class Forwarding:
    """Forwards the requests of a hub, and answers those that other nodes forward.

    Args:
        polling: the hub's.
        peers: the links with other nodes.
        node_of: returns the ID of the node that made a session ID, or None.

    Attributes:
        upgrade: begins the WebSocket handshake of a connection that another node forwards; None if the server has no
            WebSockets of its own.
        counts: ``forwarded: requests``, ``forwarded: streams``, ``answered: requests``, ``answered: streams``,
            ``refused: unreachable``, ``refused: malformed``.
    """

    def __init__(self, polling: PollingRequests, peers: Peers, node_of: NodeOf) -> None:
        self.polling = polling
        self.peers = peers
        self.upgrade: Upgrade | None = None
        self.counts: Counter[str] = Counter()
        self.max_body = polling.requests.settings.limits.payload
        self._node_of = lru_cache(REMEMBERED)(node_of)
        self._here = PollingRequests(polling.requests, polling.tasks, opens=False)

    async def open(self) -> None:
        """Accept forwarded requests, and forward requests from now on."""
        await self.peers.open(self._begin)
        self.polling.forwarder = self

    async def close(self) -> None:
        """Stop. Clients whose requests are being forwarded get ``unknown sid``."""
        self.polling.forwarder = None
        await self.peers.close()

    def _link(self, eio_sid: str) -> Link | None:
        """Return the link to the owner of a session, if that is another node that can be reached."""
        # An ID of another length is not remembered: strangers could fill the memory with long ones.
        node_id = self._node_of(eio_sid) if len(eio_sid) == LENGTH else None
        if node_id is None or node_id == self.peers.node.id:
            return None
        link = self.peers.link(node_id)
        if link is None:
            self.counts["refused: unreachable"] += 1
        return link

    # The front

    def forward(self, eio_sid: str, request: HttpRequest, client: PollingClient) -> Exchange | None:
        """Forward a poll or a POST request. None means that no other node can answer it."""
        link = self._link(eio_sid)
        exchange = ForwardedExchange(self, request, client, link) if link is not None else None
        if exchange is None or not exchange.begin():
            return None
        self.counts["forwarded: requests"] += 1
        return exchange

    def forward_stream(self, eio_sid: str, request: HttpRequest) -> StreamPump | None:
        """Return what forwards a connection that asks for a WebSocket. None means that no other node can answer it."""
        link = self._link(eio_sid)
        pump = StreamPump(link) if link is not None else None
        if pump is None or not pump.open(encode_head(request)):
            return None
        self.counts["forwarded: streams"] += 1
        return pump

    # The owner

    def _begin(self, link: Link, kind: int, number: int, payload: bytes) -> None:
        """Answer what another node forwards."""
        try:
            if kind == REQUEST:
                (length,) = _LENGTH.unpack_from(payload)
                request, whole = decode_head(payload[4 : 4 + length], self.polling.requests.path)
                body = payload[4 + length :] if whole else None
            else:
                request, _ = decode_head(payload, self.polling.requests.path)
        except Exception:  # a node of another version may send anything
            self.counts["refused: malformed"] += 1
            link.refuse(number)
            return
        if kind == REQUEST:
            self.counts["answered: requests"] += 1
            OtherNodesClient(link, number, body).begin(self._here, request)
        elif self.upgrade is None:
            link.refuse(number)
        else:
            self.counts["answered: streams"] += 1
            self.upgrade(ForwardedStream(link, number, request.address), request)


class ForwardedExchange:
    """The front's side of a request: an :class:`roomkey.hub.http.polling_requests.Exchange`, and a conversation.

    Args:
        forwarding: what all requests share.
        request: the head.
        client: reads the body, and sends the response.
        link: the link to the owner.
    """

    __slots__ = ("_body", "_client", "_forwarding", "_link", "_number", "_request", "_sent")

    def __init__(self, forwarding: Forwarding, request: HttpRequest, client: PollingClient, link: Link) -> None:
        self._forwarding = forwarding
        self._request = request
        self._client: PollingClient | None = client
        self._link = link
        self._number = 0
        self._sent = False
        self._body: bytes | Refusal | None = None

    def begin(self) -> bool:
        """Send the request, with its body if that is small. Return False if the link takes no more."""
        number = self._link.open(self)
        if number is None or self._client is None:
            return False
        self._number = number
        if _is_small(self._request):
            self._client.read_body(SMALL_BODY)
        else:
            self._send(None)
        return True

    def _send(self, body: bytes | None) -> None:
        self._sent = True
        head = encode_head(self._request, whole=body is not None)
        self._link.send(REQUEST, self._number, b"".join((_LENGTH.pack(len(head)), head, body or b"")))

    # Of the client

    def received(self, body: bytes | Refusal) -> None:
        """Send the body."""
        if self._client is None:
            return
        if self._sent:
            self._send_body(body)
        elif isinstance(body, Refusal):
            self._body = body  # the owner asks for it, and ends the session
            self._send(None)
        else:
            self._send(body)

    def _send_body(self, body: bytes | Refusal) -> None:
        told = b"\0" + body if isinstance(body, bytes) else b"\1" + body.status.to_bytes(2, "big")
        self._link.send(BODY, self._number, told)

    def gone(self) -> None:
        """Tell the owner that the client has disconnected."""
        if self._client is not None:
            self._client = None
            self._link.end(self._number)
            if self._sent:
                self._link.send(GONE, self._number, b"")

    # Of the link

    def arrived(self, kind: int, payload: bytes) -> None:
        """Send the response, or read the body for which the owner asks."""
        client = self._client
        if client is None:
            return
        if kind == RESPONSE:
            response = decode_response(payload)  # if it is malformed, the link calls lost()
            self._client = None
            self._link.end(self._number)
            client.respond(response)
        elif kind == READ and self._body is not None:
            self._send_body(self._body)
        elif kind == READ:
            client.read_body(min(_LENGTH.unpack(payload)[0], self._forwarding.max_body))

    def lost(self) -> None:
        """Let the client start over, because the owner is gone."""
        client, self._client = self._client, None
        if client is not None:
            client.respond(self._forwarding.polling.refusal(self._request, UNKNOWN_SID))

    def pause(self) -> None:
        """Do nothing: a response is awaited."""

    resume = pause


class OtherNodesClient:
    """The owner's side of a request: a :class:`roomkey.hub.http.polling_requests.PollingClient`, and a conversation.

    Args:
        link: the link to the front.
        number: of the conversation.
        body: the body, if it came with the request.
    """

    __slots__ = ("_body", "_exchange", "_is_lost", "_limit", "_link", "_number")

    def __init__(self, link: Link, number: int, body: bytes | None) -> None:
        self._link = link
        self._number = number
        self._body = body
        self._limit: int | None = None
        self._exchange: Exchange | None = None
        self._is_lost = False

    def begin(self, polling: PollingRequests, request: HttpRequest) -> None:
        """Answer the request."""
        self._link.join(self._number, self)
        self._exchange = polling.begin(request, self)
        if self._is_lost:  # while the exchange asked for its body: the link took no more
            self.lost()
            return
        if self._body is not None:  # the exchange may have asked for it before it was known here
            self._receive(self._body)

    # Of the exchange

    def read_body(self, limit: int) -> None:
        """Pass on the body that came with the request, or ask the front for it."""
        self._limit = limit
        if self._body is None:
            self._link.send(READ, self._number, _LENGTH.pack(limit))
        else:
            self._receive(self._body)

    def _receive(self, body: bytes | Refusal) -> None:
        """Pass on the body, or the reason why there is none, if the exchange has asked for it."""
        exchange, limit = self._exchange, self._limit
        if exchange is not None and limit is not None:
            self._limit = self._body = None
            is_large = isinstance(body, bytes) and len(body) > limit
            exchange.received(BODY_TOO_LARGE if is_large else body)

    def respond(self, response: PollingResponse) -> None:
        """Send the response to the front. If it is too large, the client starts over."""
        told = encode_response(response)
        if len(told) > self._link.max_message:
            LOG.error("could not forward a response of %d bytes: more than %d", len(told), self._link.max_message)
            self._link.refuse(self._number)
            return
        self._link.end(self._number)
        self._link.send(RESPONSE, self._number, told)

    # Of the link

    def arrived(self, kind: int, payload: bytes) -> None:
        """Take the body, or stop."""
        if self._exchange is None:
            return
        if kind == GONE:
            self.lost()
            self._link.end(self._number)
        elif kind == BODY and payload[:1] == b"\0":
            self._receive(payload[1:])
        elif kind == BODY:
            self._receive(_NO_BODY.get(int.from_bytes(payload[1:3], "big"), BODY_TOO_SLOW))

    def lost(self) -> None:
        """Stop, because the client has disconnected, or the front is gone."""
        self._is_lost = True
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.gone()

    def pause(self) -> None:
        """Do nothing: a response cannot wait."""

    resume = pause


def _is_small(request: HttpRequest) -> bool:
    """Return True if a request announces a body that is sent with it."""
    length = request.header("content-length")
    if request.method != "POST" or length is None or "transfer-encoding" in request.headers:
        return False
    return length.isascii() and length.isdigit() and len(length) < 6 and int(length) <= SMALL_BODY


def encode_head(request: HttpRequest, *, whole: bool = False) -> bytes:
    """Return what the owner needs of a request's head, with the client's address and the scheme that the front found.

    Args:
        request: the request.
        whole: True if the body follows.
    """
    return orjson.dumps([request.method, request.query, request.address, request.scheme, request.headers, whole])


def decode_head(head: bytes, path: str) -> tuple[HttpRequest, bool]:
    """Return a request that another node forwards, and whether its body follows.

    Args:
        head: from :func:`encode_head`.
        path: the path that Socket.IO is served at.

    Raises:
        ValueError: it is not a request.
    """
    method, query, address, scheme, headers, whole = orjson.loads(head)
    texts: list[Any] = [method, query, address, scheme, *headers.values()]
    if not all(isinstance(text, str) for text in texts) or method not in ("GET", "POST"):
        raise ValueError("not a request")
    request = HttpRequest(method, path, query, (), address, scheme)
    request.headers = headers
    return request, whole is True


def encode_response(response: PollingResponse) -> bytes:
    """Return a response for another node. Header values have no line breaks."""
    headers = b"\n".join([part for header in response.headers for part in header])
    start = _RESPONSE.pack(response.status, response.closes, len(headers))
    return b"".join((start, headers, response.body))


def decode_response(payload: bytes) -> PollingResponse:
    """Return a response that another node sent."""
    status, closes, length = _RESPONSE.unpack_from(payload)
    begin = _RESPONSE.size
    return PollingResponse(status, _headers(payload[begin : begin + length]), payload[begin + length :], closes)


@lru_cache(maxsize=256)
def _headers(lines: bytes) -> Headers:
    """Return the headers, which are the same for most responses."""
    parts = lines.split(b"\n")
    return tuple(zip(parts[::2], parts[1::2], strict=True))
