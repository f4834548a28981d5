"""URLs to which secrets can be sent."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit


def is_confidential(url: str) -> bool:
    """Return True if data sent to a URL is confidential: https with a host, or http on this machine.

    Args:
        url: an absolute URL. The result is False if it contains a user name or a password.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port  # raises ValueError for an invalid port
    except ValueError:
        return False
    if not host or "@" in parts.netloc:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_this_machine(host))


def is_endpoint(url: object, issuer: str) -> bool:
    """Return True if a discovery document can name this URL as one of its issuer's.

    It must be confidential. Only an issuer on this machine can name ``http`` URLs: otherwise, another server could
    choose what this process requests from the services next to it.

    Args:
        url: the value in the document, of any type.
        issuer: the issuer, which is a URL for which :func:`is_confidential` is true.
    """
    if not isinstance(url, str) or not re.fullmatch('[!-"$-~]+', url) or not is_confidential(url):
        return False
    return urlsplit(url).scheme == "https" or urlsplit(issuer).scheme == "http"


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
