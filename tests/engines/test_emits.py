"""Emits of clients to rooms, which the server relays as far as the policy allows."""

from __future__ import annotations

import asyncio

import pytest
from support.world import Gate

from roomkey import ConfigError, PermissionDenied, Policy
from roomkey.guard import contract
from roomkey.policies import emit_claim, rooms_claim

DENIED = "permission_denied"


def policy_of(*emits, **settings) -> Policy:
    """Return a policy with the rooms of the token, and with emit rules given as ``(pattern, rule)``."""
    policy = Policy(**settings)
    policy.room("*")(rooms_claim)
    for pattern, rule in emits:
        policy.emit(pattern)(rule)
    return policy


async def join(server, client, *rooms):
    for room in rooms:
        client.begin_event("join-room", room, ack=99)
        await server.settle()
        assert client.answered(99)[-1] == {"ok": True}, room


async def say(server, client, *arguments) -> str:
    """Return ``ok``, or the code of the refusal."""
    client.begin_event("say", *arguments, ack=1)
    await server.settle()
    answer = client.answered(1)[-1]
    return "ok" if answer["ok"] else answer["error"]["code"]


@pytest.fixture
def chat(offline):
    def make(policy=None, **settings):
        server = offline(policy=policy or policy_of(), **settings)
        server.guard.relay("say")
        return server

    return make


async def test_relayed_emit_reaches_the_other_members_with_its_sender(chat):
    server = chat()
    ada, eve, out = [await server.member(name, rooms=["red"]) for name in ("ada", "eve", "out")]
    for client in (ada, eve):
        await join(server, client, "red")
    assert await say(server, ada, "red", {"text": "hello"}) == "ok"
    assert await say(server, ada, "red") == "ok"
    assert eve.heard("say") == [
        {"room": "red", "from": "ada", "data": {"text": "hello"}},
        {"room": "red", "from": "ada", "data": None},
    ]
    assert ada.heard("say") == out.heard("say") == []


@pytest.mark.checklist("F89")
async def test_client_cannot_forge_sender_and_room(chat):
    """A client cannot impersonate another one by sending the arguments that the server adds."""
    server = chat()
    ada, eve = [await server.member(name, rooms=["red"]) for name in ("ada", "eve")]
    for client in (ada, eve):
        await join(server, client, "red")
    forged = {"room": "blue", "from": "admin", "data": "x"}
    await say(server, ada, "red", forged)
    assert eve.heard("say") == [{"room": "red", "from": "ada", "data": forged}]


@pytest.mark.checklist("F91")
@pytest.mark.parametrize(
    ("open_emits", "inside", "answer"), [(True, True, "ok"), (True, False, DENIED), (False, True, DENIED)]
)
async def test_emit_without_a_rule_requires_membership(chat, open_emits, inside, answer):
    server = chat(policy_of(open_emits=open_emits))
    ada, eve = [await server.member(name, rooms=["red"]) for name in ("ada", "eve")]
    await join(server, eve, "red")
    if inside:
        await join(server, ada, "red")
    assert await say(server, ada, "red", "x") == answer
    assert len(eve.heard("say")) == (answer == "ok")


@pytest.mark.checklist("F91")
@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("allowed", [True, False])
async def test_emit_rule_decides_instead_of_membership(chat, inside, allowed):
    """A client may read and not write, or write and not read."""
    server = chat(policy_of(("red", lambda who: who.has_role("speaker"))))
    ada = await server.member("ada", rooms=["red"], roles=["speaker"] if allowed else ["reader"])
    eve = await server.member("eve", rooms=["red"])
    await join(server, eve, "red")
    if inside:
        await join(server, ada, "red")
    assert await say(server, ada, "red", "x") == ("ok" if allowed else DENIED)
    assert len(eve.heard("say")) == allowed


