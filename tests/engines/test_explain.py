"""Explanations of decisions, which always match the real decision."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.examples import examples

from roomkey import ConfigError, PermissionDenied, Policy


def full_policy() -> Policy:
    policy = Policy(roles="admin > member")
    policy.namespace("/")(lambda who: True)
    policy.namespace("/admin")(lambda who: who.has_role("admin"))
    policy.room("team:{team}")(lambda who, team: team in who.rooms)
    policy.room("user:{sub}")(lambda who, sub: who.subject == sub)
    policy.room("*")(lambda who, room: who.has_role("member"))
    policy.emit("news", event="say")(lambda who: who.has_role("admin"))
    policy.emit("team:{team}")(lambda who, team, event: event == "shout")
    policy.event("transfer", max_auth_age=50)(lambda who: who.has_role("member"))
    policy.event("secret")(lambda who: False)
    return policy


ROOMS = ["red", "team:red", "team:blue", "team:", "news", "user:ada", "user:eve", "*", "", "red ", "SID", "EVE'S SID"]
EVENTS = ["say", "shout"]
WISHES = st.one_of(
    st.tuples(st.just("room"), st.sampled_from(ROOMS), st.just("")),
    st.tuples(st.just("emit"), st.sampled_from(ROOMS), st.sampled_from(EVENTS)),
    st.tuples(st.just("event"), st.sampled_from(["transfer", "secret", "open"]), st.just("")),
    st.tuples(st.just("namespace"), st.sampled_from(["/", "/admin", "/unknown"]), st.just("")),
)


async def really(server, client, kind: str, name: str, event: str) -> bool:
    """Return the reply to a client that tries it."""
    if kind == "namespace":
        if server.admission(client, name) is not None:
            client.begin(f"1{name},")
            await server.settle()
        client.begin_connect(client.token, name)
        await server.settle()
        return client.got[-1].startswith(f"0{name},")
    client.ack = getattr(client, "ack", 0) + 1
    arguments = {"room": ("join-room", name), "emit": (event, name, "x"), "event": (name,)}[kind]
    client.begin_event(*arguments, ack=client.ack)
    await server.settle()
    [answer] = client.answered(client.ack)
    if kind == "room" and answer == {"ok": True}:
        client.begin_event("leave-room", name)
        await server.settle()
    return answer in ({"ok": True}, "done")


@settings(max_examples=examples(60), suppress_health_check=list(HealthCheck))
@given(
    st.lists(WISHES, min_size=1, max_size=12),
    st.sampled_from([[], ["member"], ["admin"]]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([0, 60, 105]),
)
async def test_explain_returns_the_real_decision(offline, wishes, roles, inside, open_emits, seconds):
    policy = full_policy()
    policy.open_emits = open_emits
    server = offline(policy=policy, namespaces=("/", "/admin"), warn_before=0, max_refusals=100, own_joins="allow")
    server.guard.relay(*EVENTS)
    for name in ("transfer", "secret", "open"):
        server.sio.on(name, lambda sid: "done")
    client = await server.member(roles=roles, rooms=["red"], expires_in=100)
    client.token = server.token(roles=roles, rooms=["red"], expires_in=10**6)
    eve = await server.member("eve", expires_in=1000)
    sid = server.sid(client)
    if inside:
        await server.sio.enter_room(sid, "red")
        await server.sio.enter_room(sid, "team:red")
    await server.tick(seconds)
    for kind, name, event in wishes:
        name = {"SID": sid, "EVE'S SID": server.sid(eve)}.get(name, name)
        if kind == "namespace" and name == "/":
            continue  # it is there
        decision = await server.guard.explain(sid, kind, name, event=event)
        if kind == "namespace" and name == "/unknown":
            assert decision  # no rule matches it; the policy does not decide whether it is served
            continue
        was_in = inside and name in ("red", "team:red")
        assert await really(server, client, kind, name, event) == bool(decision), (kind, name, event, str(decision))
        if was_in and kind == "room":
            await server.sio.enter_room(sid, name)
        assert kind in str(decision)
        assert (": allowed by" in str(decision)) == bool(decision)


@pytest.mark.parametrize(
    ("kind", "name", "event", "verdict", "rule"),
    [
        ("namespace", "/", "", True, "namespace /"),
        ("namespace", "/admin", "", False, "namespace /admin"),
        ("room", "team:red", "", True, "room team:{team}"),
        ("room", "team:blue", "", True, "room *"),
        ("room", "user:eve", "", False, "room user:{sub}"),
        ("room", "red ", "", False, None),
        ("emit", "news", "say", False, "emit news"),
        ("emit", "news", "shout", False, None),
        ("emit", "user:ada", "say", True, None),
        ("event", "open", "", True, None),
        ("event", "secret", "", False, "event secret"),
    ],
)
async def test_explain_names_the_rule(offline, kind, name, event, verdict, rule):
    server = offline(policy=full_policy(), namespaces=("/", "/admin"))
    client = await server.member(roles=["member"], rooms=["red"])
    decision = await server.guard.explain(server.sid(client), kind, name, event=event)
    assert (bool(decision), decision.rule, decision.who.subject) == (verdict, rule, "ada")
    assert (f"the rule for {rule}" if rule else "the default") in str(decision)
    assert "subject 'ada', roles: member, rooms: red" in str(decision)


async def test_explain_rejects_missing_identities_and_unknown_kinds(offline):
    server = offline()
    with pytest.raises(PermissionDenied):
        await server.guard.explain("nobody", "room", "red")
    client = await server.member()
    with pytest.raises(ConfigError):
        await server.guard.explain(server.sid(client), "rooms", "red")


async def test_explain_changes_nothing(offline):
    server = offline(policy=full_policy())
    client = await server.member(roles=["member"])
    client.got.clear()
    for kind, name in (("room", "red"), ("emit", "news"), ("event", "transfer"), ("namespace", "/admin")):
        await server.guard.explain(server.sid(client), kind, name, event="say")
    await server.settle()
    assert client.got == []
    assert server.members("red") == set()
