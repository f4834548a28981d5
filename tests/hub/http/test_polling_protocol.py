"""The hub's own connections of long-polling clients: requests as bytes."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.certificate import make_certificate
from support.examples import examples
from support.live import serve, until
from support.rawsocket import Answer, RawSocket, upgrade

from roomkey import Issuer
from roomkey.hub import Hub
from roomkey.hub.engine_session import EngineSession
from roomkey.hub.http import polling_protocol
from roomkey.hub.http.polling_protocol import MAX_AHEAD, PollingConnection
from roomkey.hub.http.uvicorn_private import http as uvicorn_http
from roomkey.hub.settings import MAX_HEAD

ISSUER = Issuer.ephemeral(audience="chat")
QUERY = "/socket.io/?EIO=4&transport=polling"
ECHO = b'421["echo",1]'
ECHOED = b"431[1]"
LARGE = 20_000_000


async def other_app(scope: Any, receive: Any, send: Any) -> None:
    """Answer the requests for other paths with their path."""
    text = scope["path"].encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(text))]})
    await send({"type": "http.response.body", "body": text})


def make_hub(**options: Any) -> Hub:
    hub = Hub(ISSUER.verifier(), **options)
    hub.on("echo", lambda sid, *data: data)
    hub.on("where", lambda sid: hub.get_environ(sid)["REMOTE_ADDR"])
    return hub


@pytest.fixture
def read(monkeypatch) -> list[str]:
    """The methods of the requests that the hub's own connections read."""
    methods: list[str] = []
    begin = PollingConnection._begin

    def count(connection: PollingConnection, request: Any) -> None:
        methods.append(request.method)
        begin(connection, request)

    monkeypatch.setattr(PollingConnection, "_begin", count)
    return methods


@pytest.fixture
async def hub(read):
    return make_hub()


@pytest.fixture
async def host(hub):
    async with serve(hub, app=other_app) as host:
        yield host


def get(sid: str = "", *headers: str, path: str = "", version: str = "1.1", method: str = "GET") -> bytes:
    target = path or f"{QUERY}{'&sid=' + sid if sid else ''}"
    return "\r\n".join([f"{method} {target} HTTP/{version}", "Host: x", *headers, "", ""]).encode()


def post(sid: str, body: bytes, *headers: str, version: str = "1.1") -> bytes:
    return get(sid, *headers, f"Content-Length: {len(body)}", version=version, method="POST") + body


def hello() -> bytes:
    return b'40{"token":"%b"}' % ISSUER.issue("ada").encode()


async def ask(raw: RawSocket, request: bytes) -> Answer:
    await raw.send(request)
    return await raw.answer()


async def opened(raw: RawSocket) -> str:
    sid: str = json.loads((await ask(raw, get())).body[1:])["sid"]
    return sid


async def member(raw: RawSocket) -> str:
    """Open a session on a connection, and join the main namespace."""
    sid = await opened(raw)
    assert (await ask(raw, post(sid, hello()))).body == b"ok"
    assert (await ask(raw, get(sid))).body.startswith(b"40")
    return sid


async def waiting_member(hub: Hub, raw: RawSocket) -> EngineSession:
    """Open a session on a connection, join the main namespace, and send a poll; return the session when it waits."""
    sid = await member(raw)
    await raw.send(get(sid))
    session = hub.sessions.active[sid]
    await until(lambda: session.transport.busy)
    return session


# One request after the other


async def test_connection_carries_many_requests(host, read):
    raw = await RawSocket.open(host)
    sid = await member(raw)
    for _count in range(3):
        assert (await ask(raw, post(sid, ECHO))).body == b"ok"
        assert (await ask(raw, get(sid))).body == ECHOED
    assert read == ["GET", "POST", "GET", *["POST", "GET"] * 3]
    await raw.close()


async def test_responses_have_the_headers_of_uvicorn(host, read):
    """The same requests, once read by the hub and once by uvicorn, which reads HTTP/1.0."""
    heads = []
    for version in ("1.1", "1.0"):
        raw = await RawSocket.open(host)
        answer = await ask(raw, get("", "Origin: http://x", "Connection: close", version=version))
        assert await raw.ends()
        heads.append({name: value for name, value in answer.headers.items() if name not in ("date", "content-length")})
        assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", answer.headers["date"])
    assert read == ["GET"]
    assert heads[0] == heads[1]
    assert heads[0]["cache-control"] == "no-store"
    assert heads[0]["connection"] == "close"
    assert heads[0]["access-control-allow-origin"] == "http://x"


