"""The example that runs on both engines, started as in its README, with real clients."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import socketio
from support.server_process import PATIENCE, served_url

FOLDER = Path(__file__).parents[2] / "examples" / "both_engines"
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "ROOMKEY_SECRET"}
SECRET = secrets.token_urlsafe(32)

pytestmark = pytest.mark.parametrize("script", ["on_socketio.py", "on_hub.py"])


async def start(*command: str, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=FOLDER, env=ENVIRONMENT | environment, stdout=-1, stderr=-2
    )


@pytest.fixture
async def url(script: str) -> AsyncIterator[str]:
    """Return the address of the example, which is stopped after the test."""
    process = await start(script, ROOMKEY_SECRET=SECRET, PORT="0")
    yield await served_url(process.stdout)
    process.kill()
    await process.communicate()


async def token(name: str, *rooms: str) -> str:
    flags = [flag for room in rooms for flag in ("--room", room)]
    issue = await start("-m", "roomkey", "token", "issue", name, "--audience", "chat", *flags, ROOMKEY_SECRET=SECRET)
    out, _ = await asyncio.wait_for(issue.communicate(), PATIENCE)
    return out.decode().strip()


async def enter(url: str, name: str) -> socketio.AsyncSimpleClient:
    """Return a client that is admitted and in the room."""
    client = socketio.AsyncSimpleClient()
    await client.connect(url, auth={"token": await token(name, "red")}, transports=["websocket"])
    assert await client.receive(timeout=PATIENCE) == ["welcome", name]
    assert await client.call("join-room", "red") == {"ok": True}
    return client


async def test_chat_example_relays_messages(url: str) -> None:
    ada, bob = await asyncio.gather(enter(url, "ada"), enter(url, "bob"))
    assert [await ada.call("message", ("red", text)) for text in ("hello", "again")] == [1, 2]
    for text in ("hello", "again"):
        assert await bob.receive(timeout=PATIENCE) == ["message", {"from": "ada", "text": text}]
    for refused in (("join-room", "blue"), ("message", ("blue", "x"))):
        assert (await ada.call(*refused))["error"]["code"] == "permission_denied"
    await ada.disconnect()
    assert await bob.receive(timeout=PATIENCE) == ["left", "ada"]
    await bob.disconnect()


async def test_chat_example_refuses_a_missing_token(url: str) -> None:
    client = socketio.AsyncClient(reconnection=False)
    told = asyncio.get_running_loop().create_future()
    client.on("connect_error", told.set_result)
    with pytest.raises(socketio.exceptions.ConnectionError):
        await client.connect(url, transports=["websocket"])
    assert (await asyncio.wait_for(told, PATIENCE))["message"] == "no token provided"


async def test_chat_example_is_short_and_names_missing_settings(script: str) -> None:
    for path in FOLDER.iterdir():
        assert path.is_dir() or len(path.read_text().splitlines()) < 60, path.name
    process = await start(script)
    out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == 1
    assert out.decode().strip() == "ROOMKEY_SECRET is not set: see README.md"
