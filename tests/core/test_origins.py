"""Web origins are compared by scheme, host and port everywhere."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from starlette.requests import Request

from roomkey import ConfigError
from roomkey.auth import Cookies
from roomkey.auth.tickets import _opened_by
from roomkey.core.origins import allowed_origins, origin_of, own_origin
from roomkey.hub.http.origins import Origins
from roomkey.hub.http.requests import HttpRequest
from roomkey.server.backends import _origin_check
from roomkey.server.settings import Settings

SAME = [
    ("https://app.example", "https://app.example:443"),
    ("http://app.example", "http://app.example:80"),
    ("https://app.example", "HTTPS://APP.Example"),
    ("https://xn--bcher-kva.example", "https://bücher.example"),
    ("https://xn--bcher-kva.example", "https://BÜCHER.example"),
    ("http://[::1]:8000", "http://[0:0::1]:8000"),
    ("http://127.0.0.1:8000", "http://127.0.0.1:08000"),
]
OTHER = [
    ("https://app.example", "http://app.example"),
    ("https://app.example", "https://app.example:8443"),
    ("https://app.example", "https://app.example.evil.example"),
    ("https://app.example", "https://app.example."),
    ("https://app.example", "null"),
    ("https://app.example", "https://app.example, https://app.example"),
    ("https://app.example", "https://app.example/"),
    ("https://app.example", "https://eve@app.example"),
    ("https://app.example", "https://app.example:"),
    ("https://app.example", "https://app.example:443\n"),
    ("http://127.0.0.1", "http://127.1"),
]


def places(host: str, origin: str, *others: str, secure: bool = True) -> dict[str, bool]:
    """Call the three places that compare origins."""
    scheme = "https" if secure else "http"
    raw = [(b"host", host.encode()), (b"origin", origin.encode()), (b"roomkey-csrf", b"1")]
    asked = {
        "hub": Origins(others or None).allows(HttpRequest("GET", "/", "", raw, "192.0.2.1", scheme)),
        "python-socketio": _origin_check(others)(origin, {"wsgi.url_scheme": scheme, "HTTP_HOST": host}),
    }
    if secure:
        asked["cookies"] = Cookies(others)._is_allowed(Request({"type": "http", "headers": raw}))
    return asked


@pytest.mark.parametrize(("setting", "written"), SAME)
def test_equal_parts_are_the_same_origin(setting, written):
    assert allowed_origins([setting]) == allowed_origins([written])
    assert str(next(iter(allowed_origins([written])))) == setting


@pytest.mark.parametrize(("setting", "sent"), OTHER)
def test_different_parts_are_different_origins(setting, sent):
    assert origin_of(sent) not in allowed_origins([setting])


@pytest.mark.checklist("C51")
@pytest.mark.parametrize(
    ("host", "origin", "others"),
    [
        ("app.example:443", "https://app.example", ()),
        ("app.example", "https://app.example:443", ()),
        ("APP.Example", "https://app.example", ()),
        ("xn--bcher-kva.example", "https://xn--bcher-kva.example", ()),
        ("chat.example", "https://xn--bcher-kva.example", ("https://Bücher.example:443",)),
    ],
)
def test_every_place_accepts_an_equal_origin(host, origin, others):
    """The letter case and the default port do not make another origin."""
    assert places(host, origin, *others) == {"hub": True, "python-socketio": True, "cookies": True}


@pytest.mark.checklist("C51")
@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("app.example", "https://app.example.evil"),
        ("app.example", "https://app.example:8443"),
        ("app.example", "http://app.example"),
        ("app.example", "null"),
        ("app.example:443:443", "https://app.example"),
        ("", "https://"),
        ("127.0.0.1", "https://127.0.0.1.evil"),
    ],
)
def test_every_place_refuses_another_origin(host, origin):
    """Foreign, opaque and look-alike origins, other ports and other schemes."""
    assert set(places(host, origin, "https://other.example").values()) == {False}


@pytest.mark.parametrize(
    "never",
    [
        "https://*.example",
        "https://*",
        "app.example",
        "https://app.example/",
        "https://app.example\n",
        " https://app.example",
        "https://app.example:0",
        "https://app.example:65536",
        "https://127.1",
        "https://stra\u00dfe.example",
        "https://-a.example",
        "wss://app.example",
        "null",
        "",
    ],
)
def test_origin_that_never_matches_is_rejected_everywhere(never):
    for read in (Origins, lambda one: Cookies([one]), lambda one: Settings(cors_origins=(one,))):
        with pytest.raises(ValueError, match="is not an origin"):
            read(never)


def test_origin_setting_has_the_form_that_browsers_send():
    assert Settings(cors_origins=("HTTPS://Bücher.example:443",)).cors_origins == ("https://xn--bcher-kva.example",)


def test_the_hub_accepts_the_scheme_of_an_application():
    request = SimpleNamespace(header={"origin": "capacitor://localhost", "host": "a.example"}.get, scheme="https")
    assert Origins("capacitor://localhost").allows(request)
    assert not Origins().allows(request)


def test_own_origin_requires_a_host():
    assert own_origin("https", None) is None
    assert own_origin("https", "a.example/x") is None


@pytest.mark.parametrize("origin", ["https://app.example:443", "//app.example:443", "//APP.example"])
def test_ticket_opens_a_connection_of_the_same_origin(origin):
    assert _opened_by(origin, "https://app.example")
    assert not _opened_by(origin, "https://other.example")


def test_error_about_an_origin_is_one_line():
    with pytest.raises(ConfigError) as caught:
        allowed_origins(["https://a.example\r\nx" * 500])
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 400
