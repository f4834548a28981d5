"""The product as one ASGI application: login, guarded Socket.IO server, page."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import socketio
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from starlette.types import ASGIApp

from roomkey import Issuer, Key, KeySet, Policy, Verifier, __version__
from roomkey.auth.passwords import Passwords
from roomkey.auth.router import router
from roomkey.keysets.files import signing_key
from roomkey.policies import rooms_claim
from roomkey.server import page
from roomkey.server.chat import serve_chat
from roomkey.server.edge import MAX_BODY, Edge
from roomkey.server.settings import Settings
from roomkey.socketio import AsyncGuard, Authenticate, Handshake
from roomkey.stores.accounts import Accounts

__all__ = ["Product", "build"]


@dataclass(frozen=True, slots=True)
class Product:
    """What was built, with the parts that tests and the runner take hold of."""

    asgi: ASGIApp
    http: FastAPI
    sio: socketio.AsyncServer
    guard: AsyncGuard
    issuer: Issuer
    verifier: Verifier


def build(
    settings: Settings,
    accounts: Accounts,
    keys: KeySet,
    *,
    passwords: Passwords | None = None,
    rooms: Iterable[str] = (),
    clock: Callable[[], float] = time.time,
) -> Product:
    """Put the product together. Nothing is opened: ``accounts`` is open already.

    Args:
        settings: as :func:`roomkey.server.settings.load_settings` read them.
        accounts: who may log in.
        keys: private keys; the newest for ``settings.algorithm`` signs, all of them verify.
        passwords: how passwords are checked.
        rooms: rooms that the page offers beside those of a person's token.
        clock: seconds since the epoch, for the times in tokens.
    """
    issuer = Issuer(
        signing_key(keys, settings.algorithm),
        algorithm=settings.algorithm,
        issuer=settings.issuer,
        audience=settings.audience,
        expires_in=settings.token_lifetime,
        clock=clock,
    )
    sio = socketio.AsyncServer(
        async_mode="asgi",
        cors_allowed_origins=_origin_check(settings.cors_origins),
        max_http_buffer_size=MAX_BODY,
    )
    verifier = Verifier(
        KeySet(_public(key) for key in keys),
        algorithms=[settings.algorithm],
        issuer=settings.issuer,
        audience=settings.audience,
        leeway=0,  # one process makes and checks the tokens, by one clock
    )
    guard = _guard(settings, verifier)
    guard.attach(sio)
    guard.serve_rooms()
    serve_chat(sio, guard)
    http = _http(settings, page.render(via=settings.via, rooms=rooms))
    http.include_router(router(accounts, issuer, passwords=passwords))
    asgi = Edge(socketio.ASGIApp(sio, http), script_origins=page.script_origins())
    return Product(asgi=asgi, http=http, sio=sio, guard=guard, issuer=issuer, verifier=verifier)


def _guard(settings: Settings, verifier: Verifier) -> AsyncGuard:
    handshake, authenticate = Handshake(), Authenticate(timeout=settings.authenticate_timeout)
    ways: dict[str, tuple[Handshake | Authenticate, ...]] = {
        "handshake": (handshake,),
        "authenticate": (authenticate,),
        "both": (handshake, authenticate),
    }
    policy = Policy()
    policy.room("*")(rooms_claim)
    return AsyncGuard(verifier, via=ways[settings.via], policy=policy, grace=settings.grace)


def _public(key: Key) -> Key:
    return key if key.kty == "oct" else key.public()


def _origin_check(others: tuple[str, ...]) -> Callable[[str | None, dict[str, str]], bool] | None:
    """Which pages may connect: None is engineio's word for the same origin only."""
    if not others:
        return None

    def allowed(origin: str | None, environ: dict[str, str]) -> bool:
        own = f"{environ['wsgi.url_scheme']}://{environ.get('HTTP_HOST', '')}"
        return origin is not None and origin in (own, *others)

    return allowed


def _http(settings: Settings, index: str) -> FastAPI:
    # FastAPI's pages of documentation load scripts from a CDN, which the content security policy forbids.
    http = FastAPI(title="roomkey", version=__version__, docs_url=None, redoc_url=None)
    if settings.cors_origins:
        http.add_middleware(
            CORSMiddleware, allow_origins=settings.cors_origins, allow_methods=["POST"], allow_headers=["Content-Type"]
        )
    http.mount("/static", StaticFiles(directory=page.STATIC))

    @http.get("/", include_in_schema=False)
    async def home() -> HTMLResponse:
        return HTMLResponse(index, headers={"Cache-Control": "no-cache"})

    @http.get("/healthz", summary="Whether the server is up", tags=["operations"])
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    return http
