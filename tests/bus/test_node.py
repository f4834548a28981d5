"""Nodes on a bus in memory: messages, questions, partitions, leases."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from support.clock import FakeClock, Skewed
from support.lag import seconds_awake
from support.nodes import SECRET

from roomkey.bus import ClusterSecrets, MemoryBus, MemoryNetwork
from roomkey.bus.node import Node

OTHER_SECRET = "fN3kQ9vX2hLr7TzB5mWc8YpJ1dGs4AeUo6iKxVqHtRy"


def listen(node: Node, kind: str = "note") -> list[tuple[str, bytes]]:
    heard: list[tuple[str, bytes]] = []
    node.on(kind, lambda sender, body: heard.append((sender, body)))
    return heard


def moves(node: Node) -> list[tuple[str, str]]:
    seen: list[tuple[str, str]] = []
    node.on_joined.append(lambda other: seen.append(("joined", other)))
    node.on_left.append(lambda other: seen.append(("left", other)))
    return seen


# One-way messages


async def test_message_reaches_every_other_node(make_nodes):
    world, (a, b, c) = await make_nodes(3)
    heard = [listen(node) for node in (a, b, c)]
    a.tell("note", b"x")
    await world.settle()
    assert heard == [[], [(a.id, b"x")], [(a.id, b"x")]]


async def test_message_reaches_one_node(make_nodes):
    world, (a, b, c) = await make_nodes(3)
    heard = [listen(node) for node in (a, b, c)]
    a.tell("note", b"x", to=c.id)
    a.tell("note", b"y", to=a.id)
    await world.settle()
    assert heard == [[], [], [(a.id, b"x")]]


async def test_message_reaches_the_nodes_that_need_the_partition(make_nodes):
    world, (a, b, c) = await make_nodes(3)
    heard = [listen(node) for node in (a, b, c)]
    for node in (a, c):
        node.need(7)
        assert await node.ready(7)
    assert not await b.ready(7)
    a.tell("note", b"x", partition=7)
    a.tell("note", b"y", partition=8)
    await world.settle()
    assert heard == [[], [], [(a.id, b"x")]]


async def test_kind_without_a_handler_is_counted(make_nodes):
    world, (a, b) = await make_nodes(2)
    a.tell("note", b"x")
    await world.settle()
    assert b.counts["dropped: unknown kind"] == 1


async def test_failing_handler_is_logged_without_the_body(make_nodes, caplog):
    world, (a, b) = await make_nodes(2)
    b.on("note", lambda sender, body: 1 / 0)
    a.tell("note", b"confidential")
    a.tell("note", b"confidential")
    await world.settle()
    assert b.counts["failed"] == 2
    assert "confidential" not in caplog.text


@pytest.mark.parametrize("kind", ["", "?x", "=", "1", "x" * 32, "ä"])
def test_invalid_kinds_are_refused(kind):
    node = Node(MemoryBus(MemoryNetwork()), ClusterSecrets([SECRET]), FakeClock())
    with pytest.raises(ValueError, match="invalid kind"):
        node.on(kind, lambda sender, body: None)


def test_second_handler_of_a_kind_is_refused():
    node = Node(MemoryBus(MemoryNetwork()), ClusterSecrets([SECRET]), FakeClock())
    node.on("note", lambda sender, body: None)
    node.answer("note", lambda sender, body: b"")
    with pytest.raises(ValueError, match="already have a handler"):
        node.on("note", lambda sender, body: None)
    with pytest.raises(ValueError, match="already have a handler"):
        node.on("hello", lambda sender, body: None)


async def test_too_large_message_is_refused(make_nodes):
    _, (a, _) = await make_nodes(2, max_payload=1000)
    with pytest.raises(ValueError, match="larger than max_payload"):
        a.tell("note", b"x" * 1000)


async def test_messages_of_strangers_are_dropped_and_counted(make_nodes):
    world, (a, b) = await make_nodes(2)
    stranger = await world.add(secrets=ClusterSecrets([OTHER_SECRET]))
    heard = listen(b)
    before = b.counts["dropped: bad signature"]
    stranger.tell("note", b"x")
    world.network.inject(b.channels.everybody, b"\x80\x04\x95")
    a.tell("note", b"y")
    await world.settle()
    assert heard == [(a.id, b"y")]
    assert b.counts["dropped: bad signature"] == before + 1
    assert b.counts["dropped: malformed"] == 1
    assert b.live.keys() == {a.id}


async def test_invalid_signatures_are_logged_once_a_minute(make_nodes, caplog):
    world, _ = await make_nodes(1)
    stranger = await world.add(secrets=ClusterSecrets([OTHER_SECRET]))

    async def warnings() -> int:
        stranger.tell("note", b"x")
        await world.settle()
        texts = [text for name, _, text in caplog.record_tuples if name == "roomkey.bus" and "signature" in text]
        assert all("give all nodes the same secrets" in text for text in texts)
        return len(texts)

    before = await warnings()
    assert before > 0
    assert await warnings() == before
    await world.pass_time(61.0)
    assert await warnings() > before


async def test_repeated_messages_count_once(make_nodes):
    world, (a, b) = await make_nodes(2)
    world.network.copies = 3
    heard = listen(b)
    for number in range(10):
        a.tell("note", b"%d" % number)
    await world.settle()
    assert heard == [(a.id, b"%d" % number) for number in range(10)]
    assert b.counts["dropped: replayed"] == 20


async def test_messages_of_each_sender_stay_in_order(make_nodes):
    world, (a, b, c) = await make_nodes(3)
    world.network.shuffled = True
    heard = listen(c)
    for number in range(50):
        a.tell("note", b"%d" % number)
        b.tell("note", b"%d" % number)
    await world.settle()
    for sender in (a, b):
        assert [body for who, body in heard if who == sender.id] == [b"%d" % number for number in range(50)]


# Questions


async def test_question_is_answered_by_every_other_node(make_nodes):
    _, (a, b, c) = await make_nodes(3)

    async def later(sender: str, body: bytes) -> bytes:
        await asyncio.sleep(0)
        return b"later " + body

    b.answer("what", lambda sender, body: b"now " + body)
    c.answer("what", later)
    answers = await a.ask("what", b"x")
    assert answers.by_node == {b.id: b"now x", c.id: b"later x"}
    assert answers.missing == frozenset()
    assert answers.complete


async def test_question_to_one_node(make_nodes):
    _, (a, b, c) = await make_nodes(3)
    for node in (b, c):
        node.answer("what", lambda sender, body: body)
    answers = await a.ask("what", b"x", to=c.id)
    assert answers.by_node == {c.id: b"x"}
    assert answers.complete


async def test_question_of_a_single_node_is_complete_at_once(make_nodes):
    _, (a,) = await make_nodes(1)
    answers = await a.ask("what", b"x")
    assert (answers.by_node, answers.missing, answers.complete) == ({}, frozenset(), True)


async def test_silent_node_is_missing_after_the_time(make_nodes):
    world, (a, b, c) = await make_nodes(3)
    b.answer("what", lambda sender, body: body)
    world.network.deafen(c)
    asking = asyncio.create_task(a.ask("what", b"x", seconds=2))
    await world.settle()
    await world.pass_time(1.5)
    assert not asking.done()
    await world.pass_time(0.5)
    answers = await asking
    assert answers.by_node == {b.id: b"x"}
    assert answers.missing == {c.id}
    assert not answers.complete


async def test_node_that_leaves_is_missing_at_once(make_nodes):
    world, (a, b) = await make_nodes(2)
    asking = asyncio.create_task(a.ask("what", b"x"))
    b.answer("what", lambda sender, body: asyncio.get_running_loop().create_future())
    await world.settle()
    await b.close()
    assert (await asking).missing == {b.id}


@pytest.mark.parametrize("failing", ["raises", "raises later", "unknown", "too large"])
async def test_node_that_cannot_answer_is_missing_at_once(make_nodes, failing):
    _, (a, b) = await make_nodes(2, max_payload=1000)

    async def later(sender: str, body: bytes) -> bytes:
        raise OSError

    handlers: dict[str, Any] = {
        "raises": lambda sender, body: 1 / 0,
        "raises later": later,
        "too large": lambda sender, body: b"x" * 1000,
    }
    if failing in handlers:
        b.answer("what", handlers[failing])
    answers = await a.ask("what", b"x")
    assert answers.missing == {b.id}
    assert not answers.complete


async def test_unknown_node_is_missing_at_once(make_nodes):
    _, (a, _) = await make_nodes(2)
    answers = await a.ask("what", b"x", to="AAAAAAAA")
    assert (answers.missing, answers.complete) == ({"AAAAAAAA"}, False)


async def test_question_ends_when_the_bus_is_lost(make_nodes):
    world, (a, b) = await make_nodes(2)
    b.answer("what", lambda sender, body: asyncio.get_running_loop().create_future())
    asking = asyncio.create_task(a.ask("what", b"x"))
    await world.settle()
    world.network.cut(a)
    answers = await asking
    assert (answers.missing, answers.complete) == ({b.id}, False)
    answers = await a.ask("what", b"x")
    assert (answers.missing, answers.complete) == ({b.id}, False)


async def test_answers_are_incomplete_until_the_node_knows_the_others(make_nodes):
    world, (a, b) = await make_nodes(2)
    b.answer("what", lambda sender, body: body)
    world.network.cut(a)
    await world.pass_time(11)
    assert a.alone()
    assert not (await a.ask("what", b"x")).complete
    world.network.hold(b)
    world.network.mend(a)
    assert not (await a.ask("what", b"x")).complete  # b has not been heard yet
    world.network.release()
    await world.pass_time(1)
    answers = await a.ask("what", b"x")
    assert answers.by_node == {b.id: b"x"}
    assert answers.complete


async def test_late_and_foreign_answers_are_ignored(make_nodes):
    world, (a, b, c) = await make_nodes(3)
    b.answer("what", lambda sender, body: body)
    answers = await a.ask("what", b"x", to=b.id)
    c.tell("=", (1).to_bytes(8, "big") + b"\x01forged", to=a.id)
    c.tell("=", b"", to=a.id)
    c.tell("?what", b"short", to=b.id)
    await world.settle()
    assert answers.by_node == {b.id: b"x"}
    assert b.counts["dropped: malformed"] == 1


async def test_third_node_cannot_answer_for_another(make_nodes):
    world, (a, b, c) = await make_nodes(3)
    b.answer("what", lambda sender, body: asyncio.get_running_loop().create_future())
    asking = asyncio.create_task(a.ask("what", b"x", to=b.id, seconds=1))
    await world.settle()
    c.tell("=", (1).to_bytes(8, "big") + b"\x01forged", to=a.id)
    await world.pass_time(1)
    assert (await asking).missing == {b.id}


async def test_question_of_a_node_that_closes_is_not_waited_for(make_nodes, monkeypatch):
    _, (a, _) = await make_nodes(2)
    close, closing, may_close = a.bus.close, asyncio.Event(), asyncio.Event()

    async def close_slowly() -> None:  # as a bus that sends what is queued, and is connected until then
        closing.set()
        await may_close.wait()
        await close()

    monkeypatch.setattr(a.bus, "close", close_slowly)
    task = asyncio.create_task(a.close())
    await closing.wait()
    answers = await asyncio.wait_for(a.ask("what", b""), 5)
    assert not answers.complete
    assert answers.by_node == {}
    may_close.set()
    await task


async def test_number_of_questions_being_answered_is_limited(make_nodes, monkeypatch):
    monkeypatch.setattr("roomkey.bus.answering.MAX_ANSWERING", 2)
    world, (a, b) = await make_nodes(2)
    b.answer("what", lambda sender, body: asyncio.get_running_loop().create_future())
    asking = [asyncio.create_task(a.ask("what", b"x")) for _ in range(3)]
    await world.settle()
    assert [task.done() for task in asking] == [False, False, True]
    assert b.counts["dropped: busy"] == 1
    await b.close()
    await asyncio.gather(*asking)


# Partitions


async def test_partition_is_received_as_long_as_it_is_needed(make_nodes):
    world, (a, b) = await make_nodes(2)
    heard = listen(b)
    b.need(7)
    b.need(7)
    b.release(7)
    await world.pass_time(100)
    a.tell("note", b"1", partition=7)
    await world.settle()
    b.release(7)
    await world.pass_time(59)
    a.tell("note", b"2", partition=7)
    await world.settle()
    await world.pass_time(1)
    a.tell("note", b"3", partition=7)
    await world.settle()
    assert [body for _, body in heard] == [b"1", b"2"]
    assert not await b.ready(7)


async def test_partition_needed_again_within_a_minute_stays(make_nodes):
    world, (a, b) = await make_nodes(2)
    heard = listen(b)
    b.need(7)
    b.release(7)
    await world.pass_time(30)
    b.need(7)
    await world.pass_time(100)
    a.tell("note", b"1", partition=7)
    await world.settle()
    assert heard == [(a.id, b"1")]


async def test_release_without_need_is_an_error(make_nodes):
    _, (a,) = await make_nodes(1)
    with pytest.raises(ValueError, match="released more often"):
        a.release(7)


async def test_partitions_are_received_after_a_reconnect(make_nodes):
    world, (a, b) = await make_nodes(2)
    heard = listen(b)
    b.need(7)
    world.network.cut(b)
    a.tell("note", b"1", partition=7)
    await world.settle()
    world.network.mend(b)
    a.tell("note", b"2", partition=7)
    await world.settle()
    assert heard == [(a.id, b"2")]


# Leases


async def test_nodes_know_each_other_at_once(make_nodes):
    world, (a, b, c) = await make_nodes(3)
    for node in (a, b, c):
        assert node.live.keys() == {a.id, b.id, c.id} - {node.id}
        assert not node.alone()
    late = await world.add(address="10.0.0.5:7400")
    assert late.live.keys() == {a.id, b.id, c.id}
    assert a.live[late.id].address == "10.0.0.5:7400"


async def test_heartbeats_keep_a_node_alive(make_nodes):
    world, (a, b) = await make_nodes(2)
    seen = moves(a)
    b.info["sockets"] = 5
    await world.pass_time(60)
    assert seen == []
    assert a.live[b.id].info == {"sockets": 5}


async def test_silent_node_is_gone_after_ten_seconds(make_nodes):
    world, (a, b) = await make_nodes(2)
    seen = moves(a)
    await world.pass_time(9)
    world.network.deafen(b)
    await world.pass_time(6.5)
    assert seen == []
    await world.pass_time(3.5)
    assert seen == [("left", b.id)]
    assert a.alone()
    world.network.deafen()
    await world.pass_time(3)
    assert seen == [("left", b.id), ("joined", b.id)]


async def test_goodbye_ends_the_lease_at_once(make_nodes):
    world, (a, b) = await make_nodes(2)
    seen = moves(a)
    await b.close()
    await world.settle()
    assert seen == [("left", b.id)]
    b.tell("note", b"x")  # does nothing


async def test_node_that_slept_does_not_take_the_others_for_dead(make_nodes):
    world, (a, b) = await make_nodes(2)
    seen = moves(a)
    world.clock.advance(30)
    a.check_deadlines()
    b.check_deadlines()
    await world.settle()
    await world.pass_time(5)
    assert seen == []
    world.network.deafen(b)
    world.clock.advance(30)
    a.check_deadlines()
    await world.pass_time(6)
    assert seen == [("left", b.id)]


async def test_state_of_the_bus_is_reported(make_nodes):
    world, (a, b) = await make_nodes(2)
    states: list[bool] = []
    a.on_state.append(lambda connected: 1 / 0)
    a.on_state.append(states.append)
    world.network.cut(a)
    assert not a.connected
    a.tell("note", b"x")
    world.network.mend(a)
    assert a.connected
    assert states == [False, True]
    await world.settle()
    assert a.live.keys() == {b.id}


async def test_clocks_five_seconds_apart_work(make_nodes):
    world, (a,) = await make_nodes(1)
    b = await world.add(clock=Skewed(world.clock, 5))
    c = await world.add(clock=Skewed(world.clock, -5))
    heard = listen(c)
    await world.pass_time(60)
    for node in (a, b, c):
        assert node.live.keys() == {a.id, b.id, c.id} - {node.id}
    b.tell("note", b"x")
    await world.settle()
    assert heard == [(b.id, b"x")]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b'{"info":[],"reply":true}',
        b'{"info":{},"reply":1}',
        b'{"info":{},"reply":true,"address":7}',
        json.dumps({"info": {}, "reply": True, "address": "x" * 257}).encode(),
        b'{"info":{},"reply":true' + b" " * 5000 + b"}",
        b"[" * 4000,
        b"\xff",
    ],
)
async def test_malformed_heartbeats_are_dropped(make_nodes, body):
    world, (a, b) = await make_nodes(2)
    a.tell("hello", body)
    await world.settle()
    assert b.counts["dropped: malformed"] == 1


async def test_node_whose_info_is_too_large_is_alive_without_it(make_nodes, caplog):
    world, (a, b) = await make_nodes(2)
    b.info["x"] = "y" * 5000
    await world.pass_time(12)
    assert a.live[b.id].info == {}
    assert "keep it short" in caplog.text


async def test_real_clock_drives_heartbeats_and_questions():
    from roomkey.guard.clock import SystemClock

    network = MemoryNetwork()
    nodes = [Node(MemoryBus(network), ClusterSecrets([SECRET]), SystemClock()) for _ in range(2)]
    for node in nodes:
        await node.open()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    a, b = nodes
    b.answer("what", lambda sender, body: asyncio.get_running_loop().create_future())
    with seconds_awake() as seconds:
        answers = await a.ask("what", b"", seconds=0.05)
    assert answers.missing == {b.id}
    assert seconds() < 1
    for node in nodes:
        await node.close()