async def test_response_is_one_write(host, monkeypatch):
    written: list[bytes] = []
    respond = PollingConnection.respond

    def spy(connection: PollingConnection, response: Any) -> None:
        write = connection._transport.write
        connection._transport = Spy(connection._transport, lambda data: (written.append(data), write(data)))
        respond(connection, response)
        connection._transport = connection._transport.transport

    monkeypatch.setattr(PollingConnection, "respond", spy)
    raw = await RawSocket.open(host)
    await opened(raw)
    assert len(written) == 1
    await raw.close()


class Spy:
    """A transport whose writes are seen."""

    def __init__(self, transport: Any, write: Any) -> None:
        self.transport, self.write = transport, write

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)


async def test_connection_is_handed_to_uvicorn_and_back(host, read):
    raw = await RawSocket.open(host)
    sid = await member(raw)
    for _count in range(2):
        assert (await ask(raw, get(path="/other"))).body == b"/other"
        assert (await ask(raw, post(sid, ECHO))).body == b"ok"
        assert (await ask(raw, get(sid))).body == ECHOED
    assert read == ["GET", "POST", "GET", *["POST", "GET"] * 2]
    await raw.close()


async def test_websocket_follows_polls_on_one_connection(host):
    raw = await RawSocket.open(host)
    sid = await member(raw)
    assert (await ask(raw, upgrade(host, f"&sid={sid}"))).status == 101
    await raw.text("2probe")
    assert await raw.packet() == "3probe"
    await raw.close()


UNUSUAL = {
    "an older version": lambda sid: get(sid, "Content-Length: 13", version="1.0", method="POST") + ECHO,
    "chunks": lambda sid: (
        get(sid, "Transfer-Encoding: chunked", method="POST") + b'6\r\n421["e\r\n7\r\ncho",1]\r\n0\r\n\r\n'
    ),
    "an expectation": lambda sid: post(sid, ECHO, "Expect: 100-continue"),
    "a name twice": lambda sid: post(sid, ECHO, "X: 1", "X: 2"),
    "an empty line before it": lambda sid: b"\r\n" + post(sid, ECHO),
    "a path with an escape": lambda sid: post(sid, ECHO).replace(b"/socket.io/", b"/socket%2Eio/"),
    "the whole address": lambda sid: post(sid, ECHO).replace(b"/socket.io/", b"http://x/socket.io/"),
    "an upgrade to something else": lambda sid: post(sid, ECHO, "Connection: upgrade", "Upgrade: h2c"),
}


@pytest.mark.parametrize("before", [0, 1], ids=["first request", "second request"])
@pytest.mark.parametrize("unusual", UNUSUAL)
async def test_unusual_request_is_answered_all_the_same(host, unusual, before):
    first = await RawSocket.open(host)
    sid = await member(first)
    raw = await RawSocket.open(host)
    if before:
        await opened(raw)
    await raw.send(UNUSUAL[unusual](sid))
    answer = await raw.answer()
    if answer.status == 100:
        answer = await raw.answer()
    assert answer.body == b"ok"
    assert (await ask(first, get(sid))).body == ECHOED
    await raw.close()
    await first.close()


SMUGGLED = {
    "two lengths": ("Content-Length: 13", "Content-Length: 0"),
    "a list of lengths": ("Content-Length: 13, 13",),
    "a length and chunks": ("Content-Length: 13", "Transfer-Encoding: chunked"),
    "a length with a sign": ("Content-Length: +13",),
    "a negative length": ("Content-Length: -1",),
    "a length with a space": ("Content-Length: 1 3",),
    "a length with an underscore": ("Content-Length: 1_3",),
    "a length in other digits": ("Content-Length: \xb2",),
    "an endless length": ("Content-Length: 99999999999999999999999999",),
    "a folded line": ("X: 1", " Content-Length: 13"),
    "a space before the colon": ("Content-Length : 13",),
    "a bare line feed": ("X: 1\nContent-Length: 13",),
    "a bare carriage return": ("X: 1\rContent-Length: 13",),
    "a null": ("X: \x00", "Content-Length: 13"),
    "an unknown coding": ("Transfer-Encoding: gzip",),
    "a bad chunk": ("Transfer-Encoding: chunked",),
}


