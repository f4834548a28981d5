"""The login routes in your own application, over HTTP (ASGI)."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI
from sqlalchemy import text
from support.login_server import NEW_PASSWORD, LoginServer, bearer, running
from support.postgres import PostgreSQL

from roomkey import Issuer, Key
from roomkey.auth import LoginService, Passwords, router
from roomkey.errors import Unavailable
from roomkey.stores import Account, Database, SqlAccounts, SqlRevocations, SqlSessions

NOW = 1_700_000_000.0
PASSWORD = "correct horse battery"
ISSUER = Issuer(Key.generate("ES256"), issuer="me", audience="chat", expires_in=600, clock=lambda: NOW)
WRONG = {"error": "invalid_grant", "error_description": "The username or the password is wrong."}


class Busy(Passwords):
    async def verify(self, password_hash: str | None, password: str) -> bool:
        raise Unavailable("full")


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    opened = Database()
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def accounts(database: Database) -> SqlAccounts:
    made = SqlAccounts(database)
    hashed = await cheap().hash(PASSWORD)
    await made.add(Account("ada", hashed, roles=("admin",), rooms=("red",)))
    await made.add(Account("gone", hashed, disabled=True))
    return made


def cheap() -> Passwords:
    return Passwords(hasher=PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


def logins(accounts: SqlAccounts, passwords: Passwords) -> LoginService:
    return LoginService(accounts, SqlSessions(accounts._database), ISSUER, passwords=passwords, clock=lambda: NOW)


def login_client(accounts: SqlAccounts, passwords: Passwords | None = None, prefix: str = "/auth") -> httpx.AsyncClient:
    made = logins(accounts, passwords or cheap())
    app = FastAPI()
    app.include_router(router(made, prefix=prefix))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


@pytest.fixture
async def client(accounts: SqlAccounts) -> AsyncIterator[httpx.AsyncClient]:
    async with login_client(accounts) as made:
        yield made


@pytest.mark.parametrize("form", [False, True], ids=["json", "form"])
async def test_right_password_gets_a_token(client: httpx.AsyncClient, form: bool) -> None:
    typed = {"username": "ada", "password": PASSWORD}
    answer = await (client.post("/auth/login", data=typed) if form else client.post("/auth/login", json=typed))
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert set(body) == {"access_token", "token_type", "expires_in", "refresh_token"}
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 600)
    who = ISSUER.verifier().verify(body["access_token"], NOW)
    assert (who.subject, who.roles, who.rooms, who.expires_at) == ("ada", {"admin"}, ("red",), NOW + 600)


@pytest.mark.parametrize(
    ("username", "password"),
    [("ada", "wrong password"), ("nobody", PASSWORD), ("gone", PASSWORD), ("ADA", PASSWORD), ("ada", "x" * 5000)],
    ids=["wrong", "unknown", "disabled", "letter case", "too long"],
)
async def test_every_failed_login_gets_the_same_response(
    client: httpx.AsyncClient, username: str, password: str
) -> None:
    answer = await client.post("/auth/login", json={"username": username, "password": password})
    assert (answer.status_code, answer.json()) == (400, WRONG)
    assert answer.headers["cache-control"] == "no-store"


BROKEN: list[Any] = [
    None,
    [],
    "ada",
    5,
    {},
    {"username": "ada"},
    {"username": "", "password": ""},
    {"username": "ada", "password": 5},
    {"username": ["ada"], "password": PASSWORD},
    {"username": {"$ne": 1}, "password": PASSWORD},
    {"username": "\ud800", "password": PASSWORD},
]


@pytest.mark.parametrize("body", BROKEN, ids=lambda body: ascii(body)[:30])
async def test_malformed_login_is_an_invalid_request(client: httpx.AsyncClient, body: object) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await client.post("/auth/login", content=json.dumps(body).encode(), headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b"[" * 16_000, b'{"username":"a",' * 3, b"1" * 5000])
async def test_invalid_json_is_an_invalid_request(client: httpx.AsyncClient, raw: bytes) -> None:
    answer = await client.post("/auth/login", content=raw, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "raw", [b"username=ada&username=grace&password=x", b"username=%ff&password=x", b"a=1&" * 30, b"\xff=1"]
)
async def test_malformed_form_is_an_invalid_request(client: httpx.AsyncClient, raw: bytes) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await client.post("/auth/login", content=raw, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_other_content_type_is_an_invalid_request(client: httpx.AsyncClient) -> None:
    for kind in ("text/plain", "multipart/form-data; boundary=x", ""):
        answer = await client.post("/auth/login", content=b"{}", headers={"Content-Type": kind})
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


@pytest.mark.checklist("G97")
async def test_login_rejects_a_large_body(client: httpx.AsyncClient) -> None:
    answer = await client.post("/auth/login", json={"username": "ada", "password": "x" * 1_000_000})
    assert (answer.status_code, answer.json()["error"]) == (413, "invalid_request")


async def test_password_in_the_url_does_not_log_in(client: httpx.AsyncClient) -> None:
    assert (await client.get("/auth/login", params={"username": "ada", "password": PASSWORD})).status_code == 405
    answer = await client.post("/auth/login", params={"username": "ada", "password": PASSWORD})
    assert answer.status_code == 400


@pytest.mark.checklist("G97")
async def test_login_asks_to_retry_when_too_many_are_waiting(accounts: SqlAccounts) -> None:
    async with login_client(accounts, Busy()) as client:
        answer = await client.post("/auth/login", json={"username": "ada", "password": PASSWORD})
    assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
    assert answer.headers["retry-after"] == "1"


@pytest.mark.checklist("H113")
async def test_login_log_names_the_decision_and_no_secret(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    granted = await client.post("/auth/login", json={"username": "ada", "password": PASSWORD})
    for username in ("ada", "gone", "nobody\nroot logged in"):
        await client.post("/auth/login", json={"username": username, "password": "typed by mistake"})
    lines = [json.loads(r.getMessage()) for r in caplog.records if r.name == "roomkey.audit"]
    assert [(line["outcome"], line.get("sub"), line["reason"]) for line in lines] == [
        ("granted", "ada", "password"),
        ("refused", "ada", "wrong password"),
        ("refused", "gone", "disabled"),
        ("refused", None, "no such user"),
    ]
    for secret in (PASSWORD, "by mistake", granted.json()["access_token"], "eyJ", "nobody"):
        assert not any(secret in record.getMessage() for record in caplog.records if record.name.startswith("roomkey"))


@pytest.mark.parametrize(
    ("site", "kind", "status"),
    [
        ("cross-site", "application/x-www-form-urlencoded", 403),
        ("cross-site", "text/plain", 403),
        ("cross-site", "application/json", 400),
        ("same-origin", "application/x-www-form-urlencoded", 400),
        (None, "application/x-www-form-urlencoded", 400),
    ],
)
async def test_login_rejects_a_form_of_another_site(
    client: httpx.AsyncClient, site: str | None, kind: str, status: int
) -> None:
    """Otherwise a page could use its visitor's attempts: browsers send only forms across sites without permission."""
    body = b'{"username": "eve", "password": "x"}' if kind == "application/json" else b"username=eve&password=x"
    headers = {"Content-Type": kind} | ({"Sec-Fetch-Site": site} if site else {})
    answer = await client.post("/auth/login", content=body, headers=headers)
    assert answer.status_code == status


