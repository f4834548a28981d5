"""Security checklist, group C: what differs by transport, on each of the hub's: polling, WebSocket and upgrade."""

from __future__ import annotations

import json

import pytest
from support.calm import calm
from support.live import serve
from support.rawsocket import Answer, RawSocket, upgrade
from support.world import clock, make_world

from roomkey.errors import ConfigError
from roomkey.hub import Handshake, Hub

__all__ = ["calm", "clock", "make_world"]

pytestmark = pytest.mark.usefixtures("calm")

TRANSPORTS = ("polling", "post", "websocket", "upgrade")
EVERY_TRANSPORT = pytest.mark.parametrize("transport", TRANSPORTS)
FORBIDDEN = (403, {"code": 4, "message": "Forbidden"})


@pytest.fixture
def engine() -> str:
    return "hub"


async def http(host: str, request: str, headers: dict[str, str], body: str = "") -> Answer:
    raw = await RawSocket.open(host)
    lines = [f"{request} HTTP/1.1", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in ({"Host": host} | headers).items()]
    await raw.send(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
    try:
        return await raw.answer()
    finally:
        await raw.close()


async def opened(host: str, headers: dict[str, str] | None = None) -> str:
    """Open a polling session and return its ID."""
    answer = await http(host, "GET /socket.io/?EIO=4&transport=polling", headers or {})
    assert answer.status == 200, answer
    sid: str = json.loads(answer.body[1:])["sid"]
    return sid


async def by(transport: str, host: str, headers: dict[str, str], query: str = "") -> Answer:
    """Connect over a transport with these headers. If a session is needed, it is opened without them."""
    if transport in ("polling", "post"):
        if transport == "polling":
            return await http(host, f"GET /socket.io/?EIO=4&transport=polling{query}", headers)
        sid = await opened(host)
        return await http(host, f"POST /socket.io/?EIO=4&transport=polling&sid={sid}{query}", headers, "40")
    sid = f"&sid={await opened(host)}" if transport == "upgrade" else ""
    raw = await RawSocket.open(host)
    await raw.send(upgrade(host, sid + query, **{name.lower().replace("-", "_"): one for name, one in headers.items()}))
    try:
        return await raw.answer()
    finally:
        await raw.close()


def entered(answer: Answer) -> bool:
    return answer.status in (200, 101)


# Invalid requests


@pytest.mark.checklist("C50")
@pytest.mark.parametrize(
    ("method", "query", "code", "message"),
    [
        ("GET", "transport=polling", 5, "Unsupported protocol version"),
        ("GET", "EIO=3&transport=polling", 5, "Unsupported protocol version"),
        ("GET", "EIO=abc&transport=polling", 5, "Unsupported protocol version"),
        ("GET", "EIO=4", 0, "Transport unknown"),
        ("GET", "EIO=4&transport=abc", 0, "Transport unknown"),
        ("GET", "EIO=4&transport=flashsocket", 0, "Transport unknown"),
        ("GET", "EIO=4&transport=polling&sid=abc", 1, "Session ID unknown"),
        ("POST", "EIO=4&transport=polling&sid=abc", 1, "Session ID unknown"),
        ("PUT", "EIO=4&transport=polling", 2, "Bad handshake method"),
        ("POST", "EIO=4&transport=polling", 2, "Bad handshake method"),
        ("PUT", "EIO=4&transport=polling&sid=abc", 2, "Bad handshake method"),
        ("GET", "EIO=4&transport=websocket", 3, "Bad request"),
        ("GET", "EIO=4&transport=websocket&sid=abc", 3, "Bad request"),
        ("GET", "EIO=4&transport=polling&j=0", 3, "Bad request"),
    ],
)
async def test_invalid_polling_request_receives_the_engineio_error(make_world, method, query, code, message):
    world = await make_world()
    answer = await http(world.host, f"{method} /socket.io/?{query}", {})
    assert (answer.status, answer.json) == (400, {"code": code, "message": message})
    assert answer.headers["content-type"] == "application/json"
    assert world.sio.counts[f"refused: {message}"] == 1


@pytest.mark.checklist("C50")
@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ("EIO=3&transport=websocket", 5, "Unsupported protocol version"),
        ("transport=websocket", 5, "Unsupported protocol version"),
        ("EIO=4&transport=abc", 0, "Transport unknown"),
        ("EIO=4&transport=websocket&sid=abc", 1, "Session ID unknown"),
        ("EIO=4&transport=polling", 3, "Bad request"),
        ("EIO=4&transport=websocket&j=0", 3, "Bad request"),
    ],
)
async def test_invalid_websocket_request_receives_the_engineio_error(make_world, query, code, message):
    world = await make_world()
    raw = await RawSocket.open(world.host)
    await raw.send(upgrade(world.host, line=f"GET /socket.io/?{query} HTTP/1.1"))
    answer = await raw.answer()
    assert (answer.status, answer.json) == (400, {"code": code, "message": message})
    assert await raw.ends()


