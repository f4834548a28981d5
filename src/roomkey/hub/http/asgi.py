"""The hub as an ASGI application: long-polling, and the WebSockets of other servers than the hub's own."""

from __future__ import annotations

import asyncio
from typing import Any

from roomkey.guard.host import SERVER_DISCONNECT
from roomkey.hub.engine_session import PING_TIMEOUT, TRANSPORT_ERROR, VIOLATION, EngineSession
from roomkey.hub.http.asgi_websocket import refuse_websocket, serve_websocket
from roomkey.hub.http.requests import HttpRequest, path_in_app
from roomkey.hub.http.session_requests import SocketIOServer
from roomkey.hub.refusals import (
    BAD_METHOD,
    BAD_REQUEST,
    BODY_TOO_LARGE,
    BODY_TOO_SLOW,
    CLOSED_BY_SERVER,
    HEAD_TOO_LARGE,
    NOT_FOUND,
    UNKNOWN_SID,
    Refusal,
)
from roomkey.hub.settings import MAX_HEAD, REQUEST_SECONDS
from roomkey.hub.transports.polling import Polling
from roomkey.wire import TransportState, Violation, decode_payload

__all__ = ["ASGIApp"]


TEXT = (b"content-type", b"text/plain; charset=UTF-8")
JSON = (b"content-type", b"application/json")
RECONNECTS = (SERVER_DISCONNECT, PING_TIMEOUT)
"""Ends of a session after which a polling client gets ``CLOSED_BY_SERVER``, so that it reconnects."""


