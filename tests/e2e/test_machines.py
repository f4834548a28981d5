"""``roomkey serve --redis``: servers with one database and one Redis behave as one."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.brokers import Broker, free_port
from support.serve_process import Served, start_server
from websockets.asyncio.client import connect

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

PATIENCE = 30.0
POLLING = {"EIO": "4", "transport": "polling"}


class Machines:
    """Two servers, as if each were on a machine of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broker = Broker("redis", folder).start()
        shared = ["--database", str(folder / "accounts.sqlite3"), "--keys", str(folder / "keys")]
        add = [sys.executable, "-m", "roomkey", "user", "add", "zoe", "--room", "red", "--password-stdin"]
        subprocess.run(
            [*add, "--database", str(folder / "accounts.sqlite3")],
            cwd=folder,
            input="correct horse battery",
            text=True,
            check=True,
        )
        keys = folder / "keys"
        keys.mkdir(mode=0o700)
        secret = keys / "cluster.secret"
        secret.touch(mode=0o600)
        secret.write_text("".join(f"{byte:02x}" for byte in range(7, 247, 7)) + "\n")
        self.servers: list[Served] = []
        for name in ("a", "b"):
            (folder / name).mkdir()
            address = f"127.0.0.1:{free_port()}"
            arguments = ["--redis", self.broker.url, "--node-address", address, *shared]
            self.servers.append(start_server(folder / name, *arguments, demo=False))

    async def ready(self, status: int) -> None:
        """Wait until ``/readyz`` of both responds with a status."""
        async with asyncio.timeout(PATIENCE), httpx.AsyncClient(timeout=PATIENCE) as web:
            for server in self.servers:
                while (await web.get(f"{server.url}/readyz")).status_code != status:
                    await asyncio.sleep(0.05)

    def end(self) -> None:
        for server in self.servers:
            server.end()
        self.broker.kill()


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    made = Machines(tmp_path)
    yield made
    made.end()


async def packet(web: httpx.AsyncClient, url: str, **query: str) -> str:
    answer = await web.get(f"{url}/socket.io/", params=POLLING | query)
    assert answer.status_code == 200, answer.text
    return answer.text


async def test_two_servers_on_one_redis_behave_as_one(machines: Machines) -> None:
    await machines.ready(200)
    a, b = (server.url for server in machines.servers)
    assert "use PostgreSQL" in machines.servers[0].errors()
    async with httpx.AsyncClient(timeout=PATIENCE) as web:
        typed = {"username": "zoe", "password": "correct horse battery"}
        token = (await web.post(f"{a}/auth/login", json=typed)).json()["access_token"]
        sid = json.loads((await packet(web, a))[1:])["sid"]

        async def send(text: str, url: str) -> Any:
            answer = await web.post(f"{url}/socket.io/", params=POLLING | {"sid": sid}, content=text)
            assert (answer.status_code, answer.text) == (200, "ok")

        await send("40" + json.dumps({"token": token}), b)  # the session is a's
        assert (await packet(web, b, sid=sid)).startswith('40{"sid"')
        await send('420["join-room","red"]', a)
        assert await packet(web, b, sid=sid) == '430[{"ok":true}]'
        async with connect(f"{b.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket") as socket:
            await socket.recv()
            await socket.send("40" + json.dumps({"token": token}))
            await socket.recv()
            await socket.send('421["join-room","red"]')
            assert await socket.recv() == '431[{"ok":true}]'
            await send('42["message",{"room":"red","text":"from a"}]', b)
            assert "from a" in str(await asyncio.wait_for(socket.recv(), PATIENCE))
            assert "from a" in await packet(web, b, sid=sid)

            machines.broker.kill()
            await machines.ready(503)
            await socket.send('422["whoami"]')  # a socket of this node is served as before
            assert str(await socket.recv()).startswith('432[{"subject":"zoe"')
            machines.broker.start()
            await machines.ready(200)
            await socket.send('42["message",{"room":"red","text":"from b"}]')
            assert "from b" in await packet(web, a, sid=sid)

            assert (await web.post(f"{a}/auth/logout-all", headers={"Authorization": f"Bearer {token}"})).is_success
            last = ""
            async with asyncio.timeout(PATIENCE):
                async for message in socket:
                    last = str(message)
            assert "token_revoked" in last or last == "41"
    for server in machines.servers:
        assert server.stop(signal.SIGTERM) == 0
        assert "Traceback" not in server.errors()
