"""WebSockets over ASGI: slower than the hub's own, for servers that are not ours."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from roomkey.hub.engine import BAD_REQUEST, UPGRADE_SECONDS, Engine, Refusal
from roomkey.hub.requests import HttpRequest
from roomkey.hub.session import NORMAL, TOO_BIG, TRANSPORT_CLOSE, EngineSession, Part
from roomkey.wire import Message, TransportState

if TYPE_CHECKING:
    from roomkey.hub.hub import Hub

CLOSE_SECONDS = 1.0
TOO_LATE = BAD_REQUEST._replace(detail="an upgrade that waited too long for its verifier")


class AsgiWebSocket:
    """A WebSocket that an ASGI server speaks: a :class:`roomkey.hub.session.Transport`.

    Args:
        engine: says how much may wait.
        send: ASGI's.

    Attributes:
        session: whose it is, or is to become by an upgrade.
        ended: nothing more is read: the application returns, and the server ends the connection.
    """

    def __init__(self, engine: Engine, send: Any) -> None:
        self._engine = engine
        self._send = send
        self._outbox: list[tuple[dict[str, Any], int]] = []
        self._unsent = 0
        self._wake = asyncio.Event()
        self._closed = False
        self.ended = asyncio.Event()
        self._writer = asyncio.ensure_future(self._write())
        self.session: EngineSession | None = None

    def send(self, message: Message) -> None:
        """Send a Socket.IO packet, with its attachments."""
        self.send_packet(message.text)
        for attachment in message.attachments:
            self.send_packet(attachment, binary=True)

    send_soon = send

    def send_packet(self, packet: bytes, *, binary: bool = False) -> None:
        """Send one Engine.IO packet, or the data of a binary message."""
        data: dict[str, Any] = {"bytes": packet} if binary else {"text": packet.decode()}
        self._put({"type": "websocket.send", **data}, len(packet))

    def close(self, code: int = NORMAL) -> bool:
        """Close after what was sent has left, or after a short while."""
        self._put({"type": "websocket.close", "code": code}, 0)
        self._closed = True
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, self.gone)
        return True

    def abort(self) -> None:
        """Close now."""
        self._outbox.clear()
        self.gone()

    def left(self) -> None:
        """The client has said that it closes."""

    def take(self) -> list[Part]:
        """Nothing: a session never moves from a WebSocket to another transport."""
        return []

    def gone(self) -> None:
        """Nothing can be sent any more, and nothing is read."""
        self._closed = True
        self._writer.cancel()
        self.ended.set()

    def _put(self, event: dict[str, Any], size: int) -> None:
        if self._closed:
            return
        self._outbox.append((event, size))
        self._unsent += size
        self._wake.set()
        if self._unsent > self._engine.max_unsent and self.session is not None:
            self._engine.too_slow(self.session)

    async def _write(self) -> None:
        with contextlib.suppress(Exception):  # the client has gone, in whichever way the server says so
            while True:
                await self._wake.wait()
                self._wake.clear()
                outbox, self._outbox = self._outbox, []
                for event, size in outbox:
                    await self._send(event)
                    self._unsent -= size
                    if event["type"] == "websocket.close":
                        return


async def serve_websocket(hub: Hub, request: HttpRequest, scope: Any, receive: Any, send: Any) -> None:
    """Serve one WebSocket: a session of its own, or the upgrade of one that polls."""
    engine = hub.engine
    await receive()  # websocket.connect
    opened = await _open(engine, request)
    if isinstance(opened, Refusal):
        await refuse_websocket(scope, send, engine.refused(request.address, opened))
        return
    websocket = AsgiWebSocket(engine, send)
    websocket.session = opened
    upgrade = "sid" in request.parameters()
    if not upgrade:
        opened.use(websocket)
    try:
        await send({"type": "websocket.accept"})
        if not upgrade:
            websocket.send_packet(engine.greet(opened))
        elif not opened.offer(websocket):
            await send({"type": "websocket.close", "code": NORMAL})
            return
        await _read_until_ended(engine, opened, websocket, receive)
    finally:
        if opened.alive and opened.transport is websocket:
            opened.end(TRANSPORT_CLOSE)
        opened.candidate_lost(websocket)
        websocket.gone()


async def _open(engine: Engine, request: HttpRequest) -> EngineSession | Refusal:
    parameters = request.parameters()
    # An ASGI server has done the handshake; only the query has still to say so.
    request.headers["upgrade"], request.headers["connection"] = "websocket", "upgrade"
    refusal = engine.check(request, parameters)
    if refusal is not None:
        return refusal
    if "sid" not in parameters:
        return engine.open(request, TransportState.WEBSOCKET)
    try:
        async with asyncio.timeout(UPGRADE_SECONDS) as deadline:
            waiting = _Waiting(deadline)
            engine.undecided.add(waiting)
            try:
                session = await engine.find(parameters["sid"], request)
            finally:
                engine.undecided.discard(waiting)
    except TimeoutError:
        return TOO_LATE
    if isinstance(session, EngineSession) and not session.alive:
        return BAD_REQUEST
    return session


class _Waiting:
    """An upgrade that waits for a verifier, as the stop of the server sees it."""

    def __init__(self, deadline: asyncio.Timeout) -> None:
        self._deadline = deadline

    def shutdown(self) -> None:
        """Wait no longer."""
        self._deadline.reschedule(asyncio.get_running_loop().time())


async def _read_until_ended(engine: Engine, session: EngineSession, websocket: AsgiWebSocket, receive: Any) -> None:
    """Read, but not longer than the session lives: a client that reads nothing would hold the connection for ever."""
    reading = asyncio.ensure_future(_read(engine, session, websocket, receive))
    ended = asyncio.ensure_future(websocket.ended.wait())
    try:
        await asyncio.wait({reading, ended}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        reading.cancel()
        ended.cancel()
    if reading.done() and not reading.cancelled() and reading.exception() is not None:
        raise reading.exception()  # type: ignore[misc]


async def _read(engine: Engine, session: EngineSession, websocket: AsgiWebSocket, receive: Any) -> None:
    while True:
        message = await receive()
        if message["type"] != "websocket.receive":
            return
        text = message.get("text")
        data = message.get("bytes") if text is None else text.encode(errors="surrogatepass")
        if len(data) > session.max_packet:
            session.end(TRANSPORT_CLOSE, TOO_BIG)
            return
        if session.transport is not websocket:
            session.candidate_text(websocket, b"" if text is None else data)
        elif text is not None:
            session.text(data)
        else:
            session.binary(data)


async def refuse_websocket(scope: Any, send: Any, refusal: Refusal) -> None:
    """Answer a WebSocket's request with a refusal, or as near to it as the server can."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008})
        return
    body = refusal.body
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "websocket.http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})