# Origins


@pytest.mark.checklist("C51")
@EVERY_TRANSPORT
@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "http://{host}.evil.example",
        "http://127.0.0.1:1",
        "https://{host}",
        "http://{host}/",
        "http://x@{host}",
        "{host}",
        "",
        "http://evil.example, http://{host}",
        "file://",
    ],
)
async def test_foreign_origin_is_refused(make_world, transport, origin):
    world = await make_world()
    answer = await by(transport, world.host, {"Origin": origin.format(host=world.host)})
    assert (answer.status, answer.json) == FORBIDDEN
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.checklist("C51")
@EVERY_TRANSPORT
async def test_own_origin_and_allowed_origins_are_accepted(make_world, transport):
    world = await make_world(cors_allowed_origins=["https://app.example"])
    for origin in (f"http://{world.host}", f"HTTP://{world.host}", "https://app.example", "https://APP.example:443"):
        answer = await by(transport, world.host, {"Origin": origin})
        assert entered(answer)
        if transport in ("polling", "post"):
            assert answer.headers["access-control-allow-origin"] == origin
            assert answer.headers["vary"] == "Origin"
    for origin in ("https://app.example.evil", "http://app.example", "https://app.example:444"):
        assert (await by(transport, world.host, {"Origin": origin})).status == 403


@pytest.mark.checklist("C51")
async def test_preflight_of_a_foreign_page_gets_no_cors_headers(make_world):
    world = await make_world(cors_allowed_origins="https://app.example")
    asking = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    good = await http(world.host, "OPTIONS /socket.io/", {"Origin": "https://app.example"} | asking)
    assert (good.status, good.headers["access-control-allow-headers"]) == (204, "authorization")
    evil = await http(world.host, "OPTIONS /socket.io/", {"Origin": "https://evil.example"} | asking)
    assert evil.status == 403
    assert not [name for name in evil.headers if name.startswith("access-control")]


# Cookies


async def admitted(transport: str, host: str, headers: dict[str, str]) -> bool:
    """Return True if a CONNECT without a token is admitted on a session opened with these headers."""
    if transport in ("polling", "upgrade"):
        sid = await opened(host, headers)
    if transport == "polling":
        poll = f"/socket.io/?EIO=4&transport=polling&sid={sid}"
        if not entered(await http(host, f"POST {poll}", headers, "40")):
            return False
        answer = await http(host, f"GET {poll}", headers)
        return answer.body.startswith(b"40{")
    raw = await RawSocket.open(host)
    query = "" if transport == "websocket" else f"&sid={sid}"
    await raw.send(upgrade(host, query, **{name.lower().replace("-", "_"): one for name, one in headers.items()}))
    if (await raw.answer()).status != 101:
        return False
    if transport == "upgrade":
        await raw.text("2probe")
        assert await raw.packet() == "3probe"
        await raw.text("5")
    else:
        assert (await raw.packet()).startswith("0{")
    await raw.text("40")
    reply = await raw.packet()
    await raw.close()
    return reply.startswith("40{")


JOINING = pytest.mark.parametrize("transport", ["polling", "websocket", "upgrade"])


