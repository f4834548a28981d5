"""python-socketio's own client against both engines: the basic matrix."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
import socketio
from socketio.exceptions import ConnectionError as InvalidGrant
from support.clock import FakeClock
from support.tokens import EXPIRED

from roomkey import Issuer
from roomkey.socketio import Authenticate, Handshake

pytestmark = pytest.mark.asyncio(loop_scope="module")

DESK = Issuer.ephemeral(audience="chat")
TRANSPORTS = {"polling": ["polling"], "websocket": ["websocket"], "upgrade": None}
every_transport = pytest.mark.parametrize("transport", TRANSPORTS)
both_ways = pytest.mark.parametrize("later", [False, True], ids=["handshake", "authenticate"])
PATIENCE = 10.0

MISSING = {"message": "no token provided", "code": "credentials_required", "type": "UnauthorizedError"}
DENIED = {
    "message": "Insufficient permissions",
    "code": "permission_denied",
    "type": "UnauthorizedError",
    "reason": "permission_denied",
}


class Person:
    """A client, and its events in order."""

    def __init__(self, site: Any, transport: str, *, reconnection: bool = False) -> None:
        self.site, self.transport = site, transport
        self.happened: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
        self.sio = socketio.AsyncClient(
            reconnection=reconnection, reconnection_delay=0.05, handle_sigint=False, websocket_extra_options={}
        )
        note = self.happened.put_nowait
        self.sio.on("connect", lambda: note(("connect",)))
        self.sio.on("connect_error", lambda error: note(("connect_error", error)))
        self.sio.on("disconnect", lambda *reason: note(("disconnect", *reason)))
        self.sio.on("*", lambda event, *args: note((event, *args)))

    async def connect(self, auth: Any = None, **options: Any) -> None:
        await self.sio.connect(
            self.site.url,
            auth=auth,
            transports=TRANSPORTS[self.transport],
            socketio_path=self.site.path,
            wait_timeout=PATIENCE,
            **options,
        )

    async def enter(self, token: str) -> None:
        """Connect, and present the token in the way that the server requires."""
        if not self.site.later:
            await self.connect({"token": token})
            await self.expect("connect")
            return
        await self.connect()
        await self.expect("connect")
        answer = await self.sio.call("authenticate", {"token": token}, timeout=PATIENCE)
        await self.expect("authenticated", answer)
        assert 890 <= answer["expires_in"] <= 900

    async def expect(self, *what: Any) -> None:
        assert await self.next() == what

    async def next(self) -> tuple[Any, ...]:
        return await asyncio.wait_for(self.happened.get(), PATIENCE)


@pytest_asyncio.fixture(loop_scope="module")
async def person(guarded: Any) -> AsyncIterator[Callable[..., Person]]:
    made: list[Person] = []

    def make(*args: Any, **options: Any) -> Person:
        made.append(Person(*args, **options))
        return made[-1]

    yield make
    for each in made:  # the server first: a polling client waits for the end of its poll
        each.sio.reconnection = False  # else it would be back before it is shut down
        await each.site.hang_up()
        await each.sio.shutdown()


def way(later: bool) -> Handshake | Authenticate:
    return Authenticate() if later else Handshake()


@every_transport
@both_ways
async def test_valid_token_connects(guarded: Any, person: Any, transport: str, later: bool) -> None:
    site = guarded(DESK.verifier(), via=way(later))
    ada = person(site, transport)
    await ada.enter(DESK.issue("ada", rooms=["red"]))
    assert await ada.sio.call("echo", ("hello", b"\x00\xff")) == ("hello", b"\x00\xff")
    assert await ada.sio.call("join-room", "red") == {"ok": True}
    assert await ada.sio.call("join-room", "blue") == {"ok": False, "error": DENIED}
    await ada.sio.emit("join-room", "blue")
    await ada.expect("error", DENIED)
    await site.sio.emit("news", "for blue", room="blue")
    await site.sio.emit("news", b"for red", room="red")
    await ada.expect("news", b"for red")
    assert ada.sio.transport() == ("polling" if transport == "polling" else "websocket")


@every_transport
async def test_many_events_at_once_arrive(guarded: Any, person: Any, transport: str) -> None:
    """The client accepts at most 16 packets in one response to a poll."""
    site = guarded(DESK.verifier())
    ada = person(site, transport)
    await ada.enter(DESK.issue("ada"))
    for number in range(40):
        await site.sio.emit("news", number)
    for number in range(40):
        await ada.expect("news", number)
    assert await ada.sio.call("echo", "still here") == "still here"


@every_transport
@pytest.mark.parametrize("token", [None, "expired"])
async def test_bad_token_is_refused_at_handshake(guarded: Any, person: Any, transport: str, token: str | None) -> None:
    site = guarded(DESK.verifier())
    eve = person(site, transport)
    with pytest.raises(InvalidGrant):
        await eve.connect({"token": DESK.issue("eve", expires_in=-100)} if token else None)
    kind, error = await eve.next()
    assert kind == "connect_error"
    if token:
        assert 90 < time.time() - error["data"].pop("expired_at") < 110
    expected = EXPIRED if token else MISSING
    assert error == {"message": expected["message"], "data": expected}
    assert not eve.sio.connected
    assert site.calls == []


@every_transport
async def test_bad_token_is_refused_after_connecting(guarded: Any, person: Any, transport: str) -> None:
    site = guarded(DESK.verifier(), via=Authenticate())
    eve = person(site, transport)
    await eve.connect()
    await eve.expect("connect")
    for _ in range(3):
        await site.sio.emit("news", "nobody is told")
        await eve.sio.emit("authenticate")
        message = MISSING["message"]
        await eve.expect("unauthorized", {"message": message, "inner": {"message": message}, "data": MISSING})
    assert (await eve.next())[0] == "disconnect"
    assert site.calls == []


@every_transport
async def test_authenticate_can_follow_an_empty_connect(guarded: Any, person: Any, transport: str) -> None:
    site = guarded(DESK.verifier(), via=(Handshake(), Authenticate()))
    ada = person(site, transport)
    await ada.connect()  # python-socketio's client sends an empty object
    await ada.expect("connect")
    await ada.sio.call("authenticate", {"token": DESK.issue("ada")}, timeout=PATIENCE)
    assert site.calls == [("connect", "/", "ada")]


@every_transport
@both_ways
async def test_revoked_client_is_disconnected(guarded: Any, person: Any, transport: str, later: bool) -> None:
    site = guarded(DESK.verifier(), via=way(later))
    ada = person(site, transport)
    await ada.enter(DESK.issue("ada", token_id="one"))
    assert await site.guard.revoke(token_id="one") == 1
    event, told = await ada.next()
    assert (event, told["message"], told["data"]["reason"]) == ("unauthorized", "jwt revoked", "token_revoked")
    assert await ada.next() in (("disconnect", "server disconnect"), ("disconnect",))  # older ones give no reason
    await site.emptied()
    assert [call[0] for call in site.calls] == ["connect", "disconnect"]


@every_transport
async def test_expired_client_reconnects_automatically(guarded: Any, person: Any, transport: str) -> None:
    clock = FakeClock(time.time())
    site = guarded(DESK.verifier(), grace=0, clock=clock)
    tokens = [DESK.issue("ada", expires_in=60), DESK.issue("ada")]
    ada = person(site, transport, reconnection=True)
    await ada.connect(lambda: {"token": tokens.pop(0) if len(tokens) > 1 else tokens[0]})
    await ada.expect("connect")
    await site.pass_time(clock, 61)
    event, told = await ada.next()
    assert (event, told["message"], told["data"]["retry"]) == ("unauthorized", "jwt expired", True)
    assert (await ada.next())[0] == "disconnect"
    await ada.expect("connect")
    assert await ada.sio.call("echo", "again") == "again"


@every_transport
async def test_authorization_header_of_the_first_request_is_enough(guarded: Any, person: Any, transport: str) -> None:
    """The client's polling transport sends the header with the first request only."""
    site = guarded(DESK.verifier())
    ada = person(site, transport)
    await ada.connect(headers={"Authorization": f"Bearer {DESK.issue('ada')}"})
    await ada.expect("connect")
    assert await ada.sio.call("echo", "hello") == "hello"
