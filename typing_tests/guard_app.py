"""A synchronous python-socketio server with a guard."""

from __future__ import annotations

from typing import Any, assert_type

import socketio

from roomkey import AuthError, Identity, Policy, Verifier
from roomkey.routes import RoomKey
from roomkey.socketio import Authenticate, Guard, Handshake

policy = Policy()


@policy.room("team:{team}")
def member(who: Identity, team: str) -> bool:
    return team in who.rooms


sio = socketio.Server(async_mode="threading")
guard = Guard(Verifier.jwks("https://a.example"), via=(Handshake(), Authenticate()), policy=policy, grace=10)
guard.attach(sio, session_binding="address", own_joins="allow")
guard.attach(sio, own_joins="always")  # type: ignore[arg-type]
Guard()  # type: ignore[call-arg]
Guard(Verifier.hs256("secret"), grace="10")  # type: ignore[arg-type]
RoomKey(guard)  # type: ignore[arg-type]


@guard.on_refused
def count(error: AuthError, address: str) -> None:
    print(address, error.code)


def connect(sid: str, environ: dict[str, Any], auth: Any) -> bool:
    assert_type(guard.identity(sid), Identity)
    return not guard.identity(sid).is_guest


def verbs(sid: str) -> None:
    guard.enter_room(sid, "red")
    guard.check_emit(sid, "red", "message")
    assert_type(guard.verify("token"), Identity)
    assert_type(guard.revoke(subject="ada"), int)
    assert_type(guard.update("ada", roles=["admin"]), int)
    decision = guard.explain(sid, "room", "red")
    assert_type(decision.error, AuthError | None)
    guard.explain(sid, "rooms", "red")  # type: ignore[arg-type]
    guard.revoke(sub="ada")  # type: ignore[call-arg]


async def too_late() -> None:
    await guard.verify("token")  # type: ignore[misc]
