"""The private names of python-socketio that the guard uses, and the settings that it rejects, checked at attach()."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import engineio.json
import socketio
from socketio import packet

from roomkey.core.credentials import Handshake
from roomkey.errors import ConfigError

# Every private name of the server and its manager, with the parameters that it must begin with: those that the guard
# replaces, and those that it calls.
SERVER_SEAMS = {
    "_trigger_event": ("event", "namespace"),
    "_handle_connect": ("eio_sid", "namespace", "data"),
    "_handle_disconnect": ("eio_sid", "namespace"),
    "_handle_event": ("eio_sid", "namespace", "id", "data"),
    "_handle_ack": ("eio_sid", "namespace", "id", "data"),
    "_handle_eio_connect": ("eio_sid", "environ"),
    "_handle_eio_message": ("eio_sid", "data"),
    "_handle_eio_disconnect": ("eio_sid",),
}
SERVER_CALLS = {
    "_send_packet": ("eio_sid", "pkt"),
    "_get_event_handler": ("event", "namespace", "args"),
    "_get_namespace_handler": ("namespace", "args"),
}
ENGINE_SEAMS = {"_make_response": ("response_dict", "environ")}
MANAGER_SEAMS = {
    "get_participants": ("namespace", "room"),
    "basic_close_room": ("room", "namespace"),
    "_generate_ack_id": ("sid", "callback"),
}
ROOM_SEAMS = {
    "enter_room": ("sid", "namespace", "room"),
    "basic_enter_room": ("sid", "namespace", "room"),
    "basic_leave_room": ("sid", "namespace", "room"),
}
NODE_SEAMS = {"_handle_enter_room": ("message",)}  # of a manager that hears of other nodes


def is_instrumented(function: Any) -> bool:
    """Return True for a function that ``sio.instrument()`` has installed."""
    return type(getattr(function, "__self__", None)).__name__ == "InstrumentedAsyncServer"


# 4.8.0 and earlier do nothing when a WebSocket under ASGI is to be closed.
OLDEST_ENGINEIO = (4, 8, 1)


def check_settings(sio: Any, handshake: Handshake | None) -> None:
    """Reject settings with which the server would leak.

    Raises:
        ConfigError: such a setting, or a server of another type.
    """
    if not isinstance(sio, socketio.AsyncServer):
        raise ConfigError(f"cannot attach the guard: it requires a socketio.AsyncServer, not a {type(sio).__name__}")
    installed = version("python-engineio")
    if tuple(int(part) for part in installed.split(".")[:3] if part.isdigit()) < OLDEST_ENGINEIO:
        raise ConfigError(
            f"python-engineio {installed} cannot close a WebSocket; run: pip install 'python-engineio>=4.8.1'"
        )
    if hasattr(sio, "roomkey_guard"):
        raise ConfigError("cannot attach the guard: this server already has one; create one guard per server")
    for event, handler in sio.eio.handlers.items():
        if getattr(handler, "__self__", None) is not sio and not is_instrumented(handler):
            raise ConfigError(
                f"cannot attach the guard: another handler is registered for engineio's {event}; "
                "attach the guard first, and then wrap its handler"
            )
    if sio.always_connect:
        raise ConfigError(
            "cannot attach the guard: with always_connect=True, the server replies before the token is verified, and "
            "refused JavaScript clients reconnect without end; remove always_connect"
        )
    if not issubclass(sio.packet_class, packet.Packet) or not sio.packet_class.uses_binary_events:
        raise ConfigError("cannot attach the guard: it reads only the default serializer; remove serializer")
    if sio.packet_class.json is not engineio.json and not _is_strict(sio.packet_class.json):
        raise ConfigError(
            "cannot attach the guard: the server's json module accepts NaN or Infinity, which disconnect every "
            "JavaScript client that receives them; remove json, and the guard sets a strict module"
        )
    origins = sio.eio.cors_allowed_origins
    anybody = origins in ("*", []) or (isinstance(origins, (list, tuple, set)) and "*" in origins)
    if handshake is not None and handshake.is_ambient and anybody:
        raise ConfigError(
            "cannot attach the guard: it accepts cookies and the server allows every origin, so any web page could "
            "connect as its visitor; list the allowed origins in cors_allowed_origins"
        )


def check_seams(owner: Any, seams: Mapping[str, tuple[str, ...]]) -> None:
    for name, wanted in seams.items():
        found = getattr(owner, name, None)
        parameters = tuple(inspect.signature(found).parameters) if callable(found) else ()
        if parameters[: len(wanted)] != wanted:
            raise ConfigError(
                "cannot attach the guard: this version of python-socketio does not have "
                f"{type(owner).__name__}.{name}({', '.join(wanted)}); install a supported version (5.11 to 5.18 are "
                "tested)"
            )


def _is_strict(module: Any) -> bool:
    for text in ("NaN", "[Infinity]", "1e400"):
        try:
            module.loads(text)
        except ValueError:
            continue
        return False
    return True
