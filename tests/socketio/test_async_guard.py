"""Attaching to a python-socketio server, and what stands beside the guard there."""

from __future__ import annotations

import asyncio

import pytest
import socketio
from aiohttp import web
from support.live import Raw, new_server, until

from roomkey import ConfigError, Issuer
from roomkey.socketio import AsyncGuard, Guard, Handshake
from roomkey.testing import connect_blocking


def unattached(**settings):
    return AsyncGuard(Issuer.ephemeral(audience="chat").verifier(), **settings)


def test_attach_rejects_other_server_types():
    with pytest.raises(ConfigError, match=r"socketio\.AsyncServer"):
        unattached().attach(socketio.Server(async_mode="threading"))


def test_attach_rejects_a_second_call():
    guard = unattached()
    guard.attach(new_server())
    with pytest.raises(ConfigError, match="already attached"):
        guard.attach(new_server())


def test_attach_rejects_a_second_guard_on_one_server():
    sio = new_server()
    unattached().attach(sio)
    with pytest.raises(ConfigError, match="already has one"):
        unattached().attach(sio)


def test_attach_rejects_cookies_with_every_origin():
    with pytest.raises(ConfigError, match="cors_allowed_origins"):
        unattached(via=Handshake(cookie="session")).attach(new_server(cors_allowed_origins="*"))


@pytest.mark.parametrize("name", ["_trigger_event", "_handle_event", "_handle_eio_message"])
def test_attach_rejects_python_socketio_with_other_private_names(name):
    sio = new_server()
    setattr(sio, name, lambda something_else: None)
    with pytest.raises(ConfigError, match=name):
        unattached().attach(sio)
    assert "hooks" not in repr(sio._handle_connect)


def test_attach_rejects_an_engineio_that_cannot_close(monkeypatch):
    monkeypatch.setattr("roomkey.socketio.checks.version", lambda name: "4.8.0")
    with pytest.raises(ConfigError, match="cannot close"):
        unattached().attach(new_server())


@pytest.mark.parametrize("event", ["connect", "message", "disconnect"])
def test_attach_rejects_a_server_with_another_transport_handler(event):
    sio = new_server()
    sio.eio.on(event, lambda *arguments: None)
    with pytest.raises(ConfigError, match="attach the guard first"):
        AsyncGuard(Issuer.ephemeral(audience="a").verifier()).attach(sio)


def test_attach_rejects_a_second_guard_after_instrument():
    sio = new_server()
    AsyncGuard(Issuer.ephemeral(audience="a").verifier()).attach(sio)
    admin = sio.instrument(auth=False)
    try:
        with pytest.raises(ConfigError, match="already has one"):
            AsyncGuard(Issuer.ephemeral(audience="a").verifier()).attach(sio)
    finally:
        admin.uninstrument()


@pytest.mark.parametrize("origins", [["*"], ["*", "https://a.example"], ("*",)])
def test_list_with_every_origin_is_every_origin(origins):
    guard = AsyncGuard(Issuer.ephemeral(audience="a").verifier(), via=Handshake(cookie="session"))
    with pytest.raises(ConfigError, match="cors_allowed_origins"):
        guard.attach(new_server(cors_allowed_origins=origins))


@pytest.mark.parametrize("first", ["instrument", "attach"])
@pytest.mark.parametrize("mode", ["development", "production"])
async def test_guard_works_with_instrument(make_world, caplog, first, mode):
    sio_settings = {"server": {"cors_allowed_origins": None}}

    def prepare(world):
        for event in ("connect", "message", "disconnect"):
            world.sio.on(event, lambda *arguments, event=event: world.calls.append(event))

    world = await make_world(False, prepare=prepare, **sio_settings)
    guard = AsyncGuard(world.issuer.verifier(), clock=world.clock)
    world.guard = guard

    def instrument():
        return world.sio.instrument(auth={"username": "root", "password": "p"}, mode=mode, server_stats_interval=0.2)

    if first == "instrument":
        admin = instrument()
        guard.attach(world.sio)
    else:
        guard.attach(world.sio)
        admin = instrument()
    try:
        refused = await world.client()
        assert (await refused.ask()).startswith("44")
        assert await refused.is_closed()
        stranger = await world.client()
        told = await stranger.ask_data({"username": "root", "password": "p"}, "/admin")
        assert told["data"]["type"] == "UnauthorizedError"
        operator = await world.client(headers={"Authorization": f"Bearer {world.token('root')}"})
        assert (await operator.ask({"username": "root", "password": "p"}, "/admin")).startswith("40/admin")
        member = await world.member()
        await member.event("message", "x")
        await until(lambda: world.calls == ["connect", "message"])
        silent = await world.client()
        await world.tick(16)
        assert await silent.is_closed()
        if mode == "development":
            async with asyncio.timeout(10):
                await until_event(operator, "socket_connected")
        assert await guard.revoke(subject="ada") == 1
        assert await member.is_closed()
        await until(lambda: world.calls == ["connect", "message", "disconnect"])
        assert "KeyError" not in caplog.text
    finally:
        await admin.shutdown()
        admin.uninstrument()


