"""A guarded connection of a host that waits where it answers."""

from __future__ import annotations

import asyncio

import pytest
from support.clock import FakeClock
from support.tokens import issuer_at

from roomkey.core.credentials import Request
from roomkey.errors import ProtocolViolation
from roomkey.guard.guard import AsyncioGuard
from roomkey.guard.host import new_sid
from roomkey.socketio import Handshake


class Host:
    """A connection and its only socket. Its methods do nothing, but for those that the tests need."""

    reopens = True

    def __init__(self) -> None:
        self.sid = new_sid()
        self.did: list[tuple[str, ...]] = []
        self.may_accept = asyncio.Event()

    def __getattr__(self, name):
        async def later(*arguments):
            self.did.append((name, *arguments))

        return later

    async def open(self, guarded):
        return self

    async def accept(self):
        await self.may_accept.wait()

    async def call_connect(self, payload):
        return None

    async def refuse(self, namespace, message, data):
        self.did.append(("refuse", message))

    def on_admitted(self): ...

    def forget(self): ...

    def close(self, code): ...

    def hears_disconnect(self):
        return True


@pytest.fixture
async def make_guard():
    """``make_guard(verifier, **settings)``: a guard that is closed after the test, with nothing left in it."""
    guards = []

    def make(verifier, **settings):
        guards.append(AsyncioGuard(verifier, clock=FakeClock(), **settings))
        return guards[-1]

    yield make
    for guard in guards:
        await guard.close()
        assert (guard.index.connections, guard.index.sockets, guard.background._running) == (set(), {}, set())


@pytest.mark.checklist("J9")
async def test_socket_that_ends_before_its_reply_has_its_disconnect_handler_called_once(make_guard):
    issuer = issuer_at(FakeClock())
    guard, host = make_guard(issuer.verifier(), user_rooms=False), Host()
    connection = guard.accept(Request(), "192.0.2.7", host)
    connecting = asyncio.create_task(connection.connect("/", {"token": issuer.issue("ada")}, host.open))
    await asyncio.sleep(0)
    assert [one.identity.subject for one in guard.sockets()] == ["ada"]
    assert await guard.revoke(subject="ada") == 1
    host.may_accept.set()
    await connecting
    connection.lost("transport close")
    await guard.settle()
    assert host.did == [("refuse", "jwt revoked"), ("call_disconnect", "server disconnect")]


async def test_verification_of_a_request_ends_with_its_session_even_if_it_began_after_the_close(make_guard):
    class Verifier:
        async def verify(self, token, now, *, source=""):
            await asyncio.Event().wait()

    guard, refusals = make_guard(Verifier(), via=Handshake(header=True)), []
    guard.on_refused(lambda error, address: refusals.append((type(error), address)))
    connection = guard.accept(Request(authorization="Bearer a.b.c"), "192.0.2.7", Host())
    connection.violation("something that no honest client sends")
    owns = asyncio.create_task(connection.owns(Request(authorization="Bearer d.e.f"), "192.0.2.8"))
    await asyncio.sleep(0)
    connection.lost("transport close")
    assert await asyncio.wait_for(owns, 20) is False
    await guard.settle()
    assert refusals[0] == (ProtocolViolation, "192.0.2.7")
    assert refusals[1][1] == "192.0.2.8"


async def test_socket_that_the_host_fails_to_admit_is_in_quarantine_while_it_is_refused(make_guard):
    class Failing(Host):
        def __init__(self) -> None:
            super().__init__()
            self.refusing, self.may_refuse = asyncio.Event(), asyncio.Event()

        async def enter(self, room):
            raise OSError("the rooms are elsewhere")

        async def refuse(self, namespace, message, data):
            self.refusing.set()
            await self.may_refuse.wait()

    issuer = issuer_at(FakeClock())
    guard, host = make_guard(issuer.verifier()), Failing()
    connection = guard.accept(Request(), "192.0.2.7", host)
    connecting = asyncio.create_task(connection.connect("/", {"token": issuer.issue("ada")}, host.open))
    await host.refusing.wait()
    assert guard.sockets() == []
    assert connection.admit_without_waiting("/", ["say"]) is None
    host.may_refuse.set()
    await connecting
    connection.lost("transport close")
    assert host.did == [("call_disconnect", "server disconnect")]
