"""The wire contract: the events between the guard and a client, and the errors that a client can receive.

Every host sends and receives exactly these names and shapes. Clients of any language depend on them, so a change here
is a change of the product: tests compare this module with ``docs/clients.md`` and with the page of ``roomkey serve``.

The errors are the classes of :mod:`roomkey.errors`, which own their codes, reasons and texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from roomkey import errors
from roomkey.core.names import AUTHENTICATE
from roomkey.errors import AuthError, PermissionDenied

__all__ = [
    "AUTHENTICATE",
    "AUTHENTICATED",
    "DECLINED",
    "ERROR",
    "ERRORS",
    "EVENTS_FROM_CLIENT",
    "EVENTS_TO_CLIENT",
    "GUARD_EVENTS",
    "INVALID_NAMESPACE",
    "JOIN_ROOM",
    "LEAVE_ROOM",
    "PERMISSIONS_CHANGED",
    "REAUTHENTICATE",
    "TOKEN_EXPIRING",
    "UNAUTHORIZED",
    "ErrorShape",
    "accepted",
    "rejected",
    "unauthorized",
]

JOIN_ROOM = "join-room"
LEAVE_ROOM = "leave-room"

EVENTS_FROM_CLIENT = frozenset({AUTHENTICATE, JOIN_ROOM, LEAVE_ROOM})
"""What a client sends to the guard. An application can add its own names with ``relay``."""

AUTHENTICATED = "authenticated"
UNAUTHORIZED = "unauthorized"
TOKEN_EXPIRING = "token_expiring"  # noqa: S105
PERMISSIONS_CHANGED = "permissions_changed"
REAUTHENTICATE = "reauthenticate"
ERROR = "error"

EVENTS_TO_CLIENT: dict[str, tuple[str, ...]] = {
    AUTHENTICATED: ("expires_in",),
    UNAUTHORIZED: ("message", "inner", "data"),
    TOKEN_EXPIRING: ("expires_in",),
    PERMISSIONS_CHANGED: ("left",),
    REAUTHENTICATE: ("event", "max_age"),
    ERROR: ("message", "code"),
}
"""What the guard sends by itself: each event's name, and the keys of its argument that a client relies on."""

GUARD_EVENTS = EVENTS_FROM_CLIENT | EVENTS_TO_CLIENT.keys()
"""Every event name that has a meaning of its own."""

DECLINED, INVALID_NAMESPACE = PermissionDenied.DECLINED, PermissionDenied.INVALID_NAMESPACE
"""The messages of a CONNECT_ERROR that does not concern the token: the connect handler refused without a message of
its own, or the server does not serve the namespace."""


@dataclass(frozen=True, slots=True)
class ErrorShape:
    """One kind of error, as a client receives it.

    Attributes:
        code: the stable code.
        reason: a more specific code, or None.
        texts: every ``message`` that it can have; ``…`` is a variable part, such as a claim's name.
        retry: True if the client should get a new token and connect again.
    """

    code: str
    reason: str | None
    texts: tuple[str, ...]
    retry: bool


def _shapes() -> tuple[ErrorShape, ...]:
    """Read the table from the error classes, except those that are never sent."""
    merged: dict[tuple[str, str | None, bool], dict[str, None]] = {}
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, AuthError) and kind.sent_to_clients:
            texts = merged.setdefault((kind.code, kind.reason, kind.retry), {})
            texts |= dict.fromkeys((kind.text, *kind.other_texts))
    return tuple(ErrorShape(code, reason, tuple(texts), retry) for (code, reason, retry), texts in merged.items())


ERRORS = _shapes()
"""Every error that a client can receive, by code and reason."""


def unauthorized(error: AuthError) -> dict[str, object]:
    """Return the argument of ``unauthorized``, with the keys that each generation of client libraries reads."""
    return {"message": error.message, "inner": {"message": error.message}, "data": error.to_client()}


def accepted(told: Mapping[str, object] | None = None) -> dict[str, object]:
    """Return the acknowledgement of one of the guard's own events that succeeded, with what it returned."""
    return {"ok": True, **(told or {})}


def rejected(told: object) -> dict[str, object]:
    """Return the acknowledgement of an event that failed; ``told`` is what ``error.to_client()`` returned."""
    return {"ok": False, "error": told}
