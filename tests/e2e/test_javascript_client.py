"""The official JavaScript client, current and first of its 4.x, against both engines.

What a client sees is asserted to the byte: texts, ``err.data``, reasons of disconnection, and whether it stays away.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any

import pytest
from support.clock import FakeClock
from support.pairs import parametrize_engine

from roomkey import Identity, Issuer, Key, Policy, Verifier
from roomkey.policies import rooms_claim
from roomkey.socketio import Authenticate, Handshake

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENGINES = ("hub", "python-socketio")
KINDS = [(client, transport) for client in ("first", "current") for transport in ("polling", "websocket", "upgrade")]
FEWER = [kind for kind in KINDS if kind[1] != "upgrade"]
every_kind = pytest.mark.parametrize("kind", KINDS, ids="-".join)
WAYS = {False: "handshake", True: "authenticate"}
both_ways = pytest.mark.parametrize("later", WAYS, ids=WAYS.values())
every_pair = parametrize_engine(
    ("kind", "later"), [(ENGINES[(at + later) % 2], kind, later) for at, kind in enumerate(KINDS) for later in WAYS]
)
"""Each kind of client with each way and each engine, and each way with each engine."""

HS = Key.generate("HS256")
RS = Key.generate("RS256")
DESK = Issuer(HS, issuer="desk", audience="chat")
NOTHING = object()
MEGABYTE = 2**20


def forge(key: Key = HS, header: dict[str, Any] | None = None, **claims: Any) -> str:
    """Return a token with any claims, signed with the key's first algorithm. Claims of None are omitted."""
    now = int(time.time())
    claims = {"iss": "desk", "sub": "ada", "aud": "chat", "iat": now, "exp": now + 60} | claims
    header = {"alg": key.algorithms[0], "kid": HS.kid, "typ": "JWT"} | (header or {})
    payload = {name: value for name, value in claims.items() if value is not None}
    parts = (urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, payload))
    signing_input = b".".join(parts)
    signature = urlsafe_b64encode(key.sign(key.algorithms[0], signing_input)).rstrip(b"=")
    return (signing_input + b"." + signature).decode()


def data(message: str, code: str = "invalid_token", **facts: Any) -> dict[str, Any]:
    return {"message": message, "code": code, "type": "UnauthorizedError", **facts}


def told(message: str, code: str = "invalid_token", **facts: Any) -> dict[str, Any]:
    """Return the argument of ``unauthorized``."""
    return {"message": message, "inner": {"message": message}, "data": data(message, code, **facts)}


DENIED = data("Insufficient permissions", "permission_denied", reason="permission_denied")
BEFORE = told("no token provided", "credentials_required")
TIMEOUT = told("authentication timeout", "authentication_timeout", reason="authentication_timeout")


async def admitted(
    js: Any, site: Any, kind: Any = ("current", "websocket"), token: str | None = None, **more: Any
) -> Any:
    """Return a socket that is admitted in the way that the server requires."""
    token = token or DESK.issue("ada", rooms=["red"])
    socket = js.open(site, kind, **more if site.later else {"auth": {"token": token}} | more)
    await socket.expect("connect")
    if site.later:
        socket.emit("authenticate", {"token": token})
        report = await socket.expect("event", name="authenticated")
        assert 890 <= report["args"][0].pop("expires_in") <= 900
        assert report["args"] == [{}]
    return socket


async def stays_away(socket: Any, site: Any) -> None:
    """Assert that the client is disconnected, does not reconnect, and its transport is closed."""
    await socket.expect("disconnect", reason="io server disconnect", active=False)
    await site.emptied()


def way(later: bool, **options: Any) -> Handshake | Authenticate:
    return Authenticate(**options) if later else Handshake()


# A good token


@every_pair
async def test_valid_token_connects(js: Any, guarded: Any, kind: Any, later: bool) -> None:
    site = guarded(DESK.verifier(), via=way(later))
    socket = await admitted(js, site, kind)
    assert site.calls == [("connect", "/", "ada")]
    assert site.guard.identity(socket.sid).source == ("event" if later else "auth")
    assert await socket.call("echo", "hello", 1, None) == ["hello", 1, None]
    assert await socket.call("bytes", b"\x00\xff", {"inside": [b"red"]}) == [b"\x00\xff", {"inside": [b"red"]}]
    assert await site.sio.call("question", (b"\x01", {"deep": b"\x02"}), to=socket.sid) == (b"\x01", {"deep": b"\x02"})
    await socket.event("question", b"\x01", {"deep": b"\x02"})
    if kind[1] == "upgrade":
        await asyncio.wait_for(socket.upgraded.wait(), 20)
        assert await socket.call("echo", "after the upgrade") == ["after the upgrade"]
    assert socket.transport == ("polling" if kind[1] == "polling" else "websocket")