@pytest.mark.checklist("E74")
@pytest.mark.parametrize("before", [0, 1], ids=["first request", "second request"])
@pytest.mark.parametrize("smuggled", SMUGGLED)
async def test_ambiguous_request_executes_nothing_behind_it(host, hub, smuggled, before):
    first = await RawSocket.open(host)
    sid = await member(first)
    raw = await RawSocket.open(host)
    if before:
        await opened(raw)
    sessions = len(hub.sessions.active)
    await raw.send(get(sid, *SMUGGLED[smuggled], method="POST").replace("²".encode(), b"\xb2") + ECHO + get())
    answer = await raw.answer()
    assert answer.status in (400, 413), answer
    assert len(hub.sessions.active) <= sessions
    await raw.close()
    await first.close()


@settings(max_examples=examples(30), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
@pytest.mark.long
def test_requests_can_be_split_at_any_byte(data):
    async def run() -> None:
        hub = make_hub()
        async with serve(hub, app=other_app) as host:
            raw = await RawSocket.open(host)
            sid = await member(raw)
            bodies = data.draw(st.lists(st.sampled_from([ECHO, ECHO + b"\x1e" + ECHO, b'42["echo"]']), max_size=4))
            stream = b"".join(
                part for body in bodies for part in (post(sid, body), get(sid) if body != b'42["echo"]' else b"")
            ) + get(path="/end")
            cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
            for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
                await raw.send(stream[start:end])
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            for body in bodies:
                assert (await raw.answer()).body == b"ok"
                if body != b'42["echo"]':
                    assert (await raw.answer()).body == body.replace(ECHO, ECHOED)
            assert (await raw.answer()).body == b"/end"
            await raw.close()

    asyncio.run(run())


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.sampled_from(
                [
                    b"\r\n\r\n",
                    get(),
                    get(method="POST"),
                    b"Content-Length: 5\r\n",
                    b"GET ",
                    QUERY.encode(),
                    b" HTTP/1.1\r\n",
                ]
            ),
        ),
        max_size=12,
    )
)
@pytest.mark.long
def test_garbage_leaves_nothing_behind(pieces):
    async def run() -> None:
        hub = make_hub()
        async with serve(hub, app=other_app) as host:
            raw = await RawSocket.open(host)
            for piece in pieces:
                await raw.send(piece)
                await asyncio.sleep(0)
            await raw.close()
            other = await RawSocket.open(host)
            await member(other)
            await other.close()
            await until(lambda: not hub.requests.pending)

    asyncio.run(run())


# Several requests at once


async def test_pipelined_requests_are_answered_in_order(host, hub):
    raw = await RawSocket.open(host)
    sid = await member(raw)
    await raw.send(get(sid) + post(sid, ECHO) + get(path="/other"))  # the poll waits, and all behind it
    [session] = hub.sessions.active.values()
    await until(lambda: session.transport.busy)
    await hub.emit("news")
    assert (await raw.answer()).body == b'42["news"]'
    assert (await raw.answer()).body == b"ok"
    assert (await raw.answer()).body == b"/other"
    await raw.close()


async def test_pipelined_requests_of_one_client_leave_turns_to_others(host, hub, read):
    raw, other = await RawSocket.open(host), await RawSocket.open(host)
    sid = await member(other)
    read.clear()
    await raw.send(get("unknown") * 400)
    await until(lambda: read)
    assert (await ask(other, post(sid, ECHO))).body == b"ok"
    assert len(read) < 400
    for _count in range(400):
        assert (await raw.answer()).status == 400
    await raw.close()
    await other.close()


