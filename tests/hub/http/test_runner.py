"""``hub.run()`` as a process, and the hub as an ASGI application under another server."""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import httpx
import pytest
import socketio
from support.certificate import make_certificate
from support.live import Poll, Raw, refused_status, serve
from support.rawsocket import RawSocket
from support.server_process import PATIENCE, served_url
from websockets.asyncio.client import connect

from roomkey import ConfigError, Issuer, Key
from roomkey.hub import ASGIApp, Hub
from roomkey.hub.http.runner import frozen_heap

SECRET = secrets.token_urlsafe(32)
DESK = Issuer(Key.from_secret(SECRET), audience="chat")

PROGRAM = """
import gc
import os
from roomkey import Verifier
from roomkey.hub import Hub

hub = Hub(Verifier.hs256(os.environ["SECRET"], audience="chat"))

@hub.event
async def echo(sid, *data):
    return data

@hub.event
async def address(sid):
    environ = hub.get_environ(sid)
    return environ["REMOTE_ADDR"], environ["wsgi.url_scheme"], hub.transport(sid)

@hub.event
async def frozen(sid):
    return gc.get_freeze_count()

@hub.event
async def disconnect(sid, reason):
    print("disconnect:", reason, flush=True)

"""
WITH_APP = """
from fastapi import FastAPI, WebSocket
app = FastAPI()

@app.get("/hello")
async def hello():
    return "hello"

@app.websocket("/own")
async def own(websocket: WebSocket):
    await websocket.accept()
    await websocket.send_text("mine")
    await websocket.close()

"""


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """``await run("port=0, …")`` starts a process that calls ``hub.run(port=0, …)``; it ends with the test."""
    processes: list[asyncio.subprocess.Process] = []

    async def start(arguments: str, program: str = "") -> Any:
        path = tmp_path / "server.py"
        path.write_text(f"{PROGRAM}{program}hub.run({arguments})\nprint('after run', flush=True)\n")
        process = await asyncio.create_subprocess_exec(
            sys.executable, path, cwd=tmp_path, env=os.environ | {"SECRET": SECRET}, stdout=-1, stderr=-1
        )
        processes.append(process)
        url = await served_url(process.stderr)
        _, _, host = url.partition("://")
        return SimpleNamespace(process=process, url=url, port=int(host.rpartition(":")[2]), host=host)

    yield start
    for process in processes:
        if process.returncode is None:
            process.kill()
        await process.communicate()


class Client:
    """A python-socketio client that reconnects automatically, and what happened to it."""

    def __init__(self) -> None:
        self.happened: asyncio.Queue[str] = asyncio.Queue()
        self.sio = socketio.AsyncClient(reconnection_delay=0.05, reconnection_delay_max=0.1, handle_sigint=False)
        self.sio.on("connect", lambda: self.happened.put_nowait("connect"))
        self.sio.on("disconnect", lambda *_reason: self.happened.put_nowait("disconnect"))

    async def connect(self, url: str, transports: list[str]) -> None:
        await self.sio.connect(url, auth={"token": DESK.issue("ada")}, transports=transports)
        assert await self.next() == "connect"

    async def next(self) -> str:
        return await asyncio.wait_for(self.happened.get(), PATIENCE)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_stop_is_clean_and_clients_reconnect(run: Any, number: int) -> None:
    server = await run("port=0")
    people = [Client(), Client(), Client()]
    for client, transports in zip(people, (["polling"], ["websocket"], ["polling", "websocket"]), strict=True):
        await client.connect(server.url, transports)
        assert await client.sio.call("echo", 1) == 1
    silent = await RawSocket.open(server.host)  # has sent no request
    loop = asyncio.get_running_loop()
    begun = loop.time()
    server.process.send_signal(number)
    out, err = await asyncio.wait_for(server.process.communicate(), PATIENCE)
    assert server.process.returncode == 0, err
    assert loop.time() - begun < 5
    assert out.decode().splitlines() == ["disconnect: server disconnect"] * 3 + ["after run"]
    assert b"Traceback" not in err
    await silent.close()
    for client in people:
        assert await client.next() == "disconnect"
    await run(f"port={server.port}")
    for client in people:
        assert await client.next() == "connect"
        assert await client.sio.call("echo", 2) == 2
    # The server stops first: a polling client would wait for its last poll.
    for client in people:
        await client.sio.eio.disconnect(abort=True)
        await client.sio.shutdown()


async def test_collector_ignores_what_is_loaded_before_the_start(run: Any) -> None:
    server = await run("port=0")
    raw = await Raw.open(server.host)
    await raw.ask({"token": DESK.issue("ada")})
    await raw.event("frozen", ack=1)
    assert (await raw.expect_ack(1))[0] > 10_000
    await raw.close()


def test_heap_is_not_frozen_after_the_server() -> None:
    before = gc.get_freeze_count()  # Python 3.12 begins with some
    with frozen_heap() as freeze:
        assert gc.get_freeze_count() == before  # not before the server has started
        freeze()
        assert gc.get_freeze_count() > before
    assert gc.get_freeze_count() <= before


