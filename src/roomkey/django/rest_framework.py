"""Authentication and permissions for Django REST framework.

::

    REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": ["roomkey.django.rest_framework.RoomKeyAuthentication"]}

In a view, ``request.user`` is Django's user, and ``request.auth`` the :class:`roomkey.Identity`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from roomkey.extras import needs

with needs("django", "roomkey.django.rest_framework"):
    from rest_framework import status
    from rest_framework.authentication import BaseAuthentication
    from rest_framework.exceptions import APIException, AuthenticationFailed
    from rest_framework.permissions import BasePermission

from roomkey.core.http_tokens import RETRY_SECONDS, challenge, error_response
from roomkey.core.identity import Identity
from roomkey.core.requirements import Requirement
from roomkey.django.requests import identity_of
from roomkey.django.tokens import user_of
from roomkey.errors import AuthError

__all__ = ["IdentityAuthentication", "IdentityUser", "RoomKeyAuthentication", "requires"]

HEADER = "_roomkey_challenge"
"""Where a request keeps the value of ``WWW-Authenticate`` for its response."""


class TemporarilyUnavailable(APIException):  # type: ignore[misc]
    """The token cannot be verified now; the response has ``Retry-After``."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_code = "temporarily_unavailable"
    wait = RETRY_SECONDS


class RoomKeyAuthentication(BaseAuthentication):  # type: ignore[misc]
    """Authenticates a request by the token in its ``Authorization`` header (RFC 6750).

    Without a token, the next authentication class is tried. With an invalid token, the response is 401, whatever the
    permissions of the view are.
    """

    def authenticate(self, request: Any) -> tuple[Any, Identity] | None:
        """Return the user and the identity; None without a token.

        Raises:
            AuthenticationFailed: the token is not valid, or its user does not exist or is not active.
        """
        try:
            who = identity_of(request._request)
        except AuthError as error:
            raise _failure(request, error) from None
        if who.is_guest:
            return None
        user = self.get_user(who)
        if user is None:
            setattr(request._request, HEADER, challenge("invalid_token")["WWW-Authenticate"])
            raise AuthenticationFailed("The user does not exist or is not active.", "user_inactive")
        return user, who

    def get_user(self, who: Identity) -> Any:
        """Return the user of an identity, or None. Default: the active user with this subject (``SUBJECT_FIELD``)."""
        return user_of(who.subject)

    def authenticate_header(self, request: Any) -> str:
        """Return the header ``WWW-Authenticate`` of a response with 401."""
        return str(getattr(request._request, HEADER, challenge(None)["WWW-Authenticate"]))


class IdentityUser:
    """The user of a token that has no user in this database.

    Attributes:
        identity: the identity of the token.
    """

    is_authenticated, is_anonymous, is_active = True, False, True

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.pk = self.username = identity.subject

    def __str__(self) -> str:
        return self.identity.subject

    def get_username(self) -> str:
        """Return the subject."""
        return self.identity.subject


class IdentityAuthentication(RoomKeyAuthentication):
    """Authenticates a request without a query: ``request.user`` is an :class:`IdentityUser`."""

    def get_user(self, who: Identity) -> Any:
        """Return the identity as a user."""
        return IdentityUser(who)


def requires(
    role: str | Iterable[str] | None = None,
    scope: str | Iterable[str] | None = None,
    *,
    max_auth_age: float | None = None,
) -> type[BasePermission]:
    """Return a permission class: ``permission_classes = [requires(role="editor")]``.

    Args:
        role: a role, or several of which one is enough.
        scope: one or several scopes, which are all required.
        max_auth_age: the longest time in seconds since the user logged in.

    Raises:
        ConfigError: an invalid argument.
    """
    requirement = Requirement.of(role, scope, max_auth_age)

    class Requires(BasePermission):  # type: ignore[misc]
        def has_permission(self, request: Any, view: Any) -> bool:
            who = request.auth if isinstance(request.auth, Identity) else Identity.guest()
            problem = requirement.problem(who, time.time())
            if problem is None:
                return True
            answer = error_response(problem, requirement)
            if answer.status == status.HTTP_401_UNAUTHORIZED and not who.is_guest:
                raise _failure(request, problem)
            return False

    return Requires


def _failure(request: Any, error: AuthError) -> APIException:
    answer = error_response(error)
    if answer.status == status.HTTP_503_SERVICE_UNAVAILABLE:
        return TemporarilyUnavailable(answer.description)
    setattr(request._request, HEADER, answer.headers["WWW-Authenticate"])
    return AuthenticationFailed(answer.description, answer.error)
