"""``GET /auth/revocations``: what other servers learn about revocations, and who may read it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.oauth import BASIC, HASH, SECRET, Desk

from roomkey import ConfigError, Issuer, Key
from roomkey.auth import journal_router
from roomkey.auth.revocation_journal import JOURNAL_SCOPE, JOURNAL_TYPE
from roomkey.core import jws
from roomkey.core.revocations import FOREVER, Revocation
from roomkey.errors import MalformedToken, Unavailable
from roomkey.stores import Client, SqlRevocations

READER = ("reader", SECRET)


class Journaled(Desk):
    store: SqlRevocations


@pytest.fixture
async def desk() -> AsyncIterator[Journaled]:
    async with Journaled.opened() as opened:
        assert isinstance(opened, Journaled)
        opened.store = SqlRevocations()
        await opened.store.open()
        opened.app.include_router(journal_router(opened.store, opened.issuer, opened.clients))
        await opened.clients.add(Client("reader", HASH, grants=("client_credentials",), scopes=(JOURNAL_SCOPE,)))
        yield opened
        await opened.store.close()


async def read(desk: Journaled, auth: tuple[str, str] | None = READER, **query: object) -> Any:
    return await desk.http.get("/auth/revocations", auth=auth, params={k: str(v) for k, v in query.items()})


def document(desk: Journaled, response: Any) -> dict[str, Any]:
    """What a signed part says, once its signature is verified."""
    assert response.status_code == 200
    assert (response.headers["content-type"], response.headers["cache-control"]) == ("application/jwt", "no-store")
    signing_input, _, signature = response.text.encode().rpartition(b".")
    header, payload, raw = jws.decode_parts(*signing_input.split(b"."), signature)
    assert desk.issuer.key.verify("ES256", signing_input, raw)
    assert jws.json_object(header, "header")["typ"] == JOURNAL_TYPE
    return jws.json_object(payload, "payload")


async def test_journal_tells_what_was_revoked_after_a_position(desk):
    now = desk.clock.now()
    first = document(desk, await read(desk))
    assert (first["revocations"], first["position"], first["after"]) == ([], 0, 0)
    assert (first["iss"], first["aud"], first["exp"] - first["iat"]) == ("https://login.example", "reader", 60)
    await desk.store.add(Revocation("token", "t1", "https://login.example", expires_at=now + 60))
    await desk.store.add(Revocation("subject", "ada", issued_before=now, expires_at=FOREVER))
    await desk.store.add(Revocation("rights", "ada", issued_before=now, expires_at=now, rights={"roles": ["admin"]}))
    part = document(desk, await read(desk, after=first["position"]))
    assert part["revocations"] == [
        {"kind": "token", "name": "t1", "issuer": "https://login.example", "issued_before": 0, "expires_at": now + 60},
        {"kind": "subject", "name": "ada", "issuer": None, "issued_before": now, "expires_at": None},
        {"kind": "rights", "name": "ada", "issuer": None, "issued_before": now, "expires_at": now,
         "rights": {"roles": ["admin"]}},
    ]  # fmt: skip
    assert document(desk, await read(desk, after=part["position"]))["revocations"] == []
    assert len(document(desk, await read(desk, after=10**15))["revocations"]) == 3, "a position of another database"


async def test_journal_waits_for_something_new_and_not_longer(desk):
    begun = time.monotonic()
    waiting = asyncio.create_task(read(desk, wait=20))
    await asyncio.sleep(0.1)
    await desk.store.add(Revocation("session", "s1"))
    assert [entry["name"] for entry in document(desk, await waiting)["revocations"]] == ["s1"]
    assert document(desk, await read(desk, after=1, wait=1))["revocations"] == []
    assert 1 <= time.monotonic() - begun < 5


@pytest.mark.parametrize("auth", [None, ("reader", "wrong"), ("nobody", SECRET), ("page", ""), ("gone", SECRET)])
async def test_journal_is_for_clients_with_a_secret(desk, auth):
    response = await read(desk, auth)
    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")
    assert response.headers["www-authenticate"].startswith("Basic")


async def test_journal_requires_its_scope(desk):
    response = await read(desk, BASIC)
    assert (response.status_code, response.json()["error"]) == (403, "insufficient_scope")


@pytest.mark.parametrize(
    "query", [{"after": "-1"}, {"after": "x"}, {"after": "1.5"}, {"wait": "²"}, {"wait": "-1"}, {"after": ""}]
)
async def test_journal_rejects_what_is_not_a_number(desk, query):
    response = await read(desk, **query)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")


async def test_journal_is_unavailable_with_its_store(desk, monkeypatch):
    async def since(position: int) -> Any:
        raise Unavailable("out of order")

    monkeypatch.setattr(desk.store, "since", since)
    assert (await read(desk)).status_code == 503


async def test_signed_document_is_not_an_access_token(desk):
    part = (await read(desk)).text
    with pytest.raises(MalformedToken, match="typ"):
        desk.issuer.verifier().verify(part, desk.clock.now())


@pytest.mark.parametrize("document_type", ["JWT", "at+jwt", "AT+JWT", "application/at+jwt"])
def test_issuer_signs_no_document_of_the_type_of_access_tokens(document_type):
    with pytest.raises(ConfigError, match="type of access tokens"):
        Issuer.ephemeral().sign({"sub": "ada"}, document_type=document_type)


def test_issuer_signs_plain_json_alone():
    with pytest.raises(ConfigError, match="plain JSON"):
        Issuer(Key.generate("HS256")).sign({"n": 2**53}, document_type="x+jwt")
