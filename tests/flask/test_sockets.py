"""Socket.IO handlers: the identity, ``requires``, error handlers, sessions, rooms, and true closes."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from inspect import getsource

import flask_socketio
import httpx
import pytest
from flask import request, session
from flask.sessions import SecureCookieSessionInterface
from flask_socketio import emit, join_room
from hosts.clients import PollingClient
from support.decorators import WRAPPERS, wrapper
from support.live import Raw
from support.rawsocket import PATIENCE

from roomkey import PermissionDenied, Policy
from roomkey.errors import ConfigError
from roomkey.flask import Authenticate, Handshake, current_identity, requires
from roomkey.policies import rooms_claim

DENIED = {"message": "Insufficient permissions", "code": "permission_denied", "type": "UnauthorizedError"}
DENIED |= {"reason": "permission_denied"}


def rooms_policy():
    policy = Policy()
    policy.room("*")(rooms_claim)
    return policy


async def member(made, subject="ada", namespace="/", transport=Raw, **claims):
    """Connect a client that is admitted."""
    client = await (transport.open if transport is Raw else transport.begin)(made.address)
    made.clients.append(client)
    reply = await client.ask({"token": made.token(subject, **claims)}, namespace)
    assert reply.startswith("40"), reply
    return client


async def ack(client, *event, number=1, namespace="/"):
    """Send an event, and return its acknowledgement."""
    await client.event(event[0], *event[1:], namespace=namespace, ack=number)
    prefix = "" if namespace == "/" else f"{namespace},"
    while not (packet := str(await client.receive())).startswith(f"43{prefix}{number}["):
        assert packet != "None"
    return json.loads(packet[packet.index("[") :])


@pytest.fixture(params=[Raw, PollingClient], ids=["websocket", "polling"])
def transport(request):
    return request.param


async def test_handlers_know_the_user(running, transport):
    made = await running()
    seen = []

    @made.socketio.on("connect")
    def connect(auth):
        seen.append(("connect", current_identity.subject, sorted(auth)))

    @made.socketio.on("who")
    def who():
        return {"subject": current_identity.subject, "roles": sorted(current_identity.roles)}

    @made.socketio.on("disconnect")
    def disconnect(_reason=None):
        seen.append(("disconnect", current_identity.subject))
        gone.set()

    gone = threading.Event()
    client = await member(made, roles=["member"], transport=transport)
    assert await ack(client, "who") == [{"subject": "ada", "roles": ["member"]}]
    await client.close()
    assert await asyncio.to_thread(gone.wait, 10)
    assert seen == [("connect", "ada", ["token"]), ("disconnect", "ada")]


async def test_client_without_a_valid_token_is_refused_and_closed(running, transport):
    made = await running()
    called = []
    made.socketio.on("connect")(lambda: called.append("connect"))
    for auth, code in ((None, "credentials_required"), ({"token": "a.b.c"}, "invalid_token")):
        client = await (transport.open if transport is Raw else transport.begin)(made.address)
        made.clients.append(client)
        assert (await client.ask_data(auth))["data"]["code"] == code
        while await client.receive() is not None:
            pass
    assert called == []


class Chat(flask_socketio.Namespace):
    """A class-based namespace, with what its handlers were called with."""

    def __init__(self, name):
        super().__init__(name)
        self.calls = []

    def on_connect(self, auth):
        self.calls.append(("connect", current_identity.subject, sorted(auth)))

    def on_who(self):
        return current_identity.subject

    @requires(role="admin")
    def on_close_all(self):
        self.calls.append("close_all")
        return "closed"


async def test_class_based_namespace_knows_the_user(running):
    made = await running()
    chat = Chat("/chat")
    made.socketio.on_namespace(chat)
    ada, boss = await member(made, namespace="/chat"), await member(made, "boss", "/chat", roles=["admin"])
    assert chat.calls == [("connect", "ada", ["token"]), ("connect", "boss", ["token"])]
    assert await ack(ada, "who", namespace="/chat") == ["ada"]
    assert (await ack(ada, "close_all", namespace="/chat"))[0] == {"ok": False, "error": DENIED}
    assert await ack(boss, "close_all", namespace="/chat") == ["closed"]


async def test_requires_checks_events(running, caplog):
    made = await running()

    @made.socketio.on("ban")
    @requires(role=["moderator", "admin"])
    def ban(name):
        return f"{name} is banned"

    @made.socketio.on("pay")
    @requires(max_auth_age=300)
    def pay():
        return "paid"

    ada, mod = await member(made), await member(made, "mod", roles=["moderator"])
    with caplog.at_level(logging.INFO, "roomkey.audit"):
        assert await ack(ada, "ban", "bob") == [{"ok": False, "error": DENIED}]
    assert any('"denied"' in entry.message and '"ban"' in entry.message for entry in caplog.records)
    await ada.event("ban", "bob")
    assert await ada.expect_event("error") == [DENIED]
    assert await ack(mod, "ban", "bob") == ["bob is banned"]
    assert await ack(ada, "pay") == ["paid"]
    made.clock.advance(400)
    [reply] = await ack(ada, "pay", number=2)
    assert reply["error"]["code"] == "insufficient_user_authentication"
    assert any("reauthenticate" in str(packet) for packet in ada.seen)


async def test_requires_sees_rights_that_have_changed(running):
    made = await running()

    @made.socketio.on("ban")
    @requires(role="moderator")
    def ban():
        return "banned"

    mod = await member(made, roles=["moderator"])
    assert await ack(mod, "ban") == ["banned"]
    await asyncio.to_thread(made.roomkey.guard.update, "ada", roles=["member"])
    assert (await ack(mod, "ban", number=2))[0]["error"] == DENIED


async def test_requires_on_connect_refuses(running):
    made = await running()

    @made.socketio.on("connect", namespace="/admin")
    @requires(role="admin")
    def connect():
        pass

    await member(made, namespace="/admin", roles=["admin"])
    client = await Raw.open(made.address)
    made.clients.append(client)
    refused = await client.ask_data({"token": made.token()}, "/admin")
    assert refused == {"message": "Insufficient permissions", "data": DENIED}
    assert await client.is_closed()


class Awaited(logging.Handler):
    """Sets an event when a text is logged: that happens after the answer to the client."""

    def __init__(self, text):
        super().__init__()
        self.text, self.logged = text, threading.Event()

    def emit(self, record):
        if self.text in self.format(record):
            self.logged.set()


async def test_requires_above_the_event_fails_closed(running, monkeypatch):
    made = await running()
    called = []
    log = Awaited("wrong would run without its @requires")
    monkeypatch.setattr(logging.root, "handlers", [*logging.root.handlers, log])

    @requires(role="admin")
    @made.socketio.on("wrong")
    def wrong():
        called.append("wrong")

    client = await member(made, roles=["admin"])
    [reply] = await ack(client, "wrong")
    assert reply["error"]["code"] == "temporarily_unavailable"
    assert called == []
    assert await asyncio.to_thread(log.logged.wait, PATIENCE)


@pytest.mark.parametrize("between", WRAPPERS)
async def test_requires_above_a_decorator_above_the_event_fails_closed(running, between):
    made = await running()
    called = []

    @requires(role="admin")
    @between
    @made.socketio.on("wrong")
    @wrapper
    def wrong():
        called.append("wrong")

    client = await member(made, roles=["admin"])
    [reply] = await ack(client, "wrong")
    assert reply["error"]["code"] == "temporarily_unavailable"
    assert called == []


@pytest.mark.parametrize("between", WRAPPERS)
async def test_requires_among_other_decorators_decides(running, between):
    made = await running()

    @made.socketio.on("right")
    @between
    @requires(role="admin")
    @between
    def right():
        return "done"

    assert await ack(await member(made, roles=["admin"]), "right") == ["done"]
    [reply] = await ack(await member(made), "right")
    assert reply["error"]["code"] == "permission_denied"


async def test_function_that_a_protected_handler_calls_can_be_a_handler_itself(running):
    made = await running()

    @made.socketio.on("open")
    def public():
        return "for all"

    @made.socketio.on("right")
    @requires(role="admin")
    def right():
        return public()

    assert await ack(await member(made), "open") == ["for all"]


async def test_requires_in_any_order_protects_a_class_based_namespace(running):
    made = await running()

    class Chat(flask_socketio.Namespace):
        @requires(role="admin")
        @wrapper
        def on_above(self):
            return "done"

        @wrapper
        @requires(role="admin")
        def on_below(self):
            return "done"

    made.socketio.on_namespace(Chat("/"))
    boss, ada = await member(made, roles=["admin"]), await member(made)
    for name in ("above", "below"):
        assert await ack(boss, name) == ["done"]
        [reply] = await ack(ada, name)
        assert reply["error"]["code"] == "permission_denied"


async def test_error_handlers_answer_events(running):
    made = await running()
    seen = []

    @made.socketio.on_error_default
    def failed(error):
        seen.append(type(error).__name__)
        return {"sorry": type(error).__name__}

    @made.socketio.on_error("/chat")
    def chat_failed(error):
        return {"chat": type(error).__name__, "for": current_identity.subject}

    for namespace in ("/", "/chat"):

        @made.socketio.on("ban", namespace=namespace)
        @requires(role="moderator")
        def ban():
            return "banned"

    @made.socketio.on("broken")
    def broken():
        raise KeyError("a key")

    root, chat = await member(made), await member(made, namespace="/chat")
    assert await ack(root, "ban") == [{"sorry": "PermissionDenied"}]
    assert await ack(root, "broken") == [{"sorry": "KeyError"}]
    assert await ack(chat, "ban", namespace="/chat") == [{"chat": "PermissionDenied", "for": "ada"}]
    assert seen == ["PermissionDenied", "KeyError"]


class WithErrors(flask_socketio.Namespace):
    """A class-based namespace with an error handler, and a connect handler that fails."""

    errors: list[Exception]

    def on_connect(self):
        raise KeyError("a claim that is not there")

    def error(self, error):
        self.errors.append(error)


@pytest.mark.parametrize("handled_by", ["nothing", "on_error", "on_error_default", "class"])
@pytest.mark.parametrize("failure", [KeyError("a claim"), TypeError("a type"), PermissionDenied("mine")], ids=repr)
async def test_connect_handler_that_fails_refuses_whatever_handles_the_error(running, handled_by, failure):
    made = await running()
    seen, calls = [], []

    def connect(auth=None):
        calls.append(auth)
        raise failure

    if handled_by == "class":
        namespace = type("Broken", (WithErrors,), {"errors": seen, "on_connect": lambda self, auth=None: connect(auth)})
        made.socketio.on_namespace(namespace("/"))
    else:
        made.socketio.on("connect")(connect)
    if handled_by == "on_error":
        made.socketio.on_error()(seen.append)
    if handled_by == "on_error_default":
        made.socketio.on_error_default(seen.append)
    client = await Raw.open(made.address)
    made.clients.append(client)
    refused = await client.ask_data({"token": made.token()})
    code = "permission_denied" if isinstance(failure, PermissionDenied) else "temporarily_unavailable"
    assert refused["data"]["code"] == code
    assert await client.is_closed()
    assert len(calls) == 1
    hears = handled_by != "nothing" and (handled_by != "class" or "error" in getsource(flask_socketio.Namespace))
    assert seen == ([failure] if hears else [])
    assert made.roomkey.guard.sockets() == []


@pytest.mark.parametrize("handled", [False, True])
async def test_connect_handler_refuses_with_its_own_message(running, handled):
    made = await running()
    if handled:
        made.socketio.on_error_default(lambda error: None)

    @made.socketio.on("connect")
    def full():
        raise flask_socketio.ConnectionRefusedError("full", {"seats": 0})

    @made.socketio.on("connect", namespace="/false")
    def no():
        return False

    client = await Raw.open(made.address)
    made.clients.append(client)
    assert await client.ask_data({"token": made.token()}) == {"message": "full", "data": {"seats": 0}}
    client = await Raw.open(made.address)
    made.clients.append(client)
    assert (await client.ask_data({"token": made.token()}, "/false"))["message"] == "Connection rejected by server"


async def test_error_handler_can_refuse_with_another_message(running):
    made = await running()

    @made.socketio.on_error_default
    def failed(error):
        raise flask_socketio.ConnectionRefusedError("come back later")

    @made.socketio.on("connect")
    def connect():
        raise KeyError("a claim")

    client = await Raw.open(made.address)
    made.clients.append(client)
    assert (await client.ask_data({"token": made.token()}))["message"] == "come back later"


async def test_join_room_follows_the_policy(running):
    made = await running(policy=rooms_policy())

    @made.socketio.on("join")
    def join(room):
        join_room(room)
        return "joined"

    @made.socketio.on("say")
    def say(room, text):
        emit("said", {"from": current_identity.subject, "text": text}, to=room, include_self=False)

    ada, bob = await member(made, rooms=["red"]), await member(made, "bob", rooms=["red"])
    assert (await ack(ada, "join", "blue"))[0]["error"] == DENIED
    assert (await ack(ada, "join", "user:bob", number=2))[0]["error"] == DENIED
    assert await ack(ada, "join", "red", number=3) == ["joined"]
    await bob.event("say", "red", "hello")
    assert await ada.expect_event("said") == [{"from": "bob", "text": "hello"}]


async def test_own_joins_can_be_the_application_s_decision(running):
    made = await running(policy=rooms_policy(), own_joins="allow")
    made.socketio.on("join")(lambda room: join_room(room))
    assert await ack(await member(made), "join", "blue") == []


async def test_route_emits_to_admitted_clients_only(running):
    made = await running()

    @made.app.post("/news")
    @requires()
    def news():
        made.socketio.emit("news", {"from": current_identity.subject})
        return "", 204

    ada = await member(made)
    stranger = await Raw.open(made.address)
    made.clients.append(stranger)
    answer = await asyncio.to_thread(made.http.post, "/news", headers=made.bearer("bob"))
    assert answer.status_code == 204
    assert await ada.expect_event("news") == [{"from": "bob"}]
    assert await stranger.quiet() == []


async def test_other_threads_emit_and_revoke(running):
    made = await running()
    ada, bob = await member(made), await member(made, "bob")
    thread = threading.Thread(target=made.socketio.emit, args=("news", 1))
    thread.start()
    for client in (ada, bob):
        assert await client.expect_event("news") == [1]
    assert await asyncio.to_thread(made.roomkey.guard.revoke, subject="ada") == 1
    assert (await ada.expect_event("unauthorized"))[0]["data"]["reason"] == "token_revoked"
    assert await ada.is_closed()
    assert [socket.identity.subject for socket in made.roomkey.guard.sockets()] == ["bob"]


async def test_logout_route_disconnects_the_login_s_sockets(running, transport):
    made = await running()

    @made.app.post("/logout")
    @requires()
    def logout():
        return {"sockets": made.roomkey.guard.revoke(session_id=current_identity.session_id)}

    phone, laptop = [await member(made, session_id=login, transport=transport) for login in ("phone", "laptop")]
    headers = made.bearer(session_id="phone")
    answer = await asyncio.to_thread(made.http.post, "/logout", headers=headers)
    assert answer.json == {"sockets": 1}
    assert (await phone.expect_event("unauthorized"))[0]["data"]["reason"] == "token_revoked"
    while await phone.receive() is not None:
        pass
    assert (
        await asyncio.to_thread(made.http.post, "/logout", headers=made.bearer(session_id="phone"))
    ).status_code == 401
    assert [socket.identity.session_id for socket in made.roomkey.guard.sockets()] == ["laptop"]
    await laptop.close()


async def test_handler_disconnects_its_client_completely(running, transport):
    made = await running()

    @made.socketio.on("leave")
    def leave():
        flask_socketio.disconnect()

    client = await member(made, transport=transport)
    await client.event("leave")
    made.clock.advance(16)  # the guard closes a connection without a namespace after connect_timeout
    packets = []
    while (packet := await client.receive()) is not None:
        packets.append(packet)
        await asyncio.to_thread(made.roomkey.guard.check_deadlines)
    assert packets == ["41"]


async def test_token_that_expires_closes_the_connection(running, transport):
    made = await running()
    client = await member(made, expires_in=60, transport=transport)
    made.clock.advance(60 + 25)
    await asyncio.to_thread(made.roomkey.guard.check_deadlines)
    assert (await client.expect_event("unauthorized"))[0]["data"]["reason"] == "token_expired"
    while await client.receive() is not None:
        pass


async def test_authenticate_event_admits(running):
    made = await running(via=Authenticate())
    made.socketio.on("who")(lambda: current_identity.subject)
    client = await Raw.open(made.address)
    made.clients.append(client)
    assert (await client.ask()).startswith("40")
    await client.event("authenticate", {"token": made.token()})
    await client.expect_event("authenticated")
    assert await ack(client, "who") == ["ada"]


async def test_ack_callback_knows_the_user(running):
    made = await running()
    answered = threading.Event()
    seen = []

    @made.socketio.on("ask")
    def ask():
        emit("question", callback=answer)

    def answer(value):
        seen.append((value, current_identity.subject))
        answered.set()

    client = await member(made)
    await client.event("ask")
    while not str(packet := await client.receive()).startswith("42"):
        pass
    number = packet[2 : packet.index("[")]
    await client.send(f'43{number}["yes"]')
    assert await asyncio.to_thread(answered.wait, 10)
    assert seen == [("yes", "ada")]


class SharedSessions(SecureCookieSessionInterface):
    """Sessions on the server, which routes and sockets share."""

    def __init__(self):
        self.saved = {}

    def open_session(self, app, request):
        found = self.session_class(self.saved.get(request.headers.get("X-Session"), {}))
        found.modified = False
        return found

    def save_session(self, app, session, response):
        if session.modified:
            self.saved[request.headers.get("X-Session")] = dict(session)


def counting(made):
    @made.socketio.on("count")
    def count_event():
        session["count"] = session.get("count", 0) + 1
        return session["count"]

    @made.app.get("/count")
    def count_route():
        session["count"] = session.get("count", 0) + 1
        return str(session["count"])

    return made


async def test_managed_session_is_kept_for_the_connection(running):
    made = counting(await running())
    ada, other = await member(made), await member(made)
    assert [(await ack(ada, "count", number=number))[0] for number in (1, 2)] == [1, 2]
    assert await ack(other, "count") == [1]


async def test_session_of_the_server_is_shared_with_routes(running):
    made = counting(await running(socketio={"manage_session": False}))
    made.app.session_interface = SharedSessions()
    client = await Raw.open(made.address, headers={"X-Session": "s1"})
    made.clients.append(client)
    await client.ask({"token": made.token()})
    assert await ack(client, "count") == [1]
    assert made.http.get("/count", headers={"X-Session": "s1"}).text == "2"
    assert await ack(client, "count", number=2) == [3]


async def test_users_of_one_connection_have_their_own_sessions(running):
    made = await running()
    for namespace in ("/", "/chat"):

        @made.socketio.on("count", namespace=namespace)
        def count():
            session["count"] = session.get("count", 0) + 1
            return session["count"]

    client = await member(made)
    assert await ack(client, "count") == [1]
    assert (await client.ask({"token": made.token("eve")}, "/chat")).startswith("40/chat,")
    assert await ack(client, "count", namespace="/chat") == [1]
    assert await ack(client, "count", number=2) == [2]
    await client.send("41/chat,")
    assert (await client.ask({"token": made.token()}, "/chat")).startswith("40/chat,")
    assert await ack(client, "count", number=2, namespace="/chat") == [3]  # ada's again


async def test_factory_protects_several_applications_with_one_object(site, running):
    from flask import Flask

    from roomkey.flask import RoomKey

    first = await running()
    seen = []
    extension = flask_socketio.SocketIO(async_mode="threading")
    roomkey = RoomKey(first.issuer.verifier(), clock=first.clock)
    extension.on("who")(lambda: seen.append(current_identity.subject))
    with pytest.raises(ConfigError, match=r"call roomkey\.init_app"):
        _ = roomkey.guard
    guards = []
    for _ in range(3):
        app = Flask("made")
        with pytest.raises(ConfigError, match=r"call socketio.init_app\(app\) first"):
            RoomKey(app, flask_socketio.SocketIO(), first.issuer.verifier())
        extension.init_app(app)
        roomkey.init_app(app, extension)
        guards.append(roomkey.guard)
        assert app.extensions["roomkey"].guard is roomkey.guard
        made = type("Made", (), {"address": None, "clients": first.clients, "token": first.token})()
        made.address = first.serve(app)
        client = await member(made)
        assert await ack(client, "who") == []
    assert seen == ["ada"] * 3
    assert len(set(map(id, guards))) == 3
    for guard in guards:
        await asyncio.to_thread(guard.close)


@pytest.mark.parametrize("protected", [False, True])
async def test_server_created_after_room_key_refuses_until_it_is_protected(running, caplog, protected):
    made = await running()
    made.socketio.init_app(made.app)
    if protected:
        made.roomkey.init_app(made.app, made.socketio, made.issuer.verifier(), clock=made.clock)
        await member(made)
    reply = await answer_without_token(made)
    assert reply.startswith("44") if protected else reply == "401"
    assert ("RoomKey" in caplog.text) is not protected


async def answer_without_token(made):
    """Return the reply to a CONNECT without a token, or the status of the response if no connection opens."""
    async with httpx.AsyncClient(base_url=f"http://{made.address}") as http:
        opened = await http.get("/socket.io/?EIO=4&transport=polling")
        if opened.status_code != 200:
            return str(opened.status_code)
        sid = json.loads(opened.text[1:])["sid"]
        await http.post(f"/socket.io/?EIO=4&transport=polling&sid={sid}", content="40")
        return (await http.get(f"/socket.io/?EIO=4&transport=polling&sid={sid}")).text


async def test_server_that_cannot_be_protected_stays_closed(running):
    made = await running()
    made.socketio.init_app(made.app, cors_allowed_origins="*")
    with pytest.raises(ConfigError, match="allowed_origins"):
        made.roomkey.init_app(made.app, made.socketio, made.issuer.verifier(), via=Handshake(cookie="token"))
    assert await answer_without_token(made) == "401"


@pytest.mark.parametrize(("origin", "status"), [("https://app.example", 200), ("https://evil.example", 401)])
def test_allowed_origins_decide_for_cookies_whatever_the_server_allows(site, origin, status):
    made = site(
        socketio={"cors_allowed_origins": "*"}, via=Handshake(cookie="token"), allowed_origins=["https://app.example"]
    )
    made.app.get("/me")(requires()(lambda: current_identity.subject))
    http = made.http
    http.set_cookie("token", made.token())
    assert http.get("/me", headers={"Origin": origin}).status_code == status


async def test_second_room_key_of_a_server_is_rejected(site):
    from roomkey.flask import RoomKey

    made = site()
    with pytest.raises(ConfigError, match="already has one"):
        RoomKey(made.app, made.socketio, made.issuer.verifier())
    with pytest.raises(ConfigError, match="there is no verifier"):
        RoomKey().init_app(made.app, made.socketio)


@pytest.mark.parametrize(
    "order", ["socketio, app, verifier", "app, verifier", "app, app, verifier", "socketio, verifier"]
)
def test_room_key_with_arguments_in_another_order_is_rejected(order):
    from flask import Flask

    from roomkey import Issuer
    from roomkey.flask import RoomKey

    app = Flask("made")
    given = {"app": app, "socketio": flask_socketio.SocketIO(app, async_mode="threading")}
    given["verifier"] = Issuer.ephemeral().verifier()
    with pytest.raises(ConfigError, match=r"in this order; write RoomKey\(app, socketio, verifier\)"):
        RoomKey(*(given[name] for name in order.split(", ")))


def test_room_key_accepts_its_arguments_by_name():
    from flask import Flask

    from roomkey import Issuer
    from roomkey.flask import RoomKey

    app = Flask("made")
    socketio = flask_socketio.SocketIO(app, async_mode="threading")
    roomkey = RoomKey(app=app, socketio=socketio, verifier=Issuer.ephemeral().verifier())
    assert app.extensions["roomkey"].guard is roomkey.guard
    roomkey.guard.close()
