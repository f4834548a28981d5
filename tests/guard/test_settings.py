"""Settings are declared once, and are still arguments by name."""

from __future__ import annotations

import inspect

import pytest

from roomkey import Issuer
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


def test_settings_cannot_be_passed_by_position():
    with pytest.raises(TypeError):
        AsyncGuard(Issuer.ephemeral().verifier(), None)


def test_hub_takes_the_limit_of_namespaces_from_its_limits():
    assert HubSettings(Issuer.ephemeral().verifier(), limits=Limits(namespaces=3)).max_namespaces == 3


@pytest.mark.parametrize("settings", [GuardSettings, HubSettings])
def test_every_setting_is_documented(settings):
    for name in settings.__annotations__.keys() - {"_"}:
        assert f"    {name}: " in inspect.getdoc(settings), name  # from Python 3.13 on, __doc__ has no indentation
