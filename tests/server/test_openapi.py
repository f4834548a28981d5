"""The server behaves as its document at ``/openapi.json`` says, for every client and every request."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
import requests
from fastapi.routing import iter_route_contexts
from schemathesis import Case, Response
from support.live import Raw
from support.oauth import BACK, BASIC, CLIENTS, HASH, SECRET, Form, challenge_of, query_of
from support.openapi import ask_everything, call, operations
from support.product import ProductThread
from support.scripted_provider import CLIENT, ScriptedProvider, scripted_provider
from support.world import BOTH

from roomkey.server.api import SCOPE
from roomkey.server.providers import Provider
from roomkey.server.settings import Settings
from roomkey.stores import Client, SqlClients

PAGE = {"Origin": "https://app.example", "Roomkey-CSRF": "1"}
PAGES = {"/oauth/authorize", "/auth/providers/{name}/login", "/auth/providers/{name}/callback"}
WITHOUT_A_BODY = {
    "/auth/logout-all",
    "/auth/ticket",
    "/api/sockets/{id}/disconnect",
    "/api/subjects/{subject}/disconnect",
}


READER = Client("reader", HASH, grants=("client_credentials",), scopes=("roomkey:revocations",))


def table_of(provider: ScriptedProvider) -> Provider:
    return Provider(issuer=provider.issuer, client_id=CLIENT, login=True, create_accounts=True)


@contextmanager
def everything(engine: Any = "hub") -> Iterator[ProductThread]:
    """The product with all that can be switched on."""
    clients = SqlClients()
    settings = Settings(
        engine=engine,
        issuer="http://127.0.0.1:8000",
        admin_api=True,
        metrics=True,
        cookies=True,
        behind_proxy=True,
        cors_origins=("https://app.example",),
    )
    with (
        scripted_provider() as provider,
        ProductThread.running(settings, clients=clients, providers={"sso": table_of(provider)}) as served,
    ):
        served.provider = provider  # type: ignore[attr-defined]
        for client in (*CLIENTS, READER):
            served.call(clients.add(client))
        yield served


@pytest.fixture(scope="module")
def served() -> Iterator[ProductThread]:
    with everything() as made:
        yield made


@pytest.fixture(scope="module")
def document(served: ProductThread) -> dict[str, Any]:
    return httpx.get(f"{served.url}/openapi.json").json()


REACHED = {
    "nobody": {"GET /healthz": {200}, "POST /oauth/token": {400, 401}, "GET /api/users": {401}},
    "a person": {"GET /auth/sessions": {200}, "POST /auth/ticket": {200}, "GET /api/users": {403}},
    "an admin": {"GET /api/users": {200}, "POST /api/emit": {200, 400}, "POST /api/revoke": {400}},
    "an admin of python-socketio": {"GET /api/users": {200}, "POST /api/emit": {200, 400}},
    "a client": {"POST /oauth/introspect": {200, 400}, "POST /oauth/revoke": {200, 400}},
}
"""What everybody has to come to, or the run has only seen the door."""


def sender(who: str, served: ProductThread, session: requests.Session) -> Callable[[Case], Response]:
    def token(**claims: Any) -> dict[str, Any]:
        # Another subject each time: some routes cancel all that the subject has.
        issued = served.product.issuer.issue(secrets.token_hex(4), session_id=secrets.token_hex(4), **claims)
        return {"headers": {"Authorization": f"Bearer {issued}"}}

    sent: dict[str, Callable[[], dict[str, Any]]] = {
        "nobody": dict,
        "a person": token,
        "an admin": lambda: token(scopes=[SCOPE]),
        "an admin of python-socketio": lambda: token(scopes=[SCOPE]),
        "a client": lambda: {"auth": BASIC},
    }
    return lambda case: call(case, served.url, session=session, **sent[who]())


@pytest.mark.long
def test_no_request_causes_a_server_error_or_undocumented_response():
    with ExitStack() as stack:
        session = stack.enter_context(requests.Session())
        # A server for each: who fails to log in slows down everybody at this address.
        servers = {
            who: stack.enter_context(everything("python-socketio" if "socketio" in who else "hub")) for who in REACHED
        }
        document = session.get(f"{servers['nobody'].url}/openapi.json").json()
        answered = ask_everything(document, {who: sender(who, served, session) for who, served in servers.items()})
    assert len(answered) == sum(len(methods) for methods in document["paths"].values()) == 33
    for who, reached in REACHED.items():
        for label, statuses in reached.items():
            assert answered[label][who].keys() >= statuses, (who, label)


class Caller:
    """Sends what is right; every answer has to be as the document says.

    Attributes:
        seen: which answers each route has given.
    """

    def __init__(self, served: ProductThread) -> None:
        self.url = served.url
        document = httpx.get(f"{self.url}/openapi.json").json()
        self.routes = {one.label: one for one in operations(document)}
        self.seen: dict[str, set[int]] = {label: set() for label in self.routes}

    def ask(self, label: str, token: str = "", *, headers: Any = None, auth: Any = None, **parts: Any) -> Any:
        """Ask a route; ``parts`` are those of a case of schemathesis: ``body``, ``query`` and so on."""
        if "body" in parts:
            parts = {"media_type": "application/json"} | parts
        sent = {} if auth is None else {"auth": auth}
        headers = (headers or {}) | ({"Authorization": f"Bearer {token}"} if token else {})
        answer = call(self.routes[label].Case(**parts), self.url, headers=headers, **sent)
        self.seen[label].add(answer.status_code)
        return answer


@BOTH
async def test_each_route_gives_its_documented_success_response(engine):
    with everything(engine) as served:
        caller = Caller(served)
        people(caller, served.passwords())
        applications(caller, served.passwords())
        users_of_a_provider(caller, served.provider)  # type: ignore[attr-defined]
        raw = await Raw.open(served.url.removeprefix("http://"))
        await raw.ask({"token": served.product.issuer.issue("grace", rooms=["red"], session_id="s1")})
        await raw.event("join-room", "red", ack=1)
        await raw.expect_ack(1)
        operators(caller, served.product.issuer.issue("ops", scopes=[SCOPE]))
        await raw.close()
        for label in ("GET /healthz", "GET /readyz"):
            caller.ask(label)
    good = {label: {status for status in seen if status < 400} for label, seen in caller.seen.items()}
    special = {
        "POST /api/users": {201},
        "GET /.well-known/jwks.json": {200, 304},
        "POST /oauth/authorize": {200, 303},
        "GET /auth/providers/{name}/login": {303},
        "GET /auth/providers/{name}/callback": {303},
    }
    assert good == {label: {200} for label in good} | special
    assert {409} <= caller.seen["POST /api/users"]
    for label in ("PATCH /api/users/{username}", "POST /api/sockets/{id}/disconnect"):
        assert {404} <= caller.seen[label]


def people(caller: Caller, passwords: dict[str, str]) -> None:
    ask, typed = caller.ask, {"username": "ada", "password": passwords["ada"]}
    first, second = (ask("POST /auth/login", body=typed).json() for _ in range(2))
    https = PAGE | {"X-Forwarded-Proto": "https"}
    in_cookies = ask("POST /auth/login", headers=https, body=typed | {"cookies": True})
    assert set(in_cookies.json()) == {"expires_in"}
    first = ask("POST /auth/refresh", body={"refresh_token": first["refresh_token"]}).json()
    mine = first["access_token"]
    ask("POST /auth/ticket", mine)
    listed = ask("GET /auth/sessions", mine).json()["sessions"]
    assert [one["current"] for one in listed].count(True) == 1
    other = next(one["id"] for one in listed if not one["current"])
    for status in (200, 404):
        ended = ask("DELETE /auth/sessions/{session_id}", mine, path_parameters={"session_id": other})
        assert ended.status_code == status
    ask("POST /auth/password", mine, body={"password": typed["password"], "new_password": "a better battery staple"})
    ask("POST /auth/logout", mine)
    assert ask("POST /auth/logout", body={"refresh_token": second["refresh_token"]}).status_code == 200
    linus = ask("POST /auth/login", body={"username": "linus", "password": passwords["linus"]}).json()
    ask("POST /auth/logout-all", linus["access_token"])


def applications(caller: Caller, passwords: dict[str, str]) -> None:
    ask = caller.ask
    caller.ask("GET /.well-known/oauth-authorization-server")
    tag = ask("GET /.well-known/jwks.json").headers["etag"][0]
    ask("GET /.well-known/jwks.json", headers={"If-None-Match": tag})
    query = {
        **{"response_type": "code", "client_id": "page", "redirect_uri": BACK},
        **{"code_challenge": challenge_of("v" * 43), "code_challenge_method": "S256"},
    }
    page = ask("GET /oauth/authorize", query=query)
    form = {"media_type": "application/x-www-form-urlencoded"}
    fields = Form(page.text).fields
    assert ask("POST /oauth/authorize", body=fields, **form).status_code == 200, "the page again"
    ask("POST /oauth/authorize", body=fields | {"username": "grace", "password": passwords["grace"]}, **form)
    given = ask("POST /oauth/token", auth=BASIC, body={"grant_type": "client_credentials"}, **form).json()
    told = ask("POST /oauth/introspect", auth=BASIC, body={"token": given["access_token"]}, **form).json()
    assert told["active"]
    ask("POST /oauth/revoke", auth=BASIC, body={"token": given["access_token"]}, **form)
    ask("GET /auth/revocations", auth=(READER.client_id, SECRET), query={"after": "0", "wait": "1"})


def users_of_a_provider(caller: Caller, provider: ScriptedProvider) -> None:
    ask, sso = caller.ask, {"path_parameters": {"name": "sso"}}
    [entry] = ask("GET /auth/providers").json()["providers"]
    assert entry["login"] == "/auth/providers/sso/login"
    begun = ask("GET /auth/providers/{name}/login", query={"return_to": "/"}, **sso)
    sent = query_of(begun.headers["location"][0])
    provider.nonce = sent["nonce"]
    cookie = {"Cookie": begun.headers["set-cookie"][0].partition(";")[0]}
    query = {"code": "c", "state": sent["state"], "iss": provider.issuer}
    back = ask("GET /auth/providers/{name}/callback", query=query, headers=cookie, **sso)
    [handover] = [one.partition(";")[0] for one in back.headers["set-cookie"] if one.startswith("roomkey-login=")]
    ask("POST /auth/providers/tokens", body={}, headers={"Roomkey-CSRF": "1", "Cookie": handover})
    form = {"media_type": "application/x-www-form-urlencoded"}
    ask("POST /auth/providers/{name}/logout", body={"logout_token": provider.logout_token()}, **form, **sso)


def operators(caller: Caller, token: str) -> None:
    ask = caller.ask
    new = {"username": "eve", "password": "correct horse battery"}
    assert [ask("POST /api/users", token, body=new).status_code for _ in range(2)] == [201, 409]
    assert len(ask("GET /api/users", token).json()["users"]) == 5
    for name, status in (("eve", 200), ("nobody", 404)):
        changed = ask("PATCH /api/users/{username}", token, path_parameters={"username": name}, body={"rooms": ["red"]})
        assert changed.status_code == status
    [socket] = ask("GET /api/sockets", token, query={"subject": "grace"}).json()["sockets"]
    assert ask("GET /api/rooms", token).json()["rooms"][0]["room"] == "red"
    ask("POST /api/emit", token, body={"room": "red", "event": "news", "data": [1, {"two": None}]})
    for status in (200, 404):
        ended = ask("POST /api/sockets/{id}/disconnect", token, path_parameters={"id": socket["id"]})
        assert ended.status_code == status
    ask("POST /api/revoke", token, body={"session_id": "s1", "expires_at": 9e9})
    ask("POST /api/subjects/{subject}/disconnect", token, path_parameters={"subject": "nobody"})
    ask("GET /metrics", token)


def test_every_route_is_documented(served, document):
    routes = {
        (method.lower(), route.path)
        for route in iter_route_contexts(served.product.http.routes)
        for method in route.methods or ["mount"]
    }
    documented = {(method, path) for path, methods in document["paths"].items() for method in methods}
    heads = {("head", path) for method, path in routes if method == "get"}
    assert heads <= routes, "HEAD goes without saying wherever there is GET"
    assert documented <= routes
    assert routes - documented - heads == {
        *{("get", "/"), ("mount", "/static")},
        ("get", "/openapi.json"),
    }, "a page, files, and the document itself"


def test_every_operation_has_a_summary_a_body_and_errors(document):
    for path, methods in document["paths"].items():
        for method, said in methods.items():
            where = f"{method} {path}"
            assert said["summary"], where
            assert len(said["tags"]) == 1, where
            takes_a_body = method in ("post", "patch") and path not in WITHOUT_A_BODY
            assert takes_a_body == ("requestBody" in said), where
            for content in said.get("requestBody", {}).get("content", {}).values():
                assert content["schema"]["properties"], where
            assert list(said["responses"]) == sorted(said["responses"]), where
            for status, answer in said["responses"].items():
                if status[0] not in "45" or path == "/readyz":
                    continue
                assert answer["description"], where
                if path in PAGES and status != "411":
                    assert list(answer["content"]) == ["text/html"], "a person reads it"
                    continue
                [(kind, content)] = answer["content"].items()
                assert kind == "application/json", where
                assert content["schema"] == {"$ref": "#/components/schemas/Problem"}, (where, status)
    assert set(document["components"]["schemas"]["Problem"]["required"]) == {"error", "error_description"}


def test_every_tag_has_a_description(document):
    assert document["info"]["title"] == "roomkey"
    assert document["info"]["description"]
    used = {tag for methods in document["paths"].values() for said in methods.values() for tag in said["tags"]}
    assert {tag["name"] for tag in document["tags"] if tag["description"]} == used


def test_document_names_the_security_of_each_route(document):
    schemes = document["components"]["securitySchemes"]
    declared = {name: (one["type"], one["scheme"]) for name, one in schemes.items()}
    assert declared == {"access_token": ("http", "bearer"), "client": ("http", "basic")}
    told = {
        path: said["security"]
        for path, methods in document["paths"].items()
        for said in methods.values()
        if "security" in said
    }
    person, client = [{"access_token": []}], [{"client": []}, {}]
    assert {path: said for path, said in told.items() if not path.startswith("/api/")} == {
        "/auth/logout": [*person, {}],
        "/auth/logout-all": person,
        "/auth/password": person,
        "/auth/sessions": person,
        "/auth/sessions/{session_id}": person,
        "/auth/ticket": person,
        "/auth/revocations": [{"client": []}],
        "/oauth/token": client,
        "/oauth/revoke": client,
        "/oauth/introspect": client,
    }
    for path in document["paths"]:
        if path.startswith("/api/"):
            assert told[path] == [{"access_token": [SCOPE]}], path


def test_every_oauth_response_is_documented(document):
    answers = {
        path: {method: list(said["responses"]) for method, said in methods.items()}
        for path, methods in document["paths"].items()
        if path.startswith(("/oauth", "/.well-known"))
    }
    client = ["200", "400", "401", "411", "413", "429", "503"]
    assert answers == {
        "/oauth/token": {"post": client},
        "/oauth/revoke": {"post": client},
        "/oauth/introspect": {"post": client},
        "/oauth/authorize": {
            "get": ["200", "303", "400", "503"],
            "post": ["200", "303", "400", "403", "411", "413", "429", "503"],
        },
        "/.well-known/oauth-authorization-server": {"get": ["200"]},
        "/.well-known/jwks.json": {"get": ["200", "304"]},
    }
    assert SECRET not in str(document)


def test_disabled_routes_are_not_documented():
    with ProductThread.running(Settings()) as served:
        document = httpx.get(f"{served.url}/openapi.json").json()
    assert {path.split("/")[1] for path in document["paths"]} == {"auth", "healthz", "readyz", ".well-known"}
    assert [tag["name"] for tag in document["tags"]] == ["login", "keys", "operations"]
