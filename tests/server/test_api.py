"""The admin API, with connected sockets on both engines."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from support.live import Raw, serve
from support.login_server import CHEAP, HASHED, NEW_PASSWORD, PASSWORD
from support.world import BOTH

from roomkey import Key, KeySet
from roomkey.auth import Passwords
from roomkey.core.issuer import MAX_TOKEN_LIFETIME
from roomkey.server.api import SCOPE
from roomkey.server.app import Application, build
from roomkey.server.settings import Settings
from roomkey.stores import Account, Client, ManagedAccounts, ManagedClients, MemoryRevocations, Stores

pytestmark = BOTH

SECRET_HASH = hashlib.sha256(b"secret").hexdigest()
CLIENTS = (
    Client("ops", SECRET_HASH, grants=("client_credentials",), scopes=(SCOPE, "chat")),
    Client(
        "app",
        SECRET_HASH,
        redirect_uris=("https://app.example/back",),
        grants=("authorization_code", "client_credentials"),
        scopes=("chat",),
        first_party=True,
    ),
)


class Desk:
    """A running product, an operator's HTTP client, and people with sockets."""

    accounts: ManagedAccounts
    clients: ManagedClients

    def __init__(
        self, product: Application, revocations: MemoryRevocations, host: str, http: httpx.AsyncClient
    ) -> None:
        self.product, self.revocations, self.host, self.http = product, revocations, host, http
        self.sockets: list[Raw] = []

    def token(self, subject: str, **claims: Any) -> str:
        return self.product.issuer.issue(subject, **claims)

    def headers(self, *scopes: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token('operator', scopes=scopes)}"}

    async def call(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        return await self.http.request(method, f"/api{path}", headers=self.headers(SCOPE), **arguments)

    async def login(self, username: str = "ada", password: str = PASSWORD) -> httpx.Response:
        return await self.http.post("/auth/login", json={"username": username, "password": password})

    async def kept(self) -> dict[str, float]:
        """Until when each name is revoked."""
        found, _ = await self.revocations.since(0)
        return {name: max(one.expires_at for one in found if one.name == name) for name in {one.name for one in found}}

    async def member(self, subject: str, **claims: Any) -> Raw:
        raw = await Raw.open(self.host)
        self.sockets.append(raw)
        assert (await raw.ask({"token": self.token(subject, **claims)})).startswith("40")
        return raw

    async def in_room(self, subject: str, room: str) -> Raw:
        raw = await self.member(subject, rooms=[room])
        await raw.event("join-room", room, ack=1)
        assert (await raw.expect_ack(1))[0] == {"ok": True}
        return raw


@pytest.fixture
async def desk(engine: Any) -> AsyncIterator[Desk]:
    revocations, passwords = MemoryRevocations(), Passwords(hasher=CHEAP)
    stores = replace(Stores.at(), revocations=revocations)
    accounts, clients = stores.accounts, stores.clients
    await accounts.add(Account("ada", HASHED, rooms=("red",)))
    await accounts.add(Account("boss", HASHED, roles=(SCOPE,)))
    settings = Settings(engine=engine, admin_api=True, issuer="http://127.0.0.1:8000")
    keys = KeySet([Key.generate("ES256")])
    for client in CLIENTS:
        await clients.add(client)
    product = build(settings, stores, keys, passwords=passwords)
    async with serve(product.asgi) as host, httpx.AsyncClient(base_url=f"http://{host}") as http:
        made = Desk(product, revocations, host, http)
        made.accounts, made.clients = accounts, clients
        yield made
        for raw in made.sockets:
            await raw.close()
        await product.close()
    passwords.close()
    await stores.close()


ROUTES = [
    ("GET", "/users"),
    ("POST", "/users"),
    ("PATCH", "/users/ada"),
    ("POST", "/revoke"),
    ("GET", "/sockets"),
    ("POST", "/sockets/x/disconnect"),
    ("POST", "/subjects/x/disconnect"),
    ("GET", "/rooms"),
    ("POST", "/emit"),
]


async def test_every_route_requires_an_operator(desk):
    for method, path in ROUTES:
        refused = await desk.http.request(method, f"/api{path}")
        assert (refused.status_code, refused.json()["error"]) == (401, "invalid_token"), path
        assert refused.headers["www-authenticate"].startswith("Bearer ")
        refused = await desk.http.request(method, f"/api{path}", headers=desk.headers("roomkey:other"))
        assert (refused.status_code, refused.json()["error"]) == (403, "insufficient_scope"), path
        assert f'scope="{SCOPE}"' in refused.headers["www-authenticate"]


@pytest.mark.checklist("I116")
async def test_token_of_an_oauth_client_is_never_an_operators(desk):
    """Whatever the token carries, and whoever the person is."""
    for subject, client_id in (("ada", "app"), ("boss", "app"), ("ops", "app"), ("app", "app")):
        claims = {"client_id": client_id}
        token = desk.token(subject, scopes=[SCOPE], roles=[SCOPE], session_id="s1", claims=claims)
        answer = await desk.http.get("/api/users", headers={"Authorization": f"Bearer {token}"})
        assert (answer.status_code, answer.json()["error"]) == (403, "insufficient_scope"), (subject, client_id)


async def test_service_is_an_operator_while_it_has_the_scope(desk):
    async def status(client_id: str, **asked: str) -> int:
        form = {"grant_type": "client_credentials", **asked}
        given = (await desk.http.post("/oauth/token", data=form, auth=(client_id, "secret"))).json()
        headers = {"Authorization": f"Bearer {given['access_token']}"}
        return (await desk.http.get("/api/users", headers=headers)).status_code

    assert await status("ops") == 200
    assert await status("ops", scope="chat") == 403
    assert await status("app") == 403
    token = desk.token("ops", scopes=[SCOPE], claims={"client_id": "ops"})
    await desk.clients.set_disabled("ops", True)
    answer = await desk.http.get("/api/users", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 403


async def test_user_is_an_operator_while_the_account_has_the_role(desk):
    async def status(username: str) -> int:
        headers = {"Authorization": f"Bearer {tokens[username]}"}
        return (await desk.http.get("/api/users", headers=headers)).status_code

    tokens = {name: (await desk.login(name)).json()["access_token"] for name in ("ada", "boss")}
    assert (await status("ada"), await status("boss")) == (403, 200)
    await desk.accounts.set_rights("boss", roles=[])
    assert await status("boss") == 403


@pytest.mark.checklist("F93")
async def test_admin_api_is_off_by_default(engine):
    product = build(Settings(engine=engine), Stores.at(), KeySet([Key.generate("ES256")]))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(product.asgi), base_url="http://127.0.0.1:8000") as http:
        token = product.issuer.issue("operator", scopes=[SCOPE])
        assert (await http.get("/api/users", headers={"Authorization": f"Bearer {token}"})).status_code == 404


async def test_added_account_is_listed_and_can_log_in(desk):
    new = {"username": "eve", "password": PASSWORD, "name": "Eve", "roles": ["moderator"], "rooms": ["blue"]}
    made = await desk.call("POST", "/users", json=new)
    assert made.status_code == 201
    listed = (await desk.call("GET", "/users")).json()["users"]
    assert [user["username"] for user in listed] == ["ada", "boss", "eve"]
    assert made.json() == listed[2]
    assert listed[2] | {"created_at": 0} == {
        **{"username": "eve", "name": "Eve", "roles": ["moderator"], "rooms": ["blue"]},
        **{"disabled": False, "created_at": 0},
    }
    assert (await desk.login("eve")).status_code == 200
    assert (await desk.call("POST", "/users", json=new)).status_code == 409


BROKEN = [
    ("/users", {"username": "eve"}),
    ("/users", {"username": "e ve", "password": PASSWORD}),
    ("/users", {"username": "eve", "password": "short"}),
    ("/users", {"username": "eve", "password": PASSWORD, "role": ["admin"]}),
    ("/revoke", {}),
    ("/revoke", {"subject": "ada", "token_id": "x"}),
    ("/revoke", {"subject": "ada", "issued_before": 9e9}),
    ("/revoke", {"subject": "ada", "expires_at": 1.0}),
    ("/revoke", {"subject": "ada", "expires_at": "1h"}),
    ("/emit", {"room": "red"}),
    ("/emit", []),
]


async def test_invalid_request_is_rejected_and_changes_nothing(desk):
    for path, body in BROKEN:
        answer = await desk.call("POST", path, json=body)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request"), (path, body)
    assert len((await desk.call("GET", "/users")).json()["users"]) == 2
    assert await desk.kept() == {}


async def test_changed_rooms_apply_to_the_connected_socket(desk):
    ada = await desk.in_room("ada", "red")
    changed = await desk.call("PATCH", "/users/ada", json={"rooms": ["blue"]})
    assert (changed.status_code, changed.json()) == (200, {"sockets": 1})
    assert await ada.expect_event("permissions_changed") == [{"left": ["red"]}]
    who = await desk.product.backend.guard.verify((await desk.login()).json()["access_token"])
    assert who.rooms == ("blue",)


@pytest.mark.parametrize("body", [{"disabled": True}, {"password": NEW_PASSWORD}])
async def test_disabled_account_or_new_password_disconnects_its_sockets(desk, body):
    ada, eve = await desk.member("ada"), await desk.member("eve")
    assert (await desk.call("PATCH", "/users/ada", json=body)).json() == {"sockets": 1}
    assert (await ada.expect_event("unauthorized"))[0]["data"]["reason"] == "token_revoked"
    assert await ada.is_closed()
    assert (await desk.login()).status_code == 400
    await eve.sync()
    assert (await desk.call("PATCH", "/users/nobody", json=body)).status_code == 404


async def test_revoke_disconnects_only_the_named_sockets(desk):
    first, second = await desk.member("ada", session_id="s1"), await desk.member("ada", session_id="s2")
    assert (await desk.call("POST", "/revoke", json={"session_id": "s1"})).json() == {"sockets": 1}
    assert await first.is_closed()
    assert (await desk.call("POST", "/revoke", json={"subject": "ada"})).json() == {"sockets": 1}
    assert await second.is_closed()


@pytest.mark.parametrize("name", ["token_id", "session_id", "subject"])
async def test_revocation_is_kept_until_expires_at_or_for_the_default_time(desk, name):
    until = time.time() + 30 * 86400
    for body in ({name: "short"}, {name: "long", "expires_at": until}):
        assert (await desk.call("POST", "/revoke", json=body)).status_code == 200
    assert await desk.kept() == {"short": pytest.approx(time.time() + MAX_TOKEN_LIFETIME, abs=60), "long": until}


async def test_sockets_are_listed_without_socket_ids_and_can_be_disconnected(desk):
    ada, eve = await desk.in_room("ada", "red"), await desk.member("eve")
    answer = await desk.call("GET", "/sockets")
    listed = {entry["subject"]: entry for entry in answer.json()["sockets"]}
    assert (set(listed), listed["ada"]["rooms"], listed["ada"]["namespace"]) == ({"ada", "eve"}, ["red"], "/")
    for socket in desk.product.backend.guard.sockets():
        assert socket.sid not in answer.text
    of_ada = (await desk.call("GET", "/sockets", params={"subject": "ada"})).json()["sockets"]
    assert [entry["subject"] for entry in of_ada] == ["ada"]
    reached = {"complete": True, "missing": []}
    rooms = {"rooms": [{"namespace": "/", "room": "red", "sockets": 1}], **reached}
    assert (await desk.call("GET", "/rooms")).json() == rooms
    assert reached.items() <= answer.json().items()
    assert (await desk.call("POST", f"/sockets/{listed['ada']['id']}/disconnect")).json() == {"status": "ok"}
    assert await ada.receive() == "41"
    assert await ada.is_closed()
    assert (await desk.call("POST", f"/sockets/{listed['ada']['id']}/disconnect")).status_code == 404
    await eve.sync()


async def test_sockets_of_a_subject_are_disconnected_together(desk):
    ada, again, eve = await desk.member("ada"), await desk.member("ada"), await desk.member("eve")
    assert (await desk.call("POST", "/subjects/ada/disconnect")).json() == {"sockets": 2}
    for socket in (ada, again):
        assert await socket.is_closed()
    await eve.sync()
    await desk.member("ada")  # the token stays valid


async def test_emit_reaches_only_the_room(desk):
    ada, eve = await desk.in_room("ada", "red"), await desk.member("eve")
    sent = await desk.call("POST", "/emit", json={"room": "red", "event": "news", "data": {"n": 1}})
    assert sent.json() == {"status": "ok"}
    assert await ada.expect_event("news") == [{"n": 1}]
    await eve.sync()
    assert not any("news" in str(packet) for packet in eve.seen)


async def test_emit_rejects_deeply_nested_data(desk):
    ada = await desk.in_room("ada", "red")
    nested: list[Any] = []
    for _ in range(800):
        nested = [nested]
    refused = await desk.call("POST", "/emit", json={"room": "red", "event": "deep", "data": nested})
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")
    await ada.sync()
    assert not any("deep" in str(packet) for packet in ada.seen)


async def test_every_call_is_in_the_audit_log(desk, caplog):
    caplog.set_level(logging.INFO, "roomkey.audit")
    await desk.call("GET", "/users")
    await desk.call("POST", "/revoke", json={"subject": "eve"})
    await desk.call("PATCH", "/users/ada", json={"password": NEW_PASSWORD})
    await desk.call("PATCH", "/users/nobody", json={"rooms": [], "disabled": True})
    await desk.call("POST", "/sockets/x/disconnect")
    lines = [json.loads(entry.getMessage()) for entry in caplog.records if entry.name == "roomkey.audit"]
    calls = [line for line in lines if line["event"] == "admin"]
    assert {line["sub"] for line in calls} == {"operator"}
    assert [(line["action"], line.get("outcome"), line.get("reason")) for line in calls] == [
        ("list users", None, None),
        ("revoke", "done", None),
        ("change user", "done", None),
        ("change user", "refused", "not_found"),
        ("disconnect", "refused", "not_found"),
    ]
    assert calls[1]["subject"] == "eve"
    assert calls[3]["changed"] == ["disabled", "rooms"]
    assert NEW_PASSWORD not in caplog.text


async def test_revoked_subject_or_login_cannot_be_refreshed(desk):
    for name in ("subject", "session_id"):
        login = (await desk.login()).json()
        who = desk.product.verifier.verify(login["access_token"], time.time())
        value = who.subject if name == "subject" else who.session_id
        assert (await desk.call("POST", "/revoke", json={name: value})).status_code == 200
        again = await desk.http.post("/auth/refresh", json={"refresh_token": login["refresh_token"]})
        assert again.status_code == 401


async def test_rejected_change_changes_nothing(desk):
    body = {"password": NEW_PASSWORD, "roles": ["bad role"]}
    assert (await desk.call("PATCH", "/users/ada", json=body)).status_code == 400
    assert (await desk.login()).status_code == 200
