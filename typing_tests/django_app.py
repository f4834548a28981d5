"""The server and the views of a Django project. Django itself has no types."""

from __future__ import annotations

from typing import assert_type

import socketio
from django.http import HttpRequest, HttpResponse

from roomkey import Identity
from roomkey.django import AsyncGuard, Guard, issue_token, requires, uses_database

sio = socketio.AsyncServer(async_mode="asgi")
guard = AsyncGuard(grace=10)
guard.attach(sio, allowed_origins=["https://app.example"])
guard.attach(sio, own_joins="always")  # type: ignore[arg-type]

threads = Guard(grace=10)
threads.attach(socketio.Server(async_mode="threading"))
assert_type(threads.verify("token"), Identity)


@requires(role="editor", max_auth_age=300)
def news(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.identity.subject)


@requires(scope=["news"])
async def feed(request: HttpRequest) -> HttpResponse:
    assert_type(await guard.verify("token"), Identity)
    return HttpResponse(issue_token(request.user, expires_in=60))


requires(roles="editor")  # type: ignore[call-arg]


@uses_database
def member(who: Identity, team: str) -> bool:
    return team in who.rooms
