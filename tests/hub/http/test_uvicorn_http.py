"""Requests to an application next to Socket.IO, on the protocols of the hub and ``roomkey serve``."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace

import pytest
import socketio
import websockets
from starlette.requests import Request
from support.certificate import make_certificate
from support.lag import loop_awake
from support.live import new_server, serve, until
from support.rawsocket import CONTINUATION, PATIENCE, PING, TEXT, RawSocket, frame, upgrade

from roomkey import Issuer
from roomkey.hub import Hub, runner
from roomkey.hub.http.uvicorn_private import http as uvicorn_http
from roomkey.socketio import AsyncGuard

WEBSOCKET = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n" % (
    b"A" * 22 + b"=="
)


class App:
    """Responds with the method and the body, echoes over WebSocket, and counts what is running."""

    def __init__(self) -> None:
        self.running = 0
        self.bodies: list[bytes] = []

    async def __call__(self, scope, receive, send):
        self.running += 1
        try:
            await (self._websocket if scope["type"] == "websocket" else self._http)(scope, receive, send)
        finally:
            self.running -= 1

    async def _http(self, scope, receive, send):
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.bodies.append(body)
        while scope["path"] == "/wait" and (await receive())["type"] != "http.disconnect":
            pass
        text = scope["method"].encode() + b" " + body
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(text))]})
        await send({"type": "http.response.body", "body": text})

    async def _websocket(self, scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture(params=["hub", "python-socketio"])
async def host(request, app):
    verifier = Issuer.ephemeral(audience="chat").verifier()
    if request.param == "hub":
        async with serve(Hub(verifier), app=app, log_level="warning") as where:
            yield where
        return
    sio = new_server()
    AsyncGuard(verifier).attach(sio)
    bounded = {name: runner.UVICORN_SETTINGS[name] for name in ("http", "ws")}
    async with serve(socketio.ASGIApp(sio, app), log_level="warning", **bounded) as where:
        yield where


@pytest.fixture
async def awake():
    async with loop_awake():
        yield


@pytest.fixture
def impatient(monkeypatch, awake):
    for name in ("HEAD_SECONDS", "STALL_SECONDS", "BODY_SECONDS"):
        monkeypatch.setattr(uvicorn_http, name, 0.2)
    monkeypatch.setattr("roomkey.hub.http.sniffer.HEAD_SECONDS", 0.2)


UPGRADES = {
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAA\r\n",
    "websocket": WEBSOCKET,
    "unknown": b"Connection: upgrade\r\nUpgrade: foo\r\n",
}
BODIES = {
    "length": (b"Content-Length: 21\r\n\r\n", b"GET /a HTTP/1.1\r\n\r\nxx"),
    "chunks": (b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\nGET /\r\n10\r\na HTTP/1.1\r\n\r\nxx\r\n0\r\n\r\n"),
}


@pytest.mark.checklist("I120")
@pytest.mark.parametrize("in_pieces", [False, True], ids=["one segment", "two segments"])
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("asked", UPGRADES)
async def test_body_after_an_ignored_upgrade_arrives_complete(host, app, asked, body, in_pieces):
    """The application receives the complete request, and the connection continues with the next one."""
    head, sent = BODIES[body]
    parts = [
        b"POST /x HTTP/1.1\r\nHost: x\r\n" + UPGRADES[asked] + head,
        sent + b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n",
    ]
    raw = await RawSocket.open(host)
    for part in parts if in_pieces else [b"".join(parts)]:
        await raw.send(part)
        await asyncio.sleep(0)
    assert (await raw.answer()).body == b"POST GET /a HTTP/1.1\r\n\r\nxx"
    assert (await raw.answer()).body == b"GET "
    assert app.bodies == [b"GET /a HTTP/1.1\r\n\r\nxx", b""]
    await raw.close()


@pytest.mark.parametrize("asked", UPGRADES)
async def test_body_after_an_ignored_upgrade_has_a_deadline(host, app, impatient, asked):
    raw = await RawSocket.open(host)
    await raw.send(b"POST /x HTTP/1.1\r\nHost: x\r\n" + UPGRADES[asked] + b"Content-Length: 21\r\n\r\nGET")
    assert await raw.ends()
    await until(lambda: not app.running)
    assert app.bodies == []


async def test_websocket_of_the_application_opens(host):
    async with websockets.connect(f"ws://{host}/live") as socket:
        await socket.send("hello")
        assert await socket.recv() == "hello"


async def test_frames_after_an_application_handshake_arrive(host):
    raw = await RawSocket.open(host)
    await raw.send(upgrade(host, line="GET /live HTTP/1.1") + frame("early"))
    assert (await raw.answer()).status == 101
    assert (await raw.frame()).payload == b"early"
    await raw.close()


@pytest.mark.checklist("E73")
@pytest.mark.parametrize("flood", [frame(b"x", PING), frame(b"x", 10), frame(b"", CONTINUATION, fin=False)])
async def test_websocket_of_the_application_limits_fragments(host, app, flood):
    raw = await RawSocket.open(host)
    await raw.send(upgrade(host, line="GET /live HTTP/1.1"))
    assert (await raw.answer()).status == 101
    await raw.send(frame(b"x", TEXT, fin=False) + flood * 10_000)
    assert await raw.ends()
    await until(lambda: not app.running)


@pytest.mark.checklist("I114")
async def test_pipelined_requests_are_limited(host, app):
    """Sixteen can wait. One more closes the connection, and nothing keeps running for it."""
    one = b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"
    raw = await RawSocket.open(host)
    await raw.send(one)
    await until(lambda: app.running == 1)
    await raw.send(one * uvicorn_http.MAX_PIPELINED)
    other = await RawSocket.open(host)
    await other.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await other.answer()).body == b"GET "
    assert app.running == 1
    await raw.send(one * 10_000)
    assert await raw.ends()
    await until(lambda: not app.running)
    assert app.bodies == [b"", b""]
    await other.close()


async def test_disconnect_with_pipelined_requests_is_noticed(host, app):
    raw = await RawSocket.open(host)
    await raw.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
    await until(lambda: app.running == 1)
    await raw.close()
    await until(lambda: not app.running)
    assert app.bodies == [b""]


async def test_pipelined_requests_are_answered(host):
    raw = await RawSocket.open(host)
    await raw.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * uvicorn_http.MAX_PIPELINED)
    for _ in range(uvicorn_http.MAX_PIPELINED):
        assert (await raw.answer()).body == b"GET "
    await raw.close()


@pytest.mark.checklist("I114")
async def test_websocket_after_a_waiting_request_leaves_nothing_running(host, app):
    """Its frames would come between the parts of that response, and it would not be told of the disconnect."""
    raw = await RawSocket.open(host)
    await raw.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n" + upgrade(host, line="GET /live HTTP/1.1"))
    await until(lambda: app.running)
    assert app.running == 1
    await raw.close()
    await until(lambda: not app.running)


@pytest.mark.parametrize("asked", UPGRADES)
async def test_many_ignored_upgrades_close_without_an_error(host, app, caplog, asked):
    raw = await RawSocket.open(host)
    await raw.send((b"POST /wait HTTP/1.1\r\nHost: x\r\n" + UPGRADES[asked] + b"Content-Length: 1\r\n\r\nx") * 1000)
    assert await raw.ends()
    await until(lambda: not app.running)
    assert not caplog.records


TRAILERS = {"one": b"x" * 65_536, "many": b"x\r\nA: " * 10_000}


@pytest.mark.checklist("I114")
@pytest.mark.parametrize("sent", TRAILERS)
async def test_endless_trailers_close_the_connection(host, app, monkeypatch, sent):
    """The bytes after a body are counted as well."""
    monkeypatch.setattr(uvicorn_http, "BODY_SECONDS", 100.0)
    monkeypatch.setattr(uvicorn_http, "STALL_SECONDS", 100.0)
    raw = await RawSocket.open(host)
    await raw.send(b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nA: ")
    ended = asyncio.create_task(raw.ends())
    for _ in range(64):
        if ended.done():
            break
        await raw.send(TRAILERS[sent])
        await asyncio.sleep(0)
    assert await ended
    await until(lambda: not app.running)
    assert app.bodies == []


async def test_trailer_is_not_a_header(host, app):
    """RFC 9110 section 6.5.1: a proxy that sets a header removes only the client's own header of that name."""
    seen = []

    async def remember(scope, receive, send):
        seen.extend(scope["headers"])
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    app._http = remember
    raw = await RawSocket.open(host)
    trailer = b"X-Forwarded-For: 10.9.9.9\r\nAuthorization: Bearer x\r\n"
    await raw.send(
        b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n" + trailer + b"\r\n"
    )
    assert (await raw.answer()).status == 204
    assert [name for name, _ in seen] == [b"host", b"transfer-encoding"]
    await raw.close()


