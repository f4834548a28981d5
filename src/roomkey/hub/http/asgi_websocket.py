"""WebSocket requests of an ASGI server: a session of their own, or the upgrade of one that polls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from roomkey.hub.engine import UPGRADE_SECONDS, Engine
from roomkey.hub.http.requests import HttpRequest
from roomkey.hub.refusals import BAD_REQUEST, UPGRADE_TOO_LATE, Refusal
from roomkey.hub.session import NORMAL, TOO_BIG, TRANSPORT_CLOSE, EngineSession
from roomkey.hub.transports.asgi import AsgiWebSocket
from roomkey.wire import TransportState

if TYPE_CHECKING:
    from roomkey.hub.hub import Hub


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
            engine.pending.add(waiting)
            try:
                session = await engine.find(parameters["sid"], request)
            finally:
                engine.pending.discard(waiting)
    except TimeoutError:
        return UPGRADE_TOO_LATE
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
