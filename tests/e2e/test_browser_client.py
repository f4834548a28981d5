"""The npm package for clients in a real browser, with the login server and the hub: tabs, sleep and wake-up."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support.browser import launched
from support.node import built_client_package
from support.product import ProductThread

from roomkey.server.settings import Settings

pytestmark = pytest.mark.long

SLOW = {"reconnectionDelay": 60_000, "reconnectionDelayMax": 60_000}
PAGE = """<!doctype html><title>client</title>
<script type="importmap">
{"imports": {"socket.io-client": "/test/socket.io.esm.min.js", "roomkey-client": "/test/roomkey-client.min.js"}}
</script>
<script type="module">
import { connect, forgetTokens } from "roomkey-client";

const headers = { "Content-Type": "application/json" };
const post = (path, body) => fetch(`/auth/${path}`, { method: "POST", headers, body: JSON.stringify(body) });

REFRESH

Object.assign(window, { heard: [], persisted: false, forgetTokens });
window.login = async (username, password) => (await post("login", { username, password })).json();
window.open = (tokens, options = {}) => {
  const onSignedOut = ({ data }) => heard.push(`signed out: ${data?.reason}`);
  const socket = (window.socket = connect(location.origin, { refresh, tokens, onSignedOut, ...options }));
  for (const event of ["connect", "disconnect"]) socket.on(event, () => heard.push(event));
  socket.onAny((event) => heard.push(event));
};
addEventListener("pageshow", (event) => (persisted ||= event.persisted));
window.ready = true;
</script>"""


# The function on the page about clients, which these tests run.
DOCUMENTED = (Path(__file__).parents[2] / "docs" / "clients.md").read_text()
REFRESH = re.search(r"^async function refresh\(tokens\) {\n.*?^}", DOCUMENTED, re.MULTILINE | re.DOTALL)[0]
PAGE = PAGE.replace("REFRESH", REFRESH)


class Tabs:
    """The tabs of one browser profile, and the refreshes that the login server received from them."""

    def __init__(self, browser: Any, served: ProductThread) -> None:
        self.served = served
        # The page itself comes from the test and not from the server's address.
        self.context = browser.new_context(permissions=["local-network-access"])
        self.refreshes = 0
        self.held: list[tuple[Any, Any]] = []
        self.hold = False
        package = built_client_package()
        for name, folder in {
            "socket.io.esm.min.js": package / "node_modules" / "socket.io-client" / "dist",
            "roomkey-client.min.js": package / "dist",
        }.items():
            self._serve(name, folder)
        self.context.route("**/test/*.html", lambda route: route.fulfill(body=PAGE, content_type="text/html"))
        self.context.route("**/auth/refresh", self._refresh)

    def _serve(self, name: str, folder: Any) -> None:
        self.context.route(f"**/test/{name}", lambda route: route.fulfill(path=folder / name))

    def _refresh(self, route: Any) -> None:
        """Forward the request. The response can be held, as it is for a frozen tab."""
        self.refreshes += 1
        answer = route.fetch()
        if self.hold:
            self.held.append((route, answer))
        else:
            route.fulfill(response=answer)

    def open(self, tokens: Any = None, **options: Any) -> Any:
        """Open a tab with a connected socket."""
        page = self.blank()
        page.evaluate("([tokens, options]) => open(tokens ?? undefined, options)", [tokens, options])
        hears(page, "connect")
        return page

    def blank(self) -> Any:
        page = self.context.new_page()
        page.goto(f"{self.served.url}/test/tab.html")
        page.wait_for_function("window.ready")
        return page

    def login(self) -> Any:
        page = self.blank()
        tokens = page.evaluate("args => login(...args)", ["grace", self.served.passwords()["grace"]])
        page.close()
        return tokens

    def warn(self) -> None:
        """Warn every connected socket that its token expires soon."""
        self.served.call(self.served.product.backend.sio.emit("token_expiring", {"expires_in": 60}))


def hears(page: Any, event: str, times: int = 1, within: float = 20) -> None:
    """Wait until the tab has received an event so often."""
    page.wait_for_function(
        "([event, times]) => heard.filter((one) => one === event).length >= times",
        arg=[event, times],
        timeout=within * 1000,
    )


def wake(page: Any, event: str) -> None:
    page.evaluate(
        "event => (event === 'visibilitychange' ? document : window).dispatchEvent(new Event(event))",
        event,
    )


def advance(page: Any, seconds: float) -> None:
    """Advance the tab's wall clock. Its timers do not notice."""
    page.evaluate("seconds => { const now = Date.now; Date.now = () => now() + seconds * 1000; }", seconds)


