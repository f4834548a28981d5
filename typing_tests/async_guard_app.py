"""A python-socketio server with a guard."""

from __future__ import annotations

from collections import Counter
from typing import Any, assert_type

import socketio

from roomkey import AuthError, DPoP, Identity, Policy, Verifier
from roomkey.policies import rooms_claim
from roomkey.socketio import AsyncGuard, Authenticate, Handshake, SubjectLimits
from roomkey.stores import SqlRevocations

policy = Policy(roles="admin > moderator")
policy.room("*")(rooms_claim)


@policy.room("team:{team}")
async def member(who: Identity, team: str) -> bool:
    return who.has_role("admin") or team in who.rooms


@policy.event("delete", max_auth_age=300)
def moderator(who: Identity) -> bool:
    return who.has_role("moderator")


@policy.namespace("/admin")  # type: ignore[type-var]
def admin(who: Identity) -> str:  # a rule returns a bool
    return who.subject


policy.event("pay")(admin)  # type: ignore[type-var]
policy.room("a")(lambda who: 7)  # type: ignore[type-var]

sio = socketio.AsyncServer(async_mode="asgi")
guard = AsyncGuard(
    Verifier.hs256("secret", audience="chat", previous=("old", 1.0), insecure_short_secret=True),
    via=(Handshake(query="token"), Authenticate(timeout=15)),
    policy=policy,
    revocations=SqlRevocations("roomkey.sqlite3"),
    subject_limits=SubjectLimits(sockets=3),
    dpop=DPoP("https://chat.example/socket.io/"),
    grace=10,
)
guard.attach(sio, session_binding="address", own_joins="allow")
guard.attach(sio, own_joins="always")  # type: ignore[arg-type]
AsyncGuard()  # type: ignore[call-arg]
AsyncGuard("secret")  # type: ignore[arg-type]
AsyncGuard(Verifier.hs256("secret"), grace="10")  # type: ignore[arg-type]
AsyncGuard(Verifier.hs256("secret"), gracious=10)  # type: ignore[call-arg]
AsyncGuard(Verifier.hs256("secret"), via=Handshake(cookie=True))  # type: ignore[arg-type]
Verifier.hs256("secret", audiences="chat")  # type: ignore[call-arg]
Verifier.pem("key")  # type: ignore[call-arg]


class Mine:
    """A verifier of the application's own."""

    def verify(self, token: object, now: float, *, source: str = "") -> Identity:
        return Identity("ada")


AsyncGuard(Mine())


@guard.on_refused
async def count(error: AuthError, address: str) -> None:
    print(address, error.code, error.reason, error.temporary)


async def connect(sid: str, environ: dict[str, Any], auth: Any) -> bool:
    who = guard.identity(sid)
    assert_type(who, Identity)
    assert_type(who.subject, str)
    assert_type(who.roles, frozenset[str])
    assert_type(who.expires_at, float | None)
    who.subject = "eve"  # type: ignore[misc]
    return not who.is_guest


async def verbs(sid: str) -> None:
    await guard.enter_room(sid, "red")
    await guard.check_emit(sid, "red", "message")
    assert_type(await guard.verify("token"), Identity)
    assert_type(await guard.revoke(subject="ada", expires_at=float("inf")), int)
    assert_type(await guard.update("ada", roles=["admin"], rooms={"red": ["join"]}), int)
    assert_type(await guard.count_sockets("ada"), tuple[Counter[str | None], bool])
    for socket in guard.sockets("ada"):
        assert_type(socket.identity, Identity)
    decision = await guard.explain(sid, "room", "red")
    assert_type(decision.error, AuthError | None)
    await guard.explain(sid, "rooms", "red")  # type: ignore[arg-type]
    await guard.revoke(sub="ada")  # type: ignore[call-arg]
    guard.enter_room(sid, "red")  # type: ignore[unused-coroutine]
