"""Connections by the address that opened them."""

from __future__ import annotations

import pytest

from roomkey.core.credentials import Request
from roomkey.guard.registry import Connection, Registry


@pytest.mark.parametrize(
    ("opened", "asked", "counted"),
    [
        (["2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::3"], "2001:db8::4", 3),
        (["2001:db8::1", "2001:db8:0:1::1"], "2001:db8::1", 1),
        (["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"], "::ffff:c000:201", 2),
        (["fe80::1%eth0", "fe80::2%eth1"], "fe80::3", 2),
        (["unknown", "192.0.2.1"], "unknown", 1),
    ],
    ids=["one network", "two networks", "mapped IPv4", "with a zone", "not an address"],
)
def test_anonymous_connections_are_counted_by_network(opened, asked, counted):
    registry = Registry()
    connections = [Connection(str(number), address, Request()) for number, address in enumerate(opened)]
    for connection in connections:
        registry.open(connection)
    assert registry.anonymous_from(asked) == counted
    registry.admitted(connections[0])
    for connection in connections:
        registry.close(connection.connection_id)
    assert registry.anonymous_from(asked) == 0
    assert not registry._anonymous
