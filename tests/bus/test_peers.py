"""Links between nodes, over real sockets."""

from __future__ import annotations

import asyncio
import logging
import socket
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from support.live import until
from support.peers import KEYS, Neighbors
from support.short_directory import short_directory

from roomkey.bus import peer_link
from roomkey.bus import peers as peers_module
from roomkey.bus.peer_frames import HELLO, WELCOME, FrameReader, FrameWriter, FrontHandshake
from roomkey.bus.peer_link import REFUSED, REQUEST, Link
from roomkey.bus.peers import Peers, join_address, split_address
from roomkey.bus.sids import decode
from roomkey.errors import ConfigError

__all__ = ["short_directory"]

ANSWER = 100


class Conversation:
    """Keeps what arrives; the owner's side answers each frame with its payload in upper case."""

    def __init__(self, link: Link, number: int | None = None, *, answers: bool = False) -> None:
        self.link = link
        self.number = link.open(self) if number is None else number
        self.got: list[tuple[int, bytes]] = []
        self.answers = answers
        self.losses = self.pauses = 0

    def arrived(self, kind: int, payload: bytes) -> None:
        self.got.append((kind, payload))
        if payload == b"break":
            raise ZeroDivisionError
        if self.answers:
            self.link.send(ANSWER, self.number, payload.upper())

    def lost(self) -> None:
        self.losses += 1

    def pause(self) -> None:
        self.pauses += 1

    def resume(self) -> None:
        self.pauses += 100


class Host:
    """A node's links, and the conversations that others have begun."""

    def __init__(self, peers: Peers) -> None:
        self.peers = peers
        self.begun: list[Conversation] = []

    def begin(self, link: Link, kind: int, number: int, payload: bytes) -> None:
        if payload == b"no":
            link.refuse(number)
            return
        conversation = Conversation(link, number, answers=True)
        link.join(number, conversation)
        self.begun.append(conversation)
        conversation.arrived(kind, payload)

    def ask(self, other: Host, payload: bytes = b"hello") -> Conversation:
        """Begin a conversation with another node."""
        link = self.peers.link(other.peers.node.id)
        assert link is not None
        conversation = Conversation(link)
        link.send(REQUEST, conversation.number, payload)
        return conversation


MakeHosts = Callable[..., Any]


@pytest.fixture(params=["unix", "tcp"])
def neighbors(request: pytest.FixtureRequest, short_directory: Path) -> Neighbors:
    return Neighbors(short_directory if request.param == "unix" else None)


@pytest.fixture
async def make_hosts(neighbors: Neighbors) -> AsyncIterator[MakeHosts]:
    """``await make_hosts(2)``: nodes with open links."""
    made: list[Host] = []

    async def make(count: int = 2, **settings: Any) -> list[Host]:
        hosts = [Host(neighbors.peers(**settings)) for _ in range(count)]
        for host in hosts:
            await host.peers.open(host.begin)
        made.extend(hosts)
        return hosts

    yield make
    for host in made:
        await host.peers.close()


