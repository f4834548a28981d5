"""Claims of tokens as common issuers write them, and claims that come close.

The shapes are those of the issuers' documentation, which :mod:`roomkey.core.presets` names. All values are made up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

NOW = 1_800_000_000
TIMES = {"iat": NOW, "exp": NOW + 600}
TENANT = "8f6a1c52-2f0d-4c55-9a4b-6f2f1d1e7a10"
CLIENT = "5c2a7d0e-6d7b-4c0b-8f1e-0b9a3c5d7e91"
GOOGLE_CLIENT = "407408718192-abc.apps.googleusercontent.com"
POOL = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_aB3dE5fG7"
CLERK = "https://clerk.app.example"


@dataclass(frozen=True)
class Shape:
    """The tokens of one issuer.

    Attributes:
        settings: the settings of a verifier, besides the keys and the preset.
        claims: the claims of a good token.
        subject: whom it identifies.
        near: changes of these claims, each with the claim that is wrong; None removes a claim.
        roles: the roles that it grants.
        scopes: the scopes that it grants.
        session: its login session.
        header: members of its header besides ``alg`` and ``kid``.
        shared: True if the issuer signs with a shared secret.
    """

    settings: dict[str, Any]
    claims: dict[str, Any]
    subject: str
    near: dict[str, tuple[dict[str, Any], str]]
    roles: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    session: str | None = None
    header: dict[str, Any] = field(default_factory=lambda: {"typ": "JWT"})
    shared: bool = False

    def changed(self, changes: dict[str, Any]) -> dict[str, Any]:
        """Return the claims with changes."""
        return {name: value for name, value in (self.claims | changes).items() if value is not None}


SHAPES: dict[str, Shape] = {
    "keycloak": Shape(
        settings={"issuer": "https://sso.example/realms/main", "audience": "chat"},
        claims={
            **TIMES,
            "jti": "onrtac:0c9c7a3c-6f0e-4a6e-9d1e-2f3a4b5c6d7e",
            "iss": "https://sso.example/realms/main",
            "aud": ["chat", "account"],
            "sub": "36fa0f91-f94d-4a0c-afed-6b7d952e47da",
            "typ": "Bearer",
            "azp": "web",
            "sid": "2a88c258-f73a-4103-b862-e1fbd8f4e04e",
            "acr": "1",
            "allowed-origins": ["https://app.example"],
            "realm_access": {"roles": ["offline_access", "moderator"]},
            "resource_access": {"chat": {"roles": ["owner"]}, "account": {"roles": ["manage-account"]}},
            "scope": "openid email profile",
            "email_verified": True,
            "preferred_username": "ada",
        },
        subject="36fa0f91-f94d-4a0c-afed-6b7d952e47da",
        roles=("moderator", "offline_access"),
        scopes=("email", "openid", "profile"),
        session="2a88c258-f73a-4103-b862-e1fbd8f4e04e",
        near={
            "another client's token": ({"aud": ["account"]}, "aud"),
            "an ID token": ({"typ": "ID", "aud": "chat"}, "typ"),
            "a refresh token": ({"typ": "Refresh"}, "typ"),
            "an offline token": ({"typ": "Offline"}, "typ"),
            "a logout token": ({"typ": "Logout"}, "typ"),
            "a token without a type": ({"typ": None}, "typ"),
            "another realm": ({"iss": "https://sso.example/realms/other"}, "iss"),
        },
    ),
    "auth0": Shape(
        settings={"issuer": "https://example.eu.auth0.com/", "audience": "https://chat.example/api"},
        claims={
            **TIMES,
            "iss": "https://example.eu.auth0.com/",
            "sub": "auth0|5f7c8ec7c33c6c004bbafe82",
            "aud": ["https://chat.example/api", "https://example.eu.auth0.com/userinfo"],
            "azp": "my_client_id",
            "scope": "openid profile read:rooms",
            "permissions": ["read:rooms"],
        },
        header={"typ": "at+jwt"},
        subject="auth0|5f7c8ec7c33c6c004bbafe82",
        scopes=("openid", "profile", "read:rooms"),
        near={
            "an ID token": ({"aud": "my_client_id", "azp": None, "scope": None, "permissions": None}, "aud"),
            "another API": ({"aud": ["https://other.example/api"]}, "aud"),
            "another tenant": ({"iss": "https://other.eu.auth0.com/"}, "iss"),
            "an issuer without a slash": ({"iss": "https://example.eu.auth0.com"}, "iss"),
        },
    ),
    "entra": Shape(
        settings={"issuer": f"https://login.microsoftonline.com/{TENANT}/v2.0", "audience": CLIENT},
        claims={
            **TIMES,
            "aud": CLIENT,
            "iss": f"https://login.microsoftonline.com/{TENANT}/v2.0",
            "nbf": NOW,
            "aio": "AXQAi/8TAAAA",
            "azp": "0d1e2f3a-4b5c-4d6e-8f90-a1b2c3d4e5f6",
            "azpacr": "0",
            "name": "Ada Lovelace",
            "oid": "690222be-ff1a-4d56-abd1-7e4f7d38e474",
            "preferred_username": "ada@example.com",
            "rh": "0.AAAA",
            "roles": ["Moderator"],
            "scp": "Rooms.Join Rooms.Read",
            "sub": "HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ",
            "tid": TENANT,
            "uti": "fqiBqXLPj0eQa82S-IYFAA",
            "ver": "2.0",
        },
        subject="HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ",
        roles=("Moderator",),
        scopes=("Rooms.Join", "Rooms.Read"),
        near={
            "an ID token of the same app": ({"scp": None, "azp": None, "nonce": "12345"}, "scope"),
            "a token of an application": ({"scp": None, "idtyp": "app"}, "scope"),
            "another API": ({"aud": "00000003-0000-0000-c000-000000000000"}, "aud"),
            "another tenant": ({"iss": "https://login.microsoftonline.com/common/v2.0"}, "iss"),
            "version 1": ({"iss": f"https://sts.windows.net/{TENANT}/", "ver": "1.0"}, "iss"),
        },
    ),
    "cognito": Shape(
        settings={"issuer": POOL, "audience": "6n5example2client9id"},
        claims={
            **TIMES,
            "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
            "cognito:groups": ["moderators"],
            "iss": POOL,
            "version": 2,
            "client_id": "6n5example2client9id",
            "origin_jti": "4c1d2e3f-5a6b-4c7d-8e9f-0a1b2c3d4e5f",
            "event_id": "9a0b1c2d-3e4f-4a5b-8c7d-6e5f4a3b2c1d",
            "token_use": "access",
            "scope": "openid chat/join",
            "auth_time": NOW - 60,
            "jti": "11111111-2222-3333-4444-555555555555",
            "username": "ada",
        },
        header={},
        subject="aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
        roles=("moderators",),
        scopes=("chat/join", "openid"),
        session="4c1d2e3f-5a6b-4c7d-8e9f-0a1b2c3d4e5f",
        near={
            "an ID token": ({"token_use": "id", "client_id": None, "aud": "6n5example2client9id"}, "aud"),
            "an ID token with a client": ({"token_use": "id"}, "token_use"),
            "another app client": ({"client_id": "1another2client3id"}, "aud"),
            "a token for another resource": ({"aud": "https://other.example"}, "aud"),
            "another pool": ({"iss": POOL[:-1] + "8"}, "iss"),
            "no use": ({"token_use": None}, "token_use"),
        },
    ),
    "firebase": Shape(
        settings={"issuer": "https://securetoken.google.com/chat-1a2b3", "audience": "chat-1a2b3"},
        claims={
            **TIMES,
            "iss": "https://securetoken.google.com/chat-1a2b3",
            "aud": "chat-1a2b3",
            "auth_time": NOW - 60,
            "user_id": "Zk3cUuyJ1mPqRsTuVwXyZ0123456",
            "sub": "Zk3cUuyJ1mPqRsTuVwXyZ0123456",
            "email": "ada@example.com",
            "email_verified": True,
            "roles": ["moderator"],
            "firebase": {"identities": {"email": ["ada@example.com"]}, "sign_in_provider": "password"},
        },
        subject="Zk3cUuyJ1mPqRsTuVwXyZ0123456",
        roles=("moderator",),
        near={
            "another project": ({"aud": "other-9z8y7"}, "aud"),
            "another project's issuer": ({"iss": "https://securetoken.google.com/other-9z8y7"}, "iss"),
            "a session cookie": ({"iss": "https://session.firebase.google.com/chat-1a2b3"}, "iss"),
            "a custom token": (
                {
                    "iss": "sdk@chat-1a2b3.iam.gserviceaccount.com",
                    "aud": "https://identitytoolkit.googleapis.com/google.identity.identitytoolkit.v1.IdentityToolkit",
                    "auth_time": None,
                },
                "auth_time",
            ),
            "no user": ({"sub": ""}, "sub"),
        },
    ),
    "supabase": Shape(
        settings={"issuer": "https://abcdefghijklmnopqrst.supabase.co/auth/v1"},
        claims={
            **TIMES,
            "iss": "https://abcdefghijklmnopqrst.supabase.co/auth/v1",
            "sub": "123e4567-e89b-12d3-a456-426614174000",
            "aud": "authenticated",
            "email": "ada@example.com",
            "phone": "",
            "app_metadata": {"provider": "email", "providers": ["email"], "roles": ["moderator"]},
            "user_metadata": {"roles": ["admin"], "name": "Ada"},
            "user_role": "editor",
            "role": "authenticated",
            "aal": "aal1",
            "amr": [{"method": "password", "timestamp": NOW}],
            "session_id": "99c1d2e3-f4a5-4b6c-8d7e-9f0a1b2c3d4e",
            "is_anonymous": False,
        },
        subject="123e4567-e89b-12d3-a456-426614174000",
        roles=("editor", "moderator"),
        session="99c1d2e3-f4a5-4b6c-8d7e-9f0a1b2c3d4e",
        near={
            "the anon key": ({"iss": "supabase", "role": "anon", "aud": None, "sub": None}, "sub"),
            "the service key": ({"role": "service_role"}, "role"),
            "an anonymous audience": ({"aud": "anon"}, "aud"),
            "another project": ({"iss": "https://bcdefghijklmnopqrstu.supabase.co/auth/v1"}, "iss"),
        },
    ),
    "clerk": Shape(
        settings={"issuer": CLERK, "audience": "https://app.example"},
        claims={
            **TIMES,
            "azp": "https://app.example",
            "fva": [7, -1],
            "iss": CLERK,
            "jti": "0a1b2c3d4e5f6a7b8c9d",
            "nbf": NOW - 10,
            "sid": "sess_2x3Yz",
            "sub": "user_2a3Bc",
            "v": 2,
            "pla": "u:free,o:pro",
            "sts": "active",
            "o": {"id": "org_123", "slg": "acme", "rol": "admin", "per": "read,manage", "fpm": "3,2"},
        },
        header={"typ": "JWT", "cat": "cl_B7d4PD111AAA"},
        subject="user_2a3Bc",
        roles=("admin",),
        session="sess_2x3Yz",
        near={
            "another web page": ({"azp": "https://evil.example"}, "aud"),
            "no web page": ({"azp": None}, "aud"),
            "a pending session": ({"sts": "pending"}, "sts"),
            "a token of a template": ({"sid": None}, "sid"),
            "another instance": ({"iss": "https://clerk.other.example"}, "iss"),
        },
    ),
    "google": Shape(
        settings={"issuer": "https://accounts.google.com", "audience": GOOGLE_CLIENT, "claims": {"hd": "example.com"}},
        claims={
            **TIMES,
            "iss": "https://accounts.google.com",
            "azp": GOOGLE_CLIENT,
            "aud": GOOGLE_CLIENT,
            "sub": "110169484474386276334",
            "hd": "example.com",
            "email": "ada@example.com",
            "email_verified": True,
            "nonce": "0394852-3190485-2490358",
            "name": "Ada Lovelace",
        },
        subject="110169484474386276334",
        near={
            "another app's client": ({"aud": "999-other.apps.googleusercontent.com"}, "aud"),
            "a personal account": ({"hd": None}, "hd"),
            "another domain": ({"hd": "other.example"}, "hd"),
            "another issuer": ({"iss": "https://securetoken.google.com/chat-1a2b3"}, "iss"),
        },
    ),
    "authentik": Shape(
        settings={"issuer": "https://id.example/application/o/chat/", "audience": "kR3xClientIdOfTheChat"},
        claims={
            **TIMES,
            "iss": "https://id.example/application/o/chat/",
            "sub": "9c1185a5c5e9fc54612808977ee8f548b2258d31a3f1e0d1c2b3a4f5e6d7c8b9",
            "aud": "kR3xClientIdOfTheChat",
            "auth_time": NOW - 60,
            "acr": "goauthentik.io/providers/oauth2/default",
            "amr": ["pwd"],
            "sid": "5f4e3d2c1b0a",
            "email": "ada@example.com",
            "email_verified": True,
            "preferred_username": "ada",
            "groups": ["moderators", "authentik Admins"],
            "azp": "kR3xClientIdOfTheChat",
            "uid": "q1W2e3R4t5Y6u7I8o9P0",
        },
        subject="9c1185a5c5e9fc54612808977ee8f548b2258d31a3f1e0d1c2b3a4f5e6d7c8b9",
        roles=("authentik Admins", "moderators"),
        session="5f4e3d2c1b0a",
        near={
            "an ID token": ({"uid": None, "azp": None, "nonce": "n"}, "uid"),
            "another application": ({"aud": "anotherClient", "azp": "anotherClient"}, "aud"),
            "another application's issuer": ({"iss": "https://id.example/application/o/other/"}, "iss"),
        },
    ),
    "flask-jwt-extended": Shape(
        settings={},
        claims={
            **TIMES,
            "fresh": False,
            "jti": "c7a1b2c3-d4e5-4f60-8a7b-9c0d1e2f3a4b",
            "type": "access",
            "sub": 7,
            "nbf": NOW,
            "csrf": "0f1e2d3c-4b5a-4697-8877-665544332211",
            "roles": ["moderator"],
        },
        subject="7",
        roles=("moderator",),
        near={
            "a refresh token": ({"type": "refresh"}, "type"),
            "no type": ({"type": None}, "type"),
            "another audience": ({"aud": "other"}, "aud"),
        },
        shared=True,
    ),
    "simplejwt": Shape(
        settings={},
        claims={
            **TIMES,
            "token_type": "access",
            "jti": "2b45ec59cb1e4da591f9f647cbb9f6a3",
            "user_id": 7,
        },
        subject="7",
        near={
            "a refresh token": ({"token_type": "refresh"}, "token_type"),
            "a sliding token": ({"token_type": "sliding", "refresh_exp": NOW + 9000}, "token_type"),
            "no user": ({"user_id": None, "sub": "7"}, "sub"),
            "another audience": ({"aud": "other"}, "aud"),
        },
        shared=True,
    ),
    "fastapi-users": Shape(
        settings={},
        claims={
            "sub": "4fd3477b-eccf-4ee3-8f7d-68ad72261476",
            "aud": ["fastapi-users:auth"],
            "exp": NOW + 600,
        },
        subject="4fd3477b-eccf-4ee3-8f7d-68ad72261476",
        near={
            "a token that resets a password": ({"aud": "fastapi-users:reset", "password_fgpt": "x"}, "aud"),
            "a token that verifies an address": ({"aud": "fastapi-users:verify", "email": "ada@example.com"}, "aud"),
            "the state of a login": ({"aud": "fastapi-users:oauth-state"}, "aud"),
            "no audience": ({"aud": None}, "aud"),
        },
        shared=True,
    ),
}
