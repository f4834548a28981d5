"""From CONNECT to the application's own handlers, and to the end of a socket."""

from __future__ import annotations

import json

import pytest
from socketio.exceptions import ConnectionRefusedError as HostRefusal
from support.live import until

from roomkey import PermissionDenied
from roomkey.socketio import Authenticate, Handshake


@pytest.mark.checklist("K2")
async def test_handlers_registered_later_are_guarded(make_world):
    world = await make_world()

    @world.sio.on("late", namespace="/late")
    async def late(sid):
        world.calls.append("late")

    client = await world.client()
    assert (await client.ask(namespace="/late")).startswith("44/late,")
    assert await client.is_closed()


@pytest.mark.parametrize("kind", ["function", "legacy function", "class", "legacy class", "catch-all", "sync"])
@pytest.mark.parametrize("way", [Handshake(), Authenticate()], ids=["handshake", "authenticate"])
async def test_connect_handler_of_every_kind_knows_the_identity(make_world, kind, way):
    def prepare(world):
        def note(sid, environ, *auth):
            world.calls.append((world.guard.identity(sid).subject, "QUERY_STRING" in environ, len(auth)))

        if kind == "function":

            @world.sio.event
            async def connect(sid, environ, auth):
                note(sid, environ, auth)

        elif kind == "legacy function":

            @world.sio.event
            async def connect(sid, environ):
                note(sid, environ)

        elif kind == "sync":

            @world.sio.event
            def connect(sid, environ, auth=None):
                note(sid, environ, auth)

        elif kind == "catch-all":

            @world.sio.on("connect", namespace="*")
            async def connect(namespace, sid, environ, auth):
                note(sid, environ, auth)

        elif kind == "class":

            class Chat(world.Namespace):
                async def on_connect(self, sid, environ, auth):
                    note(sid, environ, auth)

            world.sio.register_namespace(Chat("/"))
        else:

            class Legacy(world.Namespace):
                def on_connect(self, sid, environ):
                    note(sid, environ)

            world.sio.register_namespace(Legacy("/"))

    world = await make_world(via=way, prepare=prepare)
    client = await world.client()
    if isinstance(way, Authenticate):
        assert (await client.ask()).startswith("40")
        assert world.calls == []
        await client.event("authenticate", {"token": world.token()})
        assert (await client.expect_event("authenticated"))[0]["expires_in"] == 900
    else:
        assert (await client.ask({"token": world.token()})).startswith("40")
    assert world.calls == [("ada", True, 0 if "legacy" in kind else 1)]


@pytest.mark.parametrize("way", [Handshake(), Authenticate()], ids=["handshake", "authenticate"])
@pytest.mark.parametrize("how", ["false", "refusal", "builtin", "permission"])
async def test_connect_handler_can_refuse(make_world, engine, way, how):
    def prepare(world):
        @world.sio.event
        async def connect(sid, environ, auth):
            if how == "refusal":
                raise HostRefusal("full", {"seats": 0})
            if how == "builtin":
                raise ConnectionRefusedError("seats taken")
            if how == "permission":
                raise PermissionDenied("not today")
            return False

        world.sio.on("disconnect", lambda *arguments: world.calls.append("disconnect"))

    world = await make_world(via=way, prepare=prepare)
    client = await world.client()
    expected = {"refusal": "full", "permission": "Insufficient permissions"}.get(how, "Connection rejected by server")
    if how == "builtin" and engine == "hub":  # which has no exception class for it
        expected = "seats taken"
    if isinstance(way, Authenticate):
        await client.ask()
        await client.event("authenticate", {"token": world.token()})
        assert (await client.expect_event("unauthorized"))[0]["message"] == expected
    else:
        told = await client.ask_data({"token": world.token()})
        assert told["message"] == expected
        if how == "refusal":
            assert told["data"] == {"seats": 0}
    assert await client.is_closed()
    assert world.calls == []


async def test_connect_handler_can_emit_to_its_own_client(make_world):
    def prepare(world):
        @world.sio.event
        async def connect(sid, environ, auth):
            await world.sio.emit("welcome", "ada", to=sid)
            await world.sio.emit("everybody", 1)

    world = await make_world(prepare=prepare)
    client = await world.client()
    await client.send("40" + json.dumps({"token": world.token()}))
    assert await client.expect_event("welcome") == ["ada"]
    assert not any("everybody" in str(packet) for packet in client.seen)


