"""WebSocket requests of an ASGI server: a session of their own, or the upgrade of one that polls."""

from __future__ import annotations

import asyncio
from typing import Any

from roomkey.guard.settings import UPGRADE_SECONDS
from roomkey.hub.engine_session import NORMAL, TOO_BIG, TRANSPORT_CLOSE, EngineSession
from roomkey.hub.http.requests import HttpRequest
from roomkey.hub.http.session_requests import SessionRequests
from roomkey.hub.refusals import BAD_REQUEST, UPGRADE_TOO_LATE, Refusal
from roomkey.hub.transports.asgi import AsgiWebSocket
from roomkey.wire import TransportState


async def serve_websocket(requests: SessionRequests, request: HttpRequest, scope: Any, receive: Any, send: Any) -> None:
    """Serve one WebSocket: open a session for it, or upgrade a polling session to it."""
    await receive()  # websocket.connect
    session = await _open(requests, request)
    if isinstance(session, Refusal):
        await refuse_websocket(scope, send, requests.refuse(request.address, session))
        return
    websocket = AsgiWebSocket(requests.settings, send)
    websocket.session = session
    upgrade = "sid" in request.parameters()
    if not upgrade:
        session.use(websocket)
    try:
        await send({"type": "websocket.accept"})
        if not upgrade:
            websocket.send_packet(requests.sessions.greet(session))
        elif not session.offer_upgrade(websocket):
            await send({"type": "websocket.close", "code": NORMAL})
            return
        await _read_until_ended(session, websocket, receive)
    finally:
        if session.alive and session.transport is websocket:
            session.end(TRANSPORT_CLOSE)
        session.candidate_lost(websocket)
        websocket.gone()


async def _open(requests: SessionRequests, request: HttpRequest) -> EngineSession | Refusal:
    parameters = request.parameters()
    # The ASGI server has checked the handshake and removed its headers; the query must still match them.
    request.headers["upgrade"], request.headers["connection"] = "websocket", "upgrade"
    refusal = requests.check(request, parameters)
    if refusal is not None:
        return refusal
    if "sid" not in parameters:
        return requests.open(request, TransportState.WEBSOCKET)
    try:
        async with asyncio.timeout(UPGRADE_SECONDS) as deadline:
            waiting = _Waiting(deadline)
            requests.pending.add(waiting)
            try:
                session = await requests.find(parameters["sid"], request)
            finally:
                requests.pending.discard(waiting)
    except TimeoutError:
        return UPGRADE_TOO_LATE
    if isinstance(session, EngineSession) and not session.alive:
        return BAD_REQUEST
    return session


class _Waiting:
    """An upgrade that waits for a verifier, so that the stop of the server can end the wait."""

    def __init__(self, deadline: asyncio.Timeout) -> None:
        self._deadline = deadline

    def shutdown(self) -> None:
        """Stop waiting."""
        self._deadline.reschedule(asyncio.get_running_loop().time())


async def _read_until_ended(session: EngineSession, websocket: AsgiWebSocket, receive: Any) -> None:
    """Read until the session ends: a client that reads nothing would otherwise hold the connection open."""
    reading = asyncio.ensure_future(_read(session, websocket, receive))
    ended = asyncio.ensure_future(websocket.ended.wait())
    try:
        await asyncio.wait({reading, ended}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        reading.cancel()
        ended.cancel()
    if reading.done() and not reading.cancelled() and reading.exception() is not None:
        raise reading.exception()  # type: ignore[misc]


async def _read(session: EngineSession, websocket: AsgiWebSocket, receive: Any) -> None:
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
    """Respond to a WebSocket's request with a refusal; without the ASGI extension for that, with a plain 403."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008})
        return
    body = refusal.body
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "websocket.http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})
