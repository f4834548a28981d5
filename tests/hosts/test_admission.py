"""How a client is admitted, and what reaches it and its handlers before."""

from __future__ import annotations

import asyncio
import json

import pytest
from hosts.clients import replies, told

PACKETS = {
    "event": '42["echo",1]',
    "event with ack": '421["echo",1]',
    "join": '42["join-room","red"]',
    "ack": '431["x"]',
    "binary": '451-["echo",{"_placeholder":true,"num":0}]',
}


def connect(token: str, namespace: str = "") -> str:
    return f"40{namespace}" + json.dumps({"token": token})


async def test_handshake_token_admits(start, transport):
    bench = await start()
    client = await bench.client(transport)
    auth = {"token": bench.token()}
    reply = await client.ask(auth)
    assert json.loads(reply[2:]).keys() == {"sid"}
    await bench.called(("connect", "/", "ada", auth))
    assert await replies(client)


async def test_header_token_admits(start, transport):
    bench = await start()
    client = await bench.client(transport, headers={"Authorization": f"Bearer {bench.token()}"})
    assert (await client.ask()).startswith("40")
    assert await replies(client)


async def test_authenticate_admits_after_connect(start, transport):
    bench = await start(via="authenticate")
    client = await bench.client(transport)
    assert (await client.ask({"nick": "a"})).startswith("40")
    assert bench.server.calls == []
    await client.event("authenticate", {"token": bench.token(expires_in=900)}, ack=5)
    answers = {str(await client.receive()), str(await client.receive())}
    assert answers == {'42["authenticated",{"expires_in":900}]', '435[{"expires_in":900}]'}
    await bench.called(("connect", "/", "ada", {"nick": "a"}))
    assert await replies(client)


async def test_both_ways_admit_on_one_server(start):
    bench = await start(via="both")
    assert await replies(await bench.member())
    later = await bench.client()
    assert (await later.ask()).startswith("40")
    await later.event("authenticate", {"token": bench.token("eve")})
    await later.expect_event("authenticated")
    assert await replies(later)


async def test_each_namespace_is_admitted_by_itself(start):
    bench = await start()
    client = await bench.member("ada")
    assert (await client.ask({"token": bench.token("eve")}, "/chat")).startswith("40/chat,")
    assert await replies(client, 1)
    assert await replies(client, 2, "/chat")
    assert bench.server.calls[2:] == [("echo", "/", "ada", 1), ("echo", "/chat", "eve", 2)]


@pytest.mark.checklist("I123")
async def test_second_connect_for_a_namespace_is_ignored(start, transport):
    bench = await start(max_refusals=10)
    client = await bench.client(transport)
    for subject in ("ada", "bob", "eve"):
        await client.send(connect(bench.token(subject)))
    assert str(await client.receive()).startswith("40")
    assert await replies(client, "who")
    assert [call[:3] for call in bench.server.calls] == [("connect", "/", "ada"), ("echo", "/", "ada")]


@pytest.mark.checklist("J1")
@pytest.mark.parametrize("name", PACKETS)
async def test_packet_before_admission_closes_and_calls_nothing(start, transport, name):
    # Pairwise: each packet with both transports and both ways to present a token.
    via = ("handshake", "authenticate")[(list(PACKETS).index(name) + (transport == "polling")) % 2]
    packet = PACKETS[name]
    bench = await start(via=via)
    client = await bench.client(transport)
    if via == "authenticate":
        assert (await client.ask()).startswith("40")
    await client.send(packet)
    assert await client.is_closed()
    await bench.server.settle()
    assert bench.server.calls == []


@pytest.mark.checklist("J1")
async def test_broadcast_does_not_reach_a_client_before_authenticate(start, transport):
    bench = await start(via="authenticate")
    client = await bench.client(transport)
    await client.ask()
    await bench.server.emit("news", "before")
    await client.event("authenticate", {"token": bench.token()})
    assert str(await client.receive()).startswith('42["authenticated"')
    await bench.server.emit("news", "after")
    assert await client.receive() == '42["news","after"]'


@pytest.mark.checklist("K1")
async def test_broadcast_does_not_arrive_while_the_connect_handler_runs(start, transport):
    bench = await start(connect="wait")
    client = await bench.client(transport)
    connecting = asyncio.create_task(client.send(connect(bench.token())))  # a post may return after the decision
    await bench.server.connect_waits()
    await bench.server.emit("news", "before")
    await bench.server.emit("news", "before", room="user:ada")
    await bench.server.continue_connect()
    assert str(await client.receive()).startswith("40")
    await bench.server.emit("news", "after")
    assert await client.receive() == '42["news","after"]'
    await connecting


async def test_event_during_the_connect_handler_is_not_handled_before_it_returns(start):
    bench = await start(connect="wait")
    client = await bench.client()
    await client.send(connect(bench.token()))
    await client.send('421["echo",1]')
    await bench.server.connect_waits()
    assert [call[0] for call in bench.server.calls] == ["connect"]
    await bench.server.continue_connect()
    if await client.receive() is not None:  # a host may read the event later, or close
        assert await client.expect_ack(1) == [1]
    else:
        assert "echo" not in [call[0] for call in bench.server.calls]


@pytest.mark.checklist("K6")
async def test_client_that_never_connects_is_closed_at_the_deadline(start, transport):
    bench = await start(connect_timeout=15)
    client = await bench.client(transport)
    await bench.pass_time(14.9)
    assert client.inbox.empty()
    await bench.pass_time(0.2)
    assert await client.is_closed()


async def test_client_that_never_authenticates_is_closed_at_the_deadline(start, transport):
    bench = await start(via="authenticate", authenticate_timeout=15)
    client = await bench.client(transport)
    await client.ask()
    await bench.pass_time(14.9)
    assert client.inbox.empty()
    await bench.pass_time(0.2)
    assert told(await client.receive())["data"]["code"] == "authentication_timeout"
    assert await client.receive() == "41"
    assert await client.is_closed()
    assert bench.server.calls == []
