"""URLs that secrets may be sent to."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def is_confidential(url: str) -> bool:
    """True if nobody on the way can read what is sent there: https with a host, or http on this machine.

    Args:
        url: in full; one with a name or password in it is none.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port  # which raises where it is no number
    except ValueError:
        return False
    if not host or "@" in parts.netloc:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_this_machine(host))


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
