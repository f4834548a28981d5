"""``roomkey serve --workers`` and the official JavaScript client: the workers behave as one server."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import pytest_asyncio
from support.serve_process import Served, start_server

pytestmark = [pytest.mark.long, pytest.mark.timeout(300), pytest.mark.asyncio(loop_scope="module")]

PATIENCE = 30.0
PASSWORD = "correct horse battery"
KINDS = [("current", "websocket"), ("current", "polling"), ("current", "upgrade"), ("first", "polling")]


class Workers:
    """A running server with workers."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.site = SimpleNamespace(url=served.url, path="/socket.io/")
        self.tokens = {name: self.token(name) for name in ("ada", "grace")}

    def token(self, username: str) -> str:
        typed = {"username": username, "password": PASSWORD}
        answer = httpx.post(f"{self.served.url}/auth/login", json=typed, timeout=PATIENCE)
        return str(answer.json()["access_token"])

    def processes(self) -> list[int]:
        found = subprocess.run(
            ["pgrep", "-P", str(self.served.process.pid)], capture_output=True, text=True, check=True
        )
        return [int(line) for line in found.stdout.split()]

    async def log(self, pattern: str, after: int = 0) -> None:
        async with asyncio.timeout(6 * PATIENCE):
            while not re.search(pattern, self.served.errors()[after:]):
                await asyncio.sleep(0.05)  # the log is a file

    async def sockets(self) -> list[str] | None:
        """Return the IDs of the sockets of all workers, or None if a worker does not answer."""
        headers = {"Authorization": f"Bearer {self.tokens['ada']}"}
        async with httpx.AsyncClient(timeout=PATIENCE) as web:
            found = (await web.get(f"{self.served.url}/api/sockets", headers=headers)).json()
        return [socket["id"] for socket in found["sockets"]] if found["complete"] else None

    def open(self, js: Any, number: int, kinds: list[tuple[str, str]] = KINDS) -> Any:
        kind = kinds[number % len(kinds)]
        auth = {"token": self.tokens[("ada", "grace")[number % 2]]}
        return js.open(self.site, kind, auth=auth, reconnectionDelay=300, reconnectionDelayMax=600)


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    folder = tmp_path_factory.mktemp("workers")
    for username in ("ada", "grace"):
        add = [sys.executable, "-m", "roomkey", "user", "add", username, "--room", "red", "--role", "roomkey:admin"]
        subprocess.run([*add, "--password-stdin"], cwd=folder, input=PASSWORD, text=True, check=True)
    (folder / "roomkey.toml").write_text("admin_api = true")
    served = start_server(folder, "--workers", "2", demo=False)
    yield Workers(served)
    served.end()


@pytest_asyncio.fixture(loop_scope="module")
async def js(js_process: Any, workers: Workers) -> AsyncIterator[Any]:
    yield js_process
    js_process.close_all()
    async with asyncio.timeout(PATIENCE):  # workers that still have connections would accept fewer in the next test
        while await workers.sockets() != []:
            await asyncio.sleep(0.1)


async def members(workers: Workers, js: Any, number: int, kinds: list[tuple[str, str]] = KINDS) -> list[Any]:
    """Return sockets that are connected, and members of the room red."""
    sockets = [workers.open(js, each, kinds) for each in range(number)]
    await asyncio.gather(*(entered(socket) for socket in sockets))
    return sockets


async def entered(socket: Any) -> None:
    await asyncio.wait_for(socket.skip_to("connect"), PATIENCE)
    socket.emit("join-room", "red", ack="joined")
    await socket.skip_to("ack", tag="joined", args=[{"ok": True}])


async def all_hear(sockets: list[Any], text: str) -> None:
    """Assert that a message of the first one reaches all."""
    sockets[0].emit("message", {"room": "red", "text": text})
    sender = {"room": "red", "from": "ada", "text": text}
    await asyncio.gather(*(socket.skip_to("event", name="message", args=[sender]) for socket in sockets))


