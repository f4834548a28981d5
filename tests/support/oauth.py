"""A login server with OAuth clients, in the test's process and with the test's clock."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
from argon2 import PasswordHasher
from fastapi import FastAPI
from support.clock import FakeClock

from roomkey import Issuer, Key, Verifier
from roomkey.auth import LoginService, Passwords, StandaloneAuthority, TokenAuthority, oauth_router, router
from roomkey.stores import (
    Account,
    Client,
    Database,
    SqlAccounts,
    SqlClients,
    SqlProviderLinks,
    SqlSessions,
    SqlSingleUseStore,
)
from roomkey.stores.sql import Where

URL = "https://login.example"
PASSWORD = "correct horse battery"
SECRET = "s3cret-of-the-backend-0123456789abcdef"
BACK = "https://app.example/back?tenant=7"
BASIC = ("backend", SECRET)

HASH = hashlib.sha256(SECRET.encode()).hexdigest()
CODE = ("authorization_code", "refresh_token")
CLIENTS = (
    Client(
        "page", title="The <b>Page</b>", redirect_uris=(BACK, "com.app://back"), grants=CODE, scopes=("chat", "files")
    ),
    Client("backend", HASH, "Backend", (BACK,), (*CODE, "client_credentials"), ("chat", "jobs"), ("worker",), ("red",)),
    Client("short", redirect_uris=(BACK,), grants=("authorization_code",)),
    Client("service", HASH, grants=("client_credentials",), redirect_uris=(BACK,)),
    Client("gone", HASH, "Gone", (BACK,), (*CODE, "client_credentials"), disabled=True),
    Client("ada", HASH, grants=("client_credentials",)),
)


def challenge_of(verifier: str) -> str:
    """Return the S256 challenge (RFC 7636 section 4.2)."""
    return urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def query_of(url: str) -> dict[str, str]:
    """Return the parameters of an address, and assert that each occurs once."""
    pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True, strict_parsing=True)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


class Form(HTMLParser):
    """Return the form of a page, as a browser would send it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.action = self.method = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attributes}
        if tag == "form":
            self.action, self.method = named["action"], named["method"]
        if tag == "input":
            self.fields[named["name"]] = named.get("value", "")


class Desk:
    """The login server.

    Args:
        where: of its tables.
        url: its address.
        start: the time at which its clock stands, in seconds since the epoch.
        make_authority: what holds live sockets, made with the verifier of its tokens.
        back: where the clients want their codes.

    Attributes:
        clock: its time.
        http: a browser, or a client, that asks it.
    """

    def __init__(
        self,
        where: Where = None,
        *,
        url: str = URL,
        start: float | None = None,
        make_authority: Callable[[Verifier], TokenAuthority] | None = None,
        back: str = BACK,
    ) -> None:
        self.clock = FakeClock() if start is None else FakeClock(start)
        self.back = back
        database = Database.at(where)
        self.accounts = SqlAccounts(database)
        self.sessions = SqlSessions(database)
        self.clients = SqlClients(database)
        self.single_use = SqlSingleUseStore(database)
        self.links = SqlProviderLinks(database)
        key = Key.generate("ES256")
        self.issuer = Issuer(key, issuer=url, audience="chat", expires_in=600, clock=self.clock.now)
        verifier = self.issuer.verifier(leeway=0)
        self.authority = (
            make_authority(verifier) if make_authority else StandaloneAuthority(verifier, clock=self.clock.now)
        )
        self.passwords = Passwords(hasher=PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        self.logins = LoginService(
            self.accounts,
            self.sessions,
            self.issuer,
            self.authority,
            secret=b"k" * 32,
            passwords=self.passwords,
            clock=self.clock.now,
        )
        self.app = FastAPI()
        # include_router would create each route again, which takes longer than most tests.
        self.app.routes.extend(router(self.logins).routes)
        self.app.routes.extend(oauth_router(self.logins, self.clients, self.single_use).routes)
        transport = httpx.ASGITransport(self.app, client=("192.0.2.1", 5))
        self.http = httpx.AsyncClient(transport=transport, base_url=url)

    @classmethod
    @asynccontextmanager
    async def opened(cls, where: Where = None, **settings: Any) -> AsyncIterator[Desk]:
        desk = cls(where, **settings)
        await desk.accounts.open()
        hashed = await desk.passwords.hash(PASSWORD)
        await desk.accounts.add(Account("ada", hashed, roles=("admin",), rooms=("red",)))
        await desk.accounts.add(Account("eve", hashed))
        for client in CLIENTS:
            uris = tuple(desk.back if uri == BACK else uri for uri in client.redirect_uris)
            await desk.clients.add(replace(client, redirect_uris=uris))
        yield desk
        await desk.http.aclose()
        desk.passwords.close()
        await desk.accounts.close()

    async def post(self, path: str, auth: tuple[str, str] | None = None, **fields: str) -> httpx.Response:
        """Send a form to one of the endpoints."""
        given = {} if auth is None else {"auth": auth}
        return await self.http.post(f"/oauth/{path}", data=fields, **given)  # type: ignore[arg-type]

    async def show(self, **changed: str | None) -> httpx.Response:
        """Return the page, as a browser opens it for a client."""
        asked = {
            "response_type": "code",
            "client_id": "page",
            "redirect_uri": self.back,
            "state": "af0ifjsldkj&=ü",
            "code_challenge": challenge_of("v" * 43),
            "code_challenge_method": "S256",
        }
        merged = {name: value for name, value in (asked | changed).items() if value is not None}
        return await self.http.get("/oauth/authorize", params=merged)

    async def submit(self, page: httpx.Response, **typed: str) -> httpx.Response:
        """Fill in the form of a page and send it."""
        form = Form(page.text)
        assert (form.action, form.method) == ("authorize", "post")
        filled = {"username": "ada", "password": PASSWORD, "decision": "allow"}
        return await self.http.post(page.url.join(form.action), data=form.fields | filled | typed)

    async def code(self, verifier: str = "v" * 43, **changed: str | None) -> str:
        """Return a code that Ada has just granted to a client."""
        page = await self.show(code_challenge=challenge_of(verifier), **changed)
        answer = await self.submit(page)
        assert answer.status_code == 303, answer.text
        return query_of(answer.headers["location"])["code"]

    async def redeem(self, code: str, auth: tuple[str, str] | None = None, **changed: str) -> httpx.Response:
        """Exchange a code for tokens."""
        sent = {"grant_type": "authorization_code", "code": code, "redirect_uri": self.back, "code_verifier": "v" * 43}
        return await self.post("token", auth, **(sent | ({} if auth else {"client_id": "page"}) | changed))

    async def logged_in(self, **changed: str) -> dict[str, Any]:
        """Return tokens that the client ``page`` received for Ada."""
        answer = await self.redeem(await self.code(**changed))
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def refresh(self, token: str, auth: tuple[str, str] | None = None, **changed: str) -> httpx.Response:
        """Use a refresh token."""
        named = {} if auth else {"client_id": "page"}
        return await self.post("token", auth, grant_type="refresh_token", refresh_token=token, **(named | changed))

    async def introspect(self, token: str) -> dict[str, Any]:
        """Return what introspection tells the backend about a token."""
        answer = await self.post("introspect", BASIC, token=token)
        assert answer.status_code == 200, answer.text
        return answer.json()
