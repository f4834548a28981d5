"""Networks of client addresses, for limits per client."""

from __future__ import annotations

import ipaddress
from functools import lru_cache


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """Return the network under which to count the requests of an address.

    Args:
        address: the address of the peer, as the server reports it.

    Returns:
        An IPv4 address itself, even if it is written as IPv6 (RFC 4291 section 2.5.5.2). For other IPv6 addresses, the
        /64 network, because a customer has at least one of them (RFC 6177). Any other text unchanged.
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])  # without the zone of a link-local address
    except ValueError:
        return address
    mapped = getattr(found, "ipv4_mapped", None)  # how a dual-stack listener reports an IPv4 client
    if found.version == 4 or mapped is not None:
        return str(mapped or found)
    return str(ipaddress.ip_network((found, 64), strict=False).network_address)
