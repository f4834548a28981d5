"""The contract of :class:`roomkey.stores.ManagedClients`: OAuth clients."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from roomkey import ConfigError
from roomkey.stores import Client, ClientExists, ClientNotFound, ManagedClients

APP = Client(
    "app",
    title="The app",
    redirect_uris=("https://app.example/callback", "http://127.0.0.1:3000/", "com.example.app:/callback"),
    grants=("authorization_code", "refresh_token"),
    scopes=("chat", "profile"),
    first_party=True,
)
SERVICE = Client("service", "0" * 64, grants=("client_credentials",), roles=("bot",), rooms=("lobby",))


@pytest.mark.parametrize("grants", [APP.grants, (*APP.grants, "client_credentials")])
def test_client_with_redirect_uris_cannot_have_a_reserved_scope(grants):
    with pytest.raises(ConfigError, match="add a service without a redirect URI"):
        replace(APP, secret_hash="0" * 64, grants=grants, scopes=("chat", "roomkey:admin"))
    assert replace(SERVICE, scopes=("roomkey:admin",)).scopes == ("roomkey:admin",)


async def test_added_client_is_found_unchanged(clients: ManagedClients) -> None:
    before = int(time.time())
    for client in (SERVICE, APP):
        await clients.add(client)
    found = [await clients.find("app"), *await clients.all()]
    for one, client in zip(found, (APP, APP, SERVICE), strict=True):
        assert one is not None
        assert replace(one, created_at=0) == client
        assert before <= one.created_at <= time.time()


@pytest.mark.parametrize("name", ["App", "", "a\0", "x" * 1000])
async def test_only_the_exact_name_is_found(clients: ManagedClients, name: str) -> None:
    await clients.add(APP)
    assert await clients.find(name) is None


async def test_created_at_is_kept_if_given(clients: ManagedClients) -> None:
    await clients.add(replace(APP, created_at=5))
    assert (await clients.find("app") or SERVICE).created_at == 5


async def test_secret_of_a_confidential_client_can_be_replaced(clients: ManagedClients) -> None:
    await clients.add(APP)
    await clients.add(SERVICE)
    await clients.set_secret("service", "1" * 64)
    assert (await clients.find("service") or APP).secret_hash == "1" * 64
    with pytest.raises(ConfigError, match="public client"):
        await clients.set_secret("app", "1" * 64)
    with pytest.raises(ClientNotFound):
        await clients.set_secret("nobody", "1" * 64)


async def test_removed_client_is_not_found(clients: ManagedClients) -> None:
    await clients.add(APP)
    await clients.remove("app")
    assert await clients.find("app") is None
    with pytest.raises(ClientNotFound):
        await clients.remove("app")


async def test_name_can_be_added_once(clients):
    await clients.add(APP)
    with pytest.raises(ClientExists):
        await clients.add(replace(SERVICE, client_id="app"))
    assert (await clients.find("app")).title == "The app"


async def test_client_can_be_disabled_and_enabled(clients):
    await clients.add(APP)
    for disabled in (True, False):
        await clients.set_disabled("app", disabled)
        assert (await clients.find("app")).disabled is disabled
    with pytest.raises(ClientNotFound):
        await clients.set_disabled("nobody", True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"client_id": "with space"},
        {"grants": ("password",)},
        {"grants": ("client_credentials",)},
        {"grants": ("authorization_code",), "redirect_uris": ()},
        {"redirect_uris": ("/callback",)},
        {"redirect_uris": ("https://app.example/#x",)},
        {"redirect_uris": ("https://app.example/ x",)},
        {"redirect_uris": ("https://äpp.example/",)},
        {"redirect_uris": ("http://app.example/",)},
        {"redirect_uris": ("javascript://x/%0aalert(1)",)},
        {"redirect_uris": ("myapp://callback",)},
        {"redirect_uris": ("https://app.example/\x00x",)},
        {"redirect_uris": ("https://app.example/\x7f",)},
        {"redirect_uris": ("https://evil.example\\.good.example/",)},
        {"redirect_uris": ("https://app.example/?state=1",)},
        {"redirect_uris": ("https://app.example/?x=1&code",)},
        {"scopes": ("a b",)},
        {"scopes": ('a"b',)},
        {"scopes": ("",)},
    ],
)
def test_invalid_client_raises(wrong):
    with pytest.raises(ConfigError):
        replace(APP, **wrong)
