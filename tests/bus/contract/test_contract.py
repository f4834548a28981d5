"""What every bus does."""

from __future__ import annotations

import os

import pytest
from support.buses import HARNESSES
from support.lag import seconds_awake


async def test_message_reaches_all_who_subscribed_and_no_others(ear):
    a, b, c, sender = await ear("a"), await ear("a", "b"), await ear("b"), await ear()
    sender.bus.publish("a", b"one")
    sender.bus.publish("b", b"two")
    assert await a.receives(1) == [b"one"]
    assert await b.receives(1) == [b"one"]
    assert await b.receives(1, "b") == [b"two"]
    assert await c.receives(1, "b") == [b"two"]
    assert a.heard == [("a", b"one")]
    assert c.heard == [("b", b"two")]
    assert sender.heard == []


async def test_messages_of_a_sender_arrive_in_order_and_once(ear):
    a, b, c = await ear("a"), await ear(), await ear()
    for number in range(2000):
        b.bus.publish("a", b"b%d" % number)
        c.bus.publish("a", b"c%d" % number)
    await a.receives(4000)
    assert [payload for payload in a.payloads() if payload[:1] == b"b"] == [b"b%d" % number for number in range(2000)]
    assert [payload for payload in a.payloads() if payload[:1] == b"c"] == [b"c%d" % number for number in range(2000)]


@pytest.mark.parametrize("payload", [b"", b"\0", b"\r\n*1\r\n$4\r\nPING\r\n", bytes(range(256)), os.urandom(100_000)])
async def test_any_bytes_arrive_unchanged(ear, payload):
    a, b = await ear("a"), await ear()
    b.bus.publish("a", payload)
    assert await a.receives(1) == [payload]


async def test_channel_with_braces_works(ear):
    a, b = await ear("roomkey:{17}"), await ear()
    b.bus.publish("roomkey:{17}", b"x")
    assert await a.receives(1, "roomkey:{17}") == [b"x"]


async def test_too_large_message_is_refused_by_the_sender(ear):
    a, b = await ear("a", max_payload=1000), await ear(max_payload=1000)
    with pytest.raises(ValueError, match=r"1001 bytes is larger than max_payload"):
        b.bus.publish("a", b"x" * 1001)
    b.bus.publish("a", b"x" * 1000)
    assert await a.receives(1) == [b"x" * 1000]


async def test_too_large_message_is_dropped_by_the_receiver(ear):
    a, b = await ear("a", max_payload=1000), await ear()
    b.bus.publish("a", b"x" * 1001)
    b.bus.publish("a", b"small")
    assert await a.receives(1) == [b"small"]
    assert a.bus.counts["dropped: too large"] == 1


@pytest.mark.parametrize("started", sorted({*HARNESSES} - {"unix"}), indirect=True, scope="session")
async def test_message_of_a_stranger_arrives_as_any_other(harness, ear):
    a = await ear("a")
    await harness.inject("a", b"raw")
    assert await a.receives(1) == [b"raw"]


async def test_later_subscription_takes_effect(ear):
    a, b = await ear(), await ear()
    a.bus.subscribe("a")
    a.bus.subscribe("a")
    await a.subscribed("a")
    b.bus.publish("a", b"x")
    assert await a.receives(1) == [b"x"]


async def test_unsubscribed_channel_is_silent(ear):
    a, b = await ear("a", "b"), await ear()
    a.bus.unsubscribe("a")
    a.bus.unsubscribe("a")
    a.bus.unsubscribe("never")
    assert not await a.bus.subscribed("a")
    a.bus.subscribe("c")
    await a.subscribed("c")  # so the other requests have been handled, too
    b.bus.publish("a", b"x")
    b.bus.publish("b", b"y")
    assert await a.receives(1, "b") == [b"y"]
    assert a.payloads() == []


async def test_channel_can_be_subscribed_again(ear):
    a, b = await ear("a"), await ear()
    a.bus.unsubscribe("a")
    a.bus.subscribe("a")
    await a.subscribed("a")
    b.bus.publish("a", b"x")
    assert await a.receives(1) == [b"x"]


async def test_many_subscriptions_take_effect_together(ear):
    a, b = await ear(), await ear()
    for number in range(500):
        a.bus.subscribe(f"c{number}")
    await a.subscribed(*(f"c{number}" for number in range(500)))
    for number in range(500):
        b.bus.publish(f"c{number}", b"%d" % number)
    await a.until(lambda: len(a.heard) == 500)
    assert {(f"c{number}", b"%d" % number) for number in range(500)} == set(a.heard)


async def test_state_is_reported(ear):
    a = await ear()
    assert a.states == [True]
    assert a.bus.connected


async def test_lost_connection_is_reported_and_messages_are_dropped_and_counted(harness, ear):
    a, b = await ear("a"), await ear()
    await harness.lose()
    await a.until(lambda: a.states == [True, False])
    await b.until(lambda: b.states == [True, False])
    assert not a.bus.connected
    b.bus.publish("a", b"x")  # neither waits nor raises
    assert b.bus.counts["dropped: not connected"] == 1
    assert not await a.bus.subscribed("a")


async def test_bus_connects_again_and_keeps_its_subscriptions(harness, ear):
    a, b = await ear("a"), await ear()
    await harness.lose()
    await a.until(lambda: a.states == [True, False])
    await b.until(lambda: b.states == [True, False])
    b.bus.publish("a", b"lost")
    a.bus.subscribe("b")
    await harness.restore()
    await a.until(lambda: a.states == [True, False, True])
    await b.until(lambda: b.states == [True, False, True])
    await a.subscribed("a", "b")
    b.bus.publish("a", b"x")
    b.bus.publish("b", b"y")
    assert await a.receives(1) == [b"x"]
    assert await a.receives(1, "b") == [b"y"]
    assert b.bus.counts["connects"] == 2


async def test_bus_that_cannot_connect_opens_within_two_seconds(harness, ear):
    await ear()
    await harness.lose()
    bus = harness.bus()
    bus.subscribe("a")
    states = []
    with seconds_awake() as seconds:
        await bus.open(lambda channel, payload: None, states.append)
    assert seconds() < 2
    await bus.close()
    assert not bus.connected


async def test_closed_bus_calls_nothing_back(ear):
    a, b = await ear("a"), await ear()
    b.bus.publish("a", b"x")
    await a.receives(1)
    await a.bus.close()
    await a.bus.close()
    b.bus.publish("a", b"y")
    c = await ear("a")
    b.bus.publish("a", b"z")
    await c.receives(1)
    assert a.payloads() == [b"x"]
    assert a.states == [True]
    assert not a.bus.connected
    a.bus.publish("a", b"dropped")


async def test_close_sends_what_is_queued(ear):
    a, b = await ear("a"), await ear()
    for number in range(100):
        b.bus.publish("a", b"%d" % number)
    await b.bus.close()
    assert await a.receives(100) == [b"%d" % number for number in range(100)]


async def test_counts_tell_what_was_sent_and_received(ear):
    a, b = await ear("a"), await ear()
    b.bus.publish("a", b"x")
    await a.receives(1)
    assert b.bus.counts["published"] == 1
    assert a.bus.counts["received"] == 1
