"""What routes and event handlers require: roles, scopes and a recent login."""

from __future__ import annotations

import pytest

from roomkey import ConfigError, Identity
from roomkey.core.requirements import Requirement
from roomkey.errors import CredentialsError, ExpiredToken, PermissionDenied, ReauthenticationRequired

NOW = 1_000_000.0


def who(**claims):
    return Identity.from_claims({"sub": "ada", "iat": NOW - 100, "exp": NOW + 100} | claims)


@pytest.mark.parametrize(
    ("arguments", "claims"),
    [
        ({}, {}),
        ({"role": "admin"}, {"roles": ["member", "admin"]}),
        ({"role": "admin"}, {"role": "admin"}),
        ({"role": ("admin", "editor")}, {"roles": ["editor"]}),
        ({"scope": "news"}, {"scope": "chat news"}),
        ({"scope": "chat news"}, {"scope": "news chat"}),
        ({"scope": ["chat", "news"]}, {"scope": "news chat"}),
        ({"max_auth_age": 100}, {}),
        ({"max_auth_age": 60}, {"auth_time": NOW - 60}),
        ({"role": "admin", "scope": "news", "max_auth_age": 300}, {"role": "admin", "scope": "news"}),
    ],
)
def test_requirement_accepts_identity_that_meets_it(arguments, claims):
    assert Requirement.of(**arguments).problem(who(**claims), NOW) is None


@pytest.mark.parametrize(
    ("arguments", "claims", "error"),
    [
        ({"role": "admin"}, {}, PermissionDenied),
        ({"role": "admin"}, {"roles": ["Admin", "administrator"]}, PermissionDenied),
        ({"role": "admin"}, {"roles": "admin"}, PermissionDenied),
        ({"scope": "news"}, {"scope": "newsroom"}, PermissionDenied),
        ({"scope": "chat news"}, {"scope": "chat"}, PermissionDenied),
        ({"scope": "news"}, {"scope": ["news"]}, PermissionDenied),
        ({"max_auth_age": 99}, {}, ReauthenticationRequired),
        ({"max_auth_age": 60}, {"auth_time": NOW - 61}, ReauthenticationRequired),
        ({"max_auth_age": 60}, {"auth_time": NOW + 61}, ReauthenticationRequired),
        ({"max_auth_age": 60}, {"auth_time": 10**400}, ReauthenticationRequired),
        ({"max_auth_age": 60}, {"auth_time": True}, ReauthenticationRequired),
        ({"max_auth_age": 60}, {"auth_time": NOW, "exp": NOW}, ExpiredToken),
        ({"role": "admin", "scope": "news"}, {"role": "admin"}, PermissionDenied),
        ({"role": "admin", "max_auth_age": 60}, {"auth_time": NOW}, PermissionDenied),
    ],
)
def test_requirement_rejects_identity_that_does_not_meet_it(arguments, claims, error):
    assert type(Requirement.of(**arguments).problem(who(**claims), NOW)) is error


@pytest.mark.parametrize("arguments", [{}, {"role": "admin"}, {"max_auth_age": 60}])
def test_requirement_rejects_guests(arguments):
    assert type(Requirement.of(**arguments).problem(Identity.guest(), NOW)) is CredentialsError


def test_requirement_rejects_identity_without_times_if_a_recent_login_is_required():
    assert type(Requirement.of(max_auth_age=60).problem(Identity("ada"), NOW)) is ReauthenticationRequired


@pytest.mark.parametrize(
    "arguments",
    [
        {"role": ""},
        {"role": []},
        {"role": 7},
        {"role": "admin "},
        {"scope": ""},
        {"scope": []},
        {"scope": ["chat", ""]},
        {"scope": 'news" error="'},
        {"scope": "new\nline"},
        {"scope": "bücher"},
        {"max_auth_age": 0},
        {"max_auth_age": -1},
        {"max_auth_age": True},
        {"max_auth_age": "60"},
        {"max_auth_age": float("inf")},
        {"max_auth_age": float("nan")},
    ],
)
def test_requirement_rejects_unusable_argument(arguments):
    with pytest.raises(ConfigError):
        Requirement.of(**arguments)
