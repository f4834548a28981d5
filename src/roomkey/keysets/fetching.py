"""Requests to other servers: one at a time, bounded in time and size, without redirects, and over TLS.

httpcore is used directly, below httpx: it follows no redirects, reads no proxies and no ``.netrc`` from the
environment, decodes no compressed bodies, and its network can be replaced. So the whole request has one deadline: httpx
only limits each read, and a server that sends one byte a second is within every such limit.

The certificates are those of the system, or of ``SSL_CERT_FILE``. An ``https`` request goes through the proxy that
``HTTPS_PROXY`` names, if the server is not in ``NO_PROXY``; the proxy sees the host name only. An ``http`` request,
which can only be to this machine, never goes through a proxy.
"""

from __future__ import annotations

import ssl
import time
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from roomkey.core.urls import is_confidential
from roomkey.errors import ConfigError
from roomkey.extras import needs

with needs("remote", "roomkey.keysets.fetching"):
    import httpcore

__all__ = [
    "FETCH_SECONDS",
    "FetchError",
    "Request",
    "basic_authorization",
    "check_issuer",
    "check_timeout",
    "check_url",
    "fetch",
]

FETCH_SECONDS = 10.0
"""The longest time for one request. Looking up the host's name is part of it only as far as the system allows."""

_CHUNK = 65_536
_MAX_HEAD = 65_536
"""What a server may send around the body, in bytes. Without this limit, it could keep this process busy with interim
responses or with chunks of one byte for as long as the request lasts."""

STAND_INS: dict[str, httpcore.NetworkBackend] = {}
"""Networks in memory that stand in for single servers, by the origin of their URLs: for :mod:`roomkey.testing`."""


class FetchError(Exception):
    """Raised when another server does not answer as it must. The text is for the operator's log.

    Args:
        text: the text.
        status: the status of the response; None if there is none.
    """

    def __init__(self, text: str, status: int | None = None) -> None:
        self.status = status
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class Request:
    """A request.

    Attributes:
        url: the absolute URL.
        max_bytes: the longest accepted body.
        form: the body of a POST request; None sends a GET request.
        authorization: the header ``Authorization``, or None.
    """

    url: str
    max_bytes: int
    form: bytes | None = field(default=None, repr=False)
    authorization: str | None = field(default=None, repr=False)


def check_url(url: object, what: str) -> str:
    """Check a URL to which requests are sent.

    Raises:
        ConfigError: not an https URL, nor an http URL of this machine.
    """
    if not isinstance(url, str) or not is_confidential(url) or "#" in url or not url.isascii() or not url.isprintable():
        raise ConfigError(
            f"{what} must be an https:// URL without a password; http:// is accepted for this machine only"
        )
    return url


def check_issuer(issuer: object) -> str:
    """Check the issuer whose discovery document is fetched.

    Raises:
        ConfigError: as for :func:`check_url`, or the URL of the document instead of the issuer.
    """
    url = check_url(issuer, "the issuer")
    before, document, _ = url.partition("/.well-known/")
    if document:
        raise ConfigError(f"the issuer must not be the URL of its discovery document; use {before!r}")
    return url


