"""What speaks Socket.IO in the product: roomkey's own hub, or python-socketio with the guard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from roomkey.extras import needs

with needs("server", "roomkey.server.backends"):
    from starlette.types import ASGIApp

from roomkey import Policy, hub
from roomkey.auth import ACCESS_COOKIE
from roomkey.core.origins import allowed_origins, origin_of, own_origin
from roomkey.guard.guard import Guard
from roomkey.guard.settings import AnyVerifier
from roomkey.hub import Authenticate, Handshake, Hub, Limits, SubjectLimits
from roomkey.policies import emit_claim, rooms_claim
from roomkey.server.chat import SocketServer
from roomkey.server.request_hardening import MAX_BODY
from roomkey.server.settings import Settings
from roomkey.stores import RevocationStore

__all__ = ["Engine", "make_engine", "rooms_of_tokens"]


@dataclass(frozen=True, slots=True)
class Engine:
    """A guarded Socket.IO server.

    Attributes:
        sio: has the verbs ``on``, ``emit`` and so on.
        guard: what stands in front of it.
        close: closes every connection.
        asgi: puts it in front of an application that serves the other paths.
    """

    sio: SocketServer
    guard: Guard
    close: Callable[[], Any]
    asgi: Callable[[ASGIApp], ASGIApp]


def make_engine(
    settings: Settings, verifier: AnyVerifier, policy: Policy | None = None, revocations: RevocationStore | None = None
) -> Engine:
    """The engine that the settings name.

    Args:
        settings: which engine, and how one gets in.
        verifier: decides about tokens.
        policy: the whole policy; if absent, the rooms that a token grants are open, and every room to the role
            ``admin``.
        revocations: where they are kept; in memory if absent.
    """
    options = _admission(settings) | {"policy": policy or rooms_of_tokens(), "revocations": revocations}
    return (_hub if settings.engine == "hub" else _python_socketio)(settings, verifier, options)


def rooms_of_tokens() -> Policy:
    """The policy of a server without rules of its own: the rooms that a token grants, and every room to ``admin``."""
    policy = Policy()
    policy.room("*")(rooms_claim)
    policy.emit("*")(emit_claim)
    return policy


def _hub(settings: Settings, verifier: AnyVerifier, options: dict[str, Any]) -> Engine:
    origins = settings.cors_origins or None
    made = Hub(verifier, cors_allowed_origins=origins, limits=Limits(payload=MAX_BODY), **options)
    return Engine(made, made.guard, made.close, lambda app: hub.ASGIApp(made, app))


def _python_socketio(settings: Settings, verifier: AnyVerifier, options: dict[str, Any]) -> Engine:
    import socketio  # it takes its time, and the hub has no use for it

    from roomkey.socketio import AsyncGuard

    sio = socketio.AsyncServer(
        async_mode="asgi",
        cors_allowed_origins=_origin_check(settings.cors_origins),
        max_http_buffer_size=MAX_BODY,
    )
    guard = AsyncGuard(verifier, **options)
    guard.attach(sio)
    return Engine(sio, guard, guard.close, lambda app: socketio.ASGIApp(sio, app))


def _admission(settings: Settings) -> dict[str, Any]:
    """How one gets in, how long one stays and how much one may do, as both engines take it."""
    handshake = Handshake(cookie=ACCESS_COOKIE if settings.cookies else None)
    authenticate = Authenticate(timeout=settings.authenticate_timeout)
    ways: dict[str, tuple[Handshake | Authenticate, ...]] = {
        "handshake": (handshake,),
        "authenticate": (authenticate,),
        "both": (handshake, authenticate),
    }
    limits = SubjectLimits(
        sockets=settings.sockets_per_subject, when_full=settings.when_full, events=settings.events_per_second
    )
    return {
        "via": ways[settings.via],
        "grace": settings.grace,
        "warn_before": settings.warn_before,
        "subject_limits": limits,
    }


def _origin_check(others: tuple[str, ...]) -> Callable[[str | None, dict[str, str]], bool]:
    """Return the function that tells engineio which pages may connect."""
    named = allowed_origins(others)

    def allowed(origin: str | None, environ: dict[str, str]) -> bool:
        asking = origin_of(origin)
        if asking is None:
            return False
        return asking == own_origin(environ["wsgi.url_scheme"], environ.get("HTTP_HOST")) or asking in named

    return allowed