async def test_two_authorization_headers_are_rejected(server: LoginServer) -> None:
    good = bearer(await server.login())["Authorization"]
    for second in (good, "Bearer nonsense", "Basic eDp5"):
        headers = [("Authorization", good), ("Authorization", second)]
        answer = await server.http.get("/auth/sessions", headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
        assert "invalid_token" in answer.headers["www-authenticate"]


async def test_openapi_documents_responses_and_errors(client: httpx.AsyncClient) -> None:
    operation = (await client.get("/openapi.json")).json()["paths"]["/auth/login"]["post"]
    assert set(operation["responses"]) == {"200", "400", "403", "413", "429", "503"}
    assert set(operation["requestBody"]["content"]) == {"application/json", "application/x-www-form-urlencoded"}


async def test_prefix_can_be_set(accounts: SqlAccounts) -> None:
    async with login_client(accounts, prefix="/desk") as client:
        assert (await client.post("/desk/login", json={})).status_code == 400


# What comes after the login


@pytest.fixture
async def server() -> AsyncIterator[LoginServer]:
    async with running(port=True) as made:
        yield made


async def test_refresh_returns_a_later_token_of_the_same_session(server: LoginServer) -> None:
    first = await server.login()
    server.clock.advance(60)
    answer = await server.refresh(first["refresh_token"])
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    second = answer.json()
    assert second.keys() == first.keys()
    assert second["refresh_token"] != first["refresh_token"]
    verifier = server.issuer.verifier()
    old, new = (verifier.verify(tokens["access_token"], server.clock.now()) for tokens in (first, second))
    assert (new.session_id, new.expires_at - old.expires_at) == (old.session_id, 60)
    assert new.claim("auth_time") == old.claim("auth_time") == old.issued_at


@pytest.mark.parametrize(
    "body", [{}, {"refresh_token": ""}, {"refresh_token": 5}, {"refresh_token": ["x"]}, ["x"]], ids=ascii
)
async def test_refresh_without_a_token_is_an_invalid_request(server: LoginServer, body: Any) -> None:
    answer = await server.http.post("/auth/refresh", json=body)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_refresh_accepts_a_form(server: LoginServer) -> None:
    first = await server.login()
    answer = await server.http.post("/auth/refresh", data={"refresh_token": first["refresh_token"]})
    assert answer.status_code == 200


async def test_every_invalid_refresh_token_gets_the_same_response(server: LoginServer) -> None:
    for token in ("x", "a" * 43, (await server.login())["access_token"]):
        answer = await server.refresh(token)
        assert (answer.status_code, answer.json()["error_description"]) == (401, "Log in again.")


ROUTES = [
    ("POST", "logout"),
    ("POST", "logout-all"),
    ("POST", "password"),
    ("GET", "sessions"),
    ("DELETE", "sessions/x"),
    ("POST", "ticket"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_routes_require_a_valid_token(server: LoginServer, method: str, path: str) -> None:
    stale = server.issuer.issue("ada", expires_in=-60)
    other = Issuer.ephemeral(audience="chat", issuer="https://login.example").issue("ada")
    for header in (None, "", "Basic YTpi", "Bearer", "Bearer ", "Bearer x y", f"Bearer {stale}", f"Bearer {other}"):
        headers = {} if header is None else {"Authorization": header}
        answer = await server.http.request(method, f"/auth/{path}", headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token"), header
        assert answer.headers["www-authenticate"].startswith('Bearer realm="roomkey"')


async def test_logout_ends_this_session_and_its_sockets_only(server: LoginServer) -> None:
    mine, my_other, hers = await server.login(), await server.login(), await server.login("grace")
    ends, stays, hers_too = await server.socket(mine), await server.socket(my_other), await server.socket(hers)
    answer = await server.post("logout", mine)
    assert (answer.status_code, answer.json()) == (200, {"sockets": 1})
    assert await ends.is_closed()
    assert (await server.refresh(mine["refresh_token"])).status_code == 401
    assert not await server.is_good(mine)
    for raw in (stays, hers_too):
        await raw.sync()
        assert not any("unauthorized" in str(packet) for packet in raw.seen)
    assert await server.is_good(my_other)
    assert await server.is_good(hers)
    assert (await server.post("logout", mine)).json() == {"sockets": 0}, "twice is fine"


async def test_refresh_token_logs_out_after_the_access_token_expired(server: LoginServer) -> None:
    tokens = await server.login()
    server.clock.advance(server.issuer.expires_in + 60)
    answer = await server.post("logout", tokens)
    assert answer.status_code == 401
    for _ in range(2):
        answer = await server.post("logout", tokens, refresh_token=tokens["refresh_token"])
        assert (answer.status_code, answer.json()) == (200, {"sockets": 0})
    assert (await server.refresh(tokens["refresh_token"])).status_code == 401


async def test_logout_all_ends_every_session_of_the_user(server: LoginServer) -> None:
    mine, my_other, hers = await server.login(), await server.login(), await server.login("grace")
    sockets = [await server.socket(mine), await server.socket(my_other)]
    hers_too = await server.socket(hers)
    server.clock.advance(5)
    answer = await server.post("logout-all", mine)
    assert (answer.status_code, answer.json()) == (200, {"sockets": 2})
    for raw in sockets:
        assert await raw.is_closed()
    for tokens in (mine, my_other):
        assert (await server.refresh(tokens["refresh_token"])).status_code == 401
        assert not await server.is_good(tokens)
    await hers_too.sync()
    assert await server.is_good(hers)
    server.clock.advance(1)
    assert await server.is_good(await server.login()), "a later login is another one"


async def test_revoked_token_cannot_log_out_everywhere(server: LoginServer) -> None:
    stolen, mine = await server.login(), await server.login()
    await server.post("logout", stolen)
    assert (await server.post("logout-all", stolen)).status_code == 401
    assert await server.is_good(mine)


async def test_password_change_ends_the_other_sessions(server: LoginServer) -> None:
    mine, my_other = await server.login(), await server.login()
    stays, ends = await server.socket(mine), await server.socket(my_other)
    answer = await server.post("password", mine, password=PASSWORD, new_password=NEW_PASSWORD)
    assert (answer.status_code, answer.json()) == (200, {"sockets": 1})
    assert await ends.is_closed()
    await stays.sync()
    assert await server.is_good(mine)
    assert (await server.refresh(mine["refresh_token"])).status_code == 200
    assert not await server.is_good(my_other)
    assert (await server.refresh(my_other["refresh_token"])).status_code == 401
    await server.login(password=NEW_PASSWORD)
    answer = await server.http.post("/auth/login", json={"username": "ada", "password": PASSWORD})
    assert answer.json() == WRONG


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"password": PASSWORD, "new_password": "short"}, "invalid_request"),
        ({"password": PASSWORD, "new_password": "x" * 1025}, "invalid_request"),
        ({"password": PASSWORD}, "invalid_request"),
        ({"password": "wrong password", "new_password": NEW_PASSWORD}, "invalid_grant"),
    ],
    ids=["short", "long", "none", "wrong"],
)
async def test_failed_password_change_keeps_the_password(server: LoginServer, body: dict[str, str], error: str) -> None:
    mine, other = await server.login(), await server.login()
    answer = await server.post("password", mine, **body)
    assert (answer.status_code, answer.json()["error"]) == (400, error)
    assert not any(secret in answer.text for secret in body.values())
    assert await server.is_good(other)
    await server.login()


