"""Who is told of a decision: callbacks and the log."""

from __future__ import annotations

import json
import logging

from support.world import rooms_world

from roomkey.errors import AuthError


async def test_on_refused_is_told_and_cannot_harm(make_world, caplog):
    world = await make_world()
    told = []

    @world.guard.on_refused
    async def later(error, address):
        told.append((error.code, address))

    @world.guard.on_refused
    def broken(error, address):
        raise RuntimeError("in a callback")

    client = await world.client()
    await client.ask({"token": "bad"})
    await client.is_closed()
    assert told == [("invalid_token", "127.0.0.1")]
    assert isinstance(world.refusals[0][0], AuthError)


async def test_the_audit_log_has_a_line_for_each_decision_and_no_token(make_world, caplog):
    caplog.set_level(logging.INFO, logger="roomkey.audit")
    world = await rooms_world(make_world)
    good, bad = world.token(token_id="t-1"), world.token()[:-4] + "AAAA"
    client, other = await world.client(), await world.client()
    await client.ask({"token": good})
    await client.event("join-room", "blue", ack=1)
    await client.expect_ack(1)
    await other.ask({"token": bad})
    await world.guard.revoke(token_id="t-1")
    lines = [json.loads(entry.getMessage()) for entry in caplog.records if entry.name == "roomkey.audit"]
    assert [line["event"] for line in lines] == ["admitted", "denied", "refused", "ended"]
    assert [line["token"] for line in lines if line["event"] != "refused"] == ["t-1"] * 3
    assert lines[0] | {"sub": "ada", "source": "auth", "address": "127.0.0.1"} == lines[0]
    assert (lines[1]["kind"], lines[1]["name"]) == ("room", "blue")
    assert lines[2]["reason"] == "bad_signature"
    assert len(lines[2]["token"]) == 8
    assert good not in caplog.text
    assert bad not in caplog.text


async def test_h113_no_secret_and_no_broken_line_in_any_log(make_world, engine, caplog):
    for name in (None, "socketio.server", "engineio.server"):
        caplog.set_level(logging.DEBUG, logger=name)

    def prepare(world):
        world.guard.serve_rooms()

    world = await make_world(prepare=prepare)
    nasty = "eve\u001b[31m\u2028"
    client = await world.client(headers={"User-Agent": "x [31m", "Authorization": f"Bearer {world.token()}"})
    token = world.token(claims={"role": "a\r\nb"}, rooms=["red\u001b[0m"])
    await client.ask({"token": token})
    member = await world.member(rooms=["ok"])
    await member.event("join-room", nasty, ack=1)
    await member.expect_ack(1)
    await member.event("password", {"password": "hunter2hunter2", "token": token})
    await member.sync()
    sids = [admission.sid for admission in world.guard.registry] + list(world.guard.registry.connections)
    await member.event("a\r\nb")
    await member.is_closed()
    ours = [e for e in caplog.records if e.name.split(".")[0] in ("roomkey", "socketio", "engineio")]
    text = "\n".join(entry.getMessage() for entry in ours)
    assert "admitted" in text
    assert engine == "hub" or "Received packet" in text  # the hub writes no packet to any log
    for secret in (token, "eyJ", "hunter2", *sids):
        assert secret not in text
    for entry in ours:
        if entry.name.startswith("roomkey"):
            assert entry.getMessage().isascii()
            assert not any(ord(character) < 32 for character in entry.getMessage())
