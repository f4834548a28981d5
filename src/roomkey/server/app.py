"""The ASGI application of ``roomkey serve``: login, guarded Socket.IO server, admin API and page."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from roomkey.extras import needs

with needs("server", "roomkey.server.app"):
    from fastapi import APIRouter, FastAPI, Request, Response
    from fastapi.middleware.cors import CORSMiddleware
    from fastapi.responses import HTMLResponse
    from fastapi.staticfiles import StaticFiles
    from pydantic import BaseModel
    from starlette.exceptions import HTTPException
    from starlette.types import Receive, Scope, Send

from roomkey import Issuer, Key, KeySet, Policy, Verifier, __version__
from roomkey.auth import (
    Cookies,
    LoginService,
    Passwords,
    Tickets,
    TicketVerifier,
    journal_router,
    jwks_router,
    oauth_router,
    provider_router,
    router,
)
from roomkey.auth.cookies import CSRF_HEADER
from roomkey.auth.http import OAuthError, get_and_head
from roomkey.auth.shared_throttle import SharedThrottles
from roomkey.bus import Cluster
from roomkey.bus.node import Node
from roomkey.core.any_of import TokenVerifier
from roomkey.core.key_set import LiveKeySet
from roomkey.core.keys import LiveKey
from roomkey.guard.guard import AsyncioGuard
from roomkey.hub import Hub
from roomkey.keysets import KeyFolder, signing_key
from roomkey.server import page
from roomkey.server.api import admin_router
from roomkey.server.backends import SocketBackend, make_backend
from roomkey.server.chat import serve_chat
from roomkey.server.provider_logins import login_providers, login_site
from roomkey.server.provider_tokens import ProviderStatus, ProviderTokens, accept_all, all_tokens
from roomkey.server.providers import Provider
from roomkey.server.request_hardening import RequestHardening
from roomkey.server.settings import Settings
from roomkey.server.shared_keys import CompareKeys
from roomkey.stores import Stores

if TYPE_CHECKING:
    from roomkey.server.metrics import Metrics

__all__ = ["Application", "build"]

ABOUT = "Log in, get tokens and manage accounts. The tokens are for the Socket.IO server at `/socket.io/`."
TAGS = {
    "login": "Log in with a password or at a provider; list and end login sessions.",
    "oauth": "Tokens for applications and services (OAuth 2.0).",
    "keys": "The keys that verify tokens.",
    "administration": "Accounts, revocations, connected sockets and rooms, for operators (`roomkey:admin`).",
    "operations": "The health of the server.",
}
NO_LENGTH = {
    "description": "The body has no Content-Length.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


@dataclass(frozen=True, slots=True)
class Application:
    """The built application, and the parts of it that the runner and tests use."""

    asgi: RequestHardening
    http: FastAPI
    backend: SocketBackend
    issuer: Issuer
    verifier: TokenVerifier
    providers: tuple[ProviderTokens, ...] = ()
    metrics: Metrics | None = None

    async def close(self) -> None:
        """Close all connections, because the server stops."""
        if self.metrics is not None:
            self.metrics.close()
        await self.backend.close()


def build(
    settings: Settings,
    stores: Stores,
    keys: KeySet | KeyFolder,
    *,
    policy: Policy | None = None,
    providers: Mapping[str, Provider] | None = None,
    secret: bytes | None = None,
    passwords: Passwords | None = None,
    rooms: Iterable[str] = (),
    problem: Callable[[], str | None] = lambda: None,
    cluster: Cluster | None = None,
    worker: str = "1",
    machine: str = "",
    clock: Callable[[], float] = time.time,
) -> Application:
    """Build the application. Open the stores first; the backend closes ``stores.revocations``.

    Args:
        settings: the settings, from :func:`roomkey.server.settings_sources.load_settings`.
        stores: accounts, login sessions and all other records. OAuth clients are served if ``settings.issuer`` is this
            server's URL.
        keys: private keys: a folder, which can be rotated while the server runs, or a set. In a set, the first key for
            ``settings.algorithm`` signs, and all keys verify.
        policy: the rules. By default, a token allows the rooms that it names.
        providers: the providers whose tokens are accepted, or at which users can log in, by name: from
            :func:`roomkey.server.providers.load_providers`.
        secret: 32 bytes from which refresh tokens are derived. By default, random.
        passwords: checks passwords.
        rooms: rooms that the page offers in addition to those of the user's token.
        problem: returns why this process is not ready, such as its stop, or None.
        cluster: the cluster to which this process belongs, from :func:`roomkey.server.cluster.make_cluster`.
        worker: the number of this process among those that serve the port, from 1.
        machine: what these processes have in common, and no other node of the cluster.
        clock: seconds since the epoch, for the times in tokens.
    """
    signing, accepted = _key_sources(keys, settings.algorithm)
    issuer = _issuer(settings, signing, clock)
    named = providers or {}
    others = all_tokens(named)
    verifier = accept_all(_verifier(settings, accepted), others)
    tickets = TicketVerifier(verifier, stores.single_use)
    backend = make_backend(settings, tickets, policy, stores.revocations, stores.single_use, cluster)
    backend.guard.serve_rooms()
    serve_chat(backend.sio, backend.guard)
    logins = LoginService(
        stores.accounts,
        stores.sessions,
        issuer,
        backend.guard,
        secret=secret if secret is not None else secrets.token_bytes(32),
        passwords=passwords,
        refresh_lifetime=settings.refresh_lifetime,
        refresh_reuse_interval=settings.refresh_reuse_interval,
        clock=clock,
    )
    hub = backend.sio if isinstance(backend.sio, Hub) else None
    node = None if hub is None else hub.application.node
    if node is not None:
        _share_throttles(logins, node)
        CompareKeys(node, accepted, clock)
    index = page.render(via=settings.via, rooms=rooms, providers=login_providers(named))
    http = _http(settings, index, _readiness(problem, node, backend.guard, stores, others))
    for routes in _routers(settings, stores, logins, backend, accepted, named, clock):
        http.include_router(routes)
    metrics = None
    if settings.metrics:
        # imported only if they are served, because prometheus-client takes a while
        from roomkey.server.metrics import Metrics
        from roomkey.server.metrics_route import metrics_router

        metrics = Metrics(backend.guard, hub, node, worker=worker, machine=machine)
        http.include_router(metrics_router(metrics, logins, stores, backend.guard, behind_proxy=settings.behind_proxy))
    for other in others:
        other.prefetch()  # so that the first socket does not wait
    asgi = RequestHardening(backend.asgi(http), script_origins=page.script_origins())
    return Application(asgi, http, backend, issuer, verifier, tuple(others), metrics)


def _share_throttles(logins: LoginService, node: Node) -> None:
    """Let wrong passwords and secrets delay attempts on all nodes."""
    shared = SharedThrottles(logins.throttles, partial(node.tell, "failed"), secret=node.secrets.keys("failed")[0])
    node.on("failed", lambda _, message: shared.learn(message))


def _key_sources(keys: KeySet | KeyFolder, algorithm: str) -> tuple[Key | LiveKey, KeySet | LiveKeySet]:
    """Return the key that signs and the keys that verify."""
    if isinstance(keys, KeyFolder):
        return keys.signing, keys.accepted
    return signing_key(keys, algorithm), KeySet(key.verifying() for key in keys)


def _issuer(settings: Settings, signing: Key | LiveKey, clock: Callable[[], float]) -> Issuer:
    return Issuer(
        signing,
        algorithm=settings.algorithm,
        issuer=settings.issuer,
        audience=settings.audience,
        expires_in=settings.token_lifetime,
        max_token=settings.max_token,
        token_type="at+jwt",  # noqa: S106 - a type, not a password (RFC 9068)
        clock=clock,
    )


def _verifier(settings: Settings, accepted: KeySet | LiveKeySet) -> Verifier:
    return Verifier(
        accepted,
        algorithms=[settings.algorithm],
        issuer=settings.issuer,
        audience=settings.audience,
        max_token=settings.max_token,
        leeway=0,  # one process issues and verifies the tokens, with one clock
    )


def _routers(
    settings: Settings,
    stores: Stores,
    logins: LoginService,
    backend: SocketBackend,
    accepted: KeySet | LiveKeySet,
    providers: Mapping[str, Provider],
    clock: Callable[[], float],
) -> Iterator[APIRouter]:
    """Return the routes for which the settings ask."""
    cookies = Cookies(settings.cors_origins) if settings.cookies else None
    yield router(logins, cookies=cookies, tickets=Tickets(stores.single_use, clock=clock))
    site = login_site(settings, providers, stores, logins)
    if site is not None:
        yield provider_router(site, cookies=cookies)
    yield jwks_router(accepted, clock=clock)
    if settings.serves_oauth:
        jwks_path = "/.well-known/jwks.json"
        yield oauth_router(logins, stores.clients, stores.single_use, jwks_path=jwks_path, providers=site)
        yield journal_router(stores.revocations, logins.issuer, stores.clients, throttle=logins.throttles.clients)
    if settings.admin_api:
        clients = stores.clients if settings.serves_oauth else None
        yield admin_router(logins, stores.accounts, backend.guard, backend.sio, clients=clients)


class ProviderReadiness(BaseModel):
    """What is known about the keys of a provider. The server is ready without them: known keys stay in use."""

    name: str
    keys: Literal["empty", "fresh", "stale", "gone"] | None = None
    seconds_since_answer: int | None = None
    kids: list[str] = []
    last_error: str | None = None


class Readiness(BaseModel):
    """Whether the server can admit connections and log users in."""

    status: Literal["ok", "unavailable"]
    problem: str | None = None
    providers: list[ProviderReadiness] | None = None


class _Cors(CORSMiddleware):
    """CORS for all routes except the login form of OAuth (RFC 9700 section 2.6)."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].endswith("/oauth/authorize"):
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


