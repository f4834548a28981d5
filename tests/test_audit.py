"""Audit lines contain no secrets, and each record is one line."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from roomkey import audit

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "text",
    [
        TOKEN,
        f"GET /socket.io/?token={TOKEN}&x=1",
        f'data 0{{"token":"{TOKEN}"}}',
        f"Authorization: Bearer {TOKEN}",
        "?access_token=opaque-secret",
        '{"password": "opaque-secret"}',
        "bearer opaque-secret",
        "secret=opaque-secret",
        "GET /auth/providers/sso/callback?code=opaque-secret&state=x HTTP/1.1",
        "/callback?iss=https://a.example&state=opaque-secret",
    ],
)
def test_redact_removes_tokens_and_named_secrets(text):
    redacted = audit.redact(text)
    assert TOKEN not in redacted
    assert "eyJ" not in redacted
    assert "opaque-secret" not in redacted


def test_redact_keeps_other_text():
    assert audit.redact("room red, sub ada, expired 93 s ago") == "room red, sub ada, expired 93 s ago"


def test_record_writes_one_line_of_json(caplog):
    caplog.set_level(logging.INFO, logger="roomkey.audit")
    audit.record("denied", name="a\r\nb\x1b[31m\u2028", empty=None, long="x" * 1000, number=3, many=["y" * 300] * 30)
    [line] = [entry.getMessage() for entry in caplog.records]
    assert line.isascii()
    assert line.isprintable()
    told = json.loads(line)
    assert told["name"] == "a\r\nb\x1b[31m\u2028"
    assert "empty" not in told
    assert len(told["long"]) <= 201
    assert told["number"] == 3
    assert [len(one) for one in told["many"]] == [201] * 20


def test_record_has_the_place_that_writes_it(caplog):
    caplog.set_level(logging.INFO, logger="roomkey.audit")
    audit.record("denied")
    [entry] = caplog.records
    assert (entry.pathname, entry.funcName, entry.module) == (audit.__file__, "record", "audit")
    assert "def record(" in Path(entry.pathname).read_text().splitlines()[entry.lineno - 1]


def test_record_passes_the_filters_and_the_level_of_the_logger(caplog):
    caplog.set_level(logging.WARNING, logger="roomkey.audit")
    audit.LOG.addFilter(hides := lambda entry: "hidden" not in entry.getMessage())
    try:
        audit.record("too low")
        audit.record("hidden", level=logging.ERROR)
        audit.record("shown", level=logging.ERROR)
    finally:
        audit.LOG.removeFilter(hides)
    assert [json.loads(entry.getMessage())["event"] for entry in caplog.records] == ["shown"]


def test_token_without_jti_is_named_by_its_hash():
    assert audit.token_name(None, TOKEN) == audit.token_name(None, TOKEN)
    assert len(audit.token_name(None, TOKEN)) == 8
    assert audit.token_name(None, TOKEN) not in TOKEN
    assert audit.token_name(None) is None


def test_filter_redacts_arguments_and_broken_formats():
    redact = audit.RedactSecrets()
    entry = logging.LogRecord("engineio", logging.INFO, "x.py", 1, "%s sends %s", ("AbCdEfGhIjKlMnOp0123", TOKEN), None)
    assert redact.filter(entry)
    assert entry.getMessage() == "… sends …"
    broken = logging.LogRecord("engineio", logging.INFO, "x.py", 1, "%d", (TOKEN,), None)
    assert redact.filter(broken)
    assert TOKEN not in broken.getMessage()


SID = "AbCdEfGhIjKlMnOp0123"


@pytest.mark.parametrize(
    ("name", "message", "arguments"),
    [
        # What each server passes to its logger for a request.
        (
            "werkzeug",
            '%s - - [%s] "%s" %s %s\n',
            ("127.0.0.1", "now", "GET /socket.io/?token=opaque HTTP/1.1", 200, 12),
        ),
        (
            "gunicorn.access",
            '%(h)s "%(r)s" %(s)s',
            ({"h": "::1", "r": f"GET /socket.io/?sid={SID} HTTP/1.1", "s": 200},),
        ),
        ("gunicorn.error", f"Error handling request /socket.io/?access_token={TOKEN}", ()),
        ("geventwebsocket.handler", f'"GET /socket.io/?sid={SID}&token=opaque HTTP/1.1" 101', ()),
        ("geventwebsocket.handler", f'"GET /socket.io/?sid={SID}.{SID} HTTP/1.1" 101', ()),
    ],
)
def test_logs_of_wsgi_servers_contain_no_secrets(name, message, arguments, caplog):
    audit.redact_logs()
    with caplog.at_level(logging.INFO, name):
        logging.getLogger(name).info(message, *arguments)
    [entry] = caplog.records
    assert "…" in entry.getMessage()
    assert not any(secret in entry.getMessage() for secret in ("opaque", SID, TOKEN))


@pytest.mark.parametrize(
    "text",
    [
        "GET /socket.io/?jwt=opaque&x=1",
        '0{"jwt":"opaque"}',
        '0{"jwt": "Bearer opaque"}',
        r"2[\"x\",{\"jwt\":\"opaque\"}]",
        "{'HTTP_X': 1, 'jwt': 'opaque'}",
        "X-Pass: opaque",
        "x-pass: Bearer opaque",
        "X-Pass: opaque, opaque",
        "(b'x-pass', b'opaque')",
        "[(b'host', b'x'), (b'x-pass',b'opaque')]",
        "'HTTP_X_PASS': 'opaque'",
        "Cookie: a=b; jwt=opaque; c=d",
        "Cookie: jwt.0=opaque; jwt.1=opaque",
        "jwt_0=opaque; jwt_31=opaque",
        'jwt="opaque"',
    ],
)
def test_filter_redacts_the_values_of_its_names(text):
    entry = logging.LogRecord("uvicorn.error", logging.INFO, "x.py", 1, "%s", (text,), None)
    assert audit.RedactSecrets(("jwt", "X-Pass")).filter(entry)
    assert "opaque" not in entry.getMessage()
    assert "…" in entry.getMessage()


def test_filter_keeps_other_values():
    entry = logging.LogRecord("x", logging.INFO, "x.py", 1, "%s", ("ajwt=1, room: jwt, the jwt expired",), None)
    assert audit.RedactSecrets(("jwt",)).filter(entry)
    assert entry.getMessage() == "ajwt=1, room: jwt, the jwt expired"


@pytest.mark.parametrize(
    "text", ["jwt, " * 4_000, "jwt" + " " * 19_000, "jwt: " + "a, " * 6_000, "jwt_" + "1" * 19_000]
)
def test_filter_takes_linear_time(text):
    entry = logging.LogRecord("x", logging.INFO, "x.py", 1, "%s", (text,), None)
    assert audit.RedactSecrets(("jwt",)).filter(entry)


@pytest.mark.parametrize("text", ["a" * 500_000, "a-" * 200_000, "a." * 200_000, "bearer " * 50_000, "token" * 90_000])
def test_redact_takes_linear_time(text):
    audit.without_secrets(text)  # quadratic time would exceed the limit of the test run
