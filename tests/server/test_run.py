"""``roomkey serve`` as a process: it starts, serves a real client, refuses to start, and stops."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
import socketio
from socketio.exceptions import ConnectionError as ConnectionFailed
from support.certificate import make_certificate
from support.product import ProductThread
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from roomkey.cli import main
from roomkey.server.settings import Settings

pytestmark = pytest.mark.long

Serve = Callable[..., Any]
Application = Callable[..., ProductThread]
Refused = Callable[..., tuple[int, str]]

hub_only = pytest.mark.parametrize("engine", ["hub"], indirect=True, scope="session")
"""What a test looks at has nothing to do with what speaks Socket.IO."""


@pytest.fixture
def refused(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """The exit code and the only output of a ``roomkey serve`` that cannot start, in an empty folder."""
    monkeypatch.setattr("roomkey.server.logs.configure", lambda: None)  # which is for the whole process

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["roomkey", "serve", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert out == ""
        return int(ended.value.code or 0), err

    return run


@pytest.fixture
def product(engine: Any) -> Iterator[Application]:
    """``product(via=…)``: the same in this process, for what is not about processes."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(ProductThread.running(Settings(engine=engine, **settings)))


def token_of(served: Any, username: str) -> str:
    typed = {"username": username, "password": served.passwords()[username]}
    answer = httpx.post(f"{served.url}/auth/login", json=typed)
    assert answer.status_code == 200
    return str(answer.json()["access_token"])


async def connected(served: Any, token: str | None, transports: list[str] | None = None) -> socketio.AsyncClient:
    made = socketio.AsyncClient(reconnection=False)
    await made.connect(served.url, auth={"token": token} if token else {}, transports=transports)
    return made


@pytest.mark.checklist("H112")
@pytest.mark.parametrize(
    ("engine", "number"),
    [("hub", signal.SIGTERM), ("python-socketio", signal.SIGINT)],
    indirect=["engine"],
    scope="session",
)
async def test_signal_closes_open_sockets_and_exits_with_0(serve: Serve, number: int) -> None:
    served = serve()
    gone = [asyncio.Event(), asyncio.Event()]
    for event, transport in zip(gone, ("websocket", "polling"), strict=True):
        made = await connected(served, token_of(served, "linus"), [transport])
        made.on("disconnect", lambda _reason=None, event=event: event.set())
    loop = asyncio.get_running_loop()
    started = loop.time()
    code = await asyncio.to_thread(served.stop, number)
    for event in gone:
        await asyncio.wait_for(event.wait(), 10)
    assert code == 0
    assert loop.time() - started < 8
    assert "Traceback" not in served.errors()


async def test_server_serves_rooms_and_chat_in_both_ways(demo_server: Any) -> None:
    grace = await connected(demo_server, token_of(demo_server, "grace"))
    assert await grace.call("join-room", "red") == {"ok": True}
    refused = await grace.call("join-room", "green")
    assert (refused["ok"], refused["error"]["code"]) == (False, "permission_denied")

    ada = await connected(demo_server, None)
    admitted, heard = asyncio.Event(), asyncio.Queue[Any]()
    ada.on("authenticated", lambda *_: admitted.set())
    grace.on("message", heard.put_nowait)
    await ada.emit("authenticate", {"token": token_of(demo_server, "ada")})
    await asyncio.wait_for(admitted.wait(), 20)
    assert (await ada.call("whoami"))["roles"] == ["admin"]

    outside = await ada.call("message", {"room": "red", "text": "from outside"})
    assert outside["error"]["code"] == "not_in_room"
    assert await ada.call("join-room", "red") == {"ok": True}
    for broken in (None, "text", {}, {"room": "red"}, {"room": "red", "text": ""}, {"room": "red", "text": "x" * 2001},
                   {"room": "red", "text": 5}, {"room": ["red"], "text": "x"}):  # fmt: skip
        assert (await ada.call("message", broken))["error"]["code"] == "invalid_message"
    assert await ada.call("message", {"room": "red", "text": "<b>hello</b>"}) == {"ok": True}
    assert await asyncio.wait_for(heard.get(), 20) == {"room": "red", "from": "ada", "text": "<b>hello</b>"}
    assert heard.empty(), "nothing else arrived"
    await grace.disconnect()
    await ada.disconnect()


