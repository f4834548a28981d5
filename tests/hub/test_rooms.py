"""Sockets by ID, by namespace and by room."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from roomkey.hub.rooms import Rooms
from roomkey.hub.socket import Socket


def member(rooms, sid, namespace="/", *entered):
    socket = Socket(SimpleNamespace(namespace=namespace), None, SimpleNamespace(new_sid=lambda: sid))
    rooms.add(socket)
    for room in entered:
        rooms.enter(socket, room)
    return socket


def sids(sockets):
    return sorted(socket.sid for socket in sockets)


@pytest.fixture
def rooms():
    found = Rooms()
    member(found, "ada", "/", "red", "blue")
    member(found, "bob", "/", "red")
    member(found, "eve", "/chat", "red")
    return found


@pytest.mark.parametrize(
    ("namespace", "room", "who"),
    [
        ("/", None, ["ada", "bob"]),
        ("/chat", None, ["eve"]),
        ("/none", None, []),
        ("/", "red", ["ada", "bob"]),
        ("/", "blue", ["ada"]),
        ("/chat", "red", ["eve"]),
        ("/chat", "blue", []),
        ("/", "ada", ["ada"]),
        ("/chat", "ada", []),
        ("/", "nobody", []),
        ("/", "", []),
    ],
)
def test_in_room_returns_the_sockets_of_a_room(rooms, namespace, room, who):
    assert sids(rooms.in_room(namespace, room)) == who


@pytest.mark.parametrize(
    ("names", "who"),
    [
        ([], []),
        (["red", "blue"], ["ada", "bob"]),
        (["blue", "bob", "eve"], ["ada", "bob"]),
        (["red"] * 2, ["ada", "bob"]),
    ],
)
def test_receivers_of_several_rooms_are_unique(rooms, names, who):
    assert sids(rooms.receivers("/", names, frozenset())) == who


@pytest.mark.parametrize(
    ("namespace", "found"), [(None, True), ("/", True), ("/chat", False), ("", False)], ids=repr
)  # fmt: skip
def test_get_finds_a_socket_in_its_namespace(rooms, namespace, found):
    assert (rooms.get("ada", namespace) is not None) is found
    assert rooms.get("nobody", namespace) is None


def test_enter_and_leave_are_idempotent(rooms):
    bob = rooms.get("bob")
    rooms.enter(bob, "red")
    rooms.leave(bob, "red")
    rooms.leave(bob, "red")
    rooms.leave(bob, "blue")
    assert sids(rooms.in_room("/", "red")) == ["ada"]
    assert sids(rooms.in_room("/", "blue")) == ["ada"]
    assert bob.rooms == set()


def test_remove_leaves_nothing_behind(rooms):
    for sid in ("ada", "bob", "eve"):
        rooms.remove(socket := rooms.get(sid))
        rooms.remove(socket)
        assert socket.rooms == set()
    assert not any(vars(rooms).values())


def test_room_named_like_a_socket_is_that_socket(rooms):
    rooms.enter(rooms.get("bob"), "ada")
    assert sids(rooms.in_room("/", "ada")) == ["ada"]
    assert sids(rooms.receivers("/", ["ada"], frozenset())) == ["ada"]


def test_sockets_without_rooms_stay_without_rooms(rooms):
    new, other = member(rooms, "new"), member(rooms, "other")
    rooms.leave(new, "red")
    rooms.enter(new, "green")
    assert (new.rooms, other.rooms) == ({"green"}, set())
    assert sids(rooms.in_room("/", "green")) == ["new"]