class _Http(FastAPI):
    """FastAPI with an OpenAPI document that lists only responses that can occur."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, with sorted responses and only the tags that routes use."""
        document = super().openapi()
        operations = [operation for path in document["paths"].values() for operation in path.values()]
        for operation in operations:
            # FastAPI adds 422 to each route with a parameter. Ours are texts, and every text is valid.
            responses = {status: text for status, text in operation["responses"].items() if status != "422"}
            if "requestBody" in operation:
                responses["411"] = NO_LENGTH
            operation["responses"] = dict(sorted(responses.items()))
        for unused in ("HTTPValidationError", "ValidationError"):
            document["components"]["schemas"].pop(unused, None)
        used = {tag for operation in operations for tag in operation["tags"]}
        document["tags"] = [{"name": tag, "description": text} for tag, text in TAGS.items() if tag in used]
        return document


def _readiness(
    own_problem: Callable[[], str | None],
    node: Node | None,
    guard: AsyncioGuard,
    stores: Stores,
    providers: Iterable[ProviderTokens],
) -> Callable[[], Awaitable[Readiness]]:
    """Return a function that returns whether connections or logins would fail now."""

    async def readiness() -> Readiness:
        problem = own_problem() or _bus_problem(node) or await guard.ready() or await stores.find_problem()
        about = [_provider_readiness(provider.status()) for provider in providers]
        return Readiness(status="ok" if problem is None else "unavailable", problem=problem, providers=about or None)

    return readiness


