"""The login server: accounts, passwords, logins that are refreshed and ended, and the HTTP routes for them.

::

    logins = Logins(SqlAccounts("roomkey.sqlite3"), SqlSessions("roomkey.sqlite3"), issuer, guard)
    app.include_router(router(logins))
"""

from __future__ import annotations

try:
    import argon2  # noqa: F401
    import fastapi  # noqa: F401
except ImportError as missing:  # pragma: no cover - shown by a test in a bare environment
    raise ImportError("roomkey.auth needs its libraries: pip install 'roomkey[server]'") from missing

from roomkey.auth.cookies import Cookies
from roomkey.auth.live import Live, NoSockets
from roomkey.auth.logins import Logins
from roomkey.auth.passwords import Passwords
from roomkey.auth.router import router
from roomkey.auth.tickets import Tickets, TicketVerifier

__all__ = ["Cookies", "Live", "Logins", "NoSockets", "Passwords", "TicketVerifier", "Tickets", "router"]
