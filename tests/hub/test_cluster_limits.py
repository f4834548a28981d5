"""Limits that hubs on a bus keep together: the sockets of a subject, and the rejected tokens of an address."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from support.hubs import Hubs, make_hubs, node
from support.offline import Client, Offline

from roomkey import Policy
from roomkey.core.bad_tokens import key_of
from roomkey.core.subject_limits import SubjectLimits

__all__ = ["make_hubs"]


def outcome(client: Client) -> Any:
    """Return True if the socket was admitted, and otherwise the code and the reason of the refusal."""
    packets = [packet for packet in client.got if packet[0] in "04"]
    if not packets or packets[0][0] == "0":
        return bool(packets)
    data = json.loads(packets[0][1:])["data"]
    return data["code"], data.get("limit")


async def connect(world: Hubs, hub: Offline, subject: str = "ada", **claims: Any) -> Client:
    """Return a client that has sent its token, with what it received."""
    client = await hub.client()
    client.begin_connect(hub.token(subject, **claims))
    await world.settle()
    await client.settle()
    return client


async def test_sockets_of_a_subject_are_limited_over_all_nodes(make_hubs):
    world, *hubs = await make_hubs(3, subject_limits=SubjectLimits(sockets=2))
    clients = [await connect(world, hub) for hub in hubs]
    assert [outcome(client) for client in clients] == [True, True, ("limit_exceeded", "sockets")]
    assert outcome(await connect(world, hubs[2], "eve")) is True
    await clients[0].session.lose()
    await world.settle()
    assert outcome(await connect(world, hubs[2])) is True


async def test_newer_connection_ends_the_oldest_on_another_node(make_hubs):
    world, *hubs = await make_hubs(2, subject_limits=SubjectLimits(sockets=1, when_full="end_oldest"))
    first = await connect(world, hubs[0])
    second = await connect(world, hubs[1])
    await first.settle()
    assert outcome(second) is True
    assert first.heard("unauthorized")[0]["data"]["limit"] == "sockets"
    assert [len(hub.guard.sockets()) for hub in hubs] == [0, 1]


async def test_clients_that_connect_to_all_nodes_at_once_are_counted_exactly(make_hubs):
    world, *hubs = await make_hubs(4, subject_limits=SubjectLimits(sockets=2))
    clients = [await hub.client() for hub in hubs for _ in range(2)]
    for client, hub in zip(clients, [hub for hub in hubs for _ in range(2)], strict=True):
        client.begin_connect(hub.token("ada"))
    for _ in range(5):
        await world.settle()
    for client in clients:
        await client.settle()
    assert sorted(map(str, map(outcome, clients))) == ["('limit_exceeded', 'sockets')"] * 6 + ["True"] * 2


async def test_second_namespace_of_a_connection_does_not_ask(make_hubs):
    world, *hubs = await make_hubs(2, subject_limits=SubjectLimits(sockets=1), namespaces=("/", "/chat"))
    client = await connect(world, hubs[0])
    asked = len(world.network.sent)
    client.begin_connect(hubs[0].token("ada"), "/chat")
    await world.settle()
    await client.settle()
    assert len(hubs[0].guard.sockets()) == 2
    assert not any(b"limit" in payload for _, payload in world.network.sent[asked:])


@pytest.mark.parametrize("when_full", ["refuse", "end_oldest"])
async def test_namespaces_that_a_connection_joins_at_once_count_once(make_hubs, when_full):
    limits = SubjectLimits(sockets=1, when_full=when_full)
    world, *hubs = await make_hubs(2, subject_limits=limits, namespaces=("/", "/chat", "/news"))
    client = await hubs[0].client()
    for namespace in ("/", "/chat", "/news"):
        client.begin_connect(hubs[0].token("ada"), namespace)
    for _ in range(3):
        await world.settle()
    await client.settle()
    assert len(hubs[0].guard.sockets()) == 3
    await client.session.lose()
    await world.settle()
    assert outcome(await connect(world, hubs[1])) is True


@pytest.mark.parametrize("limits", [None, SubjectLimits(events=5)])
async def test_nothing_is_sent_without_a_limit(make_hubs, limits):
    world, *hubs = await make_hubs(2, subject_limits=limits)
    assert outcome(await connect(world, hubs[0])) is True
    assert not any(b"limit" in payload for _, payload in world.network.sent)


@pytest.mark.checklist("H110")
async def test_sockets_that_cannot_be_counted_are_refused_within_two_seconds(make_hubs):
    world, *hubs = await make_hubs(2, subject_limits=SubjectLimits(sockets=2))
    world.network.cut(node(hubs[0]))
    assert outcome(await connect(world, hubs[0])) == ("temporarily_unavailable", None)
    world.network.mend(node(hubs[0]))
    await world.pass_time(1)
    assert outcome(await connect(world, hubs[0])) is True
    world.network.deafen(node(hubs[1]))
    client = await hubs[0].client()
    client.begin_connect(hubs[0].token("ada"))
    await world.pass_time(1.5)
    await client.settle()
    assert outcome(client) == ("temporarily_unavailable", None)
    world.network.deafen()


async def test_rights_that_change_while_nodes_are_asked_are_obeyed(make_hubs):
    policy = Policy()
    policy.namespace("/")(lambda who: who.has_role("member"))
    world, *hubs = await make_hubs(2, policy=policy, subject_limits=SubjectLimits(sockets=2))
    client = await hubs[0].client()
    world.network.hold()
    client.begin_connect(hubs[0].token("ada", roles=["member"]))
    await asyncio.sleep(0)
    await client.settle()
    await hubs[0].guard.update("ada", roles=[])
    world.network.release()
    await world.settle()
    await client.settle()
    assert outcome(client) == ("permission_denied", None)


async def test_token_that_is_revoked_while_nodes_are_asked_is_refused(make_hubs):
    world, *hubs = await make_hubs(2, subject_limits=SubjectLimits(sockets=2))
    client = await hubs[0].client()
    world.network.hold()
    client.begin_connect(hubs[0].token("ada"))
    await client.settle()
    await hubs[0].guard.revoke(subject="ada")
    world.network.release()
    await world.settle()
    await client.settle()
    assert outcome(client)[0] == "invalid_token"
    assert hubs[0].guard.sockets() == []


async def test_guest_who_authenticates_counts_on_all_nodes(make_hubs):
    world, *hubs = await make_hubs(2, required=False, subject_limits=SubjectLimits(sockets=1))
    assert outcome(await connect(world, hubs[0])) is True
    guest = await hubs[1].client()
    guest.begin_connect(None)
    await guest.settle()
    guest.begin_event("authenticate", {"token": hubs[1].token("ada")})
    await world.settle()
    await guest.settle()
    assert guest.heard("unauthorized")[0]["data"]["limit"] == "sockets"


async def present_bad(world: Hubs, hub: Offline) -> str:
    """Present a token that is not valid; return the code of the refusal."""
    client = await hub.client()
    client.begin_connect("bad")
    await client.settle()
    return str(outcome(client)[0])


@pytest.mark.checklist("C47")
async def test_bad_tokens_of_an_address_are_limited_over_all_nodes(make_hubs):
    world, *hubs = await make_hubs(4, max_bad_tokens=10)
    codes = []
    for number in range(40):
        codes.append(await present_bad(world, hubs[number % 4]))
        await world.pass_time(0.03)  # more than a batch
    assert codes.count("invalid_token") <= 10 + 40 * 0.03 / 6 + 1
    assert codes[-20:] == ["too_many_attempts"] * 20
    for hub in hubs:
        assert outcome(await connect(world, hub)) is True


async def test_messages_about_bad_tokens_show_their_address_to_nobody_without_the_secret(make_hubs):
    world, *hubs = await make_hubs(2, max_bad_tokens=10)
    assert await present_bad(world, hubs[0]) == "invalid_token"
    await world.pass_time(1)
    [told] = [payload for _, payload in world.network.sent if b"bad-tokens" in payload]
    assert outcome(await connect(world, hubs[0])) is True
    [live] = hubs[0].guard.sockets()
    assert key_of(live.address) not in told
    assert key_of(live.address, node(hubs[0]).secrets.keys("address")[0]) in told


async def test_bad_tokens_on_all_nodes_at_once_are_a_debt(make_hubs):
    world, *hubs = await make_hubs(4, max_bad_tokens=5)
    codes = [await present_bad(world, hub) for hub in hubs for _ in range(8)]
    assert codes.count("invalid_token") == 4 * 5  # the nodes do not know of each other yet
    for _ in range(3):  # minutes, in which one node would answer five
        await world.pass_time(60)
        assert await present_bad(world, hubs[0]) == "too_many_attempts"
    await world.pass_time(20)
    assert await present_bad(world, hubs[0]) == "invalid_token"
    await world.pass_time(1)


async def test_messages_about_bad_tokens_of_another_form_are_ignored(make_hubs):
    world, *hubs = await make_hubs(2, max_bad_tokens=1)
    for body in (b"x", b"x" * 19, b"x" * 18 * 501):
        node(hubs[0]).tell("bad-tokens", body)
    await world.settle()
    assert len(hubs[1].guard._context.bad_tokens._addresses) == 0
    for body in (b"", b"x" * 18 * 500):
        node(hubs[0]).tell("bad-tokens", body)
    await world.settle()
    assert len(hubs[1].guard._context.bad_tokens._addresses) == 1


async def test_expired_tokens_are_not_told_to_other_nodes(make_hubs):
    world, *hubs = await make_hubs(2, max_bad_tokens=1)
    for _ in range(3):
        assert outcome(await connect(world, hubs[0], expires_in=-100))[0] == "invalid_token"
    await world.pass_time(1)
    assert not any(b"bad-tokens" in payload for _, payload in world.network.sent)
    assert await present_bad(world, hubs[0]) == "invalid_token"
    await world.pass_time(1)
    assert any(b"bad-tokens" in payload for _, payload in world.network.sent)
