"""Tokens on live sockets, as the official JavaScript client meets them: renewal, expiry, revocation, changed rights.

The servers are in this process, so that a test can call their guard and move its clock.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

import pytest
from support.clock import FakeClock

from roomkey import Issuer, Key, Policy
from roomkey.policies import rooms_claim
from roomkey.socketio import Authenticate, Handshake

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRANSPORTS = ("polling", "websocket", "upgrade")
KINDS = [(client, transport) for client in ("first", "current") for transport in TRANSPORTS]
CURRENT = [kind for kind in KINDS if kind[0] == "current"]
every_kind = pytest.mark.parametrize("kind", KINDS, ids="-".join)

DESK = Issuer(Key.generate("HS256"), issuer="desk", audience="chat")
EARLIER = Issuer(DESK.key, issuer="desk", audience="chat", clock=lambda: time.time() - 100)
"""The same desk, a hundred seconds ago."""

REVOKED = {
    "message": "jwt revoked",
    "code": "invalid_token",
    "type": "UnauthorizedError",
    "reason": "token_revoked",
}
SHORT = 100
"""Seconds; the warning comes before the last quarter of them."""


async def enter(js: Any, site: Any, kind: Any, token: str, *rooms: str) -> Any:
    """Return a socket that is admitted in the way that the server requires, and has joined rooms."""
    socket = js.open(site, kind, **{} if site.later else {"auth": {"token": token}})
    await socket.expect("connect")
    if site.later:
        await renew(socket, token)
    for room in rooms:
        assert await socket.call("join-room", room) == [{"ok": True}]
    return socket


async def renew(socket: Any, token: str) -> None:
    socket.emit("authenticate", {"token": token})
    await socket.skip_to("event", name="authenticated")


# Renewal


async def test_stream_is_complete_across_two_refreshes(js: Any, guarded: Any) -> None:
    async def listen(kind: Any, way: Any) -> None:
        clock = FakeClock(time.time())
        desk = Issuer(DESK.key, issuer="desk", audience="chat", clock=clock.now)
        site = guarded(DESK.verifier(), via=way, grace=0, clock=clock)
        token = desk.issue("ada", rooms=["red"], expires_in=SHORT)
        socket = await enter(js, site, kind, token, "red")
        other = await enter(js, site, ("current", "websocket"), token)  # it does not renew
        sent = itertools.count()

        async def stream() -> None:
            while True:
                await site.sio.emit("tick", next(sent), room="red")
                await asyncio.sleep(0.02)

        heard: list[dict[str, Any]] = []
        streaming = asyncio.create_task(stream())
        for lifetime in (SHORT, 900):
            await site.pass_time(clock, 0.9 * SHORT)
            heard += await socket.skip_to("event", name="token_expiring")
            socket.emit("authenticate", {"token": desk.issue("ada", rooms=["red"], expires_in=lifetime)})
            heard += await socket.skip_to("event", name="authenticated")
        await other.skip_to("event", name="unauthorized")
        await other.expect("disconnect")
        streaming.cancel()
        await asyncio.gather(streaming, return_exceptions=True)
        await site.sio.emit("over", room="red")
        heard += await socket.skip_to("event", name="over")
        assert [report["args"] for report in heard] == [[number] for number in range(next(sent))]
        assert [call[0] for call in site.calls] == ["connect", "connect", "disconnect"]

    await asyncio.gather(*(listen(kind, way) for kind in KINDS for way in (Handshake(), Authenticate())))


# Expiry


async def test_client_reconnects_with_an_auth_function_only(js: Any, guarded: Any) -> None:
    async def expire(kind: Any, *, fresh: bool) -> None:
        clock = FakeClock(time.time())
        site = guarded(DESK.verifier(), grace=10, clock=clock)
        short = {"token": DESK.issue("ada", expires_in=SHORT)}
        auths = [short, {"token": DESK.issue("ada")}] if fresh else [short]
        socket = js.open(site, kind, auths=auths)
        await socket.opened(kind)
        await site.pass_time(clock, SHORT + 11)
        [said] = (await socket.expect("event", name="unauthorized"))["args"]
        assert (said["data"]["reason"], said["data"]["retry"]) == ("token_expired", True)
        await socket.expect("disconnect", active=True)
        if fresh:
            await socket.expect("connect")
            assert await socket.call("echo", "back") == ["back"]
            return
        report = await socket.expect("connect_error", message="jwt expired", active=False)
        assert (report["data"]["reason"], report["data"]["retry"]) == ("token_expired", True)
        await site.emptied()
        assert socket.reports.empty()
        assert [call[0] for call in site.calls] == ["connect", "disconnect"]

    # Clients before 4.4 try again after a refusal, too: there a fixed token never ends it.
    await asyncio.gather(
        *(expire(kind, fresh=True) for kind in KINDS), *(expire(kind, fresh=False) for kind in CURRENT)
    )


# Revocation


def person(number: int) -> str:
    return f"person {number // 2 % 5}"


TWENTY = range(20)
REVOCATIONS = {
    "token": ({"token_id": "token 7"}, {7}),
    "session": ({"session_id": "session 3"}, {6, 7}),
    "subject": ({"subject": "person 3"}, {6, 7, 16, 17}),
    "subject until": ({"subject": "person 3", "issued_before": True}, {7, 17}),
}


@pytest.mark.parametrize("key", REVOCATIONS)
async def test_revocation_among_twenty_active_clients_ends_only_its_own(js: Any, guarded: Any, key: str) -> None:
    chosen, ending = REVOCATIONS[key]
    site = guarded(DESK.verifier())
    site.guard.relay("say")

    async def open_one(number: int) -> Any:
        issuer = EARLIER if number % 2 else DESK  # each person has tokens of both
        token = issuer.issue(
            person(number),
            rooms=["red"],
            expires_in=900,
            token_id=f"token {number}",
            session_id=f"session {number // 2}",
        )
        return await enter(js, site, KINDS[number % len(KINDS)], token, "red")

    sockets = await asyncio.gather(*map(open_one, TWENTY))

    async def chat() -> None:
        for number in itertools.cycle(TWENTY):
            sockets[number].emit("say", "red", number)
            await asyncio.sleep(0.005)

    chatting = asyncio.create_task(chat())
    await sockets[0].skip_to("event", name="say")
    if "issued_before" in chosen:
        chosen = chosen | {"issued_before": time.time() - 50}
    assert await site.guard.revoke(**chosen) == len(ending)
    for number in sorted(ending):
        await sockets[number].skip_to("event", name="unauthorized")
        await sockets[number].expect("disconnect", reason="io server disconnect", active=False)
    chatting.cancel()
    staying = [sockets[number] for number in TWENTY if number not in ending]
    staying[0].emit("say", "red", "the last word")
    for socket in staying[1:]:
        before = await socket.skip_to("event", args=[{"room": "red", "from": person(0), "data": "the last word"}])
        assert {report["name"] for report in before} == {"say"}, "nobody was disconnected"
    for number in ending:
        assert sockets[number].reports.empty(), "silent, and it has not come back"
    assert [call[0] for call in site.calls] == ["connect"] * 20 + ["disconnect"] * len(ending)


# Changed rights


@every_kind
async def test_update_removes_rooms_immediately(js: Any, guarded: Any, kind: Any) -> None:
    site = guarded(DESK.verifier())
    token = DESK.issue("ada", rooms=["red", "blue"])
    socket = await enter(js, site, kind, token, "red", "blue")
    assert await site.guard.update("ada", rooms=["blue"]) == 1
    await socket.event("permissions_changed", {"left": ["red"]})
    await site.sio.emit("news", "for red", room="red")
    await site.sio.emit("news", "for blue", room="blue")
    await socket.event("news", "for blue")
    [answer] = await socket.call("join-room", "red")
    assert answer["error"]["code"] == "permission_denied"
    other = await enter(js, site, kind, token, "blue")  # the token says more than it is worth
    [answer] = await other.call("join-room", "red")
    assert answer["error"]["code"] == "permission_denied"
    assert [call[0] for call in site.calls] == ["connect", "connect"]


@every_kind
async def test_recent_login_is_requested_and_accepted(js: Any, guarded: Any, kind: Any) -> None:
    policy = Policy()
    policy.event("pay", max_auth_age=60)(lambda who: True)
    site = guarded(DESK.verifier(), policy=policy)
    socket = await enter(js, site, kind, EARLIER.issue("ada"))
    asked = {
        "message": "authenticate again",
        "code": "insufficient_user_authentication",
        "type": "UnauthorizedError",
        "reason": "reauthentication_required",
        "max_age": 60,
    }
    socket.emit("pay", 5, ack="refused")
    await socket.event("reauthenticate", {"event": "pay", **asked})
    await socket.expect("ack", tag="refused", args=[{"ok": False, "error": asked}])
    assert await socket.call("look", 5) == [5]
    await renew(socket, DESK.issue("ada"))
    assert await socket.call("pay", 5) == [5]
    assert site.calls == [("connect", "/", "ada"), ("look", "/", 5), ("pay", "/", 5)]


@every_kind
async def test_guest_can_authenticate(js: Any, guarded: Any, kind: Any) -> None:
    policy = Policy()
    policy.room("*")(rooms_claim)
    policy.room("lobby")(lambda who: True)
    site = guarded(DESK.verifier(), required=False, policy=policy)
    socket = js.open(site, kind)
    await socket.expect("connect")
    assert site.guard.identity(socket.sid).is_guest
    assert await socket.call("join-room", "lobby") == [{"ok": True}]
    [answer] = await socket.call("join-room", "red")
    assert answer["error"]["code"] == "permission_denied"
    await renew(socket, DESK.issue("ada", rooms=["red"]))
    assert await socket.call("join-room", "red") == [{"ok": True}]
    for room in ("lobby", "red", site.guard.subject_room("ada")):
        await site.sio.emit("news", room, room=room)
        await socket.event("news", room)
    assert await site.guard.revoke(subject="ada") == 1
    await socket.expect("event", name="unauthorized")
    await socket.expect("disconnect", reason="io server disconnect", active=False)


@pytest.mark.parametrize("kind", CURRENT, ids="-".join)
async def test_bad_token_does_not_make_a_guest(js: Any, guarded: Any, kind: Any) -> None:
    site = guarded(DESK.verifier(), required=False)
    socket = js.open(site, kind, auth={"token": Issuer.ephemeral(audience="chat").issue("ada")})
    await socket.expect("connect_error", message="invalid signature", active=False)
    assert site.calls == []
