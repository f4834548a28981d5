"""Real servers and real clients: hubs and guarded python-socketio servers, and the official JavaScript clients.

``js_process`` is one Node process that runs any number of clients (``tests/js/driver.js``); ``guarded`` makes servers
with the engine of the test: what uses it is tried with every one. Both live as long as a test module, so that a test
costs milliseconds.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import shutil
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytest_asyncio
import socketio
import uvicorn
from support.clock import FakeClock
from support.missing import missing
from support.provider import Provider, running_provider

from roomkey import Policy
from roomkey.guard.guard import AsyncioGuard
from roomkey.hub import Hub, Limits, runner
from roomkey.hub.http.sniffer import ProtocolSniffers
from roomkey.policies import rooms_claim
from roomkey.socketio import AsyncGuard, Authenticate

JS = Path(__file__).parents[1] / "js"
PATIENCE = 20.0
LINE_LIMIT = 16 * 2**20
TRANSPORTS = {"polling": ["polling"], "websocket": ["websocket"], "upgrade": ["polling", "websocket"]}


def _plain(value: Any) -> Any:
    """Return JSON for the driver, including bytes."""
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    raise TypeError(type(value))


def _alive(members: dict[str, Any]) -> Any:
    return base64.b64decode(members["$bytes"]) if "$bytes" in members else members


class JsSocket:
    """One client socket in the Node process. Its events are read in order."""

    def __init__(self, driver: JsDriver, name: str) -> None:
        self._driver = driver
        self._tags = itertools.count()
        self.name = name
        self.reports: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.upgraded = asyncio.Event()
        self.transport = ""
        self.sid = ""

    def told(self, report: dict[str, Any]) -> None:
        """Store an event of this socket. An upgrade may come at any time, so it is kept separately."""
        self.sid = report.get("sid", self.sid)
        self.transport = report.get("transport", self.transport)
        if self.transport == "websocket":
            self.upgraded.set()
        if report["what"] != "upgrade":
            self.reports.put_nowait(report)

    async def opened(self, kind: tuple[str, str]) -> None:
        """Wait until the socket is connected and upgraded, because packets sent during an upgrade may be lost."""
        await self.expect("connect")
        if kind[1] == "upgrade":
            await asyncio.wait_for(self.upgraded.wait(), PATIENCE)

    async def expect_any(self) -> dict[str, Any]:
        """Return the next event."""
        return await asyncio.wait_for(self.reports.get(), PATIENCE)

    async def expect(self, what: str, **facts: Any) -> dict[str, Any]:
        """Assert that the next event is this one, with these facts."""
        report = await self.expect_any()
        assert {"what": what, **facts} == {name: report.get(name) for name in ("what", *facts)}, report
        return report

    async def skip_to(self, what: str, **facts: Any) -> list[dict[str, Any]]:
        """Wait for this event with these facts, and return the events before it."""
        skipped = []
        while True:
            report = await self.expect_any()
            if {"what": what, **facts} == {name: report.get(name) for name in ("what", *facts)}:
                return skipped
            skipped.append(report)

    async def event(self, name: str, *args: Any) -> None:
        """Assert that the next event is this Socket.IO event."""
        await self.expect("event", name=name, args=list(args))

    async def closed_unanswered(self) -> None:
        """Assert that the transport closed without a Socket.IO packet."""
        report = await self.expect_any()
        if report["what"] == "connect_error":
            assert report["message"] in ("xhr poll error", "xhr post error")
            assert report["data"] is None
            report = await self.expect_any()
        assert report["what"] == "disconnect"
        assert report["reason"] in ("transport close", "transport error")
        assert report["active"]

    def emit(self, *args: Any, ack: str | None = None, volatile: bool = False) -> None:
        self._driver.send("emit", id=self.name, args=args, ack=ack, volatile=volatile)

    def ask(self, *args: Any, timeout: float) -> str:
        """Emit by ``timeout(…).emitWithAck(…)``, seconds; returns the tag of the report."""
        tag = f"ask {next(self._tags)}"
        self._driver.send("ask", id=self.name, args=args, tag=tag, timeout=timeout * 1000)
        return tag

    async def call(self, *args: Any) -> list[Any]:
        """Emit and return the acknowledgement. Nothing else may happen before it."""
        tag = f"call {next(self._tags)}"
        self.emit(*args, ack=tag)
        return (await self.expect("ack", tag=tag))["args"]

    def join(self, namespace: str, auth: Any = None) -> JsSocket:
        """Open another namespace on the same connection."""
        socket = self._driver.socket()
        self._driver.send("join", id=socket.name, over=self.name, namespace=namespace, auth=auth)
        return socket

    def connect(self) -> None:
        self._driver.send("connect", id=self.name)

    def close(self) -> None:
        self._driver.send("close", id=self.name)


class JsDriver:
    """The Node process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._names = itertools.count()
        self._sockets: dict[str, JsSocket] = {}

    async def listen(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            report = json.loads(line, object_hook=_alive)
            if socket := self._sockets.get(report["id"]):
                socket.told(report)

    def send(self, do: str, **command: Any) -> None:
        assert self._process.stdin is not None
        assert self._process.returncode is None, "the Node process ended: see its error above"
        self._process.stdin.write(json.dumps({"do": do, **command}, default=_plain).encode() + b"\n")

    def socket(self) -> JsSocket:
        socket = JsSocket(self, f"socket {next(self._names)}")
        self._sockets[socket.name] = socket
        return socket

    def open(
        self,
        site: Site,
        kind: tuple[str, str] = ("current", "websocket"),
        *,
        namespace: str = "",
        auths: list[Any] | None = None,
        **options: Any,
    ) -> JsSocket:
        """Connect a client of a kind: its version, and its transports."""
        client, transports = kind
        options = {"path": site.path, "transports": TRANSPORTS[transports], **options}
        socket = self.socket()
        self.send("open", id=socket.name, client=client, url=site.url + namespace, options=options, auths=auths)
        return socket

    def close_all(self) -> None:
        for socket in self._sockets.values():
            socket.close()
        self._sockets.clear()


class Site:
    """A guarded server with some handlers, which records every call of a handler."""

    sio: Any
    guard: AsyncioGuard

    def __init__(self, url: str, path: str, verifier: Any, policy: Policy | None, options: dict[str, Any]) -> None:
        self.url, self.path = url, path
        self.later = isinstance(options.get("via"), Authenticate)
        self.calls: list[tuple[Any, ...]] = []
        if policy is None:
            policy = Policy()
            policy.room("*")(rooms_claim)
        self.make(verifier, policy, options)
        self.guard.serve_rooms()
        self.sio.on("connect", self._connect, namespace="*")
        self.sio.on("disconnect", self._disconnect, namespace="*")
        self.sio.on("*", self._event, namespace="*")

    def make(self, verifier: Any, policy: Policy, options: dict[str, Any]) -> None:
        self.sio = socketio.AsyncServer(
            async_mode="asgi",
            namespaces="*",
            cors_allowed_origins=options.pop("cors_allowed_origins", [self.url]),
            max_http_buffer_size=options.pop("max_http_buffer_size", 1_000_000),
        )
        self.guard = AsyncGuard(verifier, policy=policy, **options)
        self.guard.attach(self.sio)
        self.asgi = socketio.ASGIApp(self.sio, socketio_path=self.path)

    async def _connect(self, namespace: str, sid: str, environ: dict[str, Any], auth: Any) -> None:
        self.calls.append(("connect", namespace, self.guard.identity(sid, namespace).subject))

    async def _disconnect(self, namespace: str, sid: str, reason: str = "") -> None:
        self.calls.append(("disconnect", namespace, reason))

    async def _event(self, event: str, namespace: str, sid: str, *args: Any) -> Any:
        self.calls.append((event, namespace, *args))
        return args

    async def pass_time(self, clock: FakeClock, seconds: float) -> None:
        """Advance the server's clock, and do what is due then."""
        clock.advance(seconds)
        (self.sio if isinstance(self.sio, Hub) else self.guard).check_deadlines()
        await self.guard.settle()

    def _is_empty(self) -> bool:
        return all(each.closed for each in self.sio.eio.sockets.values())

    async def emptied(self) -> None:
        """Wait until no connection is left, in the guard and in the server alike."""
        open_still = self.guard.index.connections
        await _until(lambda: not open_still and self._is_empty())
        await self.guard.settle()
        assert not self.guard.index.sockets
        assert not any(self.sio.manager.rooms.values())

    async def drop_all(self) -> None:
        """Close every transport, as a server does that stops."""
        await self.guard.close()

    async def hang_up(self) -> None:
        """End every session, for clients that wait for the end of their last poll."""
        await asyncio.gather(*map(self.sio.eio.disconnect, list(self.sio.eio.sockets)))

    async def close(self) -> None:
        await self.sio.shutdown()


class HubSite(Site):
    """The same on a hub."""

    def make(self, verifier: Any, policy: Policy, options: dict[str, Any]) -> None:
        if "max_http_buffer_size" in options:
            options["limits"] = Limits(payload=options.pop("max_http_buffer_size"))
        self.sio = Hub(verifier, policy=policy, path=self.path, namespaces="*", **options)
        self.guard = self.sio.guard
        self.asgi = self.sio.asgi

    async def emptied(self) -> None:
        await _until(lambda: not self.sio.sessions.active)
        await self.sio.settle()
        assert not self.guard.index.connections
        assert not self.guard.index.sockets
        assert not self.sio.application.rooms.by_sid

    async def drop_all(self) -> None:
        await self.sio.close()

    hang_up = close = drop_all


async def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail("waited in vain")
        await asyncio.sleep(0.005)


class _Hall:
    """One listening port for all guarded servers of a test module: the first part of the path says which."""

    def __init__(self) -> None:
        self.sites: dict[str, Site] = {}
        self._numbers = itertools.count(1)
        self.url = ""

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        site = self.sites.get(scope["path"].split("/")[1])
        if site is not None:
            await site.asgi(scope, receive, send)
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            await send({"type": "websocket.close", "code": 1000})

    def add(self, make: type[Site], verifier: Any, policy: Policy | None, options: dict[str, Any]) -> Site:
        name = f"site{next(self._numbers)}"
        self.sites[name] = site = make(self.url, f"/{name}/socket.io", verifier, policy, options)
        return site


@asynccontextmanager
async def _listening(app: Any) -> AsyncIterator[str]:
    # engineio keeps a poll waiting whose client has gone, so the end is not waited for.
    config = uvicorn.Config(app, port=0, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.005)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await serving


@pytest.fixture(scope="session")
def js_modules() -> Path:
    """Return the folder of the JavaScript packages, if they are installed."""
    if shutil.which("node") is None or not (JS / "node_modules" / "socket.io-client-first").is_dir():
        missing("the JavaScript packages are not installed; with Node 20 or later: npm ci --prefix tests/js")
    return JS / "node_modules"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def js_process(js_modules: Path) -> AsyncIterator[JsDriver]:
    process = await asyncio.create_subprocess_exec(
        "node", str(JS / "driver.js"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=LINE_LIMIT
    )
    driver = JsDriver(process)
    listening = asyncio.create_task(driver.listen())
    yield driver
    assert process.stdin is not None
    process.stdin.close()
    await asyncio.wait_for(listening, PATIENCE)
    assert await process.wait() == 0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded_hall() -> AsyncIterator[_Hall]:
    hall = _Hall()
    async with _listening(hall) as hall.url:
        yield hall


class _Wing(asyncio.Protocol):
    """A hall for hubs on their own transports. The first line of a connection selects the hub."""

    sites: ClassVar[dict[str, tuple[ProtocolSniffers, uvicorn.Config]]] = {}
    state = uvicorn.server.ServerState()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        name = data.split(b" ", 2)[1].decode().split("/")[1]
        if name not in self.sites:
            self.transport.close()
            return
        switches, config = self.sites[name]
        switch = switches(config, self.state, {})
        switch.connection_made(self.transport)
        self.transport.set_protocol(switch)
        switch.data_received(data)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub_hall(guarded_hall: _Hall) -> AsyncIterator[_Hall]:
    """One listening port for all hubs of a test module, WebSockets and HTTP."""
    hall = _Hall()
    server = await asyncio.get_running_loop().create_server(_Wing, "127.0.0.1", 0)
    hall.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield hall
    server.close()


@pytest_asyncio.fixture(loop_scope="module")
async def guarded(guarded_hall: _Hall, hub_hall: _Hall, engine: str) -> AsyncIterator[Callable[..., Site]]:
    """``guarded(verifier, via=…)``: a guarded server. When the test is over, nothing may be left on it.

    The engine is ``hub``, ``python-socketio``, or ``hub.asgi``: the hub as an ASGI application under plain uvicorn.
    """
    made: deque[Site] = deque()
    hall = hub_hall if engine == "hub" else guarded_hall

    def make(verifier: Any, *, policy: Policy | None = None, **options: Any) -> Site:
        site = hall.add(Site if engine == "python-socketio" else HubSite, verifier, policy, options)
        if engine == "hub":
            config = runner.config(site.sio, lifespan="off", log_level="critical")
            config.load()
            _Wing.sites[site.path.split("/")[1]] = (config.http_protocol_class, config)
        made.append(site)
        return site

    yield make
    for site in made:
        await site.emptied()
        await site.close()
    hall.sites.clear()
    _Wing.sites.clear()


@pytest_asyncio.fixture(loop_scope="module")
async def js(js_process: JsDriver, guarded: Any) -> AsyncIterator[JsDriver]:
    """Return the Node process. Its sockets are closed after the test, before the servers are checked."""
    yield js_process
    js_process.close_all()


@pytest.fixture
def op() -> Iterator[Provider]:
    """Return an OpenID provider of the test's own."""
    with running_provider() as running:
        yield running
