"""Test clients of asyncio servers."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
import socketio
from fastapi import FastAPI
from testing.conftest import App

from roomkey import ConfigError, Issuer
from roomkey.guard.clock import SystemClock
from roomkey.hub import ASGIApp
from roomkey.socketio import AsyncGuard, Authenticate, Handshake
from roomkey.testing import Refused, assert_refused, connect, settle


async def test_connect_returns_an_admitted_client(app, transport):
    client = await connect(app.sio, token=app.token(), transport=transport)
    assert client.is_connected
    assert client.closed is None
    assert app.guard.identity(client.sid).subject == "ada"


async def test_client_without_a_token_is_refused_and_gone(app, transport):
    with assert_refused(code="credentials_required"):
        await connect(app.sio, transport=transport)
    await settle()
    assert app.guard.index.connections == set()
    assert app.guard.sockets() == []


async def test_expired_token_is_refused_with_what_the_client_is_told(app):
    with assert_refused(code="invalid_token", reason="token_expired", message="jwt expired") as refused:
        await connect(app.sio, token=app.token(expires_in=-1000))
    assert refused.error.data["retry"] is True


async def test_connect_handler_that_refuses_refuses_the_client(app):
    @app.sio.event
    async def connect(sid, environ, auth):
        raise socketio.exceptions.ConnectionRefusedError("full", {"seats": 0})

    with assert_refused(message="full") as refused:
        await connect_to(app)
    assert refused.error.data == {"seats": 0}


def connect_to(app: Any, **settings: Any) -> Any:
    return connect(app.sio, token=app.token(), **settings)


async def test_connect_handler_receives_payload_and_headers(app, transport):
    calls = []

    @app.sio.event
    async def connect(sid, environ, auth):
        calls.append((environ["HTTP_X_SEAT"], auth))

    await connect_to(app, auth={"seat": 4}, headers={"X-Seat": "4"}, transport=transport)
    [(header, payload)] = calls
    assert (header, payload["seat"]) == ("4", 4)


async def test_payload_can_be_anything(app):
    with assert_refused(code="invalid_token"):
        await connect(app.sio, auth={"token": 5})
    with pytest.raises(ConfigError, match="pass only one of token and auth"):
        await connect(app.sio, token=app.token(), auth=[1])


async def test_namespace_is_decided_by_the_policy(app):
    with assert_refused(code="permission_denied"):
        await connect_to(app, namespace="/admin")
    client = await connect(app.sio, token=app.token(roles=["admin"]), namespace="/admin")
    assert app.guard.identity(client.sid, "/admin").subject == "ada"


async def test_unknown_namespace_is_refused(app):
    with assert_refused(message="Invalid namespace"):
        await connect_to(app, namespace="/nowhere")


async def test_two_clients_share_a_connection(app, transport):
    ada = await connect(app.sio, token=app.token(roles=["admin"]), transport=transport)
    admin = await connect(ada, token=app.token(roles=["admin"]), namespace="/admin")
    with pytest.raises(ConfigError, match="already has a client in /admin"):
        await connect(ada, token=app.token(), namespace="/admin")
    await ada.disconnect()
    assert (ada.is_connected, admin.is_connected) == (False, True)
    await app.sio.emit("news", 1, namespace="/admin")
    await settle()
    assert (admin.received("news"), ada.received("news")) == ([1], [])
    await admin.disconnect()
    assert app.guard.index.connections == set()


async def test_refused_namespace_leaves_the_other_connected(app):
    ada = await connect_to(app)
    with assert_refused(code="permission_denied"):
        await connect(ada, token=app.token(), namespace="/admin")
    assert await ada.call("say", ada.sid, "still here") == "said"


async def test_events_reach_those_in_the_room_only(app, transport):
    ada = await connect(app.sio, token=app.token(rooms=["red"]), transport=transport)
    eve = await connect(app.sio, token=app.token("eve"), transport=transport)
    await ada.join("red")
    with assert_refused(code="permission_denied"):
        await eve.join("red")
    await eve.emit("say", "red", "hello")
    assert ada.received("said") == ["hello"]
    assert eve.received("said") == []
    await ada.leave("red")
    await eve.emit("say", "red", "anybody?")
    assert ada.received("said") == ["hello"]


async def test_data_arrives_as_it_was_sent(app, transport):
    ada = await connect_to(app, transport=transport)
    for what in ((), (1,), (1, "two"), ({"file": b"\x00\xff", "parts": [b"", {"x": b"y"}]},), ("ü\U0001f600",)):
        await ada.call("say", ada.sid, *what)
    assert [event.args for event in ada.received if event.name == "said"] == [
        (),
        (1,),
        (1, "two"),
        ({"file": b"\x00\xff", "parts": [b"", {"x": b"y"}]},),
        ("ü\U0001f600",),
    ]
    assert ada.received("said")[:3] == [None, 1, (1, "two")]


async def test_event_that_the_policy_denies_is_refused(app):
    ada = await connect_to(app)
    with assert_refused(code="permission_denied"):
        await ada.call("delete")
    await ada.emit("delete")
    assert ada.received("error")[-1]["code"] == "permission_denied"
    moderator = await connect(app.sio, token=app.token("mo", roles=["moderator"]))
    assert await moderator.call("delete") == "deleted"


async def test_emit_waits_for_the_handler(app):
    done = []

    @app.sio.event
    async def slow(sid):
        await asyncio.get_running_loop().run_in_executor(None, time.sleep, 0.02)
        done.append(sid)

    ada = await connect_to(app)
    await ada.emit("slow")
    assert done == [ada.sid]


@pytest.mark.long
async def test_handlers_are_waited_for_though_the_process_stood_still(app):
    done = []

    @app.sio.event
    async def slow(sid):
        time.sleep(1.2)
        await asyncio.sleep(0.02)
        done.append(sid)

    ada = await connect_to(app)
    await ada.emit("slow")
    assert done == [ada.sid]


async def test_receive_returns_each_event_once_and_fails_without_one(app):
    @app.sio.event
    async def later(sid):
        async def send():
            await asyncio.sleep(0.01)
            await app.sio.emit("tick", 1, to=sid)
            await app.sio.emit("tick", 2, to=sid)

        app.sio.start_background_task(send)

    ada = await connect_to(app)
    await ada.emit("later")
    assert [await ada.receive("tick"), await ada.receive("tick")] == [1, 2]
    with pytest.raises(AssertionError, match="did not receive 'tick', but tick"):
        await ada.receive("tick", within=0.01)


async def test_call_without_an_acknowledgement_fails(app):
    @app.sio.event
    async def mute(sid):
        return app.sio.not_handled

    ada = await connect_to(app)
    with pytest.raises(AssertionError, match="'mute' was not acknowledged"):
        await ada.call("mute", within=0.01)


async def test_client_answers_the_server(app, transport):
    answers = []

    @app.sio.event
    async def ask(sid):
        answers.append(await app.sio.call("question", 20, to=sid, timeout=5))

    ada = await connect_to(app, transport=transport)
    ada.on("question", lambda number: (number + 1, b"!"))
    await ada.emit("ask")
    assert answers == [(21, b"!")] or answers == [[21, b"!"]]
    with pytest.raises(ConfigError, match="must be a plain function"):
        ada.on("question", a_coroutine)


async def a_coroutine():
    """Nothing awaits it."""


async def test_failure_in_a_function_of_the_test_reaches_the_test(app):
    ada = await connect_to(app)
    ada.on("said", lambda text: {}[text])
    with pytest.raises(KeyError, match="hello"):
        await ada.emit("say", ada.sid, "hello")
    assert ada.is_connected


async def test_disconnect_runs_the_handler_and_leaves_nothing(app, transport):
    gone = []

    @app.sio.event
    async def disconnect(sid, reason):
        gone.append((app.guard.identity(sid).subject, reason))

    async with connect(app.sio, token=app.token(), transport=transport) as ada:
        pass
    assert gone == [("ada", "client disconnect")]
    assert ada.closed.how == "io client disconnect"
    assert app.guard.index.connections == set()
    with assert_refused():
        await ada.emit("say", "red")


async def test_server_that_disconnects_a_client_is_seen(app, transport):
    ada = await connect_to(app, transport=transport)
    await app.sio.disconnect(ada.sid)
    await settle()
    assert ada.closed.how == "io server disconnect"
    assert not ada.closed.reconnects


async def test_revocation_closes_for_good(app, transport):
    ada = await connect_to(app, transport=transport)
    assert await app.guard.revoke(subject="ada") == 1
    await settle()
    assert (ada.closed.how, ada.closed.reason) == ("io server disconnect", "token_revoked")
    with assert_refused(reason="token_revoked"):
        await connect_to(app)


async def test_authenticate_renews_or_is_refused(app, transport, clock):
    ada = await connect(app.sio, token=app.token(expires_in=60), transport=transport)
    clock.advance(30)
    assert (await ada.authenticate(app.token(expires_in=600)))["expires_in"] == 600
    with assert_refused(reason="subject_mismatch"):
        await ada.authenticate(app.token("eve"))
    assert ada.closed.reason == "subject_mismatch"


@pytest.mark.parametrize(
    "via",
    [
        Handshake(auth="jwt"),
        Handshake(auth=False),
        Handshake(auth=False, header="X-Token"),
        Handshake(auth=False, header=False, query="token"),
        Authenticate(),
    ],
    ids=["member", "header", "other header", "query", "authenticate"],
)
async def test_token_is_presented_where_the_guard_accepts_it(make, via, transport):
    app = make(via=via)
    ada = await connect_to(app, transport=transport)
    assert app.guard.identity(ada.sid).subject == "ada"


async def test_cookie_is_presented_from_an_allowed_page(make, transport):
    app = make(
        via=Handshake(auth=False, header=False, cookie="session"),
        server={"cors_allowed_origins": ["https://chat.example"]},
    )
    ada = await connect_to(app, transport=transport, headers={"Origin": "https://chat.example"})
    assert app.guard.identity(ada.sid).subject == "ada"
    with assert_refused():
        await connect_to(app, transport=transport, headers={"Origin": "https://evil.example"})


async def test_client_in_quarantine_is_not_authenticated(make):
    app = make(via=Authenticate(timeout=15))
    ada = await connect(app.sio)
    await app.sio.emit("news", 1)
    await settle()
    assert ada.received == []
    with pytest.raises(Refused) as refused:
        await ada.authenticate("nonsense")
    assert refused.value.reason == "malformed"
    await ada.authenticate(app.token())
    await app.sio.emit("news", 2)
    await settle()
    assert ada.received("news") == [2]


async def test_limit_of_the_address_refuses_the_request(make, transport):
    app = make(via=Authenticate(), max_anonymous=1)
    await connect(app.sio, transport=transport)
    with assert_refused() as refused:
        await connect(app.sio, transport=transport)
    assert refused.error.status in (401, 403, 429)


async def test_application_around_the_server_is_passed_through(app):
    seen = []
    inner = ASGIApp(app.sio) if app.kind == "hub" else socketio.ASGIApp(app.sio)

    class Middleware:
        def __init__(self, wrapped):
            self._wrapped = wrapped

        async def __call__(self, scope, receive, send):
            seen.append(scope["path"])
            await self._wrapped(scope, receive, send)

    web = FastAPI()
    web.mount("/", inner)
    for server, more in [
        (inner, {}),
        (web, {}),
        (Middleware(web), {"guard": app.guard}),
    ]:
        ada = await connect(server, token=app.token(), **more)
        assert app.guard.identity(ada.sid).subject == "ada"
    assert seen == ["/socket.io/"]
    with pytest.raises(ConfigError, match="cannot find the guard of this Middleware"):
        await connect(Middleware(web))


@pytest.mark.parametrize("mode", ["aiohttp", "sanic", "tornado"])
async def test_server_of_another_framework_is_called_in_memory(mode, transport):
    issuer = Issuer.ephemeral()
    sio = socketio.AsyncServer(async_mode=mode)
    AsyncGuard(issuer.verifier()).attach(sio)
    async with connect(sio, token=issuer.issue("ada"), transport=transport) as ada:
        await sio.emit("news", 1)
        await settle()
        assert ada.received("news") == [1]
    with assert_refused(code="credentials_required"):
        await connect(sio, transport=transport)


async def test_server_without_a_guard_is_an_error():
    with pytest.raises(ConfigError, match="cannot find the guard of this AsyncServer"):
        await connect(socketio.AsyncServer(async_mode="asgi"))


async def test_clients_leave_no_tasks(app, transport):
    first = await connect_to(app, transport=transport)
    await first.disconnect()
    before = asyncio.all_tasks()
    for _ in range(3):
        ada = await connect_to(app, transport=transport)
        await ada.emit("say", "red", 1)
        await ada.disconnect()
        with assert_refused():
            await connect(app.sio, transport=transport)
    assert asyncio.all_tasks() <= before


def test_server_of_an_earlier_event_loop_is_used_again(app, transport):
    async def once():
        assert app.guard.index.connections == set()
        ada = await connect(app.sio, token=app.token(), transport=transport)
        await app.sio.emit("news", 1)
        await settle()
        assert ada.received("news") == [1]

    asyncio.run(once())  # which ends without a disconnect
    asyncio.run(once())


def test_deadlines_of_a_server_pass_in_a_second_event_loop(kind):
    app = App(kind, SystemClock(), via=Authenticate(timeout=0.5))

    async def first():
        await connect(app.sio)  # its deadline has not passed when the loop ends

    async def second():
        client = await connect(app.sio)
        await client.receive("unauthorized")
        await settle()
        assert client.closed.reason == "authentication_timeout"

    asyncio.run(first())
    asyncio.run(second())
