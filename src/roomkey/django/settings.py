"""The settings in ``ROOMKEY``: read, checked and turned into objects here, and nowhere else."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.signals import setting_changed
from django.utils.crypto import salted_hmac
from django.utils.module_loading import import_string

from roomkey.core.any_of import TokenVerifier
from roomkey.core.credentials import Authenticate, Handshake
from roomkey.core.dpop import DPoP
from roomkey.core.issuer import Issuer
from roomkey.core.keys import Key
from roomkey.core.origins import Origin, allowed_origins
from roomkey.core.policy import Policy
from roomkey.core.subject_limits import SubjectLimits
from roomkey.core.verifier import Verifier
from roomkey.django.secret_key import check_secret_key
from roomkey.errors import ConfigError
from roomkey.guard.settings import GuardSettings

SIMPLEJWT = "simplejwt"
NAME = "ROOMKEY"

VERIFIERS = ("hs256", "hs384", "hs512", "pem", "jwks", "oidc", "introspection")
"""The constructors of :class:`roomkey.Verifier` that a mapping as VERIFIER can name."""

T = TypeVar("T")

_OWN = {"VERIFIER", "ISSUER", "HANDSHAKE", "AUTHENTICATE", "SUBJECT_FIELD", "ROLES", "ROOMS"}
# Settings that have the form of a guard's own settings, except for the three that are made from parts here.
_OF_GUARD = {field.name.upper() for field in fields(GuardSettings)} - {"VERIFIER", "VIA", "CLOCK"}
KNOWN = _OWN | _OF_GUARD


@dataclass(frozen=True)
class Configuration:
    """The objects that ``ROOMKEY`` describes.

    Attributes:
        verifier: verifies tokens.
        issuer: issues tokens, or None. With simplejwt, its own token classes issue them.
        simplejwt: True if simplejwt's settings describe the tokens.
        subject_field: the field of the user model whose value is the subject of tokens.
        roles: returns the roles of a user; None keeps the roles of tokens.
        rooms: returns the rooms of a user.
        way: where requests can present a token: in a header, and in the cookie that ``HANDSHAKE`` names.
        trusted_origins: further origins whose pages can send that cookie: those of ``CSRF_TRUSTED_ORIGINS``.
    """

    verifier: TokenVerifier
    issuer: Issuer | None
    simplejwt: bool
    subject_field: str
    roles: Callable[[Any], Iterable[str]] | None
    rooms: Callable[[Any], Iterable[str]]
    way: Handshake
    trusted_origins: frozenset[Origin]

    def subject(self, user: Any) -> str:
        """Return the subject of a user's tokens."""
        return str(getattr(user, self.subject_field))


@lru_cache(maxsize=1)
def configuration() -> Configuration:
    """Return what ``ROOMKEY`` describes.

    Raises:
        ConfigError: a setting is unknown or invalid, or contradicts another one.
    """
    given = _given()
    issuer = _issuer(given["ISSUER"]) if "ISSUER" in given else None
    simplejwt = given.get("VERIFIER") == SIMPLEJWT
    if simplejwt and issuer is not None:
        raise ConfigError("ROOMKEY: with VERIFIER 'simplejwt', simplejwt issues the tokens; remove ISSUER")
    handshake = _parts(given.get("HANDSHAKE"), Handshake, "HANDSHAKE") or Handshake()
    return Configuration(
        verifier=_verifier(given, issuer),
        issuer=issuer,
        simplejwt=simplejwt,
        subject_field=_subject_field(given, simplejwt),
        roles=_function(given.get("ROLES", group_names), "ROLES"),
        rooms=_function(given.get("ROOMS", _no_rooms), "ROOMS") or _no_rooms,
        way=Handshake(auth=False, header=handshake.header or True, cookie=handshake.cookie),
        trusted_origins=allowed_origins(origin for origin in settings.CSRF_TRUSTED_ORIGINS if "*" not in origin),
    )


