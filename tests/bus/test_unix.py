"""The bus between the processes of one machine, beyond the contract of every bus."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from pathlib import Path
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.buses import Ear
from support.rawsocket import PATIENCE
from support.short_directory import short_directory

from roomkey.bus.unix import UnixBus
from roomkey.bus.unix_frames import (
    BYE,
    HAVE,
    HELLO,
    MESSAGE,
    MISSED,
    WANT,
    FrameError,
    Frames,
    Wanted,
    frame,
    message,
    split_message,
)
from roomkey.bus.unix_links import Connected
from roomkey.errors import ConfigError

__all__ = ["short_directory"]

STRANGER = "0123456789ab"


@pytest.fixture
def folder(short_directory: Path) -> Path:
    return short_directory


@pytest.fixture
async def ear(folder: Path) -> AsyncIterator[Callable[..., Awaitable[Ear]]]:
    """``await ear("channel", …, max_queue=…)`` opens one more bus."""
    ears: list[Ear] = []

    async def make(*channels: str, **settings: int) -> Ear:
        ears.append(Ear(UnixBus(folder, **settings)))
        await ears[-1].open(*channels)
        return ears[-1]

    yield make
    for each in ears:
        await each.bus.close()


class FakePeer:
    """A process in the same folder that does what a test wants.

    Attributes:
        reader: what a bus that connected sends.
        writer: for what it receives.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._connected = asyncio.Event()
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self, limit: int = 2**16) -> None:
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.reader, self.writer = reader, writer
            self._writers.append(writer)  # Python 3.13 closes what nobody keeps
            self._connected.set()

        self.server = await asyncio.start_unix_server(accept, str(self._folder / f"{STRANGER}.bus"), limit=limit)

    async def accepted(self) -> None:
        await asyncio.wait_for(self._connected.wait(), PATIENCE)
        self._connected.clear()

    async def connect(self, bus: UnixBus) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(str(self._folder / f"{bus.name}.bus"))


@pytest.fixture
async def fake(folder: Path) -> AsyncIterator[FakePeer]:
    made = FakePeer(folder)
    yield made
    with contextlib.suppress(AttributeError):
        made.writer.close()
        made.server.close()


# Frames


@given(
    st.lists(st.tuples(st.integers(1, 5), st.binary(max_size=300)), max_size=8),
    st.lists(st.integers(1, 40), min_size=1, max_size=60),
)
def test_frames_are_the_same_wherever_the_stream_is_split(sent: list[tuple[int, bytes]], sizes: list[int]) -> None:
    stream = b"".join(frame(kind, body) for kind, body in sent)
    frames, found = Frames(10), []
    frames._limit = 200
    while stream:
        size = sizes[len(stream) % len(sizes)]
        found += frames.feed(stream[:size])
        stream = stream[size:]
    assert found == [(kind, body if len(body) <= 200 else None) for kind, body in sent]


def test_body_that_is_too_large_is_not_kept() -> None:
    frames = Frames(100)
    assert frames.feed(b"\xff\xff\xff\xff\x02") == [(MESSAGE, None)]
    for _ in range(50):
        assert frames.feed(bytes(2**20)) == []
        assert frames._size == 0


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_message_is_split_as_it_was_joined(channel: bytes, payload: bytes) -> None:
    [(kind, body)] = Frames(100).feed(message(channel, payload))
    assert body is not None
    assert (kind, split_message(body)) == (MESSAGE, (channel, payload))


@pytest.mark.parametrize("body", [b"", b"\0", b"\0\x05abc"])
def test_malformed_message_is_an_error(body: bytes) -> None:
    with pytest.raises(FrameError):
        split_message(body)


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[1]", b"[1,2,3]", b'["1",[],[]]', b"[1,[2],[]]", b"[" * 100_000, b"\xff", b"[1,[],[],[]]"]
)
def test_malformed_subscriptions_are_an_error(body: bytes) -> None:
    with pytest.raises(FrameError):
        Wanted.decode(body)


# The folder


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
async def test_folder_that_others_can_open_is_not_used(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    bus = UnixBus(folder)
    await bus.open(lambda channel, payload: None, lambda connected: None)
    assert not bus.connected
    assert list(folder.iterdir()) == []
    await bus.close()


def test_long_path_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="too long for Unix sockets"):
        UnixBus(tmp_path / ("x" * 100))


async def test_closed_bus_leaves_no_file(folder: Path, ear: Callable[..., Awaitable[Ear]]) -> None:
    a, b = await ear("a"), await ear("a")
    assert len(list(folder.iterdir())) == 2
    await a.bus.close()
    await b.bus.close()
    assert list(folder.iterdir()) == []


