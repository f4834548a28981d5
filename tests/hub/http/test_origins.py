"""Which web pages can connect, whether their cookies are used, and the CORS headers."""

from __future__ import annotations

import pytest

from roomkey import ConfigError
from roomkey.hub.http.origins import Origins
from roomkey.hub.http.requests import HttpRequest

APP, OWN = "https://app.example", "http://chat.example:8000"


def request(origin=None, *, method="GET", scheme="http", host="chat.example:8000", **more):
    headers = {"host": host, "origin": origin, **{name.replace("_", "-"): value for name, value in more.items()}}
    raw = [(name.encode(), value.encode()) for name, value in headers.items() if value is not None]
    return HttpRequest(method, "/socket.io/", "", raw, "192.0.2.1", scheme)


# The allowed origins, an origin, and whether it can connect and its cookies are used.
TABLE = [
    (None, None, True, False),
    (None, OWN, True, True),
    (None, "https://chat.example:8000", False, False),
    (None, "http://chat.example", False, False),
    (None, "http://CHAT.example:8000", True, True),
    (None, "http://chat.example:8000.evil.example", False, False),
    (None, "null", False, False),
    (None, "", False, False),
    (None, APP, False, False),
    (APP, APP, True, True),
    (APP, OWN, True, True),
    (APP, "https://app.example.evil.example", False, False),
    (APP, "http://app.example", False, False),
    ([APP, "https://b.example"], "https://b.example", True, True),
    ({APP}, APP, True, True),
    ("*", "https://anything.example", True, False),
    ("*", OWN, True, True),
    ([], "https://anything.example", True, False),
    (lambda origin: origin == APP, APP, True, True),
    (lambda origin: origin == APP, "https://b.example", False, False),
    (lambda origin, environ: environ["REMOTE_ADDR"] == "192.0.2.1", APP, True, True),
    (lambda origin: "yes", APP, False, False),
]


@pytest.mark.parametrize(("allowed", "origin", "may", "cookies"), TABLE)
def test_origin_decides_who_can_connect_and_use_cookies(allowed, origin, may, cookies):
    origins = Origins(allowed)
    assert origins.allows(request(origin)) is may
    assert origins.may_use_cookies(request(origin)) is cookies


def test_two_origin_headers_are_rejected():
    twice = HttpRequest("GET", "/", "", [(b"host", b"chat.example:8000"), *[(b"origin", OWN.encode())] * 2])
    assert not Origins().allows(twice)
    assert not Origins().may_use_cookies(twice)


@pytest.mark.parametrize(
    ("site", "count"), [("same-origin", True), ("same-site", False), ("cross-site", False), ("none", False)]
)
def test_cookies_without_origin_require_same_origin_fetch_site(site, count):
    assert Origins().may_use_cookies(request(sec_fetch_site=site)) is count


def test_fetch_site_does_not_help_a_foreign_origin():
    assert not Origins().may_use_cookies(request(APP, sec_fetch_site="same-origin"))


def test_own_origin_behind_tls_is_https():
    assert Origins().allows(request("https://chat.example:8000", scheme="https"))
    assert not Origins().allows(request(OWN, scheme="https"))


@pytest.mark.parametrize(
    "wrong", ["app.example", "https://app.example/", "https://app.example/x", ["*"], [5], [APP, ""]]
)
def test_invalid_origin_setting_raises(wrong):
    with pytest.raises(ConfigError, match="origin"):
        Origins(wrong)


def told(allowed, origin, **more):
    return {name.decode(): value.decode() for name, value in Origins(allowed).headers(request(origin, **more))}


def test_allowed_page_can_read_responses_and_send_cookies():
    assert told(APP, APP) == {
        "access-control-allow-origin": APP,
        "access-control-allow-credentials": "true",
        "vary": "Origin",
    }


def test_wildcard_origin_does_not_allow_cookies():
    assert told("*", APP) == {"access-control-allow-origin": APP, "vary": "Origin"}


@pytest.mark.parametrize("origin", [None, "https://evil.example", "null"])
def test_other_pages_get_no_cors_headers(origin):
    assert told(APP, origin) == {}
    assert told(APP, origin, method="OPTIONS") == {}


def test_preflight_gets_methods_and_requested_headers():
    answer = told(APP, APP, method="OPTIONS", access_control_request_headers="authorization,x-mine")
    assert answer["access-control-allow-methods"] == "GET, POST, OPTIONS"
    assert answer["access-control-allow-headers"] == "authorization,x-mine"
    assert answer["access-control-allow-origin"] == APP
    assert "access-control-allow-headers" not in told(APP, APP, method="OPTIONS")
