"""``roomkey serve --workers``: real processes that serve one port, are replaced, and stop."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from socket import create_server, socketpair
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from support.serve_process import Served, start_server
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from roomkey.server import child, parent
from roomkey.server.settings import Settings

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

PATIENCE = 60.0  # a worker takes two seconds of CPU to start


class Workers:
    """A server with workers, as the tests see it."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.url = served.url

    async def log(self, pattern: str, *, after: int = 0, times: int = 1) -> list[str]:
        """Wait until the log has this many lines with a pattern after a position, and return their first groups."""
        async with asyncio.timeout(PATIENCE):
            while True:
                text = self.served.errors()[after:]
                found = re.findall(pattern, text)
                if len(found) >= times:
                    return found
                await asyncio.sleep(0.05)  # the log is a file

    def end_of_log(self) -> int:
        return len(self.served.errors())

    async def open(self) -> ClientConnection:
        address = self.url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket"
        socket = await connect(address, ping_interval=None, open_timeout=PATIENCE)
        assert str(await socket.recv()).startswith("0{")
        return socket

    async def worker_of(self, sockets: list[ClientConnection]) -> Counter[str]:
        """Return how many of these connections each worker has. It ends them."""
        before = self.end_of_log()
        for socket in sockets:
            await socket.send("9 is not a packet")
        for socket in sockets:
            with pytest.raises(ConnectionClosed):
                await socket.recv()
        return Counter(await self.log(r"\[worker (\d)\] .*must not send", after=before, times=len(sockets)))

    def token(self, username: str = "grace") -> str:
        typed = {"username": username, "password": self.served.passwords()[username]}
        answer = httpx.post(f"{self.url}/auth/login", json=typed, timeout=PATIENCE)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """One server for the tests that leave it as it was."""
    served = start_server(tmp_path_factory.mktemp("workers"), "--workers", "2")
    yield Workers(served)
    served.end()


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Callable[..., Workers]]:
    """``workers("--workers", "2", …)`` starts a server, which ends with the test."""
    started: list[Served] = []

    def start(*arguments: str, demo: bool = True) -> Workers:
        started.append(start_server(tmp_path, *arguments, demo=demo))
        return Workers(started[-1])

    yield start
    for served in started:
        served.end()


