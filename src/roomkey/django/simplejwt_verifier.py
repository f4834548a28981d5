"""The verifier of simplejwt's access tokens, as simplejwt's own settings describe them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from roomkey.extras import needs

with needs("django", "roomkey.django.simplejwt"):
    from rest_framework_simplejwt.settings import api_settings

from roomkey.core.verifier import Verifier
from roomkey.django.secret_key import check_secret_key
from roomkey.errors import ConfigError

PRESET = "simplejwt"


def simplejwt_verifier() -> Verifier:
    """Return a verifier with the settings of ``SIMPLE_JWT``.

    Raises:
        ConfigError: the key is weak, or the settings do not distinguish access tokens from refresh tokens.
    """
    kinds = [kind.token_type for kind in api_settings.AUTH_TOKEN_CLASSES if kind.token_type is not None]
    if api_settings.TOKEN_TYPE_CLAIM is None or not kinds:
        raise ConfigError(
            "cannot tell simplejwt's access tokens from its refresh tokens; set TOKEN_TYPE_CLAIM in SIMPLE_JWT"
        )
    leeway = api_settings.LEEWAY or 0
    settings: dict[str, Any] = {
        # A preset's claims remain: with another name for the type, nothing would have the usual one.
        "preset": PRESET if api_settings.TOKEN_TYPE_CLAIM == "token_type" else None,  # noqa: S105 - a claim
        "integer_subject": True,
        "audience": api_settings.AUDIENCE,
        "issuer": api_settings.ISSUER,
        "leeway": leeway.total_seconds() if isinstance(leeway, timedelta) else leeway,
        "claims": {api_settings.TOKEN_TYPE_CLAIM: kinds},
        "claims_map": {"subject": api_settings.USER_ID_CLAIM},
    }
    algorithm = api_settings.ALGORITHM
    if algorithm.startswith("HS"):
        check_secret_key(api_settings.SIGNING_KEY, "SIGNING_KEY in SIMPLE_JWT, which by default is SECRET_KEY,")
        verifier: Verifier = getattr(Verifier, algorithm.lower())(api_settings.SIGNING_KEY, **settings)
        return verifier
    if api_settings.JWK_URL:
        return Verifier.jwks(api_settings.JWK_URL, algorithms=[algorithm], **settings)
    return Verifier.pem(api_settings.VERIFYING_KEY, algorithms=[algorithm], **settings)
