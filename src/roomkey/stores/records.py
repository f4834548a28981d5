"""The records that stores keep, and the errors about their names (internal; import them from :mod:`roomkey.stores`)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from roomkey.core.names import is_reserved
from roomkey.core.urls import is_confidential
from roomkey.errors import ConfigError

__all__ = [
    "GRANTS",
    "MAX_NAME",
    "Account",
    "AccountExists",
    "AccountNotFound",
    "Client",
    "ClientExists",
    "ClientNotFound",
    "Consumed",
    "LinkExists",
    "LoginSession",
    "RotationResult",
    "SingleUseKind",
    "StoredRefreshToken",
    "check_name",
]

MAX_NAME = 150
"""The greatest length of a name, in characters."""

NO_PASSWORD = ""
"""The password hash of an account that has no password: no text matches it, after the same time as for others."""

GRANTS = ("authorization_code", "refresh_token", "client_credentials")
"""The OAuth grant types that a client can use."""

SingleUseKind = Literal["code", "ticket", "login", "logout", "proof"]

_SCOPE = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]+")  # RFC 6749 section 3.3
_RESPONSE_PARAMETERS = frozenset({"code", "state", "iss", "error", "error_description", "error_uri"})
_URI = re.compile(r"[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%]+")  # RFC 3986 section 2, without a fragment
_APP_URI = re.compile(r"[A-Za-z][A-Za-z0-9-]*(\.[A-Za-z0-9-]+)+:/")


class AccountExists(ValueError):
    """Raised when another account has the username."""


class AccountNotFound(LookupError):
    """Raised when no account has the username."""


class ClientExists(ValueError):
    """Raised when another client has the name."""


class ClientNotFound(LookupError):
    """Raised when no client has the name."""


class LinkExists(ValueError):
    """Raised when a provider's user is linked to another account already."""


def check_name(name: str, what: str = "username") -> str:
    """Check that a username, role or room name cannot be mistaken for another one.

    Args:
        name: 1 to 150 visible characters without spaces, in Unicode form NFKC, so that no two names look the same to
            people and differ for the computer.
        what: what the error calls it.

    Returns:
        The name, unchanged.

    Raises:
        ConfigError: the name is not valid; the text says why.
    """
    if not 0 < len(name) <= MAX_NAME:
        raise ConfigError(f"invalid {what}: it has {len(name)} characters; use 1 to {MAX_NAME} characters")
    if not name.isprintable() or any(letter.isspace() for letter in name):
        raise ConfigError(f"invalid {what} {name!a}; use only visible characters, and no spaces")
    if unicodedata.normalize("NFKC", name) != name:
        raise ConfigError(f"invalid {what}: it is not in Unicode form NFKC; use {unicodedata.normalize('NFKC', name)}")
    return name


@dataclass(frozen=True, slots=True)
class Account:
    """A user who can log in.

    Attributes:
        username: the name to log in with, and the ``sub`` of the user's tokens.
        password_hash: as returned by :meth:`roomkey.auth.Passwords.hash`; empty for an account without a password.
        roles: role names, for the claim ``roles``.
        rooms: room names, for the claim ``rooms``.
        disabled: True if the user cannot log in.
        created_at: seconds since the epoch.
        name: the display name, for the claim ``name``. If empty, the username.
    """

    username: str
    password_hash: str = field(repr=False)
    roles: tuple[str, ...] = ()
    rooms: tuple[str, ...] = ()
    disabled: bool = False
    created_at: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True)
