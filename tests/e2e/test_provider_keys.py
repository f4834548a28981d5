"""Sockets with the tokens of a real OpenID provider, on both engines, while it rotates, is slow and is down."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.lag import lag_of_the_loop, seconds_awake
from support.live import Raw
from support.product import ProductThread
from support.provider import BACK, CLIENT, CLIENT_SECRET
from support.provider import Provider as OpenIdProvider
from support.tokens import part
from support.world import BOTH

from roomkey.errors import AuthError, Unavailable, UnknownKey
from roomkey.keysets.introspection import POSITIVE
from roomkey.server.providers import Provider
from roomkey.server.settings import Settings

pytestmark = [BOTH, pytest.mark.long]

RESOURCE = "https://chat.example/"


@pytest.fixture
def served(op: OpenIdProvider, engine: Any, tmp_path: Path) -> Iterator[ProductThread]:
    with ExitStack() as stack:
        yield stack.enter_context(serve(op, engine, tmp_path))


def serve(op: OpenIdProvider, engine: Any, folder: Path) -> Any:
    secret = folder / "sso.secret"
    secret.write_text(CLIENT_SECRET + "\n")
    secret.chmod(0o600)
    sso = Provider(
        issuer=op.issuer,
        audience=RESOURCE,
        introspection=f"{op.issuer}/token/introspection",
        client_id=CLIENT,
        client_secret_file=secret,
    )
    return ProductThread.running(Settings(engine=engine), providers={"sso": sso})


async def admitted(served: ProductThread, token: str) -> Raw:
    raw, answer = await served.present(token)
    assert answer.startswith("40"), answer
    return raw


async def is_alive(raw: Raw) -> bool:
    """Return True if the socket gets an answer to an event."""
    await raw.send('4217["leave-room","nowhere"]')
    return str(await raw.receive()).startswith("4317")


async def fetched(served: ProductThread) -> None:
    """Wait for the end of a fetch that is under way."""
    lookup = served.product_keys(0).prefetch()
    if lookup is not None:
        await lookup.wait(20)


async def readiness(served: ProductThread) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=served.url) as web:
        response = await web.get("/readyz")
    assert response.status_code == 200
    found: dict[str, Any] = response.json()["providers"][0]
    return found


@pytest.mark.checklist("G106")
async def test_a_rotation_refuses_no_token(op: OpenIdProvider, served: ProductThread) -> None:
    tokens = [await asyncio.to_thread(op.access_token, RESOURCE, alg) for alg in ("RS256", "ES256")]
    sockets = [await admitted(served, token) for token in tokens]
    for _ in range(2):
        await asyncio.to_thread(op.rotate)
        new = await asyncio.to_thread(op.access_token, RESOURCE)
        sockets += [await admitted(served, token) for token in (new, *tokens)]
        served.product_keys(0)._state.cool_until = 0.0  # 30 s later
    assert all([await is_alive(raw) for raw in sockets])
    assert {socket.identity.subject for socket in served.guard.index} == {"sso:service-RS256", "sso:service-ES256"}
    assert op.requests() == 3


async def test_tokens_of_new_keys_authenticate_and_renew(op: OpenIdProvider, served: ProductThread) -> None:
    raw = await Raw.open(served.url.removeprefix("http://"))
    assert (await raw.ask(None)).startswith("40")  # in quarantine, without a token
    for _ in range(2):
        await asyncio.to_thread(op.rotate)
        token = await asyncio.to_thread(op.access_token, RESOURCE)
        await raw.send("42" + json.dumps(["authenticate", {"token": token}]))
        assert str(await raw.receive()).startswith('42["authenticated"')
        served.product_keys(0)._state.cool_until = 0.0  # 30 s later
    assert await is_alive(raw)


@pytest.mark.checklist("G107")
async def test_an_outage_disturbs_neither_old_nor_new_sockets(op: OpenIdProvider, served: ProductThread) -> None:
    token = await asyncio.to_thread(op.access_token, RESOURCE)
    old = await admitted(served, token)
    await asyncio.to_thread(op.down)
    served.product_keys(0)._clock = lambda: time.monotonic() + 3600  # an hour later
    new = [await admitted(served, token) for _ in range(5)]
    assert all([await is_alive(raw) for raw in (old, *new)])
    await fetched(served)
    found = await readiness(served)
    assert (found["name"], found["keys"]) == ("sso", "stale")
    assert "Connect" in found["last_error"]
    assert found["seconds_since_answer"] >= 3599
    forged = f"{part({'alg': 'ES256', 'kid': 'new'})}.{token.split('.')[1]}.{part(b'x' * 64)}"
    _, answer = await served.present(forged)
    assert "temporarily unavailable" in answer  # nobody knows whether the key exists
    await asyncio.to_thread(op.up)


async def test_a_slow_provider_delays_no_handshake_and_no_loop(op: OpenIdProvider, served: ProductThread) -> None:
    known = await asyncio.to_thread(op.access_token, RESOURCE)
    await admitted(served, known)
    await asyncio.to_thread(op.rotate)
    unknown = await asyncio.to_thread(op.access_token, RESOURCE)
    await asyncio.to_thread(op.delay, 6.0)
    watch = lag_of_the_loop()
    lag = served.call(watch.__aenter__())
    started = time.monotonic()
    with seconds_awake() as seconds:
        waiting = [asyncio.create_task(served.present(unknown)) for _ in range(20)]
        await asyncio.sleep(0.1)
        before = seconds()
        await admitted(served, known)
        assert seconds() - before < 1.9  # not delayed by the others
        answers = {answer[:2] for _, answer in await asyncio.gather(*waiting)}
        assert seconds() < 5.5
    assert time.monotonic() - started >= 2.0
    assert answers == {"44"}
    assert lag() < 1.0  # 50 ms on a quiet machine
    served.call(watch.__aexit__(None, None, None))
    await fetched(served)
    await admitted(served, unknown)
    assert op.requests() == 2


@pytest.mark.checklist("G109")
async def test_10000_unknown_kids_cause_one_fetch(op: OpenIdProvider, served: ProductThread) -> None:
    token = await asyncio.to_thread(op.access_token, RESOURCE)
    await admitted(served, token)
    _, payload, signature = token.split(".")

    def forged(number: int) -> str:
        return f"{part({'alg': 'RS256', 'kid': f'x{number}'})}.{payload}.{signature}"

    async def verify_all() -> list[type[BaseException]]:
        outcomes = []
        for number in range(10_000):
            try:
                await served.guard.verify(forged(number))
            except AuthError as error:
                outcomes.append(type(error))
        return outcomes

    attack = asyncio.create_task(
        asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(verify_all(), served._loop).result(60))
    )
    for _ in range(20):
        await admitted(served, token)
    outcomes = await attack
    assert len(outcomes) == 10_000
    assert set(outcomes) <= {UnknownKey, Unavailable}
    for number in range(10):
        _, answer = await served.present(forged(number))
        assert answer.startswith("44")
    assert op.requests() == 2  # the first one, and one for all of them


async def test_200_sockets_on_a_cold_cache_cause_one_fetch(op: OpenIdProvider, engine: Any, tmp_path: Path) -> None:
    token = await asyncio.to_thread(op.access_token, RESOURCE)
    await asyncio.to_thread(op.delay, 0.2)
    with serve(op, engine, tmp_path) as served:
        sockets = await asyncio.gather(*(admitted(served, token) for _ in range(200)))
        assert len(sockets) == 200
        assert op.requests() == 1
        assert op.requests("/.well-known/openid-configuration") == 1


async def test_an_opaque_token_connects_until_it_is_revoked(op: OpenIdProvider, served: ProductThread) -> None:
    op.client("phone", redirect_uris=[BACK], token_format="opaque")
    tokens = await asyncio.to_thread(lambda: op.log_in(op.browser("ada"), resource=RESOURCE, client="phone"))
    opaque = tokens["access_token"]
    assert opaque.count(".") == 0
    await admitted(served, opaque)
    assert [socket.identity.subject for socket in served.guard.index] == ["sso:ada"]
    form, auth = {"token": opaque}, ("phone", CLIENT_SECRET)
    async with httpx.AsyncClient() as web:
        assert (await web.post(f"{op.issuer}/token/revocation", data=form, auth=auth)).status_code == 200
    await admitted(served, opaque)  # the answer is kept
    asked = served.product.providers[0].verifiers[1]
    asked._clock = lambda: time.monotonic() + POSITIVE
    _, answer = await served.present(opaque)
    assert "jwt expired" in answer


async def test_opaque_tokens_for_others_are_refused(op: OpenIdProvider, served: ProductThread) -> None:
    for_itself = await asyncio.to_thread(lambda: op.log_in(op.browser("ada")))
    service = await asyncio.to_thread(lambda: op.access_token(RESOURCE, opaque=True))
    for token, said in [
        (for_itself["access_token"], "jwt audience invalid"),
        ("nobody-knows-this-token", "jwt expired"),
        (service, '"claim":"sub"'),  # at this provider, a service has no subject
    ]:
        _, answer = await served.present(token)
        assert answer.startswith("44")
        assert said in answer