@both_ways
@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "ES256", "EdDSA"])
@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_every_algorithm_connects(js: Any, guarded: Any, algorithm: str, later: bool, transport: str) -> None:
    issuer = Issuer(Key.generate(algorithm), audience="chat")
    site = guarded(issuer.verifier(), via=way(later))
    socket = await admitted(js, site, ("current", transport), issuer.issue("ada"))
    assert await socket.call("echo", algorithm) == [algorithm]


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
@pytest.mark.parametrize("place", ["token", "access_token", "auth_token", "header", "event"])
async def test_scheme_is_accepted_in_any_letter_case(js: Any, guarded: Any, scheme: str, place: str) -> None:
    written = f"{scheme} {DESK.issue('ada')}"
    site = guarded(DESK.verifier(), via=way(place == "event"))
    if place == "event":
        await admitted(js, site, token=written)
    elif place == "header":
        await js.open(site, extraHeaders={"Authorization": written}).expect("connect")
    else:
        await js.open(site, auth={place: written}).expect("connect")
    assert site.calls == [("connect", "/", "ada")]


@every_kind
async def test_authenticate_is_acknowledged(js: Any, guarded: Any, kind: Any) -> None:
    site = guarded(DESK.verifier(), via=Authenticate())
    socket = js.open(site, kind)
    await socket.expect("connect")
    socket.emit("authenticate", {"token": DESK.issue("ada")}, ack="mine")
    event = await socket.expect("event", name="authenticated")
    assert (await socket.expect("ack", tag="mine"))["args"] == event["args"]


# Refused tokens, each in both ways

Payload = Callable[[], Any]
REFUSED: dict[str, tuple[Payload, dict[str, Any]]] = {
    "nothing": (lambda: NOTHING, data("no token provided", "credentials_required")),
    "empty payload": (lambda: {}, data("invalid token datatype", reason="malformed")),
    "payload is a number": (lambda: 42, data("invalid token datatype", reason="malformed")),
    "payload is a string": (lambda: DESK.issue("ada"), data("invalid token datatype", reason="malformed")),
    "payload is a list": (lambda: [DESK.issue("ada")], data("invalid token datatype", reason="malformed")),
    "null": (lambda: {"token": None}, data("invalid token datatype", reason="malformed")),
    "number": (lambda: {"token": 42}, data("invalid token datatype", reason="malformed")),
    "list": (lambda: {"token": [DESK.issue("ada")]}, data("invalid token datatype", reason="malformed")),
    "object": (lambda: {"token": {"token": DESK.issue("ada")}}, data("invalid token datatype", reason="malformed")),
    "two tokens": (
        lambda: {"token": DESK.issue("ada"), "access_token": DESK.issue("eve")},
        data("more than one token provided", "credentials_bad_format"),
    ),
    "another scheme": (
        lambda: {"token": f"Basic {DESK.issue('ada')}"},
        data("Format is Authorization: Bearer [token]", "credentials_bad_format"),
    ),
}


def _token(name: str, make: Callable[[], str], message: str, **facts: Any) -> None:
    REFUSED[name] = (lambda: {"token": make()}, data(message, **facts))


