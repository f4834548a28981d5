"""Handlers that wait while their client leaves, comes back, or breaks the protocol."""

from __future__ import annotations

import asyncio

import pytest
from support.offline import turns

from roomkey import PermissionDenied


def _waiting(server, event, *, raises=None):
    """Register a handler that records its calls and waits: return the records, and what lets it continue."""
    calls, go_on = [], asyncio.Event()

    async def handler(sid, *arguments):
        calls.append(sid)
        await go_on.wait()
        if raises is not None:
            raise raises

    server.sio.on(event, handler)
    return calls, go_on


@pytest.mark.checklist("J9")
async def test_client_that_leaves_and_breaks_the_protocol_is_disconnected_once(offline):
    server = offline()
    calls = []
    server.sio.on("disconnect", lambda sid, *reason: calls.append(sid))
    client = await server.member()
    client.begin("1")
    client.begin("2")
    await server.settle()
    assert client.session.closed
    assert len(calls) == 1


async def test_error_of_a_handler_is_not_sent_to_the_next_socket_of_its_namespace(offline):
    server = offline(max_refusals=10)
    calls, go_on = _waiting(server, "slow", raises=PermissionDenied("not for you"))
    client = await server.member("ada")
    client.begin_event("slow", ack=7)
    client.begin_event("slow")
    await client.settle()
    assert len(calls) == 2
    client.begin("1")
    await client.settle()
    client.begin_connect(server.token("bob"))
    assert (await client.settle())[0].startswith("0")
    go_on.set()
    assert await client.settle() == []


async def test_time_to_join_a_namespace_does_not_run_during_the_disconnect_handler(offline):
    """It counts from when the last namespace is left, not from the opening of the connection."""
    server = offline(connect_timeout=15.0)
    _, go_on = _waiting(server, "disconnect")
    client = await server.member(expires_in=3600)
    await _tick(server, 10.0)
    client.begin("1")
    await client.settle()
    await _tick(server, 10.0)
    assert not client.session.closed
    go_on.set()
    await client.settle()
    await _tick(server, 14.0)
    assert not client.session.closed
    client.begin_connect(server.token("ada"))
    assert (await client.settle())[0].startswith("0")
    client.begin("1")
    await client.settle()
    await _tick(server, 15.0)
    assert client.session.closed


async def _tick(server, seconds):
    """Move the clock, without waiting for handlers that wait."""
    server.clock.advance(seconds)
    (server.sio if server.engine == "hub" else server.guard).check_deadlines()
    await turns()
