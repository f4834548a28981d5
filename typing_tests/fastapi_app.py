"""A FastAPI application whose routes accept the tokens of its sockets."""

from __future__ import annotations

from typing import Annotated, assert_type

import socketio
from fastapi import Depends, FastAPI, Request, Security
from fastapi.responses import JSONResponse

from roomkey import AuthError, Identity, Verifier
from roomkey.fastapi import AuthHTTPException, Handshake, RoomKey
from roomkey.hub import Hub
from roomkey.socketio import AsyncGuard

sio = socketio.AsyncServer(async_mode="asgi")
guard = AsyncGuard(Verifier.hs256("secret", audience="chat"))
guard.attach(sio)

tokens = RoomKey(guard, via=Handshake(cookie="session"), allowed_origins=["https://app.example"])
RoomKey(Hub(Verifier.hs256("secret")))
RoomKey(Verifier.any_of(Verifier.hs256("a", issuer="a"), Verifier.introspection("https://b.example", ("a", "b"))))
RoomKey("secret")  # type: ignore[arg-type]
RoomKey(guard, required="no")  # type: ignore[arg-type]

User = Annotated[Identity, Depends(tokens.identity)]
Editor = Annotated[Identity, Depends(tokens.requires(role=("editor", "admin"), scope="news", max_auth_age=300))]
tokens.requires("editor")  # type: ignore[call-arg]
tokens.requires(role=7)  # type: ignore[arg-type]
tokens.requires(roles="editor")  # type: ignore[call-arg]

app = FastAPI()


@app.get("/me")
async def me(who: User) -> str:
    assert_type(who, Identity)
    return who.subject


@app.post("/news", dependencies=[Security(tokens.identity, scopes=["news"])])
async def news(text: str, who: Editor) -> None:
    await sio.emit("news", {"from": who.subject, "text": text})


@app.exception_handler(AuthHTTPException)
async def respond(request: Request, refused: AuthHTTPException) -> JSONResponse:
    assert_type(refused.error, AuthError)
    return JSONResponse(refused.error.to_client(), refused.status_code, refused.headers)
