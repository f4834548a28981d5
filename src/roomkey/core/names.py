"""Names of users, events, namespaces, rooms, scopes and roles: their form, and those with a meaning of their own."""

from __future__ import annotations

import re
from unicodedata import is_normalized

from roomkey.core.characters import is_clean
from roomkey.errors import ConfigError

MAX_NAME = 255
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_SID = re.compile(r"[A-Za-z0-9_-]{20}(?:\.[A-Za-z0-9_-]{20})?")
# 15 random bytes in base64url, on every host; on a hub with a cluster, its sealed node follows.

OPERATOR = "roomkey:admin"
"""The scope, and the role of an account, that the admin API requires."""

DELEGATED = "delegated"
"""The claim of tokens that an OAuth client has for a user. Changed rights can narrow these tokens, never widen them."""

AUTHENTICATE = "authenticate"
ANY_EVENT = "*"
# Names that Socket.IO's clients and servers use themselves, and the name of catch-all handlers, which get another first
# argument. From a client, they are an attack.
RESERVED_EVENTS = frozenset(
    {
        "connect",
        "connect_error",
        "disconnect",
        "disconnecting",
        "newListener",
        "removeListener",
        "__disconnect_final",
        ANY_EVENT,
    }
)

_REMEDIES = {
    "connect": "; use a rule for the namespace instead",
    AUTHENTICATE: ": the guard handles this event itself",
    ANY_EVENT: "; omit the event to cover all events",
}


def is_name(value: object) -> bool:
    """Return True for a string of 1 to 255 code points, all of which :mod:`roomkey.core.characters` accepts."""
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME and is_clean(value)


def is_event_name(name: object) -> bool:
    """Return True if clients can send an event of this name: 1 to 255 code points without control characters.

    The check is less strict than for a name in a token: users' text may name an event.
    """
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or name in RESERVED_EVENTS:
        return False
    return name.isprintable() or _CONTROL.search(name) is None


def check_event(name: object) -> None:
    """Check that rules apply to an event.

    Raises:
        ConfigError: a rule for this event would have no effect.
    """
    if name == AUTHENTICATE or not is_event_name(name):
        remedy = _REMEDIES.get(name, "") if isinstance(name, str) else ""
        raise ConfigError(f"a rule for the event {name!r} has no effect{remedy}")


def is_namespace_name(name: object) -> bool:
    """Return True for a namespace that clients can connect to: in a packet, a comma or a query ends its name."""
    return isinstance(name, str) and name.startswith("/") and not set(name) & {",", "?"}


def is_room_name(room: object) -> bool:
    """Return True for a name (:func:`is_name`) in Unicode normal form C.

    The name must not have spaces at its ends. Otherwise one name in two spellings
    could be two rooms, and only one of them guarded.
    """
    return isinstance(room, str) and is_name(room) and room == room.strip() and is_normalized("NFC", room)


def looks_like_sid(room: str) -> bool:
    """Return True if the name looks like a socket ID: on another node, such a room receives that socket's messages."""
    return _SID.fullmatch(room) is not None


def scope_names(scope: str) -> tuple[str, ...]:
    """Return the names in a ``scope``, which only spaces separate (RFC 6749 section 3.3)."""
    return tuple(name for name in scope.split(" ") if name)


def is_reserved(name: str) -> bool:
    """Return True for scopes and roles that are about the server itself. No application can request them for a user."""
    return name.startswith("roomkey:")