# Other buses that stall, die, or send nonsense


async def test_goodbye_loses_nothing_and_is_not_reported(ear: Callable[..., Awaitable[Ear]]) -> None:
    a, b, c = await ear("a"), await ear("a"), await ear("a")
    b.bus.publish("a", b"last")
    await b.bus.close()
    assert await a.receives(1) == await c.receives(1) == [b"last"]
    assert a.states == c.states == [True]
    assert await a.bus.subscribed("a")
    a.bus.publish("a", b"on")
    await c.receives(2)


async def test_bus_that_stalls_is_dropped_and_the_others_go_on(
    ear: Callable[..., Awaitable[Ear]], fake: FakePeer
) -> None:
    await fake.start(limit=1)  # its reader takes a few bytes only
    opening = asyncio.ensure_future(ear(max_queue=200_000))
    await fake.accepted()
    fake.writer.write(Wanted(1, ["a"]).encode())
    a = await opening
    link = a.bus._links[STRANGER]  # type: ignore[attr-defined]
    b = await ear()
    b.bus.subscribe("a")
    assert not await b.bus.subscribed("a")  # the fake one does not confirm it, but a does
    for number in range(1, 100):
        a.bus.publish("a", bytes(100_000))
        await b.receives(number)
        assert link._queued + (link.transport.get_write_buffer_size() if link.transport else 0) <= 200_000
        if a.bus.counts["dropped: queue full"]:
            break
    assert a.bus.counts["dropped: queue full"] == 1
    a.bus.publish("a", b"on")
    await b.until(lambda: b.payloads()[-1:] == [b"on"])
    await asyncio.wait_for(link.lost, PATIENCE)
    assert STRANGER not in a.bus._links  # type: ignore[attr-defined]
    assert a.states == [True]


async def test_bus_that_does_not_respond_delays_the_opening_by_a_second(
    folder: Path, ear: Callable[..., Awaitable[Ear]]
) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / f"{STRANGER}.bus"))
        listener.listen()
        begun = asyncio.get_running_loop().time()
        a = Ear(UnixBus(folder))
        a.bus.subscribe("a")
        await a.bus.open(a._heard, a._state)
        await a.until(lambda: a.states == [True])
        assert 0.5 < asyncio.get_running_loop().time() - begun < 2
        assert not await a.bus.subscribed("a")  # a bus that may send does not know the subscription
    b = await ear()  # the socket refuses connections now
    async with asyncio.timeout(PATIENCE):
        while STRANGER in a.bus._dialing:  # type: ignore[attr-defined]
            await asyncio.sleep(0.01)
    assert await a.bus.subscribed("a")
    b.bus.publish("a", b"x")
    await a.receives(1)
    await a.bus.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        frame(HELLO, b"../../etc/passwd"),
        frame(HELLO, b""),
        message(b"a", b"before a greeting"),
        frame(HELLO, STRANGER.encode()) + frame(99, b""),
        frame(HELLO, STRANGER.encode()) + frame(WANT, b"[]"),
        frame(HELLO, STRANGER.encode()) + frame(MESSAGE, b""),
        frame(HELLO, STRANGER.encode()) * 2,
        frame(HAVE, b"-1"),
        b"\xff\xff\xff\xff\x01",
    ],
)
async def test_malformed_frames_close_the_connection(
    ear: Callable[..., Awaitable[Ear]], fake: FakePeer, sent: bytes
) -> None:
    a, b = await ear("a"), await ear()
    reader, writer = await fake.connect(a.bus)  # type: ignore[arg-type]
    writer.write(sent)
    with contextlib.suppress(ConnectionResetError):
        await asyncio.wait_for(reader.read(), PATIENCE)
    writer.close()
    await a.until(lambda: a.bus.connected)
    b.bus.publish("a", b"x")
    await a.receives(1)
    assert a.payloads() == [b"x"]


async def test_subscriptions_of_a_peer_select_what_is_sent(ear: Callable[..., Awaitable[Ear]], fake: FakePeer) -> None:
    await fake.start()
    opening = asyncio.ensure_future(ear())
    await fake.accepted()
    fake.writer.write(Wanted(1, ["a", "b"]).encode())
    a = await opening
    a.bus.publish("a", b"1")
    a.bus.publish("c", b"2")
    a.bus.publish("b", b"3")
    fake.writer.write(Wanted(2, ["c"], ["a"]).encode())
    sent = await fake.reader.readuntil(frame(HAVE, b"2"))
    a.bus.publish("a", b"4")
    a.bus.publish("c", b"5")
    await a.bus.close()
    sent += await asyncio.wait_for(fake.reader.read(), PATIENCE)
    frames = Frames(1000).feed(sent)
    assert [body for kind, body in frames if kind == MESSAGE] == [b"\0\x01a1", b"\0\x01b3", b"\0\x01c5"]
    assert frames[-1] == (BYE, b"")


