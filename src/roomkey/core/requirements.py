"""What a route or an event handler requires of an identity: a role, scopes, a recent login."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from roomkey.core.claims import one_or_more
from roomkey.core.identity import Identity
from roomkey.core.numbers import is_number
from roomkey.errors import (
    AuthError,
    ConfigError,
    CredentialsError,
    ExpiredToken,
    PermissionDenied,
    ReauthenticationRequired,
)

_SCOPE = re.compile(r"[!#-\[\]-~]+")  # RFC 6749 section 3.3


@dataclass(frozen=True, slots=True)
class Requirement:
    """The conditions of ``requires(role=…, scope=…, max_auth_age=…)``; all of them must be met.

    Create requirements with :meth:`of`.

    Attributes:
        roles: one of these roles is enough; empty if no role is required.
        scopes: all of these scopes are required.
        max_auth_age: the longest time since the user logged in, in seconds, or None.
    """

    roles: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    max_auth_age: float | None = None

    @classmethod
    def of(
        cls,
        role: str | Iterable[str] | None = None,
        scope: str | Iterable[str] | None = None,
        max_auth_age: float | None = None,
    ) -> Requirement:
        """Check the arguments of ``requires``, and return the requirement. Without arguments, any user is enough.

        Args:
            role: a role, or several of which one is enough.
            scope: one or several scopes, which are all required; a string can contain several, separated by spaces.
            max_auth_age: the longest time in seconds since the user logged in (``auth_time``, or ``iat`` without it).

        Raises:
            ConfigError: an argument has the wrong type, or is empty.
        """
        if max_auth_age is not None and not (is_number(max_auth_age) and 0 < max_auth_age < float("inf")):
            raise ConfigError("max_auth_age must be more than 0 seconds")
        scopes = tuple(part for text in one_or_more(scope, "scope") for part in text.split(" ") if part)
        if scope is not None and not scopes:
            raise ConfigError("scope is empty; name at least one scope, or leave it out")
        if not all(_SCOPE.fullmatch(part) for part in scopes):
            raise ConfigError(f"invalid scope {scope!r}; use visible ASCII characters except quotes and backslashes")
        return cls(one_or_more(role, "role"), scopes, max_auth_age)

    @property
    def scope(self) -> str:
        """The required scopes, separated by spaces, as in ``WWW-Authenticate`` (RFC 6750 section 3)."""
        return " ".join(self.scopes)

    def problem(self, who: Identity, now: float) -> AuthError | None:
        """Return why an identity does not meet the requirement, or None if it does.

        Args:
            who: the identity of a verified token, with the rights that it has now.
            now: seconds since the epoch.

        Returns:
            :class:`CredentialsError` for a guest, :class:`PermissionDenied` without a role or scope, and with
            ``max_auth_age`` :class:`ReauthenticationRequired` if the login is not recent enough, or
            :class:`ExpiredToken` in the grace period of a socket.
        """
        if who.is_guest:
            return CredentialsError()
        if self.roles and who.roles.isdisjoint(self.roles):
            return PermissionDenied(f"requires the role {' or '.join(self.roles)}")
        if not who.scopes.issuperset(self.scopes):
            return PermissionDenied(f"requires the scope {self.scope}")
        if self.max_auth_age is None:
            return None
        if who.expires_at is not None and now >= who.expires_at:
            return ExpiredToken("exp", "expired: refresh the token first", expired_at=who.expires_at)
        return stale_login(who, self.max_auth_age, now)


def stale_login(who: Identity, max_auth_age: float, now: float) -> ReauthenticationRequired | None:
    """Return the error for a login that is not recent enough, or None (OpenID Connect Core section 2, ``auth_time``).

    Args:
        who: the identity of a verified token.
        max_auth_age: the longest time since the login, in seconds.
        now: seconds since the epoch.
    """
    proved = who.claim("auth_time", who.issued_at)
    is_time = isinstance(proved, (int, float)) and not isinstance(proved, bool)
    if is_time and now - max_auth_age <= proved <= now + max_auth_age:  # not converted: 400 digits fit into no float
        return None
    return ReauthenticationRequired(max_auth_age, "the login is not recent enough")