@pytest.mark.checklist("G95")
async def test_password_change_throttles_guesses_of_the_old_password(server: LoginServer) -> None:
    mine = await server.login()
    answers = [await server.post("password", mine, password="a guess", new_password=NEW_PASSWORD) for _ in range(8)]
    # Each counts as two attempts: the new password may already be the current one, if a response was lost.
    assert [answer.status_code for answer in answers] == [400] * 3 + [429] * 5
    assert int(answers[-1].headers["retry-after"]) > 0


async def test_sessions_are_listed_with_their_sockets(server: LoginServer) -> None:
    mine = await server.login()
    server.clock.advance(60)
    phone = server.client("192.0.2.9", headers={"User-Agent": "a phone\x1b[31m"})
    other = (await phone.post("/auth/login", json={"username": "ada", "password": PASSWORD})).json()
    await server.login("grace")
    for tokens in (mine, other, other):
        await server.socket(tokens)
    answer = await server.http.get("/auth/sessions", headers=bearer(mine))
    assert answer.headers["cache-control"] == "no-store"
    last, first = answer.json()["sessions"]
    assert (first["current"], first["sockets"], first["address"]) == (True, 1, "127.0.0.1")
    assert (last["current"], last["sockets"], last["address"]) == (False, 2, "192.0.2.9")
    assert last["user_agent"] == "a phone\x1b[31m"
    assert (last["created_at"], last["used_at"] - first["used_at"]) == (int(server.clock.now()), 60)
    assert last["client_id"] == first["client_id"] == "roomkey"
    server.clock.advance(5)
    await server.refresh(mine["refresh_token"])
    listed = (await server.http.get("/auth/sessions", headers=bearer(mine))).json()["sessions"]
    assert [one["id"] for one in listed] == [first["id"], last["id"]]
    await phone.aclose()