async def test_message_reaches_the_clients_of_all_workers(workers: Workers, js: Any) -> None:
    sockets = await members(workers, js, 24)
    for number in range(5):
        await all_hear(sockets, f"hello {number}")
    names = [socket.transport for socket in sockets]
    assert names.count("polling") >= 12


async def test_polling_needs_no_sticky_sessions(workers: Workers, js: Any) -> None:
    """Each poll of this client is a connection of its own, which any worker may accept."""
    [socket] = await members(workers, js, 1, [("current", "polling")])
    for number in range(40):
        assert (await socket.call("whoami"))[0]["subject"] == "ada", number


class Fan:
    """A client that joins the room whenever it connects, and remembers the last number that it has heard."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.connects = 0
        self.sids: set[str] = set()
        self.heard = -1
        self._changed = asyncio.Condition()
        self._listening = asyncio.ensure_future(self._listen())

    async def _listen(self) -> None:
        while True:
            report = await self.socket.reports.get()
            async with self._changed:
                if report["what"] == "connect":
                    self.connects += 1
                    self.sids.add(report["sid"])
                    self.socket.emit("join-room", "red", ack="joined")
                elif report["what"] == "disconnect":
                    assert report["active"], report  # it reconnects
                elif report["what"] == "event":
                    self.heard = int(report["args"][0]["text"])
                self._changed.notify_all()

    async def hears(self, number: int) -> None:
        """Wait until it has heard this number or a greater one."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.heard >= number or self._listening.done())
        assert not self._listening.done(), self._listening.exception()

    def stop(self) -> None:
        self._listening.cancel()


@pytest.mark.checklist("H112")
@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL", "SIGHUP"])
async def test_clients_of_workers_that_end_are_served_by_others(workers: Workers, js: Any, how: str) -> None:
    fans = [Fan(workers.open(js, number)) for number in range(60)]
    counting = asyncio.ensure_future(count_aloud(fans))
    try:
        await survive(workers, fans, how)
    finally:
        counting.cancel()
        for fan in fans:
            fan.stop()


async def survive(workers: Workers, fans: list[Fan], how: str) -> None:
    await asyncio.wait_for(asyncio.gather(*(fan.hears(0) for fan in fans)), PATIENCE)
    before, after = workers.processes(), len(workers.served.errors())
    if how == "SIGHUP":
        workers.served.process.send_signal(signal.SIGHUP)
        await workers.log("restarted 2 workers", after)
        assert not set(before) & set(workers.processes())
    else:
        os.kill(before[0], getattr(signal, how))
        await workers.log("starting another", after)
    number = max(fan.heard for fan in fans) + 20  # nobody has said it yet
    await asyncio.wait_for(asyncio.gather(*(fan.hears(number) for fan in fans)), PATIENCE)
    again = [fan for fan in fans if fan.connects > 1]
    if how == "SIGHUP":
        assert len(again) == len(fans)
    else:
        # About three in four: an upgraded WebSocket may pass through a worker that does not have its session.
        assert 10 < len(again) < len(fans), "the clients of the other worker stay connected"
        await workers.log(r"worker \d \(process \d+\) serves", after)
    async with asyncio.timeout(PATIENCE):  # a dead worker counts as alive for 10 s
        while (sockets := await workers.sockets()) is None:
            await asyncio.sleep(0.1)
    assert len(set(sockets)) == len(sockets) == len(fans), "nothing is left of the sockets of the worker that ended"
    assert sum(len(fan.sids) for fan in fans) == sum(fan.connects for fan in fans)


async def count_aloud(fans: list[Fan]) -> None:
    """Say one number after the other in the room, by clients in turns."""
    number = 0
    while True:
        for fan in fans:
            fan.socket.emit("message", {"room": "red", "text": str(number)})
            number += 1
            await asyncio.sleep(0.02)