async def test_token_grants_match_rooms_by_pattern_and_event(chat):
    server = chat(policy_of(("*", emit_claim)))
    server.guard.relay("message")
    ada = await server.member("ada", rooms={"team-*": ["join", "emit:message"], "hall": ["emit"], "lobby": ["join"]})
    eve = await server.member("eve", roles=["admin"])
    await join(server, eve, "team-red", "hall", "lobby")
    await join(server, ada, "team-red", "lobby")
    ada.begin_event("join-room", "hall", ack=5)
    ada.begin_event("message", "team-red", 1, ack=6)
    ada.begin_event("message", "team-red:x", 1, ack=7)
    await server.settle()
    assert [ada.answered(ack)[0]["ok"] for ack in (5, 6, 7)] == [False, True, False]
    assert [await say(server, ada, room, 1) for room in ("team-red", "hall", "lobby")] == [DENIED, "ok", DENIED]
    assert (len(eve.heard("message")), len(eve.heard("say"))) == (1, 1)


@pytest.mark.checklist("F86")
@pytest.mark.parametrize(
    "room", [None, 5, "", "*", ["red"], {"room": "red"}, "red ", "RED", "r" * 300, "\x00"], ids=repr
)
async def test_emit_to_an_invalid_room_is_denied(chat, room):
    server = chat()
    ada, eve = [await server.member(name, rooms=["red"]) for name in ("ada", "eve")]
    for client in (ada, eve):
        await join(server, client, "red")
    assert await say(server, ada, room, "x") == DENIED
    assert eve.heard("say") == []
    ada.begin_event("say", ack=3)
    await server.settle()
    assert ada.answered(3)[0]["ok"] is False


async def test_relayed_emit_stays_in_its_namespace(chat):
    server = chat(namespaces=("/", "/other"))
    ada = await server.member("ada", rooms=["red"])
    eve = await server.member("eve", "/other", rooms=["red"])
    await join(server, ada, "red")
    eve.begin_event("join-room", "red", namespace="/other")
    await server.settle()
    assert await say(server, ada, "red", "x") == "ok"
    assert eve.heard("say") == []


@pytest.mark.checklist("F88")
async def test_emit_is_denied_after_leaving_while_a_rule_runs(chat):
    """Without an emit rule, membership decides. It is checked when the decision is made."""
    server = chat()
    ada = await server.member("ada", rooms=["red"])
    await join(server, ada, "red")
    ada.begin_event("leave-room", "red")
    await server.settle()
    assert await say(server, ada, "red", "x") == DENIED


@pytest.mark.checklist("F88")
async def test_emit_waiting_for_its_rule_is_denied_by_a_change(chat):
    gate, policy = Gate(), Policy()

    @policy.emit("red")
    async def speaker(who):
        before = who.has_role("speaker")
        await gate(who)
        return before

    policy.room("*")(rooms_claim)
    server = chat(policy)
    ada = await server.member("ada", roles=["speaker"])
    eve = await server.member("eve", rooms=["red"])
    await join(server, eve, "red")
    ada.begin_event("say", "red", "x", ack=1)
    await asyncio.wait_for(gate.reached.wait(), 20)
    await server.guard.update("ada", roles=[])
    gate.open.set()
    await server.settle()
    assert ada.answered(1)[0]["error"]["code"] == DENIED
    assert eve.heard("say") == []


async def test_handler_can_check_an_emit(chat):
    server = chat(policy_of(("red", lambda who: who.has_role("speaker"))))

    @server.sio.on("shout")
    async def shout(sid, room):
        await server.guard.check_emit(sid, room, "shout")
        return "shouted"

    ada, eve = await server.member("ada", roles=["speaker"]), await server.member("eve", rooms=["red"])
    for client in (ada, eve):
        client.begin_event("shout", "red", ack=1)
        await server.settle()
    assert ada.answered(1) == ["shouted"]
    assert eve.answered(1)[0]["error"]["code"] == DENIED
    sid = server.sid(ada)
    await ada.session.lose()
    await server.settle()
    with pytest.raises(PermissionDenied):
        await server.guard.check_emit(sid, "red", "shout")


@pytest.mark.parametrize("name", ["connect", "authenticate", "join-room", "say", "", "*", 5], ids=repr)
async def test_reserved_event_names_cannot_be_relayed(chat, name):
    with pytest.raises(ConfigError):
        chat().guard.relay(name)


@pytest.mark.parametrize("name", sorted(contract.GUARD_EVENTS))
async def test_events_of_the_guard_cannot_be_relayed(chat, name):
    guard = chat().guard
    with pytest.raises(ConfigError, match="only the guard"):
        guard.relay("other", name)
    guard.relay("other", f"{name}2")
