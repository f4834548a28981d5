"""The private interface of uvicorn that the hub and ``roomkey serve`` rely on, checked before they listen."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from uvicorn import Config, Server
from uvicorn.protocols.http import httptools_impl

from roomkey.hub.private_interfaces import check_attributes, check_methods

SUPPORTED = "0.46 to 0.54"
"""The versions that are tested, as pyproject.toml has them."""

# By class, the methods that roomkey overrides or calls, with their parameters.
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


@cache
def check_uvicorn() -> None:
    """Check the private interface of uvicorn on which the limits for clients depend.

    Raises:
        ConfigError: this version has a different one; the error names the versions that work.
    """
    http = httptools_impl.HttpToolsProtocol
    check_methods("uvicorn", SUPPORTED, http, HTTP_METHODS)
    check_attributes("uvicorn", SUPPORTED, http, HTTP_ATTRIBUTES)
    check_attributes("uvicorn", SUPPORTED, httptools_impl.RequestResponseCycle, CYCLE_ATTRIBUTES)
    check_methods("uvicorn", SUPPORTED, Server, SERVER_METHODS)
    check_attributes("uvicorn", SUPPORTED, Server, ("server_state",))
    check_methods("uvicorn", SUPPORTED, Config, {"get_loop_factory": ()})
    try:
        from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
    except ImportError:  # without the package websockets, only the hub itself accepts WebSockets
        return
    check_methods("uvicorn", SUPPORTED, WebSocketsSansIOProtocol, WEBSOCKET_METHODS)
