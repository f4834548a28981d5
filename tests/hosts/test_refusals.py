"""What a client receives that is not admitted: the shapes that clients of Socket.IO and of socketio-jwt know."""

from __future__ import annotations

import json

import pytest
from hosts.clients import replies, told
from hosts.host import REFUSAL

NO_TOKEN = {"message": "no token provided", "code": "credentials_required", "type": "UnauthorizedError"}
REJECTED = {"message": "Connection rejected by server", "code": "permission_denied", "type": "UnauthorizedError"}


@pytest.mark.checklist("K7")
async def test_missing_token_is_refused_with_message_and_data(start, transport):
    bench = await start()
    client = await bench.client(transport)
    refusal = await client.ask_data()
    assert refusal["message"] == "no token provided"
    assert refusal["data"] == refusal["data"] | NO_TOKEN
    assert await client.is_closed()
    assert bench.server.calls == []


async def test_expired_token_is_refused_with_its_reason(start, transport):
    bench = await start()
    client = await bench.client(transport)
    refusal = await client.ask_data({"token": bench.token(expires_in=-100)})
    assert refusal["message"] == refusal["data"]["message"] == "jwt expired"
    assert refusal["data"]["code"] == "invalid_token"
    assert refusal["data"]["reason"] == "token_expired"
    assert refusal["data"]["retry"] is True
    assert await client.is_closed()


@pytest.mark.checklist("K11")
@pytest.mark.parametrize("auth", ["a string", ["a", "list"], 5, {"token": 42}], ids=str)
async def test_auth_of_a_wrong_type_is_refused(start, auth):
    bench = await start()
    client = await bench.client()
    refusal = await client.ask_data(auth)
    assert (refusal["message"], refusal["data"]["code"]) == ("invalid token datatype", "invalid_token")
    assert await client.is_closed()
    assert bench.server.calls == []


async def test_bad_tokens_after_connect_are_refused_then_disconnected(start, transport):
    bench = await start(via="authenticate", max_attempts=2)
    client = await bench.client(transport)
    await client.ask()
    for _attempt in range(2):
        await client.event("authenticate", {"token": "bad"})
        refusal = told(await client.receive())
        assert refusal["message"] == refusal["inner"]["message"] == refusal["data"]["message"] == "jwt malformed"
        assert refusal["data"]["code"] == "invalid_token"
    assert await client.receive() == "41"
    assert await client.is_closed()
    assert bench.server.calls == []


@pytest.mark.checklist("C47")
@pytest.mark.parametrize("via", ["handshake", "authenticate"])
async def test_bad_tokens_of_one_address_are_limited_and_valid_ones_are_not(start, via):
    bench = await start(via=via, max_bad_tokens=2)

    async def present(token):
        client = await bench.client()
        if via == "handshake":
            return client, await client.ask_data({"token": token})
        await client.ask()
        await client.event("authenticate", {"token": token})
        return client, told(await client.receive())

    for _attempt in range(3):  # these were valid
        _, refusal = await present(bench.token(expires_in=-100))
        assert refusal["data"]["reason"] == "token_expired"
    for code in ["invalid_token"] * 2 + ["too_many_attempts"] * 3:
        client, refusal = await present("bad")
        assert refusal["data"]["code"] == code
    if via == "authenticate":  # no second attempt on the connection
        assert await client.receive() == "41"
    assert await client.is_closed()
    if via == "handshake":
        assert await replies(await bench.member())
    else:
        member = await bench.client()
        await member.ask()
        await member.event("authenticate", {"token": bench.token()})
        assert await replies(member)
    await bench.pass_time(31)
    assert (await present("bad"))[1]["data"]["code"] == "invalid_token"


@pytest.mark.checklist("K10")
async def test_unknown_namespace_is_refused_by_name_only(start):
    bench = await start()
    client = await bench.member()
    assert await client.ask({"token": bench.token()}, "/nowhere") == '44/nowhere,{"message":"Invalid namespace"}'
    assert await replies(client)


async def test_namespace_rule_refuses_that_namespace_only(start):
    bench = await start()
    client = await bench.member()
    refusal = await client.ask_data({"token": bench.token()}, "/admin")
    assert refusal["data"]["code"] == "permission_denied"
    assert await replies(client)
    assert (await client.ask({"token": bench.token("root", roles=["admin"])}, "/admin")).startswith("40/admin,")


@pytest.mark.checklist("K7")
async def test_refusals_next_to_an_admitted_namespace_close_at_the_limit(start):
    bench = await start(max_refusals=2)
    client = await bench.member()
    for _attempt in range(2):
        assert (await client.ask({"token": "bad"}, "/chat")).startswith("44/chat,")
    assert await client.is_closed()


async def test_connect_handler_refusal_sends_its_message_and_data(start, transport):
    bench = await start(connect="refuse")
    client = await bench.client(transport)
    message, data = REFUSAL
    assert await client.ask_data({"token": bench.token()}) == {"message": message, "data": data}
    assert await client.is_closed()
    await bench.server.settle()
    assert [call[0] for call in bench.server.calls] == ["connect"]


async def test_connect_handler_refusal_after_authenticate_sends_its_message_and_data(start, transport):
    bench = await start(connect="refuse", via="authenticate")
    client = await bench.client(transport)
    await client.ask()
    await client.event("authenticate", {"token": bench.token()})
    refusal = told(await client.receive())
    message, data = REFUSAL
    assert (refusal["message"], refusal["inner"]["message"], refusal["data"]) == (message, message, data)
    assert await client.receive() == "41"
    assert await client.is_closed()
    await bench.server.settle()
    assert [call[0] for call in bench.server.calls] == ["connect"]


@pytest.mark.checklist("K3")
@pytest.mark.parametrize("via", ["handshake", "authenticate"])
async def test_connect_handler_that_raises_refuses_temporarily(start, via):
    bench = await start(connect="raise", via=via)
    client = await bench.client()
    if via == "handshake":
        refusal = await client.ask_data({"token": bench.token()})
    else:
        await client.ask()
        await client.event("authenticate", {"token": bench.token()})
        refusal = told(await client.receive())
    assert refusal["data"]["code"] == "temporarily_unavailable"
    assert "claim that is not there" not in json.dumps(refusal)
    assert await client.is_closed()
