"""``POST /auth/login`` in an application of one's own, over HTTP (ASGI)."""

from __future__ import annotations

import json
import logging
import statistics
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher
from fastapi import FastAPI

from roomkey import Issuer, Key
from roomkey.auth import Logins, Passwords, router
from roomkey.errors import Unavailable
from roomkey.stores.accounts import Account, SqlAccounts
from roomkey.stores.sessions import SqlSessions
from roomkey.stores.sql import Database

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


def login_client(accounts: SqlAccounts, passwords: Passwords | None = None, prefix: str = "/auth") -> httpx.AsyncClient:
    logins = Logins(
        accounts, SqlSessions(accounts._database), ISSUER, passwords=passwords or cheap(), clock=lambda: NOW
    )
    app = FastAPI()
    app.include_router(router(logins, prefix=prefix))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


@pytest.fixture
async def client(accounts: SqlAccounts) -> AsyncIterator[httpx.AsyncClient]:
    async with login_client(accounts) as made:
        yield made


@pytest.mark.parametrize("form", [False, True], ids=["json", "form"])
async def test_the_right_password_gets_a_token(client: httpx.AsyncClient, form: bool) -> None:
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
async def test_every_refusal_is_the_same(client: httpx.AsyncClient, username: str, password: str) -> None:
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
async def test_a_broken_request_says_so(client: httpx.AsyncClient, body: object) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await client.post("/auth/login", content=json.dumps(body).encode(), headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b"[" * 16_000, b'{"username":"a",' * 3, b"1" * 5000])
async def test_what_is_no_json_is_a_broken_request(client: httpx.AsyncClient, raw: bytes) -> None:
    answer = await client.post("/auth/login", content=raw, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "raw", [b"username=ada&username=grace&password=x", b"username=%ff&password=x", b"a=1&" * 30, b"\xff=1"]
)
async def test_a_broken_form_is_a_broken_request(client: httpx.AsyncClient, raw: bytes) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await client.post("/auth/login", content=raw, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_another_content_type_is_a_broken_request(client: httpx.AsyncClient) -> None:
    for kind in ("text/plain", "multipart/form-data; boundary=x", ""):
        answer = await client.post("/auth/login", content=b"{}", headers={"Content-Type": kind})
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_97_a_large_body_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post("/auth/login", json={"username": "ada", "password": "x" * 1_000_000})
    assert (answer.status_code, answer.json()["error"]) == (413, "invalid_request")


async def test_a_password_in_the_address_does_not_log_in(client: httpx.AsyncClient) -> None:
    assert (await client.get("/auth/login", params={"username": "ada", "password": PASSWORD})).status_code == 405
    answer = await client.post("/auth/login", params={"username": "ada", "password": PASSWORD})
    assert answer.status_code == 400


async def test_97_too_many_at_once_is_try_again(accounts: SqlAccounts) -> None:
    async with login_client(accounts, Busy()) as client:
        answer = await client.post("/auth/login", json={"username": "ada", "password": PASSWORD})
    assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
    assert answer.headers["retry-after"] == "1"


async def test_113_the_log_names_the_decision_and_no_secret(
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


async def test_96_an_unknown_name_takes_as_long_as_a_known_one(accounts: SqlAccounts) -> None:
    passwords = Passwords(hasher=PasswordHasher(time_cost=2, memory_cost=4096, parallelism=1))
    await accounts.set_password("ada", await passwords.hash(PASSWORD))
    took: dict[str, list[float]] = {"ada": [], "nobody": []}
    async with login_client(accounts, passwords) as client:
        for _ in range(40):
            for name, times in took.items():
                started = time.perf_counter()
                await client.post("/auth/login", json={"username": name, "password": "wrong password"})
                times.append(time.perf_counter() - started)
    known, unknown = (statistics.median(times) for times in took.values())
    assert abs(known - unknown) < 0.3 * known, "without the dummy hash an unknown name answers many times faster"


async def test_the_description_tells_answers_and_errors(client: httpx.AsyncClient) -> None:
    operation = (await client.get("/openapi.json")).json()["paths"]["/auth/login"]["post"]
    assert set(operation["responses"]) == {"200", "400", "413", "429", "503"}
    assert set(operation["requestBody"]["content"]) == {"application/json", "application/x-www-form-urlencoded"}


async def test_the_prefix_is_the_applications_choice(accounts: SqlAccounts) -> None:
    async with login_client(accounts, prefix="/desk") as client:
        assert (await client.post("/desk/login", json={})).status_code == 400
