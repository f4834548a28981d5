"""A revocation of the login server reaches the sockets of a Node.js server."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from socketio.exceptions import ConnectionError as ConnectionFailed
from support.member import Member, admitted
from support.node import built_node_package
from support.oauth import HASH, SECRET
from support.product import ProductThread

from roomkey.auth.revocation_journal import JOURNAL_SCOPE
from roomkey.server.settings import Settings
from roomkey.stores import Client, SqlClients

ISSUER = "http://127.0.0.1:8000"

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def login() -> Iterator[ProductThread]:
    clients = SqlClients()
    with ProductThread.running(Settings(issuer=ISSUER, audience="chat"), clients=clients) as served:
        reader = Client("node", HASH, grants=("client_credentials",), scopes=(JOURNAL_SCOPE,))
        served.call(clients.add(reader))
        yield served


@pytest.fixture(scope="module")
def url(login: ProductThread) -> Iterator[str]:
    environment = {
        "LOGIN": login.url,
        "ISSUER": ISSUER,
        "AUDIENCE": "chat",
        "CLIENT_ID": "node",
        "CLIENT_SECRET": SECRET,
    }
    script = built_node_package() / "test" / "support" / "journal_server.mjs"
    with subprocess.Popen(
        ["node", str(script)], stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    ) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.terminate()


async def seconds_until(condition: Callable[[], bool]) -> float:
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < 5
        await asyncio.sleep(0.01)
    return time.monotonic() - begun


@pytest.mark.parametrize("kind", ["token_id", "session_id", "subject"])
async def test_revocation_in_python_disconnects_the_node_socket_within_two_seconds(login, url, kind):
    token = login.product.issuer.issue(f"ada-{kind}", token_id=f"t-{kind}", session_id=f"s-{kind}")
    member = await admitted(url, token)
    bystander = await admitted(url, login.product.issuer.issue("bob"))
    named = {"token_id": f"t-{kind}", "session_id": f"s-{kind}", "subject": f"ada-{kind}"}[kind]
    await asyncio.to_thread(login.call, login.guard.revoke(**{kind: named}))
    assert await seconds_until(lambda: not member.client.connected) < 2
    assert member.told[0][1]["data"]["reason"] == "token_revoked"
    assert bystander.client.connected
    with pytest.raises(ConnectionFailed):
        await Member().connect(url, token)
    await bystander.client.disconnect()


async def test_changed_rights_reach_the_node_socket(login, url):
    member = await admitted(url, login.product.issuer.issue("eve", rooms=["red", "blue"]))
    assert await member.client.call("join-room", "red") == {"ok": True}
    await asyncio.to_thread(login.call, login.guard.update("eve", rooms=["blue"]))
    await seconds_until(lambda: ("permissions_changed", {"left": ["red"]}) in member.told)
    assert (await member.client.call("join-room", "red"))["error"]["code"] == "permission_denied"
    await member.client.disconnect()
