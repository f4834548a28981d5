"""Tokens in the routes of FastAPI applications, as dependencies."""

from __future__ import annotations

from typing import Annotated

import httpx
import pytest
from fastapi import Depends, FastAPI, Security, WebSocket
from fastapi.responses import JSONResponse
from support.clock import FakeClock
from support.live import serve
from support.tokens import SECRET, issuer_at
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from roomkey import ConfigError, Identity, Policy, Verifier
from roomkey.fastapi import AuthHTTPException, Handshake, RoomKey
from roomkey.socketio import AsyncGuard

BEARER = 'Bearer realm="roomkey"'
CLOCK = FakeClock()
ISSUER = issuer_at(CLOCK)
GUARD = AsyncGuard(
    Verifier.hs256(SECRET, issuer="https://login.example", audience="chat"),
    clock=CLOCK,
    policy=Policy(roles="admin > editor"),
)
tokens = RoomKey(GUARD)
page = RoomKey(GUARD, via=Handshake(cookie="session"), required=False)


async def current_user(who: Annotated[Identity, Depends(tokens.identity)]) -> str:
    return who.subject


def application() -> FastAPI:
    app = FastAPI()

    @app.get("/open")
    async def anybody() -> str:
        return "open"

    @app.get("/me")
    async def me(who: Annotated[Identity, Depends(tokens.identity)]) -> str:
        return who.subject

    @app.get("/sync")
    def me_too(who: Annotated[Identity, Depends(tokens.identity)]) -> str:
        return who.subject

    @app.get("/news", dependencies=[Depends(tokens.requires(scope="news"))])
    async def news(who: Annotated[Identity, Depends(tokens.requires(role="editor"))]) -> str:
        return who.subject

    @app.get("/nested")
    async def nested(name: Annotated[str, Security(current_user, scopes=["chat", "news"])]) -> str:
        return name

    @app.get("/recent")
    async def recent(who: Annotated[Identity, Depends(tokens.requires(max_auth_age=300))]) -> str:
        return who.subject

    @app.websocket("/feed")
    async def feed(websocket: WebSocket, who: Annotated[Identity, Depends(tokens.requires(role="editor"))]) -> None:
        await websocket.accept()
        await websocket.send_text(who.subject)
        await websocket.close()

    return app


def http(app=None):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app or application()), base_url="https://chat.example")


def bearer(subject="ada", **claims):
    return {"Authorization": f"Bearer {ISSUER.issue(subject, **claims)}"}


@pytest.mark.parametrize("path", ["/me", "/sync"])
async def test_identity_is_that_of_a_valid_token(path):
    async with http() as client:
        assert (await client.get(path, headers=bearer())).json() == "ada"
        answer = await client.get(path)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, BEARER)
        answer = await client.get(path, headers={"Authorization": "Bearer a.b.c"})
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, f'{BEARER}, error="invalid_token"')
        assert answer.json() == {"detail": "invalid token"}
        assert (await client.get("/open", headers={"Authorization": "Bearer a.b.c"})).status_code == 200


async def test_requires_denies_users_without_the_right():
    async with http() as client:
        assert (await client.get("/news", headers=bearer(roles=["editor"], scopes=["news"]))).json() == "ada"
        assert (await client.get("/news", headers=bearer(roles=["admin"], scopes=["news"]))).json() == "ada"
        answer = await client.get("/news", headers=bearer(scopes=["news"]))
        assert (answer.status_code, answer.headers["www-authenticate"]) == (
            403,
            f'{BEARER}, error="insufficient_scope"',
        )
        answer = await client.get("/news", headers=bearer(roles=["editor"]))
        assert answer.headers["www-authenticate"] == f'{BEARER}, error="insufficient_scope", scope="news"'
        assert (await client.get("/news")).status_code == 401


