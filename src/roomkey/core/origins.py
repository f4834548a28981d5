"""Web origins (RFC 6454): scheme, host and port."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import NamedTuple

from roomkey.errors import ConfigError

DEFAULT_PORTS = {"http": 80, "https": 443}
MAX_ORIGIN = 300
"""The longest origin in characters: a scheme, the longest host name (RFC 1035 section 2.3.4) and a port."""

_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]{0,31})://(\[[0-9a-f:.]+\]|[^\s:/?#@\[\]\\]+)(?::([0-9]{1,5}))?", re.IGNORECASE)
_HOST = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.(?!-)[a-z0-9_-]{1,63})*\.?")
# Browsers keep these letters, but Python's older rules replace them, which results in another host.
_DEVIATIONS = frozenset("\u00df\u03c2\u200c\u200d")


class Origin(NamedTuple):
    """A web origin.

    Attributes:
        scheme: in lower case.
        host: in lower case and ASCII; an IPv6 address is in brackets.
        port: None if the origin has no port and its scheme has no default port.
    """

    scheme: str
    host: str
    port: int | None

    def __str__(self) -> str:
        """Return the form that browsers send (RFC 6454 section 6.2)."""
        usual = self.port is None or self.port == DEFAULT_PORTS.get(self.scheme)
        return f"{self.scheme}://{self.host}" + ("" if usual else f":{self.port}")


def origin_of(text: str | None) -> Origin | None:
    """Parse an ``Origin`` header; return None if it is not a single origin with a host, such as ``null``."""
    if not text or len(text) > MAX_ORIGIN or not text.isascii():
        return None
    try:
        return _parse(text)
    except ValueError:
        return None


def own_origin(scheme: str, host: str | None) -> Origin | None:
    """Return the server's own origin, or None if the request has no valid host.

    Args:
        scheme: ``http`` or ``https``.
        host: the ``Host`` header of the request.
    """
    return origin_of(f"{scheme}://{host}") if host else None


def allowed_origins(listed: Iterable[str], schemes: Iterable[str] | None = None) -> frozenset[Origin]:
    """Parse the origins of a setting.

    Args:
        listed: origins such as ``https://app.example``; internationalized host names can be in Unicode.
        schemes: the accepted schemes. Default: all schemes that web pages can have.

    Raises:
        ConfigError: a browser cannot send one of the origins.
    """
    return frozenset(_configured(text, schemes) for text in listed)


def _configured(text: object, schemes: Iterable[str] | None) -> Origin:
    remedy = "write scheme and host, such as https://app.example"
    if not isinstance(text, str):
        raise ConfigError(f"{text!r} is not an origin; {remedy}")
    try:
        origin = _parse(text)
    except ValueError as error:
        raise ConfigError(f"{text[:100]!r} is not an origin: {error}; {remedy}") from None
    if schemes is not None and origin.scheme not in schemes:
        raise ConfigError(f"{text!r} is not an origin with the scheme {' or '.join(schemes)}; {remedy}")
    if origin.scheme in ("ws", "wss", "file", "data", "blob"):
        raise ConfigError(f"{text!r} is not an origin: web pages do not have this scheme; {remedy}")
    return origin


def _parse(text: str) -> Origin:
    """Parse an origin.

    Raises:
        ValueError: the text is not an origin; the error has the reason.
    """
    if "*" in text:
        raise ValueError("wildcards have no effect, so list each host")
    found = _ORIGIN.fullmatch(text)
    if found is None:
        raise ValueError(_problem(text))
    scheme, digits = found[1].lower(), found[3]
    host = _host(found[2]) if scheme in DEFAULT_PORTS else found[2]  # other schemes have other rules for names
    port = DEFAULT_PORTS.get(scheme) if digits is None else int(digits)
    if port is not None and not 0 < port < 65536:
        raise ValueError("the port is not between 1 and 65535")
    return Origin(scheme, host, port)


def _problem(text: str) -> str:
    """Return why a text is not an origin."""
    if text.strip() != text:
        return "it begins or ends with white space or a line break"
    if "://" not in text:
        return "it has no scheme"
    return "it has more than a scheme, a host and a port" if text.count("/") > 2 else "it has no valid host or port"


def _host(host: str) -> str:
    if host.startswith("["):
        return f"[{ipaddress.IPv6Address(host[1:-1]).compressed}]"
    if not host.isascii():
        if not _DEVIATIONS.isdisjoint(host):
            raise ValueError("write this name in its ASCII form (xn--…)")
        host = host.encode("idna").decode()
    host = host.lower()
    if len(host) > 254 or _HOST.fullmatch(host) is None:
        raise ValueError("it has no valid host")
    if host.rstrip(".").rpartition(".")[2].isdigit():
        return str(ipaddress.IPv4Address(host))  # browsers write addresses in full
    return host
