"""Tokens for Django's users: issued from code, from the command line, and in exchange for a session."""

from __future__ import annotations

import time
from typing import Any

from django.contrib.auth import get_user_model
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.crypto import salted_hmac
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_POST

from roomkey.django.settings import configuration
from roomkey.errors import ConfigError

AUTH_TIME = "_roomkey_auth_time"
"""Where a session keeps the time of its login, in seconds since the epoch."""

SESSION_DIGITS = 32
"""Hexadecimal digits of a session's name in tokens: 128 bits."""


def issue_token(
    user: Any, *, expires_in: float | None = None, session_id: str | None = None, auth_time: float | None = None
) -> str:
    """Issue an access token for a user, with the roles and rooms of the functions ``ROLES`` and ``ROOMS``.

    Args:
        user: an active user.
        expires_in: its lifetime in seconds. Default: that of ``ISSUER``, or of simplejwt.
        session_id: ``sid``, the login session that the token belongs to.
        auth_time: when the user logged in, in seconds since the epoch. Default: unknown, which is not recent.

    Raises:
        ConfigError: the user is not active, or ``ROOMKEY`` has no issuer.
    """
    settings = configuration()
    if not user.is_active:
        raise ConfigError("cannot issue a token: the user is not active")
    roles = list(settings.roles(user)) if settings.roles is not None else []
    rooms = list(settings.rooms(user))
    name = user.get_full_name() if hasattr(user, "get_full_name") else ""
    claims: dict[str, Any] = {"name": name or user.get_username(), "auth_time": int(auth_time or 0)}
    if settings.simplejwt:
        from roomkey.django.simplejwt import access_token

        claims |= {"roles": roles, "rooms": rooms} | ({} if session_id is None else {"sid": session_id})
        return access_token(user, expires_in, claims)
    if settings.issuer is None:
        raise ConfigError("cannot issue a token: ROOMKEY has no ISSUER; add ISSUER {'audience': 'chat'}")
    return settings.issuer.issue(
        settings.subject(user), expires_in=expires_in, roles=roles, rooms=rooms, session_id=session_id, claims=claims
    )


def lifetime() -> int:
    """Return the lifetime of access tokens in seconds."""
    settings = configuration()
    if settings.simplejwt:
        from roomkey.django.simplejwt import access_lifetime

        return access_lifetime()
    return int(settings.issuer.expires_in) if settings.issuer is not None else 0


def session_id_of(session_key: str) -> str:
    """Return the ``sid`` claim of the tokens of a Django session; nobody can compute the session's cookie from it."""
    digest: str = salted_hmac("roomkey.django.session", session_key, algorithm="sha256").hexdigest()
    return digest[:SESSION_DIGITS]


@csrf_protect  # type: ignore[untyped-decorator]
@require_POST  # type: ignore[untyped-decorator]
def session_token(request: HttpRequest) -> HttpResponse:
    """A view that returns an access token to the user of a Django session: ``path("token/", session_token)``.

    Like a form, the request requires the CSRF token. Logging out revokes the token, because its ``sid`` claim names the
    session. The response is ``{"access_token", "token_type", "expires_in"}``.
    """
    headers = {"Cache-Control": "no-store", "Pragma": "no-cache"}
    user = request.user
    if not user.is_authenticated:
        body = {"error": "login_required", "error_description": "Log in first."}
        return JsonResponse(body, status=401, headers=headers)
    session = request.session
    if session.session_key is None:  # such as a user whom other middleware logged in for this request only
        session.save()
    token = issue_token(user, session_id=session_id_of(session.session_key), auth_time=session.get(AUTH_TIME))
    answer = {"access_token": token, "token_type": "Bearer", "expires_in": lifetime()}
    return JsonResponse(answer, headers=headers)


def remember_login(session: Any) -> None:
    """Note in a session that its user has just logged in."""
    session[AUTH_TIME] = int(time.time())


def user_of(subject: str) -> Any:
    """Return the active user with this subject, or None."""
    field = configuration().subject_field
    try:
        user = get_user_model()._default_manager.filter(**{field: subject}).first()
    except (ValueError, TypeError):  # a text that the field cannot contain, such as letters for a number
        return None
    return user if user is not None and user.is_active and configuration().subject(user) == subject else None
