"""The listening socket of ``roomkey serve``."""

from __future__ import annotations

import errno
import socket

from roomkey.errors import ConfigError
from roomkey.server.settings import Settings

__all__ = ["BACKLOG", "listen", "shown_url"]

BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        ConfigError: the port is in use or not permitted, or the address does not belong to this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}: {error.strerror}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ConfigError(_listen_error(error, host, port)) from None
    return listener


def _listen_error(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        other = port + 1 if port < 65535 else 8000
        return f"port {port} is in use; choose another (--port {other}, make serve PORT={other}), or stop that program"
    if error.errno == errno.EACCES:
        return f"port {port} requires special permissions; choose another, such as --port 8000"
    return f"cannot listen on {host} port {port}: {error.strerror}"


def shown_url(settings: Settings, listener: socket.socket) -> str:
    """Return the server's URL, as it is printed."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{'https' if settings.has_tls else 'http'}://{host}:{listener.getsockname()[1]}"
