"""A chat whose users are in your own table. Run it: ``uvicorn server:asgi``."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from users import OwnPasswords, OwnUsers

from roomkey import Issuer, Key, Policy
from roomkey.auth import LoginService, router
from roomkey.hub import ASGIApp, Hub
from roomkey.keysets import load_or_create_secret
from roomkey.policies import rooms_claim
from roomkey.stores import Stores

SECRET = os.environ["ROOMKEY_SECRET"]  # at least 32 bytes
stores = Stores.at("roomkey.sqlite3")  # login sessions and revocations; the users stay in their own table
users = OwnUsers("people.sqlite3")
issuer = Issuer(Key.from_secret(SECRET), issuer="own-users", audience="chat", token_type="at+jwt")
policy = Policy()
policy.room("*")(rooms_claim)
hub = Hub(issuer.verifier(), policy=policy, revocations=stores.revocations)
hub.guard.serve_rooms()
hub.guard.relay("message")
logins = LoginService(
    users,
    stores.sessions,
    issuer,
    hub.guard,
    secret=load_or_create_secret(Path("refresh.secret")),
    passwords=OwnPasswords(),
)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with stores:  # opens the database at startup, and closes it at shutdown
        yield


app = FastAPI(lifespan=lifespan)
app.include_router(router(logins))
asgi = ASGIApp(hub, app)