async def stranger(host: Host) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a node as somebody who can reach it."""
    if host.peers._path is not None:
        return await asyncio.open_unix_connection(str(host.peers._path))
    return await asyncio.open_connection(*split_address(host.peers.node.address or ""))


async def is_closed(reader: asyncio.StreamReader) -> bool:
    try:
        return await asyncio.wait_for(reader.read(), 20) == b""
    except ConnectionResetError:
        return True


async def test_one_link_carries_many_conversations(make_hosts):
    here, there = await make_hosts()
    asked = [here.ask(there, b"number %d" % number) for number in range(100)]
    await until(lambda: all(one.got for one in asked))
    assert [one.got for one in asked] == [[(ANSWER, b"NUMBER %d" % number)] for number in range(100)]
    assert here.peers.counts == {"links opened": 1}
    assert there.peers.counts == {"links accepted": 1}
    back = there.ask(here)
    await until(lambda: back.got)
    assert there.peers.counts == {"links accepted": 1, "links opened": 1}


async def test_large_messages_arrive_whole(make_hosts):
    here, there = await make_hosts()
    first = here.ask(there)
    await until(lambda: first.got)
    asked = [here.ask(there, letter * 3_000_000) for letter in (b"a", b"b", b"c")]
    await until(lambda: all(one.got for one in asked))
    assert [one.got[0][1][:1] for one in asked] == [b"A", b"B", b"C"]
    assert {len(one.got[0][1]) for one in asked} == {3_000_000}


async def test_refused_conversation_is_lost(make_hosts):
    here, there = await make_hosts()
    asked = here.ask(there, b"no")
    await until(lambda: asked.losses)
    assert not asked.link.conversations
    assert here.ask(there).link is asked.link


async def test_exception_ends_only_its_conversation(make_hosts, caplog):
    here, there = await make_hosts()
    broken, sound = here.ask(there, b"break"), here.ask(there)
    with caplog.at_level(logging.CRITICAL):
        await until(lambda: broken.losses)
    await until(lambda: sound.got)
    assert [one.number for one in there.begun if one.losses] == [broken.number]
    sound.link.send(ANSWER, sound.number, b"again")
    await until(lambda: sound.got[-1][1] == b"AGAIN")


@pytest.mark.parametrize("side", ["front", "owner"])
async def test_lost_link_ends_its_conversations_and_is_opened_again(make_hosts, side):
    here, there = await make_hosts()
    asked = here.ask(there)
    await until(lambda: asked.got)
    link = asked.link if side == "front" else there.begun[0].link
    link._transport.abort()
    await until(lambda: asked.losses and there.begun[0].losses)
    assert (asked.losses, there.begun[0].losses) == (1, 1)
    again = here.ask(there)
    await until(lambda: again.got)
    assert here.peers.counts == {"links opened": 2, "links lost": 1}


async def test_close_ends_conversations_and_removes_the_socket(make_hosts, short_directory):
    here, there = await make_hosts()
    asked = here.ask(there)
    await until(lambda: asked.got)
    await there.peers.close()
    await until(lambda: asked.losses)
    assert there.begun[0].losses == 1
    assert not (short_directory / f"peer-{there.peers.node.id}").exists()
    await there.peers.close()


async def test_sockets_of_killed_processes_are_removed(short_directory):
    neighbors = Neighbors(short_directory)
    alive, new = neighbors.peers(), neighbors.peers()
    stale = short_directory / "peer-AAAAAAAA"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(stale))
        killed.listen()
    await alive.open(lambda *_frame: None)
    await new.open(lambda *_frame: None)
    assert {path.name for path in short_directory.iterdir()} == {f"peer-{one.node.id}" for one in (alive, new)}
    await alive.close()
    await new.close()


async def test_node_that_starts_does_not_remove_the_socket_of_another_that_starts(short_directory, monkeypatch):
    """The other one looks for sockets of killed processes just before this one accepts connections."""
    one = Neighbors(short_directory).peers()

    class Listener(socket.socket):
        def listen(self, backlog: int = 128) -> None:
            peers_module._remove_stale_sockets(short_directory)
            super().listen(backlog)

    monkeypatch.setattr(socket, "socket", Listener)
    await one.open(Host(one).begin)
    monkeypatch.undo()
    assert [path.name for path in short_directory.iterdir()] == [f"peer-{one.node.id}"]
    assert stat.S_IMODE(one._path.stat().st_mode) == 0o600
    await one.close()
    assert list(short_directory.iterdir()) == []


async def test_node_that_is_not_alive_is_not_dialed(make_hosts):
    here, _there = await make_hosts()
    assert here.peers.link("AAAAAAAA") is None
    assert here.peers.link(here.peers.node.id) is None


async def test_dead_node_is_dialed_again_after_a_rest(make_hosts, neighbors):
    here, there = await make_hosts()
    await there.peers.close()
    if neighbors.directory is not None:  # of a process that was killed
        (neighbors.directory / f"peer-{there.peers.node.id}").write_text("")
    link = here.peers.link(there.peers.node.id)
    assert link is not None
    asked = Conversation(link)
    link.send(REQUEST, asked.number, b"hello")
    await until(lambda: asked.losses)
    assert here.peers.counts == {"links not opened": 1}
    assert here.peers.link(there.peers.node.id) is None
    await until(lambda: here.peers.link(there.peers.node.id) is not None)


async def test_front_refuses_conversations_over_the_limit(make_hosts, monkeypatch):
    here, there = await make_hosts()
    first = here.ask(there)
    await until(lambda: first.got)
    monkeypatch.setattr(peer_link, "MAX_CONVERSATIONS", 1)
    assert Conversation(first.link).number is None
    monkeypatch.undo()
    second = Conversation(first.link)
    monkeypatch.setattr(peer_link, "MAX_CONVERSATIONS", 1)
    second.link.send(REQUEST, second.number, b"hello")  # the owner's limit
    await until(lambda: second.losses)


async def test_silent_peer_is_given_up(make_hosts, monkeypatch):
    here, there = await make_hosts()
    asked = here.ask(there)
    await until(lambda: asked.got)
    there.begun[0].link.data_received = lambda data: None  # it is stuck
    for _ in range(peer_link.QUIET_TESTS + 1):
        here.peers._test_links()
    assert asked.losses == 1
    assert here.peers.counts["links lost"] == 1


async def test_link_with_signs_of_life_stays(make_hosts):
    here, there = await make_hosts()
    asked = here.ask(there)
    await until(lambda: asked.got)
    for _ in range(10):
        here.peers._test_links()
        await until(lambda: asked.link._heard)
        there.peers._test_links()
    assert asked.losses == 0
    assert asked.link.conversations


async def test_peer_that_does_not_read_pauses_streams_and_is_given_up(make_hosts):
    here, there = await make_hosts(max_message=1_000_000)
    asked = here.ask(there)
    await until(lambda: asked.got)
    there.begun[0].link._transport.pause_reading()
    sent = 0
    while not asked.losses:
        asked.link.send(ANSWER, asked.number, bytes(500_000))
        sent += 500_000
        await asyncio.sleep(0)
        assert sent < 50_000_000
    assert asked.pauses == 1


@pytest.mark.parametrize("size", [500_000, 10_000], ids=["large", "small"])
async def test_conversation_with_too_much_for_a_busy_peer_ends_alone(make_hosts, size):
    here, there = await make_hosts(max_message=1_000_000)
    other, asked = here.ask(there), here.ask(there)
    await until(lambda: other.got and asked.got)
    there.begun[0].link._transport.pause_reading()
    sent = 0
    while not asked.losses:
        asked.link.send(ANSWER, asked.number, bytes(size))
        sent += size
        await asyncio.sleep(0)
        assert sent < 50_000_000
    there.begun[0].link._transport.resume_reading()
    other.link.send(ANSWER, other.number, b"more")
    await until(lambda: (ANSWER, b"MORE") in other.got)
    assert other.losses == 0
    assert here.peers.counts == {"links opened": 1}
    await until(lambda: there.begun[1].losses)


async def test_large_frames_for_a_busy_peer_leave_room_for_small_ones(make_hosts):
    here, there = await make_hosts(max_message=1_000_000)
    other, asked = here.ask(there), here.ask(there)
    await until(lambda: other.got and asked.got)
    there.begun[0].link._transport.pause_reading()
    while not asked.losses:
        asked.link.send(ANSWER, asked.number, bytes(100_000))
        await asyncio.sleep(0)
    other.link.send(ANSWER, other.number, b"small")
    there.begun[0].link._transport.resume_reading()
    await until(lambda: (ANSWER, b"SMALL") in other.got)


async def test_too_much_before_the_handshake_ends_one_conversation(make_hosts):
    here, there = await make_hosts()
    other, asked = here.ask(there), here.ask(there)
    asked.link.send(ANSWER, asked.number, bytes(peer_link.MAX_EARLY))
    assert (asked.losses, other.losses) == (1, 0)
    await until(lambda: other.got)


async def test_paused_streams_are_resumed(make_hosts):
    here, there = await make_hosts()
    asked = here.ask(there)
    await until(lambda: asked.got)
    there.begun[0].link._transport.pause_reading()
    while not asked.pauses:
        asked.link.send(ANSWER, asked.number, bytes(500_000))
        await asyncio.sleep(0)
    there.begun[0].link._transport.resume_reading()
    await until(lambda: asked.pauses == 101)


# Strangers


async def test_connection_that_says_nothing_is_not_reported(make_hosts, caplog):
    [host] = await make_hosts(1)
    _reader, writer = await stranger(host)
    await until(lambda: host.peers._strangers)
    writer.close()
    await until(lambda: not host.peers._strangers)
    assert host.peers.counts == {}
    assert "refused" not in caplog.text


@pytest.mark.checklist("H111")
@pytest.mark.parametrize("case", ["noise", "http", "secret", "node", "silence"])
async def test_stranger_is_refused(make_hosts, case, monkeypatch):
    monkeypatch.setattr(peer_link, "CONNECT_SECONDS", 0.1 if case == "silence" else 5)
    [host] = await make_hosts(1)
    reader, writer = await stranger(host)
    keys, name = ((b"s" * 32,) if case == "secret" else KEYS), decode(host.peers.node.id)
    hello = FrontHandshake(keys, b"front1", b"other1" if case == "node" else name).hello
    said = {"noise": bytes(HELLO), "http": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"x" * HELLO, "silence": b""}
    writer.write(said.get(case, hello))
    assert await is_closed(reader)
    assert host.peers.counts == {"links refused": 1}
    assert host.begun == []
    writer.close()


@pytest.mark.checklist("H111")
async def test_recorded_conversation_is_refused(make_hosts):
    [host] = await make_hosts(1)
    handshake = FrontHandshake(KEYS, b"front1", decode(host.peers.node.id))
    recorded = b""
    for attempt in range(2):
        reader, writer = await stranger(host)
        writer.write(handshake.hello)
        welcome = await reader.readexactly(WELCOME)
        if attempt == 0:
            proof, keys = handshake.answer(welcome)
            signed = keys.sent if host.peers._path is None else None
            recorded = proof + FrameWriter(signed).frame(REQUEST, 1, b"hello")
        writer.write(recorded)
        if attempt == 0:
            await until(lambda: host.begun)
        else:
            assert await is_closed(reader)
        writer.close()
    assert len(host.begun) == 1
    assert host.peers.counts["links refused"] == 1


@pytest.mark.checklist("H111")
@pytest.mark.parametrize("case", ["oversized", "altered"])
async def test_node_that_sends_invalid_frames_loses_its_link(make_hosts, case):
    [host] = await make_hosts(1)
    reader, writer = await stranger(host)
    handshake = FrontHandshake(KEYS, b"front1", decode(host.peers.node.id))
    writer.write(handshake.hello)
    proof, keys = handshake.answer(await reader.readexactly(WELCOME))
    frame = FrameWriter(keys.sent if host.peers._path is None else None).frame(REQUEST, 1, b"hello")
    writer.write(proof + frame)
    await until(lambda: host.begun)
    writer.write(b"\xff" * 4 + frame[4:] if case == "oversized" else b"\x00\x00\x00\x01" + frame[4:])
    reader_of = FrameReader(keys.received if host.peers._path is None else None, 1000)
    assert reader_of.read(await reader.readexactly(len(frame)))[0][2] == b"HELLO"
    assert await is_closed(reader)
    assert host.begun[0].losses == 1
    writer.close()


async def test_strangers_over_the_limit_do_not_keep_nodes_out(make_hosts, monkeypatch):
    monkeypatch.setattr(peers_module, "MAX_STRANGERS", 3)
    here, there = await make_hosts()
    waiting = [await stranger(there) for _ in range(3)]
    await until(lambda: len(there.peers._strangers) == 3)
    asked = here.ask(there)
    await until(lambda: asked.got)
    assert await is_closed(waiting[0][0])  # the oldest one
    assert len(there.peers._strangers) == 2
    assert there.peers.counts == {"links refused": 1, "links accepted": 1}
    for _, other in waiting:
        other.close()


async def test_slow_handshake_is_read_byte_by_byte(make_hosts):
    [host] = await make_hosts(1)
    reader, writer = await stranger(host)
    handshake = FrontHandshake(KEYS, b"front1", decode(host.peers.node.id))
    for byte in handshake.hello:
        writer.write(bytes([byte]))
        await asyncio.sleep(0)
    proof, keys = handshake.answer(await reader.readexactly(WELCOME))
    frame = FrameWriter(keys.sent if host.peers._path is None else None).frame(REQUEST, 1, b"hello")
    for byte in proof + frame:
        writer.write(bytes([byte]))
        await asyncio.sleep(0)
    await until(lambda: host.begun)
    writer.close()


async def test_front_refuses_a_listener_without_the_secret(make_hosts, neighbors):
    here, there = await make_hosts()
    there.peers.keys = (b"s" * 32,)
    asked = here.ask(there)
    await until(lambda: asked.losses)
    assert here.peers.counts == {"links not opened": 1}
    assert there.begun == []


async def test_front_never_answers_requests(make_hosts):
    here, there = await make_hosts()
    asked = here.ask(there)
    await until(lambda: asked.got)
    there.begun[0].link.send(REQUEST, 99, b"hello")
    there.begun[0].link.send(ANSWER, 1, b"after")
    await until(lambda: asked.got[-1] == (ANSWER, b"after"))
    assert here.begun == []


async def test_frames_after_the_end_are_ignored(make_hosts):
    here, there = await make_hosts()
    asked = here.ask(there)
    await until(lambda: asked.got)
    asked.link.end(asked.number)
    there.begun[0].link.send(ANSWER, asked.number, b"late")
    there.begun[0].link.send(REFUSED, asked.number, b"")
    other = here.ask(there)
    await until(lambda: other.got)
    assert (len(asked.got), asked.losses) == (1, 0)


# Addresses


@pytest.mark.parametrize(
    ("address", "parts"),
    [("10.0.0.5:7400", ("10.0.0.5", 7400)), ("node-1.local:1", ("node-1.local", 1)), ("[::1]:7400", ("::1", 7400))],
)
def test_address_of_a_node_is_split_and_joined(address, parts):
    assert split_address(address) == parts
    assert join_address(*parts) == address


@pytest.mark.parametrize("address", ["", "host", ":7400", "host:", "host:x", "::1:7400", "host:70000", "host:-1"])
def test_invalid_address_of_a_node_is_refused(address):
    with pytest.raises(ConfigError, match="host:port"):
        split_address(address)


def test_long_path_of_a_directory_is_refused(short_directory):
    with pytest.raises(ConfigError, match="too long"):
        Neighbors(short_directory / ("x" * 100)).peers()
