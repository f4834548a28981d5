"""Tokens that a real provider binds to the key of a browser, of Node.js and of Python, on both engines (DPoP)."""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
import socketio
from joserfc.jwk import ECKey
from support.browser import launched
from support.live import Raw, new_server, serve
from support.node import PACKAGES, built_client_package
from support.product import ProductThread
from support.provider import Provider, proof, provider

from roomkey import DPoP, Verifier
from roomkey.core.dpop import hash_of
from roomkey.hub import ASGIApp, Hub
from roomkey.server.providers import Provider as Table
from roomkey.server.settings import Settings
from roomkey.socketio import AsyncGuard, Authenticate, Handshake

__all__ = ["provider"]

pytestmark = pytest.mark.long

T = TypeVar("T")
RESOURCE = "https://chat.example/"
PATIENCE = 20.0
NONCE_SECRET = "8a9b0c1d2e3f405162738495a6b7c8d9-for-tests-only"
PAGE = """<!doctype html><title>client</title>
<script type="importmap">
{"imports": {"socket.io-client": "/test/socket.io.esm.min.js", "roomkey-client": "/test/roomkey-client.min.js"}}
</script>
<script type="module">
import { connect, dpopKey } from "roomkey-client";
Object.assign(window, { heard: [], tokens: [], key: await dpopKey() });
window.start = (via) => {
  const onSignedOut = ({ message }) => heard.push(`signed out: ${message}`);
  const token = () => (tokens.length > 1 ? tokens.shift() : tokens[0]);
  const socket = (window.socket = connect(location.origin, { token, dpop: key, via, onSignedOut }));
  for (const event of ["connect", "disconnect"]) socket.on(event, () => heard.push(event));
  socket.onAny((event) => heard.push(event));
};
window.ready = true;
</script>"""
SCRIPT = """
import { createInterface } from "node:readline";
import { connect, dpopKey } from "roomkey-client";
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const [{ value: url }, { value: endpoint }] = [await lines.next(), await lines.next()];
const key = await dpopKey();
console.log(await key.proof({ method: "POST", url: endpoint }));
const { value: token } = await lines.next();
const onSignedOut = ({ message }) => console.log(message);
const socket = connect(url, { token, dpop: key, transports: ["websocket"], onSignedOut });
socket.on("connect", () => console.log("connect"));
"""


class Served:
    """A guarded server in a thread. Its public URL is its address, so that real clients make the right proofs."""

    def __init__(self, engine: str, verifier: Verifier, **settings: Any) -> None:
        self._engine, self._verifier, self._settings = engine, verifier, settings
        self._started = threading.Event()

    @contextmanager
    def running(self) -> Iterator[Served]:
        thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        thread.start()
        assert self._started.wait(PATIENCE)
        yield self
        self._loop.call_soon_threadsafe(self._stop.set)
        thread.join(PATIENCE)
        assert not thread.is_alive()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app: Any = None

        async def later(scope: Any, receive: Any, send: Any) -> None:
            await app(scope, receive, send)

        async with serve(later) as host:
            self.url = f"http://{host}"
            dpop = DPoP(f"{self.url}/socket.io/", nonce_secret=NONCE_SECRET, required=True)
            via = (Handshake(), Authenticate())
            if self._engine == "hub":
                self.sio: Any = Hub(self._verifier, dpop=dpop, via=via)
                self.guard, app = self.sio.guard, ASGIApp(self.sio)
            else:
                self.sio = new_server()
                self.guard = AsyncGuard(self._verifier, dpop=dpop, via=via)
                self.guard.attach(self.sio)
                app = socketio.ASGIApp(self.sio)
            self._started.set()
            await self._stop.wait()
            await self.guard.close()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Await something on the server's event loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def warn(self) -> None:
        self.call(self.sio.emit("token_expiring", {"expires_in": 60}))

    def keys(self) -> list[Any]:
        """The keys to which the tokens of the connected sockets are bound."""
        return [socket.identity.claim("cnf")["jkt"] for socket in self.guard.sockets()]


@pytest.fixture(scope="module", params=["hub", "python-socketio"])
def served(request: pytest.FixtureRequest, provider: Provider) -> Iterator[Served]:
    with Served(request.param, Verifier.oidc(provider.issuer, audience=RESOURCE)).running() as made:
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as browser:
        yield browser


def issued(provider: Provider, made: str) -> str:
    """A token that the provider binds to the key of a proof for its token endpoint."""
    form = {"grant_type": "client_credentials", "resource": RESOURCE, "scope": "read"}
    answer = provider.token(form, client="service-ES256", headers={"DPoP": made})
    assert answer["token_type"] == "DPoP"
    return str(answer["access_token"])


@contextmanager
def page_of(browser: Any, served: Served) -> Iterator[Any]:
    """A page in a browser profile of its own."""
    context = browser.new_context(permissions=["local-network-access"])
    package = built_client_package()
    for folder, name in (
        ("node_modules/socket.io-client/dist", "socket.io.esm.min.js"),
        ("dist", "roomkey-client.min.js"),
    ):
        context.route(f"**/test/{name}", partial(_send, package / folder / name))
    context.route("**/test/*.html", lambda route: route.fulfill(body=PAGE, content_type="text/html"))
    page = context.new_page()
    page.goto(f"{served.url}/test/tab.html")
    page.wait_for_function("window.ready")
    yield page
    context.close()


