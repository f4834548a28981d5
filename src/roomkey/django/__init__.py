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

from importlib import import_module
from typing import TYPE_CHECKING, Any

from roomkey.extras import needs

with needs("django", "roomkey.django"):
    import django  # noqa: F401
    import socketio  # noqa: F401

if TYPE_CHECKING:
    from roomkey.django.connections import uses_database
    from roomkey.django.guards import AsyncGuard, Guard
    from roomkey.django.requests import IdentityMiddleware, requires
    from roomkey.django.tokens import issue_token, session_token

__all__ = [
    "AsyncGuard",
    "Guard",
    "IdentityMiddleware",
    "issue_token",
    "requires",
    "session_token",
    "uses_database",
]

_MODULES = {
    "AsyncGuard": "guards",
    "Guard": "guards",
    "IdentityMiddleware": "requests",
    "issue_token": "tokens",
    "requires": "requests",
    "session_token": "tokens",
    "uses_database": "connections",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: Django imports this package before its settings and models are ready."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
