"""The guard of ``socketio.Server``, beyond what the contract of all hosts says."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import socketio
from support.rawsocket import PATIENCE
from support.sync_scenarios import SCENARIOS, run, wait_until
from support.sync_world import SyncClient, SyncWorld

from roomkey import ConfigError, Issuer, PermissionDenied
from roomkey.socketio import AsyncGuard, Guard
from roomkey.socketio.checks import MANAGER_SEAMS, SYNC_ENGINE_SEAMS, SYNC_SERVER_SEAMS

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("name", SCENARIOS)
def test_guard_waits_on_threads(name):
    run("threading", name)


@pytest.mark.long
@pytest.mark.parametrize("mode", ["gevent", "gevent-unpatched", "eventlet"])
def test_guard_waits_on_greenlets(mode):
    done = subprocess.run(
        [sys.executable, "-m", "support.sync_scenarios", mode, *SCENARIOS],
        cwd=TESTS,
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=5 * PATIENCE,
    )
    assert done.returncode == 0, done.stderr


def test_every_verb_of_the_asynchronous_guard_is_here_without_await():
    in_a_cluster = {"set_presence", "find_sockets", "count_sockets"}  # of the hub, and of the login server beside it
    verbs = {name for name in dir(AsyncGuard) if not name.startswith("_")} - {"of", "server_loop"} - in_a_cluster
    assert verbs <= set(dir(Guard))
    for name in verbs:
        here, there = getattr(Guard, name), getattr(AsyncGuard, name)
        assert not inspect.iscoroutinefunction(here), name
        if inspect.isfunction(here):
            assert inspect.signature(here).parameters.keys() == inspect.signature(there).parameters.keys(), name


def test_attach_names_the_other_guard():
    issuer = Issuer.ephemeral(audience="chat")
    with pytest.raises(ConfigError, match=r"requires socketio.Server, not AsyncServer; use roomkey.*AsyncGuard"):
        Guard(issuer.verifier()).attach(socketio.AsyncServer(async_mode="asgi"))
    with pytest.raises(ConfigError, match=r"requires socketio.AsyncServer, not Server; use roomkey.socketio.Guard"):
        AsyncGuard(issuer.verifier()).attach(socketio.Server(async_mode="threading"))


@pytest.mark.parametrize("name", [*SYNC_SERVER_SEAMS, *SYNC_ENGINE_SEAMS, *MANAGER_SEAMS])
def test_attach_rejects_python_socketio_with_other_private_names(name):
    sio = socketio.Server(async_mode="threading")
    owner = sio if name in SYNC_SERVER_SEAMS else sio.eio if name in SYNC_ENGINE_SEAMS else sio.manager
    setattr(owner, name, lambda other: None)
    with pytest.raises(ConfigError, match=name):
        Guard(Issuer.ephemeral(audience="chat").verifier()).attach(sio)


def test_guard_verifies_before_it_is_attached():
    issuer = Issuer.ephemeral(audience="chat")
    guard = Guard(issuer.verifier())
    assert guard.verify(issuer.issue("ada")).subject == "ada"
    with pytest.raises(ConfigError, match="not attached"):
        guard.identity("sid")


def test_handler_that_denies_is_answered_in_its_own_thread():
    def prepare(world: SyncWorld) -> None:
        @world.sio.on("enter")
        def enter(sid, room):
            world.guard.enter_room(sid, room)

    world = SyncWorld(prepare, server={"async_handlers": True})
    client = world.member("ada", rooms=["red"])
    answered = threading.Event()
    append = client.packets.append
    client.packets = Noted(append, answered)
    client.event("enter", "blue", ack=7)
    assert answered.wait(PATIENCE)
    assert client.packets[-1].startswith("37[")
    assert "permission_denied" in client.packets[-1]


class Noted(list):
    """A list that tells when something is added."""

    def __init__(self, _append, added: threading.Event) -> None:
        super().__init__()
        self._added = added

    def append(self, packet) -> None:
        super().append(packet)
        self._added.set()


def test_poll_of_another_owner_is_refused_and_the_owner_goes_on():
    world = SyncWorld()
    headers = {"HTTP_AUTHORIZATION": f"Bearer {world.token()}"}
    _, opened = world.request("GET", **headers)
    sid = opened.decode().split('"sid":"')[1].split('"')[0]
    assert world.request("POST", f"&sid={sid}", b"40", **headers)[0].startswith("200")
    assert world.request("POST", f"&sid={sid}", b"40")[0].startswith("403")
    eve = {"HTTP_AUTHORIZATION": f"Bearer {world.token('eve')}"}
    assert world.request("POST", f"&sid={sid}", b'42["echo"]', **eve)[0].startswith("403")
    assert b"40{" in world.request("GET", f"&sid={sid}", **headers)[1]


def test_large_body_before_admission_is_refused():
    world = SyncWorld()
    client = SyncClient(world)
    status, _ = world.request("POST", f"&sid={client.eio_sid}", b"4" + b"x" * 100_000)
    assert status.startswith("413")
    world.guard.settle()
    assert not world.guard.index.connections


@pytest.mark.parametrize("first", ["instrument", "attach"])
@pytest.mark.parametrize("mode", ["development", "production"])
def test_guard_works_with_instrument(first, mode):
    issuer_world = SyncWorld()
    sio = socketio.Server(async_mode="threading", async_handlers=False, cors_allowed_origins=None)
    guard = Guard(issuer_world.issuer.verifier(), clock=issuer_world.clock)
    handled: list[str] = []
    sio.on("message", lambda _sid, *_: handled.append("message"))

    def instrument():
        return sio.instrument(auth={"username": "root", "password": "p"}, mode=mode, server_stats_interval=0.2)

    if first == "attach":
        guard.attach(sio)
    admin = instrument()
    if first == "instrument":
        guard.attach(sio)
    issuer_world.sio, issuer_world.guard, issuer_world.app = sio, guard, socketio.WSGIApp(sio)
    try:
        stranger = SyncClient(issuer_world)
        assert stranger.connect(None, "/admin").startswith("4/admin")
        member = issuer_world.member("ada")
        member.event("message", "x")
        assert handled == ["message"]
        assert guard.revoke(subject="ada") == 1
        member.event("message", "y")
        assert handled == ["message"]
    finally:
        admin.shutdown()
        admin.uninstrument()


def test_settle_in_handlers_does_not_wait_for_itself():
    def prepare(world: SyncWorld) -> None:
        @world.sio.event
        def disconnect(_sid, _reason):
            world.guard.settle()

    world = SyncWorld(prepare)
    for _ in range(3):
        world.member("ada")
    assert world.guard.revoke(subject="ada") == 3
    wait_until(world, lambda: not world.guard.index.sockets)


def test_application_cannot_add_a_socket_to_a_room_without_a_rule():
    world = SyncWorld()
    client = world.member("ada", rooms=["red"])
    world.sio.enter_room(client.sid, "red")
    with pytest.raises(PermissionDenied):
        world.sio.enter_room(client.sid, "blue")
    world.sio.emit("news", 1, room="blue")
    world.sio.emit("news", 2, room="red")
    assert client.heard("news") == [2]
    world.sio.close_room("red")
    world.sio.emit("news", 3, room="red")
    assert client.heard("news") == [2]
