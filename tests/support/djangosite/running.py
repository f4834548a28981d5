"""A server of the project on the test's event loop, and its users. Django is configured before anything is called."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from asgiref.sync import sync_to_async
from support.live import Raw, new_server
from support.live import serve as serve_asgi


@dataclass
class Site:
    """A running server of the project: Django's views and guarded sockets."""

    host: str
    http: httpx.AsyncClient
    sio: Any
    guard: Any

    async def connect(self, token: str) -> Raw:
        """Return an admitted client."""
        raw = await Raw.open(self.host)
        reply = await raw.ask({"token": token})
        assert reply.startswith("40"), reply
        return raw


@asynccontextmanager
async def running(**changes: Any) -> AsyncIterator[Site]:
    """Run the project under ASGI."""
    import socketio
    from django.core.asgi import get_asgi_application

    from roomkey.django import AsyncGuard

    sio = new_server()
    guard = AsyncGuard(**changes)
    guard.attach(sio)
    guard.serve_rooms()
    async with (
        serve_asgi(socketio.ASGIApp(sio, get_asgi_application())) as host,
        httpx.AsyncClient(base_url=f"http://{host}") as http,
    ):
        yield Site(host, http, sio, guard)
        await guard.close()


@sync_to_async
def add_user(username: str = "ada", *groups: str, password: str = "correct horse") -> Any:
    """Add a user to the database."""
    from django.contrib.auth.models import Group, User

    user = User.objects.create_user(username, password=password)
    user.groups.set([Group.objects.get_or_create(name=name)[0] for name in groups])
    return user


async def token_of(user: Any, **arguments: Any) -> str:
    """Return an access token of a user."""
    from roomkey.django import issue_token

    return await sync_to_async(issue_token)(user, **arguments)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
