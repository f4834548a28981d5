"""How an admitted socket ends: expiry, refresh, revocation, and a disconnect by either side."""

from __future__ import annotations

import asyncio
import json

import pytest
from hosts.clients import is_gone, replies, rest, told
from hosts.host import needs
from support.live import Poll, until
from support.tokens import EXPIRED


async def test_expiry_sends_the_reason_and_closes_without_disconnect(start, transport):
    bench = await start(grace=25, warn_before=0)
    client = await bench.member(transport=transport, expires_in=100)
    await bench.pass_time(124.9)
    assert client.inbox.empty()
    await bench.pass_time(0.2)
    [packet] = await rest(client)  # without DISCONNECT, so that the client reconnects with a new token
    assert told(packet)["data"] == EXPIRED | {"expired_at": 1_800_000_100}


async def test_expiry_is_announced(start):
    bench = await start(warn_before=60)
    client = await bench.member(expires_in=900)
    await bench.pass_time(870)
    assert await client.expect_event("token_expiring") == [{"expires_in": 30}]


async def test_refresh_moves_the_expiry(start, transport):
    bench = await start(grace=0, warn_before=0)
    client = await bench.member(transport=transport, expires_in=100)
    await bench.pass_time(50)
    await client.event("authenticate", {"token": bench.token(expires_in=900)})
    assert await client.expect_event("authenticated") == [{"expires_in": 900}]
    await bench.pass_time(500)
    assert await replies(client)
    assert [call[0] for call in bench.server.calls] == ["connect", "echo"]


async def test_refresh_applies_the_rooms_of_the_new_token(start):
    bench = await start()
    client = await bench.member(rooms=["red"], expires_in=100)
    await client.event("join-room", "red", ack=1)
    assert (await client.expect_ack(1))[0]["ok"] is True
    await bench.pass_time(10)
    await client.event("authenticate", {"token": bench.token(rooms=["blue"])})
    await client.expect_event("authenticated")
    await bench.server.emit("news", "red", room="red")
    await bench.server.emit("news", "all")
    assert await client.expect_event("news") == ["all"]


async def test_refresh_with_another_subject_disconnects(start, transport):
    bench = await start()
    client = await bench.member("ada", transport)
    await client.event("authenticate", {"token": bench.token("eve")})
    unauthorized, disconnect = await rest(client)
    assert told(unauthorized)["data"]["reason"] == "subject_mismatch"
    assert disconnect == "41"


async def test_revocation_sends_the_reason_then_disconnects_then_closes(start, transport):
    bench = await start()
    client, other = await bench.member("ada", transport), await bench.member("eve", transport)
    assert await bench.server.revoke(subject="ada") == 1
    unauthorized, disconnect = await rest(client)
    assert told(unauthorized)["data"]["reason"] == "token_revoked"
    assert "retry" not in told(unauthorized)["data"]
    assert disconnect == "41"
    assert await is_gone(client)
    assert await replies(other)
    again = await bench.client(transport)
    assert (await again.ask_data({"token": bench.token("ada")}))["message"] == "jwt revoked"


async def test_revocation_during_the_connect_handler_refuses(start):
    bench = await start(connect="wait")
    client = await bench.client()
    await client.send("40" + json.dumps({"token": bench.token()}))
    await bench.server.connect_waits()
    await bench.server.revoke(subject="ada")
    await bench.server.continue_connect()
    await rest(client)
    await bench.server.settle()
    assert not any(str(packet).startswith("40") for packet in client.seen)
    assert [call[:3] for call in bench.server.calls] == [("connect", "/", "ada"), ("disconnect", "/", "ada")]
    await until(lambda: bench.server.remains() == {"connections": 0, "sockets": 0})


@pytest.mark.parametrize("via", ["handshake", "authenticate"])
@pytest.mark.parametrize("how", ["client leaves", "connection lost"])
async def test_socket_that_ends_during_its_connect_handler_is_known_to_its_disconnect_handler(start, how, via):
    bench = await start(via=via, connect="wait")
    client = await bench.client()
    token = {"token": bench.token()}
    if via == "handshake":
        await client.send("40" + json.dumps(token))
    else:
        await client.ask({})
        await client.send("42" + json.dumps(["authenticate", token]))
    await bench.server.connect_waits()
    if how == "client leaves":
        await client.send("41")
    else:
        await client.close()
    await asyncio.sleep(0.05)  # a server that reads while a connect handler runs has handled it then
    await bench.server.continue_connect()
    await until(lambda: len(bench.server.calls) > 1)
    await client.close()
    assert [call[:3] for call in bench.server.calls] == [("connect", "/", "ada"), ("disconnect", "/", "ada")]
    await until(lambda: bench.server.remains() == {"connections": 0, "sockets": 0})


async def test_revocation_ends_every_namespace_of_its_subject(start):
    bench = await start()
    client = await bench.member("ada")
    await client.ask({"token": bench.token("ada")}, "/chat")
    await bench.server.revoke(subject="ada")
    packets = [str(packet) for packet in await rest(client)]
    assert "41" in packets
    await bench.server.settle()
    ended = [call for call in bench.server.calls if call[0] == "disconnect"]
    assert sorted(ended) == [("disconnect", "/", "ada"), ("disconnect", "/chat", "ada")]


@pytest.mark.parametrize("how", ["client leaves", "connection lost", "revoked", "expired", "server disconnects"])
async def test_disconnect_handler_is_called_once(start, transport, how):
    bench = await start(grace=0)
    client = await bench.client(transport)
    sid = json.loads((await client.ask({"token": bench.token(expires_in=100)}))[2:])["sid"]
    if how == "client leaves":
        await client.send("41")
    elif how == "connection lost":
        await client.close()
    elif how == "revoked":
        await bench.server.revoke(subject="ada")
    elif how == "expired":
        await bench.pass_time(100)
    else:
        await bench.server.disconnect(sid)
    await until(lambda: len(bench.server.calls) > 1)
    if how not in ("client leaves", "connection lost"):
        assert await client.is_closed()
    await client.close()
    await bench.server.settle()
    assert bench.server.calls[1:] == [("disconnect", "/", "ada")]


@pytest.mark.checklist("K8")
async def test_server_disconnect_sends_disconnect_then_closes(start, transport):
    bench = await start()
    client = await bench.client(transport)
    reply = await client.ask({"token": bench.token()})
    await bench.server.disconnect(json.loads(reply[2:])["sid"])
    assert await rest(client) == ["41"]


@pytest.mark.checklist("J7")
@pytest.mark.parametrize("reply", ["40", "44", None])
async def test_closed_connections_leave_nothing(start, transport, reply):
    bench = await start()
    client = await bench.client(transport)
    if reply is not None:
        assert (await client.ask({"token": bench.token() if reply == "40" else "bad"})).startswith(reply)
    await client.close()
    await until(lambda: not any(bench.server.remains().values()))
    await bench.server.settle()
    assert bench.server.remains() == {"connections": 0, "sockets": 0}


@pytest.mark.checklist("D61")
@needs("polling")
async def test_second_poll_closes_the_session(start):
    """Each poll can occupy a thread of the server, and takes packets of the other."""
    bench = await start()
    client = await bench.member(transport="polling")
    polls = [Poll(bench.server.address) for _ in range(5)]
    for poll in polls:
        poll.sid = client.poll.sid
    answers = await asyncio.gather(*(poll.answer() for poll in polls))
    assert {status for status, _ in answers} <= {200, 400}  # 200 tells those that come later that it is closed
    assert await is_gone(client)
    for poll in polls:
        await poll.close()