async def test_via_allows_only_one_way(product: Application) -> None:
    served = product(via="authenticate")
    made = socketio.AsyncClient(reconnection=False)
    admitted = asyncio.Event()
    made.on("authenticated", lambda *_: admitted.set())
    token = token_of(served, "linus")
    await made.connect(served.url, auth={"token": token})
    assert not admitted.is_set()
    await made.emit("authenticate", {"token": token})
    await asyncio.wait_for(admitted.wait(), 20)
    await made.disconnect()


@pytest.mark.checklist("B32")
async def test_socket_is_disconnected_when_its_token_expires(product: Application) -> None:
    served = product(token_lifetime=2, grace=0)
    async with asyncio.timeout(20):
        while True:
            with suppress(ConnectionFailed):  # on a busy machine, the token can expire before it arrives
                made = await connected(served, token_of(served, "linus"))
                break
    told: asyncio.Queue[Any] = asyncio.Queue()
    gone = asyncio.Event()
    made.on("unauthorized", told.put_nowait)
    made.on("disconnect", lambda _reason=None: gone.set())
    reason = await asyncio.wait_for(told.get(), 20)
    assert (reason["data"]["reason"], reason["data"]["retry"]) == ("token_expired", True)
    await asyncio.wait_for(gone.wait(), 20)


def test_request_hardening_applies_to_socket_io_requests(demo_server: Any) -> None:
    for path in ("/", "/auth/login", "/socket.io/?EIO=4&transport=polling", "/socket.io/?EIO=3&transport=polling"):
        assert "default-src 'none'" in httpx.get(demo_server.url + path).headers["content-security-policy"]


@hub_only
def test_demo_prints_random_passwords(demo_server: Any) -> None:
    shown = dict(re.findall(r"│ (\w+)\s+│ (\S+)\s+│", demo_server.output))
    assert shown == demo_server.passwords()
    assert set(shown) == {"ada", "grace", "linus"}
    assert (demo_server.folder / "credentials.json").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in demo_server.folder.iterdir()) == [
        "credentials.json",
        "stderr.txt",
        "stdout.txt",
    ]


@pytest.mark.checklist("C35", "H113")
def test_server_output_contains_no_token_and_no_password(serve: Serve) -> None:
    served = serve()
    token = token_of(served, "ada")
    httpx.get(f"{served.url}/", params={"token": token})
    httpx.get(f"{served.url}/socket.io/", params={"EIO": "4", "transport": "polling", "token": token})
    httpx.get(f"{served.url}/socket.io/", params={"EIO": "4", "transport": "websocket", "sid": token})
    httpx.post(f"{served.url}/socket.io/", params={"EIO": "4", "sid": "a\r\nb"}, content=token)
    httpx.get(f"{served.url}/socket.io/", params={"EIO": "4"}, headers={"Authorization": f"Bearer {token}"})
    assert served.stop(signal.SIGTERM) == 0
    written = served.errors() + (served.folder / "stdout.txt").read_text().replace(served.output, "")
    assert token not in written
    assert "eyJ" not in written
    assert not any(password in served.errors() for password in served.passwords().values())
    assert '"event": "login", "outcome": "granted"' in written


def test_response_has_no_server_header(demo_server: Any) -> None:
    assert "server" not in httpx.get(demo_server.url).headers