async def test_application_has_its_own_websockets_on_the_same_port(run: Any) -> None:
    server = await run("port=0, app=app", WITH_APP)
    async with httpx.AsyncClient(base_url=server.url) as web:
        assert (await web.get("/hello")).json() == "hello"
        assert (await web.get("/absent")).json() == {"detail": "Not Found"}
        assert (await web.get("/socket.io/?EIO=3&transport=polling")).json()["code"] == 5
    async with connect(f"ws://{server.host}/own") as own:
        assert await own.recv() == "mine"
    raw = await Raw.open(server.host)
    assert (await raw.ask({"token": DESK.issue("ada")})).startswith("40")
    await raw.close()


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_tls_works_on_either_event_loop(run: Any, tmp_path: Path, loop: str) -> None:
    trusting = make_certificate(tmp_path)
    server = await run(f"port=0, loop={loop!r}, ssl_certfile='cert.pem', ssl_keyfile='key.pem'")
    url = server.url.replace("127.0.0.1", "localhost")
    assert url.startswith("https://")
    for transports in (["polling"], ["websocket"], ["polling", "websocket"]):
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting)) as http:
            made = socketio.AsyncClient(reconnection=False, handle_sigint=False, http_session=http)
            options = {"auth": {"token": DESK.issue("ada")}, "transports": transports, "headers": {"Origin": url}}
            await made.connect(url, **options)
            assert await made.call("address") == ("127.0.0.1", "https", transports[-1])
            assert await made.call("echo", "x" * 300_000) == "x" * 300_000
            await made.disconnect()


@pytest.mark.parametrize("trusted", ["127.0.0.1", "192.0.2.1"])
async def test_trusted_proxy_sets_the_address_for_both_transports(run: Any, trusted: str) -> None:
    server = await run(f"port=0, proxy_headers=True, forwarded_allow_ips={trusted!r}")
    headers = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}
    seen = ["203.0.113.7", "https"] if trusted == "127.0.0.1" else ["127.0.0.1", "http"]
    raw = await Raw.open(server.host, headers=headers)
    await raw.ask({"token": DESK.issue("ada")})
    await raw.event("address", ack=1)
    assert await raw.expect_ack(1) == [*seen, "websocket"]
    await raw.close()
    poll = await Poll(server.host, headers).open()
    await poll.post("40" + f'{{"token":"{DESK.issue("ada")}"}}', '421["address"]')
    packets: list[str] = []
    while not any(packet.startswith("431") for packet in packets):
        packets += await poll.get()
    assert packets[-1] == f'431["{seen[0]}","{seen[1]}","polling"]'
    await poll.close()


# On one connection


@pytest.fixture
def hub() -> Hub:
    made = Hub(DESK.verifier())
    made.on("echo", lambda sid, *data: data)
    return made


UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}==\r\n"


async def test_websocket_can_follow_another_request(hub: Hub) -> None:
    """A proxy may reuse its connections."""
    async with serve(hub) as host:
        reader, writer = await asyncio.open_connection(*host.split(":"))
        head = f"Host: {host}\r\n"
        for _ in range(2):
            writer.write(f"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\n{head}\r\n".encode())
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            await reader.readuntil(b"}")
        asked = f"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n{head}{UPGRADE.format('A' * 22)}\r\n"
        writer.write(asked.encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        assert b'0{"sid":' in await reader.readuntil(b"}")
        assert sorted(session.upgraded for session in hub.sessions.active.values()) == [False, False, True]
        writer.close()


# Under another server


@pytest.mark.parametrize("way", ["asgi", "ASGIApp"])
async def test_hub_works_under_plain_uvicorn(hub: Hub, way: str) -> None:
    async def other(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 418, "headers": []})
        await send({"type": "http.response.body", "body": b"other"})

    app = hub.asgi if way == "asgi" else ASGIApp(hub, other)
    async with serve(app, ws="auto") as host:
        for transports in (["polling"], ["websocket"], ["polling", "websocket"]):
            client = Client()
            await client.connect(f"http://{host}", transports)
            assert await client.sio.call("echo", b"\x00\xff") == b"\x00\xff"
            assert client.sio.transport() == transports[-1]
            await client.sio.disconnect()
        async with httpx.AsyncClient() as web:
            assert (await web.get(f"http://{host}/")).status_code == (404 if way == "asgi" else 418)
        assert await refused_status(host, headers={"Origin": "https://evil.example"}) == 403


async def test_websocket_is_refused_if_the_server_supports_none(hub: Hub) -> None:
    async with serve(hub.asgi, ws="none") as host:
        assert await refused_status(host) == 400
    assert hub.sessions.active == {}


@pytest.mark.parametrize("setting", [{"workers": 2}, {"workers": 0}, {"reload": True}, {"reload_dirs": ["."]}], ids=str)
def test_run_rejects_what_needs_several_processes(setting):
    hub = Hub(Issuer.ephemeral(audience="chat").verifier())
    with pytest.raises(ConfigError, match=r"one process|cannot reload"):
        hub.run(port=0, **setting)
