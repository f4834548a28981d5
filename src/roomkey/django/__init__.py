"""roomkey for Django: guarded sockets, tokens in requests, and users who can be disconnected.

Add ``roomkey.django`` to ``INSTALLED_APPS``, write the settings in ``ROOMKEY``, and attach a guard::

    sio = socketio.AsyncServer(async_mode="asgi")   # or socketio.Server, with Guard
    guard = AsyncGuard()                            # the settings of ROOMKEY
    guard.attach(sio)

Further public modules, each with requirements of its own: :mod:`roomkey.django.rest_framework` (djangorestframework),
:mod:`roomkey.django.simplejwt` (djangorestframework-simplejwt) and :mod:`roomkey.django.accounts`
(``roomkey[server]``). The other modules are internal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkey.extras import imported_when_used, needs

with needs("django", "roomkey.django"):
    import django  # noqa: F401
    import socketio  # noqa: F401

if TYPE_CHECKING:
    from roomkey.django.connections import uses_database
    from roomkey.django.guards import AsyncGuard, Guard
    from roomkey.django.requests import IdentityMiddleware, requires
    from roomkey.django.tokens import issue_token, session_token
else:  # Django imports this package before its settings and models are ready
    __getattr__ = imported_when_used(
        __name__,
        AsyncGuard="guards",
        Guard="guards",
        IdentityMiddleware="requests",
        issue_token="tokens",  # noqa: S106 - a name
        requires="requests",
        session_token="tokens",  # noqa: S106 - a name
        uses_database="connections",
    )

__all__ = [
    "AsyncGuard",
    "Guard",
    "IdentityMiddleware",
    "issue_token",
    "requires",
    "session_token",
    "uses_database",
]
