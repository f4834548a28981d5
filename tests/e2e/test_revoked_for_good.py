"""``roomkey token revoke`` takes effect on a running server, and survives a kill and a restart."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import socketio
from argon2 import PasswordHasher

from roomkey.stores import Account, SqlAccounts

Serve = Callable[..., Any]
PASSWORD = "correct horse battery"
PATIENCE = 10.0
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def roomkey(folder: Path, *arguments: str, typed: str = "") -> None:
    command = [sys.executable, "-m", "roomkey", *arguments]
    ran = subprocess.run(command, cwd=folder, input=typed, text=True, capture_output=True, timeout=100)
    assert ran.returncode == 0, ran.stderr


@pytest.fixture
async def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return the folder of a server with one account."""
    where: Path | str = tmp_path / "roomkey.sqlite3"
    if getattr(request, "param", "sqlite") == "postgresql":
        where = request.getfixturevalue("postgres").database()
        (tmp_path / "roomkey.toml").write_text(f"database = {json.dumps(where)}\n")
    accounts = SqlAccounts(where)
    await accounts.add(Account("ada", CHEAP.hash(PASSWORD), rooms=("red",)))
    await accounts.close()
    return tmp_path


def token_of(url: str) -> str:
    answer = httpx.post(f"{url}/auth/login", json={"username": "ada", "password": PASSWORD})
    return str(answer.json()["access_token"])


class Client:
    """A client, the events that it received, and whether it is connected."""

    def __init__(self) -> None:
        self.sio = socketio.AsyncClient(reconnection=False)
        self.told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.gone = asyncio.Event()
        self.sio.on("unauthorized", self.told.put_nowait)
        self.sio.on("connect_error", self.told.put_nowait)
        self.sio.on("disconnect", lambda _reason=None: self.gone.set())

    async def connect(self, url: str, token: str) -> None:
        await self.sio.connect(url, auth={"token": token}, transports=["websocket"])

    async def is_refused(self, url: str, token: str) -> None:
        with pytest.raises(socketio.exceptions.ConnectionError):
            await self.connect(url, token)
        assert (await asyncio.wait_for(self.told.get(), PATIENCE))["data"]["reason"] == "token_revoked"


@pytest.mark.parametrize(
    ("engine", "folder"),
    [("hub", "sqlite"), ("python-socketio", "postgresql")],
    indirect=True,
)
async def test_revoke_command_disconnects_and_refuses_the_token(serve: Serve, folder: Path) -> None:
    served = serve(demo=False)
    token = token_of(served.url)
    client = Client()
    await client.connect(served.url, token)
    assert (await client.sio.call("whoami"))["subject"] == "ada"
    await asyncio.to_thread(roomkey, folder, "token", "revoke", "--subject", "ada")
    assert (await asyncio.wait_for(client.told.get(), PATIENCE))["data"]["reason"] == "token_revoked"
    await asyncio.wait_for(client.gone.wait(), PATIENCE)
    await Client().is_refused(served.url, token)
    assert served.stop(signal.SIGTERM) == 0
    assert "Traceback" not in served.errors()


@pytest.mark.parametrize("engine", ["hub"], indirect=True, scope="session")
async def test_revocation_survives_a_kill(serve: Serve, folder: Path) -> None:
    served = serve(demo=False)
    token = token_of(served.url)
    await Client().connect(served.url, token)
    await asyncio.to_thread(roomkey, folder, "token", "revoke", "-", typed=token)
    served.stop(signal.SIGKILL)
    again = serve(demo=False)
    await Client().is_refused(again.url, token)


@pytest.mark.parametrize("engine", ["hub"], indirect=True, scope="session")
async def test_disabled_user_is_disconnected(serve: Serve, folder: Path) -> None:
    served = serve(demo=False)
    client = Client()
    await client.connect(served.url, token_of(served.url))
    await asyncio.to_thread(roomkey, folder, "user", "disable", "ada")
    assert (await asyncio.wait_for(client.told.get(), PATIENCE))["data"]["reason"] == "token_revoked"
    await asyncio.wait_for(client.gone.wait(), PATIENCE)
