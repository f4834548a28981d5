"""Network addresses, grouped into what one client has."""

from __future__ import annotations

import ipaddress
from functools import lru_cache


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """Return the name under which requests from an address are counted.

    Args:
        address: of the peer, as the server wrote it.

    Returns:
        An IPv4 address itself, also where it was written as IPv6 (RFC 4291, section 2.5.5.2); for other IPv6 addresses
        their /64 network, because one customer has at least that many (RFC 6177); any other text unchanged.
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])  # without the zone of a link-local address
    except ValueError:
        return address
    mapped = getattr(found, "ipv4_mapped", None)  # what a listener for both calls a client of IPv4
    if found.version == 4 or mapped is not None:
        return str(mapped or found)
    return str(ipaddress.ip_network((found, 64), strict=False).network_address)
