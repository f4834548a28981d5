"""Which names an event from a client can have."""

from __future__ import annotations

from roomkey.core.claims import is_name
from roomkey.errors import ConfigError

AUTHENTICATE = "authenticate"
ANY_EVENT = "*"
# Names that Socket.IO's own clients and servers fire themselves, and the name of catch-all handlers, whose arguments
# would shift by one; from the wire they are an attack.
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
    ANY_EVENT: "; leave the event out to cover every event",
}


def is_event_name(name: object) -> bool:
    """Return True for a name that a client may send."""
    return is_name(name) and name not in RESERVED_EVENTS


def check_event(name: object) -> None:
    """Check that a rule about an event can ever be asked.

    Raises:
        ConfigError: the event never reaches a rule.
    """
    if name == AUTHENTICATE or not is_event_name(name):
        remedy = _REMEDIES.get(name, "") if isinstance(name, str) else ""
        raise ConfigError(f"a rule for the event {name!r} has no effect{remedy}")
