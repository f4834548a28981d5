"""The ASGI application, over HTTP in this process."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher
from sqlalchemy.ext.asyncio import AsyncConnection
from support.live import serve

from roomkey import Key, KeySet
from roomkey.auth import Passwords
from roomkey.errors import ConfigError
from roomkey.server import page
from roomkey.server import socketio_js as client_build
from roomkey.server.app import build
from roomkey.server.demo import add_accounts, write_credentials
from roomkey.server.logs import configure
from roomkey.server.request_hardening import MAX_BODY
from roomkey.server.settings import Settings
from roomkey.stores import Database, Stores, probe

NOW = 1_700_000_000.0
ORIGIN = "http://127.0.0.1:8000"
HANDSHAKE = "/socket.io/?EIO=4&transport=polling"
REFUSED = {"hub": 403, "python-socketio": 400}  # another origin's handshake


@pytest.fixture
async def product_client(request: pytest.FixtureRequest, engine: Any) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(engine=engine, **getattr(request, "param", {}))
    stores = Stores.at()
    await stores.open()
    passwords = Passwords(hasher=PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    people = await add_accounts(stores.accounts, passwords)
    keys = KeySet([Key.generate(settings.algorithm)])
    product = build(settings, stores, keys, passwords=passwords, rooms=("<red>", "blue"), clock=lambda: NOW)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(product.asgi), base_url=ORIGIN) as made:
        made.people = people  # type: ignore[attr-defined]
        made.product = product  # type: ignore[attr-defined]
        yield made
    await product.close()
    await stores.close()


@pytest.mark.parametrize(
    "product_client", [{"algorithm": name} for name in ("HS256", "RS256", "ES256", "EdDSA")], indirect=True
)
async def test_demo_account_can_log_in(product_client: Any) -> None:
    grace = product_client.people[1]
    typed = {"username": grace.username, "password": grace.password}
    answer = (await product_client.post("/auth/login", json=typed)).json()
    who = product_client.product.verifier.verify(answer["access_token"], NOW)
    assert (who.subject, who.rooms, who.issuer, who.expires_at) == ("grace", ("red", "blue"), "roomkey", NOW + 900)


async def test_every_response_has_the_security_headers(product_client: httpx.AsyncClient) -> None:
    for path in ("/", "/healthz", "/static/app.js", "/absent", "/auth/login", HANDSHAKE, "/openapi.json"):
        headers = (await product_client.get(path)).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"


async def test_page_is_served(product_client: httpx.AsyncClient) -> None:
    answer = await product_client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "{{" not in answer.text
    assert 'data-rooms="&lt;red&gt; blue"' in answer.text
    assert " style=" not in answer.text
    assert "<style" not in answer.text
    assert answer.text.count("<script") == answer.text.count("<script src=") == 2
    parts = [path.name for path in page.STATIC.glob("*.js")]
    assert "app.js" in parts
    for part in parts:
        script = await product_client.get(f"/static/{part}")
        assert script.headers["content-type"].startswith("text/javascript")
        assert not re.search(r"innerHTML|localStorage|sessionStorage|document\.cookie|eval\(", script.text)


async def test_page_uses_the_cdn_without_a_copy_of_the_client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(page, "VENDORED", tmp_path / "absent.js")
    html = page.render(via="both", rooms=())
    assert f'src="https://cdn.socket.io/{client_build.VERSION}/socket.io.min.js"' in html
    assert f'integrity="{client_build.INTEGRITY}" crossorigin="anonymous"' in html
    assert page.script_origins() == ("https://cdn.socket.io",)


async def test_health_returns_ok(product_client: httpx.AsyncClient) -> None:
    assert (await product_client.get("/healthz")).json() == {"status": "ok"}


async def test_static_files_cannot_leave_their_folder(product_client: httpx.AsyncClient) -> None:
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static/"):
        assert (await product_client.get(path)).status_code == 404


@pytest.mark.checklist("C51", "C53")
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:8001"},
        {"Origin": "http://127.0.0.1.evil.example:8000"},
        {"Origin": "https://evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"},
        {"Origin": "https://evil.example", "X-Forwarded-Host": "evil.example, 127.0.0.1:8000"},
    ],
    ids=["other", "null", "port", "prefix", "forged", "forged list"],
)
async def test_socket_of_another_origin_is_refused(
    product_client: httpx.AsyncClient, headers: dict[str, str], engine: str
) -> None:
    assert (await product_client.get(HANDSHAKE, headers=headers)).status_code == REFUSED[engine]


@pytest.mark.checklist("C51", "C52")
async def test_socket_of_the_same_origin_or_without_origin_connects(product_client: httpx.AsyncClient) -> None:
    assert (await product_client.get(HANDSHAKE, headers={"Origin": ORIGIN})).status_code == 200
    assert (await product_client.get(HANDSHAKE)).status_code == 200


@pytest.mark.parametrize("product_client", [{"cors_origins": ("https://app.example",)}], indirect=True)
async def test_allowed_origin_can_connect_and_log_in(product_client: httpx.AsyncClient, engine: str) -> None:
    for origin, status in ((ORIGIN, 200), ("https://app.example", 200), ("https://evil.example", REFUSED[engine])):
        assert (await product_client.get(HANDSHAKE, headers={"Origin": origin})).status_code == status
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    for origin, status in (("https://app.example", 200), ("https://evil.example", 400)):
        asked = await product_client.options("/auth/login", headers=preflight | {"Origin": origin})
        assert asked.status_code == status


@pytest.mark.checklist("E70")
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Length": str(MAX_BODY + 1)}, 413),
        ({"Content-Length": "9" * 5000}, 413),
        ({"Content-Length": "-1"}, 413),
        ({"Content-Length": "0x10"}, 413),
        ({"Transfer-Encoding": "chunked"}, 411),
    ],
    ids=["over", "digits", "negative", "hex", "chunked"],
)
async def test_large_body_is_rejected_before_it_is_read(
    product_client: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    scope = {"type": "http", "method": "POST", "path": "/socket.io/", "scheme": "http", "query_string": b""}
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        raise AssertionError("it was read")

    async def send(message: Any) -> None:
        sent.append(message)

    product: Any = product_client.product  # type: ignore[attr-defined]
    await product.asgi(scope | {"headers": raw}, receive, send)
    assert sent[0]["status"] == status
    assert json.loads(sent[1]["body"])["error"] == "invalid_request"


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/nowhere", (404, "not_found")),
        ("POST", "/auth/login/", (404, "not_found")),  # and no redirect that sends the password on
        ("GET", "/auth/login", (405, "invalid_request")),
        ("GET", "/static/nothing.js", (404, "not_found")),
    ],
)
async def test_unknown_path_returns_an_error_object(
    product_client: httpx.AsyncClient, method: str, path: str, expected: tuple[int, str]
) -> None:
    answer = await product_client.request(method, path)
    assert (answer.status_code, answer.json()["error"]) == expected
    assert answer.json()["error_description"] in ("Not Found.", "Method Not Allowed.")


async def test_credentials_file_is_private_and_not_overwritten(product_client: Any, tmp_path: Path) -> None:
    write_credentials(tmp_path / "c.json", product_client.people)
    assert (tmp_path / "c.json").stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigError, match="exists"):
        write_credentials(tmp_path / "c.json", product_client.people)


@pytest.mark.checklist("H113")
def test_log_record_is_one_line_without_secrets(capfd: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        configure()
        logging.getLogger("other").error("Invalid session %s", "abc\r\nforged\x1b[31m line")
        logging.getLogger("other").error("token eyJhbGciOiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl here")
        logging.getLogger("roomkey.audit").info('{"token": "the-id-of-it"}')
    finally:
        root.handlers[:], _ = before, root.setLevel(level)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 3
    assert "\x1b" not in lines[0]
    assert "abc" not in lines[0]
    assert "eyJ" not in lines[1]
    assert "the-id-of-it" in lines[2]


@pytest.mark.parametrize("product_client", [{"issuer": ORIGIN}], indirect=True)
async def test_oauth_is_served_if_the_issuer_is_a_url(product_client: Any) -> None:
    metadata = (await product_client.get("/.well-known/oauth-authorization-server")).json()
    assert (metadata["issuer"], metadata["jwks_uri"]) == (ORIGIN, f"{ORIGIN}/.well-known/jwks.json")
    asked = await product_client.get(metadata["authorization_endpoint"].removeprefix(ORIGIN))
    assert asked.status_code == 400  # no client of this name
    assert "frame-ancestors 'none'" in asked.headers["content-security-policy"]
    assert "style-src 'self'" not in asked.headers["content-security-policy"], "the page's own policy counts"
    assert asked.headers["x-content-type-options"] == "nosniff"


async def test_oauth_is_not_served_if_the_issuer_is_a_name(product_client: Any) -> None:
    for path in ("/.well-known/oauth-authorization-server", "/oauth/authorize", "/oauth/token"):
        assert (await product_client.get(path)).status_code == 404


@pytest.mark.parametrize("length", [b"0" * 12 + b"90000000", b"0" * 5000 + b"1000001", b"9" * 5000])
async def test_content_length_with_leading_zeros_is_read_completely(product_client: Any, length: bytes) -> None:
    answer = await product_client.post("/auth/login", content=b"x", headers={b"content-length": length})
    assert answer.status_code == 413


READABLE = ["/", "/healthz", "/readyz", "/.well-known/jwks.json", "/openapi.json", "/static/app.js"]


@pytest.mark.parametrize("path", [*READABLE, "/auth/sessions", "/absent"])
async def test_head_works_like_get_without_a_body(product_client: Any, path: str) -> None:
    async with serve(product_client.product.asgi) as host, httpx.AsyncClient(base_url=f"http://{host}") as http:
        got, head = await http.get(path), await http.head(path)
        assert (got.status_code == 200) is (path in READABLE)
        assert head.status_code == got.status_code
        assert head.content == b""
        assert {**head.headers, "date": ""} == {**got.headers, "date": ""}
        assert (await http.get("/healthz")).json() == {"status": "ok"}  # nothing is left on the connection


async def test_head_is_not_in_the_openapi_document(product_client: httpx.AsyncClient) -> None:
    paths = (await product_client.get("/openapi.json")).json()["paths"]
    assert not [path for path, operations in paths.items() if "head" in operations]


@pytest.mark.checklist("C51")
@pytest.mark.parametrize(
    ("host", "page", "may"),
    [
        ("App.example:80", "http://app.example", True),
        ("app.example", "http://app.example:80", True),
        ("app.example", "http://app.example:8080", False),
        ("app.example", "https://app.example", False),
    ],
)
async def test_own_origin_is_recognized_by_scheme_host_and_port(
    product_client: httpx.AsyncClient, engine: str, host: str, page: str, may: bool
) -> None:
    """On both engines, letter case and the default port make no difference."""
    answer = await product_client.get(HANDSHAKE, headers={"Host": host, "Origin": page})
    assert answer.status_code == (200 if may else REFUSED[engine])


async def test_server_that_has_stopped_is_not_ready(product_client: Any) -> None:
    await product_client.product.close()
    answer = await product_client.get("/readyz")
    assert (answer.status_code, answer.json()["problem"]) == (503, "the server is stopping")


async def test_server_is_not_ready_while_it_cannot_write(where: Path | str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "KNOWN_SECONDS", 0.0)
    stores = Stores.at(where)
    await stores.open()
    product = build(Settings(), stores, KeySet([Key.generate("ES256")]))
    async with AsyncExitStack() as stack:
        stack.push_async_callback(stores.close)
        stack.push_async_callback(product.close)
        web = await stack.enter_async_context(
            httpx.AsyncClient(transport=httpx.ASGITransport(product.asgi), base_url="http://test")
        )
        assert (await web.get("/readyz")).status_code == 200
        monkeypatch.setattr(probe, "PROBE_SECONDS", 0.4)
        other = Database(where)
        stack.push_async_callback(other.close)
        lock = "BEGIN IMMEDIATE" if isinstance(where, Path) else "LOCK TABLE users IN SHARE MODE"
        answers: list[httpx.Response] = []

        async def hold(connection: AsyncConnection) -> None:
            await connection.exec_driver_sql(lock)
            answers.append(await web.get("/readyz"))

        await other.run(hold)
        assert answers[0].status_code == 503
        assert answers[0].json()["problem"].startswith("the database cannot be written to: ")
        monkeypatch.setattr(probe, "PROBE_SECONDS", 2.0)
        async with asyncio.timeout(10):
            while (await web.get("/readyz")).status_code != 200:
                await asyncio.sleep(0.05)
