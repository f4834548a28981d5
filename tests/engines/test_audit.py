"""Decisions are reported to callbacks and to the log."""

from __future__ import annotations

import hashlib
import json
import logging

import jwt
import pytest
from support.sessions import eio_sids
from support.world import rooms_world

from roomkey import Verifier
from roomkey.errors import AuthError


async def test_refusal_callback_is_called_and_cannot_harm(make_world, caplog):
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


@pytest.mark.checklist("H113")
async def test_audit_log_has_a_line_for_each_decision_and_no_token(make_world, caplog):
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


@pytest.mark.checklist("H113")
async def test_logs_contain_no_secret_and_no_broken_line(make_world, engine, caplog):
    for name in (None, "socketio.server", "engineio.server"):
        caplog.set_level(logging.DEBUG, logger=name)

    def prepare(world):
        world.guard.serve_rooms()

    world = await make_world(prepare=prepare)
    nasty = "eve\u001b[31m\u2028"
    client = await world.client(headers={"User-Agent": "x [31m", "Authorization": f"Bearer {world.token()}"})
    token = world.token(claims={"role": "a\r\nb", "color": "red\u001b[0m"})
    await client.ask({"token": token})
    member = await world.member(rooms=["ok"])
    await member.event("join-room", nasty, ack=1)
    await member.expect_ack(1)
    await member.event("password", {"password": "hunter2hunter2", "token": token})
    await member.sync()
    sids = [admission.sid for admission in world.guard.index] + list(eio_sids(world.guard))
    await member.event("a\r\nb")
    await member.is_closed()
    ours = [e for e in caplog.records if e.name.split(".")[0] in ("roomkey", "socketio", "engineio")]
    text = "\n".join(entry.getMessage() for entry in ours)
    assert "admitted" in text
    assert engine == "hub" or "Received packet" in text  # the hub never logs packets
    for secret in (token, "eyJ", "hunter2", *sids):
        assert secret not in text
    for entry in ours:
        if entry.name.startswith("roomkey"):
            assert entry.getMessage().isascii()
            assert not any(ord(character) < 32 for character in entry.getMessage())


SECRET = "kT9vX2mQ8rL4wZ7yB1nC6dF3gH5jP0sA"


async def test_audit_log_names_a_token_without_jti_by_its_hash(offline, caplog):
    caplog.set_level(logging.INFO, logger="roomkey.audit")
    server = offline(verifier=Verifier.hs256(SECRET))
    now = int(server.clock.now())
    first, second = (
        jwt.encode({"sub": "ada", "iat": now, "exp": now + life}, SECRET, algorithm="HS256") for life in (60, 90)
    )
    client = await server.client()
    client.begin_connect(first)
    await client.settle()
    client.begin_event("join-room", "blue", ack=1)
    await server.settle()
    client.begin_event("authenticate", {"token": second})
    await server.settle()
    await server.guard.revoke(subject="ada")
    again = await server.client()
    again.begin_connect(second)
    await server.settle()
    lines = [json.loads(entry.getMessage()) for entry in caplog.records if entry.name == "roomkey.audit"]
    names = [hashlib.sha256(token.encode()).hexdigest()[:8] for token in (first, second)]
    assert [(line["event"], line["token"]) for line in lines] == [
        ("admitted", names[0]),
        ("denied", names[0]),
        ("refreshed", names[1]),
        ("ended", names[1]),
        ("refused", names[1]),
    ]
