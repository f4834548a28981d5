"""Connections by the address that opened them, and sockets by whose they are."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from roomkey import Identity
from roomkey.guard.index import SocketIndex


@dataclass(eq=False)
class Connection:
    address: str
    anonymous: bool = True


@dataclass(eq=False)
class Socket:
    sid: str
    identity: Identity | None = None


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
    index = SocketIndex()
    connections = [Connection(address) for address in opened]
    for connection in connections:
        index.open(connection)
    assert index.anonymous_from(asked) == counted
    index.mark_admitted(connections[0])
    for connection in connections:
        index.close(connection)
    assert index.anonymous_from(asked) == 0
    assert not index._anonymous
    assert not index.connections


def who(subject, token_id=None, session_id=None):
    return Identity(subject, token_id=token_id, session_id=session_id)


@pytest.fixture
def index():
    """ada with two devices, one of them renewed, and eve."""
    made = SocketIndex()
    for sid, identity in [("a1", who("ada", "t1", "s1")), ("a2", who("ada", "t2", "s2")), ("e", who("eve", "t3"))]:
        made.sockets[sid] = socket = Socket(sid)
        made.identify(socket, identity)
    made.identify(made.sockets["a2"], who("ada", "t4", "s2"))
    return made


@pytest.mark.parametrize(
    ("kind", "name", "sids"),
    [
        ("subject", "ada", ["a1", "a2"]),
        ("subject", "eve", ["e"]),
        ("subject", "t1", []),
        ("session", "s2", ["a2"]),
        ("session", "s3", []),
        ("token", "t1", ["a1"]),
        ("token", "t2", []),
        ("token", "t4", ["a2"]),
    ],
)
def test_sockets_are_found_by_the_names_of_their_identity(index, kind, name, sids):
    assert sorted(socket.sid for socket in index.named(kind, name)) == sids


@pytest.mark.parametrize("order", [["a1", "a2", "e"], ["e", "a2", "a1"]])
def test_removed_sockets_leave_nothing_but_their_identity(index, order):
    for sid in order:
        socket = index.sockets[sid]
        index.remove(socket)
        index.remove(socket)
        assert socket.identity is not None
        assert socket not in index.named("subject", socket.identity.subject)
    assert not any(index._named.values())
    assert not list(index)


def test_iterating_the_index_allows_changes(index):
    for socket in index:
        index.remove(socket)
    assert not index.sockets