def _send(path: Path, route: Any) -> None:
    route.fulfill(path=path)


def hears(page: Any, event: str) -> None:
    page.wait_for_function("event => heard.includes(event)", arg=event, timeout=PATIENCE * 1000)


def bound_to_page(page: Any, provider: Provider) -> str:
    return issued(provider, page.evaluate("url => key.proof({ method: 'POST', url })", f"{provider.issuer}/token"))


@pytest.mark.parametrize("via", ["handshake", "authenticate"])
def test_browser_presents_a_token_that_is_bound_to_its_key(
    browser: Any, served: Served, provider: Provider, via: str
) -> None:
    with page_of(browser, served) as page, page_of(browser, served) as thief:
        token = bound_to_page(page, provider)
        page.evaluate("([token, via]) => { tokens.push(token); start(via); }", [token, via])
        hears(page, "connect" if via == "handshake" else "authenticated")
        assert served.keys() == [page.evaluate("key.thumbprint")]
        thief.evaluate("([token, via]) => { tokens.push(token); start(via); }", [token, via])
        hears(thief, "signed out: invalid cnf value")
        page.evaluate("token => { heard.length = 0; tokens[0] = token; }", bound_to_page(page, provider))
        served.warn()
        hears(page, "authenticated")
        assert served.keys() == [page.evaluate("key.thumbprint")]
        page.evaluate("socket.disconnect()")


def test_private_key_stays_in_the_browser(browser: Any, served: Served) -> None:
    with page_of(browser, served) as page:
        first = page.evaluate("key.thumbprint")
        page.reload()
        page.wait_for_function("window.ready")
        assert page.evaluate("key.thumbprint") == first
        stored = """() => new Promise((resolve) => {
          const opened = indexedDB.open("roomkey");
          opened.onsuccess = () => {
            const read = opened.result.transaction("tokens").objectStore("tokens").get("roomkey key");
            read.onsuccess = async () => {
              const { privateKey } = read.result.tokens;
              const exported = await crypto.subtle.exportKey("jwk", privateKey).catch((error) => error.name);
              resolve([privateKey.extractable, exported]);
            };
          };
        })"""
        assert page.evaluate(stored) == [False, "InvalidAccessError"]


def test_node_client_presents_a_token_that_is_bound_to_its_key(served: Served, provider: Provider) -> None:
    built_client_package()
    command = ["node", "--input-type=module", "--eval", SCRIPT]
    # The package imports itself by its name, in its own folder.
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "cwd": PACKAGES / "client"}
    with subprocess.Popen(command, text=True, **pipes) as client:
        assert client.stdin is not None
        assert client.stdout is not None

        def say(line: str) -> None:
            client.stdin.write(f"{line}\n")
            client.stdin.flush()

        say(served.url)
        say(f"{provider.issuer}/token")
        say(issued(provider, client.stdout.readline().strip()))
        assert client.stdout.readline() == "connect\n"
        assert len(served.keys()) == 1
        client.kill()


def test_token_of_the_provider_requires_the_proof(served: Served, provider: Provider) -> None:
    key = ECKey.generate_key("P-256")
    token = provider.access_token(RESOURCE, "ES256", bound_to=key)
    plain = provider.access_token(RESOURCE, "ES256")

    async def reply_to(payload: dict[str, str]) -> dict[str, Any]:
        raw = await Raw.open(served.url.removeprefix("http://"))
        reply = await raw.ask(payload)
        await raw.close()
        return dict(json.loads(reply[2:]).get("data", {}))

    def presented(token: str, **claims: Any) -> dict[str, Any]:
        """What the client is told; nothing if the token is accepted."""
        made = proof(key, "GET", f"{served.url}/socket.io/", ath=hash_of(token), **claims)
        return served.call(reply_to({"token": token, "dpop": made}))

    for bearer in (token, plain):
        assert served.call(reply_to({"token": bearer}))["message"] == "DPoP proof required"
    challenge = presented(token)
    assert challenge["code"] == "use_dpop_nonce"
    assert presented(token, nonce=challenge["nonce"]) == {}
    assert presented(plain, nonce=challenge["nonce"])["claim"] == "cnf"


@pytest.mark.parametrize("engine", ["hub", "python-socketio"])
def test_roomkey_serve_accepts_a_provider_token_with_its_proof(provider: Provider, engine: Any) -> None:
    key = ECKey.generate_key("P-256")
    token = provider.access_token(RESOURCE, "ES256", bound_to=key)
    table = Table(issuer=provider.issuer, audience=RESOURCE)
    settings = Settings(engine=engine, public_url="https://chat.example")
    with ProductThread.running(settings, providers={"sso": table}) as served:

        async def reply_to(payload: dict[str, str]) -> str:
            raw = await Raw.open(served.url.removeprefix("http://"))
            reply = await raw.ask(payload)
            await raw.close()
            return reply

        made = proof(key, "GET", "https://chat.example/socket.io/", ath=hash_of(token))
        assert "DPoP proof required" in served.call(reply_to({"token": token}))
        assert served.call(reply_to({"token": token, "dpop": made})).startswith("40")
        assert "invalid DPoP proof" in served.call(reply_to({"token": token, "dpop": made}))
        for path in ("/auth/sessions", "/api/users"):
            answer = httpx.get(served.url + path, headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code in (401, 404)
