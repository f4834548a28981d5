"""Other features of the JavaScript client, against both engines and the hub under plain uvicorn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from support.browser import chromium

from roomkey import Issuer, Policy
from roomkey.hub import Handshake

pytestmark = pytest.mark.asyncio(loop_scope="module")

everywhere = pytest.mark.parametrize("engine", ["hub", "hub.asgi", "python-socketio"], indirect=True, scope="session")
hubs_only = pytest.mark.parametrize("engine", ["hub", "hub.asgi"], indirect=True, scope="session")

KINDS = [(client, transport) for client in ("first", "current") for transport in ("polling", "websocket", "upgrade")]
every_kind = pytest.mark.parametrize("kind", KINDS, ids="-".join)
of_current = pytest.mark.parametrize("kind", [kind for kind in KINDS if kind[0] == "current"], ids="-".join)

DESK = Issuer.ephemeral(audience="chat")


async def admitted(js: Any, site: Any, kind: Any, **options: Any) -> Any:
    """Return a connected socket, after its upgrade if it has one."""
    socket = js.open(site, kind, auth={"token": DESK.issue("ada", rooms=["red"])}, **options)
    await socket.expect("connect")
    if kind[1] == "upgrade":
        await asyncio.wait_for(socket.upgraded.wait(), 20)
    return socket


@everywhere
@every_kind
async def test_values_arrive_unchanged_in_both_directions(js: Any, guarded: Any, engine: str, kind: Any) -> None:
    site = guarded(DESK.verifier())
    socket = await admitted(js, site, kind)
    values = [
        "ü €\u2028 🔑", "", 0, -1.5, 2**53 - 1, True, None, [], {}, [[]], {"a": {"b": [None]}},
        b"", b"\x00\xff", [b"1", {"2": b"2"}],
    ]  # fmt: skip
    if engine != "python-socketio":  # it takes this for the first attachment
        values.append({"_placeholder": "not one", "num": 0})
    assert await socket.call("echo", *values) == values
    await site.sio.emit("news", tuple(values), to=socket.sid)
    await socket.event("news", *values)
    assert await site.sio.call("question", tuple(values), to=socket.sid) == tuple(values)
    await socket.event("question", *values)
    large = b"\x00\x1e\xff" * 100_000
    assert await socket.call("echo", large, "x" * 300_000) == [large, "x" * 300_000]


@everywhere
@every_kind
async def test_many_events_arrive_complete_and_in_order(js: Any, guarded: Any, engine: str, kind: Any) -> None:
    number_of = 5 if engine == "python-socketio" else 100  # it reads 16 packets of a polling body, and closes at more
    site = guarded(DESK.verifier())
    socket = js.open(site, kind, auth={"token": DESK.issue("ada")})  # some of them travel during the upgrade
    await socket.expect("connect")
    for number in range(number_of):
        socket.emit("count", number, b"%d" % number)
        await site.sio.emit("news", (number, b"%d" % number), to=socket.sid)
    for number in range(number_of):
        await socket.event("news", number, b"%d" % number)
    assert await socket.call("echo") == []
    assert site.calls[1:-1] == [("count", "/", number, b"%d" % number) for number in range(number_of)]


@everywhere
@every_kind
async def test_client_reconnects_after_a_restart(js: Any, guarded: Any, kind: Any) -> None:
    site = guarded(DESK.verifier())
    socket = await admitted(js, site, kind)
    before = socket.sid
    await site.drop_all()
    report = await socket.expect("disconnect", active=True)
    assert report["reason"] in ("transport close", "transport error")[: 2 if kind[1] == "polling" else 1]
    await socket.expect("connect")
    assert socket.sid != before
    assert await socket.call("echo", "again") == ["again"]
    assert [call[0] for call in site.calls] == ["connect", "disconnect", "connect", "echo"]


@everywhere
@of_current
async def test_several_namespaces_share_one_connection(js: Any, guarded: Any, kind: Any) -> None:
    site = guarded(DESK.verifier())
    root = await admitted(js, site, kind)
    auth = {"token": DESK.issue("ada")}
    chat, news = root.join("/chat", auth), root.join("/news", auth)
    for socket in (chat, news):
        await socket.expect("connect")
    assert len(site.guard.index.connections) == 1
    assert len({root.sid, chat.sid, news.sid}) == 3
    for name, socket in (("root", root), ("chat", chat), ("news", news)):
        assert await socket.call("echo", name, b"\x01") == [name, b"\x01"]
    await site.sio.emit("hello", "chat only", namespace="/chat")
    await chat.event("hello", "chat only")
    chat.close()
    await chat.expect("disconnect", reason="io client disconnect")
    assert await news.call("echo", "still here") == ["still here"]
    assert await root.call("echo", "so am I") == ["so am I"]
    await site.sio.disconnect(news.sid, namespace="/news")
    await news.expect("disconnect", reason="io server disconnect", active=False)
    assert await root.call("echo", "the last") == ["the last"]
    assert len(site.guard.index.connections) == 1


@everywhere
@every_kind
async def test_volatile_event_is_dropped_before_the_connection(js: Any, guarded: Any, kind: Any) -> None:
    site = guarded(DESK.verifier())
    socket = js.open(site, kind, auth={"token": DESK.issue("ada")})
    socket.emit("lost", volatile=True)
    socket.emit("kept")
    await socket.expect("connect")
    assert await socket.call("echo", 1) == [1]
    assert [call[0] for call in site.calls] == ["connect", "kept", "echo"]
    if kind[1] == "websocket":
        # The client drops it while its last packet is still on the way out, which on a busy machine takes a moment.
        for _attempt in range(20):
            socket.emit("in time", volatile=True)
            assert await socket.call("echo", 2) == [2]
            if ("in time", "/") in site.calls:
                break
        assert ("in time", "/") in site.calls


@everywhere
@of_current
async def test_emit_with_ack_can_time_out(js: Any, guarded: Any, kind: Any) -> None:
    answer = asyncio.Event()

    async def when_told(who: Any) -> bool:
        await answer.wait()
        return True

    policy = Policy()
    policy.event("slow")(when_told)
    site = guarded(DESK.verifier(), policy=policy)
    socket = await admitted(js, site, kind)
    tag = socket.ask("echo", b"\x01", timeout=5)
    await socket.expect("ack", tag=tag, args=[b"\x01"])
    tag = socket.ask("slow", timeout=0.05)
    await socket.expect("late", tag=tag, message="operation has timed out")
    answer.set()
    assert await socket.call("echo", "on we go") == ["on we go"]  # an answer that came too late does no harm


# Cookies


@pytest.mark.checklist("D56")
@hubs_only
@pytest.mark.parametrize("transport", ["polling", "upgrade"])
async def test_session_can_be_bound_to_a_cookie(js: Any, guarded: Any, transport: str) -> None:
    site = guarded(DESK.verifier(), session_binding="cookie")
    kind = ("current", transport)
    socket = await admitted(js, site, kind, withCredentials=True)
    assert await socket.call("echo", b"\x01") == [b"\x01"]
    assert socket.transport == {"polling": "polling", "upgrade": "websocket"}[transport]
    without = js.open(site, kind, auth={"token": DESK.issue("ada")}, reconnection=False)
    report = await without.expect("connect_error")
    assert report["message"] in ("xhr poll error", "xhr post error")
    # Nobody says good-bye to a session that refuses: it ends by its heartbeat.
    await site.drop_all()


@pytest_asyncio.fixture(loop_scope="module")
async def browser() -> AsyncIterator[Any]:
    found = chromium()
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        # The pages come from nowhere, and a page from there may not ask this machine.
        flags = ["--no-sandbox", "--disable-gpu", "--disable-features=LocalNetworkAccessChecks"]
        launched = await playwright.chromium.launch(executable_path=found, args=flags)
        yield launched
        await launched.close()


PAGE = """<!doctype html><script src="/client.js"></script><script>
  window.attempt = (url, options) => new Promise((done) => {
    const socket = io(url, { reconnection: false, forceNew: true, ...options });
    setTimeout(() => done("nothing happened"), 5000);
    socket.on("connect_error", (error) => done(error.message));
    socket.on("connect", () => {
      const say = () => socket.emit("echo", new Uint8Array([1, 2]), (back) =>
        done([socket.io.engine.transport.name, ...new Uint8Array(back)]));
      const { engine } = socket.io;
      if (engine.transport.name === options.transports.at(-1)) say(); else engine.once("upgrade", say);
    });
  });