async def test_client_that_sends_ahead_of_its_poll_is_not_read(host, hub):
    raw = await RawSocket.open(host)
    session = await waiting_member(hub, raw)
    connection = session.transport._poll.__self__._client
    raw.writer.write(b"x" * 30_000_000)
    await until(lambda: connection._reading_paused)
    assert len(connection._buffer) < MAX_AHEAD + 300_000
    await asyncio.sleep(0.05)
    assert len(connection._buffer) < MAX_AHEAD + 300_000
    await hub.emit("news")
    assert (await raw.answer()).status == 200
    await raw.close()


async def test_client_that_does_not_read_gets_no_further_responses(read):
    hub = make_hub(max_unsent=20_000_000)
    async with serve(hub) as host:
        raw = await RawSocket.open(host)
        sid = await member(raw)
        raw.writer.transport.pause_reading()
        await hub.emit("news", "x" * 15_000_000)
        read.clear()
        raw.writer.write(get(sid) + get("unknown") * 10)
        await until(lambda: read)
        await asyncio.sleep(0.05)
        assert read == ["GET"]
        raw.writer.transport.resume_reading()
        assert len((await raw.answer()).body) > 15_000_000
        for _count in range(10):
            assert (await raw.answer()).status == 400
        await raw.close()


async def test_unread_response_of_uvicorn_delays_the_polls_behind_it(hub, read):
    async def large(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % LARGE)]})
        await send({"type": "http.response.body", "body": b"x" * LARGE})

    async with serve(hub, app=large) as host:
        raw = await RawSocket.open(host)
        raw.writer.transport.pause_reading()
        await raw.send(get(path="/large"))
        await asyncio.sleep(0.1)  # the response is written
        for _count in range(20):
            raw.writer.write(get("unknown"))
            await asyncio.sleep(0)
        await asyncio.sleep(0.1)
        assert not read
        raw.writer.transport.resume_reading()
        assert len((await raw.answer()).body) == LARGE
        for _count in range(20):
            assert (await raw.answer()).status == 400
        await raw.close()
    assert len(read) == 20


# Limits and deadlines


@pytest.mark.checklist("E74")
async def test_endless_head_of_a_later_request_is_refused(host, hub):
    raw = await RawSocket.open(host)
    await opened(raw)
    answer = await ask(raw, get()[:-2] + b"X: " + b"y" * MAX_HEAD)
    assert answer.status == 431
    assert await raw.ends()


async def test_large_body_is_refused_and_the_connection_goes_on(host):
    raw = await RawSocket.open(host)
    sid = await opened(raw)
    assert (await ask(raw, post(sid, b"x" * 3_000_000))).status == 413
    assert (await ask(raw, get("unknown"))).status == 400
    await raw.close()


async def test_body_for_nobody_is_skipped(host):
    raw = await RawSocket.open(host)
    request = post("unknown", b"GET / HTTP/1.1\r\n\r\n")
    await raw.send(request[:-5])
    assert (await raw.answer()).status == 400
    assert (await ask(raw, request[-5:] + get())).body.startswith(b"0{")
    await raw.close()


@pytest.mark.checklist("E74")
async def test_idle_connection_is_closed(hub):
    async with serve(hub, timeout_keep_alive=0.1) as host:
        raw = await RawSocket.open(host)
        await opened(raw)
        assert await raw.ends()


@pytest.mark.checklist("E74")
@pytest.mark.parametrize("half", [get()[:-3], post("unknown", b"x" * 50)[:-5]], ids=["head", "unused body"])
async def test_half_of_a_later_request_is_closed(host, half, monkeypatch):
    raw = await RawSocket.open(host)
    await opened(raw)
    monkeypatch.setattr(uvicorn_http, "HEAD_SECONDS", 0.1)
    monkeypatch.setattr(polling_protocol, "REQUEST_SECONDS", 0.1)
    await raw.send(half)
    assert await raw.ends()


@pytest.mark.checklist("E74")
async def test_late_body_is_refused(host, hub, monkeypatch):
    raw = await RawSocket.open(host)
    sid = await member(raw)
    monkeypatch.setattr(polling_protocol, "REQUEST_SECONDS", 0.1)
    answer = await ask(raw, post(sid, ECHO)[:-1])
    assert (answer.status, answer.headers["connection"]) == (408, "close")
    assert await raw.ends()
    assert not hub.sessions.active