class Client:
    """An OAuth client: an application or a service that can request tokens (RFC 6749 section 2).

    Attributes:
        client_id: the client's name, and the subject of the tokens that it gets for itself.
        secret_hash: SHA-256 of the client's secret, in hexadecimal; None for a public client, such as a web page or an
            app.
        title: the name that users see when they give consent.
        redirect_uris: where the server may send codes. They are compared character by character, and use https, http
            on this machine, or an app's own scheme.
        grants: the grant types that the client can use, from :data:`GRANTS`.
        scopes: the scopes that the client's tokens can contain. If the client has redirect URIs, none of them begins
            with ``roomkey:``.
        roles: for the tokens that the client gets for itself.
        rooms: for the tokens that the client gets for itself.
        disabled: True if the client cannot get tokens.
        created_at: seconds since the epoch.
        first_party: True for a client of the server's own operator: the tokens that it gets for a user contain all the
            user's roles and rooms. Otherwise they contain the roles and rooms that the scopes release.
    """

    client_id: str
    secret_hash: str | None = field(default=None, repr=False)
    title: str = ""
    redirect_uris: tuple[str, ...] = ()
    grants: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    rooms: tuple[str, ...] = ()
    disabled: bool = False
    created_at: int = 0
    first_party: bool = False

    def __post_init__(self) -> None:
        check_name(self.client_id, "client")
        unknown = set(self.grants) - set(GRANTS)
        if unknown:
            raise ConfigError(f"invalid grants {', '.join(sorted(unknown))}; use {', '.join(GRANTS)}")
        if "client_credentials" in self.grants and self.secret_hash is None:
            raise ConfigError("the grant client_credentials requires a client with a secret")
        if "authorization_code" in self.grants and not self.redirect_uris:
            raise ConfigError("the grant authorization_code requires a redirect URI")
        for scope in self.scopes:
            if _SCOPE.fullmatch(scope) is None:
                raise ConfigError(f"invalid scope {scope!a}; use visible ASCII characters without quote and backslash")
        for uri in self.redirect_uris:
            _check_redirect_uri(uri)
        if self.redirect_uris and (reserved := sorted(filter(is_reserved, self.scopes))):
            raise ConfigError(
                f"a client with a redirect URI cannot have {', '.join(reserved)}: every user who logs in would; "
                "add a service without a redirect URI, or give the account the role roomkey:admin"
            )


def _check_redirect_uri(uri: str) -> None:
    """Check a redirect URI (RFC 6749 section 3.1.2, RFC 9700 section 2.6; RFC 8252 section 7.1 for schemes of apps)."""
    if _URI.fullmatch(uri) is None:
        raise ConfigError(f"invalid redirect URI {uri!a}; use an absolute URI without a fragment")
    if not is_confidential(uri) and _APP_URI.match(uri) is None:
        raise ConfigError(
            f"invalid redirect URI {uri!a}; use https://, http:// on this machine, or an app's own scheme, such as "
            "com.example.app:/"
        )
    if _RESPONSE_PARAMETERS & {name for name, _ in parse_qsl(urlsplit(uri).query, keep_blank_values=True)}:
        raise ConfigError(
            f"invalid redirect URI {uri!a}: its query contains a parameter of the response; remove the parameter"
        )


@dataclass(frozen=True, slots=True)
class LoginSession:
    """A login on one device, with all tokens that come from it.

    Attributes:
        session_id: the ``sid`` claim of its access tokens.
        subject: the ``sub`` claim of its access tokens.
        client_id: the OAuth client that it was created for.
        auth_time: when the user logged in here, in seconds since the epoch.
        used_at: when it was last refreshed, in seconds since the epoch.
        expires_at: when it ends, however often it is refreshed, in seconds since the epoch.
        scope: the scopes of its tokens, separated by spaces.
        address: the client's network address at the login.
        user_agent: the client's ``User-Agent`` at the login.
        provider_issuer: ``iss`` of the OpenID provider where the user logged in; empty after a password.
        provider_subject: the subject of the user's tokens from the provider, as a verifier here names it.
        provider_session: the ``sid`` of the provider's session; empty if the provider did not name it.
        provider_auth_time: when the user entered the password at the provider, in seconds since the epoch; 0 if the
            provider did not say.
    """

    session_id: str
    subject: str
    client_id: str
    auth_time: int
    used_at: int
    expires_at: int
    scope: str = ""
    address: str = ""
    user_agent: str = ""
    provider_issuer: str = ""
    provider_subject: str = ""
    provider_session: str = ""
    provider_auth_time: int = 0


class RotationResult(Enum):
    """The result of presenting a refresh token."""

    ROTATED = auto()  # the token is now used, and its successor is valid
    REPEATED = auto()  # the token was used within the reuse interval, its successor is unused: return it again
    REUSED = auto()  # the token was used otherwise: there is a copy of it, so end the session
    UNKNOWN = auto()  # no session has the token
    ENDED = auto()  # the token's session was ended
    EXPIRED = auto()  # the token's session has expired


class StoredRefreshToken(NamedTuple):
    """A refresh token that was issued.

    Attributes:
        session: the login session that it belongs to.
        active: False if the session has ended or expired.
        used: True if the token was already used.
    """

    session: LoginSession
    active: bool
    used: bool

    @property
    def valid(self) -> bool:
        """True if it can be exchanged for new tokens."""
        return self.active and not self.used


class Consumed(NamedTuple):
    """A single-use value that was consumed now or before.

    Attributes:
        data: what was stored with it.
        already_used: True if it was consumed before.
        note: what :meth:`roomkey.stores.SingleUseStore.annotate` stored, or None.
    """

    data: Mapping[str, Any]
    already_used: bool
    note: str | None