@pytest.mark.parametrize("goodbye", [False, True])
async def test_last_messages_of_a_bus_that_refuses_connections_arrive(
    folder: Path,
    ear: Callable[..., Awaitable[Ear]],
    fake: FakePeer,
    monkeypatch: pytest.MonkeyPatch,
    goodbye: bool,
) -> None:
    a = await ear("a")
    assert isinstance(a.bus, UnixBus)
    await fake.start()
    _, writer = await fake.connect(a.bus)
    writer.write(frame(HELLO, STRANGER.encode()) + frame(HAVE, b"1"))
    await fake.accepted()
    fake.writer.write(Wanted(1, ["b"]).encode())
    await fake.reader.readuntil(frame(HAVE, b"1"))

    connect, refused = a.bus._try_to_connect, asyncio.Event()

    async def spy(name: str) -> bool:
        again = await connect(name)
        refused.set()
        return again

    monkeypatch.setattr(a.bus, "_try_to_connect", spy)
    fake.server.close()  # the kernel closes what a dead process had open in any order, here the listening socket first
    (folder / f"{STRANGER}.bus").unlink(missing_ok=True)
    fake.writer.close()
    await asyncio.wait_for(refused.wait(), PATIENCE)

    writer.write(message(b"a", b"last") + (frame(BYE) if goodbye else b""))
    writer.close()
    assert await a.receives(1) == [b"last"]
    await a.until(lambda: goodbye or a.states[:3] == [True, False, True])
    async with asyncio.timeout(PATIENCE):
        while STRANGER in a.bus._dialing:
            await asyncio.sleep(0.01)
    assert a.states[:3] == ([True] if goodbye else [True, False, True])
    assert a.bus.connected


# Losses that only the sender knows of


async def test_new_connection_of_a_bus_reports_what_was_sent_before(
    ear: Callable[..., Awaitable[Ear]], fake: FakePeer
) -> None:
    """The connection before it may have ended with messages in its queue, and this may be noticed later, or never."""
    a = await ear("a")
    await fake.start()
    connections = []
    for missed in (b"", frame(MISSED)):
        reader, writer = await fake.connect(a.bus)  # type: ignore[arg-type]
        connections.append(writer)
        writer.write(frame(HELLO, STRANGER.encode()))
        await asyncio.wait_for(reader.readuntil(b"]"), PATIENCE)
        assert a.states == [True]
        writer.write(missed + frame(HAVE, b"1") + message(b"a", b"x"))
        await a.until(lambda: a.payloads() == [b"x"] * len(connections))
        if not missed:
            await fake.accepted()
            fake.writer.write(Wanted(1, []).encode())
            await asyncio.wait_for(fake.reader.readuntil(frame(HAVE, b"1")), PATIENCE)
    await a.until(lambda: a.states[:3] == [True, False, True])
    for writer in connections:
        writer.close()


@pytest.mark.parametrize("was_connected", [False, True])
async def test_bus_that_was_connected_tells_a_new_one_that_it_may_have_sent_messages(
    ear: Callable[..., Awaitable[Ear]], fake: FakePeer, was_connected: bool
) -> None:
    if was_connected:
        a = await ear()
        await fake.start()
        _, writer = await fake.connect(a.bus)  # type: ignore[arg-type]
        writer.write(frame(HELLO, STRANGER.encode()))
    else:
        await fake.start()
        opening = asyncio.ensure_future(ear())
    await fake.accepted()
    fake.writer.write(Wanted(1, []).encode())
    sent = await asyncio.wait_for(fake.reader.readuntil(frame(HAVE, b"1")), PATIENCE)
    if not was_connected:
        await opening
    kinds = [kind for kind, _ in Frames(100).feed(sent)]
    assert kinds == ([HELLO, MISSED, HAVE] if was_connected else [HELLO, HAVE])


