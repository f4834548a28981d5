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
from roomkey.socketio import content_json

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
# Those of the synchronous server.
SYNC_SERVER_SEAMS = SERVER_SEAMS | {
    "_send_packet": ("eio_sid", "pkt"),
    "_send_eio_packet": ("eio_sid", "eio_pkt"),
    "_handle_event_internal": ("server", "sid", "eio_sid", "data", "namespace", "id"),
}
SYNC_ENGINE_SEAMS = {"_ok": ("packets", "headers", "jsonp_index")}
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
    return type(getattr(function, "__self__", None)).__name__ in ("InstrumentedAsyncServer", "InstrumentedServer")


# What a serializer must not override: the guard decides by what these read, and relies on what they write.
PACKET_FORMAT = ("__init__", "decode", "encode", "add_attachment")

# 4.8.0 and earlier do nothing when a WebSocket under ASGI is to be closed.
OLDEST_ENGINEIO = (4, 8, 1)


def check_settings(sio: Any, kind: Any, handshake: Handshake | None, *, names_origins: bool = False) -> None:
    """Reject settings with which the server would leak.

    Args:
        sio: the server.
        kind: its type.
        handshake: the sources of tokens.
        names_origins: the guard itself knows the origins whose cookies count.

    Raises:
        ConfigError: such a setting, or a server of another type.
    """
    if not isinstance(sio, kind):
        others = {socketio.Server: "Guard", socketio.AsyncServer: "AsyncGuard"}
        fixes = (f"use roomkey.socketio.{guard}" for of, guard in others.items() if isinstance(sio, of))
        raise ConfigError(
            f"cannot attach the guard: it requires socketio.{kind.__name__}, not {type(sio).__name__}; "
            f"{next(fixes, 'pass the Socket.IO server')}"
        )
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
    _check_format(sio)
    if handshake is not None and handshake.is_ambient and not names_origins and allows_everybody(sio):
        raise ConfigError(
            "cannot attach the guard: it accepts cookies and the server allows every origin, so any web page could "
            "connect as its visitor; list the allowed origins in cors_allowed_origins or, if a framework creates the "
            "server, write guard.attach(sio, allowed_origins=['https://app.example']), or [] for its own pages only"
        )


def allows_everybody(sio: Any) -> bool:
    """Return True if the server accepts requests from web pages of every origin."""
    origins = sio.eio.cors_allowed_origins
    return origins in ("*", []) or (isinstance(origins, (list, tuple, set)) and "*" in origins)


def packet_json(sio: Any) -> Any:
    """Return the strict JSON module for a server's packets, around the server's own one if that is not the default."""
    module = sio.packet_class.json
    return content_json if module is engineio.json else content_json.CheckedJson(module)


def _check_format(sio: Any) -> None:
    """Reject packets that the guard could not check.

    Raises:
        ConfigError: a serializer with another format, or a JSON module that does not read or write JSON.
    """
    packet_class = sio.packet_class
    if not issubclass(packet_class, packet.Packet) or any(
        getattr(packet_class, name) is not getattr(packet.Packet, name) for name in PACKET_FORMAT
    ):
        raise ConfigError(
            f"cannot attach the guard: it reads only the packets of Socket.IO's own format, not those of "
            f"{packet_class.__name__}; create the server without serializer"
        )
    try:
        module = packet_json(sio)
        works = module.loads(module.dumps([{"a": 1}], separators=(",", ":"))) == [{"a": 1}]
    except Exception:  # whatever a JSON module of the application raises
        works = False
    if not works:
        raise ConfigError(
            "cannot attach the guard: the server's JSON module must read and write text as the module json does, also "
            "with separators=(',', ':'); create the server without json"
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
