"""Tokens in the routes of Starlette applications."""

from __future__ import annotations

import time

import httpx
import pytest
import socketio
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route, WebSocketRoute
from support.clock import FakeClock
from support.live import Raw, serve
from support.tokens import SECRET, issuer_at
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from roomkey import ConfigError, DPoP, Policy, Verifier
from roomkey.hub import Hub
from roomkey.socketio import AsyncGuard
from roomkey.starlette import Handshake, RoomKey, User

BEARER = 'Bearer realm="roomkey"'


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def issuer(clock):
    return issuer_at(clock)


def verifier(**settings):
    return Verifier.hs256(SECRET, issuer="https://login.example", audience="chat", **settings)


@pytest.fixture
def guard(clock):
    return AsyncGuard(verifier(), clock=clock, policy=Policy(roles="admin > editor"))


def http(app, **options):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://chat.example", **options)


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def app_of(tokens, *more, **requires):
    async def me(request):
        who = await tokens.identity(request)
        return JSONResponse({"subject": who.subject, "guest": who.is_guest})

    @tokens.requires(**requires)
    async def news(request):
        return JSONResponse((await tokens.identity(request)).subject)

    return Starlette(routes=[Route("/me", me), Route("/news", news), *more])


async def test_route_returns_identity_of_a_valid_token(guard, issuer):
    async with http(app_of(RoomKey(guard))) as client:
        answer = await client.get("/me", headers=bearer(issuer.issue("ada")))
        assert answer.json() == {"subject": "ada", "guest": False}


async def test_route_rejects_requests_without_a_valid_token(guard, issuer, clock):
    expired = issuer.issue("ada", expires_in=60)
    clock.advance(120)
    async with http(app_of(RoomKey(guard))) as client:
        for headers in ({}, {"Authorization": "Basic YWRhOnB3"}, {"Authorization": ""}):
            answer = await client.get("/me", headers=headers)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, BEARER)
        for token in (expired, issuer.issue("ada")[:-2], "a.b.c", "x" * 100_000):
            answer = await client.get("/me", headers=bearer(token))
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, f'{BEARER}, error="invalid_token"')
            assert token not in answer.text


async def test_route_rejects_several_tokens_and_other_sources(guard, issuer):
    token, other = issuer.issue("ada"), issuer.issue("bob")
    async with http(app_of(RoomKey(guard))) as client:
        twice = [("Authorization", f"Bearer {one}") for one in (token, other)]
        assert (await client.get("/me", headers=twice)).status_code == 401
        assert (await client.get(f"/me?token={token}&access_token={token}")).status_code == 401
        cookie = {"Cookie": f"token={token}", "Origin": "https://chat.example"}
        assert (await client.get("/me", headers=cookie)).status_code == 401


async def test_requires_denies_users_without_the_right(guard, issuer):
    app = app_of(RoomKey(guard), role="editor", scope="chat news")
    async with http(app) as client:
        for roles, scopes in ([], []), (["editor"], []), ([], ["chat", "news"]), (["editors"], ["chat", "news"]):
            answer = await client.get("/news", headers=bearer(issuer.issue("ada", roles=roles, scopes=scopes)))
            expected = f'{BEARER}, error="insufficient_scope", scope="chat news"'
            assert (answer.status_code, answer.headers["www-authenticate"]) == (403, expected)
        for role in ("editor", "admin"):  # the policy's admins are editors
            token = issuer.issue("ada", roles=[role], scopes=["news", "chat"])
            assert (await client.get("/news", headers=bearer(token))).json() == "ada"
        assert (await client.get("/news")).status_code == 401


async def test_requires_rejects_old_logins(guard, issuer, clock):
    token = issuer.issue("ada", expires_in=3600)
    async with http(app_of(RoomKey(guard), max_auth_age=300)) as client:
        assert (await client.get("/news", headers=bearer(token))).status_code == 200
        clock.advance(301)
        answer = await client.get("/news", headers=bearer(token))
        expected = f'{BEARER}, error="insufficient_user_authentication", max_age="300"'
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, expected)