EXP = {"reason": "claim", "claim": "exp"}
_token("empty", lambda: "", "jwt must be provided", reason="malformed")
_token("long", lambda: "a" * 15_000, "jwt malformed", reason="malformed")
_token("no parts", lambda: "hello", "jwt malformed", reason="malformed")
_token("cut in the middle", lambda: DESK.issue("ada")[:80], "jwt malformed", reason="malformed")
_token("cut after a dot", lambda: DESK.issue("ada")[:-43], "jwt signature is required", reason="bad_signature")
_token("cut in the signature", lambda: DESK.issue("ada")[:-3], "invalid signature", reason="bad_signature")
_token("stray bits", lambda: DESK.issue("ada")[:-2], "invalid token", reason="malformed")
_token("crit", lambda: forge(header={"crit": ["b64"], "b64": True}), "invalid token", reason="malformed")
_token(
    "unknown key", lambda: Issuer.ephemeral(audience="chat").issue("ada"), "invalid signature", reason="bad_signature"
)
_token("wrong key", lambda: forge(Key.generate("HS256")), "invalid signature", reason="bad_signature")
_token("alg none", lambda: forge(header={"alg": "none"}), "invalid algorithm", reason="bad_signature")
_token(
    "alg none unsigned",
    lambda: forge(header={"alg": "none"}).rpartition(".")[0] + ".",
    "jwt signature is required",
    reason="bad_signature",
)
_token("another alg", lambda: forge(RS), "invalid algorithm", reason="bad_signature")
_token("expired", lambda: forge(exp=1_700_000_000, iat=1_600_000_000), "jwt expired",
       reason="token_expired", retry=True, claim="exp", expired_at=1_700_000_000)  # fmt: skip
_token("not yet valid", lambda: forge(nbf=4_000_000_000), "jwt not active",
       reason="claim", claim="nbf", date=4_000_000_000)  # fmt: skip
_token("no exp", lambda: forge(exp=None), "invalid exp value", **EXP)
_token("exp is a string", lambda: forge(exp="4000000000"), "invalid exp value", **EXP)
_token("exp before iat", lambda: forge(iat=4_000_000_000), "invalid exp value", **EXP)
_token("exp is NaN", lambda: forge(exp=float("nan")), "invalid token", reason="malformed")
_token("exp is infinite", lambda: forge(exp=float("inf")), "invalid token", reason="malformed")
_token("nbf is a string", lambda: forge(nbf="1"), "invalid nbf value", reason="claim", claim="nbf")
_token("no sub", lambda: forge(sub=None), "invalid sub value", reason="claim", claim="sub")
_token("sub is a number", lambda: forge(sub=1), "invalid sub value", reason="claim", claim="sub")
_token("wrong audience", lambda: forge(aud="mail"), "jwt audience invalid. expected: chat", reason="claim", claim="aud")
_token("no audience", lambda: forge(aud=None), "jwt audience invalid. expected: chat", reason="claim", claim="aud")
_token("wrong issuer", lambda: forge(iss="eve"), "jwt issuer invalid. expected: desk", reason="claim", claim="iss")
_token("no issuer", lambda: forge(iss=None), "jwt issuer invalid. expected: desk", reason="claim", claim="iss")
# In CONNECT, a number is read as the packet's id, and an empty payload is what python-socketio's client sends for none.
NOT_SENT = ("payload is a number", "empty payload", "null", "empty")


COMBINATIONS = [(engine, kind) for engine in ENGINES for kind in FEWER]
EVERYWHERE = ("nothing", "long", "expired")


def each_payload(first: int) -> pytest.MarkDecorator:
    """Each payload with one engine and kind of client, from the ``first`` on in turn; and these three with each."""
    each = [(*COMBINATIONS[(first + at) % len(COMBINATIONS)], name) for at, name in enumerate(REFUSED)]
    three = [(engine, kind, name) for name in EVERYWHERE for engine, kind in COMBINATIONS]
    return parametrize_engine(("kind", "name"), list(dict.fromkeys([*each, *three])))


@each_payload(0)
async def test_bad_token_is_refused_at_handshake(js: Any, guarded: Any, engine: str, kind: Any, name: str) -> None:
    payload, expected = REFUSED[name][0](), REFUSED["nothing" if name in NOT_SENT else name][1]
    site = guarded(DESK.verifier(), via=Handshake())
    options = {} if payload is NOTHING else {"auth": payload}
    socket = js.open(site, kind, reconnection=False, **options)
    if name == "payload is a number" and engine == "hub":  # a CONNECT packet has no id
        await socket.closed_unanswered()
        await site.emptied()
        return
    report = await socket.expect("connect_error", message=expected["message"], data=expected)
    # Until 4.4.0 the client did not take a refusal for its last word: see the test of the first client below.
    assert report["active"] is (kind[0] == "first")
    await site.emptied()
    assert site.calls == []