def _bus_problem(node: Node | None) -> str | None:
    return None if node is None or node.connected else "the bus is unavailable: the other nodes cannot be reached"


def _provider_readiness(status: ProviderStatus) -> ProviderReadiness:
    return ProviderReadiness.model_validate(
        {
            "name": status.name,
            "keys": status.keys,
            "seconds_since_answer": None if status.age is None else int(status.age),
            "kids": list(status.kids),
            "last_error": status.last_error,
        }
    )


def _http(settings: Settings, index: str, readiness: Callable[[], Awaitable[Readiness]]) -> FastAPI:
    # FastAPI's documentation pages load scripts from a CDN, which the content security policy forbids.
    http = _Http(title="roomkey", version=__version__, description=ABOUT, docs_url=None, redoc_url=None)
    http.router.redirect_slashes = False  # a redirect (307) would send a password again
    if settings.cors_origins:
        http.add_middleware(
            _Cors,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", CSRF_HEADER],
            allow_credentials=settings.cookies,
        )
    http.mount("/static", StaticFiles(directory=page.STATIC))

    @http.exception_handler(HTTPException)
    async def not_served(_: Request, error: HTTPException) -> Response:
        code = "not_found" if error.status_code == 404 else "invalid_request"
        return OAuthError(code, f"{error.detail}.", error.status_code, dict(error.headers or {})).response()

    @get_and_head(http, "/", include_in_schema=False)
    async def home() -> HTMLResponse:
        return HTMLResponse(index, headers={"Cache-Control": "no-cache"})

    @get_and_head(http, "/healthz", summary="Whether the server is running", tags=["operations"])
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @get_and_head(
        http,
        "/readyz",
        summary="Whether the server can admit connections and write to the database",
        tags=["operations"],
        response_model_exclude_none=True,
        responses={503: {"model": Readiness, "description": "It cannot; `problem` contains the reason."}},
    )
    async def ready(response: Response) -> Readiness:
        now = await readiness()
        if now.status != "ok":
            response.status_code = 503
        return now

    return http
