"""Everything that depends on picows' private interface: its protocol class, its logger, and how it sees a transport.

picows offers no way to continue a connection whose request was already read. :func:`check_picows` checks at startup
that the installed version is one that works.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from typing import Any, Protocol

from picows import WSAutoPingStrategy, WSListener, WSUpgradeResponse, WSUpgradeResponseWithListener, picows
from picows.picows import WSProtocol  # type: ignore[attr-defined]  # its stub leaves it out

from roomkey.hub.private_interfaces import installed, unsupported

SUPPORTED = "2.3"
"""The versions that are tested, as pyproject.toml has them."""

NAMES: Mapping[str, tuple[str, ...]] = {
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
"""By class, the members that the hub uses."""

READ_BUFFER = 2048
"""Bytes of the buffer that picows reads into at first; it grows with what arrives."""

SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: "
# picows reads a request again; this one has only the headers that it looks at.
_REQUEST = b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"


@cache
def check_picows() -> None:
    """Check the private interface of picows that the hub relies on.

    Raises:
        ConfigError: this version has a different one; the error names the versions that work.
    """
    if not installed("picows").startswith(f"{SUPPORTED}."):  # the constructor of WSProtocol does not tell its arguments
        raise unsupported("picows", SUPPORTED, "WSProtocol")
    for name, members in NAMES.items():
        owner = getattr(picows, name, None)
        for member in members:
            if not hasattr(owner, member):
                raise unsupported("picows", SUPPORTED, f"{name}.{member}")


class RefusalListener(Protocol):
    """Receives what picows reports only to its log."""

    def frame_refused(self) -> None:
        """Handle a frame that picows refused."""

    def listener_failed(self) -> None:
        """Handle an exception that a listener raised."""


def make_protocol(
    transport: asyncio.Transport, listener: WSListener, errors: RefusalListener, first: bytes, max_payload: int
) -> WSProtocol:
    """Return picows' protocol for a connection whose request was read and accepted.

    Args:
        transport: the connection.
        listener: receives the frames.
        errors: receives the errors that picows only logs.
        first: the frame that the client gets together with the response, in one write.
        max_payload: largest frame, in bytes.
    """
    response = WSUpgradeResponseWithListener(SwitchingResponse(first), listener)
    protocol = WSProtocol(
        *(None, None, False, lambda request: response, RefusalLog(errors), True, None),
        *(False, 20, 20, WSAutoPingStrategy.PING_WHEN_IDLE, False),  # Engine.IO has a heartbeat of its own
        *(max_payload, None, READ_BUFFER),
    )
    protocol.connection_made(QuietTransport(transport))
    return protocol


def start(protocol: WSProtocol, key: str, rest: bytes) -> None:
    """Let picows respond to the handshake, and read what has arrived after the request.

    Args:
        key: ``Sec-WebSocket-Key``.
        rest: the bytes after the request.
    """
    data = b"%bSec-WebSocket-Key: %b\r\n\r\n%b" % (_REQUEST, key.encode("latin-1"), rest)
    while data:
        buffer = protocol.get_buffer(len(data))
        part = data[: len(buffer)]
        buffer[: len(part)] = part
        protocol.buffer_updated(len(part))
        data = data[len(part) :]


class SwitchingResponse(WSUpgradeResponse):
    """The response to a handshake (RFC 6455 section 4.2.2), together with the first frame.

    picows keeps it for as long as the connection is open, so it holds no more than it must.

    Args:
        first: the frame that follows the response in the same write.
    """

    __slots__ = ("_first",)

    def __init__(self, first: bytes) -> None:
        self.status = HTTPStatus.SWITCHING_PROTOCOLS
        self.headers: dict[str, str] = {}  # type: ignore[assignment]
        self._first = first

    def to_bytes(self) -> bytearray:
        accept = self.headers.pop("Sec-WebSocket-Accept").encode()
        first, self._first = self._first, b""
        return bytearray(b"%b%b\r\n\r\n%b" % (SWITCHING, accept, first))


class QuietTransport:
    """A transport that answers picows' questions about its socket from memory.

    To write one line to its log, picows asks the operating system eleven questions about each connection, and it sets
    options that the event loop has already set. That takes longer than reading the request.
    """

    __slots__ = ("_fileno", "_plain", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._plain = transport.get_extra_info("ssl_object") is None
        self._fileno: int = transport.get_extra_info("socket").fileno()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def writelines(self, parts: list[bytes]) -> None:
        """Write in one piece: in Python 3.12 and 3.13, asyncio does not check its limit in ``writelines``."""
        self._transport.write(b"".join(parts))

    def write(self, data: bytes) -> None:
        """Write immediately what the system accepts, as picows does for frames: uvloop would queue it first."""
        transport = self._transport
        if self._plain and not transport.get_write_buffer_size() and not transport.is_closing():
            with contextlib.suppress(OSError):  # the transport meets the same error and handles it
                data = data[os.write(self._fileno, data) :]
            if not data:
                return
        transport.write(data)

    def get_extra_info(self, name: str, default: object = None) -> Any:
        if name == "socket":
            return self
        if name == "ssl_object":
            return self._transport.get_extra_info(name, default)
        return default

    # The methods of a socket that picows calls.

    def fileno(self) -> int:
        return self._fileno

    def setsockopt(self, level: int, option: int, value: int) -> None:
        # uvloop has set it; asyncio does so only if the socket names its protocol.
        if option == socket.TCP_NODELAY and not type(self._transport).__module__.startswith("uvloop"):
            self._transport.get_extra_info("socket").setsockopt(level, option, value)

    def getsockopt(self, *_option: object) -> int:
        return 0


class RefusalLog:
    """picows' logger. It writes nothing, but learns of refused frames, which picows reports only to its log."""

    __slots__ = ("_errors",)

    def __init__(self, errors: RefusalListener) -> None:
        self._errors = errors

    def isEnabledFor(self, _level: int) -> bool:
        return False

    def debug(self, *_message: object) -> None: ...

    info = warning = log = debug

    def error(self, *_message: object) -> None:
        self._errors.frame_refused()

    def exception(self, *_message: object) -> None:
        self._errors.listener_failed()
