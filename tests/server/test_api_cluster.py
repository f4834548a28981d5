"""The admin API and the list of login sessions, over the sockets of all nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from support.hubs import Hubs, heard, make_hubs, node
from support.login_server import CHEAP, HASHED
from support.offline import Client, Offline

from roomkey.auth import LoginService, Passwords, router
from roomkey.server.api import SCOPE, admin_router
from roomkey.stores import Account, Stores

__all__ = ["make_hubs"]


class Api:
    """The routes of one node of a cluster."""

    def __init__(self, world: Hubs, hub: Offline, stores: Stores, passwords: Passwords) -> None:
        self.world, self.hub, self.stores = world, hub, stores
        logins = LoginService(stores.accounts, stores.sessions, world.issuer, hub.guard, passwords=passwords)
        app = FastAPI()
        app.include_router(router(logins))
        app.include_router(admin_router(logins, stores.accounts, hub.guard, hub.sio))
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://login.example")

    async def call(self, method: str, path: str, token: str = "", **arguments: Any) -> httpx.Response:
        """Send a request, and let the nodes talk to each other until it is answered."""
        token = token or self.world.issuer.issue("operator", scopes=[SCOPE])
        headers = {"Authorization": f"Bearer {token}"}
        task = asyncio.ensure_future(self.http.request(method, path, headers=headers, **arguments))
        while not task.done():
            await asyncio.sleep(0.001)
            await self.world.pass_time(0.5)
        return task.result()


@pytest.fixture
async def api(make_hubs: Any) -> AsyncIterator[tuple[Api, Offline, Offline]]:
    world, one, other = await make_hubs(2)
    stores, passwords = Stores.at(), Passwords(hasher=CHEAP)
    await stores.accounts.add(Account("ada", HASHED))
    made = Api(world, one, stores, passwords)
    yield made, one, other
    await made.http.aclose()
    passwords.close()
    await stores.close()


async def settle(*clients: Client) -> None:
    for client in clients:
        await client.settle()


async def test_lists_contain_the_sockets_and_rooms_of_all_nodes(api):
    api, one, other = api
    ada, bob = await one.member("ada", rooms=["red"]), await other.member("bob", rooms=["red"])
    await one.guard.enter_room(one.sid(ada), "red")
    await other.guard.enter_room(other.sid(bob), "red")
    found = (await api.call("GET", "/api/sockets")).json()
    assert {entry["subject"]: entry["node"] for entry in found["sockets"]} == {
        "ada": node(one).id,
        "bob": node(other).id,
    }
    assert (found["complete"], found["missing"]) == (True, [])
    rooms = (await api.call("GET", "/api/rooms")).json()
    assert rooms["rooms"] == [{"namespace": "/", "room": "red", "sockets": 2}]


async def test_socket_on_another_node_is_disconnected(api):
    api, _, other = api
    bob = await other.member("bob")
    [entry] = (await api.call("GET", "/api/sockets", params={"subject": "bob"})).json()["sockets"]
    assert (await api.call("POST", f"/api/sockets/{entry['id']}/disconnect")).json() == {"status": "ok"}
    await settle(bob)
    assert other.guard.sockets() == []
    assert (await api.call("POST", f"/api/sockets/{entry['id']}/disconnect")).status_code == 404


async def test_emit_reaches_the_room_on_another_node(api):
    api, _, other = api
    bob = await other.member("bob", rooms=["red"])
    await other.guard.enter_room(other.sid(bob), "red")
    await api.call("POST", "/api/emit", json={"room": "red", "event": "news", "data": 1})
    await settle(bob)
    assert heard(bob) == [[1]]


@pytest.mark.parametrize(("method", "path"), [("GET", "/api/sockets"), ("GET", "/api/rooms")])
async def test_node_that_does_not_respond_is_named(api, method, path):
    api, _, other = api
    api.world.network.deafen(node(other))
    found = (await api.call(method, path)).json()
    assert (found["complete"], found["missing"]) == (False, [node(other).id])
    api.world.network.deafen()


async def test_unknown_socket_is_not_called_missing_while_a_node_does_not_respond(api):
    api, _, other = api
    api.world.network.deafen(node(other))
    assert (await api.call("POST", "/api/sockets/x/disconnect")).status_code == 503
    api.world.network.deafen()


async def test_login_sessions_list_the_sockets_on_all_nodes(api):
    api, one, other = api
    login = await api.http.post("/auth/login", json={"username": "ada", "password": "correct horse battery"})
    token = login.json()["access_token"]
    for hub in (one, other, other):
        client = await hub.client()
        client.begin_connect(token)
        await api.world.settle()
    found = (await api.call("GET", "/auth/sessions", token)).json()
    assert ([session["sockets"] for session in found["sessions"]], found["complete"]) == ([3], True)
    api.world.network.deafen(node(other))
    found = (await api.call("GET", "/auth/sessions", token)).json()
    assert ([session["sockets"] for session in found["sessions"]], found["complete"]) == ([1], False)
    api.world.network.deafen()
