"""Both clients of roomkey.client present tokens that are bound to a key, each with a new proof."""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from client.house import run
from socketio.exceptions import ConnectionError as ConnectionFailed
from support.dpop import NONCE_SECRET, URL
from support.live import serve

from roomkey import DPoP, Issuer
from roomkey.client import AsyncClient, Client, ProofKey
from roomkey.client.proof import sockets_url
from roomkey.core.dpop import check_proof
from roomkey.errors import ConfigError, InvalidProof
from roomkey.hub import ASGIApp, Authenticate, Handshake, Hub

PATIENCE = 10.0
KEY, OTHER = ProofKey(), ProofKey()
ISSUER = Issuer.ephemeral(audience="chat")
WAYS = {"handshake": Handshake(), "authenticate": Authenticate()}


def bound(key: ProofKey = KEY, **claims: Any) -> str:
    return ISSUER.issue("ada", claims={"cnf": {"jkt": key.thumbprint}}, **claims)


@asynccontextmanager
async def hub_with_dpop(**settings: Any) -> AsyncIterator[tuple[Hub, str]]:
    """A hub whose public URL is its address."""
    app: Any = None

    async def later(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)

    async with serve(later) as host:
        dpop = DPoP(f"http://{host}/socket.io/", required=True, nonce_secret=NONCE_SECRET)
        hub = Hub(ISSUER.verifier(), dpop=dpop, namespaces="*", **settings)
        app = ASGIApp(hub)
        yield hub, f"http://{host}"
        await hub.close()


async def admitted(hub: Hub, number: int = 1, token_id: str | None = None) -> None:
    """Wait until so many sockets are connected, with this token."""
    async with asyncio.timeout(PATIENCE):
        while [s.identity.token_id for s in hub.guard.sockets() if token_id in (None, s.identity.token_id)][
            number - 1 :
        ] == []:
            await asyncio.sleep(0.01)


@pytest.fixture(params=[AsyncClient, Client], ids=["async", "sync"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Any]]:
    async with AsyncExitStack() as stack:

        def make(**settings: Any) -> Any:
            made = request.param(handle_sigint=False, reconnection=False, **{"dpop": KEY, **settings})
            stack.push_async_callback(run, made.disconnect)
            return made

        yield make


@pytest.mark.parametrize("via", WAYS)
async def test_client_presents_and_renews_tokens_that_are_bound_to_its_key(client, via):
    async with hub_with_dpop(via=WAYS[via]) as (hub, url):
        tokens = [bound(token_id="first"), bound(token_id="second", expires_in=1000)]
        sio = client(token=lambda: tokens.pop(0) if len(tokens) > 1 else tokens[0], via=via)
        tokens.insert(0, tokens[0])  # the first attempt has no nonce, and a new token is found for each
        await run(sio.connect, url, transports=["polling"], namespaces=["/"], wait_timeout=PATIENCE)
        await admitted(hub)
        await hub.emit("token_expiring", {"expires_in": 60})
        await admitted(hub, token_id="second")


@pytest.mark.long  # after a refusal, python-socketio's client waits for the other namespaces
async def test_each_namespace_is_presented_its_own_proof(client):
    async with hub_with_dpop() as (hub, url):
        sio = client(token=bound())
        spaces = ["/", "/a", "/b"]
        await run(sio.connect, url, transports=["polling"], namespaces=spaces, wait_timeout=2)
        await admitted(hub, 3)


async def test_client_without_the_key_stops(client):
    async with hub_with_dpop() as (hub, url):
        refusals: queue.Queue[Any] = queue.Queue()
        sio = client(token=bound(OTHER), on_signed_out=refusals.put)
        with pytest.raises(ConnectionFailed):  # the oldest client's text is only the namespace
            await run(sio.connect, url, transports=["polling"], namespaces=["/"], wait_timeout=PATIENCE)
        refusal = await asyncio.to_thread(refusals.get, True, PATIENCE)
        assert refusal.data["claim"] == "cnf"
        assert hub.guard.sockets() == []


def test_proof_is_accepted_by_the_server():
    made = KEY.proof("GET", URL, token="a.b.c", nonce="n")
    found = check_proof(DPoP(URL), made, "a.b.c", time.time())
    assert found.key == KEY.thumbprint
    with pytest.raises(InvalidProof, match="ath is missing"):
        check_proof(DPoP(URL), KEY.proof("GET", URL), "a.b.c", time.time())


def test_key_can_be_stored_and_loaded():
    loaded = ProofKey(KEY.to_jwk())
    assert loaded.thumbprint == KEY.thumbprint
    assert check_proof(DPoP(URL), loaded.proof("GET", URL, token="t"), "t", time.time()).key == KEY.thumbprint
    public = {name: value for name, value in KEY.to_jwk().items() if name != "d"}
    for wrong in (public, {}, {"kty": "oct", "k": "x" * 43}):
        with pytest.raises(ConfigError):
            ProofKey(wrong)


@pytest.mark.parametrize(
    ("url", "path", "expected"),
    [
        ("https://chat.example", "socket.io", "https://chat.example/socket.io/"),
        ("wss://u:p@chat.example:8443/x?y", "/my/path/", "https://chat.example:8443/my/path/"),
        ("http://localhost:8000/", "socket.io", "http://localhost:8000/socket.io/"),
    ],
)
def test_url_of_a_proof_is_the_socketio_path(url, path, expected):
    assert sockets_url(url, path) == expected


def test_settings_that_do_not_fit_are_rejected(client):
    with pytest.raises(ConfigError, match="ProofKey"):
        client(token="t", dpop="key")
    with pytest.raises(ConfigError, match="must be a string"):
        sockets_url(lambda: "https://chat.example")