class ASGIApp:
    """An ASGI 3 application that serves a hub, and passes every other path on.

    Args:
        hub: the hub.
        other_app: the ASGI application for the other paths; without one, they get 404.
    """

    def __init__(self, hub: SocketIOServer, other_app: Any = None) -> None:
        self._hub = hub
        self._requests = hub.requests
        self._other_app = other_app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request, one WebSocket, or the lifespan."""
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif not self._requests.serves(path_in_app(scope)):
            if self._other_app is not None:
                await self._other_app(scope, receive, send)
            else:
                await _refuse(scope, receive, send, NOT_FOUND)
        elif sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEAD:
            await _refuse(scope, receive, send, self._requests.refuse(request_of(scope).address, HEAD_TOO_LARGE))
        elif scope["type"] == "websocket":
            await serve_websocket(self._requests, request_of(scope), scope, receive, send)
        else:
            await self._http(request_of(scope), receive, send)

    async def _lifespan(self, scope: Any, receive: Any, send: Any) -> None:
        if self._other_app is not None:
            await self._other_app(scope, receive, _closing(self._hub, send))
            return
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self._hub.close()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return

    async def _http(self, request: HttpRequest, receive: Any, send: Any) -> None:
        headers = self._requests.origins.headers(request)
        if request.method == "OPTIONS":
            await _respond(send, 204 if headers else 403, headers, b"")
            return
        answer = await self._polling(request, receive)
        if answer is None:  # the client has disconnected
            return
        if isinstance(answer, Refusal):
            if answer is not CLOSED_BY_SERVER:
                self._requests.refuse(request.address, answer)
            closing = [(b"connection", b"close")] if answer.status == 408 else []
            await _respond(send, answer.status, [JSON, *closing, *headers], answer.body)
        else:
            body, more = answer
            await _respond(send, 200, [TEXT, *more, *headers], body)

    async def _polling(
        self, request: HttpRequest, receive: Any
    ) -> tuple[bytes, list[tuple[bytes, bytes]]] | Refusal | None:
        parameters = request.parameters()
        refusal = self._requests.check(request, parameters)
        if refusal is not None:
            return refusal
        if parameters["transport"] != "polling":
            return BAD_REQUEST._replace(detail="a WebSocket handshake on a server without WebSockets")
        if request.method not in ("GET", "POST"):
            return BAD_METHOD
        eio_sid = parameters.get("sid")
        if eio_sid is None:
            return self._open(request)
        session = await self._requests.find(eio_sid, request)
        if isinstance(session, Refusal):
            return session
        transport = session.transport
        if not isinstance(transport, Polling):
            return BAD_REQUEST._replace(detail="polling after the upgrade")
        fetched = await (self._get if request.method == "GET" else self._post)(session, transport, request, receive)
        return (fetched, []) if isinstance(fetched, bytes) else fetched

    def _open(self, request: HttpRequest) -> tuple[bytes, list[tuple[bytes, bytes]]] | Refusal:
        if request.method != "GET":
            return BAD_METHOD
        session = self._requests.open(request, TransportState.POLLING)
        if isinstance(session, Refusal):
            return session
        session.use(Polling(self._requests.settings, session))
        cookie = self._requests.bind_by_cookie(session, request)
        return self._requests.sessions.greet(session), [(b"set-cookie", cookie)] if cookie is not None else []

    async def _get(
        self, session: EngineSession, transport: Polling, _request: HttpRequest, receive: Any
    ) -> bytes | Refusal | None:
        if not session.alive:
            return self._fetched(session, transport)
        if transport.busy:  # the protocol allows one poll at a time
            session.end(TRANSPORT_ERROR)
            return BAD_REQUEST._replace(detail="two polls at once")
        if session.upgrading:
            return transport.body()
        fetching = transport.begin()
        gone = asyncio.ensure_future(_until_gone(receive))
        try:
            await asyncio.wait({fetching, gone}, return_when=asyncio.FIRST_COMPLETED)
            if fetching.done():
                return self._fetched(session, transport)
            if session.transport is transport:  # a cancelled poll may have lost packets
                session.end(TRANSPORT_ERROR)
            return None
        finally:
            transport.finish()
            gone.cancel()

    def _fetched(self, session: EngineSession, transport: Polling) -> bytes | Refusal:
        """Return the packets that wait; for a session that has ended, last of all, its end."""
        if transport.empty and not session.alive:
            self._requests.sessions.drained(session)
            if session.ended_for in RECONNECTS:
                return CLOSED_BY_SERVER
        return transport.body()

    async def _post(
        self, session: EngineSession, transport: Polling, request: HttpRequest, receive: Any
    ) -> bytes | Refusal | None:
        if transport.posting:
            session.end(TRANSPORT_ERROR)
            return BAD_REQUEST._replace(detail="two posts at once")
        transport.posting = True
        try:
            body = await _read(request, receive, session.max_body)
        finally:
            transport.posting = False
        if not isinstance(body, bytes):
            if body is not None:
                session.violation(body.detail)
            return body
        if not session.alive:
            return UNKNOWN_SID
        if session.transport is not transport:
            return BAD_REQUEST._replace(detail="polling after the upgrade")
        return self._received(session, body)

    def _received(self, session: EngineSession, body: bytes) -> bytes | Refusal:
        for packet in decode_payload(body, self._requests.settings.limits):
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
            return BAD_REQUEST._replace(detail="a packet that clients must not send")
        return b"ok"


def request_of(scope: Any) -> HttpRequest:
    """Return the request that an ASGI scope describes."""
    client = scope.get("client")
    return HttpRequest(
        scope.get("method", "GET"),
        scope["path"],
        scope["query_string"].decode("latin-1"),
        scope["headers"],
        str(client[0]) if client else "unknown",
        "https" if scope["scheme"] in ("https", "wss") else "http",
    )


async def _read(request: HttpRequest, receive: Any, limit: int) -> bytes | Refusal | None:
    """Return a request's body, or None if the client disconnected."""
    length = request.header("content-length") or "0"
    if not (length.isascii() and length.isdigit()) or len(length) > 18 or int(length) > limit:
        return BODY_TOO_LARGE
    body = bytearray()
    try:
        async with asyncio.timeout(REQUEST_SECONDS):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return None
                body += message.get("body", b"")
                if len(body) > limit:
                    return BODY_TOO_LARGE
                if not message.get("more_body"):
                    return bytes(body)
    except TimeoutError:
        return BODY_TOO_SLOW


async def _until_gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _respond(send: Any, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    length = (b"content-length", str(len(body)).encode())
    start = [*headers, length, (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})


async def _refuse(scope: Any, receive: Any, send: Any, refusal: Refusal) -> None:
    if scope["type"] == "websocket":
        await receive()  # websocket.connect
        await refuse_websocket(scope, send, refusal)
    else:
        await _respond(send, refusal.status, [JSON], refusal.body)


def _closing(hub: SocketIOServer, send: Any) -> Any:
    """Return a ``send`` that closes the hub before it reports the other application's shutdown."""

    async def send_and_close(message: Any) -> None:
        if message["type"] == "lifespan.shutdown.complete":
            await hub.close()
        await send(message)

    return send_and_close
