"""Sockets with the tokens of a real OpenID provider that has its rights in claims of its own, on both engines."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.product import ProductThread
from support.provider import Provider as OpenIdProvider
from support.world import BOTH

from roomkey.server.config_file import ConfigFile
from roomkey.server.providers import load_providers
from roomkey.server.settings import Settings

pytestmark = [BOTH, pytest.mark.long]

RESOURCE = "https://chat.example/"
TABLE = """
[providers.sso]
issuer = "{issuer}"
audience = "https://chat.example/"
preset = "keycloak"
claims_map = {{ rooms = ["https://chat.example/app", "my.rooms"], session = "login" }}
"""
CLAIMS = {
    "typ": "Bearer",
    "login": "s-1",
    "realm_access": {"roles": ["moderator"]},
    "https://chat.example/app": {"my.rooms": ["red"]},
    "roles": ["admin"],  # these do not count
    "rooms": ["blue"],
}


@pytest.fixture
def served(op: OpenIdProvider, engine: Any, tmp_path: Path) -> Iterator[ProductThread]:
    providers = load_providers(ConfigFile.parse(TABLE.format(issuer=op.issuer)))
    with ProductThread.running(Settings(engine=engine), providers=providers) as running:
        yield running


async def test_token_of_a_provider_has_the_rights_that_the_preset_finds(
    op: OpenIdProvider, served: ProductThread
) -> None:
    op.account("ada", extra=CLAIMS)
    ada = await asyncio.to_thread(lambda: op.log_in(op.browser("ada"), resource=RESOURCE))
    raw, answer = await served.present(ada["access_token"])
    assert answer.startswith("40"), answer
    for ack, (room, allowed) in enumerate({"red": True, "blue": False}.items()):
        await raw.event("join-room", room, ack=ack)
        assert (await raw.expect_ack(ack))[0]["ok"] is allowed
    [who] = [socket.identity for socket in served.guard.index]
    assert (who.subject, who.session_id, who.roles, who.rooms) == ("sso:ada", "s-1", {"moderator"}, ("red",))
    assert who.claim("realm_access") == CLAIMS["realm_access"]


async def test_other_tokens_of_the_same_provider_are_refused(op: OpenIdProvider, served: ProductThread) -> None:
    """The ID token; an access token that is not marked as one; one for another server."""
    op.account("ada", extra=CLAIMS)
    op.account("bob", extra=CLAIMS | {"typ": "ID"})
    ada, bob = await asyncio.to_thread(
        lambda: [op.log_in(op.browser(name), resource=RESOURCE) for name in ("ada", "bob")]
    )
    elsewhere = await asyncio.to_thread(lambda: op.log_in(op.browser("ada"), resource="https://other.example/"))
    for token in (ada["id_token"], bob["access_token"], elsewhere["access_token"]):
        _, answer = await served.present(token)
        assert answer.startswith("44"), answer
    assert list(served.guard.index) == []
