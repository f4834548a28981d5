"""The Socket.IO server of ``roomkey serve``: the hub, or python-socketio with the guard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from roomkey.extras import needs

with needs("server", "roomkey.server.backends"):
    from starlette.types import ASGIApp

from roomkey import DPoP, Policy, hub
from roomkey.auth import ACCESS_COOKIE
from roomkey.bus import Cluster
from roomkey.core.dpop import ProofStore
from roomkey.core.origins import allowed_origins, origin_of, own_origin
from roomkey.errors import ConfigError
from roomkey.guard.guard import AsyncioGuard
from roomkey.guard.settings import AnyVerifier
from roomkey.hub import Authenticate, Handshake, Hub, Limits, SubjectLimits
from roomkey.policies import emit_claim, rooms_claim
from roomkey.server.chat import SocketServer
from roomkey.server.request_hardening import MAX_BODY
from roomkey.server.settings import Settings
from roomkey.stores import RevocationStore

__all__ = ["SocketBackend", "make_backend", "rooms_of_tokens"]


@dataclass(frozen=True, slots=True)
class SocketBackend:
    """A guarded Socket.IO server.

    Attributes:
        sio: the server, with the methods ``on``, ``emit`` and so on.
        guard: its guard.
        close: closes all connections.
        asgi: combines the server with an ASGI application that serves all other paths.
    """

    sio: SocketServer
    guard: AsyncioGuard
    close: Callable[[], Any]
    asgi: Callable[[ASGIApp], ASGIApp]


def make_backend(
    settings: Settings,
    verifier: AnyVerifier,
    policy: Policy | None = None,
    revocations: RevocationStore | None = None,
    proofs: ProofStore | None = None,
    cluster: Cluster | None = None,
) -> SocketBackend:
    """Return the backend that ``settings.engine`` names.

    If the policy has rules about who is in a room, clients can ask: see :meth:`roomkey.hub.Hub.serve_members`.

    Args:
        settings: the settings of the server.
        verifier: verifies tokens.
        policy: the rules. By default, those of :func:`rooms_of_tokens`.
        revocations: the store of revocations. By default, they are kept in memory.
        proofs: where several processes share the DPoP proofs that were used.
        cluster: the cluster to which this process belongs; only for the hub.

    Raises:
        ConfigError: the engine cannot tell clients who is in a room.
    """
    options = _guard_options(settings, proofs if cluster is not None else None) | {
        "policy": policy or rooms_of_tokens(),
        "revocations": revocations,
    }
    if settings.engine == "hub":
        return _hub(settings, verifier, options | {"cluster": cluster})
    return _python_socketio(settings, verifier, options)


def rooms_of_tokens() -> Policy:
    """Return the policy of a server without rules: a token allows the rooms that it names, the role ``admin`` all."""
    policy = Policy()
    policy.room("*")(rooms_claim)
    policy.emit("*")(emit_claim)
    return policy


def _hub(settings: Settings, verifier: AnyVerifier, options: dict[str, Any]) -> SocketBackend:
    origins = settings.cors_origins or None
    server = Hub(verifier, cors_allowed_origins=origins, limits=Limits(payload=MAX_BODY), **options)
    if _has_presence(options["policy"]):
        server.serve_members()
    return SocketBackend(server, server.guard, server.close, lambda app: hub.ASGIApp(server, app))


def _python_socketio(settings: Settings, verifier: AnyVerifier, options: dict[str, Any]) -> SocketBackend:
    if _has_presence(options["policy"]):
        raise ConfigError("[[presence]] requires the hub; remove engine = python-socketio, or remove [[presence]]")
    import socketio  # imported only if it is used, because that takes a while

    from roomkey.socketio import AsyncGuard

    sio = socketio.AsyncServer(
        async_mode="asgi",
        cors_allowed_origins=_origin_check(settings.cors_origins),
        max_http_buffer_size=MAX_BODY,
    )
    guard = AsyncGuard(verifier, **options)
    guard.attach(sio)
    return SocketBackend(sio, guard, guard.close, lambda app: socketio.ASGIApp(sio, app))


def _has_presence(policy: Policy) -> bool:
    return any(rule.kind == "presence" for rule in policy.written_rules())


def _guard_options(settings: Settings, proofs: ProofStore | None) -> dict[str, Any]:
    """Return the guard settings, which are the same for both backends."""
    handshake = Handshake(
        auth=settings.auth_member or True,
        header=settings.token_header or True,
        cookie=ACCESS_COOKIE if settings.cookies else None,
    )
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
        "dpop": DPoP(settings.sockets_url, store=proofs) if settings.sockets_url is not None else None,
    }


def _origin_check(others: tuple[str, ...]) -> Callable[[str | None, dict[str, str]], bool]:
    """Return the function that tells engineio which origins may connect."""
    named = allowed_origins(others)

    def allowed(origin: str | None, environ: dict[str, str]) -> bool:
        requested = origin_of(origin)
        if requested is None:
            return False
        own = own_origin(environ["wsgi.url_scheme"], environ.get("HTTP_HOST"))
        return requested == own or requested in named

    return allowed
