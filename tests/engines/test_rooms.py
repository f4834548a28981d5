"""Rooms and events, as far as the policy allows."""

from __future__ import annotations

import pytest
from support.world import rooms_world

from roomkey import Policy


async def test_rooms_are_joined_and_left_as_the_policy_allows(make_world):
    world = await rooms_world(make_world)
    ada, eve = await world.member("ada", rooms=["red"]), await world.member("eve")
    await ada.event("join-room", "red", ack=1)
    assert await ada.expect_ack(1) == [{"ok": True}]
    await eve.event("join-room", "red", ack=1)
    [refusal] = await eve.expect_ack(1)
    assert refusal == {
        "ok": False,
        "error": {
            "message": "Insufficient permissions",
            "code": "permission_denied",
            "type": "UnauthorizedError",
            "reason": "permission_denied",
        },
    }
    await eve.event("join-room", "red")
    assert (await eve.expect_event("error"))[0]["message"] == "Insufficient permissions"
    await world.sio.emit("said", "hello", room="red")
    assert await ada.expect_event("said") == ["hello"]
    await ada.event("leave-room", "red", ack=2)
    await ada.expect_ack(2)
    await world.sio.emit("said", "gone", room="red")
    assert await ada.quiet() == []
    assert await eve.quiet() == []


async def test_denial_raised_by_a_handler_is_acknowledged(make_world):
    world = await rooms_world(make_world)
    client = await world.member(rooms=["red"])
    await client.event("enter", "red", ack=1)
    assert await client.expect_ack(1) == ["entered"]
    await client.event("enter", "blue", ack=2)
    assert (await client.expect_ack(2))[0]["error"]["code"] == "permission_denied"
    await client.event("enter", "blue")
    assert (await client.expect_event("error"))[0]["code"] == "permission_denied"


@pytest.mark.parametrize("room", [None, 5, True, ["red"], {"red": 1}], ids=repr)
async def test_handler_that_passes_on_an_invalid_room_name_denies(make_world, room):
    world = await rooms_world(make_world)
    client = await world.member(rooms=["red"])
    await client.event("enter", room, ack=1)
    assert (await client.expect_ack(1))[0]["error"]["code"] == "permission_denied"
    await world.guard.leave_room(world.sid(), room)  # there is nothing to leave


@pytest.mark.parametrize("answer", [1, "yes", None, ["x"], "raise"])
async def test_rule_allows_only_with_true(make_world, answer):
    policy = Policy()

    @policy.room("*")
    async def odd(who, room):
        if answer == "raise":
            raise RuntimeError("in a rule")
        return answer

    world = await rooms_world(make_world, policy=policy)
    client = await world.member()
    await client.event("join-room", "red", ack=1)
    assert (await client.expect_ack(1))[0]["ok"] is False


async def test_event_rules_allow_and_deny_events(make_world):
    policy = Policy()
    policy.event("enter")(lambda who: who.has_role("moderator"))
    policy.room("*")(lambda who, room: True)
    world = await rooms_world(make_world, policy=policy)
    grace, linus = await world.member("grace", roles=["moderator"]), await world.member("linus")
    await grace.event("enter", "red", ack=1)
    assert await grace.expect_ack(1) == ["entered"]
    await linus.event("enter", "red", ack=1)
    assert (await linus.expect_ack(1))[0]["ok"] is False
    await linus.event("enter", "red")
    await linus.expect_event("error")


@pytest.mark.checklist("F86")
async def test_other_spellings_of_a_room_are_denied(make_world):
    policy = Policy()
    policy.room("team:{team}")(lambda who, team: team in who.rooms)
    world = await rooms_world(make_world, policy=policy)
    client = await world.member(rooms=["red", "a:b"])
    spellings = [
        *(
            "team:RED",
            "Team:red",
            "team:red ",
            " team:red",
            "team:re\u0301d",
            "*",
            "team:*",
            "team:a:b",
            "team:",
            "red",
        ),
        *("team:red\u0000", "team:" + "r" * 10_000, "", 5, None, ["team:red"], {"a": 1}, True),
    ]
    for number, room in enumerate(spellings):
        await client.event("join-room", room, ack=number)
        assert (await client.expect_ack(number))[0]["ok"] is False, room
    assert world.rooms() == {}
    await client.event("join-room", "team:red", ack=99)
    assert (await client.expect_ack(99))[0]["ok"] is True


@pytest.mark.checklist("F89")
@pytest.mark.parametrize(
    "packet",
    ['42["leave-room","red","{sid}"]', '42["close-room","red"]', '42["disconnect","{sid}"]', '42["leave_room","red"]'],
)
async def test_client_cannot_remove_others(make_world, packet):
    world = await rooms_world(make_world)
    victim = await world.member("victim", rooms=["red"])
    await victim.event("join-room", "red", ack=1)
    await victim.expect_ack(1)
    sid = world.sid()
    eve = await world.member("eve", rooms=["red"])
    await eve.send(packet.replace("{sid}", sid))
    await eve.sync()
    await world.sio.emit("said", "still here", room="red")
    assert await victim.expect_event("said") == ["still here"]


@pytest.mark.checklist("F92")
async def test_without_a_policy_events_are_open_and_rooms_closed(make_world):
    world = await rooms_world(make_world, policy=None)
    client = await world.member(roles=["admin"], rooms=["red"])
    await client.event("join-room", "red", ack=1)
    assert (await client.expect_ack(1))[0]["ok"] is False
    await client.event("say", "red", "x", ack=2)
    assert await client.expect_ack(2) == []


async def test_closed_room_is_emptied(make_world):
    world = await rooms_world(make_world)
    client = await world.member(rooms=["red"])
    await client.event("join-room", "red", ack=1)
    await client.expect_ack(1)
    await world.sio.close_room("red")
    await world.sio.emit("said", "x", room="red")
    assert await client.quiet() == []
