"""Client authentication (RFC 6749 section 2.3) at all three endpoints that require it."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest
from support.oauth import BASIC, CLIENTS, SECRET, Desk

from roomkey.auth.throttle import FREE_FOR_ADDRESS, FREE_FOR_PAIR, RESERVE

SERVICE = {"grant_type": "client_credentials"}


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with Desk.opened() as opened:
        yield opened


def unknown(answer) -> bool:
    """Assert 401 with a challenge of the scheme that was used (RFC 6749 section 5.2)."""
    assert answer.headers["cache-control"] == "no-store"
    challenged = answer.headers.get("www-authenticate", "").startswith("Basic realm=")
    return (answer.status_code, answer.json()["error"], challenged) == (401, "invalid_client", True)


async def with_header(desk, header):
    return await desk.http.post("/oauth/token", data=SERVICE, headers={"Authorization": header})


def basic(name: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()


async def test_rfc6749_2_3_1_secret_in_the_header(desk):
    assert (await with_header(desk, basic("backend", SECRET))).status_code == 200
    assert (await with_header(desk, basic("backend", SECRET).replace("Basic", "bASIC"))).status_code == 200


async def test_rfc6749_2_3_1_secret_in_the_body(desk):
    answer = await desk.post("token", client_id="backend", client_secret=SECRET, **SERVICE)
    assert answer.status_code == 200


async def test_rfc6749_2_3_1_name_and_secret_are_form_encoded_in_the_header(desk):
    backend = next(client for client in CLIENTS if client.client_id == "backend")
    await desk.clients.add(replace(backend, client_id="a:b%c+ü"))
    assert (await with_header(desk, basic("a%3Ab%25c%2B%C3%BC", SECRET))).status_code == 200
    assert unknown(await with_header(desk, basic("a%3Ab%25c+%C3%BC", SECRET)))


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("backend", "wrong"),
        ("backend", ""),
        ("backend", SECRET + " "),
        ("backend", SECRET.upper()),
        ("nobody", SECRET),
        ("BACKEND", SECRET),
        ("", SECRET),
        ("gone", SECRET),
        ("page", "a secret that it does not have"),
        ("roomkey", ""),
        ("x" * 1000, SECRET),
        ("a\x00b", SECRET),
    ],
)
@pytest.mark.parametrize("how", ["header", "body"])
async def test_rfc6749_5_2_every_wrong_secret_is_the_same_invalid_client(desk, name, secret, how):
    if how == "header":
        answer = await with_header(desk, basic(name, secret))
    else:
        answer = await desk.post("token", client_id=name, client_secret=secret, **SERVICE)
    assert unknown(answer)


@pytest.mark.parametrize(
    "header", ["Basic", "Basic !!!", "Basic YmFja2VuZA", "Basic /w==", "Basic JWZmOng=", "Bearer x", "", "Basic \t"]
)
async def test_rfc6749_5_2_malformed_header_is_invalid_client(desk, header):
    assert unknown(await with_header(desk, header))


async def test_rfc6749_2_3_1_secret_in_the_url_is_ignored(desk):
    where = f"/oauth/token?client_id=backend&client_secret={SECRET}"
    assert unknown(await desk.http.post(where, data=SERVICE))


@pytest.mark.parametrize("path", ["token", "revoke", "introspect"])
@pytest.mark.parametrize("fields", [{"client_secret": SECRET}, {"client_id": "page"}])
async def test_rfc6749_2_3_two_methods_at_once_are_rejected(desk, path, fields):
    answer = await desk.post(path, BASIC, token="t", **SERVICE, **fields)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert (await desk.post(path, BASIC, token="t", client_id="backend", **SERVICE)).status_code == 200


@pytest.mark.parametrize("path", ["token", "revoke", "introspect"])
async def test_every_endpoint_requires_a_client(desk, path):
    assert unknown(await desk.post(path, token="t", **SERVICE))
    assert unknown(await desk.post(path, ("backend", "wrong"), token="t", **SERVICE))


async def test_rfc6749_3_2_1_public_client_only_sends_its_name(desk):
    given = await desk.logged_in()
    assert (await desk.refresh(given["refresh_token"], client_secret="")).status_code == 200


async def test_client_named_like_the_servers_own_logins_is_rejected(desk):
    page = next(client for client in CLIENTS if client.client_id == "page")
    await desk.clients.add(replace(page, client_id="roomkey"))
    own = (await desk.http.post("/auth/login", json={"username": "eve", "password": "correct horse battery"})).json()
    assert unknown(await desk.refresh(own["refresh_token"], client_id="roomkey"))


@pytest.mark.checklist("G95")
async def test_client_failures_are_throttled_by_client_and_address(desk):
    for _ in range(FREE_FOR_PAIR):
        assert unknown(await desk.post("token", ("backend", "wrong"), **SERVICE))
    slowed = await desk.post("token", BASIC, **SERVICE)
    assert (slowed.status_code, slowed.json()["error"]) == (429, "too_many_attempts")
    assert int(slowed.headers["retry-after"]) >= 1
    assert (await desk.post("introspect", BASIC, token="t")).status_code == 429
    assert (await desk.post("token", ("service", SECRET), **SERVICE)).status_code == 200


@pytest.mark.checklist("G95")
async def test_client_failures_of_one_address_are_throttled_for_all_clients(desk):
    assert (await desk.post("token", BASIC, **SERVICE)).status_code == 200
    for number in range(FREE_FOR_ADDRESS + int(RESERVE)):
        assert unknown(await desk.post("token", (f"guess{number}", "wrong"), **SERVICE))
    assert (await desk.post("token", ("guess", "wrong"), **SERVICE)).status_code == 429
    assert (await desk.post("token", ("service", SECRET), **SERVICE)).status_code == 429
    assert (await desk.post("token", BASIC, **SERVICE)).status_code == 200, "it was there before"


async def test_public_client_is_never_throttled(desk):
    """A page of another site could make its visitor fail in the client's name."""
    given = await desk.logged_in()
    for _ in range(FREE_FOR_ADDRESS + 1):
        await desk.post("token", client_id="page", client_secret="x", grant_type="refresh_token")
    assert (await desk.refresh(given["refresh_token"])).status_code == 200


@pytest.mark.parametrize("second", [BASIC, ("backend", "wrong")])
async def test_two_authorization_headers_are_rejected(desk, second):
    headers = [("Authorization", httpx.BasicAuth(*pair)._auth_header) for pair in (BASIC, second)]
    answer = await desk.http.post("/oauth/token", headers=headers, data=SERVICE)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_success_is_never_throttled(desk):
    for _ in range(2 * FREE_FOR_ADDRESS):
        assert (await desk.post("introspect", BASIC, token="t")).status_code == 200


async def test_log_contains_the_reason_and_not_the_secret(desk, caplog):
    caplog.set_level(logging.INFO, "roomkey.audit")
    for name in ("backend", "gone", "a secret in the wrong field"):
        await desk.post("token", (name, "wrong"), **SERVICE)
    lines = [json.loads(record.getMessage()) for record in caplog.records]
    assert [(line["event"], line.get("client_id"), line["reason"], line["address"]) for line in lines] == [
        ("client_refused", "backend", "wrong secret", "192.0.2.1"),
        ("client_refused", "gone", "disabled", "192.0.2.1"),
        ("client_refused", None, "no such client", "192.0.2.1"),
    ]