@each_payload(len(FEWER))  # so that each payload meets both engines, one in each way
async def test_bad_token_is_refused_after_connecting(js: Any, guarded: Any, kind: Any, name: str) -> None:
    payload, expected = REFUSED[name][0](), REFUSED[name][1]
    site = guarded(DESK.verifier(), via=Authenticate())
    socket = js.open(site, kind)
    await socket.expect("connect")
    socket.emit("authenticate", *(() if payload is NOTHING else (payload,)))
    message = expected["message"]
    await socket.event("unauthorized", {"message": message, "inner": {"message": message}, "data": expected})
    assert site.calls == []
    socket.emit("authenticate", {"token": DESK.issue("ada")})
    await socket.expect("event", name="authenticated")
    assert site.calls == [("connect", "/", "ada")]


@pytest.mark.checklist("A3")
@both_ways
@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_hmac_with_the_public_key_is_refused(js: Any, guarded: Any, later: bool, transport: str) -> None:
    verifier = Verifier.pem(RS.to_pem(), algorithms=["RS256"], audience="chat", issuer="desk")
    header = urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=")
    signing_input = header + b"." + forge(RS).split(".")[1].encode()
    signature = urlsafe_b64encode(hmac.digest(RS.to_pem(), signing_input, "sha256")).rstrip(b"=")
    payload = {"token": (signing_input + b"." + signature).decode()}
    site = guarded(verifier, via=way(later))
    socket = js.open(site, ("current", transport), **{} if later else {"auth": payload})
    if later:
        await socket.expect("connect")
        socket.emit("authenticate", payload)
        await socket.event("unauthorized", told("invalid algorithm", reason="bad_signature"))
    else:
        expected = data("invalid algorithm", reason="bad_signature")
        await socket.expect("connect_error", message="invalid algorithm", data=expected, active=False)
    assert site.calls == []


@every_pair
async def test_token_over_the_transport_limit_closes(js: Any, guarded: Any, kind: Any, later: bool) -> None:
    site = guarded(DESK.verifier(), via=way(later))
    payload = {"token": "a" * MEGABYTE}
    socket = js.open(site, kind, reconnection=False, **{} if later else {"auth": payload})
    if later:
        await socket.expect("connect")
        if kind[1] == "upgrade":
            await socket.upgraded.wait()
        socket.emit("authenticate", payload)
    await socket.closed_unanswered()
    await site.emptied()
    assert site.calls == []


# Where a token may come from


async def test_same_token_from_two_sources_connects(js: Any, guarded: Any) -> None:
    token = DESK.issue("ada")
    for transport in ("polling", "websocket"):
        site = guarded(DESK.verifier())
        socket = js.open(
            site,
            ("current", transport),
            auth={"token": token},
            extraHeaders={"Authorization": f"Bearer {token}"},
        )
        await socket.expect("connect")
        assert site.guard.identity(socket.sid).source == "auth"


@pytest.mark.checklist("C36")
@every_kind
async def test_different_tokens_from_two_sources_are_refused(js: Any, guarded: Any, kind: Any) -> None:
    site = guarded(DESK.verifier())
    headers = {"Authorization": f"Bearer {DESK.issue('eve')}"}
    socket = js.open(site, kind, auth={"token": DESK.issue("ada")}, extraHeaders=headers, reconnection=False)
    message = "more than one token provided"
    await socket.expect("connect_error", message=message, data=data(message, "credentials_bad_format"))
    assert site.calls == []


@pytest.mark.parametrize("transport", ["polling", "websocket", "upgrade"])
@pytest.mark.parametrize("source", ["header", "query", "cookie"])
async def test_token_source_must_be_enabled(js: Any, guarded: Any, source: str, transport: str) -> None:
    token = DESK.issue("ada")
    kind = ("current", transport)

    def options(site: Any) -> dict[str, Any]:
        return {
            "header": {"extraHeaders": {"Authorization": f"Bearer {token}"}},
            "query": {"query": {"ticket": token}},
            "cookie": {"extraHeaders": {"Cookie": f"a=b; session={token}", "Origin": site.url}},
        }[source]

    on = guarded(DESK.verifier(), via=Handshake(auth=False, header=True, query="ticket", cookie="session"))
    socket = js.open(on, kind, **options(on))
    await socket.expect("connect")
    assert on.guard.identity(socket.sid).source == source
    assert await socket.call("echo", 1) == [1]

    off = guarded(DESK.verifier(), via=Handshake(header=False))
    expected = data("no token provided", "credentials_required")
    await js.open(off, kind, **options(off)).expect(
        "connect_error", message="no token provided", data=expected, active=False
    )


