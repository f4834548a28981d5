"""The hub as an ASGI application: long-polling, and the WebSockets of other servers than the hub's own."""

from __future__ import annotations

import asyncio
from typing import Any

from roomkey.errors import ConfigError
from roomkey.hub.http.asgi_websocket import refuse_websocket, serve_websocket
from roomkey.hub.http.polling_requests import JSON, Headers, PollingResponse
from roomkey.hub.http.requests import HttpRequest, path_in_app
from roomkey.hub.http.socketio_server import SocketIOServer
from roomkey.hub.refusals import BODY_TOO_LARGE, BODY_TOO_SLOW, HEAD_TOO_LARGE, NOT_FOUND, Refusal
from roomkey.hub.settings import MAX_HEAD, REQUEST_SECONDS

__all__ = ["ASGIApp"]


class ASGIApp:
    """An ASGI 3 application that serves a hub, and passes every other path on.

    Args:
        hub: the hub.
        other_app: the ASGI application for the other paths; without one, they get 404.
    """

    def __init__(self, hub: SocketIOServer, other_app: Any = None) -> None:
        self._hub = hub
        self._requests = hub.requests
        self._polling = hub.polling
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
        send = _opening_and_closing(self._hub, send)
        if self._other_app is not None:
            await self._other_app(scope, receive, send)
            return
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return

    async def _http(self, request: HttpRequest, receive: Any, send: Any) -> None:
        client = _Client()
        exchange = self._polling.begin(request, client)
        try:
            if request.method == "POST" and await client.next_step() is None:
                body = await _read(request, receive, client.limit)
                if body is None:
                    return
                exchange.received(body)
            response = client.response or await _unless_gone(client, receive)
        finally:
            exchange.gone()  # nothing happens if there is a response
        if response is not None:
            closing: Headers = ((b"connection", b"close"),) if response.closes else ()
            await _respond(send, response.status, (*closing, *response.headers), response.body)


class _Client:
    """An ASGI server's client: a :class:`roomkey.hub.http.polling_requests.PollingClient`."""

    def __init__(self) -> None:
        self._step = asyncio.Event()
        self.limit = 0
        self.response: PollingResponse | None = None

    def read_body(self, limit: int) -> None:
        """Let :meth:`next_step` return."""
        self.limit = limit
        self._step.set()

    def respond(self, response: PollingResponse) -> None:
        """Let :meth:`next_step` return the response."""
        self.response = response
        self._step.set()

    async def next_step(self) -> PollingResponse | None:
        """Return the response, or None if the body must be read first."""
        await self._step.wait()
        self._step.clear()
        return self.response


async def _unless_gone(client: _Client, receive: Any) -> PollingResponse | None:
    """Wait for the response, or until the client disconnects."""
    answered = asyncio.ensure_future(client.next_step())
    gone = asyncio.ensure_future(_until_gone(receive))
    try:
        await asyncio.wait({answered, gone}, return_when=asyncio.FIRST_COMPLETED)
        return client.response
    finally:
        answered.cancel()
        gone.cancel()


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


async def _respond(send: Any, status: int, headers: Headers, body: bytes) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


async def _refuse(scope: Any, receive: Any, send: Any, refusal: Refusal) -> None:
    if scope["type"] == "websocket":
        await receive()  # websocket.connect
        await refuse_websocket(scope, send, refusal)
    else:
        await _respond(send, refusal.status, JSON, refusal.body)


def _opening_and_closing(hub: SocketIOServer, send: Any) -> Any:
    """Return a ``send`` that opens the hub before it reports the startup, and closes it before it reports the end."""

    async def send_after(message: Any) -> None:
        if message["type"] == "lifespan.startup.complete":
            try:
                await hub.open()
            except ConfigError as error:
                message = {"type": "lifespan.startup.failed", "message": str(error)}
        elif message["type"] == "lifespan.shutdown.complete":
            await hub.close()
        await send(message)

    return send_after