async def test_requires_decorates_synchronous_functions_and_methods(guard, issuer):
    tokens = RoomKey(guard)

    @tokens.requires(role="editor")
    def plain(request):
        return JSONResponse("plain")

    class News(HTTPEndpoint):
        @tokens.requires(role="editor")
        async def get(self, request):
            return JSONResponse("method")

    app = Starlette(routes=[Mount("/in", routes=[Route("/plain", plain), Route("/news", News)])])
    editor, other = bearer(issuer.issue("ada", roles=["editor"])), bearer(issuer.issue("bob"))
    async with http(app) as client:
        for path, expected in (("/in/plain", "plain"), ("/in/news", "method")):
            assert (await client.get(path, headers=editor)).json() == expected
            assert (await client.get(path, headers=other)).status_code == 403
            assert (await client.get(path)).status_code == 401


def test_requires_rejects_classes_and_unusable_arguments(guard):
    tokens = RoomKey(guard)
    with pytest.raises(ConfigError, match="methods"):
        tokens.requires()(HTTPEndpoint)
    with pytest.raises(ConfigError, match="role"):
        tokens.requires(role="")


async def test_revoked_token_is_rejected_by_routes_and_sockets(guard, issuer, clock):
    sio = socketio.AsyncServer(async_mode="asgi")
    guard.attach(sio)
    token = issuer.issue("ada")
    async with serve(socketio.ASGIApp(sio, app_of(RoomKey(guard)))) as host:
        ada = await Raw.open(host)
        assert (await ada.ask({"token": token})).startswith("40")
        async with httpx.AsyncClient(base_url=f"http://{host}", headers=bearer(token)) as client:
            assert (await client.get("/me")).status_code == 200
            assert await guard.revoke(subject="ada") == 1
            assert await ada.is_closed()
            answer = await client.get("/me")
            assert (answer.status_code, answer.text) == (401, "jwt revoked")


async def test_guests_are_accepted_only_if_asked_for(guard, issuer):
    tokens = RoomKey(guard, required=False)
    async with http(app_of(tokens)) as client:
        assert (await client.get("/me")).json() == {"subject": "", "guest": True}
        assert (await client.get("/me", headers=bearer("a.b.c"))).status_code == 401
        assert (await client.get("/news")).status_code == 401


async def test_token_is_accepted_in_a_named_header_and_in_chunked_cookies(guard, issuer):
    tokens, token = RoomKey(guard, via=Handshake(header="X-Token", cookie="session")), issuer.issue("ada")
    chunks = {"Cookie": f"session.0={token[:9]}; session.1={token[9:]}", "Sec-Fetch-Site": "same-origin"}
    async with http(app_of(tokens)) as client:
        for headers in ({"X-Token": token}, {"x-token": f"Bearer {token}"}, chunks):
            assert (await client.get("/me", headers=headers)).status_code == 200
        for headers in (bearer(token), [("X-Token", token), ("X-Token", token)]):
            assert (await client.get("/me", headers=headers)).status_code == 401