async def test_scopes_of_security_dependencies_are_required():
    async with http() as client:
        assert (await client.get("/nested", headers=bearer(scopes=["news", "chat"]))).json() == "ada"
        answer = await client.get("/nested", headers=bearer(scopes=["news"]))
        expected = f'{BEARER}, error="insufficient_scope", scope="chat news"'
        assert (answer.status_code, answer.headers["www-authenticate"]) == (403, expected)


async def test_requires_rejects_old_logins():
    async with http() as client:
        assert (await client.get("/recent", headers=bearer())).status_code == 200
        answer = await client.get("/recent", headers=bearer(claims={"auth_time": CLOCK.now() - 301}))
        assert answer.status_code == 401
        assert 'error="insufficient_user_authentication", max_age="300"' in answer.headers["www-authenticate"]


async def test_revoked_token_is_rejected():
    async with http() as client:
        headers = bearer("bob", token_id="of-bob")
        assert (await client.get("/me", headers=headers)).status_code == 200
        await GUARD.revoke(token_id="of-bob")
        assert (await client.get("/me", headers=headers)).json() == {"detail": "jwt revoked"}


async def test_openapi_document_has_the_scheme_on_protected_routes_only():
    document = application().openapi()
    schemes = document["components"]["securitySchemes"]
    assert schemes == {
        "access_token": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "An access token.",
        }
    }
    locked = {path for path, item in document["paths"].items() if item["get"].get("security")}
    assert locked == {"/me", "/sync", "/news", "/nested", "/recent"}
    assert all("parameters" not in item["get"] for item in document["paths"].values())


@pytest.mark.parametrize(
    ("via", "scheme"),
    [
        (Handshake(cookie="session"), {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}),
        (Handshake(header=False, cookie="session"), {"type": "apiKey", "in": "cookie", "name": "session"}),
        (Handshake(header="X-Token"), {"type": "apiKey", "in": "header", "name": "X-Token"}),
        (Handshake(header=False, query="token"), {"type": "apiKey", "in": "query", "name": "token"}),
    ],
)
def test_openapi_document_says_where_the_token_is(via, scheme):
    app = FastAPI()
    app.get("/me", dependencies=[Depends(RoomKey(GUARD, via=via).identity)])(lambda: None)
    [found] = app.openapi()["components"]["securitySchemes"].values()
    assert found == scheme | {"description": "An access token."}


async def test_applications_handler_receives_the_reason():
    app = application()

    @app.exception_handler(AuthHTTPException)
    async def answer(request, failed):
        return JSONResponse({"reason": failed.error.reason}, failed.status_code, failed.headers)

    async with http(app) as client:
        CLOCK.advance(1)
        expired = bearer(expires_in=-60)
        told = await client.get("/me", headers=expired)
        assert (told.status_code, told.json()) == (401, {"reason": "token_expired"})


async def test_websocket_route_requires_a_token():
    async with serve(application()) as host:
        async with connect(f"ws://{host}/feed", additional_headers=bearer(roles=["editor"])) as socket:
            assert await socket.recv() == "ada"
        for headers in ({}, {"Authorization": "Bearer a.b.c"}, bearer()):
            with pytest.raises(InvalidStatus, match="403"):
                await connect(f"ws://{host}/feed", additional_headers=headers)


async def test_guests_and_cookies_are_accepted_if_asked_for():
    app = FastAPI()

    @app.get("/me")
    async def me(who: Annotated[Identity, Depends(page.identity)]) -> str:
        return who.subject or "guest"

    async with http(app) as client:
        cookie = {"Cookie": f"session={ISSUER.issue('ada')}"}
        assert (await client.get("/me")).json() == "guest"
        assert (await client.get("/me", headers=cookie)).json() == "guest"
        assert (await client.get("/me", headers=cookie | {"Sec-Fetch-Site": "same-origin"})).json() == "ada"


def test_unusable_arguments_are_errors():
    with pytest.raises(ConfigError, match="verifier"):
        RoomKey("secret")
    with pytest.raises(ConfigError, match="scope"):
        tokens.requires(scope="")
