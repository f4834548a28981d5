"""Connections to Redis or Valkey, without the retries that would repeat a write."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from roomkey.errors import ConfigError
from roomkey.extras import needs

with needs("redis", "roomkey.bus.RedisBus"):
    from redis.asyncio.connection import AbstractConnection, ConnectionPool
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import ConnectionError as LostConnection
    from redis.exceptions import RedisError, ResponseError

__all__ = [
    "AbstractConnection",
    "Connections",
    "LostConnection",
    "RedisError",
    "ResponseError",
    "UnsuitableServer",
    "call",
    "hint",
    "pack",
    "reason",
    "send",
    "text_of",
]

CONNECT_SECONDS = 1.0


class UnsuitableServer(LostConnection):
    """Raised for a server whose settings do not permit its use. Its text is for operators."""


_CLUSTER = re.compile(r"(rediss?)\+cluster://")
_CODE = re.compile(r"[A-Z]{3,20}\b")


class Connections:
    """Opens connections to the servers of one URL.

    Args:
        url: ``redis://``, ``rediss://`` (TLS) or ``unix://``, with user name and password if needed, and options of
            redis-py such as ``?ssl_ca_certs=ca.pem``. For a cluster, ``redis+cluster://`` or ``rediss+cluster://`` with
            the address of any of its servers.
        name: what CLIENT LIST shows.

    Attributes:
        is_cluster: True if the URL says that it is a cluster.

    Raises:
        ConfigError: the URL is not valid.
    """

    def __init__(self, url: str, *, name: str) -> None:
        self.is_cluster = _CLUSTER.match(url) is not None
        try:
            pool = ConnectionPool.from_url(_CLUSTER.sub(r"\1://", url, count=1))
        except (ValueError, TypeError):  # the text of the error may contain the URL with its password
            raise ConfigError(
                "invalid Redis URL; use one like redis://user:password@host:6379/0, with percent codes for special "
                "characters in the password"
            ) from None
        # A retry would repeat a PUBLISH or XADD that was carried out. Timeouts are the callers', because those of
        # redis-py also end a call whose answer has arrived while the event loop was busy.
        ours: dict[str, Any] = {
            "protocol": 2,
            "decode_responses": False,
            "socket_timeout": None,
            "socket_connect_timeout": CONNECT_SECONDS,
            "socket_keepalive": True,
            "health_check_interval": 0,
            "retry_on_timeout": False,
            "retry_on_error": [],
            "client_name": name,
        }
        if "path" in pool.connection_kwargs:  # a Unix socket
            del ours["socket_keepalive"]
        self._class = pool.connection_class
        self._settings = {**pool.connection_kwargs, **ours}
        self._settings.pop("max_connections", None)

    def __repr__(self) -> str:
        return f"Connections({self._class.__name__})"

    @property
    def host(self) -> str:
        """Return the host of the URL."""
        return str(self._settings.get("host", "localhost"))

    async def open(self, host: str | None = None, port: int | None = None) -> AbstractConnection:
        """Open a connection.

        Args:
            host: another server of the cluster.
            port: its port.

        Raises:
            RedisError: the server cannot be reached, or refuses the login.
        """
        other = {} if host is None else {"host": host, "port": port}
        retry = Retry(NoBackoff(), 0)
        connection = self._class(**{**self._settings, **other, "retry": retry})
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
        except BaseException:  # also if it is canceled: nobody else would close it
            await connection.disconnect(nowait=True)
            raise
        return connection


def pack(*words: str | bytes) -> bytes:
    """Return the bytes of a command."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        raw = word.encode() if isinstance(word, str) else word
        parts += (b"$%d\r\n" % len(raw), raw, b"\r\n")
    return b"".join(parts)


async def send(connection: AbstractConnection, commands: Iterable[bytes]) -> None:
    """Send packed commands.

    Raises:
        LostConnection: the connection is lost. (redis-py would open another one, which has no subscriptions.)
    """
    if not connection.is_connected:
        raise LostConnection("the connection is closed")
    await connection.send_packed_command(commands, check_health=False)


async def call(connection: AbstractConnection, *words: str | bytes) -> Any:
    """Send a command and return its answer.

    Raises:
        RedisError: the answer is an error, or the connection is lost.
    """
    await send(connection, [pack(*words)])
    return await connection.read_response(disable_decoding=True)


def reason(error: BaseException) -> str:
    """Return why a server failed, without any text that may have come from a URL or a client."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, UnsuitableServer):
        return str(error)
    code = _CODE.match(str(error)) if isinstance(error, ResponseError) else None
    return code[0] if code is not None else type(error).__name__


_HINTS = {
    "ConnectionError": "start Redis, or correct its URL",
    **dict.fromkeys(("AuthenticationError", "NOAUTH", "WRONGPASS"), "correct the user and password in its URL"),
    **dict.fromkeys(("NoPermissionError", "NOPERM"), "give the user the permissions of a node (ACL SETUSER)"),
}


def hint(why: str) -> str:
    """Return what an operator can do about a :func:`reason`, to be appended to a text; empty if it is not known."""
    return f"; {_HINTS[why]}" if why in _HINTS else ""


def text_of(value: Any) -> str:
    """Return an answer as text."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
