"""The login server: passwords, login sessions with refresh tokens, tickets, OAuth 2.0, and their HTTP routes.

::

    stores = Stores.at("roomkey.sqlite3")
    logins = LoginService(stores.accounts, stores.sessions, issuer, guard)
    app.include_router(router(logins))

It requires ``roomkey[server]``; SQLAlchemy is not required if you implement the stores. The public names are those in
``__all__``. The modules of this package are internal.
"""

from __future__ import annotations

from roomkey.extras import needs

with needs("server", "roomkey.auth"):
    import argon2  # noqa: F401
    import fastapi  # noqa: F401
    import httpcore  # noqa: F401

from roomkey.auth.cookies import ACCESS_COOKIE, Cookies
from roomkey.auth.http import OAuthError
from roomkey.auth.issued_tokens import ClientInfo, InvalidGrant, InvalidScope, IssuedTokens, TokenTooLong
from roomkey.auth.jwks import jwks_router
from roomkey.auth.login_service import LoginService
from roomkey.auth.oauth import oauth_router
from roomkey.auth.passwords import Passwords
from roomkey.auth.providers.accounts import LinkedAccounts, ProviderAccounts, ProviderLogin
from roomkey.auth.providers.config import LoginProvider
from roomkey.auth.providers.routes import provider_router
from roomkey.auth.providers.site import LoginProviders
from roomkey.auth.revocation_journal import journal_router
from roomkey.auth.router import router
from roomkey.auth.throttle import Throttled
from roomkey.auth.tickets import Tickets, TicketVerifier
from roomkey.auth.token_authority import StandaloneAuthority, TokenAuthority

__all__ = [
    "ACCESS_COOKIE",
    "ClientInfo",
    "Cookies",
    "InvalidGrant",
    "InvalidScope",
    "IssuedTokens",
    "LinkedAccounts",
    "LoginProvider",
    "LoginProviders",
    "LoginService",
    "OAuthError",
    "Passwords",
    "ProviderAccounts",
    "ProviderLogin",
    "StandaloneAuthority",
    "Throttled",
    "TicketVerifier",
    "Tickets",
    "TokenAuthority",
    "TokenTooLong",
    "journal_router",
    "jwks_router",
    "oauth_router",
    "provider_router",
    "router",
]
