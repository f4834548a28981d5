"""Log lines that uvicorn writes about requests and WebSockets, with uvicorn's own logging."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import websockets
from support.server_process import served_url

from roomkey import Issuer, Key

SECRET = "5f1c8e7a9b3d2f60417c6b5a8e9d0f13-for-tests-only"

SERVER = """
import sys, socketio, uvicorn
from roomkey import Verifier
from roomkey.hub import Hub
from roomkey.socketio import AsyncGuard, Handshake

how, secret = sys.argv[1:]
verifier, via = Verifier.hs256(secret, audience="chat"), Handshake(query="key")
if how == "guard":
    sio = socketio.AsyncServer(async_mode="asgi", engineio_logger=True)
    AsyncGuard(verifier, via=via).attach(sio)
    uvicorn.run(socketio.ASGIApp(sio), port=0)
elif how == "asgi":
    uvicorn.run(Hub(verifier, via=via).asgi, port=0)
else:
    Hub(verifier, via=via).run(port=0, access_log=True)
"""


@asynccontextmanager
async def served(how: str, folder: Path):
    (folder / "server.py").write_text(SERVER)
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "server.py", how, SECRET),
        cwd=folder,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process, await served_url(process.stdout)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.checklist("I122")
@pytest.mark.parametrize("how", ["guard", "asgi", "run"])
async def test_server_logs_show_urls_without_their_tokens(how, tmp_path):
    """The lines are there, in the server's own format, and contain no token."""
    token = Issuer(Key.from_secret(SECRET), audience="chat").issue("ada")
    secrets = [token, token.split(".")[2], "opaque-credential"]
    async with served(how, tmp_path) as (process, url):
        async with httpx.AsyncClient(base_url=url) as client:
            for key in (token, "opaque-credential"):
                polled = await client.get("/socket.io/", params={"EIO": "4", "transport": "polling", "key": key})
                secrets.append(polled.text.partition('"sid":"')[2][:20])
            await client.get("/elsewhere", params={"key": token})
        address = f"{url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket&key={token}"
        async with websockets.connect(address) as socket:
            await socket.recv()
        process.terminate()
        output, _ = await asyncio.wait_for(process.communicate(), 20)
    lines = output.decode().splitlines()
    shown = [line for line in lines if "key=…" in line]
    assert any('"GET /socket.io/?' in line and "200" in line for line in shown)
    assert any('"GET /elsewhere?key=… HTTP/1.1" 404' in line for line in shown)
    assert how == "run" or any('"WebSocket /socket.io/?' in line for line in shown)
    assert [secret for secret in secrets if secret and secret in output.decode()] == []
    assert "Logging error" not in output.decode()
