"""The product as one ASGI application: login, guarded Socket.IO server, page."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from roomkey.extras import needs

with needs("server", "roomkey.server.app"):
    from fastapi import FastAPI, Request, Response
    from fastapi.middleware.cors import CORSMiddleware
    from fastapi.responses import HTMLResponse
    from fastapi.staticfiles import StaticFiles
    from pydantic import BaseModel
    from starlette.exceptions import HTTPException
    from starlette.types import ASGIApp, Receive, Scope, Send

from roomkey import Issuer, Key, KeySet, Policy, Verifier, __version__
from roomkey.auth import Cookies, LoginService, Passwords, Tickets, TicketVerifier, jwks_router, oauth_router, router
from roomkey.auth.cookies import CSRF_HEADER
from roomkey.auth.http import OAuthError, get_and_head
from roomkey.core.keys import LiveKey, LiveKeySet
from roomkey.guard.guard import Guard
from roomkey.keysets.files import signing_key
from roomkey.keysets.folder import KeyFolder
from roomkey.server import page
from roomkey.server.api import admin_router
from roomkey.server.backends import Engine, make_engine
from roomkey.server.chat import serve_chat
from roomkey.server.request_hardening import RequestHardening
from roomkey.server.settings import Settings
from roomkey.stores import Stores

__all__ = ["Application", "build"]

ABOUT = "Tokens, and who may have them. What a token opens is the Socket.IO server at `/socket.io/`."
TAGS = {
    "login": "People log in with a password, see their logins and end them.",
    "oauth": "Applications and services get tokens (OAuth 2.0).",
    "keys": "What others verify tokens with.",
    "administration": "Accounts, revocations, live sockets and rooms, for operators (`roomkey:admin`).",
    "operations": "Whether the server is up.",
}
NO_LENGTH = {
    "description": "The body has no Content-Length.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


@dataclass(frozen=True, slots=True)
class Application:
    """What was built, with the parts that tests and the runner take hold of."""

    asgi: ASGIApp
    http: FastAPI
    engine: Engine
    issuer: Issuer
    verifier: Verifier

    async def close(self) -> None:
        """Close every connection, because the server stops."""
        await self.engine.close()


def build(
    settings: Settings,
    stores: Stores,
    keys: KeySet | KeyFolder,
    *,
    policy: Policy | None = None,
    secret: bytes | None = None,
    passwords: Passwords | None = None,
    rooms: Iterable[str] = (),
    clock: Callable[[], float] = time.time,
) -> Application:
    """Put the product together. Open the stores first; the engine closes ``stores.revocations``.

    Args:
        settings: as :func:`roomkey.server.settings.load_settings` read them.
        stores: accounts, sessions and everything else that is kept; OAuth clients are served where ``settings.issuer``
            is this server's address.
        keys: private keys: a folder that may be rotated meanwhile; or a set that stays, of which the first for
            ``settings.algorithm`` signs and all verify.
        policy: who may do what; if absent, a token opens the rooms that it grants.
        secret: what refresh tokens are derived from, 32 bytes; a new one if absent.
        passwords: how passwords are checked.
        rooms: rooms that the page offers beside those of a person's token.
        clock: seconds since the epoch, for the times in tokens.
    """
    signing, accepted = _sources(keys, settings.algorithm)
    issuer = Issuer(
        signing,
        algorithm=settings.algorithm,
        issuer=settings.issuer,
        audience=settings.audience,
        expires_in=settings.token_lifetime,
        max_token=settings.max_token,
        token_type="at+jwt",  # noqa: S106 - a type, not a password (RFC 9068)
        clock=clock,
    )
    verifier = Verifier(
        accepted,
        algorithms=[settings.algorithm],
        issuer=settings.issuer,
        audience=settings.audience,
        max_token=settings.max_token,
        leeway=0,  # one process makes and checks the tokens, by one clock
    )
    engine = make_engine(settings, TicketVerifier(verifier, stores.single_use), policy, stores.revocations)
    engine.guard.serve_rooms()
    serve_chat(engine.sio, engine.guard)
    http = _http(settings, page.render(via=settings.via, rooms=rooms), _readiness(engine.guard, stores))
    logins = LoginService(
        stores.accounts,
        stores.sessions,
        issuer,
        engine.guard,
        secret=secret if secret is not None else secrets.token_bytes(32),
        passwords=passwords,
        refresh_lifetime=settings.refresh_lifetime,
        refresh_reuse_interval=settings.refresh_reuse_interval,
        clock=clock,
    )
    cookies = Cookies(settings.cors_origins) if settings.cookies else None
    http.include_router(router(logins, cookies=cookies, tickets=Tickets(stores.single_use, clock=clock)))
    http.include_router(jwks_router(accepted, clock=clock))
    if settings.serves_oauth:
        http.include_router(oauth_router(logins, stores.clients, stores.single_use, jwks_path="/.well-known/jwks.json"))
    if settings.admin_api:
        clients = stores.clients if settings.serves_oauth else None
        http.include_router(admin_router(logins, stores.accounts, engine.guard, engine.sio, clients=clients))
    asgi = RequestHardening(engine.asgi(http), script_origins=page.script_origins())
    return Application(asgi=asgi, http=http, engine=engine, issuer=issuer, verifier=verifier)


def _sources(keys: KeySet | KeyFolder, algorithm: str) -> tuple[Key | LiveKey, KeySet | LiveKeySet]:
    """What signs, and what verifies."""
    if isinstance(keys, KeyFolder):
        return keys.signing, keys.accepted
    return signing_key(keys, algorithm), KeySet(key.verifying() for key in keys)


class Readiness(BaseModel):
    """Whether new connections can be decided on."""

    status: Literal["ok", "unavailable"]
    problem: str | None = None


class _Cors(CORSMiddleware):
    """What pages of other origins may ask; not the page on which people log in (RFC 9700 section 2.6)."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].endswith("/oauth/authorize"):
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


