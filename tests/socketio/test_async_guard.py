"""The guard on a live python-socketio server: attaching, both ways, rooms, refresh, expiry, revocation."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
import socketio
from aiohttp import web
from support.live import Poll, Raw, new_server, until

from roomkey import ConfigError, Issuer, PermissionDenied, Policy
from roomkey.errors import AuthError
from roomkey.socketio import AsyncGuard, Authenticate, Handshake


def unattached(**settings):
    return AsyncGuard(Issuer.ephemeral(audience="chat").verifier(), **settings)


# attach


def test_attach_refuses_what_is_no_async_server():
    with pytest.raises(ConfigError, match=r"socketio\.AsyncServer"):
        unattached().attach(socketio.Server(async_mode="threading"))


def test_attach_refuses_a_second_call():
    guard = unattached()
    guard.attach(new_server())
    with pytest.raises(ConfigError, match="attached already"):
        guard.attach(new_server())


def test_two_guards_on_one_server_are_refused():
    sio = new_server()
    unattached().attach(sio)
    with pytest.raises(ConfigError, match="has a guard"):
        unattached().attach(sio)


def test_attach_refuses_another_serializer():
    sio = new_server()
    sio.packet_class = type("Other", (), {})
    with pytest.raises(ConfigError, match="serializer"):
        unattached().attach(sio)


def test_attach_refuses_a_json_module_that_reads_nan(monkeypatch):
    monkeypatch.setattr(socketio.packet.Packet, "json", json)
    with pytest.raises(ConfigError, match="NaN"):
        unattached().attach(new_server())


def test_attach_refuses_cookies_with_every_origin():
    with pytest.raises(ConfigError, match="cors_allowed_origins"):
        unattached(via=Handshake(cookie="session")).attach(new_server(cors_allowed_origins="*"))


@pytest.mark.parametrize("name", ["_trigger_event", "_handle_event", "_handle_eio_message"])
def test_attach_refuses_a_python_socketio_whose_inner_names_changed(name):
    sio = new_server()
    setattr(sio, name, lambda something_else: None)
    with pytest.raises(ConfigError, match=name):
        unattached().attach(sio)
    assert "hooks" not in repr(sio._handle_connect)


def test_attach_refuses_an_engineio_that_cannot_close(monkeypatch):
    monkeypatch.setattr("roomkey.socketio.checks.version", lambda name: "4.8.0")
    with pytest.raises(ConfigError, match="cannot close"):
        unattached().attach(new_server())


@pytest.mark.parametrize(
    "settings",
    [
        {"via": ()},
        {"via": (Handshake(), Handshake())},
        {"via": ("handshake",)},
        {"grace": -1},
        {"grace": float("nan")},
        {"connect_timeout": 0},
        {"max_refusals": 0},
        {"max_anonymous": 0},
    ],
)
def test_settings_that_contradict_are_refused(settings):
    with pytest.raises(ConfigError):
        unattached(**settings)


def test_a_verifier_is_demanded():
    with pytest.raises(ConfigError, match=r"Verifier\.hs256"):
        AsyncGuard("a secret")


async def test_handlers_registered_after_attach_are_guarded(make_world):
    world = await make_world()

    @world.sio.on("late", namespace="/late")
    async def late(sid):
        world.calls.append("late")

    client = await world.client()
    assert (await client.ask(namespace="/late")).startswith("44/late,")
    assert await client.is_closed()


# the application's handlers


@pytest.mark.parametrize("kind", ["function", "legacy function", "class", "legacy class", "catch-all", "sync"])
@pytest.mark.parametrize("way", [Handshake(), Authenticate()], ids=["handshake", "authenticate"])
async def test_connect_handlers_of_every_kind_know_who_it_is(make_world, kind, way):
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

            class Chat(socketio.AsyncNamespace):
                async def on_connect(self, sid, environ, auth):
                    note(sid, environ, auth)

            world.sio.register_namespace(Chat("/"))
        else:

            class Legacy(socketio.AsyncNamespace):
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
async def test_a_connect_handler_may_decline(make_world, way, how):
    def prepare(world):
        @world.sio.event
        async def connect(sid, environ, auth):
            if how == "refusal":
                raise socketio.exceptions.ConnectionRefusedError("full", {"seats": 0})
            if how == "builtin":
                raise ConnectionRefusedError("ignored")
            if how == "permission":
                raise PermissionDenied("not today")
            return False

        world.sio.on("disconnect", lambda *arguments: world.calls.append("disconnect"))

    world = await make_world(via=way, prepare=prepare)
    client = await world.client()
    expected = {"refusal": "full", "permission": "Insufficient permissions"}.get(how, "Connection rejected by server")
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


async def test_what_a_connect_handler_emits_to_its_own_client_arrives(make_world):
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


async def test_the_disconnect_handler_knows_who_it_was(make_world):
    def prepare(world):
        @world.sio.event
        async def disconnect(sid, *reason):
            world.calls.append(world.guard.identity(sid).subject)

    world = await make_world(prepare=prepare)
    client = await world.member()
    await client.close()
    await until(lambda: world.calls == ["ada"])
    await until(lambda: not world.guard.registry.admissions)


# rooms and events


def rooms_world(make_world, **settings):
    def prepare(world):
        world.guard.serve_rooms()

        @world.sio.on("enter")
        async def enter(sid, room):
            await world.guard.enter_room(sid, room)
            return "entered"

        @world.sio.on("say")
        async def say(sid, room, text):
            await world.sio.emit("said", text, room=room)

    return make_world(prepare=prepare, **settings)


async def test_rooms_are_entered_and_left_as_the_policy_allows(make_world):
    world = await rooms_world(make_world)
    ada, eve = await world.member("ada", rooms=["red"]), await world.member("eve")
    await ada.event("join-room", "red", ack=1)
    assert await ada.expect_ack(1) == [{"ok": True}]
    await eve.event("join-room", "red", ack=1)
    [refusal] = await eve.expect_ack(1)
    assert refusal == {
        "ok": False,
        "error": {
            "message": "Insufficient permissions",
            "code": "permission_denied",
            "type": "UnauthorizedError",
            "reason": "permission_denied",
        },
    }
    await eve.event("join-room", "red")
    assert (await eve.expect_event("error"))[0]["message"] == "Insufficient permissions"
    await world.sio.emit("said", "hello", room="red")
    assert await ada.expect_event("said") == ["hello"]
    await ada.event("leave-room", "red", ack=2)
    await ada.expect_ack(2)
    await world.sio.emit("said", "gone", room="red")
    assert await ada.quiet() == []
    assert await eve.quiet() == []


async def test_a_denial_that_leaves_a_handler_is_answered(make_world):
    world = await rooms_world(make_world)
    client = await world.member(rooms=["red"])
    await client.event("enter", "red", ack=1)
    assert await client.expect_ack(1) == ["entered"]
    await client.event("enter", "blue", ack=2)
    assert (await client.expect_ack(2))[0]["error"]["code"] == "permission_denied"
    await client.event("enter", "blue")
    assert (await client.expect_event("error"))[0]["code"] == "permission_denied"


@pytest.mark.parametrize("answer", [1, "yes", None, ["x"], "raise"])
async def test_only_true_allows(make_world, answer):
    policy = Policy()

    @policy.room("*")
    async def odd(who, room):
        if answer == "raise":
            raise RuntimeError("in a rule")
        return answer

    world = await rooms_world(make_world, policy=policy)
    client = await world.member()
    await client.event("join-room", "red", ack=1)
    assert (await client.expect_ack(1))[0]["ok"] is False


async def test_event_rules(make_world):
    policy = Policy()
    policy.event("enter")(lambda who: who.has_role("moderator"))
    policy.room("*")(lambda who, room: True)
    world = await rooms_world(make_world, policy=policy)
    grace, linus = await world.member("grace", roles=["moderator"]), await world.member("linus")
    await grace.event("enter", "red", ack=1)
    assert await grace.expect_ack(1) == ["entered"]
    await linus.event("enter", "red", ack=1)
    assert (await linus.expect_ack(1))[0]["ok"] is False
    await linus.event("enter", "red")
    await linus.expect_event("error")


async def test_f86_rooms_are_denied_by_every_other_spelling(make_world):
    policy = Policy()
    policy.room("team:{team}")(lambda who, team: team in who.rooms)
    world = await rooms_world(make_world, policy=policy)
    client = await world.member(rooms=["red", "a:b"])
    spellings = [
        *(
            "team:RED",
            "Team:red",
            "team:red ",
            " team:red",
            "team:re\u0301d",
            "*",
            "team:*",
            "team:a:b",
            "team:",
            "red",
        ),
        *("team:red\u0000", "team:" + "r" * 10_000, "", 5, None, ["team:red"], {"a": 1}, True),
    ]
    for number, room in enumerate(spellings):
        await client.event("join-room", room, ack=number)
        assert (await client.expect_ack(number))[0]["ok"] is False, room
    assert set(world.sio.manager.rooms["/"]) - {None} == {next(iter(world.guard.registry)).sid}
    await client.event("join-room", "team:red", ack=99)
    assert (await client.expect_ack(99))[0]["ok"] is True


@pytest.mark.parametrize(
    "packet",
    ['42["leave-room","red","{sid}"]', '42["close-room","red"]', '42["disconnect","{sid}"]', '42["leave_room","red"]'],
)
async def test_f89_a_client_cannot_put_others_out(make_world, packet):
    world = await rooms_world(make_world)
    victim = await world.member("victim", rooms=["red"])
    await victim.event("join-room", "red", ack=1)
    await victim.expect_ack(1)
    sid = next(iter(world.guard.registry)).sid
    eve = await world.member("eve", rooms=["red"])
    await eve.send(packet.replace("{sid}", sid))
    await eve.sync()
    await world.sio.emit("said", "still here", room="red")
    assert await victim.expect_event("said") == ["still here"]


async def test_f92_without_a_policy_events_are_open_and_rooms_are_closed(make_world):
    world = await rooms_world(make_world, policy=None)
    client = await world.member(roles=["admin"], rooms=["red"])
    await client.event("join-room", "red", ack=1)
    assert (await client.expect_ack(1))[0]["ok"] is False
    await client.event("say", "red", "x", ack=2)
    assert await client.expect_ack(2) == []


async def test_a_room_that_is_closed_is_emptied(make_world):
    world = await rooms_world(make_world)
    client = await world.member(rooms=["red"])
    await client.event("join-room", "red", ack=1)
    await client.expect_ack(1)
    await world.sio.close_room("red")
    await world.sio.emit("said", "x", room="red")
    assert await client.quiet() == []


# refresh, expiry, revocation


@pytest.mark.parametrize("way", [Handshake(), Authenticate()], ids=["handshake", "authenticate"])
async def test_a_refresh_moves_the_deadline_and_the_rights(make_world, way):
    world = await rooms_world(make_world, via=way, grace=5)
    client = await world.client()
    first = {"token": world.token(expires_in=100)}
    await client.ask(first)
    if isinstance(way, Authenticate):
        await client.event("authenticate", first)
        await client.expect_event("authenticated")
    await world.tick(90)
    await client.event("authenticate", {"token": world.token(expires_in=100, rooms=["blue"])}, ack=7)
    assert await client.expect_event("authenticated") == [{"expires_in": 100}]
    await client.event("join-room", "blue", ack=1)
    assert (await client.expect_ack(1))[0]["ok"] is True
    await world.tick(100)
    assert client.inbox.empty()
    await world.tick(6)
    [told] = await client.expect_event("unauthorized")
    assert told["data"]["reason"] == "token_expired"


async def test_a_refresh_with_another_subject_closes_for_good(make_world):
    world = await make_world()
    client = await world.member("ada", expires_in=100)
    await client.event("authenticate", {"token": world.token("eve", expires_in=500)})
    [told] = await client.expect_event("unauthorized")
    assert told["data"]["reason"] == "subject_mismatch"
    assert await client.receive() == "41"
    assert await client.is_closed()


async def test_a_refresh_that_is_refused_keeps_the_old_token_until_its_time(make_world):
    world = await make_world(grace=0)
    client = await world.member("ada", expires_in=100)
    for token in (world.token(expires_in=50), "rubbish"):
        await client.event("authenticate", {"token": token})
        await client.expect_event("unauthorized")
    await world.tick(99)
    assert client.inbox.empty()
    await world.tick(1)
    assert (await client.expect_event("unauthorized"))[0]["data"]["reason"] == "token_expired"


async def test_expiry_says_why_and_lets_the_client_return(make_world):
    world = await make_world(grace=25)
    client = await world.member(expires_in=100)
    await world.tick(124.9)
    assert client.inbox.empty()
    await world.tick(0.2)
    [told] = await client.expect_event("unauthorized")
    assert told["data"] == {
        "message": "jwt expired",
        "code": "invalid_token",
        "type": "UnauthorizedError",
        "reason": "token_expired",
        "retry": True,
        "claim": "exp",
        "expired_at": 1_800_000_100,
    }
    assert await client.is_closed()
    assert "41" not in client.seen


async def test_expiry_reaches_a_polling_client(make_world):
    world = await make_world(grace=0)
    poll = await Poll(world.host).open()
    await poll.post("40" + json.dumps({"token": world.token(expires_in=10)}))
    await poll.get()
    waiting = asyncio.create_task(poll.get())
    await asyncio.sleep(0.05)
    await world.tick(10)
    assert "token_expired" in str(await waiting)
    await until(lambda: not world.guard.registry.connections)
    await poll.close()


async def test_what_would_end_at_once_is_not_admitted(make_world):
    world = await make_world(grace=5)
    token = world.token(expires_in=10)
    world.clock.advance(20)  # inside the verifier's leeway of 30 s, outside the grace
    client = await world.client()
    assert (await client.ask_data({"token": token}))["data"]["reason"] == "token_expired"


@pytest.mark.parametrize("key", ["token_id", "session_id", "subject"])
async def test_revocation_ends_live_sockets_for_good(make_world, key):
    world = await make_world()
    mine = {"token_id": "t1", "session_id": "s1"}
    first = await world.member("ada", **mine)
    other = await world.member("grace", token_id="t2", session_id="s2")
    ended = await world.guard.revoke(**{key: {"subject": "ada"}.get(key) or mine[key]})
    assert ended == 1
    [told] = await first.expect_event("unauthorized")
    assert told["data"]["reason"] == "token_revoked"
    assert "retry" not in told["data"]
    assert await first.receive() == "41"
    assert await first.is_closed()
    assert other.inbox.empty()
    again = await world.client()
    assert (await again.ask_data({"token": world.token("ada", **mine)}))["message"] == "jwt revoked"


async def test_revoke_takes_exactly_one_name_and_no_future(make_world):
    world = await make_world()
    for wrong in ({}, {"token_id": "a", "subject": "b"}, {"subject": "a", "issued_before": 1_900_000_000}):
        with pytest.raises(ConfigError):
            await world.guard.revoke(**wrong)


async def test_a_join_that_waits_loses_against_a_revocation(make_world):
    gate, inside = asyncio.Event(), asyncio.Event()
    policy = Policy()

    @policy.room("*")
    async def slow(who, room):
        inside.set()
        await gate.wait()
        return True

    world = await rooms_world(make_world, policy=policy)
    client = await world.member()
    sid = next(iter(world.guard.registry)).sid
    await client.event("join-room", "red")
    await inside.wait()
    await world.guard.revoke(subject="ada")
    gate.set()
    assert await client.is_closed()
    assert "red" not in world.sio.manager.rooms.get("/", {})
    with pytest.raises(PermissionDenied):
        await world.guard.enter_room(sid, "red")


async def test_one_connection_with_two_namespaces_and_two_people(make_world):
    world = await make_world(server={"namespaces": "*"})
    client = await world.client()
    for namespace, name in (("/a", "ada"), ("/b", "eve")):
        await client.ask({"token": world.token(name)}, namespace)
    names = {admission.namespace: admission.identity.subject for admission in world.guard.registry}
    assert names == {"/a": "ada", "/b": "eve"}
    await world.sio.emit("news", 1, namespace="/a")
    assert await client.quiet() == ['42/a,["news",1]']


# telling


async def test_on_refused_is_told_and_cannot_harm(make_world, caplog):
    world = await make_world()
    told = []

    @world.guard.on_refused
    async def later(error, address):
        told.append((error.code, address))

    @world.guard.on_refused
    def broken(error, address):
        raise RuntimeError("in a callback")

    client = await world.client()
    await client.ask({"token": "bad"})
    await client.is_closed()
    assert told == [("invalid_token", "127.0.0.1")]
    assert isinstance(world.refusals[0][0], AuthError)


async def test_the_audit_log_has_a_line_for_each_decision_and_no_token(make_world, caplog):
    caplog.set_level(logging.INFO, logger="roomkey.audit")
    world = await rooms_world(make_world)
    good, bad = world.token(token_id="t-1"), world.token()[:-4] + "AAAA"
    client, other = await world.client(), await world.client()
    await client.ask({"token": good})
    await client.event("join-room", "blue", ack=1)
    await client.expect_ack(1)
    await other.ask({"token": bad})
    await world.guard.revoke(token_id="t-1")
    lines = [json.loads(entry.getMessage()) for entry in caplog.records if entry.name == "roomkey.audit"]
    assert [line["event"] for line in lines] == ["admitted", "denied", "refused", "ended"]
    assert [line["token"] for line in lines if line["event"] != "refused"] == ["t-1"] * 3
    assert lines[0] | {"sub": "ada", "source": "auth", "address": "127.0.0.1"} == lines[0]
    assert (lines[1]["kind"], lines[1]["name"]) == ("room", "blue")
    assert lines[2]["reason"] == "bad_signature"
    assert len(lines[2]["token"]) == 8
    assert good not in caplog.text
    assert bad not in caplog.text


async def test_h113_no_secret_and_no_broken_line_in_any_log(make_world, caplog):
    for name in (None, "socketio.server", "engineio.server"):
        caplog.set_level(logging.DEBUG, logger=name)

    def prepare(world):
        world.guard.serve_rooms()

    world = await make_world(prepare=prepare)
    nasty = "eve\u001b[31m\u2028"
    client = await world.client(headers={"User-Agent": "x [31m", "Authorization": f"Bearer {world.token()}"})
    token = world.token(claims={"role": "a\r\nb"}, rooms=["red\u001b[0m"])
    await client.ask({"token": token})
    member = await world.member(rooms=["ok"])
    await member.event("join-room", nasty, ack=1)
    await member.expect_ack(1)
    await member.event("password", {"password": "hunter2hunter2", "token": token})
    await member.sync()
    sids = [admission.sid for admission in world.guard.registry] + list(world.guard.registry.connections)
    await member.event("a\r\nb")
    await member.is_closed()
    ours = [e for e in caplog.records if e.name.split(".")[0] in ("roomkey", "socketio", "engineio")]
    text = "\n".join(entry.getMessage() for entry in ours)
    assert "admitted" in text
    assert "Received packet" in text
    for secret in (token, "eyJ", "hunter2", *sids):
        assert secret not in text
    for entry in ours:
        if entry.name.startswith("roomkey"):
            assert entry.getMessage().isascii()
            assert not any(ord(character) < 32 for character in entry.getMessage())


# other hosts and companions


@pytest.mark.parametrize("first", ["instrument", "attach"])
@pytest.mark.parametrize("mode", ["development", "production"])
async def test_it_works_together_with_instrument(make_world, first, mode):
    sio_settings = {"server": {"cors_allowed_origins": None}}

    def prepare(world):
        world.sio.on("message", lambda *arguments: world.calls.append("message"))

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
        await until(lambda: world.calls == ["message"])
        silent = await world.client()
        await world.tick(16)
        assert await silent.is_closed()
        assert await guard.revoke(subject="ada") == 1
        assert await member.is_closed()
    finally:
        await admin.shutdown()
        admin.uninstrument()


async def test_it_closes_under_aiohttp_too(clock):
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
        assert next(iter(guard.registry.connections.values())).address == "127.0.0.1"
        assert await guard.revoke(subject="ada") == 1
        assert await good.is_closed()
    finally:
        await runner.cleanup()


async def test_a_refused_authenticate_is_acknowledged_too(make_world):
    world = await make_world(via=Authenticate(max_attempts=2))
    client = await world.client()
    await client.ask()
    await client.event("authenticate", {"token": "bad"}, ack=1)
    [answer] = await client.expect_ack(1)
    assert (answer["ok"], answer["error"]["message"]) == (False, "jwt malformed")
    await client.expect_event("unauthorized")
    await client.event("authenticate", {"token": world.token()}, ack=2)
    assert await client.expect_ack(2) == [{"expires_in": 900}]


@pytest.mark.parametrize("settings", [{"policy": lambda who: True}, {"via": Handshake}, {"via": "both"}])
def test_arguments_of_a_wrong_kind_are_refused(settings):
    with pytest.raises(ConfigError):
        unattached(**settings)
