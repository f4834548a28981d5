"""Tokens in cookies: over HTTPS, from allowed pages, with a real hub on the same origin."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.certificate import make_certificate
from support.live import Raw, serve
from support.login_server import NEW_PASSWORD, PASSWORD, LoginServer, running
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from roomkey.auth import ACCESS_COOKIE, Cookies
from roomkey.auth.cookies import REFRESH_COOKIE
from roomkey.errors import ConfigError
from roomkey.hub import Handshake

OWN, APP, FOREIGN = "https://login.example", "https://app.login.example", "https://evil.example"
PAGE = {"Origin": OWN, "Roomkey-CSRF": "1"}
ASK = {"username": "ada", "password": PASSWORD, "cookies": True}


@pytest.fixture
async def server() -> AsyncIterator[LoginServer]:
    made = running(routes={"cookies": Cookies([APP])}, hub={"via": Handshake(cookie=ACCESS_COOKIE)})
    async with made as server:
        yield server


@pytest.fixture
async def browser(server: LoginServer) -> AsyncIterator[httpx.AsyncClient]:
    async with server.client(base_url=OWN) as made:
        yield made


async def log_in(browser: httpx.AsyncClient, **headers: str) -> httpx.Response:
    answer = await browser.post("/auth/login", json=ASK, headers=PAGE | headers)
    assert answer.status_code == 200, answer.text
    return answer


async def test_login_puts_tokens_into_cookies_and_not_into_the_response(browser: httpx.AsyncClient) -> None:
    answer = await log_in(browser)
    assert answer.json() == {"expires_in": 900}
    assert answer.headers["cache-control"] == "no-store"
    found = {}
    for line in answer.headers.get_list("set-cookie"):
        [(name, morsel)] = SimpleCookie(line).items()
        found[name] = morsel["max-age"]
        assert (morsel["httponly"], morsel["secure"], morsel["samesite"].lower()) == (True, True, "strict")
        assert (morsel["path"], morsel["domain"]) == ("/", ""), "else no browser takes the prefix"
    assert found == {ACCESS_COOKIE: "900", REFRESH_COOKIE: str(30 * 86400)}
    assert (await browser.get("/auth/sessions", headers=PAGE)).status_code == 200


async def test_login_sets_no_cookies_by_default(browser: httpx.AsyncClient) -> None:
    for asked in ({}, {"cookies": False}):
        answer = await browser.post("/auth/login", json=ASK | {"cookies": False} | asked)
        assert "refresh_token" in answer.json()
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("sent", ["true", 1, None], ids=ascii)
async def test_login_sets_cookies_only_for_true(browser: httpx.AsyncClient, sent: Any) -> None:
    assert (await browser.post("/auth/login", json=ASK | {"cookies": sent}, headers=PAGE)).status_code == 400


async def test_form_login_sets_no_cookies(browser: httpx.AsyncClient) -> None:
    answer = await browser.post("/auth/login", data={**ASK, "cookies": "true"}, headers=PAGE)
    assert answer.status_code == 400
    assert "set-cookie" not in answer.headers


async def test_refresh_replaces_both_cookies(server: LoginServer, browser: httpx.AsyncClient) -> None:
    await log_in(browser)
    before = dict(browser.cookies)
    server.clock.advance(60)
    answer = await browser.post("/auth/refresh", headers=PAGE)
    assert (answer.status_code, answer.json()) == (200, {"expires_in": 900})
    assert all(before[name] != browser.cookies[name] for name in (ACCESS_COOKIE, REFRESH_COOKIE))
    ages = [SimpleCookie(line) for line in answer.headers.get_list("set-cookie")]
    assert ages[1][REFRESH_COOKIE]["max-age"] == str(30 * 86400 - 60), "the login ends when it ends"
    answer = await browser.post("/auth/refresh", json={"refresh_token": browser.cookies[REFRESH_COOKIE]})
    assert "refresh_token" in answer.json(), "whoever sends a token gets a token"


@pytest.mark.parametrize("late", [False, True], ids=["at once", "after the access token has expired"])
async def test_logout_deletes_the_cookies(server: LoginServer, browser: httpx.AsyncClient, late: bool) -> None:
    await log_in(browser)
    refresh_token = browser.cookies[REFRESH_COOKIE]
    if late:
        server.clock.advance(1000)
        browser.cookies.delete(ACCESS_COOKIE)
    answer = await browser.post("/auth/logout", headers=PAGE)
    assert (answer.status_code, answer.json()) == (200, {"sockets": 0})
    assert not browser.cookies
    assert (await server.refresh(refresh_token)).status_code == 401


ROUTES = [
    ("POST", "refresh", None),
    ("POST", "logout", None),
    ("POST", "logout-all", None),
    ("POST", "password", {"password": PASSWORD, "new_password": NEW_PASSWORD}),
    ("GET", "sessions", None),
    ("DELETE", "sessions/x", None),
    ("POST", "ticket", None),
    ("POST", "login", ASK),
]
FORGED = {
    "a form of another site": {"Origin": FOREIGN},
    "a script of another site": {"Origin": FOREIGN, "Roomkey-CSRF": "1"},
    "a sandboxed frame": {"Origin": "null", "Roomkey-CSRF": "1"},
    "a page without TLS": {"Origin": "http://login.example", "Roomkey-CSRF": "1"},
    "another port": {"Origin": OWN + ":8443", "Roomkey-CSRF": "1"},
    "a name that begins alike": {"Origin": OWN + ".evil.example", "Roomkey-CSRF": "1"},
    "a neighbour of the site": {"Sec-Fetch-Site": "same-site", "Roomkey-CSRF": "1"},
    "no page at all": {"Roomkey-CSRF": "1"},
    "the own page without the header": {"Origin": OWN},
    "an empty header": {"Origin": OWN, "Roomkey-CSRF": ""},
}


@pytest.mark.checklist("C55")
@pytest.mark.parametrize(("method", "path", "body"), ROUTES, ids=[path for _, path, _ in ROUTES])
async def test_cookies_are_refused_from_other_sites(
    browser: httpx.AsyncClient, method: str, path: str, body: dict[str, str] | None
) -> None:
    await log_in(browser)
    kept = dict(browser.cookies)
    for what, headers in FORGED.items():
        answer = await browser.request(method, f"/auth/{path}", json=body, headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (403, "forbidden"), what
        assert "set-cookie" not in answer.headers
    assert dict(browser.cookies) == kept
    assert (await browser.get("/auth/sessions", headers=PAGE)).status_code == 200


@pytest.mark.parametrize(("method", "path", "body"), ROUTES, ids=[path for _, path, _ in ROUTES])
@pytest.mark.parametrize("page", [{"Origin": OWN}, {"Origin": APP}, {"Sec-Fetch-Site": "same-origin"}], ids=str)
async def test_cookies_are_accepted_from_an_allowed_page(
    browser: httpx.AsyncClient, method: str, path: str, body: dict[str, str] | None, page: dict[str, str]
) -> None:
    await log_in(browser)
    answer = await browser.request(method, f"/auth/{path}", json=body, headers=page | {"Roomkey-CSRF": "1"})
    assert answer.status_code == (404 if path == "sessions/x" else 200)


async def test_header_token_takes_precedence_and_requires_no_csrf_header(
    server: LoginServer, browser: httpx.AsyncClient
) -> None:
    hers = await server.login("grace")
    await log_in(browser)
    header = {"Authorization": f"Bearer {hers['access_token']}", "Origin": FOREIGN}
    answer = await browser.post("/auth/logout", headers=header)
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    assert not await server.is_good(hers)
    assert (await browser.get("/auth/sessions", headers=PAGE)).status_code == 200


async def test_two_cookies_of_one_name_are_ignored(browser: httpx.AsyncClient) -> None:
    await log_in(browser)
    cookie = f"{ACCESS_COOKIE}={browser.cookies[ACCESS_COOKIE]}"
    browser.cookies.clear()
    for header, status in ((cookie, 200), (f"{cookie}; {cookie}", 401), (f"{ACCESS_COOKIE}=", 401)):
        answer = await browser.get("/auth/sessions", headers=PAGE | {"Cookie": header})
        assert answer.status_code == status


async def test_login_without_tls_sets_no_cookies(server: LoginServer) -> None:
    answer = await server.http.post("/auth/login", json=ASK, headers={"Origin": "http://login.example"} | PAGE)
    assert (answer.status_code, answer.json()["error_description"]) == (400, "The server sets cookies only over HTTPS.")


async def test_server_without_cookies_rejects_a_request_for_them() -> None:
    async with running() as server, server.client(base_url=OWN) as browser:
        answer = await browser.post("/auth/login", json=ASK, headers=PAGE)
        assert (answer.status_code, answer.json()["error_description"]) == (400, "This server does not set cookies.")
        cookie = f"{ACCESS_COOKIE}={(await server.login())['access_token']}"
        assert (await browser.get("/auth/sessions", headers=PAGE | {"Cookie": cookie})).status_code == 401


async def test_token_too_long_for_a_cookie_consumes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roomkey.auth.login_service.MAX_SESSIONS", 1)
    more: dict[str, Any] = {}
    options = {"routes": {"cookies": Cookies()}, "extra_claims": lambda account: more}
    async with running(**options) as server, server.client(base_url=OWN) as browser:
        await log_in(browser)
        more["rooms_of_the_app"] = ["a room with a long name"] * 200
        for path, body in (("login", ASK), ("refresh", None)):
            answer = await browser.post(f"/auth/{path}", json=body, headers=PAGE)
            assert (answer.status_code, answer.json()["error"]) == (400, "token_too_large")
            assert "set-cookie" not in answer.headers
        assert len(await server.logins.list_sessions("ada")) == 1, "neither another one nor one less"
        refresh_token = browser.cookies[REFRESH_COOKIE]
        server.clock.advance(60)  # after the reuse interval, as the first use
        assert (await server.refresh(refresh_token)).status_code == 200, "without cookies there is room"
        more.clear()
        await log_in(browser)


@pytest.mark.parametrize("path", ["refresh", "logout"])
@pytest.mark.parametrize(
    ("body", "label"), [(b"", "application/json"), (b"{}", "application/json"), (b" { }\n", "text/plain"), (b"", None)]
)
async def test_empty_body_uses_the_cookie_whatever_its_content_type(
    server: LoginServer, browser: httpx.AsyncClient, path: str, body: bytes, label: str | None
) -> None:
    await log_in(browser)
    refresh_token = browser.cookies[REFRESH_COOKIE]
    server.clock.advance(1000)  # the access token has expired
    labeled = {} if label is None else {"Content-Type": label}
    answer = await browser.post(f"/auth/{path}", content=body, headers=PAGE | labeled)
    assert answer.status_code == 200, answer.text
    server.clock.advance(60)
    assert (await server.refresh(refresh_token)).status_code == 401, "it is used up, or logged out"


async def test_token_in_the_body_takes_precedence_over_the_cookie(
    server: LoginServer, browser: httpx.AsyncClient
) -> None:
    await log_in(browser)
    other = await server.login()
    answer = await browser.post("/auth/refresh", json={"refresh_token": other["refresh_token"]}, headers=PAGE)
    assert "refresh_token" in answer.json()
    broken = await browser.post("/auth/refresh", content=b'{"refresh_token": 5}', headers=PAGE)
    assert broken.status_code == 400


@pytest.mark.parametrize("origin", ["*", "null", "http://app.example", "app.example", "https://app.example/"])
def test_invalid_settings_of_cookies_raise(origin: str) -> None:
    with pytest.raises(ConfigError):
        Cookies([origin])
    with pytest.raises(ConfigError):
        Cookies(origin)


# With the hub, over TLS


class Secure:
    """Yield a server over TLS, and a browser that has logged in."""

    def __init__(self, server: LoginServer, host: str, trust: ssl.SSLContext) -> None:
        self.server, self.trust = server, trust
        self.origin = f"https://{host}"
        self.page = {"Origin": self.origin, "Roomkey-CSRF": "1"}

    def cookies(self, browser: httpx.AsyncClient) -> str:
        return "; ".join(f"{name}={value}" for name, value in browser.cookies.items())

    async def socket(self, cookies: str, **headers: str) -> tuple[Raw, str]:
        raw = await secure_raw(self.origin, self.trust, {"Cookie": cookies, **headers})
        return raw, await raw.ask()


async def secure_raw(origin: str, trust: ssl.SSLContext, headers: dict[str, str]) -> Raw:
    url = f"wss://{origin.removeprefix('https://')}/socket.io/?EIO=4&transport=websocket"
    raw = Raw(await connect(url, additional_headers=headers, ssl=trust, compression=None))
    assert str(await raw.receive()).startswith("0{")
    return raw


@pytest.fixture
async def secure(tmp_path: Path) -> AsyncIterator[Secure]:
    trust = make_certificate(tmp_path)
    tls = {"ssl_certfile": tmp_path / "cert.pem", "ssl_keyfile": tmp_path / "key.pem"}
    settings = {"routes": {"cookies": Cookies([APP])}}
    via = {"via": Handshake(auth=False, cookie=ACCESS_COOKIE), "cors_allowed_origins": [APP]}
    async with running(**settings, hub=via) as server, serve(server.asgi, **tls) as host:
        yield Secure(server, host.replace("127.0.0.1", "localhost"), trust)


@pytest.mark.checklist("C52", "C55")
async def test_socket_accepts_the_cookie_from_an_allowed_origin_only(secure: Secure) -> None:
    async with httpx.AsyncClient(base_url=secure.origin, verify=secure.trust) as browser:
        answer = await browser.post("/auth/login", json=ASK, headers=secure.page)
        assert answer.status_code == 200, answer.text
        cookies = secure.cookies(browser)
        for page in ({"Origin": secure.origin}, {"Origin": APP}, {"Sec-Fetch-Site": "same-origin"}):
            raw, reply = await secure.socket(cookies, **page)
            assert reply.startswith("40"), (page, reply)
            await raw.close()
        raw, reply = await secure.socket(cookies)
        assert "credentials_required" in reply, "no page at all"
        await raw.close()
        for origin in (FOREIGN, "null", secure.origin.replace("https", "http")):
            with pytest.raises(InvalidStatus):
                await secure.socket(cookies, Origin=origin)


async def test_logout_disconnects_the_socket_that_used_the_cookie(secure: Secure) -> None:
    async with httpx.AsyncClient(base_url=secure.origin, verify=secure.trust) as browser:
        await browser.post("/auth/login", json=ASK, headers=secure.page)
        raw, reply = await secure.socket(secure.cookies(browser), Origin=secure.origin)
        assert reply.startswith("40")
        answer = await browser.post("/auth/logout", headers=secure.page)
        assert answer.json() == {"sockets": 1}
        assert await raw.is_closed()
        assert not browser.cookies