async def test_steady_small_chunks_are_read(host, app):
    raw = await RawSocket.open(host)
    await raw.send(b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    await raw.send(b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n")
    await until(lambda: app.bodies)
    assert app.bodies == [b"x" * 20_000]
    await raw.close()


SLOW = {
    "nothing": (b"", b""),
    "a line": (b"GET /x", b"y"),
    "headers": (b"GET /x HTTP/1.1\r\nHost: x\r\n", b"A: b\r\n"),
    "a body": (b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", b"x"),
    "chunks": (b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "a chunk's extension": (b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x" * 100),
    "trailers": (
        b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nA: ",
        b"x" * 100,
    ),
    "polling headers": (b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n", b"A: b\r\n"),
    "a handshake": (
        b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n",
        b"A: b\r\n",
    ),
}


@pytest.mark.checklist("E74")
@pytest.mark.parametrize("slow", SLOW)
async def test_slow_request_is_closed(host, app, impatient, slow):
    """The deadline runs from the first byte, for every route."""
    begun, piece = SLOW[slow]
    raw = await RawSocket.open(host)
    await raw.send(begun)
    ended = asyncio.create_task(raw.ends())
    while not ended.done():
        await raw.send(piece)
        await asyncio.sleep(0.02)
    assert await ended
    await until(lambda: not app.running)
    assert app.bodies == []


@pytest.fixture
async def secure(impatient, app, tmp_path):
    trusted = make_certificate(tmp_path)
    tls = {"ssl_certfile": tmp_path / "cert.pem", "ssl_keyfile": tmp_path / "key.pem"}
    async with serve(Hub(Issuer.ephemeral(audience="chat").verifier()), app=app, **tls) as where:
        yield where, trusted


@pytest.mark.checklist("E74")
@pytest.mark.parametrize("begun", [b"", b"\x16\x03\x01\x02\x00\x01"], ids=["nothing", "a part"])
async def test_stalled_tls_handshake_is_closed(secure, begun):
    """The deadline of a request's head also applies before the first request."""
    raw = await RawSocket.open(secure[0])
    await raw.send(begun)
    assert await raw.ends()


async def test_unanswered_tls_shutdown_is_closed(secure):
    where, trusted = secure

    def wait_for_both_ends() -> tuple[bytes, bytes]:
        with socket.create_connection(("127.0.0.1", int(where.rpartition(":")[2])), PATIENCE) as plain:
            wrapped = trusted.wrap_socket(plain, server_hostname="localhost")
            end_of_tls = wrapped.recv(1)  # no request comes, so the server closes
            with socket.socket(fileno=wrapped.detach()) as beneath:
                beneath.settimeout(PATIENCE)
                return end_of_tls, beneath.recv(1)

    assert await asyncio.to_thread(wait_for_both_ends) == (b"", b"")


async def test_steady_large_body_is_read(host, app, awake, monkeypatch):
    monkeypatch.setattr(uvicorn_http, "BODY_SECONDS", 0.2)
    raw = await RawSocket.open(host)
    await raw.send(b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n")
    for _ in range(5):
        await raw.send(b"x" * 1000)
        await asyncio.sleep(0.06)
    assert (await raw.answer()).body == b"POST " + b"x" * 5000
    await raw.close()


async def test_garbage_after_a_request_logs_one_line(host, app, caplog):
    raw = await RawSocket.open(host)
    await raw.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n\x00\x01garbage\r\n\r\n")
    assert await raw.ends()
    raw = await RawSocket.open(host)
    await raw.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
    await raw.close()
    await until(lambda: not app.running)
    assert [(entry.getMessage(), entry.exc_info) for entry in caplog.records] == [
        ("Invalid HTTP request received.", None)
    ]


@pytest.mark.checklist("I120")
@pytest.mark.parametrize(
    "half", [b"Content-Length: 10\r\n\r\nhalf", b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"]
)
async def test_truncated_body_logs_one_line(host, app, caplog, half):
    """The application does not mistake it for a complete body, and its exception is logged without a traceback."""

    async def reads(scope, receive, send):
        app.bodies.append(await Request(scope, receive).body())

    app._http = reads
    raw = await RawSocket.open(host)
    await raw.send(b"POST / HTTP/1.1\r\nHost: x\r\n" + half)
    await until(lambda: app.running)
    await raw.close()
    await until(lambda: not app.running and caplog.records)
    expected = "a client disconnected before its request was complete (ClientDisconnect)"
    assert [(entry.getMessage(), entry.exc_info) for entry in caplog.records] == [(expected, None)]
    assert app.bodies == []


WHOLE, CONNECTED = {"disconnected": True, "more_body": False}, {"disconnected": False, "more_body": True}


@pytest.mark.parametrize("state", [WHOLE, CONNECTED], ids=["whole", "connected"])
async def test_application_error_keeps_its_traceback(state):
    async def fails(scope, receive, send):
        raise ValueError("a mistake")

    with pytest.raises(ValueError, match="a mistake"):
        await uvicorn_http._without_traceback(fails, SimpleNamespace(**state), {}, None, None)