async def test_missing_required_header_is_refused(js: Any, guarded: Any) -> None:
    site = guarded(DESK.verifier(), via=Handshake(auth=False))
    message = "Server requires Authorization Header"
    expected = data(message, "missing_authorization_header")
    socket = js.open(site, auth={"token": DESK.issue("ada")})
    await socket.expect("connect_error", message=message, data=expected, active=False)


@pytest.mark.checklist("C52")
async def test_cookie_without_origin_is_refused(js: Any, guarded: Any) -> None:
    site = guarded(DESK.verifier(), via=Handshake(cookie="session"))
    socket = js.open(site, extraHeaders={"Cookie": f"session={DESK.issue('ada')}"})
    await socket.expect("connect_error", message="no token provided", active=False)


# Before admission


@pytest.mark.checklist("C39")
@every_kind
async def test_event_before_authenticate_disconnects(js: Any, guarded: Any, kind: Any) -> None:
    site = guarded(DESK.verifier(), via=Authenticate())
    socket = js.open(site, kind)
    await socket.expect("connect")
    socket.emit("echo", "let me in")
    await socket.event("unauthorized", BEFORE)
    await stays_away(socket, site)
    assert site.calls == []


@pytest.mark.checklist("C47")
@every_kind
async def test_three_bad_tokens_close(js: Any, guarded: Any, kind: Any) -> None:
    site = guarded(DESK.verifier(), via=Authenticate())
    socket = js.open(site, kind)
    await socket.expect("connect")
    for _ in range(5):
        socket.emit("authenticate", {"token": "a.b.c"})
    for _ in range(3):
        await socket.event("unauthorized", told("invalid token", reason="malformed"))
    await stays_away(socket, site)
    assert site.calls == []


@pytest.mark.checklist("C38")
@pytest.mark.parametrize("try_once", [False, True])
async def test_silent_client_is_closed_at_the_deadline(js: Any, guarded: Any, try_once: bool) -> None:
    async def be_silent(kind: Any) -> None:
        clock = FakeClock(time.time())
        site = guarded(DESK.verifier(), via=Authenticate(timeout=15.0), clock=clock)
        socket = js.open(site, kind)
        await socket.opened(kind)
        if try_once:  # a bad token does not stop the clock
            socket.emit("authenticate", {})
            await socket.event("unauthorized", told("invalid token datatype", reason="malformed"))
        await site.pass_time(clock, 14.9)
        assert site.guard.index.connections
        await site.pass_time(clock, 0.2)
        await socket.event("unauthorized", TIMEOUT)
        await stays_away(socket, site)
        assert site.calls == []

    await asyncio.gather(*map(be_silent, KINDS))


@pytest.mark.checklist("C40")
@every_kind
async def test_nothing_is_delivered_before_authenticate(js: Any, guarded: Any, kind: Any) -> None:
    site = guarded(DESK.verifier(), via=Authenticate())
    socket = js.open(site, kind)
    await socket.expect("connect")
    await site.sio.emit("news", "too early")
    await site.sio.emit("news", "too early, in person", to=socket.sid)
    socket.emit("authenticate", {"token": DESK.issue("ada")})
    await socket.expect("event", name="authenticated")
    await site.sio.emit("news", "in time")
    await socket.event("news", "in time")


@pytest.mark.checklist("C40")
@every_kind
async def test_nothing_is_delivered_during_verification(js: Any, guarded: Any, kind: Any) -> None:
    class Slow:
        asked, answer = asyncio.Event(), asyncio.Event()

        async def verify(self, token: object, now: float, *, source: str = "") -> Identity:
            self.asked.set()
            await self.answer.wait()
            return DESK.verifier().verify(token, now, source=source)

    slow = Slow()
    site = guarded(slow)
    socket = js.open(site, kind, auth={"token": DESK.issue("ada")})
    await slow.asked.wait()
    await site.sio.emit("news", "too early")
    slow.answer.set()
    await socket.expect("connect")
    await site.sio.emit("news", "in time")
    await socket.event("news", "in time")


# Rooms, events and namespaces


