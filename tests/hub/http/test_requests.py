"""What the hub reads from an HTTP request."""

from __future__ import annotations

import pytest

from roomkey.hub.http.requests import HttpRequest


def request(query="", **headers):
    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return HttpRequest("GET", "/socket.io/", query, raw, "192.0.2.1", "https")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("EIO=4&transport=polling&sid=abc", {"EIO": "4", "transport": "polling", "sid": "abc"}),
        ("EIO=4&EIO=3", {"EIO": "4"}),
        ("sid=&j", {"sid": "", "j": ""}),
        ("s%69d=a%20b+c", {"sid": "a b c"}),
        ("a%3Db=c", {"a=b": "c"}),
        ("a=b=c", {"a": "b=c"}),
        ("a=%3Db", {"a": "=b"}),
        ("sid=%FF", {"sid": "\ufffd"}),
    ],
)
def test_parameters_are_decoded(query, found):
    assert request(query).parameters() == found


def test_empty_query_has_no_known_parameter():
    assert not {"EIO", "transport", "sid", "j"} & request("").parameters().keys()


def test_repeated_headers_are_joined():
    raw = [(b"x-a", b"1"), (b"x-a", b"2"), (b"cookie", b"a=1"), (b"cookie", b"b=2")]
    found = HttpRequest("GET", "/", "", raw)
    assert (found.header("x-a"), found.header("cookie"), found.header("none")) == ("1, 2", "a=1; b=2", None)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("a=1; roomkey=x; b=2", "x"),
        ("roomkey=x", "x"),
        (" roomkey=x ; roomkey=y", "x"),
        ("roomkey=", ""),
        ("roomkey=a=b", "a=b"),
        ("roomkey", None),
        ("xroomkey=x", None),
        ("ROOMKEY=x", None),
        ("", None),
    ],
)
def test_cookie_is_found_by_name(header, value):
    assert request(cookie=header).cookie("roomkey") == value


@pytest.mark.parametrize("count", [True, False])
def test_credentials_have_cookies_only_if_they_may_be_used(count):
    found = request("token=q", authorization="Bearer h", cookie="session=c").credentials(may_use_cookies=count)
    assert (found.authorization, found.query) == ("Bearer h", "token=q")
    assert found.cookie == ("session=c" if count else None)


@pytest.mark.parametrize(
    ("connection", "upgrade", "wants"),
    [
        ("Upgrade", "websocket", True),
        ("keep-alive, Upgrade", "WebSocket", True),
        ("upgrade", "h2c", False),
        ("keep-alive", "websocket", False),
        ("upgraded", "websocket", False),
        ("", "", False),
    ],
)
def test_is_upgrade_recognizes_websocket_handshakes(connection, upgrade, wants):
    assert request(connection=connection, upgrade=upgrade).is_upgrade() is wants


def test_after_handshake_removes_handshake_headers():
    kept = request(connection="Upgrade", upgrade="websocket", sec_websocket_key="k", user_agent="x").after_handshake()
    assert kept.headers == {"user-agent": "x"}


def test_environ_has_the_keys_of_python_socketio():
    environ = request("EIO=4", host="chat.example", x_mine="1", content_type="text/plain").environ()
    assert environ == {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/socket.io/",
        "QUERY_STRING": "EIO=4",
        "REMOTE_ADDR": "192.0.2.1",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "https",
        "HTTP_HOST": "chat.example",
        "HTTP_X_MINE": "1",
        "CONTENT_TYPE": "text/plain",
    }


@pytest.mark.parametrize("first", [0, 1])
def test_environ_omits_headers_with_underscores(first):
    """A client could forge the header ``X-Forwarded-For`` that a proxy sets (CVE-2015-0219 of Django)."""
    raw = [(b"x-forwarded-for", b"192.0.2.9"), (b"x_forwarded_for", b"127.0.0.1")]
    environ = HttpRequest("GET", "/", "", [raw[first], raw[1 - first]]).environ()
    assert environ["HTTP_X_FORWARDED_FOR"] == "192.0.2.9"