def guard_settings() -> dict[str, Any]:
    """Return the arguments of a guard. Each call creates a store of its own, because a store belongs to one guard.

    Raises:
        ConfigError: as :func:`configuration`; also for the settings of the guard.
    """
    given = _given()
    arguments = {name.lower(): value for name, value in given.items() if name in _OF_GUARD}
    arguments |= {
        "verifier": configuration().verifier,
        "policy": _object(given.get("POLICY"), Policy, "POLICY"),
        "revocations": _store(given.get("REVOCATIONS")),
        "subject_limits": _parts(given.get("SUBJECT_LIMITS"), SubjectLimits, "SUBJECT_LIMITS"),
        "dpop": _parts(given.get("DPOP"), DPoP, "DPOP"),
    }
    ways = (
        _parts(given.get("HANDSHAKE"), Handshake, "HANDSHAKE"),
        _parts(given.get("AUTHENTICATE"), Authenticate, "AUTHENTICATE"),
    )
    arguments["via"] = tuple(way for way in ways if way is not None) or None
    GuardSettings(**arguments)  # raises for what is invalid
    return arguments


def group_names(user: Any) -> list[str]:
    """Return the names of a user's groups: the default of ROLES."""
    return sorted(user.groups.values_list("name", flat=True)) if hasattr(user, "groups") else []


def _no_rooms(user: Any) -> tuple[str, ...]:
    return ()


def _given() -> Mapping[str, Any]:
    given = getattr(settings, NAME, None)
    if not isinstance(given, Mapping):
        raise ConfigError("ROOMKEY is missing in the settings; write ROOMKEY = {'ISSUER': {'audience': 'chat'}}")
    for name in given:
        if name not in KNOWN:
            near = difflib.get_close_matches(str(name).upper(), KNOWN, 1)
            raise ConfigError(f"ROOMKEY: unknown setting {name!r}" + (f"; did you mean {near[0]}?" if near else ""))
    return given


def _verifier(given: Mapping[str, Any], issuer: Issuer | None) -> TokenVerifier:
    value = given.get("VERIFIER")
    if value == SIMPLEJWT:
        from roomkey.django.simplejwt_verifier import simplejwt_verifier  # requires djangorestframework-simplejwt

        return simplejwt_verifier()
    if isinstance(value, Mapping):
        return _verifier_of_parts(value)
    if value is not None:
        found: TokenVerifier = _object(value, None, "VERIFIER")
        return found
    if issuer is None:
        raise ConfigError(
            "ROOMKEY requires VERIFIER or ISSUER: VERIFIER 'simplejwt' accepts the tokens of simplejwt, "
            "VERIFIER {'hs256': SECRET, 'audience': 'chat'} those of another program, and with "
            "ISSUER {'audience': 'chat'}, roomkey issues tokens for Django's users"
        )
    return issuer.verifier()


def _verifier_of_parts(parts: Mapping[str, Any]) -> TokenVerifier:
    kinds = [name for name in VERIFIERS if name in parts]
    if len(kinds) != 1:
        raise ConfigError(f"ROOMKEY: VERIFIER must have exactly one of the members {', '.join(VERIFIERS)}")
    [kind] = kinds
    rest = {name: value for name, value in parts.items() if name != kind}
    verifier: TokenVerifier = _made(lambda: getattr(Verifier, kind)(parts[kind], **rest), "VERIFIER")
    return verifier


def _issuer(value: Any) -> Issuer:
    if not isinstance(value, Mapping):
        found: Issuer = _object(value, Issuer, "ISSUER")
        return found
    rest = {name: part for name, part in value.items() if name not in ("secret", "private_key")}
    if "private_key" in value:
        return _made(lambda: Issuer(Key.from_pem(value["private_key"]), **rest), "ISSUER")
    secret = value["secret"] if "secret" in value else derived_secret()
    return _made(lambda: Issuer(Key.from_secret(secret), **rest), "ISSUER")


