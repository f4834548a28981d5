"""Test clients of synchronous servers."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import socketio
from flask import Flask, request, session
from flask_socketio import SocketIO, emit, join_room

from roomkey import ConfigError, Issuer, PermissionDenied, Policy
from roomkey.hub import Hub
from roomkey.policies import rooms_claim
from roomkey.socketio import Authenticate, Guard, Handshake
from roomkey.testing import BlockingClient, Clock, FakeProvider, assert_refused, connect_blocking


class SyncApp:
    """One synchronous server with some handlers."""

    def __init__(self, mode: str, clock: Clock, **settings: Any) -> None:
        self.clock = clock
        self.issuer = Issuer.ephemeral(audience="chat", clock=clock.now)
        policy = Policy()
        policy.room("*")(rooms_claim)
        policy.namespace("/admin")(lambda who: who.has_role("admin"))
        policy.event("delete")(lambda who: who.has_role("moderator"))
        self.sio = sio = socketio.Server(async_mode=mode, namespaces=["/", "/admin"])
        verifier = settings.pop("verifier", None) or self.issuer.verifier()
        self.guard = Guard(verifier, policy=policy, clock=clock, **settings)
        self.guard.attach(sio)
        self.guard.serve_rooms()
        self.left: list[tuple[str, str]] = []

        @sio.event
        def say(sid, room, *what):
            sio.sleep(0.002)
            sio.emit("said", what, room=room)
            return "said"

        @sio.event
        def ask(sid):
            return sio.call("question", 20, to=sid, timeout=5)

        @sio.event
        def mute(sid):
            return sio.not_handled

        @sio.event
        def delete(sid):
            return "deleted"

        @sio.event
        def disconnect(sid, reason):
            self.left.append((self.guard.identity(sid).subject, reason))

    def token(self, subject: str = "ada", **claims: Any) -> str:
        return self.issuer.issue(subject, **claims)

    def connect(self, subject: str = "ada", **settings: Any) -> BlockingClient:
        return connect_blocking(self.sio, token=self.token(subject), **settings)


@pytest.fixture(params=["threading", "gevent", "eventlet"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def app(mode: str, clock: Clock) -> SyncApp:
    return SyncApp(mode, clock)


def test_connect_blocking_returns_an_admitted_client(app):
    with app.connect() as ada:
        assert ada.is_connected
        assert app.guard.identity(ada.sid).subject == "ada"
    assert ada.closed.how == "io client disconnect"
    assert app.left == [("ada", "client disconnect")]
    assert app.guard.index.connections == set()


def test_clients_are_refused_with_what_they_are_told(app):
    with assert_refused(code="credentials_required"):
        connect_blocking(app.sio)
    with assert_refused(reason="token_expired", message="jwt expired"):
        connect_blocking(app.sio, token=app.token(expires_in=-1000))
    with assert_refused(code="permission_denied"):
        app.connect(namespace="/admin")
    assert app.guard.index.connections == set()


def test_events_reach_those_in_the_room_only(app):
    ada, eve = connect_blocking(app.sio, token=app.token(rooms=["red"])), app.connect("eve")
    ada.join("red")
    with assert_refused(code="permission_denied"):
        eve.join("red")
    eve.emit("say", "red", {"file": b"\x00", "n": 1})
    assert ada.received("said") == [{"file": b"\x00", "n": 1}]
    assert eve.received("said") == []
    ada.leave("red")
    assert eve.call("say", "red", "anybody?") == "said"
    assert len(ada.received("said")) == 1


def test_client_answers_the_server(app):
    ada = app.connect()
    ada.on("question", lambda number: number + 1)
    assert ada.call("ask") == 21


def test_calls_fail_as_they_should(app):
    ada = app.connect()
    with pytest.raises(AssertionError, match="'mute' was not acknowledged"):
        ada.call("mute", within=0.02)
    with pytest.raises(AssertionError, match="did not receive 'tick'"):
        ada.receive("tick", within=0.02)
    with assert_refused(code="permission_denied"):
        ada.call("delete")
    ada.on("said", lambda text: {}[text])
    with pytest.raises(KeyError):
        ada.emit("say", ada.sid, "hello")


def test_receive_waits_for_a_background_task(app):
    ada = app.connect()

    def later():
        app.sio.sleep(0.01)
        app.sio.emit("tick", 1, to=ada.sid)

    app.sio.start_background_task(later)
    assert ada.receive("tick") == 1


def test_revocation_and_expiry_close(app, clock):
    ada, eve = app.connect(), app.connect("eve")
    assert app.guard.revoke(subject="ada") == 1
    ada.settle()
    assert (ada.closed.how, ada.closed.reason) == ("io server disconnect", "token_revoked")
    clock.advance(3600)
    eve.settle()
    assert (eve.closed.reason, eve.closed.reconnects) == ("token_expired", True)
    with assert_refused(reason="token_expired"):
        eve.emit("say", "red")


def test_token_is_renewed_or_refused(app, clock):
    ada = app.connect()
    clock.advance(100)
    assert ada.authenticate(app.token(expires_in=1800)) == {"expires_in": 1800}
    with assert_refused(reason="subject_mismatch"):
        ada.authenticate(app.token("eve"))
    assert not ada.is_connected


@pytest.mark.parametrize("via", [Handshake(auth=False), Authenticate()], ids=["header", "authenticate"])
def test_token_is_presented_where_the_guard_accepts_it(mode, clock, via):
    app = SyncApp(mode, clock, via=via)
    assert app.guard.identity(app.connect().sid).subject == "ada"


def test_time_to_authenticate_ends(mode, clock):
    app = SyncApp(mode, clock, via=Authenticate(timeout=15))
    client = connect_blocking(app.sio)
    clock.advance(15)
    client.settle()
    assert client.closed.reason == "authentication_timeout"


def test_two_clients_share_a_connection(app):
    token = app.token(roles=["admin"])
    ada = connect_blocking(app.sio, token=token)
    admin = connect_blocking(ada, token=token, namespace="/admin")
    ada.disconnect()
    app.sio.emit("news", 1, namespace="/admin")
    admin.settle()
    assert (admin.received("news"), ada.received("news")) == ([1], [])


def test_provider_works_with_synchronous_servers(mode, clock):
    with FakeProvider(clock=clock) as provider:
        app = SyncApp(mode, clock, verifier=provider.verifier())
        with provider.outage(), assert_refused(code="temporarily_unavailable"):
            connect_blocking(app.sio, token=provider.issue("ada"))
        clock.advance(60)
        connect_blocking(app.sio, token=provider.issue("ada"))


def test_clients_leave_no_threads(clock):
    app = SyncApp("threading", clock)
    app.connect().disconnect()
    before = set(threading.enumerate())
    for _ in range(5):
        with app.connect() as ada:
            ada.call("say", ada.sid, 1)
        with assert_refused():
            connect_blocking(app.sio)
    app.guard.settle()
    new = [thread for thread in set(threading.enumerate()) - before if thread.is_alive()]
    for thread in new:
        thread.join(5)
    assert not any(thread.is_alive() for thread in new if thread.name != "roomkey-guard"), new


def test_clients_in_several_threads_do_not_disturb_each_other(clock):
    app = SyncApp("threading", clock)
    clients = [app.connect(f"user{number}") for number in range(4)]
    failures = []

    def talk(client):
        try:
            for number in range(20):
                assert client.call("say", client.sid, number) == "said"
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=talk, args=[client]) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    for client in clients:
        client.settle()
        assert sorted(client.received("said")) == list(range(20))


class FlaskApp:
    """A Flask application with Flask-SocketIO."""

    def __init__(self) -> None:
        self.issuer = Issuer.ephemeral(audience="chat")
        self.app = Flask(__name__)
        self.app.secret_key = "for tests"
        self.socketio = SocketIO(self.app, async_mode="threading")
        policy = Policy()
        policy.room("*")(rooms_claim)
        self.guard = Guard(self.issuer.verifier(), policy=policy)
        self.guard.attach(self.socketio.server)

        @self.socketio.on("enter")
        def enter(room):
            join_room(room)
            emit("entered", {"who": self.guard.identity(request.sid).subject, "room": room}, to=room)
            return request.headers.get("X-Seat")

        @self.socketio.on("count")
        def count():
            session["count"] = session.get("count", 0) + 1
            return session["count"]


@pytest.mark.parametrize("which", ["app", "socketio"])
def test_flask_application_has_its_contexts(which):
    flask = FlaskApp()
    server = getattr(flask, which)
    ada = connect_blocking(server, token=flask.issuer.issue("ada", rooms=["red"]), headers={"X-Seat": "4"})
    assert ada.call("enter", "red") == "4"
    assert ada.received("entered") == [{"who": "ada", "room": "red"}]
    assert [ada.call("count"), ada.call("count")] == [1, 2]
    with assert_refused(code="permission_denied"):
        ada.call("enter", "blue")
    with assert_refused(code="credentials_required"):
        connect_blocking(server)


def test_flask_socketio_test_client_is_an_error_and_not_a_way_around_the_guard():
    flask = FlaskApp()
    with pytest.raises(ConfigError, match=r"use roomkey\.testing\.connect_blocking"):
        flask.socketio.test_client(flask.app, auth={"token": flask.issuer.issue("ada")})
    assert flask.guard.sockets() == []


def test_server_of_the_wrong_kind_is_an_error(clock):
    hub = Hub(Issuer.ephemeral().verifier())
    with pytest.raises(ConfigError, match="use await connect"):
        connect_blocking(hub)
    with pytest.raises(ConfigError, match="cannot find the guard of this Server"):
        connect_blocking(socketio.Server(async_mode="threading"))


async def test_await_of_a_synchronous_server_is_an_error(clock):
    from roomkey.testing import connect

    with pytest.raises(ConfigError, match="use connect_blocking"):
        await connect(SyncApp("threading", clock).sio)


def test_guard_of_an_unknown_client_denies(app):
    with pytest.raises(PermissionDenied):
        app.guard.identity("nobody")
