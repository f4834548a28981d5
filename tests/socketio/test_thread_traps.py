"""What an application or a client can do to a server with threads, on a real port."""

from __future__ import annotations

import gc
import json
import threading
import weakref
from contextlib import suppress

import httpx
import pytest
from support.rawsocket import PATIENCE
from support.sync_live import join, open_websocket, serving
from support.sync_world import SyncClient, SyncWorld
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection


def read_to_the_end(client: ClientConnection) -> None:
    """Return when the server has closed the connection."""
    with suppress(ConnectionClosed):
        while True:
            client.recv(PATIENCE)


@pytest.mark.parametrize("is_admitted", [True, False], ids=["admitted", "refused"])
def test_connection_leaves_no_cycle(is_admitted):
    """If only the garbage collector could free a connection, a refusal would cost up to half as much again."""
    world = SyncWorld()
    gone = threading.Event()
    gc.collect()
    gc.disable()
    try:
        with serving(world) as host, open_websocket(host) as client:
            client.recv(PATIENCE)
            [connection] = world.guard.index.connections
            weakref.finalize(connection.host, gone.set)
            del connection
            client.send("40" + json.dumps({"token": world.token() if is_admitted else "bad"}))
            assert str(client.recv(PATIENCE)).startswith("40" if is_admitted else "44")
            client.close()
            assert gone.wait(PATIENCE)
    finally:
        gc.enable()


def test_connect_handler_that_raises_type_error_is_called_once():
    calls: list[object] = []

    def prepare(world: SyncWorld) -> None:
        @world.sio.event
        def connect(sid, environ, auth):
            calls.append(auth)
            raise TypeError("connect() missing 1 required positional argument")

    world = SyncWorld(prepare)
    reply = SyncClient(world).connect(world.token())
    assert reply.startswith("4")
    assert len(calls) == 1
    assert not world.guard.sockets()


def test_handler_that_never_returns_keeps_nobody_waiting_and_its_client_can_be_revoked():
    entered, may_end = threading.Event(), threading.Event()

    def prepare(world: SyncWorld) -> None:
        @world.sio.on("stuck")
        def stuck(_sid):
            entered.set()
            may_end.wait(PATIENCE)

        @world.sio.on("echo")
        def echo(_sid, value):
            return value

    world = SyncWorld(prepare, server={"async_handlers": False})
    with serving(world) as host, join(host, world.token()) as client, join(host, world.token("eve")) as other:
        client.send('42["stuck"]')
        assert entered.wait(PATIENCE)
        other.send('421["echo",1]')
        assert other.recv(PATIENCE) == "431[1]"
        assert world.guard.revoke(subject="ada") == 1
        assert str(client.recv(PATIENCE)).startswith('42["unauthorized"')
        read_to_the_end(client)
        other.send('422["echo",2]')
        assert other.recv(PATIENCE) == "432[2]"
        may_end.set()


def test_session_goes_on_after_an_upgrade_that_was_not_completed():
    world = SyncWorld()
    with serving(world) as host, httpx.Client(base_url=f"http://{host}", trust_env=False, timeout=PATIENCE) as http:
        url = "/socket.io/?EIO=4&transport=polling"
        session = json.loads(http.get(url).text[1:])["sid"]
        http.post(f"{url}&sid={session}", content="40" + json.dumps({"token": world.token()}))
        assert http.get(f"{url}&sid={session}").text.startswith("40")
        with open_websocket(host, f"&sid={session}") as half:
            half.send("2probe")
            assert half.recv(PATIENCE) == "3probe"
            with open_websocket(host, f"&sid={session}") as second, pytest.raises(ConnectionClosed):
                second.recv(PATIENCE)  # one upgrade at a time
        assert http.get(f"{url}&sid={session}").text == "6"  # engineio ended the poll for the upgrade
        world.sio.emit("news", 1)
        texts = [http.get(f"{url}&sid={session}").text]
        while texts[-1] == "6":
            texts.append(http.get(f"{url}&sid={session}").text)
        assert texts[-1] == '42["news",1]'


def test_revocation_ends_an_upgrade_that_was_not_completed():
    world = SyncWorld()
    with serving(world) as host, httpx.Client(base_url=f"http://{host}", trust_env=False, timeout=PATIENCE) as http:
        url = "/socket.io/?EIO=4&transport=polling"
        session = json.loads(http.get(url).text[1:])["sid"]
        http.post(f"{url}&sid={session}", content="40" + json.dumps({"token": world.token()}))
        with open_websocket(host, f"&sid={session}") as half:
            half.send("2probe")
            assert half.recv(PATIENCE) == "3probe"
            assert world.guard.revoke(subject="ada") == 1
            with pytest.raises(ConnectionClosed):
                half.recv(PATIENCE)
        world.guard.settle()
        assert not world.guard.index.connections


def test_large_polling_body_of_a_member_closes_only_that_connection():
    world = SyncWorld(server={"max_http_buffer_size": 100_000})
    other = world.member("eve")
    with serving(world) as host, httpx.Client(base_url=f"http://{host}", trust_env=False, timeout=PATIENCE) as http:
        url = "/socket.io/?EIO=4&transport=polling"
        session = json.loads(http.get(url).text[1:])["sid"]
        http.post(f"{url}&sid={session}", content="40" + json.dumps({"token": world.token()}))
        assert http.post(f"{url}&sid={session}", content="42" + json.dumps(["x", "x" * 100_001])).status_code == 413
        world.guard.settle()
        assert [socket.identity.subject for socket in world.guard.sockets()] == ["eve"]
        world.sio.emit("news", 1)
        assert other.heard("news") == [1]


def test_heartbeat_forgets_the_ping_that_was_answered():
    """engineio 4.8 does so only here, and would close the connection."""
    world = SyncWorld()
    transport = world.member().transport
    world.sio.eio.ping_interval = 0
    transport.last_ping, transport.closed = 1.0, True
    transport._send_ping()
    assert transport.last_ping is None
