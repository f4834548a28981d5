"""Helpers for the RFC tests: the whole application, and responses read as the RFCs define them."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from support.oauth import URL, Desk, query_of
from support.tokens import part

from roomkey import Key, KeySet
from roomkey.server.app import build
from roomkey.server.settings import Settings
from roomkey.stores import MemoryRevocations, Stores

SHARED = pytest.mark.asyncio(loop_scope="module")
"""For files whose tests share one server; each makes logins of its own."""

TEXT = re.compile(r"[\x20-\x21\x23-\x5B\x5D-\x7E]+")
"""What ``error`` and ``error_description`` may consist of (RFC 6749 section 5.2, RFC 6750 section 3)."""

_PARAMETER = re.compile(r'(?:^|, )([a-z_]+)="([^"]*)"')


class Served(Desk):
    """The product in place of the routers alone: with keys, operators' routes and headers.

    Its guard and other libraries know today's time alone, so that the clock stands a minute behind it.

    Args:
        settings: of the product, beside its issuer and audience.
    """

    def __init__(self, where: None = None, **settings: Any) -> None:
        super().__init__(start=time.time() - 60)
        chosen = Settings(issuer=URL, audience="chat", admin_api=True, **settings)
        self.key = Key.generate(chosen.algorithm)
        self.product = build(
            chosen,
            Stores(self.accounts, self.clients, self.sessions, self.single_use, self.links, MemoryRevocations()),
            KeySet([self.key]),
            passwords=self.passwords,
            clock=self.clock.now,
        )
        self.issuer = self.product.issuer
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(self.product.asgi), base_url=URL)

    @classmethod
    @asynccontextmanager
    async def opened(cls, where: None = None, **settings: Any) -> AsyncIterator[Served]:
        async with super().opened(where, **settings) as served:
            yield served  # type: ignore[misc]
            await served.product.close()  # type: ignore[attr-defined]

    async def ask(self, token: str | None, path: str = "/auth/sessions") -> httpx.Response:
        """Return the response of a protected route to a token."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return await self.http.get(path, headers=headers)

    async def own_login(self) -> dict[str, Any]:
        """Return tokens of Ada's own login."""
        return dict((await self.http.post("/auth/login", json=ADA)).json())

    def signed(self, header: dict[str, Any], claims: dict[str, Any]) -> str:
        """Return a token of any header and claims, with a valid signature of the server's key."""
        signing_input = f"{part(header)}.{part(claims)}"
        return f"{signing_input}.{part(self.key.sign(self.key.algorithms[0], signing_input.encode()))}"


ADA = {"username": "ada", "password": "correct horse battery"}


def error_of(answer: httpx.Response) -> tuple[int, str]:
    """Return status and code of an error in the form of RFC 6749 section 5.2."""
    told = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert told.keys() <= {"error", "error_description", "error_uri"}
    assert all(TEXT.fullmatch(text) for text in told.values()), told
    return answer.status_code, told["error"]


def sent_back(answer: httpx.Response) -> dict[str, str]:
    """Return the parameters at the redirect URI, and assert that each occurs once (RFC 6749 section 3.1)."""
    assert answer.status_code == 303, answer.text
    return query_of(answer.headers["location"])


async def refusal(desk: Desk, answer: httpx.Response) -> dict[str, str]:
    """Return the error of an invalid request, immediately or after the user has logged in."""
    return sent_back(await desk.submit(answer) if is_page(answer) else answer)


def is_page(answer: httpx.Response) -> bool:
    """Return True if the browser is not redirected."""
    kind = answer.headers.get("content-type", "")
    return not answer.is_redirect and "location" not in answer.headers and kind.startswith("text/html")


def challenge(answer: httpx.Response, scheme: str = "Bearer") -> dict[str, str]:
    """Return the parameters of the only ``WWW-Authenticate`` header; none occurs twice (RFC 6750 section 3)."""
    [header] = answer.headers.get_list("www-authenticate")
    named, _, parameters = header.partition(" ")
    found = _PARAMETER.findall(parameters)
    assert named == scheme
    assert ", ".join(f'{name}="{value}"' for name, value in found) == parameters
    assert len(dict(found)) == len(found) > 0
    return dict(found)
