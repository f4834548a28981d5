"""Settings for the tokens of common issuers, by name: ``Verifier.oidc(issuer, preset="keycloak", audience=…)``.

Each preset is a row of settings. Settings that you pass yourself win over it, one by one in ``claims`` and
``claims_map``. The presets are for access tokens. Firebase and Google have only ID tokens for other servers; there, the
audience is your own project or client.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from roomkey.core.claims import ExactClaims
from roomkey.core.claims_map import Place
from roomkey.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Preset:
    """The settings of a verifier that depend on the issuer.

    Attributes:
        algorithms: the algorithms that the issuer signs with; empty for those with a shared secret.
        audience: as for :class:`roomkey.Verifier`; also the following attributes.
        require: claims that must be present.
        claims: the values of further claims.
        claims_map: where the claims are.
        integer_subject: accept an integer as the subject.
    """

    algorithms: tuple[str, ...] = ()
    audience: str | Iterable[str] | None = None
    require: Iterable[str] | None = None
    claims: ExactClaims = field(default_factory=dict)
    claims_map: Mapping[str, Place] = field(default_factory=dict)
    integer_subject: bool = False

    def under(self, **settings: Any) -> Preset:
        """Return the preset with settings of the application, which win over it. None is not a setting."""
        given = {name: value for name, value in settings.items() if value is not None}
        for name in ("claims", "claims_map"):
            if isinstance(given.get(name), Mapping):
                given[name] = {**getattr(self, name), **given[name]}
        return replace(self, **given)


RSA = ("RS256",)
ASYMMETRIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")

PRESETS: Mapping[str, Preset] = {
    # https://www.keycloak.org/docs/latest/server_admin/ (clients, token mappers; keys). `typ` is "ID", "Refresh" or
    # "Offline" in other tokens: keycloak/keycloak, core/src/main/java/org/keycloak/util/TokenUtil.java.
    "keycloak": Preset(
        algorithms=ASYMMETRIC,
        claims={"typ": ("Bearer", "DPoP")},
        claims_map={"roles": "realm_access.roles"},
    ),
    # https://auth0.com/docs/secure/tokens/access-tokens/access-token-profiles. Roles are in a claim of your own choice,
    # which you add with an action. The `aud` of ID tokens is the client, that of access tokens the API.
    "auth0": Preset(algorithms=("RS256", "PS256")),
    # https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference. `scp` is in the access tokens
    # of users only; ID tokens can have the same `aud`.
    "entra": Preset(algorithms=RSA, require=("exp", "sub", "scope"), claims_map={"scopes": "scp"}),
    # https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-the-access-token.html
    # `origin_jti` is the same in all tokens that were refreshed from one login.
    "cognito": Preset(
        algorithms=RSA,
        claims={"token_use": "access"},
        claims_map={"audience": "client_id", "roles": "cognito:groups", "session": "origin_jti"},
    ),
    # ID tokens: https://firebase.google.com/docs/auth/admin/verify-id-tokens. `aud` is the project.
    "firebase": Preset(algorithms=RSA, require=("exp", "sub", "iat", "auth_time")),
    # https://supabase.com/docs/guides/auth/jwt-fields; `user_role` is that of
    # https://supabase.com/docs/guides/database/postgres/custom-claims-and-role-based-access-control-rbac. `role` is a
    # role of the database. Users can change `user_metadata` themselves, but not `app_metadata`.
    "supabase": Preset(
        algorithms=("ES256", "RS256", "EdDSA"),
        audience="authenticated",
        claims={"role": "authenticated"},
        claims_map={"roles": "app_metadata.roles", "role": "user_role", "session": "session_id"},
    ),
    # https://clerk.com/docs/guides/sessions/session-tokens, version 2, and
    # https://clerk.com/docs/guides/sessions/manual-jwt-verification. `azp` is the web page's origin. A session with
    # the status `pending` counts as logged out.
    "clerk": Preset(
        algorithms=RSA,
        require=("exp", "sub", "sid"),
        claims={"sts": ("active", None)},
        claims_map={"audience": "azp", "role": "o.rol"},
    ),
    # ID tokens: https://developers.google.com/identity/gsi/web/guides/verify-google-id-token. `aud` is your client.
    "google": Preset(algorithms=RSA),
    # goauthentik/authentik, authentik/providers/oauth2/id_token.py: only access tokens have `uid`. `groups` comes from
    # the scope `profile`.
    "authentik": Preset(
        algorithms=("RS256", "ES256", "ES384", "ES512"), require=("exp", "sub", "uid"), claims_map={"roles": "groups"}
    ),
    # https://flask-jwt-extended.readthedocs.io/en/stable/options.html; before version 4.7, `sub` could be an integer.
    "flask-jwt-extended": Preset(claims={"type": "access"}, integer_subject=True),
    # https://django-rest-framework-simplejwt.readthedocs.io/en/stable/settings.html; before version 5.5, `user_id` was
    # an integer.
    "simplejwt": Preset(claims={"token_type": "access"}, claims_map={"subject": "user_id"}, integer_subject=True),
    # https://fastapi-users.github.io/fastapi-users/latest/configuration/authentication/strategies/jwt/. Tokens that
    # reset a password or verify an address have another `aud`.
    "fastapi-users": Preset(audience="fastapi-users:auth"),
}
NO_PRESET = Preset()


def preset_of(name: object) -> Preset:
    """Return the preset of a name; an empty one for None.

    Raises:
        ConfigError: no preset has this name.
    """
    if name is None:
        return NO_PRESET
    if not isinstance(name, str) or name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}; use one of {', '.join(PRESETS)}")
    return PRESETS[name]
