"""A version of uvicorn with a different private interface is an error before the hub listens."""

from __future__ import annotations

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from roomkey import ConfigError, Issuer
from roomkey.hub import Hub, runner
from roomkey.hub.http.uvicorn_private import checks


@pytest.fixture(autouse=True)
def _checked_again():
    yield
    checks.check_uvicorn.cache_clear()


@pytest.fixture
def hub() -> Hub:
    checks.check_uvicorn.cache_clear()
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


def test_supported_versions_are_those_of_the_package():
    from pathlib import Path

    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert '"uvicorn>=0.46,<0.55"' in text
    assert checks.SUPPORTED == "0.46 to 0.54"
