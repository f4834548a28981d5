"""A picows or uvicorn with a different private interface is an error before the hub listens."""

from __future__ import annotations

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from roomkey import ConfigError, Issuer
from roomkey.hub import Hub, private_interfaces, runner
from roomkey.hub.http.uvicorn_private import checks
from roomkey.hub.transports import picows_private


@pytest.fixture(autouse=True)
def _checked_again():
    yield
    checks.check_uvicorn.cache_clear()
    picows_private.check_picows.cache_clear()


@pytest.fixture
def hub() -> Hub:
    checks.check_uvicorn.cache_clear()
    picows_private.check_picows.cache_clear()
    return Hub(Issuer.ephemeral(audience="chat").verifier())


def test_installed_versions_are_accepted(hub):
    runner.config(hub)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (HttpToolsProtocol, "_start_asgi_task"),
        (HttpToolsProtocol, "on_body"),
        (WebSocketsSansIOProtocol, "handle_pong"),
    ],
)
def test_uvicorn_without_a_method_raises(hub, monkeypatch, owner, name):
    monkeypatch.delattr(owner, name)
    with pytest.raises(ConfigError, match=rf"{owner.__name__}\.{name}\(.*uvicorn 0\.46 to 0\.54"):
        runner.config(hub)


def test_uvicorn_with_other_parameters_raises(hub, monkeypatch):
    monkeypatch.setattr(HttpToolsProtocol, "send_400_response", lambda self, status, msg: None)
    with pytest.raises(ConfigError, match=r"HttpToolsProtocol\.send_400_response\(msg\)"):
        runner.config(hub)


def test_uvicorn_without_an_attribute_raises(hub, monkeypatch):
    monkeypatch.setattr(checks, "HTTP_ATTRIBUTES", (*checks.HTTP_ATTRIBUTES, "moved"))
    with pytest.raises(ConfigError, match=r"HttpToolsProtocol\.moved"):
        runner.config(hub)


def test_other_picows_version_raises(hub, monkeypatch):
    monkeypatch.setattr(private_interfaces, "version", lambda package: "2.4.0")
    with pytest.raises(ConfigError, match=r"picows 2\.4\.0 is not supported: .*install picows 2\.3"):
        runner.config(hub)


def test_picows_without_a_name_raises(hub, monkeypatch):
    monkeypatch.setattr(picows_private, "NAMES", {"WSFrame": ("moved",)})
    with pytest.raises(ConfigError, match=r"WSFrame\.moved"):
        runner.config(hub)


def test_supported_versions_are_those_of_the_package():
    from pathlib import Path

    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert '"uvicorn>=0.46,<0.55"' in text
    assert '"picows>=2.3,<2.4"' in text
    assert (checks.SUPPORTED, picows_private.SUPPORTED) == ("0.46 to 0.54", "2.3")
