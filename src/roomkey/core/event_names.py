"""Names of events that clients can send."""

from __future__ import annotations

from roomkey.core.claims import is_name
from roomkey.errors import ConfigError

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


def is_event_name(name: object) -> bool:
    """Return True if clients can send an event of this name."""
    return is_name(name) and name not in RESERVED_EVENTS


def check_event(name: object) -> None:
    """Check that rules apply to an event.

    Raises:
        ConfigError: a rule for this event would have no effect.
    """
    if name == AUTHENTICATE or not is_event_name(name):
        remedy = _REMEDIES.get(name, "") if isinstance(name, str) else ""
        raise ConfigError(f"a rule for the event {name!r} has no effect{remedy}")
