"""Newer tokens on a connected socket, and the expiry of the last one."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from support.live import Poll, until
from support.tokens import EXPIRED
from support.world import Gate, rooms_world
from websockets.exceptions import ConnectionClosed

from roomkey import Policy
from roomkey.errors import Unavailable
from roomkey.socketio import Authenticate, Handshake, SubjectLimits


@pytest.mark.checklist("B33")
@pytest.mark.parametrize("way", [Handshake(), Authenticate()], ids=["handshake", "authenticate"])
async def test_refresh_changes_the_deadline_and_the_rights(make_world, way):
    world = await rooms_world(make_world, via=way, grace=5)
    client = await world.client()
    first = {"token": world.token(expires_in=100)}
    await client.ask(first)
    if isinstance(way, Authenticate):
        await client.event("authenticate", first)
        await client.expect_event("authenticated")
    await world.tick(90)
    await client.event("authenticate", {"token": world.token(expires_in=100, rooms=["blue"])}, ack=7)
    assert await client.expect_event("authenticated") == [{"expires_in": 100}]
    await client.event("join-room", "blue", ack=1)
    assert (await client.expect_ack(1))[0]["ok"] is True
    await world.tick(100)
    assert client.inbox.empty()
    await world.tick(6)
    [told] = await client.expect_event("unauthorized")
    assert told["data"]["reason"] == "token_expired"


@pytest.mark.checklist("I114")
async def test_refresh_flood_closes_the_connection(make_world):
    """Each token costs a verification, so tokens are counted before they are verified."""
    world = await make_world()
    client = await world.member("ada", expires_in=100)
    for _ in range(110):
        with suppress(ConnectionClosed):
            await client.event("authenticate", {"token": world.token("ada", expires_in=200)})
    assert await client.is_closed()


@pytest.mark.checklist("C46")
async def test_namespace_visit_flood_closes_the_connection(make_world):
    world = await make_world()
    client = await world.client()
    visits, reply = 0, await client.ask({"token": world.token("ada")})
    while visits < 110 and reply.startswith("40"):
        visits += 1
        await client.send("41")
        reply = await client.ask({"token": world.token("ada")})
    assert visits == 100
    assert reply == "None"  # the server has closed


@pytest.mark.checklist("B33")
async def test_refresh_with_another_subject_disconnects_permanently(make_world):
    world = await make_world()
    client = await world.member("ada", expires_in=100)
    await client.event("authenticate", {"token": world.token("eve", expires_in=500)})
    [told] = await client.expect_event("unauthorized")
    assert told["data"]["reason"] == "subject_mismatch"
    assert await client.receive() == "41"
    assert await client.is_closed()


async def test_rejected_refresh_keeps_the_old_token(make_world):
    world = await make_world(grace=0, warn_before=0)
    client = await world.member("ada", expires_in=100)
    for token in (world.token(expires_in=50), "rubbish"):
        await client.event("authenticate", {"token": token})
        await client.expect_event("unauthorized")
    await world.tick(99)
    await client.sync()
    assert not any("unauthorized" in str(packet) for packet in list(client.inbox._queue))
    await world.tick(1)
    assert (await client.expect_event("unauthorized"))[0]["data"]["reason"] == "token_expired"


@pytest.mark.checklist("B32")
async def test_expiry_sends_the_reason_and_lets_the_client_reconnect(make_world):
    world = await make_world(grace=25)
    client = await world.member(expires_in=100)
    await world.tick(124.9)
    assert client.inbox.empty()
    await world.tick(0.2)
    [told] = await client.expect_event("unauthorized")
    assert told["data"] == EXPIRED | {"expired_at": 1_800_000_100}
    assert await client.is_closed()
    assert "41" not in client.seen


@pytest.mark.checklist("B32")
async def test_expiry_reaches_a_polling_client(make_world):
    world = await make_world(grace=0)
    poll = await Poll.member(world.host, world.token(expires_in=10))
    waiting = asyncio.create_task(poll.get())
    await world.polled()
    await world.tick(10)
    assert "token_expired" in str(await waiting)
    await until(lambda: not world.guard.index.connections)
    await poll.close()


@pytest.fixture
async def live(offline, via):
    """Return a server, and ``ada`` in ``red`` and ``blue``, for both ways of presenting a token."""
    server = offline(via=via)
    client = await server.client()
    first = server.token(rooms=["red", "blue"], roles=["member"], expires_in=100)
    client.begin_connect(first if isinstance(via, Handshake) else None)
    await server.settle()
    if isinstance(via, Authenticate):
        client.begin_event("authenticate", {"token": first})
        await server.settle()
    for room in ("red", "blue"):
        client.begin_event("join-room", room)
    await server.settle()
    assert server.members("red") == server.members("blue") == {server.sid(client)}
    await server.tick(10)
    return server, client


WAYS = pytest.mark.parametrize("via", [Handshake(), Authenticate()], ids=["handshake", "authenticate"])


async def refresh(server, client, token, ack=7):
    client.begin_event("authenticate", {"token": token}, ack=ack)
    await server.settle()
    return client.answered(ack)


@pytest.mark.checklist("B33")
@WAYS
async def test_refresh_applies_rooms_and_roles_immediately(live):
    server, client = live
    sid = server.sid(client)
    assert await refresh(server, client, server.token(rooms=["blue"], roles=["guide"], expires_in=100)) == [
        {"expires_in": 100}
    ]
    assert client.heard("permissions_changed") == [{"left": ["red"]}]
    assert (server.members("red"), server.members("blue")) == (set(), {sid})
    assert server.guard.identity(sid).roles == {"guide"}
    await server.sio.emit("news", "secret", room="red")
    await server.settle()
    assert client.heard("news") == []


@pytest.mark.checklist("B33")
@WAYS
@pytest.mark.parametrize("wrong", ["earlier exp", "older iat", "garbage", "expired"])
async def test_refresh_with_an_older_or_invalid_token_changes_nothing(live, wrong):
    server, client = live
    before = server.guard.identity(server.sid(client))
    if wrong == "older iat":
        server.clock.time -= 11
    token = {"garbage": "garbage", "expired": server.token(expires_in=-60)}.get(wrong) or server.token(
        expires_in=89 if wrong == "earlier exp" else 500
    )
    if wrong == "older iat":
        server.clock.time += 11
    [answer] = await refresh(server, client, token)
    assert answer["ok"] is False
    assert server.guard.identity(server.sid(client)) is before
    assert server.members("red") == {server.sid(client)}


@WAYS
async def test_repeated_token_is_accepted(live):
    """The first response may have been lost, or two parts of a page may present the same token."""
    server, client = live
    token = server.token(rooms=["red"], expires_in=500)
    for ack in range(5):
        assert await refresh(server, client, token, ack) == [{"expires_in": 500}]
    assert server.members("red") == {server.sid(client)}
    assert client.heard("unauthorized") == []


async def refreshing_at_once(offline, tokens, **settings):
    """Return how often a room rule is asked if a socket in three rooms presents all these tokens at once."""
    policy, asked = Policy(), []

    async def slowly(who, room):
        asked.append(room)
        for _ in range(3):
            await asyncio.sleep(0)
        return True

    policy.room("{room}")(slowly)
    server = offline(policy=policy, **settings)
    client = await server.client()
    made = {expires_in: server.token(expires_in=expires_in) for expires_in in [100, *tokens]}
    client.begin_connect(made[100])
    for room in ("a", "b", "c"):
        client.begin_event("join-room", room)
    await server.settle()
    asked.clear()
    for ack, expires_in in enumerate(tokens):
        client.begin_event("authenticate", {"token": made[expires_in]}, ack=ack)
    for _ in tokens:
        await server.settle()
    answers = [client.answered(ack) for ack in range(len(tokens))]
    assert server.admission(client).admitted
    return len(asked), answers


async def test_simultaneous_refreshes_run_in_turn_and_ask_each_rule_once(offline):
    asked, answers = await refreshing_at_once(offline, range(101, 121))
    assert asked <= 20 * 3
    assert answers == [[{"expires_in": expires_in}] for expires_in in range(101, 121)]


async def test_repeated_token_asks_no_rule(offline):
    asked, answers = await refreshing_at_once(offline, [100] * 20)
    assert (asked, answers) == (0, [[{"expires_in": 100}]] * 20)


@WAYS
async def test_token_of_the_same_second_applies_its_rights(live):
    server, client = live
    assert await refresh(server, client, server.token(rooms=["blue"], expires_in=90)) == [{"expires_in": 90}]
    assert client.heard("permissions_changed") == [{"left": ["red"]}]


async def test_refresh_counts_as_an_event_of_its_subject(offline):
    _, answers = await refreshing_at_once(offline, [100] * 20, subject_limits=SubjectLimits(events=13))
    assert [answer[0].get("error", {}).get("limit") for answer in answers] == [None] * 10 + ["events"] * 10


@pytest.mark.checklist("B33")
@WAYS
async def test_token_of_another_subject_disconnects_permanently(live):
    server, client = live
    await refresh(server, client, server.token("eve", expires_in=500))
    assert [told["data"]["reason"] for told in client.heard("unauthorized")] == ["subject_mismatch"]
    assert client.got[-1] == "1"
    assert client.session.closed
    assert server.members("red") == set()


class Flaky:
    """A verifier whose keys are temporarily unavailable."""

    def __init__(self) -> None:
        self.inner, self.away = None, False

    def verify(self, token, now, *, source=""):
        if self.away:
            raise Unavailable("keys")
        return self.inner.verify(token, now, source=source)


@WAYS
@pytest.mark.parametrize("ack", [7, ""])
async def test_temporary_error_does_not_count_as_an_attempt(offline, via, ack):
    verifier = Flaky()
    server = offline(via=via, verifier=verifier)
    verifier.inner = server.issuer.verifier()
    client = await server.client()
    first = server.token(expires_in=100)
    client.begin_connect(first if isinstance(via, Handshake) else None)
    await server.settle()
    if isinstance(via, Authenticate):
        client.begin_event("authenticate", {"token": first})
        await server.settle()
    await server.tick(10)
    verifier.away = True
    for _ in range(10):
        client.begin_event("authenticate", {"token": server.token(expires_in=100)}, ack=ack)
        await server.settle()
    told = client.answered(7) if ack else [one["data"] for one in client.heard("unauthorized")]
    assert len(told) == 10
    assert all((one.get("error") or one)["reason"] == "temporarily_unavailable" for one in told)
    verifier.away = False
    assert (await refresh(server, client, server.token(expires_in=100), ack=8)) == [{"expires_in": 100}]


@pytest.mark.checklist("C47")
@WAYS
async def test_bad_refresh_tokens_count_as_attempts(live):
    server, client = live
    for _ in range(3):
        assert not client.session.closed
        await refresh(server, client, "garbage", ack="")
    assert client.session.closed


async def test_running_handlers_continue_during_a_refresh(offline):
    server, gate = offline(), asyncio.Event()

    @server.sio.event
    async def work(sid):
        await gate.wait()
        return [sid == server.guard.index.sockets[sid].sid, sorted(server.guard.identity(sid).roles)]

    client = await server.member(expires_in=100)
    client.begin_event("work", ack=1)
    await server.tick(10)
    await refresh(server, client, server.token(roles=["new"], expires_in=100))
    gate.set()
    await server.settle()
    assert client.answered(1) == [[True, ["new"]]]


@pytest.mark.checklist("F88")
async def test_event_waiting_for_a_rule_is_checked_with_the_new_token(offline):
    """It is neither refused because of the refresh nor allowed by the old token."""
    gate, asked, policy = Gate(), [], Policy()

    @policy.event("work")
    async def worker(who):
        asked.append(sorted(who.roles))
        if len(asked) == 1:
            await gate(who)
        return who.has_role("worker")

    server = offline(policy=policy)
    server.sio.on("work", lambda sid: "done")
    client = await server.member(roles=["worker"], expires_in=100)
    client.begin_event("work", ack=1)
    await asyncio.wait_for(gate.reached.wait(), 20)
    await server.tick(10)
    await refresh(server, client, server.token(roles=["worker", "new"], expires_in=100))
    gate.open.set()
    await server.settle()
    assert asked == [["worker"], ["new", "worker"]]
    assert client.answered(1) == ["done"]


@pytest.mark.checklist("F90")
async def test_refresh_without_a_namespace_right_keeps_the_other_namespaces(offline):
    policy = Policy()
    policy.namespace("/admin")(lambda who: who.has_role("admin"))
    server = offline(policy=policy, namespaces=("/", "/admin"))
    client = await server.member(roles=["admin"], expires_in=100)
    client.begin_connect(server.token(roles=["admin"], expires_in=100), "/admin")
    await server.settle()
    await server.tick(10)
    client.begin_event("authenticate", {"token": server.token(expires_in=100)}, namespace="/admin")
    await server.settle()
    assert server.admission(client, "/admin") is None
    assert client.got[-1] == "1/admin,"
    assert server.admission(client).admitted
    assert not client.session.closed
