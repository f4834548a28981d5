"""Subjects of sockets whose tokens name the user in another claim than ``sub``."""

from __future__ import annotations

import jwt
import pytest
from support.offline import Offline

from roomkey import ConfigError, Identity, Policy, Verifier
from roomkey.policies import rooms_claim
from roomkey.socketio import SubjectLimits

SECRET = "kT9vX2mQ8rL4wZ7yB1nC6dF3gH5jP0sA"


def token(server, user, lifetime=60):
    """Return a token as djangorestframework-simplejwt issues it: without ``sub``, and with a number."""
    now = int(server.clock.now())
    claims = {"user_id": user, "iat": now, "exp": now + lifetime, "jti": f"{user}-{lifetime}", "token_type": "access"}
    return jwt.encode(claims, SECRET, algorithm="HS256")


async def member(server, user):
    client = await server.client()
    client.begin_connect(token(server, user))
    return client, (await client.settle())[0]


@pytest.mark.checklist("I119")
async def test_users_without_sub_are_told_apart(offline):
    """Rooms, limits, refreshes and revocations tell them apart."""
    verifier = Verifier.hs256(
        SECRET,
        claims_map={"subject": "user_id"},
        integer_subject=True,
        claims={"token_type": "access"},
        require=["exp", "sub"],
    )
    server = offline(verifier=verifier, subject_limits=SubjectLimits(sockets=1))
    (ada, first), (bob, second) = await member(server, 1), await member(server, 2)
    assert (first[0], second[0]) == ("0", "0")
    assert server.members("user:1") == {server.sid(ada)}
    assert (await member(server, 1))[1].startswith("4")  # one socket each
    bob_sid = server.sid(bob)
    server.clock.advance(1)
    ada.begin_event("authenticate", {"token": token(server, 2, 90)})
    await server.settle()
    assert ada.heard("unauthorized")[0]["data"]["reason"] == "subject_mismatch"
    assert await server.guard.revoke(subject="2") == 1
    assert server.admission(bob) is None or not server.admission(bob).live
    assert server.members("user:2") - {bob_sid} == set()


async def test_rights_and_session_in_other_claims_apply_to_sockets(offline):
    """Rooms, roles, changed rights, renewals and revocations of a token as Keycloak issues it."""
    policy = Policy()
    policy.room("*")(rooms_claim)
    policy.room("staff")(lambda who, room: who.has_role("staff"))
    verifier = Verifier.hs256(SECRET, preset="keycloak", audience="chat", claims_map={"rooms": "chat.rooms"})
    server = offline(verifier=verifier, policy=policy)

    def signed(rooms, lifetime=60, **more):
        now = int(server.clock.now())
        claims = {"sub": "ada", "aud": "chat", "typ": "Bearer", "sid": "s-1", "iat": now, "exp": now + lifetime} | more
        claims |= {
            "chat": {"rooms": rooms},
            "realm_access": {"roles": ["staff"]},
            "rooms": ["root"],
            "roles": ["admin"],
        }
        return jwt.encode(claims, SECRET, algorithm="HS256")

    client = await server.client()
    client.begin_connect(signed(["red", "blue"], typ="ID"))
    assert (await client.settle())[0].startswith("4")
    client = await server.client()
    client.begin_connect(signed(["red", "blue"]))
    await client.settle()
    for ack, (room, allowed) in enumerate({"red": True, "blue": True, "staff": True, "root": False}.items()):
        client.begin_event("join-room", room, ack=ack)
        await client.settle()
        assert client.answered(ack)[0]["ok"] is allowed, room
    sid = server.sid(client)
    await server.guard.update("ada", roles=[])  # the rooms stay those of the token
    await client.settle()
    assert (server.members("staff"), server.members("red"), server.members("blue")) == (set(), {sid}, {sid})
    server.clock.advance(1)
    client.begin_event("authenticate", {"token": signed(["red"], 90)})
    await client.settle()
    assert (server.members("red"), server.members("blue")) == ({sid}, set())
    assert await server.guard.revoke(session_id="s-1") == 1


def test_verifier_without_a_required_subject_is_rejected(engine):
    with pytest.raises(ConfigError, match="claims_map="):
        Offline(engine, verifier=Verifier.hs256(SECRET, require=["exp", "user_id"]))


async def test_identity_without_a_subject_is_refused(offline):
    """A custom verifier, whose settings the guard cannot read."""

    class Own:
        def verify(self, token, now, *, source=""):
            return Identity("", source=source)

    server = offline(verifier=Own())
    client = await server.client()
    client.begin_connect("anything")
    assert (await client.settle())[0].startswith("4")
    assert server.guard.sockets() == []


async def test_number_as_subject_of_a_call_raises_and_changes_nothing(offline):
    """A program that passes ``user.id`` by mistake must not believe that the user lost their rights."""
    server = offline()
    for call in (
        lambda subject: server.guard.update(subject, roles=[]),
        lambda subject: server.guard.revoke(subject=subject),
        lambda subject: server.sio.emit("news", room=server.guard.subject_room(subject)),
    ):
        with pytest.raises(ConfigError, match="invalid subject: it is of type int; use a string, such as '7'"):
            await call(7)
