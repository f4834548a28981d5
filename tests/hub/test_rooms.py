"""The tables of who is where."""

from __future__ import annotations

import pytest

from roomkey.core.admission import Admission
from roomkey.hub.rooms import Rooms
from roomkey.hub.socket import Socket


def member(rooms, sid, namespace="/", *entered):
    socket = Socket(Admission(f"connection of {sid}", namespace, sid), None)
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
def test_of(rooms, namespace, room, who):
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
def test_several_rooms_give_each_once(rooms, names, who):
    assert sids(rooms.receivers("/", names, frozenset())) == who


@pytest.mark.parametrize(
    ("namespace", "found"), [(None, True), ("/", True), ("/chat", False), ("", False)], ids=repr
)  # fmt: skip
def test_get(rooms, namespace, found):
    assert (rooms.get("ada", namespace) is not None) is found
    assert rooms.get("nobody", namespace) is None


def test_entering_twice_is_entering_once_and_leaving_what_was_not_entered_is_nothing(rooms):
    bob = rooms.get("bob")
    rooms.enter(bob, "red")
    rooms.leave(bob, "red")
    rooms.leave(bob, "red")
    rooms.leave(bob, "blue")
    assert sids(rooms.in_room("/", "red")) == ["ada"]
    assert sids(rooms.in_room("/", "blue")) == ["ada"]
    assert bob.rooms == set()


def test_nothing_is_left_of_who_has_gone(rooms):
    for sid in ("ada", "bob", "eve"):
        rooms.remove(socket := rooms.get(sid))
        rooms.remove(socket)
        assert socket.rooms == set()
    assert vars(rooms) == {"by_sid": {}, "_namespaces": {}, "_rooms": {}}


def test_a_room_that_is_called_like_a_client_is_the_client(rooms):
    rooms.enter(rooms.get("bob"), "ada")
    assert sids(rooms.in_room("/", "ada")) == ["ada"]
    assert sids(rooms.receivers("/", ["ada"], frozenset())) == ["ada"]


def test_who_is_nowhere_stays_nowhere_when_another_enters(rooms):
    new, other = member(rooms, "new"), member(rooms, "other")
    rooms.leave(new, "red")
    rooms.enter(new, "green")
    assert (new.rooms, other.rooms) == ({"green"}, set())
    assert sids(rooms.in_room("/", "green")) == ["new"]
