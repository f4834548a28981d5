"""The OpenID provider of the test kit."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from contextlib import suppress

import pytest

from roomkey import ConfigError, Key, Verifier
from roomkey.errors import Unavailable
from roomkey.keysets import verify_blocking
from roomkey.testing import FakeProvider, Refused, assert_refused, connect


def verified(verifier, token):
    return verify_blocking(lambda: verifier.verify(token, time.time())).subject


def test_provider_is_one_for_the_usual_verifier():
    with FakeProvider(audience="chat") as provider:
        verifier = Verifier.oidc(provider.issuer, audience="chat")
        assert verified(verifier, provider.issue("ada")) == "ada"
        assert verified(verifier, provider.issue("eve")) == "eve"
        with assert_refused(code="invalid_token"):
            verified(verifier, provider.issue("ada", audience="other"))
    assert provider.requests == ["/.well-known/openid-configuration", "/jwks"]


@pytest.mark.parametrize("issuer", ["https://sso.example/realms/main", "http://127.0.0.1:9999", "https://sso.example/"])
def test_provider_has_any_issuer(issuer):
    with FakeProvider(issuer) as provider:
        assert verified(provider.verifier(), provider.issue("ada")) == "ada"


def test_provider_does_not_go_through_a_proxy(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    with FakeProvider() as provider:
        assert verified(provider.verifier(), provider.issue("ada")) == "ada"


def test_closed_or_forgotten_provider_does_not_respond():
    provider = FakeProvider("http://127.0.0.1:1")
    verifier, token = provider.verifier(), provider.issue("ada")
    del provider
    gc.collect()
    with pytest.raises(Unavailable, match="ConnectError"):
        verified(verifier, token)


def test_rotation_and_withdrawal(clock):
    with FakeProvider(clock=clock) as provider:
        verifier, old = provider.verifier(), provider.issue("ada")
        assert verified(verifier, old) == "ada"
        provider.rotate()
        assert verified(verifier, provider.issue("ada")) == "ada"
        assert verified(verifier, old) == "ada"
        provider.rotate(keep=False)
        clock.advance(31)
        assert verified(verifier, provider.issue("ada")) == "ada"
        clock.advance(31)
        with assert_refused(reason="bad_signature"):
            verified(verifier, old)


def test_key_of_an_attacker_is_rejected():
    with FakeProvider() as provider:
        stolen_name = Key.generate("ES256", kid=provider.keys[0].kid)
        with assert_refused(reason="bad_signature"):
            verified(provider.verifier(), provider.issue("ada", key=stolen_name))


async def test_outage_and_recovery_of_the_provider(make, clock):
    with FakeProvider(clock=clock) as provider:
        app = make(verifier=provider.verifier())
        with provider.outage(), assert_refused(code="temporarily_unavailable"):
            await connect(app.sio, token=provider.issue("ada"))
        clock.advance(1)
        ada = await connect(app.sio, token=provider.issue("ada"))
        with provider.outage():
            clock.advance(3600)
            eve = await connect(app.sio, token=provider.issue("eve"))  # with the known keys
        assert app.guard.identity(eve.sid).subject == "eve"
        assert not ada.is_connected


async def test_stalled_provider_delays_clients_up_to_the_timeout(make, clock):
    with FakeProvider(clock=clock) as provider:
        app = make(verifier=provider.verifier(fetch_timeout=0.05))
        with provider.stalled(), assert_refused(code="temporarily_unavailable"):
            await connect(app.sio, token=provider.issue("ada"))
        async with asyncio.timeout(20):
            while True:
                with suppress(Refused):  # on a busy machine, the fetch can take longer than that
                    await connect(app.sio, token=provider.issue("ada"))
                    break


async def test_stalled_provider_can_go_on(make, clock):
    with FakeProvider(clock=clock) as provider:
        app = make(verifier=provider.verifier())
        with provider.stalled() as release:
            threading.Timer(0.01, release).start()
            await connect(app.sio, token=provider.issue("ada"))


def test_changed_metadata_is_served():
    with FakeProvider() as provider:
        provider.metadata = {"issuer": "https://other.example"}
        with pytest.raises(Unavailable):
            verified(provider.verifier(), provider.issue("ada"))


def test_issuer_that_no_verifier_accepts_is_an_error():
    with pytest.raises(ConfigError):
        FakeProvider("http://login.example")
