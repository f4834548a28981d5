"""Short secrets are accepted only by an argument that says so, and only for verification."""

from __future__ import annotations

import logging
import secrets

import jwt
import pytest

from roomkey import ConfigError, Issuer, Key, Verifier
from roomkey.auth import StandaloneAuthority
from roomkey.errors import BadSignature, ExpiredToken
from roomkey.hub import Hub
from roomkey.routes import RoomKey
from roomkey.socketio import AsyncGuard

NOW = 1_800_000_000
END = NOW + 30
NEW = secrets.token_urlsafe(32)
SHORT = "tr0ub4dor&3"


@pytest.fixture(autouse=True)
def nothing_logged_yet():
    from roomkey.audit import _warn

    _warn.cache_clear()


def hs256(secret, algorithm="HS256", **claims):
    with pytest.warns(match="below the"):
        return jwt.encode({"sub": "1", "iat": NOW, "exp": NOW + 60} | claims, secret, algorithm=algorithm)


@pytest.mark.checklist("A4")
def test_short_secret_is_rejected_by_default():
    with pytest.raises(ConfigError, match="11 bytes"):
        Verifier.hs256(SHORT)
    with pytest.raises(ConfigError, match="11 bytes"):
        Verifier.hs256(NEW, previous=(SHORT, END))
    assert Verifier.hs256(NEW).warnings == ()


def test_short_previous_secret_is_accepted_until_its_time():
    verifier = Verifier.hs256(NEW, previous=(SHORT, END), insecure_short_secret=True)
    assert verifier.verify(hs256(SHORT), END - 1).subject == "1"
    with pytest.raises(BadSignature):
        verifier.verify(hs256(SHORT), END)
    assert verifier.verify(jwt.encode({"sub": "2", "exp": END}, NEW), END).subject == "2"
    with pytest.raises(ExpiredToken):
        Verifier.hs256(NEW, previous=(SHORT, END + 10**6), insecure_short_secret=True).verify(hs256(SHORT), END + 120)


def test_new_secret_must_be_long_if_there_is_a_previous_one():
    with pytest.raises(ConfigError, match="11 bytes"):
        Verifier.hs256(SHORT, previous=(NEW, END), insecure_short_secret=True)


@pytest.mark.parametrize(
    ("make", "algorithm", "wanted"),
    [(Verifier.hs256, "HS256", 32), (Verifier.hs384, "HS384", 48), (Verifier.hs512, "HS512", 64)],
)
def test_short_secret_alone_is_accepted_with_a_warning(make, algorithm, wanted):
    verifier = make(SHORT, insecure_short_secret=True)
    assert verifier.verify(hs256(SHORT, algorithm), NOW).subject == "1"
    [warning] = verifier.warnings
    assert (
        f"11 bytes: whoever has one token can guess it, and then issue tokens; replace it by one of at least {wanted}"
        in warning
    )
    assert SHORT not in warning


def test_long_secret_gives_no_warning():
    assert Verifier.hs256(NEW, insecure_short_secret=True).warnings == ()
    assert Verifier.hs256(NEW, previous=(secrets.token_urlsafe(32), END), insecure_short_secret=True).warnings == ()


@pytest.mark.parametrize(
    "secret",
    ["supersecret", "your-256-bit-secret", "changeme", "aaaaaaaaaa", "", "tr0ub4dor&3\n", "https://keys.example"],
)
def test_known_and_mistaken_secrets_are_rejected_in_any_case(secret):
    for arguments in ({"secret": secret}, {"secret": NEW, "previous": (secret, END)}):
        with pytest.raises(ConfigError):
            Verifier.hs256(**arguments, insecure_short_secret=True)


@pytest.mark.parametrize("value", [None, 1, "yes"])
def test_argument_must_be_a_boolean(value):
    with pytest.raises(ConfigError, match="insecure_short_secret"):
        Verifier.hs256(SHORT, insecure_short_secret=value)


@pytest.mark.checklist("A4")
def test_short_secret_cannot_issue_tokens():
    with pytest.raises(ConfigError):
        Key.from_secret(SHORT)
    [key] = Verifier.hs256(SHORT, insecure_short_secret=True).keys
    with pytest.raises(ConfigError):
        Issuer(key)
    with pytest.raises(ConfigError):
        key.sign("HS256", b"")


def verifiers():
    short = Verifier.hs256(SHORT, issuer="old", insecure_short_secret=True)
    return {"alone": short, "any_of": Verifier.any_of(short, Verifier.hs256(NEW, issuer="new"))}


@pytest.mark.parametrize("shell", [AsyncGuard, Hub, StandaloneAuthority, RoomKey])
@pytest.mark.parametrize("kind", ["alone", "any_of"])
def test_each_shell_logs_the_warning_once(shell, kind, caplog):
    with caplog.at_level(logging.WARNING, "roomkey"):
        for _ in range(2):
            shell(verifiers()[kind])
    [entry] = caplog.records
    assert entry.getMessage().startswith("insecure: the secret has 11 bytes")
    assert SHORT not in entry.getMessage()
