"""Tests of guarded handlers."""

from __future__ import annotations

from typing import Any, assert_type

from roomkey import Issuer, Verifier
from roomkey.hub import Hub
from roomkey.socketio import AsyncGuard
from roomkey.testing import (
    BlockingClient,
    Client,
    Clock,
    FakeProvider,
    Refused,
    assert_refused,
    connect,
    connect_blocking,
    settle,
)

clock = Clock()
issuer = Issuer.ephemeral(audience="chat", clock=clock.now)
hub = Hub(issuer.verifier(), clock=clock)
AsyncGuard(issuer.verifier(), clock=clock)
AsyncGuard(issuer.verifier(), clock=clock.now)  # type: ignore[arg-type]


async def test_messages_arrive() -> None:
    client = await connect(hub, token=issuer.issue("ada", rooms=["red"]))
    assert_type(client, Client)
    await client.join("red")
    await client.emit("message", "hello", 7, b"bytes")
    assert_type(client.received("message"), list[Any])
    async with connect(hub, token=issuer.issue("bob"), transport="polling") as bob:
        assert_type(bob.is_connected, bool)
    clock.advance(3600)
    await settle()
    clock.advance("3600")  # type: ignore[arg-type]
    await connect(hub, transport="sse")  # type: ignore[arg-type]
    connect(hub).emit("message")  # type: ignore[attr-defined]


def test_synchronous_server(server: object) -> None:
    with connect_blocking(server, token=issuer.issue("ada")) as ada:
        assert_type(ada, BlockingClient)
        assert_type(ada.received("message"), list[Any])
        ada.emit("message", 1)
        ada.settle()
    connect_blocking(server, transport="websocket")  # type: ignore[call-arg]


async def test_refusals() -> None:
    with assert_refused(code="credentials_required") as refused:
        await connect(hub)
    try:
        await connect(hub)
    except Refused as error:
        assert_type(error.code, str)
    print(refused)


def test_provider() -> None:
    with FakeProvider() as provider:
        assert_type(provider.issue("ada"), str)
        assert_type(provider.verifier(), Verifier)
