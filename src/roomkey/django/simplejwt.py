"""Tokens of djangorestframework-simplejwt, as its own settings describe them.

With ``ROOMKEY = {"VERIFIER": "simplejwt"}``, sockets accept the access tokens that simplejwt issues. With the two
serializers of this module, a blacklisted token disconnects the sockets of one login session, and no others::

    SIMPLE_JWT = {
        "TOKEN_OBTAIN_SERIALIZER": "roomkey.django.simplejwt.TokenObtainPairSerializer",
        "TOKEN_REFRESH_SERIALIZER": "roomkey.django.simplejwt.TokenRefreshSerializer",
    }
"""

from __future__ import annotations

from contextvars import ContextVar
from datetime import timedelta
from typing import Any

from roomkey.extras import needs

with needs("django", "roomkey.django.simplejwt"):
    from rest_framework_simplejwt import serializers
    from rest_framework_simplejwt.settings import api_settings
    from rest_framework_simplejwt.tokens import AccessToken, UntypedToken

from roomkey.django.settings import configuration

__all__ = ["TokenObtainPairSerializer", "TokenRefreshSerializer"]

_rotating: ContextVar[bool] = ContextVar("roomkey_simplejwt_rotating", default=False)


def access_token(user: Any, expires_in: float | None, claims: dict[str, Any]) -> str:
    """Return an access token of simplejwt with further claims."""
    token = AccessToken.for_user(user)
    if expires_in is not None:
        token.set_exp(lifetime=timedelta(seconds=expires_in))
    for name, value in claims.items():
        token[name] = value
    return str(token)


def access_lifetime() -> int:
    """Return the lifetime of simplejwt's access tokens in seconds."""
    return int(max(kind.lifetime.total_seconds() for kind in api_settings.AUTH_TOKEN_CLASSES if kind.lifetime))


class TokenObtainPairSerializer(serializers.TokenObtainPairSerializer):
    """Issues pairs of tokens with ``sid``, which names the login session, and with the user's roles and rooms."""

    @classmethod
    def get_token(cls, user: Any) -> Any:
        """Return the refresh token; the access token has its claims."""
        token = super().get_token(user)
        settings = configuration()
        token["sid"] = token[api_settings.JTI_CLAIM]
        if settings.roles is not None:
            token["roles"] = list(settings.roles(user))
        token["rooms"] = list(settings.rooms(user))
        return token


class TokenRefreshSerializer(serializers.TokenRefreshSerializer):
    """Refreshes tokens. A refresh token that is blacklisted by its rotation does not end its login session."""

    def validate(self, attrs: dict[str, Any]) -> dict[str, str]:
        """Return the new tokens."""
        outer = _rotating.set(True)
        try:
            return super().validate(attrs)
        finally:
            _rotating.reset(outer)


def revoked_names(blacklisted: Any) -> dict[str, Any] | None:
    """Return what a blacklisted token revokes, as arguments of the guard's ``revoke``; None for a mere rotation."""
    if _rotating.get():
        return None
    outstanding = blacklisted.token
    claims = _claims(outstanding.token)
    until = outstanding.expires_at.timestamp()
    if claims.get(api_settings.TOKEN_TYPE_CLAIM) in [kind.token_type for kind in api_settings.AUTH_TOKEN_CLASSES]:
        return {"token_id": outstanding.jti, "expires_at": until}  # a sliding token, which is an access token, too
    if isinstance(claims.get("sid"), str):
        return {"session_id": claims["sid"], "expires_at": until}
    subject = claims.get(api_settings.USER_ID_CLAIM)
    # Without sid, nothing in an access token tells from which refresh token it came.
    return None if subject is None else {"subject": str(subject), "expires_at": until}


def _claims(token: str) -> dict[str, Any]:
    """Return the claims of a token in simplejwt's own table, whose signature does not matter any more."""
    payload: object = UntypedToken(token, verify=False).payload  # type: ignore[arg-type]
    return payload if isinstance(payload, dict) else {}