@pytest.mark.parametrize("first", ["instrument", "attach"])
@pytest.mark.parametrize("how", ["disconnect", "revoke"])
def test_synchronous_guard_works_with_instrument(caplog, first, how):
    sio, issuer, calls = socketio.Server(async_mode="threading"), Issuer.ephemeral(audience="a"), []
    guard = Guard(issuer.verifier())
    if first == "attach":
        guard.attach(sio)
    admin = sio.instrument(auth=False)
    if first == "instrument":
        guard.attach(sio)
    try:
        for event in ("connect", "disconnect"):
            sio.on(event, lambda *arguments, event=event: calls.append(event))
        connect_blocking(sio, token=issuer.issue("ada"))
        [socket] = guard.sockets("ada")
        assert socket.sid in sio.manager._timestamps
        if how == "revoke":
            guard.revoke(subject="ada")
        else:
            sio.disconnect(socket.sid)
        guard.settle()
        assert calls == ["connect", "disconnect"]
        assert "KeyError" not in caplog.text
    finally:
        admin.uninstrument()
        guard.close()


async def until_event(client, name):
    """Receive packets until an event of the namespace /admin comes."""
    while f'["{name}"' not in (packet := str(await client.receive())):
        assert packet != "None"


async def test_guard_closes_connections_under_aiohttp(clock):
    from support.tokens import issuer_at

    sio = socketio.AsyncServer(async_mode="aiohttp")
    guard = AsyncGuard(issuer_at(clock).verifier(), clock=clock)
    guard.attach(sio)
    app = web.Application()
    sio.attach(app)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host = f"127.0.0.1:{runner.addresses[0][1]}"
    try:
        bad = await Raw.open(host)
        assert (await bad.ask({"token": "bad"})).startswith("44")
        assert await bad.is_closed()
        good = await Raw.open(host)
        assert (await good.ask({"token": issuer_at(clock).issue("ada")})).startswith("40")
        assert next(iter(guard.index.connections)).address == "127.0.0.1"
        assert await guard.revoke(subject="ada") == 1
        assert await good.is_closed()
    finally:
        await runner.cleanup()


@pytest.mark.checklist("G103")
async def test_revoked_socket_runs_no_handler_while_instrument_waits(make_world):
    world = await make_world(False)
    gate, inside = asyncio.Event(), asyncio.Event()
    world.sio.on("act", lambda sid: world.calls.append("act"))
    admin = world.sio.instrument(auth=False, mode="development", server_stats_interval=0.2)
    guard = world.guard = AsyncGuard(world.issuer.verifier(), clock=world.clock)
    guard.attach(world.sio)
    emit = world.sio.emit

    async def slow(event, *arguments, **settings):
        if event == "event_received":
            inside.set()
            await gate.wait()
        return await emit(event, *arguments, **settings)

    world.sio.emit = slow
    try:
        client = await world.member()
        await client.event("act")
        await inside.wait()
        while_admitted = list(world.calls)  # the oldest version tells the admins after the handler
        await guard.revoke(subject="ada")
        gate.set()
        assert await client.is_closed()
        assert world.calls == while_admitted
    finally:
        await admin.shutdown()
        admin.uninstrument()


async def test_guard_stays_at_the_handlers_after_uninstrument(make_world):
    world = await make_world(False)
    world.sio.on("connect", lambda *arguments: world.calls.append("connect"))
    world.sio.instrument(auth=False, mode="development").uninstrument()
    guard = AsyncGuard(world.issuer.verifier(), clock=world.clock)
    guard.attach(world.sio)
    client = await world.client()
    assert (await client.ask({"token": "rubbish"})).startswith("44")
    assert world.calls == []


async def test_closed_sessions_are_forgotten_without_engineios_monitor(make_world):
    world = await make_world(server={"monitor_clients": False})
    client = await world.client()
    await client.ask({"token": "bad"})
    assert await client.is_closed()
    await until(lambda: not world.sio.eio.sockets)


async def test_acknowledgement_0_does_not_break_a_room(make_world):
    world = await make_world(policy=None)
    answers: list[object] = []
    eve, ada = await world.member("eve"), await world.member("ada")
    for admission in world.guard.index:
        await world.sio.enter_room(admission.sid, "r")
    await world.sio.emit("ask", room="r", callback=lambda *a: answers.append(a))
    await eve.send("430[]")
    assert await eve.is_closed()
    await world.sio.emit("news", 1, room="r", callback=lambda *a: answers.append(a))
    await ada.expect_event("news")


async def test_guard_that_is_not_attached_raises_at_its_first_use():
    guard = unattached()
    for verb in (guard.serve_rooms, lambda: guard.relay("say"), lambda: guard.identity("sid")):
        with pytest.raises(ConfigError, match=r"not attached.*guard\.attach"):
            verb()
    asking = [
        guard.enter_room("sid", "red"),
        guard.leave_room("sid", "red"),
        guard.check_emit("sid", "red", "say"),
        guard.explain("sid", "room", "red"),
    ]
    for verb in asking:
        with pytest.raises(ConfigError, match=r"not attached.*guard\.attach"):
            await verb