async def test_workers_share_the_connections_evenly(shared: Workers) -> None:
    async def one_by_one() -> list[ClientConnection]:
        return [await shared.open() for _ in range(60)]

    async def burst() -> list[ClientConnection]:
        return await asyncio.gather(*(shared.open() for _ in range(150)))

    for connect_all, least in ((one_by_one, 60 // 2 - 8), (burst, 150 // 2 // 2)):
        for _ in range(5):  # while a worker stands still on a busy machine, the other one accepts its share
            spread = await shared.worker_of(await connect_all())
            if len(spread) == 2 and min(spread.values()) >= least:
                break
        else:
            raise AssertionError(spread)


def test_demo_announces_itself_once(shared: Workers) -> None:
    output = (shared.served.folder / "stdout.txt").read_text()
    assert output.count("roomkey serves") == output.count("Demo accounts") == 1
    assert output.rstrip().endswith("(stop with Ctrl+C)")
    assert set(shared.served.passwords()) == {"ada", "grace", "linus"}
    files = {path.name for path in shared.served.folder.iterdir()}
    assert files == {"credentials.json", "stderr.txt", "stdout.txt"}


async def test_all_workers_log_in_at_once_and_accept_the_tokens(shared: Workers) -> None:
    typed = {"username": "grace", "password": shared.served.passwords()["grace"]}
    before = shared.end_of_log()

    async def login() -> str:
        async with httpx.AsyncClient(base_url=shared.url, timeout=PATIENCE) as client:  # with a connection of its own
            answer = await client.post("/auth/login", json=typed)
            assert answer.status_code == 200, answer.text
            return str(answer.json()["access_token"])

    tokens: list[str] = []
    at: list[str] = []
    async with asyncio.timeout(PATIENCE):
        while len(set(at)) < 2:  # on a busy machine, one worker can get all of a burst
            tokens = await asyncio.gather(*(login() for _ in range(12)))
            pattern = r"\[worker (\d)\] .*\"event\": \"login\", \"outcome\": \"granted\""
            at = await shared.log(pattern, after=before, times=len(at) + 12)
    sockets = [await shared.open() for _ in range(12)]
    for token, socket in zip(tokens, sockets, strict=True):
        await socket.send("40" + json.dumps({"token": token}))
        assert str(await socket.recv()).startswith('40{"sid"')
    assert len(await shared.worker_of(sockets)) > 1


async def test_log_lines_of_workers_do_not_mix(shared: Workers) -> None:
    before = shared.end_of_log()
    bad = {"EIO": "3", "transport": "polling"}
    async with httpx.AsyncClient(base_url=shared.url, headers={"Connection": "close"}, timeout=PATIENCE) as client:
        await asyncio.gather(*(client.get("/socket.io/", params=bad) for _ in range(200)))
    await shared.log(r"Engine.IO protocol 3", after=before, times=200)
    lines = shared.served.errors()[before:].splitlines()
    form = re.compile(r'\d{4}-\d\d-\d\d [\d:,]{12} \[worker \d\] WARNING roomkey\.audit (\{"event": "refused".*\})')
    found = [form.fullmatch(line) for line in lines]
    assert all(found), lines
    assert all(json.loads(line[1]) for line in found if line)


async def test_dead_and_stalled_workers_are_replaced(workers: Callable[..., Workers]) -> None:
    server = workers("--workers", "2")
    stalled, other = children_of(server.served.process.pid)
    os.kill(stalled, signal.SIGSTOP)
    stopped = [await server.open() for _ in range(40)]  # all are accepted by the other one
    await server.log(r"does not respond; killing it")
    await server.log(r"worker \d \(process \d+\) serves")
    os.kill(other, signal.SIGKILL)
    await server.log(r"ended by SIGKILL; starting another", times=2)
    sockets = await asyncio.gather(*(server.open() for _ in range(60)))
    server.token()
    for socket in (*sockets, *stopped):
        await socket.close()
    assert await asyncio.to_thread(server.served.stop, signal.SIGINT) == 0


async def test_sighup_restarts_workers_one_by_one(workers: Callable[..., Workers], tmp_path: Path) -> None:
    (tmp_path / "roomkey.toml").write_text('cors_origins = ["https://a.example"]\n')
    server = workers("--workers", "2")
    token = server.token()
    before = set(children_of(server.served.process.pid))
    (tmp_path / "roomkey.toml").write_text("workers = nonsense")
    server.served.process.send_signal(signal.SIGHUP)
    await server.log("cannot restart the workers: roomkey.toml is not TOML")
    (tmp_path / "roomkey.toml").write_text('cors_origins = ["https://b.example"]\n')
    server.served.process.send_signal(signal.SIGHUP)
    answered = 0
    async with asyncio.timeout(3 * PATIENCE):
        async with httpx.AsyncClient(base_url=server.url, headers={"Connection": "close"}, timeout=PATIENCE) as client:
            while "restarted 2 workers" not in server.served.errors():
                answer = await client.get("/auth/sessions", headers={"Authorization": f"Bearer {token}"})
                assert answer.status_code == 200, "always somebody serves, with the same keys and database"
                answered += 1
                await asyncio.sleep(0.02)
            preflight = {"Origin": "https://b.example", "Access-Control-Request-Method": "GET"}
            assert (await client.options("/auth/sessions", headers=preflight)).status_code == 200
    assert answered > 10
    assert not before & set(children_of(server.served.process.pid))
    assert "ended" not in server.served.errors()
    assert await asyncio.to_thread(server.served.stop, signal.SIGTERM) == 0


async def test_restart_does_not_serve_other_machines_without_tls(
    workers: Callable[..., Workers], tmp_path: Path
) -> None:
    (tmp_path / "roomkey.toml").write_text('host = "0.0.0.0"\nbehind_proxy = true\n')
    server = workers("--workers", "2")
    before = children_of(server.served.process.pid)
    (tmp_path / "roomkey.toml").write_text('host = "127.0.0.1"\n')  # the socket stays as it is
    server.served.process.send_signal(signal.SIGHUP)
    await server.log(r"could not start: cannot serve on 0\.0\.0\.0 without TLS.*; the others continue")
    async with asyncio.timeout(PATIENCE):
        while children_of(server.served.process.pid) != before:
            await asyncio.sleep(0.05)
    await (await server.open()).close()


async def test_workers_end_if_the_parent_is_killed(workers: Callable[..., Workers]) -> None:
    server = workers("--workers", "2")
    children = children_of(server.served.process.pid)
    socket = await server.open()
    server.served.process.kill()
    await asyncio.wait_for(socket.wait_closed(), PATIENCE)
    async with asyncio.timeout(PATIENCE):
        while any(is_running(child) for child in children):
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--database", "nowhere/a.sqlite3"], "cannot open the database"),
        (["--database", "postgresql://roomkey@127.0.0.1:1/roomkey"], "ConnectionRefusedError; run `roomkey"),
        (["--tls-cert", "a.pem", "--tls-key", "b.pem"], "TLS"),
        (["--host", "0.0.0.0"], "other machines can reach it"),
        (["--engine", "python-socketio"], "workers requires the hub"),
        (["--drain-period", "20"], "drain_timeout must be more than"),
    ],
)
def test_failed_start_is_one_line(tmp_path: Path, arguments: list[str], said: str) -> None:
    command = [sys.executable, "-m", "roomkey", "serve", "--port", "0", "--workers", "2", *arguments]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=250)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert said in ran.stderr
    assert ran.stderr.count("\n") == 1