async def test_cookies_are_accepted_from_allowed_pages_only(guard, issuer):
    tokens = RoomKey(guard, via=Handshake(cookie="session"), allowed_origins="https://app.example")
    cookie = {"Cookie": f"session={issuer.issue('ada')}"}
    async with http(app_of(tokens)) as client:
        for headers in ({"Origin": "https://chat.example"}, {"Origin": "https://app.example"}):
            assert (await client.get("/me", headers=cookie | headers)).status_code == 200
        assert (await client.get("/me", headers=cookie | {"Sec-Fetch-Site": "same-origin"})).status_code == 200
        for headers in ({}, {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
            assert (await client.get("/me", headers=cookie | headers)).status_code == 401


@pytest.mark.parametrize("source", ["hub", "verifier", "unattached guard"])
async def test_routes_accept_a_hub_or_a_verifier(source, clock):
    sources = {"hub": Hub, "verifier": lambda checks: checks, "unattached guard": AsyncGuard}
    token = issuer_at(FakeClock(time.time())).issue("ada")
    async with http(app_of(RoomKey(sources[source](verifier())))) as client:
        assert (await client.get("/me", headers=bearer(token))).json()["subject"] == "ada"
        assert (await client.get("/me", headers=bearer(token[:-2]))).status_code == 401


async def test_each_request_is_verified_once(issuer, clock):
    """The token can be for one use."""
    verified = []

    class Once:
        def verify(self, token, now, *, source=""):
            verified.append(token)
            return verifier().verify(token, now, source=source)

    token = issuer.issue("ada")
    async with http(app_of(RoomKey(AsyncGuard(Once(), clock=clock)))) as client:
        assert (await client.get("/news", headers=bearer(token))).json() == "ada"
        assert verified == [token]
        assert (await client.get("/news", headers=bearer(token))).json() == "ada"
        assert verified == [token, token]


async def test_unavailable_store_is_a_temporary_error(clock, issuer):
    class Away:
        async def open(self):
            raise OSError("the database is away")

        since = add = delete_expired = close = open

    guard = AsyncGuard(verifier(), clock=clock, revocations=Away())
    async with http(app_of(RoomKey(guard))) as client:
        answer = await client.get("/me", headers=bearer(issuer.issue("ada")))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "database" not in answer.text


@pytest.mark.parametrize("dpop", [None, DPoP("https://chat.example/socket.io/")])
async def test_token_that_is_bound_to_a_key_is_rejected(clock, issuer, dpop):
    token = issuer.issue("ada", claims={"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}})
    async with http(app_of(RoomKey(AsyncGuard(verifier(), clock=clock, dpop=dpop)))) as client:
        for scheme in ("Bearer", "DPoP"):
            answer = await client.get("/me", headers={"Authorization": f"{scheme} {token}"})
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, f'{BEARER}, error="invalid_token"')


async def test_middleware_sets_user_and_scopes(guard, issuer):
    tokens = RoomKey(guard)

    async def me(request):
        return JSONResponse([request.user.display_name, request.user.is_authenticated, request.auth.scopes])

    middleware = [Middleware(AuthenticationMiddleware, backend=tokens, on_error=tokens.on_error)]
    async with http(Starlette(routes=[Route("/me", me)], middleware=middleware)) as client:
        token = issuer.issue("ada", scopes=["news", "chat"])
        assert (await client.get("/me", headers=bearer(token))).json() == [
            *("ada", True),
            ["authenticated", "chat", "news"],
        ]
        assert (await client.get("/me")).json() == ["", False, []]
        answer = await client.get("/me", headers=bearer("a.b.c"))
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, f'{BEARER}, error="invalid_token"')
        assert answer.json() == {"error": "invalid_token", "error_description": "invalid token"}


def test_user_has_the_identity_of_the_token(issuer, clock):
    who = verifier().verify(issuer.issue("ada"), clock.now())
    assert (User(who).token, User(who).identity) == (who, "ada")


async def test_websocket_route_requires_a_token(guard, issuer):
    tokens = RoomKey(guard)

    @tokens.requires(role="editor")
    async def feed(websocket):
        await websocket.accept()
        await websocket.send_text((await tokens.identity(websocket)).subject)
        await websocket.close()

    async with serve(Starlette(routes=[WebSocketRoute("/feed", feed)])) as host:
        editor = bearer(issuer.issue("ada", roles=["editor"]))
        async with connect(f"ws://{host}/feed", additional_headers=editor) as socket:
            assert await socket.recv() == "ada"
        for headers in ({}, bearer("a.b.c"), bearer(issuer.issue("bob"))):
            with pytest.raises(InvalidStatus, match="403"):
                await connect(f"ws://{host}/feed", additional_headers=headers)


@pytest.mark.parametrize(
    "settings",
    [
        {"via": Handshake(header=False)},
        {"via": "session"},
        {"required": "no"},
        {"allowed_origins": "*"},
        {"allowed_origins": ["app.example"]},
    ],
)
def test_unusable_setting_is_an_error(guard, settings):
    with pytest.raises(ConfigError):
        RoomKey(guard, **settings)


@pytest.mark.parametrize("guard", [None, "secret", object()])
def test_other_objects_than_guards_and_verifiers_are_an_error(guard):
    with pytest.raises(ConfigError, match="verifier"):
        RoomKey(guard)