def lifecycle(page: Any, state: str) -> None:
    page.context.new_cdp_session(page).send("Page.setWebLifecycleState", {"state": state})


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched(ignore_default_args=["--disable-back-forward-cache"]) as browser:
        yield browser


@pytest.fixture
def served_for(browser: Any) -> Iterator[Callable[..., Tabs]]:
    """``served_for(token_lifetime=…)``: a server, and a browser profile for it."""
    with ExitStack() as stack:

        def start(**settings: Any) -> Tabs:
            made = Tabs(browser, stack.enter_context(ProductThread.running(Settings(**settings))))
            stack.callback(made.context.close)
            return made

        yield start


@pytest.fixture
def tabs(served_for: Callable[..., Tabs]) -> Tabs:
    return served_for()


@pytest.mark.parametrize("locks", [True, False], ids=["web-locks", "plain-http"])
def test_two_tabs_refresh_once(tabs: Tabs, locks: bool) -> None:
    """Without Web Locks, as on plain HTTP, the lease in IndexedDB keeps the second tab waiting."""
    if not locks:
        tabs.context.add_init_script("Object.defineProperty(navigator, 'locks', { value: undefined })")
    one, two = tabs.open(tabs.login()), tabs.open()
    assert one.evaluate("typeof navigator.locks") == ("object" if locks else "undefined")
    for rounds in range(1, 21):
        tabs.warn()
        for tab in (one, two):
            hears(tab, "authenticated", rounds)
        assert tabs.refreshes == rounds
    assert one.evaluate("heard.includes('disconnect')") is False


def test_frozen_tab_does_not_block_the_others(tabs: Tabs) -> None:
    """The frozen tab has sent its refresh token, and neither receives the new one nor releases its lock.

    The others lose patience at the same moment. Only one of them refreshes, within the grace for a reused token.
    """
    one = tabs.open(tabs.login())
    tabs.hold = True
    tabs.warn()
    _until(one, lambda: len(tabs.held) == 1)
    lifecycle(one, "frozen")
    tabs.hold = False
    others = [tabs.open(), tabs.open(), tabs.open()]
    began = time.monotonic()
    tabs.warn()
    for tab in others:
        hears(tab, "authenticated")
    assert time.monotonic() - began < 9
    assert tabs.refreshes == 2
    route, answer = tabs.held.pop()
    route.fulfill(response=answer)
    lifecycle(one, "active")
    hears(one, "authenticated")
    tabs.warn()
    for tab in (one, *others):
        hears(tab, "authenticated", 2)
        assert "signed out" not in str(tab.evaluate("heard"))
    assert tabs.refreshes == 3


def test_closed_tab_does_not_block_the_others(tabs: Tabs) -> None:
    one, two = tabs.open(tabs.login()), tabs.open()
    tabs.hold = True
    tabs.warn()
    _until(two, lambda: len(tabs.held) == 1)
    held = tabs.held[0][0].request.frame.page
    tabs.hold = False
    held.close()
    other = two if held is one else one
    hears(other, "authenticated", within=4)
    assert tabs.refreshes == 2


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_page_from_the_back_forward_cache_connects_again(tabs: Tabs, transport: str) -> None:
    """The default wait before the next attempt is a minute here, so that only the event can be the reason."""
    tab = tabs.open(tabs.login(), transports=[transport], **SLOW)
    tab.goto(f"{tabs.served.url}/healthz")
    tab.go_back(wait_until="commit")  # a restored page does not load
    tab.wait_for_function("window.persisted")
    hears(tab, "connect", 2)
    assert tabs.refreshes == 0


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_network_that_returns_is_used_immediately(tabs: Tabs, transport: str) -> None:
    tab = tabs.open(tabs.login(), transports=[transport], **SLOW)
    tabs.context.set_offline(True)
    hears(tab, "disconnect")
    tabs.context.set_offline(False)
    hears(tab, "connect", 2)


@pytest.mark.parametrize("event", ["visibilitychange", "pageshow", "online"])
def test_woken_tab_renews_by_the_wall_clock(served_for: Callable[..., Tabs], event: str) -> None:
    """While the machine slept, no timer ran and no warning arrived. The connection is still there."""
    tabs = served_for(token_lifetime=40)
    tab = tabs.open(tabs.login())
    wake(tab, event)
    advance(tab, 31)
    wake(tab, event)
    hears(tab, "authenticated")
    assert tabs.refreshes == 1
    assert tab.evaluate("heard") == ["connect", "authenticated"]


