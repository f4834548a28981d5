"""A Starlette application whose routes accept the tokens of its sockets."""

from __future__ import annotations

from typing import assert_type

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from roomkey import Identity, Verifier
from roomkey.starlette import RoomKey, User

tokens = RoomKey(Verifier.oidc("https://sso.example", audience="chat"), required=False)
RoomKey(None)  # type: ignore[arg-type]
tokens.requires(max_auth_age="300")  # type: ignore[arg-type]


@tokens.requires(role="editor")
async def news(request: Request) -> JSONResponse:
    who = await tokens.identity(request)
    assert_type(who, Identity)
    assert isinstance(request.user, User)
    assert_type(request.user.token, Identity)
    return JSONResponse(who.subject)


@tokens.requires()
async def feed(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close()


site = Starlette(
    routes=[Route("/news", news), WebSocketRoute("/feed", feed)],
    middleware=[Middleware(AuthenticationMiddleware, backend=tokens, on_error=tokens.on_error)],
)
