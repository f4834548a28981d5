"""ROOMKEY in the settings: what it means, and what the system checks say about mistakes."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest

from roomkey import ConfigError, Issuer, Policy, Verifier
from roomkey.errors import UnknownKey

SECRET = "kT9vX2mQ8rL4wZ7yB1nC6dF3gH5jP0sA"
ISSUER = {"ISSUER": {"audience": "chat"}}
POLICY = Policy()
PLAIN = Issuer.ephemeral().verifier()


def make_verifier() -> Verifier:
    return PLAIN


def checked() -> list[Any]:
    from roomkey.django.checks import check_settings

    return check_settings()


MISTAKES = [
    (None, "ROOMKEY is missing"),
    ({}, "ROOMKEY requires VERIFIER or ISSUER"),
    ({"VERIFYER": "simplejwt"}, "unknown setting 'VERIFYER'; did you mean VERIFIER"),
    ({"VERIFIER": "simplejwt", **ISSUER}, "simplejwt issues the tokens"),
    ({"VERIFIER": {"audience": "chat"}}, "exactly one of the members hs256"),
    ({"VERIFIER": {"hs256": "short"}}, "VERIFIER: the HS256 secret has 5 bytes"),
    ({"VERIFIER": {"hs256": SECRET, "audiense": "chat"}}, "VERIFIER: .*audiense"),
    ({"VERIFIER": "no.such.module"}, "cannot import VERIFIER 'no.such.module'"),
    ({"ISSUER": {"secret": "short"}}, "ISSUER: the HS256 secret has 5 bytes"),
    ({**ISSUER, "POLICY": "support.djangosite.urls.who"}, "POLICY"),
    ({**ISSUER, "POLICY": 7}, "POLICY must be a Policy"),
    ({**ISSUER, "HANDSHAKE": {"cooky": "token"}}, "HANDSHAKE: .*cooky"),
    ({**ISSUER, "HANDSHAKE": True}, "HANDSHAKE must be a mapping"),
    ({**ISSUER, "AUTHENTICATE": {"timeout": 0}}, "AUTHENTICATE: "),
    ({**ISSUER, "GRACE": -1}, "grace must be 0 or more seconds"),
    ({**ISSUER, "SUBJECT_FIELD": "number"}, "SUBJECT_FIELD must be a field of User"),
    ({**ISSUER, "ROLES": 7}, "ROLES must be a function"),
    ({**ISSUER, "REVOCATIONS": "mysql://db/roomkey"}, "REVOCATIONS: invalid database"),
]


@pytest.mark.parametrize(("roomkey", "text"), MISTAKES)
def test_checks_report_mistakes(settings: Any, roomkey: Any, text: str) -> None:
    settings(ROOMKEY=roomkey)
    [found] = checked()
    assert found.id == "roomkey.E001"
    with pytest.raises(ConfigError, match=text):
        raise ConfigError(found.msg)


@pytest.mark.parametrize("secret", ["short", "django-insecure-" + "x1y2z3w4" * 5])
def test_checks_name_a_weak_secret_key(settings: Any, secret: str) -> None:
    settings(ROOMKEY=ISSUER, SECRET_KEY=secret)
    [found] = checked()
    assert found.msg.startswith("SECRET_KEY cannot protect tokens: ")
    assert secret not in found.msg


def test_checks_run_at_startup(settings: Any) -> None:
    from django.core.management import CommandError, call_command

    settings(ROOMKEY={})
    with pytest.raises(CommandError, match=r"\(roomkey.E001\) ROOMKEY requires VERIFIER or ISSUER"):
        call_command("check")


@pytest.mark.parametrize(
    "verifier",
    [PLAIN, make_verifier, f"{__name__}.make_verifier", {"hs256": SECRET, "audience": "chat"}, {"oidc": "https://x.y"}],
)
def test_verifier_has_several_forms(settings: Any, verifier: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from roomkey.django.settings import guard_settings

    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or type(sys)(__name__))
    monkeypatch.setattr(sys.modules[__name__], "make_verifier", make_verifier, raising=False)
    settings(ROOMKEY={"VERIFIER": verifier})
    assert callable(guard_settings()["verifier"].verify)


def test_settings_become_those_of_the_guard(settings: Any, tmp_path: Any) -> None:
    from roomkey.django import AsyncGuard
    from roomkey.stores import SqlRevocations

    settings(
        ROOMKEY={
            **ISSUER,
            "POLICY": POLICY,
            "HANDSHAKE": {"cookie": "token"},
            "AUTHENTICATE": {"timeout": 5},
            "SUBJECT_LIMITS": {"sockets": 7},
            "REVOCATIONS": str(tmp_path / "revocations.sqlite3"),
            "GRACE": 3,
            "MAX_ANONYMOUS": 9,
        }
    )
    guard = AsyncGuard(grace=4)
    found = guard.settings
    assert (found.policy, found.handshake.cookie, found.authenticate.timeout) == (POLICY, "token", 5)
    assert (found.subject_limits.sockets, found.grace, found.max_anonymous) == (7, 4, 9)
    assert isinstance(found.revocations, SqlRevocations)
    assert AsyncGuard().settings.revocations is not found.revocations


def test_tokens_of_the_issuer_are_not_those_of_secret_key(settings: Any) -> None:
    from django.conf import settings as current

    from roomkey.django.settings import configuration

    configured = configuration()
    token = configured.issuer.issue("ada")
    assert configured.verifier.verify(token, configured.issuer.clock()).subject == "ada"
    with pytest.raises(UnknownKey):
        Verifier.hs256(current.SECRET_KEY, audience="chat").verify(token, configured.issuer.clock())


def run(*arguments: str) -> str:
    from django.core.management import call_command

    out = StringIO()
    call_command("roomkey", *arguments, stdout=out)
    return out.getvalue().strip()


def test_command_checks_the_settings(settings: Any) -> None:
    from django.core.management import CommandError, call_command

    assert "their subject is the user's username" in run("check")
    assert "warn  revocations are only in the memory of one process" in run("check")
    settings(ROOMKEY={"VERIFIER": "simplejwt"})
    assert "issued by simplejwt; their subject is the user's id" in run("check")
    settings(ROOMKEY={"POLCY": ""})
    out = StringIO()
    with pytest.raises(CommandError):
        call_command("roomkey", "check", stdout=out)
    assert out.getvalue() == "fail  ROOMKEY: unknown setting 'POLCY'; did you mean POLICY?\n"


def test_command_check_reports_a_store_in_a_folder_that_does_not_exist(settings: Any, tmp_path: Any) -> None:
    from django.core.management import CommandError, call_command

    place, out = tmp_path / "missing" / "revocations.sqlite3", StringIO()
    for value in (place, str(place)):
        settings(ROOMKEY={**ISSUER, "REVOCATIONS": value})
        with pytest.raises(CommandError, match="ROOMKEY has errors"):
            call_command("roomkey", "check", stdout=out)
    assert out.getvalue().count(f"fail  ROOMKEY: REVOCATIONS cannot be stored in {place}: there is no such folder") == 2
    place.parent.mkdir()
    assert "ok    tokens" in run("check")


def test_command_issues_a_token(project: None) -> None:
    from django.contrib.auth.models import User
    from django.core.management import CommandError

    from roomkey.django.settings import configuration

    User.objects.create_user("ada", password="x")
    issuer = configuration().issuer
    who = issuer.verifier().verify(run("token", "ada", "--expires-in", "60"), issuer.clock())
    assert (who.subject, round(who.expires_at - who.issued_at)) == ("ada", 60)
    with pytest.raises(CommandError, match="no user has the username 'bob'"):
        run("token", "bob")
    User.objects.update(is_active=False)
    with pytest.raises(CommandError, match="not active"):
        run("token", "ada")


def test_checks_warn_about_rotation_without_our_serializer(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from rest_framework_simplejwt.settings import api_settings

    settings(ROOMKEY={"VERIFIER": "simplejwt"})
    assert [message.id for message in checked()] == ["roomkey.W001"]
    usual = "rest_framework_simplejwt.serializers.TokenRefreshSerializer"
    monkeypatch.setattr(api_settings, "TOKEN_REFRESH_SERIALIZER", usual)
    assert "roomkey.W002" in [message.id for message in checked()]
    settings(SECRET_KEY_FALLBACKS=["another"])
    assert "roomkey.W003" in [message.id for message in checked()]