async def test_one_session_can_be_ended(server: LoginServer) -> None:
    mine, other, hers = await server.login(), await server.login(), await server.login("grace")
    raw = await server.socket(other)
    ids = {one["current"]: one["id"] for one in await listed(server, mine)}
    hers_id = (await listed(server, hers))[0]["id"]
    for strange in (hers_id, "x", "%00", "a" * 5000):
        assert (await server.http.delete(f"/auth/sessions/{strange}", headers=bearer(mine))).status_code == 404
    answer = await server.http.delete(f"/auth/sessions/{ids[False]}", headers=bearer(mine))
    assert (answer.status_code, answer.json()) == (200, {"sockets": 1})
    assert await raw.is_closed()
    assert (await server.http.delete(f"/auth/sessions/{ids[False]}", headers=bearer(mine))).status_code == 404
    assert (await server.refresh(other["refresh_token"])).status_code == 401
    assert not await server.is_good(other)
    assert await server.is_good(hers)
    assert [one["current"] for one in await listed(server, mine)] == [True]


async def listed(server: LoginServer, tokens: dict[str, Any]) -> list[dict[str, Any]]:
    answer = await server.http.get("/auth/sessions", headers=bearer(tokens))
    return list(answer.json()["sessions"])


async def test_unavailable_database_is_503(postgres: PostgreSQL) -> None:
    async with running(postgres.database()) as server:
        tokens = await server.login()
        postgres.stop()
        try:
            answers = [
                await server.http.post("/auth/login", json={"username": "ada", "password": PASSWORD}),
                await server.refresh(tokens["refresh_token"]),
                await server.http.get("/auth/sessions", headers=bearer(tokens)),
                await server.post("logout", tokens),
            ]
        finally:
            postgres.start()
        for answer in answers:
            assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
            assert answer.headers["retry-after"] == "1"
        async with asyncio.timeout(20):  # the guard asks again every second
            while (answer := await server.refresh(tokens["refresh_token"])).status_code == 503:
                await asyncio.sleep(0.05)
        assert answer.status_code == 200


