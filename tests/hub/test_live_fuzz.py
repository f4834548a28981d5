"""Arbitrary input to a live hub: no exception escapes, and nothing of it is left.

Each example is a few connections that send bytes and go away. Then the clock is moved past every deadline, and the hub
has to be as empty as before.
"""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.calm import complaints
from support.clock import FakeClock
from support.examples import examples
from support.live import serve, until
from support.rawsocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, RawSocket, frame, hello, upgrade
from support.tokens import issuer_at

from roomkey.hub import Hub
from roomkey.hub.engine_session import EngineSession
from roomkey.hub.transports import websocket

pytestmark = pytest.mark.long

EXAMPLES = settings(
    max_examples=examples(200),
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
MAX_GROWTH = 10_000_000


class Fuzzed:
    """A hub, its log, and an event loop that runs for one example at a time."""

    log: pytest.LogCaptureFixture

    def __init__(self, runner: asyncio.Runner) -> None:
        self.runner = runner
        self.clock = FakeClock()
        issuer = issuer_at(self.clock)
        self.hub = hub = Hub(issuer.verifier(), clock=self.clock, namespaces=("/", "/a"))
        self.token = issuer.issue("ada", expires_in=10**9)
        self.host = ""
        self.escaped: list[Any] = []
        runner.get_loop().set_exception_handler(lambda _loop, context: self.escaped.append(context))

        @hub.on("*")
        async def anything(event: str, sid: str, *arguments: Any) -> Any:
            if event == "join":
                await hub.enter_room(sid, "room")
            with suppress(ValueError):  # a placeholder that is none, beside bytes
                await hub.emit("back", arguments, room="room")
            return arguments if len(arguments) < 3 else None

    def run(self, example: Callable[[], Awaitable[None]]) -> None:
        async def whole() -> None:
            await example()
            await self.is_empty()

        self.log.clear()
        self.runner.run(whole())
        assert self.escaped == []
        assert complaints(self.log.records) == []

    async def is_empty(self) -> None:
        """Check that nothing is left of the clients, which have all disconnected."""
        hub = self.hub
        for seconds in (50.0, 50.0, 50.0):  # after a ping, its pong, and lingering sessions
            await asyncio.sleep(0)
            self.clock.advance(seconds)
            hub.check_deadlines()
            await hub.settle()
        await until(lambda: not hub.sessions.active and not hub.requests.pending, 5)
        await hub.settle()
        index = hub.guard.index
        left = [
            *(hub.sessions.active, hub.sessions.lingering, hub.requests.pending, hub.tasks._running),
            *(hub.application.rooms.by_sid, hub.application.rooms._namespaces, hub.application.rooms._rooms),
            *(index.connections, index.sockets, *index._named.values(), +index._anonymous),
            hub.guard.background.timers._deadlines._due,
        ]
        assert not [one for one in left if one], left


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[Fuzzed]:
    with asyncio.Runner() as runner, pytest.MonkeyPatch.context() as patch:
        patch.setattr(websocket, "CLOSE_SECONDS", 0.05)
        fuzzed = Fuzzed(runner)
        server = serve(fuzzed.hub)
        fuzzed.host = runner.run(_enter(server))
        yield fuzzed
        runner.run(_exit(server))


async def _enter(server: Any) -> str:
    host: str = await server.__aenter__()
    return host


async def _exit(server: Any) -> None:
    await server.__aexit__(None, None, None)


@pytest.fixture(autouse=True)
def _logged(fuzzed: Fuzzed, caplog: pytest.LogCaptureFixture) -> None:
    fuzzed.log = caplog


async def send_all(fuzzed: Fuzzed, first: bytes, parts: list[bytes], *, read: bool = True) -> None:
    """Send the parts, with a turn of the event loop for the server after each, and disconnect."""
    raw = await RawSocket.open(fuzzed.host)
    await raw.send(first)
    for part in parts:
        await raw.send(part)
        await asyncio.sleep(0)
    if read:
        try:
            async with asyncio.timeout(0.003):
                while await raw.reader.read(1 << 16):
                    pass
        except (TimeoutError, ConnectionError):
            pass
    await raw.close()


# Building blocks

PLACE = '{"_placeholder":true,"num":0}'
PACKETS = [
    *("40", "40{}", "40/a,", "41", "41/a,", '42["join"]', '42["say",1,{"a":[null]}]', '421["say"]', '42/a,12["say"]'),
    *(
        f'451-["say",{PLACE}]',
        f'451-/a,3["say",{PLACE}]',
        "431[]",
        f"461-1[{PLACE}]",
        "2",
        "3",
        "2probe",
        "5",
        "1",
        "6",
    ),
    *('44{"message":"x"}', '42["connect"]', '42["authenticate",{"token":"x"}]', "4", "", "0{}"),
]


@st.composite
def mutated(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Something valid, with a few bytes changed, removed or inserted."""
    data = bytearray(draw(whole))
    for _count in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        end = draw(st.integers(at, min(len(data), at + 8)))
        data[at:end] = draw(st.binary(max_size=4))
    return bytes(data)


def texts(token: str) -> st.SearchStrategy[bytes]:
    packets = [
        *PACKETS,
        '42/\udcff,["x"]',
        '40{"token":"\udcff"}',
        '42["\udcc3"]',
        "4\udcff",
        hello(token),
        hello(token, "/a,"),
    ]
    return st.sampled_from([one.encode(errors="surrogateescape") for one in packets])


def frames(token: str) -> st.SearchStrategy[bytes]:
    data = st.one_of(texts(token), mutated(texts(token)), st.binary(max_size=200))
    usual = st.builds(frame, data)
    binary = st.builds(frame, st.binary(max_size=50), st.just(BINARY))
    odd = st.builds(
        frame,
        data,
        st.sampled_from([TEXT, BINARY, CONTINUATION, PING, PONG, CLOSE, 3, 7, 11, 15]),
        fin=st.booleans(),
        rsv=st.sampled_from([0, 0, 0, 1, 4, 7]),
        mask=st.sampled_from([b"abcd", bytes(4), None]),
        length=st.sampled_from([None, None, b"\x00", b"\x7d", b"\x7e\x01\x00", b"\x7f" + bytes(6) + b"\xff\xff"]),
    )
    return st.one_of(usual, usual, binary, odd)


def harmless(token: str) -> list[bytes]:
    """Frames that do not end an admitted client, so that the frames after them are read."""
    packets = ('42["join"]', '42["say",1]', '427["say"]', "431[]", hello(token, "/a,"), '42/a,["say",{}]', "41/a,")
    whole = frame(f'451-["say",{PLACE}]') + frame(b"", PING) + frame(b"\x01", BINARY)
    cut = frame('42["say"', fin=False) + frame("]", CONTINUATION)
    return [*map(frame, packets), whole, cut, frame(b"x", PONG)]


HEADS = [
    "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /socket.io/?EIO=4&transport=polling&sid=SID HTTP/1.1\r\nHost: x\r\n\r\n",
    "POST /socket.io/?EIO=4&transport=polling&sid=SID HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n40",
    "POST /socket.io/?EIO=4&transport=polling&sid=SID HTTP/1.1\r\nHost: x\r\n"
    "Transfer-Encoding: chunked\r\n\r\n2\r\n40\r\n0\r\n\r\n",
    "OPTIONS /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nOrigin: http://x\r\n\r\n",
    "GET /elsewhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "GET http://x/socket.io/?EIO=4 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    upgrade("x").decode(),
    upgrade("x", "&sid=SID").decode(),
    upgrade("x", cookie="a=b; session=x", origin="http://x").decode(),
]


# Tests


@EXAMPLES
@given(data=st.data())
def test_any_frames_leave_nothing_behind(fuzzed: Fuzzed, data: st.DataObject) -> None:
    """A WebSocket, admitted or not."""
    parts = data.draw(st.lists(st.sampled_from(harmless(fuzzed.token)), max_size=4))
    parts += data.draw(st.lists(frames(fuzzed.token), max_size=6))
    admitted = data.draw(st.booleans())
    first = upgrade(fuzzed.host) + (frame(hello(fuzzed.token)) if admitted else b"")
    fuzzed.run(lambda: send_all(fuzzed, first, parts))


@EXAMPLES
@given(data=st.data())
def test_any_segments_leave_nothing_behind(fuzzed: Fuzzed, data: st.DataObject) -> None:
    """The same frames, cut anywhere, and ended at any byte."""
    stream = upgrade(fuzzed.host) + frame(hello(fuzzed.token))
    stream += b"".join(data.draw(st.lists(st.sampled_from(harmless(fuzzed.token)), max_size=4)))
    stream += b"".join(data.draw(st.lists(frames(fuzzed.token), max_size=4)))
    if data.draw(st.booleans()):
        stream = data.draw(mutated(st.just(stream)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    parts = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    if data.draw(st.booleans()):
        parts.pop()
    fuzzed.run(lambda: send_all(fuzzed, b"", parts))


@EXAMPLES
@given(
    heads=st.lists(st.one_of(st.sampled_from(HEADS).map(str.encode), st.binary(max_size=80)), max_size=4),
    data=st.data(),
)
def test_any_http_requests_leave_nothing_behind(fuzzed: Fuzzed, heads: list[bytes], data: st.DataObject) -> None:
    """Requests, valid or mutated, to an existing session or an unknown one, pipelined on one connection."""
    changed = [data.draw(mutated(st.just(one))) if data.draw(st.booleans()) else one for one in heads]

    async def example() -> None:
        raw = await RawSocket.open(fuzzed.host)
        await raw.send(HEADS[0].encode())
        sid = json.loads((await raw.answer()).body[1:])["sid"].encode()
        await raw.close()
        await send_all(fuzzed, b"", [one.replace(b"SID", sid) for one in changed])

    fuzzed.run(example)


@EXAMPLES
@given(bodies=st.lists(st.lists(st.sampled_from([*PACKETS, "bAQID", "b!"]), max_size=4), max_size=4), data=st.data())
def test_any_order_of_polls_and_upgrades_leaves_nothing_behind(
    fuzzed: Fuzzed, bodies: list[list[str]], data: st.DataObject
) -> None:
    """One session: POST bodies, polls that wait or are cancelled, WebSockets that upgrade it or fail."""
    steps = data.draw(st.lists(st.sampled_from(["get", "post", "probe", "upgrade", "second"]), max_size=8))
    joined = data.draw(st.booleans())

    async def example() -> None:
        opened = await RawSocket.open(fuzzed.host)
        await opened.send(HEADS[0].encode())
        sid = json.loads((await opened.answer()).body[1:])["sid"]
        raws = [opened]
        posts = iter([[hello(fuzzed.token)]] * joined + bodies)
        for step in ["post", *steps]:
            raw = await RawSocket.open(fuzzed.host)
            raws.append(raw)
            if step == "get":
                await raw.send(HEADS[1].replace("SID", sid).encode())
            elif step == "post":
                body = "\x1e".join(next(posts, ["3"])).encode()
                head = f"POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: x\r\n"
                await raw.send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            else:
                packets = {"probe": ["2probe"], "upgrade": ["2probe", "5", '42["say",1]'], "second": ["x"]}[step]
                await raw.send(upgrade(fuzzed.host, f"&sid={sid}") + b"".join(map(frame, packets)))
            await asyncio.sleep(data.draw(st.sampled_from([0, 0, 0.001])))
        for raw in raws:
            await raw.close()

    fuzzed.run(example)


def test_hostile_input_does_not_grow_memory(fuzzed: Fuzzed) -> None:
    """After the tests above, repeating the same input does not need more memory."""
    stream = [frame(packet) for packet in PACKETS if packet not in ("1", "41")]

    async def rounds(count: int) -> None:
        for _count in range(count):
            await send_all(fuzzed, upgrade(fuzzed.host) + frame(hello(fuzzed.token)), stream, read=False)
        await until(lambda: not fuzzed.hub.sessions.active)
        assert not fuzzed.hub.guard.background.timers._deadlines._due  # no deadline is left of a disconnected client

    fuzzed.run(lambda: rounds(100))
    before = resident(), held_by(fuzzed.hub)
    fuzzed.run(lambda: rounds(300))
    after = resident(), held_by(fuzzed.hub)
    assert after[0] - before[0] < MAX_GROWTH
    assert after[1] - before[1] < 30, "nothing for each connection"
    fuzzed.runner.run(until(lambda: not sessions_of(fuzzed.hub)))  # the close of a transport holds it a little longer


def held_by(hub: Hub) -> int:
    """Return how many objects roomkey's objects and their containers hold, starting at a hub."""
    seen: set[int] = set()
    waiting: list[Any] = [hub]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        ours = type(one).__module__.partition(".")[0] in ("roomkey", "collections")
        if ours or isinstance(one, dict | list | tuple | set):
            waiting.extend(gc.get_referents(one))
        if isinstance(one, dict):
            waiting.extend(one)  # the garbage collector does not report its keys, which are text
    return len(seen)


def sessions_of(hub: Hub) -> list[EngineSession]:
    """Return the sessions of a hub that are still in memory."""
    gc.collect()
    return [one for one in gc.get_objects() if type(one) is EngineSession and one._owner is hub.sessions]


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
