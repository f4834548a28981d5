"""Guarded servers of every kind, for clients in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import socketio

from pytest_roomkey import roomkey_clock, roomkey_issuer, roomkey_provider
from roomkey import Issuer, Policy
from roomkey.hub import Hub
from roomkey.policies import rooms_claim
from roomkey.socketio import AsyncGuard
from roomkey.testing import Clock

__all__ = ["roomkey_clock", "roomkey_issuer", "roomkey_provider"]  # the plugin may not be installed


class App:
    """One server with some handlers.

    Attributes:
        sio: a hub or a ``socketio.AsyncServer``.
        guard: its guard.
    """

    def __init__(self, kind: str, clock: Any, server: dict[str, Any] | None = None, **settings: Any) -> None:
        self.kind, self.clock = kind, clock
        self.issuer = Issuer.ephemeral(audience="chat", clock=clock.now)
        self.policy = Policy()
        self.policy.room("*")(rooms_claim)
        self.policy.namespace("/admin")(lambda who: who.has_role("admin"))
        self.policy.event("delete")(lambda who: who.has_role("moderator"))
        settings = {"policy": self.policy, "clock": clock, **settings}
        verifier = settings.pop("verifier", None) or self.issuer.verifier()
        self.sio: Any
        self.guard: Any
        if kind == "hub":
            self.sio = Hub(verifier, namespaces=("/", "/admin"), **settings, **(server or {}))
            self.guard = self.sio.guard
        else:
            self.sio = socketio.AsyncServer(async_mode="asgi", namespaces=["/", "/admin"], **(server or {}))
            self.guard = AsyncGuard(verifier, **settings)
            self.guard.attach(self.sio)
        self.guard.serve_rooms()
        self.install()

    def install(self) -> None:
        @self.sio.event
        async def say(sid: str, room: str, *what: Any) -> str:
            await self.sio.emit("said", what, room=room)
            return "said"

        @self.sio.event
        async def delete(sid: str) -> str:
            return "deleted"

    def token(self, subject: str = "ada", **claims: Any) -> str:
        return self.issuer.issue(subject, **claims)


@pytest.fixture(params=["hub", "python-socketio"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["websocket", "polling"])
def transport(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(kind: str, clock: Clock) -> Callable[..., App]:
    """``make(**guard_settings)``: a server of one kind."""
    return lambda **settings: App(kind, clock, **settings)


@pytest.fixture
def app(make: Callable[..., App]) -> App:
    return make()