def test_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        command = [sys.executable, "-m", "roomkey", "serve", "--port", str(port)]
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert ran.returncode == 1
    other_port = f"(--port {port + 1}, make serve PORT={port + 1})"
    assert ran.stderr == f"port {port} is in use; choose another {other_port}, or stop that program\n"
    assert list(tmp_path.iterdir()) == [], "nothing is made before the port is known to be free"


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_server_does_not_start_on_a_public_address_without_tls(refused: Refused, host: str) -> None:
    code, said = refused("--host", host, "--port", "0")
    assert code == 1
    assert "other machines can reach it" in said
    assert "--behind-proxy" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "198.51.100.7", "--behind-proxy"], "cannot listen on 198.51.100.7"),
        (["--host", "no.such.host.invalid", "--behind-proxy"], "cannot listen on no.such.host.invalid"),
        (["--database", "nowhere/a.sqlite3"], "cannot open the database"),
        (["--tls-cert", "a.pem", "--tls-key", "b.pem"], "TLS"),
        (["--database", "postgresql://127.0.0.1:1/db"], "the database failed: ConnectionRefusedError"),
    ],
)
def test_failed_start_is_one_line(refused: Refused, arguments: list[str], said: str) -> None:
    code, error = refused("--port", "0", *arguments)
    assert code == 1
    assert said in error
    assert error.count("\n") == 1


@hub_only
def test_keys_and_accounts_survive_a_restart(serve: Serve, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "roomkey", "user", "add", "zoe", "--room", "red", "--password-stdin"]
    subprocess.run(command, cwd=tmp_path, input="correct horse battery", text=True, check=True)
    served = serve(demo=False)
    (key,) = (tmp_path / "keys").glob("*.jwk")
    assert key.stat().st_mode & 0o777 == 0o600
    typed = {"username": "zoe", "password": "correct horse battery"}
    token = httpx.post(f"{served.url}/auth/login", json=typed).json()["access_token"]
    assert served.stop(signal.SIGTERM) == 0
    inspect = [sys.executable, "-m", "roomkey", "token", "inspect"]
    ran = subprocess.run(inspect, cwd=tmp_path, input=token, text=True, capture_output=True)
    assert (ran.returncode, "Accepted" in ran.stdout) == (0, True)


@hub_only
def test_server_without_accounts_says_how_to_add_one(serve: Serve) -> None:
    served = serve(demo=False)
    assert "roomkey user add" in served.output


async def test_server_serves_tls(product: Application, tmp_path: Path, engine: str) -> None:
    trusting = make_certificate(tmp_path)
    served = product(tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "key.pem")
    url = served.url.replace("127.0.0.1", "localhost")
    async with httpx.AsyncClient(verify=trusting, base_url=url) as web:
        handshake = "/socket.io/?EIO=4&transport=polling"
        assert (await web.get(handshake, headers={"Origin": url})).status_code == 200
        other = await web.get(handshake, headers={"Origin": url.replace("https", "http")})
        assert other.status_code == {"hub": 403, "python-socketio": 400}[engine]
        typed = {"username": "grace", "password": served.passwords()["grace"]}
        token = (await web.post("/auth/login", json=typed)).json()["access_token"]
    for transports in (["polling"], ["websocket"], ["polling", "websocket"]):
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting)) as http:
            made = socketio.AsyncClient(reconnection=False, http_session=http)
            await made.connect(url, auth={"token": token}, transports=transports, headers={"Origin": url})
            assert made.transport() == transports[-1]
            assert (await made.call("whoami"))["subject"] == "grace"
            await made.eio.disconnect(abort=True)  # without it a polling client waits for the end of its last poll


def test_polling_and_upgrade_work_behind_a_trusted_proxy(product: Application, engine: str) -> None:
    """What the proxy says about scheme and host decides for both transports; of anybody else it is not believed."""
    refusal = {"hub": 403, "python-socketio": 400}[engine]
    for trusted, allowed in (("127.0.0.1", True), ("192.0.2.1", False)):
        served = product(behind_proxy=True, trusted_proxies=(trusted,))
        headers = {"Origin": served.url.replace("http", "https"), "X-Forwarded-Proto": "https"}
        query = {"EIO": "4", "transport": "polling"}
        answer = httpx.get(f"{served.url}/socket.io/", params=query, headers=headers)
        assert answer.status_code == (200 if allowed else refusal)
        address = served.url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket"
        if allowed:
            with connect(address, additional_headers=headers) as ws:
                assert str(ws.recv(5)).startswith("0{")
        else:
            with pytest.raises(InvalidStatus) as refused:
                connect(address, additional_headers=headers)
            assert refused.value.response.status_code == 403