@every_pair
async def test_token_decides_which_rooms_can_be_joined(js: Any, guarded: Any, kind: Any, later: bool) -> None:
    site = guarded(DESK.verifier(), via=way(later))
    socket = await admitted(js, site, kind)
    assert await socket.call("join-room", "blue") == [{"ok": False, "error": DENIED}]
    socket.emit("join-room", "blue")
    await socket.event("error", DENIED)
    await site.sio.emit("news", "for blue", room="blue")
    await site.sio.emit("news", "for red, too early", room="red")
    assert await socket.call("join-room", "red") == [{"ok": True}]
    await site.sio.emit("news", "for red", room="red")
    await socket.event("news", "for red")
    assert await socket.call("leave-room", "red") == [{"ok": True}]
    await site.sio.emit("news", "for red, too late", room="red")
    socket.emit("join-room", "red")
    assert await socket.call("echo", "joined") == ["joined"]
    await site.sio.emit("news", "for red again", room="red")
    await socket.event("news", "for red again")
    for room in (None, 7, "", ["red"], {"room": "red"}, "Red", "red ", socket.sid):
        assert await socket.call("join-room", room) == [{"ok": False, "error": DENIED}]
    assert site.calls == [("connect", "/", "ada"), ("echo", "/", "joined")]


@every_kind
async def test_event_denied_by_a_rule_is_refused(js: Any, guarded: Any, kind: Any) -> None:
    policy = Policy()
    policy.event("delete")(lambda who: who.has_role("moderator"))
    site = guarded(DESK.verifier(), policy=policy)
    socket = await admitted(js, site, kind)
    assert await socket.call("delete", 1) == [{"ok": False, "error": DENIED}]
    socket.emit("delete", 1)
    await socket.event("error", DENIED)
    moderator = await admitted(js, site, kind, DESK.issue("mod", roles=["moderator"]))
    assert await moderator.call("delete", 1) == [1]
    assert site.calls == [("connect", "/", "ada"), ("connect", "/", "mod"), ("delete", "/", 1)]


def staff_only() -> Policy:
    policy = Policy()
    policy.room("*")(rooms_claim)
    policy.namespace("/admin")(lambda who: who.has_role("admin"))
    return policy


@every_pair
async def test_namespace_rule_refuses_a_valid_token(js: Any, guarded: Any, kind: Any, later: bool) -> None:
    site = guarded(DESK.verifier(), via=way(later), policy=staff_only())
    if later:
        socket = js.open(site, kind, namespace="/admin")
        await socket.expect("connect")
        socket.emit("authenticate", {"token": DESK.issue("ada")})
        await socket.event(
            "unauthorized", told("Insufficient permissions", "permission_denied", reason="permission_denied")
        )
    else:
        socket = js.open(site, kind, namespace="/admin", auth={"token": DESK.issue("ada")}, reconnection=False)
        await socket.expect("connect_error", message="Insufficient permissions", data=DENIED)
    assert site.calls == []
    await admitted(js, site, kind, DESK.issue("eve", roles=["admin"]), namespace="/admin")
    assert site.calls == [("connect", "/admin", "eve")]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind[0] == "current"], ids="-".join)
@both_ways
async def test_one_of_several_namespaces_is_refused(js: Any, guarded: Any, kind: Any, later: bool) -> None:
    site = guarded(DESK.verifier(), via=way(later), policy=staff_only())
    root = await admitted(js, site, kind)
    payload = {"token": DESK.issue("ada", rooms=["red"])}
    admin, chat, nobody = (root.join(name, auth) for name, auth in
                           (("/admin", payload), ("/chat", payload), ("/nobody", {"token": "a.b.c"})))  # fmt: skip
    if later:
        for socket in (admin, chat, nobody):
            await socket.expect("connect")
        admin.emit("authenticate", payload)
        await admin.event("unauthorized", told(DENIED["message"], DENIED["code"], reason="permission_denied"))
        chat.emit("authenticate", payload)
        await chat.expect("event", name="authenticated")
        for _ in range(3):
            nobody.emit("authenticate", {"token": "a.b.c"})
            await nobody.event("unauthorized", told("invalid token", reason="malformed"))
        await nobody.expect("disconnect", reason="io server disconnect", active=False)
        # The whole connection is closed, and who was admitted comes back.
        await root.closed_unanswered()
        await root.expect("connect")
        return
    await admin.expect("connect_error", message="Insufficient permissions", data=DENIED, active=False)
    await nobody.expect("connect_error", message="invalid token", active=False)
    await chat.expect("connect")
    assert await chat.call("echo", "chat") == ["chat"]
    assert await chat.call("join-room", "red") == [{"ok": True}]
    await site.sio.emit("news", 1, room="red", namespace="/chat")
    await chat.event("news", 1)
    assert await root.call("echo", "root") == ["root"]  # and no news: the room is /chat's


