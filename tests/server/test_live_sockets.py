"""Settings for connected sockets, and readiness, over a real port on both engines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from support.dpop import ClientKey
from support.live import Raw, until
from support.product import ProductThread

from roomkey.core.revocations import Revocation
from roomkey.errors import ConfigError
from roomkey.server.settings import Settings
from roomkey.server.settings_sources import load_settings
from roomkey.stores import MemoryRevocations


@pytest.fixture
def product(engine: Any) -> Iterator[Callable[..., ProductThread]]:
    with ExitStack() as stack:

        def start(revocations: Any = None, **settings: Any) -> ProductThread:
            settings_of = Settings(engine=engine, **settings)
            return stack.enter_context(ProductThread.running(settings_of, revocations=revocations))

        yield start


async def ask(served: ProductThread, subject: str = "ada", **claims: Any) -> tuple[Raw, str]:
    """A connection that has presented a token, and the answer."""
    raw = await Raw.open(served.url.removeprefix("http://"))
    return raw, await raw.ask({"token": served.product.issuer.issue(subject, **claims)})


class Shaky(MemoryRevocations):
    """A store that is out of reach for a while."""

    broken = False

    async def since(self, position: int) -> tuple[Sequence[Revocation], int]:
        if self.broken:
            raise OSError("the cable")
        return await super().since(position)


async def test_server_is_ready_only_while_it_can_decide(product: Any) -> None:
    store = Shaky()
    served = product(store)
    async with httpx.AsyncClient(base_url=served.url) as web:
        documented = (await web.get("/openapi.json")).json()["paths"]["/readyz"]["get"]["responses"]
        assert set(documented) == {"200", "503"}
        answer = await web.get("/readyz")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
        store.broken = True
        raw, said = await ask(served)
        assert said.startswith("44") or served.guard.problem is None
        await until(lambda: served.guard.problem is not None, 10)
        answer = await web.get("/readyz")
        told = {"status": "unavailable", "problem": served.guard.problem}
        assert (answer.status_code, answer.json()) == (503, told)
        assert "unavailable" in answer.json()["problem"]
        assert "cable" not in answer.text
        assert (await web.get("/healthz")).json() == {"status": "ok"}
        store.broken = False
        await until(lambda: served.guard.problem is None, 10)
        assert (await web.get("/readyz")).status_code == 200
        await raw.close()


async def test_subject_cannot_exceed_its_socket_limit(product: Any) -> None:
    served = product(sockets_per_subject=1)
    first, said = await ask(served)
    assert said.startswith("40")
    second, said = await ask(served)
    assert '"limit_exceeded"' in said
    other, said = await ask(served, "grace")
    assert said.startswith("40")
    for raw in (first, second, other):
        await raw.close()


async def test_oldest_socket_is_disconnected_at_the_limit(product: Any) -> None:
    served = product(sockets_per_subject=1, when_full="end_oldest")
    first, _ = await ask(served)
    second, said = await ask(served)
    assert said.startswith("40")
    [told] = await first.expect_event("unauthorized")
    assert told["data"]["reason"] == "limit_exceeded"
    assert await first.is_closed()
    await second.event("whoami", ack=1)
    assert (await second.expect_ack(1))[0]["subject"] == "ada"
    await second.close()


async def test_subject_cannot_exceed_its_event_limit(product: Any) -> None:
    served = product(events_per_second=1)
    raw, _ = await ask(served)
    for ack in range(5):
        await raw.event("whoami", ack=ack)
    answers = [str(await raw.receive()) for _ in range(5)]
    assert any('"subject":"ada"' in answer for answer in answers)
    assert any('"limit_exceeded"' in answer for answer in answers)
    await raw.close()


async def test_warn_before_0_sends_no_warning(product: Any) -> None:
    served = product(warn_before=0, grace=0)
    raw, _ = await ask(served, expires_in=4)
    await raw.expect_event("unauthorized", 10)
    assert not any("token_expiring" in str(packet) for packet in raw.seen)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("warn_before", -1),
        ("warn_before", 3601),
        ("warn_before", "nan"),
        ("sockets_per_subject", 0),
        ("sockets_per_subject", 1.5),
        ("when_full", "end_newest"),
        ("events_per_second", 0.5),
        ("events_per_second", "inf"),
    ],
)
def test_invalid_limits_are_rejected(name: str, wrong: Any) -> None:
    with pytest.raises(ConfigError, match=f"^--{name.replace('_', '-')}: "):
        load_settings(**{name: wrong})


async def test_bound_tokens_are_accepted_if_the_public_url_is_set(product: Any) -> None:
    key = ClientKey()
    for settings, admitted in (({}, False), ({"public_url": "https://chat.example/"}, True)):
        served = product(**settings)
        raw = await Raw.open(served.url.removeprefix("http://"))
        token = served.product.issuer.issue("ada", claims=key.binding)
        said = await raw.ask({"token": token, "dpop": key.proof(token, time.time())})
        assert said.startswith("40" if admitted else "44"), said
        async with httpx.AsyncClient(base_url=served.url) as web:
            answer = await web.get("/auth/sessions", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401
        await raw.close()


async def test_tokens_are_accepted_in_the_named_header_and_member(product: Any) -> None:
    served = product(token_header="X-Token", auth_member="jwt", via="handshake")
    host, token = served.url.removeprefix("http://"), served.product.issuer.issue("ada")
    ways: list[tuple[dict[str, str], dict[str, str], str]] = [
        ({"X-Token": token}, {}, "40"),
        ({}, {"jwt": token}, "40"),
        ({"Authorization": f"Bearer {token}"}, {"token": token}, "44"),
    ]
    for headers, auth, reply in ways:
        raw = await Raw.open(host, headers=headers)
        assert (await raw.ask(auth)).startswith(reply)
        await raw.close()