async def test_disconnect_handler_knows_the_identity(make_world):
    def prepare(world):
        @world.sio.event
        async def disconnect(sid, *reason):
            world.calls.append(world.guard.identity(sid).subject)

    world = await make_world(prepare=prepare)
    client = await world.member()
    await client.close()
    await until(lambda: world.calls == ["ada"])
    await until(lambda: not world.guard.index.sockets)


async def test_token_within_leeway_but_past_its_grace_is_refused(make_world):
    world = await make_world(grace=5)
    token = world.token(expires_in=10)
    world.clock.advance(20)  # within the verifier's leeway of 30 s, but after the grace period
    client = await world.client()
    assert (await client.ask_data({"token": token}))["data"]["reason"] == "token_expired"


async def test_connection_can_have_two_subjects_in_two_namespaces(make_world):
    world = await make_world(server={"namespaces": "*"})
    client = await world.client()
    for namespace, name in (("/a", "ada"), ("/b", "eve")):
        await client.ask({"token": world.token(name)}, namespace)
    names = {admission.namespace: admission.identity.subject for admission in world.guard.index}
    assert names == {"/a": "ada", "/b": "eve"}
    await world.sio.emit("news", 1, namespace="/a")
    assert await client.receive() == '42/a,["news",1]'
    assert await client.quiet() == []


async def test_refused_authenticate_is_acknowledged(make_world):
    world = await make_world(via=Authenticate(max_attempts=2))
    client = await world.client()
    await client.ask()
    await client.event("authenticate", {"token": "bad"}, ack=1)
    [answer] = await client.expect_ack(1)
    assert (answer["ok"], answer["error"]["message"]) == (False, "jwt malformed")
    await client.expect_event("unauthorized")
    await client.event("authenticate", {"token": world.token()}, ack=2)
    assert await client.expect_ack(2) == [{"expires_in": 900}]


# The CONNECT payload of a client that has not authenticated yet

DEEP = {"token": None, "x": [[[]] for _ in range(500)]}


def _kept(world):
    """Return the size of each CONNECT payload that the guard keeps."""
    return [len(text) for connection in world.guard.index.connections for text in (connection.kept_auth or {}).values()]


def _takes_two(world):
    @world.sio.event
    async def connect(sid, environ):
        world.calls.append("connect")


def _takes_three(world):
    @world.sio.event
    async def connect(sid, environ, auth):
        world.calls.append(auth)


@pytest.mark.checklist("I114")
@pytest.mark.parametrize("prepare", [lambda world: None, _takes_two], ids=["no handler", "a handler without auth"])
async def test_payload_without_a_handler_is_not_kept_until_login(make_world, prepare):
    world = await make_world(via=Authenticate(), prepare=prepare)
    client = await world.client()
    assert (await client.ask(DEEP)).startswith("40")
    assert _kept(world) == []


@pytest.mark.checklist("I114")
async def test_payload_for_the_connect_handler_is_kept_as_text_until_login(make_world):
    """The decoded payload would take many times as much memory."""
    world = await make_world(via=Authenticate(max_attempts=3), prepare=_takes_three)
    client = await world.client()
    assert (await client.ask(DEEP)).startswith("40")
    [size] = _kept(world)
    assert size <= len(json.dumps(DEEP))
    await client.event("authenticate", {"token": "bad"})
    await client.expect_event("unauthorized")
    await client.event("authenticate", {"token": world.token()})
    await client.expect_event("authenticated")
    assert world.calls == [DEEP]
    assert _kept(world) == []


@pytest.mark.checklist("I114")
async def test_payloads_kept_until_login_are_bounded_per_connection(make_world):
    world = await make_world(via=Authenticate(), prepare=_takes_three, server={"namespaces": "*"})
    world.sio.on("connect", lambda namespace, sid, environ, auth: None, namespace="*")
    client = await world.client()
    assert (await client.ask({"x": "y" * 9000}, "/a")).startswith("40")
    refused = await client.ask_data({"x": "y" * 9000}, "/b")
    assert refused["data"]["reason"] == "limit_exceeded"
    assert (await client.ask({"x": "y" * 1000}, "/c")).startswith("40")
    assert sum(_kept(world)) <= 16_384