</script>"""


async def page_of(browser: Any, js_modules: Path, origin: str, cookies: list[Any]) -> Any:
    """Open a page of that origin, which exists only in this browser."""
    context = await browser.new_context()
    await context.add_cookies(cookies)
    page = await context.new_page()
    script = js_modules / "socket.io-client" / "dist" / "socket.io.min.js"
    await page.route(f"{origin}/client.js", lambda route: route.fulfill(path=script, content_type="text/javascript"))
    await page.route(f"{origin}/", lambda route: route.fulfill(body=PAGE, content_type="text/html"))
    await page.goto(f"{origin}/")
    return page


FRIEND, STRANGER = "http://127.0.0.1:8009", "http://127.0.0.1:8010"  # other origins of the same site: cookies are sent
TRANSPORTS = [["polling"], ["websocket"], ["polling", "websocket"]]


@pytest.mark.checklist("C55")
@everywhere
async def test_page_of_an_allowed_origin_connects_with_its_cookie(
    guarded: Any, browser: Any, js_modules: Path, engine: str
) -> None:
    """The token is in a cookie. An allowed page can use it, another page cannot."""
    site = guarded(DESK.verifier(), via=Handshake(cookie="session"), cors_allowed_origins=[FRIEND])
    cookie = {"name": "session", "value": DESK.issue("ada"), "url": site.url, "httpOnly": True, "sameSite": "Lax"}
    friend = await page_of(browser, js_modules, FRIEND, [cookie])
    stranger = await page_of(browser, js_modules, STRANGER, [cookie])

    async def attempt(page: Any, **options: Any) -> Any:
        return await page.evaluate(
            "([url, options]) => attempt(url, options)", [site.url, {"path": site.path} | options]
        )

    for transports in TRANSPORTS:
        with_cookie = await attempt(friend, transports=transports, withCredentials=True)
        assert with_cookie == [transports[-1], 1, 2]
        assert await attempt(stranger, transports=transports, withCredentials=True) in (
            "xhr poll error",
            "websocket error",
        )
    assert await attempt(friend, transports=["polling"]) == "no token provided"
    assert {call[2] for call in site.calls if call[0] == "connect"} == {"ada"}
    await friend.context.close()
    await stranger.context.close()
    await site.drop_all()


@hubs_only
async def test_session_cookie_works_in_a_page_of_another_origin(guarded: Any, browser: Any, js_modules: Path) -> None:
    site = guarded(DESK.verifier(), session_binding="cookie", cors_allowed_origins=[FRIEND])
    page = await page_of(browser, js_modules, FRIEND, [])
    auth = {"token": DESK.issue("ada")}
    for transports in (["polling"], ["polling", "websocket"]):
        options = {"path": site.path, "transports": transports, "auth": auth}
        script = "([url, options]) => attempt(url, options)"
        assert await page.evaluate(script, [site.url, options | {"withCredentials": True}]) == [transports[-1], 1, 2]
        assert await page.evaluate(script, [site.url, options]) in ("xhr poll error", "xhr post error")
    await page.context.close()
    await site.drop_all()