async def test_bus_that_is_gone_without_a_connection_may_have_sent_messages(
    ear: Callable[..., Awaitable[Ear]], folder: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as listener:  # it does not respond: the other bus connects without it
        listener.bind(str(folder / f"{STRANGER}.bus"))
        listener.listen()
        a = await ear()
        assert a.states == [True]
    await a.until(lambda: a.states[:3] == [True, False, True])


# A bus that others do not find


async def test_buses_find_each_other_after_their_folder_was_deleted(
    folder: Path, ear: Callable[..., Awaitable[Ear]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roomkey.bus.unix.LOOK_SECONDS", 0.02)
    a, b = await ear("a"), await ear("a")
    shutil.rmtree(folder)
    folder.mkdir(0o700)
    c = await ear("a")
    for each in (a, b):
        await each.until(lambda each=each: each.states[:3] == [True, False, True])  # type: ignore[misc]
    for number, sender in enumerate((a, b, c), 1):
        async with asyncio.timeout(PATIENCE):
            while len(sender.bus._links) < 2 or not await sender.bus.subscribed("a"):  # type: ignore[attr-defined]
                await asyncio.sleep(0.01)
        sender.bus.publish("a", b"x")
        for each in {a, b, c} - {sender}:
            await each.receives(number - ([a, b, c].index(each) < number))


async def test_bus_connects_again_to_those_that_are_connected_to_it(
    folder: Path, ear: Callable[..., Awaitable[Ear]], fake: FakePeer
) -> None:
    """Its folder was missing when it tried before."""
    a = await ear("a")
    _, writer = await fake.connect(a.bus)  # type: ignore[arg-type]
    away = folder.with_suffix(".away")
    folder.rename(away)
    writer.write(frame(HELLO, STRANGER.encode()))
    await a.until(lambda: a.states == [True, False])
    away.rename(folder)
    await a.until(lambda: a.states == [True, False, True])
    await fake.start()
    await fake.accepted()
    writer.close()


# Closing


async def test_closed_bus_keeps_no_connection_that_was_under_way(
    ear: Callable[..., Awaitable[Ear]], fake: FakePeer
) -> None:
    """The other bus would take it for a bus that is alive."""
    await fake.start()
    opening = asyncio.ensure_future(ear())
    await fake.accepted()
    fake.writer.write(Wanted(1, []).encode())
    a = await opening
    assert isinstance(a.bus, UnixBus)
    connected, accepted = Connected(a.bus, STRANGER, 1000), a.bus._accept()
    transports = [Mock(), Mock()]
    for link, transport in zip((connected, accepted), transports, strict=True):
        link.connection_made(transport)
    await a.bus.close()
    connected.data_received(Wanted(1, []).encode())
    accepted.data_received(frame(HELLO, STRANGER.encode()))
    for transport in transports:
        transport.abort.assert_called()
    assert a.bus._accepted == {}


# Real processes

CHATTER = """
import asyncio, sys
from pathlib import Path
from roomkey.bus.unix import UnixBus

async def main():
    bus = UnixBus(Path(sys.argv[1]))
    bus.subscribe("a")
    await bus.open(lambda channel, payload: bus.publish("b", payload), lambda connected: None)
    print("open", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def all_answer(a: Ear, number: int) -> None:
    """Ask until so many processes answer the same message: a process that stood still may have missed one."""
    async with asyncio.timeout(PATIENCE):
        for attempt in count():
            asked = b"%d: %d" % (number, attempt)
            a.bus.publish("a", asked)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await a.until(lambda asked=asked: a.payloads("b").count(asked) == number)  # type: ignore[misc]
                    return


@pytest.mark.long
async def test_process_that_is_killed_or_stopped_is_noticed(folder: Path, ear: Callable[..., Awaitable[Ear]]) -> None:
    a = await ear("b", max_queue=2**20)
    command = [sys.executable, "-c", CHATTER, str(folder)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    try:
        for process in processes:
            assert process.stdout is not None
            assert await asyncio.to_thread(process.stdout.readline) == "open\n"
        await all_answer(a, 3)
        before = len(a.states)
        processes[0].kill()
        await a.until(lambda: False in a.states[before:] and a.bus.connected)
        await all_answer(a, 2)
        os.kill(processes[1].pid, signal.SIGSTOP)
        large = bytes(100_000)
        for number in range(1, 31):
            a.bus.publish("a", large)
            await a.until(lambda number=number: a.payloads("b").count(large) >= number)  # type: ignore[misc]
        await all_answer(a, 1)
        assert a.bus.counts["dropped: queue full"] == 1
        os.kill(processes[1].pid, signal.SIGCONT)
        await all_answer(a, 2)
    finally:
        for process in processes:
            process.kill()
            process.wait()