# How a connected socket ends


@pytest.mark.checklist("B32")
async def test_expired_socket_closes_and_reconnects_with_a_new_token(js: Any, guarded: Any) -> None:
    async def live_on(kind: Any) -> None:
        clock = FakeClock(int(time.time()))
        site = guarded(DESK.verifier(), grace=0, clock=clock)
        short, long = DESK.issue("ada", expires_in=60), DESK.issue("ada")
        expires_at = DESK.verifier().verify(short, clock.now()).expires_at
        socket = js.open(site, kind, auths=[{"token": short}, {"token": long}])
        await socket.opened(kind)
        await site.pass_time(clock, 61)
        report = await socket.expect("event", name="unauthorized")
        assert report["args"] == [
            told("jwt expired", reason="token_expired", retry=True, claim="exp", expired_at=expires_at)
        ]
        report = await socket.expect("disconnect", active=True)
        # A poll may come a moment too late to fetch the last packet.
        assert report["reason"] in ("transport close", "transport error")[: 2 if kind[1] == "polling" else 1]
        await socket.expect("connect")
        assert await socket.call("echo", "again") == ["again"]
        assert [call[0] for call in site.calls] == ["connect", "disconnect", "connect", "echo"]

    await asyncio.gather(*map(live_on, KINDS))


@every_pair
async def test_revoked_client_does_not_reconnect(js: Any, guarded: Any, kind: Any, later: bool) -> None:
    site = guarded(DESK.verifier(), via=way(later))
    token = DESK.issue("ada", session_id="login 1")
    socket = await admitted(js, site, kind, token)
    other = await admitted(js, site, kind, DESK.issue("ada", session_id="login 2"))
    assert await site.guard.revoke(session_id="login 1") == 1
    await socket.event("unauthorized", told("jwt revoked", reason="token_revoked"))
    await socket.expect("disconnect", reason="io server disconnect", active=False)
    assert await other.call("echo", "still here") == ["still here"]
    socket.connect()  # a user may try again; the token is invalid
    if later:
        await socket.expect("connect")
        socket.emit("authenticate", {"token": token})
        await socket.event("unauthorized", told("jwt revoked", reason="token_revoked"))
    else:
        expected = data("jwt revoked", reason="token_revoked")
        await socket.expect("connect_error", message="jwt revoked", data=expected)
    assert [call[0] for call in site.calls] == ["connect", "connect", "disconnect", "echo"]


@every_pair
async def test_authenticate_again_renews_the_token(js: Any, guarded: Any, kind: Any, later: bool) -> None:
    site = guarded(DESK.verifier(), via=way(later))
    socket = await admitted(js, site, kind)
    before = site.guard.identity(socket.sid)
    socket.emit("authenticate", {"token": DESK.issue("ada", expires_in=5000, roles=["new"])})
    report = await socket.expect("event", name="authenticated")
    assert 4990 <= report["args"][0]["expires_in"] <= 5000
    after = site.guard.identity(socket.sid)
    assert after.has_role("new")
    assert after.expires_at > before.expires_at
    socket.emit("authenticate", {"token": DESK.issue("eve", expires_in=9000)})
    await socket.event("unauthorized", told("jwt subject invalid", reason="subject_mismatch", claim="sub"))
    await stays_away(socket, site)
    assert [call[0] for call in site.calls] == ["connect", "disconnect"]


# The first 4.x


@pytest.mark.parametrize("transport", ["polling", "websocket", "upgrade"])
async def test_oldest_client_reconnects_after_a_refusal(js: Any, guarded: Any, transport: str) -> None:
    """Before 4.4.0, a refused client reconnects when its transport closes. Its auth function can supply a token."""
    site = guarded(DESK.verifier())
    auths = [{"token": DESK.issue("ada", expires_in=-100)}] * 3 + [{"token": DESK.issue("ada")}]
    socket = js.open(site, ("first", transport), auths=auths)
    for _ in range(3):
        await socket.expect("connect_error", message="jwt expired", active=True)
        await socket.closed_unanswered()
    await socket.expect("connect")
    assert site.calls == [("connect", "/", "ada")]