def test_tab_that_slept_long_connects_again_with_a_new_token(tabs: Tabs) -> None:
    """The client knows by the clock that the connection is dead, and does not send the renewal a second time."""
    tab = tabs.open(tabs.login())
    advance(tab, 890)
    wake(tab, "visibilitychange")
    hears(tab, "connect", 2)
    assert tab.evaluate("socket.emitWithAck('join-room', 'red')") == {"ok": True}
    assert tab.evaluate("heard") == ["connect", "disconnect", "connect"]
    assert tabs.refreshes == 1


@pytest.mark.parametrize(
    "failure",
    [
        {"status": 500},
        {"status": 200, "content_type": "text/html", "body": "<html>"},
        {"status": 200, "json": {}},
        None,
    ],
    ids=["error", "page", "nothing", "no-connection"],
)
def test_failed_refresh_is_not_a_logout(tabs: Tabs, failure: dict[str, Any] | None) -> None:
    """The tokens stay in place, and the next attempt uses them."""
    tab = tabs.open(tabs.login())
    fail = lambda route: route.fulfill(**failure) if failure else route.abort()  # noqa: E731
    tabs.context.route("**/auth/refresh", fail, times=1)
    with tab.expect_console_message(lambda message: "no token yet" in message.text):
        tabs.warn()
    hears(tab, "authenticated")
    assert tabs.refreshes == 1
    assert tab.evaluate("heard.filter((one) => one !== 'token_expiring')") == ["connect", "authenticated"]


def test_wrong_clock_of_the_browser_does_not_matter(tabs: Tabs) -> None:
    tabs.context.add_init_script("{ const now = Date.now; Date.now = () => now() + 86_400_000; }")
    one, two = tabs.open(tabs.login()), tabs.open()
    wake(one, "visibilitychange")
    tabs.warn()
    for tab in (one, two):
        hears(tab, "authenticated")
    assert tabs.refreshes == 1


@pytest.mark.parametrize("ended_by", ["page", "server", "logout"])
def test_ended_socket_listens_to_no_events_of_the_page(tabs: Tabs, ended_by: str) -> None:
    tabs.context.add_init_script("""
        window.listening = [];
        const { addEventListener, removeEventListener } = window;
        window.addEventListener = (event, ...rest) => (listening.push(event), addEventListener(event, ...rest));
        window.removeEventListener = (event, ...rest) => {
          listening.splice(listening.indexOf(event), 1);
          removeEventListener(event, ...rest);
        };""")
    before = tabs.blank().evaluate("listening")
    tab = tabs.open(tabs.login())
    assert {"pageshow", "online", "visibilitychange"} <= set(tab.evaluate("listening"))
    if ended_by == "page":
        tab.evaluate("socket.close()")
    elif ended_by == "server":
        [socket] = tabs.served.guard.index
        tabs.served.call(tabs.served.product.backend.sio.disconnect(socket.sid))
    else:
        tabs.served.call(tabs.served.guard.revoke(subject="grace"))
    hears(tab, "disconnect")
    ours = {"pageshow", "online", "visibilitychange"}
    assert [one for one in tab.evaluate("listening") if one in ours] == [one for one in before if one in ours]


def test_logout_stops_every_tab(tabs: Tabs) -> None:
    tokens = tabs.login()
    pages = [tabs.open(tokens), tabs.open()]
    tabs.served.call(tabs.served.guard.revoke(subject="grace"))
    for page in pages:
        hears(page, "signed out: token_revoked")
        assert page.evaluate("[socket.active, heard.filter((one) => one === 'connect').length]") == [False, 1]
    late = tabs.blank()
    late.evaluate("open()")  # the revoked token is no longer stored
    hears(late, "signed out: undefined")


def test_login_that_has_ended_stops_every_tab(tabs: Tabs) -> None:
    pages = [tabs.open(tabs.login()), tabs.open()]
    tabs.context.route("**/auth/refresh", lambda route: route.fulfill(status=401, json={"error": "invalid_grant"}))
    tabs.warn()
    for page in pages:
        hears(page, "signed out: undefined")
        assert page.evaluate("socket.active") is False


def _until(page: Any, condition: Callable[[], bool]) -> None:
    """Let the browser's events arrive until something is true."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        page.context.pages[-1].wait_for_timeout(10)