async def test_stop_kills_a_worker_that_still_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parent, "_interpreter", lambda: ["sh", "-c", "exec sleep 600"])
    with create_server(("127.0.0.1", 0)) as listener:
        one = parent.Parent(parent.Command(None, {}), Settings(workers=2), listener, tmp_path)
        starting = asyncio.create_task(one._start_all())
        async with asyncio.timeout(PATIENCE):
            while not one._children:
                await asyncio.sleep(0)
            [child] = one._children
            starting.cancel()
            await asyncio.wait([starting])
            await one._stop_all()
    assert (child.draining, child.ended.result()) == (False, -signal.SIGKILL)


async def test_worker_is_replaced_once_the_system_can_start_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(parent, "STEADY_SECONDS", 0.0)
    monkeypatch.setattr(parent, "LAUNCH_SECONDS", 0.01)
    command = ["sh", "-c", "exec sleep 600"]
    monkeypatch.setattr(parent, "_interpreter", lambda: command)
    with create_server(("127.0.0.1", 0)) as listener:
        one = parent.Parent(parent.Command(None, {}), Settings(workers=1), listener, tmp_path)
        first = one._current[1] = await one._launch(1)
        keeper = asyncio.create_task(one._keep(1))
        command[0] = str(tmp_path / "missing")
        first.kill()
        async with asyncio.timeout(PATIENCE):
            while "cannot start worker 1: No such file or directory; trying again" not in caplog.text:
                await asyncio.sleep(0.01)
            assert not await one._replace(1), "nor does a restart fail with an error"
            command[0] = "sh"
            while one._current[1] is first:
                await asyncio.sleep(0.01)
        keeper.cancel()
        await asyncio.wait([keeper])
        await one._stop_all()
    assert one._children == set()


async def test_worker_that_dies_slowly_is_killed_once(caplog: pytest.LogCaptureFixture) -> None:
    killed: list[bool] = []
    ended = asyncio.Event()
    process = SimpleNamespace(pid=1, returncode=None, wait=ended.wait, kill=lambda: killed.append(True))
    ours, theirs = socketpair()
    with theirs:
        one = child.Child(1, 0, cast(Any, process), ours)
        one.drain(0, seconds=-1.0)
        for _ in range(3):
            one.kill_if_late()
        one.kill()
        ended.set()
        await one.ended
    assert (len(killed), caplog.text.count("did not stop in time")) == (1, 1)


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def children_of(process: int) -> list[int]:
    """Return the processes that a process has started."""
    found = subprocess.run(["pgrep", "-P", str(process)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


async def test_stopping_server_is_not_ready_and_still_accepts(workers: Callable[..., Workers]) -> None:
    server = workers("--drain-delay", "60", "--drain-timeout", "120")
    before = await server.open()
    server.served.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(PATIENCE), httpx.AsyncClient(timeout=PATIENCE) as web:
        while (answer := await web.get(f"{server.url}/readyz")).status_code == 200:
            await asyncio.sleep(0.05)
    assert answer.json() == {"status": "unavailable", "problem": "the server is stopping"}
    after = await server.open()
    assert await asyncio.to_thread(server.served.stop, signal.SIGTERM) == 0  # the second signal skips the waiting
    for socket in (before, after):
        await asyncio.wait_for(socket.wait_closed(), PATIENCE)


async def test_all_workers_see_a_new_key(workers: Callable[..., Workers], tmp_path: Path) -> None:
    add = [sys.executable, "-m", "roomkey", "user", "add", "zoe", "--password-stdin"]
    subprocess.run(add, cwd=tmp_path, input="correct horse battery", text=True, check=True)
    server = workers("--workers", "2", demo=False)
    rotate = [sys.executable, "-m", "roomkey", "keys", "rotate"]
    subprocess.run(rotate, cwd=tmp_path, check=True, capture_output=True)
    issue = [sys.executable, "-m", "roomkey", "token", "issue", "zoe"]
    issued = subprocess.run(issue, cwd=tmp_path, check=True, capture_output=True, text=True)
    kids: set[frozenset[str]] = set()
    async with asyncio.timeout(PATIENCE), httpx.AsyncClient(headers={"Connection": "close"}) as web:
        while True:
            answers = [await web.get(f"{server.url}/.well-known/jwks.json") for _ in range(8)]
            kids = {frozenset(key["kid"] for key in answer.json()["keys"]) for answer in answers}
            if kids == {frozenset(path.stem for path in (tmp_path / "keys").glob("*.jwk"))}:
                break
            await asyncio.sleep(0.1)
    sockets = [await server.open() for _ in range(8)]
    for socket in sockets:
        await socket.send("40" + json.dumps({"token": issued.stdout.strip()}))
        assert str(await socket.recv()).startswith('40{"sid"')
    assert len(await server.worker_of(sockets)) == 2
