"""The login server: accounts, passwords, logins that are refreshed and ended, and the HTTP routes for them.

::

    logins = Logins(SqlAccounts("roomkey.sqlite3"), SqlSessions("roomkey.sqlite3"), issuer, guard)
    app.include_router(router(logins))
"""

from __future__ import annotations

from roomkey.extras import needs

with needs("server", "roomkey.auth"):
    import argon2  # noqa: F401
    import fastapi  # noqa: F401
    import sqlalchemy  # noqa: F401

from roomkey.auth.cookies import Cookies
from roomkey.auth.logins import LoginService
from roomkey.auth.passwords import Passwords
from roomkey.auth.router import router
from roomkey.auth.tickets import Tickets, TicketVerifier
from roomkey.auth.token_authority import StandaloneAuthority, TokenAuthority

__all__ = [
    "Cookies",
    "LoginService",
    "Passwords",
    "StandaloneAuthority",
    "TicketVerifier",
    "Tickets",
    "TokenAuthority",
    "router",
]
