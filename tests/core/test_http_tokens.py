"""Tokens in HTTP requests, and the responses to requests without a usable token (RFC 6750)."""

from __future__ import annotations

import pytest

from roomkey.core.credentials import Handshake, find_credential
from roomkey.core.http_tokens import error_response, route_request
from roomkey.core.origins import allowed_origins
from roomkey.core.requirements import Requirement
from roomkey.errors import (
    BadSignature,
    CredentialsBadFormat,
    CredentialsError,
    ExpiredToken,
    InvalidProof,
    LimitExceeded,
    MissingAuthorizationHeader,
    PermissionDenied,
    ReauthenticationRequired,
    RevokedToken,
    Unavailable,
)

COOKIE = Handshake(cookie="session")
OWN = {"scheme": "https", "host": "chat.example"}
APP = allowed_origins(["https://app.example"])


def found(way=None, **parts):
    credential = find_credential(way or Handshake(), None, route_request(**{"authorization": None} | parts))
    return credential and (credential.token, credential.source)


def test_route_accepts_the_header_only_by_default():
    assert found(authorization="Bearer a.b.c") == ("a.b.c", "header")
    assert found(cookie="session=a.b.c", query="token=a.b.c", fetch_site="same-origin") is None
    assert found(authorization="Basic YWRhOnBhc3M=") is None


@pytest.mark.parametrize(
    "header", ["Bearer a.b.c, Bearer d.e.f", "Bearer a.b.c,Bearer d.e.f", "DPoP a.b.c", "Bearer  a.b.c"]
)
def test_route_rejects_several_or_malformed_headers(header):
    with pytest.raises(CredentialsBadFormat):
        found(authorization=header)


@pytest.mark.parametrize(
    ("parts", "accepted"),
    [
        ({"fetch_site": "same-origin"}, True),
        ({"origin": "https://chat.example"}, True),
        ({"origin": "https://app.example"}, True),
        ({"origin": "https://APP.example:443"}, True),
        ({}, False),
        ({"fetch_site": "same-site"}, False),
        ({"fetch_site": "none"}, False),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "https://evil.example", "fetch_site": "same-origin"}, False),
        ({"origin": "http://chat.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": ""}, False),
    ],
)
def test_route_uses_cookies_of_allowed_pages_only(parts, accepted):
    expected = ("a.b.c", "cookie") if accepted else None
    assert found(COOKIE, cookie="session=a.b.c", allowed_origins=APP, **OWN, **parts) == expected


def test_route_prefers_the_header_to_the_cookie():
    both = {"authorization": "Bearer a.b.c", "cookie": "session=d.e.f", "fetch_site": "same-origin"}
    assert found(COOKIE, **both) == ("a.b.c", "header")


BEARER = 'Bearer realm="roomkey"'


@pytest.mark.parametrize(
    ("error", "status", "header"),
    [
        (CredentialsError(), 401, BEARER),
        (MissingAuthorizationHeader(), 401, BEARER),
        (CredentialsBadFormat(), 401, f'{BEARER}, error="invalid_token"'),
        (BadSignature(), 401, f'{BEARER}, error="invalid_token"'),
        (ExpiredToken("exp"), 401, f'{BEARER}, error="invalid_token"'),
        (RevokedToken(), 401, f'{BEARER}, error="invalid_token"'),
        (InvalidProof(), 401, f'{BEARER}, error="invalid_token"'),
        (ReauthenticationRequired(300), 401, f'{BEARER}, error="insufficient_user_authentication", max_age="300"'),
        (PermissionDenied(), 403, f'{BEARER}, error="insufficient_scope", scope="chat news"'),
    ],
)
def test_error_becomes_a_response_with_a_challenge(error, status, header):
    response = error_response(error, Requirement.of(scope="chat news"))
    assert (response.status, response.headers) == (status, {"WWW-Authenticate": header})
    assert set(response.body) == {"error", "error_description"}


@pytest.mark.parametrize("error", [Unavailable("the database is away"), LimitExceeded("events")])
def test_temporary_error_becomes_a_response_to_try_again(error):
    response = error_response(error)
    assert (response.status, response.headers) == (503, {"Retry-After": "1"})
    assert response.body["error"] == "temporarily_unavailable"
    assert "database" not in str(response)


def test_response_without_required_scopes_names_none():
    response = error_response(PermissionDenied(), Requirement.of(role="admin"))
    assert response.headers == {"WWW-Authenticate": f'{BEARER}, error="insufficient_scope"'}