def derived_secret() -> bytes:
    """Return the key of roomkey's own tokens: derived from SECRET_KEY, so that neither can be used as the other.

    Raises:
        ConfigError: SECRET_KEY is too short, or is the one that ``startproject`` wrote.
    """
    check_secret_key(settings.SECRET_KEY)
    digest: bytes = salted_hmac("roomkey.django.issuer", "HS256", algorithm="sha256").digest()
    return digest


def _store(value: Any) -> Any:
    """Return a store of revocations: for a file or a URL, a new one."""
    if value is None or hasattr(value, "since"):
        return value
    text = str(value)
    if isinstance(value, str) and "." in text and "/" not in text and not text.endswith((".sqlite3", ".db")):
        return _object(value, None, "REVOCATIONS")
    from roomkey.stores import SqlRevocations  # requires roomkey[sql]

    if "://" not in text and not Path(text).parent.is_dir():
        raise ConfigError(
            f"ROOMKEY: REVOCATIONS cannot be stored in {text}: there is no such folder; create it, or correct the path"
        )
    return _made(lambda: SqlRevocations(value), "REVOCATIONS")


def _subject_field(given: Mapping[str, Any], simplejwt: bool) -> str:
    user = get_user_model()
    usual = user.USERNAME_FIELD
    if simplejwt:
        from rest_framework_simplejwt.settings import api_settings

        usual = api_settings.USER_ID_FIELD
    field = given.get("SUBJECT_FIELD", usual)
    if not isinstance(field, str) or not hasattr(user, field):
        raise ConfigError(f"ROOMKEY: SUBJECT_FIELD must be a field of {user.__name__}, not {field!r}")
    return field


def _function(value: Any, name: str) -> Callable[[Any], Iterable[str]] | None:
    found: Callable[[Any], Iterable[str]] | None = _imported(value, name) if isinstance(value, str) else value
    if found is not None and not callable(found):
        raise ConfigError(f"ROOMKEY: {name} must be a function of a user, or its dotted path")
    return found


def _object(value: Any, kind: type[T] | None, name: str) -> Any:
    """Return an object that a setting contains or names; a function without arguments is called for it."""
    found = _imported(value, name) if isinstance(value, str) else value
    is_made = isinstance(found, kind) if kind is not None else hasattr(found, "verify") or hasattr(found, "since")
    if found is not None and not is_made and callable(found):
        found = _made(found, name)
        is_made = kind is None or isinstance(found, kind)
    if found is not None and not is_made:
        what = f"a {kind.__name__}" if kind is not None else "an object"
        raise ConfigError(f"ROOMKEY: {name} must be {what}, a function that returns it, or the dotted path of either")
    return found


def _parts(value: Any, kind: Callable[..., T], name: str) -> T | None:
    if value is None or isinstance(value, kind):  # type: ignore[arg-type]
        return value
    if not isinstance(value, Mapping):
        raise ConfigError(f"ROOMKEY: {name} must be a mapping of its arguments")
    return _made(lambda: kind(**value), name)


def _imported(path: str, name: str) -> Any:
    try:
        return import_string(path)
    except ImportError as error:
        raise ConfigError(f"ROOMKEY: cannot import {name} {path!r}: {error}") from error


def _made(make: Callable[[], T], name: str) -> T:
    """Call a function for a setting, so that its error names the setting."""
    try:
        return make()
    except (ConfigError, TypeError) as error:
        raise ConfigError(f"ROOMKEY: {name}: {error}") from error


def _forget(*, setting: str, **_: Any) -> None:
    if setting in (NAME, "SIMPLE_JWT", "SECRET_KEY", "AUTH_USER_MODEL", "CSRF_TRUSTED_ORIGINS"):
        configuration.cache_clear()


setting_changed.connect(_forget, dispatch_uid="roomkey.django.settings")
