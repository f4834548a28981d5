"""Requests to a provider: shared, bounded, and with the last good document while the provider is down."""

from __future__ import annotations

import asyncio
import threading

import pytest
from support.clock import FakeClock
from support.scripted_provider import CLIENT

from roomkey.auth import LoginProvider
from roomkey.auth.providers import client as module
from roomkey.auth.providers.attempts import new_attempt
from roomkey.auth.providers.client import METADATA_SECONDS, RETRY_SECONDS, ProviderClient
from roomkey.errors import ConfigError, Unavailable

DISCOVERY = "/.well-known/openid-configuration"


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def client(scripted, clock):
    return ProviderClient(LoginProvider("sso", scripted.issuer, CLIENT), clock=clock.monotonic)


async def test_document_is_used_for_an_hour(client, scripted, clock):
    first = await client.metadata()
    clock.advance(METADATA_SECONDS - 1)
    assert await client.metadata() is first
    scripted.metadata["token_endpoint"] = f"{scripted.issuer}/other"
    clock.advance(1)
    assert (await client.metadata()).token_endpoint == f"{scripted.issuer}/other"
    assert scripted.requests == [DISCOVERY] * 2


async def test_old_document_is_used_while_the_provider_is_down(client, scripted, clock):
    first = await client.metadata()
    scripted.metadata["issuer"] = "https://evil.example"
    clock.advance(METADATA_SECONDS)
    assert [await client.metadata() for _ in range(3)] == [first] * 3
    assert len(scripted.requests) == 2
    clock.advance(RETRY_SECONDS)
    await client.metadata()
    assert len(scripted.requests) == 3


async def test_caller_that_leaves_does_not_stop_the_request_of_others(client, scripted):
    first, second = (asyncio.create_task(client.metadata()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).token_endpoint == f"{scripted.issuer}/token"


async def test_requests_to_a_slow_provider_are_bounded(client, scripted, monkeypatch):
    started, go_on = threading.Semaphore(0), threading.Event()

    def slow(request, seconds):
        started.release()
        go_on.wait(20)
        return b"{}"

    metadata = await client.metadata()
    monkeypatch.setattr(module, "fetch", slow)
    attempt = new_attempt(b"k" * 32, "sso", "/", 0)
    requests = [asyncio.create_task(client.exchange(metadata, "c", attempt, "https://x/")) for _ in range(40)]
    for _ in range(module.AT_ONCE):
        assert await asyncio.to_thread(started.acquire, timeout=20)
    refused = [task for task in requests if task.done()]
    assert len(refused) == 40 - module.AT_ONCE - module.WAITING
    assert all(isinstance(task.exception(), Unavailable) for task in refused)
    assert not started.acquire(blocking=False), "no more run at once"
    go_on.set()
    await asyncio.wait(requests)
    assert [task.result() for task in requests if task not in refused] == [None] * 36


@pytest.mark.parametrize(
    "changed",
    [{"name": "SSO"}, {"name": ""}, {"name": "a/b"}, {"issuer": "http://sso.example"}, {"issuer": "https://x/?a"},
     {"issuer": "https://x/#a"}, {"client_id": ""}, {"client_secret": ""}, {"scopes": ("profile",)},
     {"scopes": ("openid", "a b")}, {"algorithms": ("HS256",)}, {"algorithms": ()}, {"leeway": -1}],
)  # fmt: skip
def test_provider_with_a_fault_is_a_configuration_error(changed):
    usual = {"name": "sso", "issuer": "https://sso.example", "client_id": CLIENT}
    with pytest.raises(ConfigError):
        LoginProvider(**usual | changed)
    LoginProvider(**usual)