@pytest.mark.checklist("C52")
@JOINING
async def test_without_origin_a_cookie_is_refused_and_a_token_accepted(make_world, transport):
    """Without an ``Origin`` header, a cookie is refused and a token is accepted."""
    world = await make_world(via=Handshake(cookie="session"))
    cookie = {"Cookie": f"session={world.token()}"}
    assert not await admitted(transport, world.host, cookie)
    assert await admitted(transport, world.host, cookie | {"Origin": f"http://{world.host}"})
    assert await admitted(transport, world.host, cookie | {"Sec-Fetch-Site": "same-origin"})
    assert await admitted(transport, world.host, {"Authorization": f"Bearer {world.token()}"})


@pytest.mark.checklist("C55")
@JOINING
@pytest.mark.parametrize("site", ["cross-site", "same-site", "none", ""])
async def test_cookie_sent_from_another_site_is_refused(make_world, transport, site):
    world = await make_world(via=Handshake(cookie="session"))
    assert not await admitted(transport, world.host, {"Cookie": f"session={world.token()}", "Sec-Fetch-Site": site})


@pytest.mark.checklist("C55")
@EVERY_TRANSPORT
async def test_cookie_with_a_foreign_origin_is_refused(make_world, transport):
    world = await make_world(via=Handshake(cookie="session"), cors_allowed_origins="https://app.example")
    headers = {"Cookie": f"session={world.token()}", "Origin": "https://evil.example"}
    assert (await by(transport, world.host, headers)).status == 403


@pytest.mark.checklist("C55")
@JOINING
async def test_cookie_is_accepted_from_an_origin_that_a_function_allows(make_world, transport):
    world = await make_world(
        via=Handshake(cookie="session"), cors_allowed_origins=lambda origin: origin == "https://a.example"
    )
    cookie = {"Cookie": f"session={world.token()}"}
    assert await admitted(transport, world.host, cookie | {"Origin": "https://a.example"})


@pytest.mark.checklist("C55")
def test_cookies_with_every_origin_allowed_are_rejected(verifier):
    with pytest.raises(ConfigError):
        Hub(verifier, via=Handshake(cookie="session"), cors_allowed_origins="*")


@pytest.mark.checklist("C55")
@pytest.mark.parametrize("site", ["same-origin", "cross-site"])
async def test_session_cookie_is_http_only_and_same_site(make_world, site):
    world = await make_world(session_binding="cookie")
    answer = await http(world.host, "GET /socket.io/?EIO=4&transport=polling", {"Sec-Fetch-Site": site})
    attributes = answer.headers["set-cookie"].split("; ")[1:]
    assert attributes == ["Path=/", "HttpOnly", "SameSite=Lax"]  # over http, browsers reject SameSite=None


# Proxies


@pytest.mark.checklist("C53")
@EVERY_TRANSPORT
@pytest.mark.parametrize(
    "forged",
    [
        {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http"},
        {"X-Forwarded-Host": "evil.example"},
        {"Forwarded": "host=evil.example;proto=http"},
        {"X-Original-Host": "evil.example"},
    ],
    ids=["host and proto", "host", "Forwarded", "original host"],
)
async def test_forged_host_does_not_allow_an_origin(make_world, transport, forged):
    world = await make_world()
    answer = await by(transport, world.host, {"Origin": "http://evil.example"} | forged)
    assert answer.status == 403


@pytest.mark.checklist("C53")
@EVERY_TRANSPORT
async def test_forged_scheme_and_address_are_ignored(make_world, transport, caplog):
    world = await make_world()
    forged = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9"}
    assert (await by(transport, world.host, {"Origin": f"https://{world.host}"} | forged)).status == 403
    assert '"address": "127.0.0.1"' in caplog.text
    assert "203.0.113.9" not in caplog.text


@pytest.mark.checklist("C53")
@pytest.mark.parametrize("trusted", [True, False])
@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_trusted_proxy_sets_scheme_and_address(verifier, transport, trusted, caplog):
    hub = Hub(verifier)
    proxy = "127.0.0.1" if trusted else "203.0.113.1"
    async with serve(hub, proxy_headers=True, forwarded_allow_ips=proxy) as host:
        forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9", "Origin": f"https://{host}"}
        answer = await by(transport, host, forwarded)
        assert entered(answer) is trusted
        addresses = [connection.address for connection in hub.guard.index.connections]
        assert addresses == (["203.0.113.9"] if trusted else [])
