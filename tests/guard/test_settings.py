"""Settings are declared once, and are still arguments by name."""

from __future__ import annotations

import inspect

import pytest

from roomkey import ConfigError, Issuer
from roomkey.guard.settings import GuardSettings
from roomkey.hub import Hub
from roomkey.hub.settings import HubSettings
from roomkey.socketio import AsyncGuard
from roomkey.wire import Limits


@pytest.mark.parametrize(("server", "settings"), [(AsyncGuard, GuardSettings), (Hub, HubSettings)])
def test_signature_shows_the_settings(server, settings):
    assert list(inspect.signature(server).parameters) == list(inspect.signature(settings).parameters)


@pytest.mark.parametrize(
    ("server", "name"), [(AsyncGuard, "max_namespace"), (Hub, "ping_intervall"), (Hub, "max_namespaces")]
)
def test_unknown_setting_raises_type_error(server, name):
    with pytest.raises(TypeError, match=name):
        server(Issuer.ephemeral().verifier(), **{name: 1})


@pytest.mark.parametrize(
    "name", ["grace", "warn_before", "connect_timeout", "max_refusals", "max_namespaces", "max_anonymous"]
)
@pytest.mark.parametrize("value", [-1, "5", True, [], float("nan"), float("inf")], ids=repr)
def test_settings_of_other_types_are_rejected(name, value):
    with pytest.raises(ConfigError, match=name):
        AsyncGuard(Issuer.ephemeral().verifier(), **{name: value})


@pytest.mark.parametrize("name", ["required", "user_rooms"])
@pytest.mark.parametrize("value", [0, 1, "false", None], ids=repr)
def test_switches_require_a_boolean(name, value):
    with pytest.raises(ConfigError, match=name):
        AsyncGuard(Issuer.ephemeral().verifier(), **{name: value})


def test_settings_cannot_be_passed_by_position():
    with pytest.raises(TypeError):
        AsyncGuard(Issuer.ephemeral().verifier(), None)


def test_hub_takes_the_limit_of_namespaces_from_its_limits():
    assert HubSettings(Issuer.ephemeral().verifier(), limits=Limits(namespaces=3)).max_namespaces == 3


@pytest.mark.parametrize("settings", [GuardSettings, HubSettings])
def test_every_setting_is_documented(settings):
    for name in settings.__annotations__.keys() - {"_"}:
        assert f"    {name}: " in inspect.getdoc(settings), name  # from Python 3.13 on, __doc__ has no indentation