@pytest.mark.parametrize("kind", ["login", "no login"])
async def test_second_logout_writes_nothing(server: LoginServer, kind: str) -> None:
    tokens = await server.login() if kind == "login" else {"access_token": server.issuer.issue("ada")}
    rows = []
    for _ in range(3):
        assert (await server.post("logout", tokens)).status_code == 200
        rows.append(len(await server.database.rows(text("SELECT id FROM revocations"))))
    assert rows == [1, 1, 1]


async def test_logout_that_was_not_stored_is_written_later(
    server: LoginServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server also responds with 503 if only writing fails."""
    tokens = await server.login()
    with monkeypatch.context() as outage:
        outage.setattr(SqlRevocations, "add", _unavailable)
        for _ in range(2):
            assert (await server.post("logout", tokens)).status_code == 503
    assert (await server.post("logout", tokens)).status_code == 200
    assert len(await server.database.rows(text("SELECT id FROM revocations"))) == 1


async def _unavailable(*_: Any) -> None:
    raise Unavailable("read-only")


@pytest.mark.parametrize("cnf", [{"jkt": "x" * 42 + "A"}, {"x5t#S256": "x"}, None])
async def test_routes_reject_tokens_that_are_bound_to_a_key(server: LoginServer, cnf: Any) -> None:
    """HTTP requests have no proof that these routes check, and a bound token is not a bearer token."""
    tokens = {"access_token": server.issuer.issue("ada", claims={"cnf": cnf})}
    for answer in (
        await server.http.get("/auth/sessions", headers=bearer(tokens)),
        await server.post("ticket", tokens),
        await server.post("logout", tokens),
    ):
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")