# The end


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_idle_connection_does_not_keep_thousands_of_headers(host, hub, method, monkeypatch):
    connections = []
    start = PollingConnection.start
    monkeypatch.setattr(PollingConnection, "start", lambda self, *args: (connections.append(self), start(self, *args)))
    many = ["Content-Length: 0", *(f"{number:x}:" for number in range(2000))]
    raw = await RawSocket.open(host)
    for headers, remembered in ((["A: b", many[0]], 3), (many, 0)):
        assert (await ask(raw, get("unknown", *headers, method=method))).status == 400
        [connection] = connections
        kept = connection._last_get if method == "GET" else connection._last_post
        assert len(kept.fields) == remembered
    await raw.close()


async def test_client_that_leaves_its_poll_ends_the_session(host, hub):
    raw = await RawSocket.open(host)
    await waiting_member(hub, raw)
    raw.writer.write_eof()
    await until(lambda: not hub.sessions.active)
    assert await raw.ends()


async def test_connections_that_are_gone_leave_nothing(host, hub):
    raws = [await RawSocket.open(host) for _count in range(4)]
    session = await waiting_member(hub, raws[0])
    shared = session.transport._poll.__self__._client._shared
    for raw, half in zip(raws[1:], (get()[:-2], post("unknown", ECHO)[:-1], b""), strict=True):
        await opened(raw)
        await raw.send(half)
    sweeps = (shared.heads, shared.bodies, shared.idle, shared.unread)
    await until(lambda: [len(sweep._due) for sweep in sweeps] == [1, 1, 1, 0])
    assert len(shared.state.connections) == 4
    for raw in raws:
        await raw.close()
    await until(lambda: not shared.state.connections)
    assert not any(sweep._due for sweep in sweeps)


async def test_stop_answers_waiting_polls_and_closes_idle_connections(hub):
    async with serve(hub) as host:
        waiting, idle = await RawSocket.open(host), await RawSocket.open(host)
        await opened(idle)
        await waiting_member(hub, waiting)
    answer = await waiting.answer()
    assert (answer.status, answer.headers["connection"]) == (400, "close")
    assert await waiting.ends()
    assert await idle.ends()


async def test_error_of_the_application_is_answered(read, caplog):
    def fail(origin: str) -> bool:
        raise RuntimeError("the application's")

    async with serve(make_hub(cors_allowed_origins=fail)) as host:
        raw = await RawSocket.open(host)
        answer = await ask(raw, get("", "Origin: http://other"))
        assert answer.status == 500
        assert await raw.ends()
    assert "could not answer a long-polling request" in caplog.text
    caplog.clear()


# Addresses, TLS, and settings of uvicorn


async def test_address_comes_from_a_trusted_proxy_for_each_request(read):
    hub = make_hub(session_binding="address")
    async with serve(hub, proxy_headers=True, forwarded_allow_ips="127.0.0.1") as host:
        raw = await RawSocket.open(host)
        ada, eve = "X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 192.0.2.2"
        sid = json.loads((await ask(raw, get("", ada))).body[1:])["sid"]
        assert (await ask(raw, post(sid, hello(), eve))).status == 403
        assert (await ask(raw, post(sid, hello(), ada))).status == 200
        assert hub.sessions.active[sid].connection.address == "192.0.2.1"
        await raw.close()
    assert read == ["GET", "POST", "POST"]


async def test_tls_works(hub, read, tmp_path):
    trusting = make_certificate(tmp_path)
    async with serve(hub, ssl_certfile=tmp_path / "cert.pem", ssl_keyfile=tmp_path / "key.pem") as host:
        raw = await RawSocket.open(host, ssl=trusting, server_hostname="localhost")
        sid = await member(raw)
        assert (await ask(raw, post(sid, ECHO))).body == b"ok"
        assert (await ask(raw, get(sid))).body == ECHOED
        assert hub.sessions.active[sid].request.scheme == "https"
        await raw.close()
    assert read == ["GET", "POST", "GET", "POST", "GET"]


@pytest.mark.parametrize("option", [{"access_log": True}, {"limit_concurrency": 100}], ids=str)
async def test_limits_and_log_of_uvicorn_apply(hub, read, option):
    async with serve(hub, **option) as host:
        raw = await RawSocket.open(host)
        await member(raw)
        await raw.close()
    assert not read
