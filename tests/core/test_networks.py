"""Network addresses are grouped by client."""

from __future__ import annotations

import pytest

from roomkey.core.networks import network_of


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:DB8::1", "2001:db8::"),
        ("fe80::1%eth0", "fe80::"),
        ("unknown", "unknown"),
        ("", ""),
    ],
)
def test_network_of_groups_the_addresses_of_one_client(address, network):
    assert network_of(address) == network
