"""Settings that contradict each other are an error when the guard or the hub is made."""

from __future__ import annotations

import pytest

from roomkey import ConfigError, Issuer, Key, Verifier
from roomkey.hub import Hub
from roomkey.socketio import AsyncGuard, Authenticate, Handshake

MAKERS = {"python-socketio": AsyncGuard, "hub": Hub}


@pytest.mark.parametrize(
    "settings",
    [
        {"via": ()},
        {"via": (Handshake(), Handshake())},
        {"via": ("handshake",)},
        {"grace": -1},
        {"grace": float("nan")},
        {"connect_timeout": 0},
        {"max_refusals": 0},
        {"max_anonymous": 0},
        {"max_bad_tokens": 0},
    ],
)
def test_contradictory_settings_are_rejected(engine, settings):
    with pytest.raises(ConfigError):
        MAKERS[engine](Issuer.ephemeral(audience="chat").verifier(), **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"event_rate": 0},
        {"event_rate": 0.5},  # less than one event per second would allow no event
        {"event_rate": float("nan")},
        {"max_unsent": 0},
        {"ping_interval": 0},
        {"ping_interval": float("inf")},
        {"ping_timeout": -1},
        {"session_binding": "both"},
        {"cors_allowed_origins": "app.example"},
        {"cors_allowed_origins": "*", "via": Handshake(cookie="session")},
        {"cors_allowed_origins": [], "via": (Handshake(cookie="session"), Authenticate())},
    ],
    ids=str,
)
def test_invalid_hub_settings_are_rejected(settings):
    with pytest.raises(ConfigError):
        Hub(Issuer.ephemeral(audience="chat").verifier(), **settings)


def test_verifier_is_required(engine):
    with pytest.raises(ConfigError, match=r"Verifier\.hs256"):
        MAKERS[engine]("a secret")


@pytest.mark.parametrize("settings", [{"policy": lambda who: True}, {"via": Handshake}, {"via": "both"}])
def test_arguments_of_a_wrong_type_are_rejected(engine, settings):
    with pytest.raises(ConfigError):
        MAKERS[engine](Issuer.ephemeral(audience="chat").verifier(), **settings)


@pytest.mark.parametrize("via", [Handshake(), Authenticate()], ids=["handshake", "authenticate"])
async def test_longer_tokens_are_admitted_if_the_verifier_accepts_them(make_world, clock, via):
    key = Key.generate("HS256")
    issuer = Issuer(key, max_token=12_000, clock=clock.now)
    token = issuer.issue("ada", claims={"pad": "x" * 7000})
    assert 8192 < len(token) < 12_000
    for verifier, opens in ((issuer.verifier(), True), (Verifier(key, algorithms=["HS256"]), False)):
        world = await make_world(via=via, verifier=verifier)
        client = await world.client()
        await client.ask({"token": token} if isinstance(via, Handshake) else None)
        if isinstance(via, Authenticate):
            await client.event("authenticate", {"token": token}, ack=1)
            await client.expect_ack(1)
        assert len(world.guard.sockets("ada")) == opens
