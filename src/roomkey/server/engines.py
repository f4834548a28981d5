"""What speaks Socket.IO in the product: roomkey's own hub, or python-socketio with the guard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp

from roomkey import Policy, Verifier, hub
from roomkey.guard.guard import BaseAsyncGuard
from roomkey.hub import Authenticate, Handshake, Hub, Limits
from roomkey.policies import rooms_claim
from roomkey.server.chat import Server
from roomkey.server.edge import MAX_BODY
from roomkey.server.settings import Settings

__all__ = ["Engine", "make_engine"]


@dataclass(frozen=True, slots=True)
class Engine:
    """A guarded Socket.IO server.

    Attributes:
        sio: has the verbs ``on``, ``emit`` and so on.
        guard: what stands in front of it.
        close: closes every connection.
        asgi: puts it in front of an application that serves the other paths.
    """

    sio: Server
    guard: BaseAsyncGuard
    close: Callable[[], Any]
    asgi: Callable[[ASGIApp], ASGIApp]


def make_engine(settings: Settings, verifier: Verifier) -> Engine:
    """The engine that the settings name."""
    return (_hub if settings.engine == "hub" else _python_socketio)(settings, verifier)


def _hub(settings: Settings, verifier: Verifier) -> Engine:
    origins = settings.cors_origins or None
    made = Hub(verifier, cors_allowed_origins=origins, limits=Limits(payload=MAX_BODY), **_admission(settings))
    return Engine(made, made.guard, made.close, lambda app: hub.ASGIApp(made, app))


def _python_socketio(settings: Settings, verifier: Verifier) -> Engine:
    import socketio  # it takes its time, and the hub has no use for it

    from roomkey.socketio import AsyncGuard

    sio = socketio.AsyncServer(
        async_mode="asgi",
        cors_allowed_origins=_origin_check(settings.cors_origins),
        max_http_buffer_size=MAX_BODY,
    )
    guard = AsyncGuard(verifier, **_admission(settings))
    guard.attach(sio)
    return Engine(sio, guard, guard.close, lambda app: socketio.ASGIApp(sio, app))


def _admission(settings: Settings) -> dict[str, Any]:
    """How one gets in and how long one stays, as both engines take it."""
    handshake, authenticate = Handshake(), Authenticate(timeout=settings.authenticate_timeout)
    ways: dict[str, tuple[Handshake | Authenticate, ...]] = {
        "handshake": (handshake,),
        "authenticate": (authenticate,),
        "both": (handshake, authenticate),
    }
    policy = Policy()
    policy.room("*")(rooms_claim)
    return {"via": ways[settings.via], "policy": policy, "grace": settings.grace}


def _origin_check(others: tuple[str, ...]) -> Callable[[str | None, dict[str, str]], bool] | None:
    """Which pages may connect: None is engineio's word for the same origin only."""
    if not others:
        return None

    def allowed(origin: str | None, environ: dict[str, str]) -> bool:
        own = f"{environ['wsgi.url_scheme']}://{environ.get('HTTP_HOST', '')}"
        return origin is not None and origin in (own, *others)

    return allowed
