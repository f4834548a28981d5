"""What the hub and ``roomkey serve`` rely on in picows and uvicorn, checked before they listen."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from picows import picows
from uvicorn import Config, Server
from uvicorn.protocols.http import httptools_impl

from roomkey.errors import ConfigError

UVICORN, PICOWS = "0.46 to 0.54", "2.3"
"""The versions that are tested, as pyproject.toml has them."""

# By class, the methods that a class of ours stands in the place of or calls, with their parameters.
HTTP_METHODS: Mapping[str, tuple[str, ...]] = {
    "connection_made": ("transport",),
    "connection_lost": ("exc",),
    "data_received": ("data",),
    "on_message_begin": (),
    "on_url": ("url",),
    "on_header": ("name", "value"),
    "on_headers_complete": (),
    "on_body": ("body",),
    "on_message_complete": (),
    "handle_websocket_upgrade": (),
    "send_400_response": ("msg",),
    "timeout_keep_alive_handler": (),
    "pause_writing": (),
    "resume_writing": (),
    "shutdown": (),
    "_should_upgrade": (),
    "_start_asgi_task": ("cycle", "app"),
    "_unset_keepalive_if_required": (),
}
HTTP_ATTRIBUTES = (
    *("connections", "cycle", "flow", "headers", "logger", "loop"),
    *("parser", "pipeline", "scope", "server_state", "transport"),
)
CYCLE_ATTRIBUTES = ("disconnected", "message_event", "more_body", "response_complete")
WEBSOCKET_METHODS: Mapping[str, tuple[str, ...]] = {
    "data_received": ("data",),
    "handle_ping": (),
    "handle_pong": ("event",),
    "handle_cont": ("event",),
    "handle_parser_exception": (),
    "send_receive_event_to_app": (),
}
SERVER_METHODS: Mapping[str, tuple[str, ...]] = {
    "startup": ("sockets",),
    "shutdown": ("sockets",),
    "capture_signals": (),
    "handle_exit": (),
}
PICOWS_NAMES: Mapping[str, tuple[str, ...]] = {
    "WSProtocol": (
        *("buffer_updated", "connection_lost", "connection_made", "eof_received"),
        *("get_buffer", "pause_writing", "resume_writing"),
    ),
    "WSTransport": (
        "close_handshake",
        "disconnect",
        "request",
        "send",
        "send_close",
        "send_pong",
        "underlying_transport",
    ),
    "WSFrame": ("fin", "get_payload_as_bytes", "msg_type", "payload_size", "rsv1", "rsv2", "rsv3", "tail_size"),
    "WSListener": ("on_ws_connected", "on_ws_disconnected", "on_ws_frame", "pause_writing", "resume_writing"),
}


@cache
def check_uvicorn() -> None:
    """Check the private interfaces of uvicorn that bound what clients may send.

    Raises:
        ConfigError: this version has others; the error names the versions that work.
    """
    http = httptools_impl.HttpToolsProtocol
    _check_methods("uvicorn", UVICORN, http, HTTP_METHODS)
    _check_set("uvicorn", UVICORN, http, HTTP_ATTRIBUTES)
    _check_set("uvicorn", UVICORN, httptools_impl.RequestResponseCycle, CYCLE_ATTRIBUTES)
    _check_methods("uvicorn", UVICORN, Server, SERVER_METHODS)
    _check_methods("uvicorn", UVICORN, Config, {"get_loop_factory": ()})
    try:
        from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
    except ImportError:  # the package websockets is not installed, and nothing speaks WebSocket but the hub itself
        return
    _check_methods("uvicorn", UVICORN, WebSocketsSansIOProtocol, WEBSOCKET_METHODS)


@cache
def check_picows() -> None:
    """Check the private interfaces of picows that the hub feeds with a connection that it has read from already.

    Raises:
        ConfigError: this version has others; the error names the versions that work.
    """
    if not _installed("picows").startswith(f"{PICOWS}."):  # the constructor of WSProtocol does not tell its arguments
        raise _wrong("picows", PICOWS, "WSProtocol")
    for name, members in PICOWS_NAMES.items():
        owner = getattr(picows, name, None)
        for member in members:
            if not hasattr(owner, member):
                raise _wrong("picows", PICOWS, f"{name}.{member}")


def _check_methods(package: str, supported: str, owner: type, methods: Mapping[str, tuple[str, ...]]) -> None:
    for name, wanted in methods.items():
        found = getattr(owner, name, None)
        parameters = tuple(inspect.signature(found).parameters)[1:] if callable(found) else None
        if parameters is None or parameters[: len(wanted)] != wanted:
            raise _wrong(package, supported, f"{owner.__name__}.{name}({', '.join(wanted)})")


def _check_set(package: str, supported: str, owner: Any, attributes: Iterable[str]) -> None:
    """Check that the constructor sets these attributes: a class that has them in its instances alone tells no more."""
    names = owner.__init__.__code__.co_names
    for name in attributes:
        if name not in names:
            raise _wrong(package, supported, f"{owner.__name__}.{name}")


def _wrong(package: str, supported: str, missing: str) -> ConfigError:
    return ConfigError(
        f"{package} {_installed(package)} is not supported: {missing} is missing or different, so roomkey cannot limit "
        f"what clients send; install {package} {supported}"
    )


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(of an unknown version)"