def check_timeout(seconds: object) -> float:
    """Check the setting ``fetch_timeout``.

    Raises:
        ConfigError: not a number of seconds, or longer than a fetch takes.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds <= FETCH_SECONDS:
        raise ConfigError(f"fetch_timeout must be more than 0 and at most {FETCH_SECONDS:g} seconds")
    return float(seconds)


def fetch(request: Request, seconds: float = FETCH_SECONDS) -> bytes:
    """Send a request, and return the body of the response.

    Raises:
        FetchError: the server did not respond in time, not with the status 200, or with a body that is too long.
    """
    limits = _Limits(time.monotonic() + seconds, _MAX_HEAD)
    method = "GET" if request.form is None else "POST"
    try:
        with (
            _pool(request.url, limits) as pool,
            pool.stream(method, request.url, headers=_headers(request), content=request.form) as response,
        ):
            _check_status(response.status)
            limits.bytes += request.max_bytes
            return _body(response, request.max_bytes)
    except FetchError:
        raise
    except httpcore.TimeoutException:
        raise FetchError(f"no complete response within {seconds:g} s") from None
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.ProxyError, OSError) as error:
        raise FetchError(f"{type(error).__name__}: {ascii(str(error))[1:-1][:120]}") from None


def _headers(request: Request) -> list[tuple[bytes | str, bytes | str]]:
    headers: list[tuple[bytes | str, bytes | str]] = [
        ("Host", urlsplit(request.url).netloc),
        ("Accept", "application/json"),
        ("User-Agent", "roomkey"),
    ]
    if request.form is not None:
        headers.append(("Content-Type", "application/x-www-form-urlencoded"))
        headers.append(("Content-Length", str(len(request.form))))
    if request.authorization is not None:
        headers.append(("Authorization", request.authorization))
    return headers


def _pool(url: str, limits: _Limits) -> httpcore.ConnectionPool:
    parts = urlsplit(url)
    stand_in = STAND_INS.get(f"{parts.scheme}://{parts.netloc}")
    if stand_in is not None:
        nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # the usual one would read the certificates of the system
        return httpcore.ConnectionPool(ssl_context=nobody, network_backend=_LimitedBackend(limits, stand_in))
    context = _trusted(int(time.monotonic() // 3600)) if parts.scheme == "https" else None
    network = _LimitedBackend(limits, httpcore.SyncBackend())
    return httpcore.ConnectionPool(ssl_context=context, proxy=_proxy(url), network_backend=network)


@lru_cache(maxsize=1)  # reading the certificates takes 17 ms
def _trusted(hour: int) -> ssl.SSLContext:
    """Return the trusted certificates, as they were in this hour."""
    return ssl.create_default_context()


def _proxy(url: str) -> httpcore.Proxy | None:
    """Return the proxy for a URL, or None."""
    parts = urlsplit(url)
    named = getproxies_environment().get("https")
    if parts.scheme != "https" or named is None or proxy_bypass(parts.hostname or ""):
        return None
    proxy = urlsplit(named if "://" in named else f"http://{named}")
    port = f":{proxy.port}" if proxy.port else ""
    return httpcore.Proxy(
        f"{proxy.scheme}://{proxy.hostname}{port}",
        auth=(unquote(proxy.username), unquote(proxy.password or "")) if proxy.username else None,
    )


def _check_status(status: int) -> None:
    if 300 <= status < 400:
        raise FetchError(f"status {status}: roomkey follows no redirects; configure the final URL", status)
    if status != 200:
        raise FetchError(f"status {status}", status)


def _body(response: httpcore.Response, max_bytes: int) -> bytes:
    headers = {name.lower(): value for name, value in response.headers}
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise FetchError("a compressed response, which was not asked for")
    body = bytearray()
    for chunk in response.iter_stream():
        body += chunk
        if len(body) > max_bytes:
            raise FetchError(f"more than {max_bytes} bytes", response.status)
    return bytes(body)


@dataclass(slots=True)
class _Limits:
    """What is left for one request, on all its connections.

    Attributes:
        until: the time at which it ends.
        bytes: the number of bytes that may still be read.
    """

    until: float
    bytes: int

    def seconds(self, error: type[httpcore.TimeoutException]) -> float:
        """Return the seconds until the end; raise the error if there are none."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise error("the deadline has passed")
        return left


class _LimitedBackend(httpcore.NetworkBackend):
    """The network with one limit of time and one of bytes for everything."""

    def __init__(self, limits: _Limits, network: httpcore.NetworkBackend) -> None:
        self._limits = limits
        self._network = network

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect."""
        left = self._limits.seconds(httpcore.ConnectTimeout)
        return _LimitedStream(self._network.connect_tcp(host, port, left, local_address, socket_options), self._limits)


class _LimitedStream(httpcore.NetworkStream):
    """A connection with one limit of time and one of bytes for everything."""

    def __init__(self, stream: httpcore.NetworkStream, limits: _Limits) -> None:
        self._stream = stream
        self._limits = limits

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what has arrived."""
        limits = self._limits
        if limits.bytes <= 0:
            raise FetchError("too much around the body")
        data = self._stream.read(min(max_bytes, _CHUNK, limits.bytes), limits.seconds(httpcore.ReadTimeout))
        limits.bytes -= len(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write everything."""
        self._stream.write(buffer, self._limits.seconds(httpcore.WriteTimeout))

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """Encrypt the connection."""
        left = self._limits.seconds(httpcore.ConnectTimeout)
        return _LimitedStream(self._stream.start_tls(ssl_context, server_hostname, left), self._limits)

    def get_extra_info(self, info: str) -> Any:
        """Return what httpcore asks about the connection."""
        return self._stream.get_extra_info(info)


def basic_authorization(name: str, secret: str) -> str:
    """Return the header for a client's name and secret (RFC 6749 section 2.3.1)."""
    return "Basic " + b64encode(f"{quote(name, safe='')}:{quote(secret, safe='')}".encode()).decode()
