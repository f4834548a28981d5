"""Protected routes in aiohttp."""

from __future__ import annotations

from typing import assert_type

from aiohttp import web
from aiohttp.typedefs import Handler

from roomkey import AuthError, Identity, Verifier
from roomkey.routes import RoomKey, RouteError
from roomkey.socketio import AsyncGuard

tokens = RoomKey(AsyncGuard(Verifier.hs256("secret", audience="chat")))
RoomKey(Verifier)  # type: ignore[arg-type]


@web.middleware
async def respond(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except RouteError as error:
        assert_type(error.error, AuthError)
        return web.json_response(error.body, status=error.status, headers=error.headers)


async def me(request: web.Request) -> web.Response:
    who = await tokens.identity(request.headers.items(), role="editor", scope=["news"], max_auth_age=300)
    assert_type(who, Identity)
    await tokens.identity(request.headers)  # type: ignore[arg-type]
    await tokens.identity(request.headers.items(), roles="editor")  # type: ignore[call-arg]
    return web.json_response({"subject": who.subject})


app = web.Application(middlewares=[respond])
app.router.add_get("/me", me)