class _Http(FastAPI):
    """FastAPI with a document that promises nothing but what happens."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document; its answers are in order, and its tags those of its routes."""
        document = super().openapi()
        operations = [operation for path in document["paths"].values() for operation in path.values()]
        for operation in operations:
            # FastAPI adds 422 wherever there is a parameter. All of them are text, and any text will do.
            answers = {status: said for status, said in operation["responses"].items() if status != "422"}
            if "requestBody" in operation:
                answers["411"] = NO_LENGTH
            operation["responses"] = dict(sorted(answers.items()))
        for unused in ("HTTPValidationError", "ValidationError"):
            document["components"]["schemas"].pop(unused, None)
        used = {tag for operation in operations for tag in operation["tags"]}
        document["tags"] = [{"name": tag, "description": said} for tag, said in TAGS.items() if tag in used]
        return document


def _readiness(guard: Guard, stores: Stores) -> Callable[[], Awaitable[str | None]]:
    """Return what says why new connections or logins fail: revocations cannot be read, or nothing can be written."""

    async def problem() -> str | None:
        return await guard.ready() or await stores.find_problem()

    return problem


def _http(settings: Settings, index: str, problem_now: Callable[[], Awaitable[str | None]]) -> FastAPI:
    # FastAPI's pages of documentation load scripts from a CDN, which the content security policy forbids.
    http = _Http(title="roomkey", version=__version__, description=ABOUT, docs_url=None, redoc_url=None)
    http.router.redirect_slashes = False  # 307 would send a password on
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
    async def refuse(_: Request, error: HTTPException) -> Response:
        code = "not_found" if error.status_code == 404 else "invalid_request"
        return OAuthError(code, f"{error.detail}.", error.status_code, dict(error.headers or {})).response()

    @get_and_head(http, "/", include_in_schema=False)
    async def home() -> HTMLResponse:
        return HTMLResponse(index, headers={"Cache-Control": "no-cache"})

    @get_and_head(http, "/healthz", summary="Whether the server is up", tags=["operations"])
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @get_and_head(
        http,
        "/readyz",
        summary="Whether it can decide about new connections, and write to the database",
        tags=["operations"],
        response_model_exclude_none=True,
        responses={503: {"model": Readiness, "description": "It cannot: `problem` says why."}},
    )
    async def ready(response: Response) -> Readiness:
        problem = await problem_now()
        if problem is None:
            return Readiness(status="ok")
        response.status_code = 503
        return Readiness(status="unavailable", problem=problem)

    return http
