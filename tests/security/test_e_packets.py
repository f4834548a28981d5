"""Security checklist, group E: packets and resources, on a live hub.

The attacker is admitted, so that nothing else stops it; a bystander has to go on as if nothing had happened.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import time
import zlib
from collections.abc import Callable
from contextlib import suppress

import httpx
import pytest
from support.calm import calm
from support.hub_process import hub_process
from support.lag import loop_awake
from support.live import SEPARATOR, Poll, until
from support.rawsocket import BINARY, CONTINUATION, PING, PONG, TEXT, RawSocket, frame, upgrade
from support.world import clock, make_world

from roomkey.errors import Unavailable
from roomkey.guard import contract
from roomkey.hub import Limits
from roomkey.hub.http import asgi, polling_protocol, sniffer
from roomkey.hub.http.uvicorn_private import http as uvicorn_http

__all__ = ["calm", "clock", "make_world"]

pytestmark = pytest.mark.usefixtures("calm")

PLACE = '{"_placeholder":true,"num":%s}'
WARNINGS = ("roomkey", "uvicorn", "asyncio")


@pytest.fixture
def engine() -> str:
    return "hub"


def echo(world) -> None:
    @world.sio.event
    async def message(sid, *arguments):
        world.calls.append(arguments)
        await world.sio.emit("back", arguments, to=sid)

    @world.sio.event
    async def shout(sid, *arguments):
        await world.sio.emit("said", arguments, skip_sid=sid)

    @world.sio.event
    def ask(sid, *arguments):
        return arguments


@pytest.fixture
async def world(make_world):
    return await make_world(prepare=echo)


@pytest.fixture
async def bystander(world):
    return await RawSocket.member(world.host, world.token("grace"))


FAILED = "431" + json.dumps([contract.rejected(Unavailable("").to_client())], separators=(",", ":"))
"""The acknowledgement of an event whose handler failed."""


async def goes_on(member: RawSocket) -> None:
    await member.text('42["message","still here"]')
    assert await member.packet() == '42["back","still here"]'


async def attacker(world) -> RawSocket:
    return await RawSocket.member(world.host, world.token("mallory"))


async def closes(world, caplog, bystander: RawSocket, *frames: bytes) -> None:
    """Assert that the frames close their connection, with one log line and no other effect."""
    raw = await attacker(world)
    caplog.clear()
    world.calls.clear()
    sessions = len(world.sio.sessions.active)
    for one in frames:
        await raw.send(one)
    what = str(frames)[:200]
    try:
        assert await raw.close_code() is not None, what
    except TimeoutError:
        pytest.fail(f"not closed: {what}")
    await until(lambda: len(world.sio.sessions.active) == sessions - 1)
    lines = [one for one in caplog.records if one.levelno >= logging.WARNING and one.name.startswith(WARNINGS)]
    assert len(lines) == 1, (what, [one.getMessage() for one in lines])
    told = json.loads(lines[0].getMessage())
    assert told["address"] == "127.0.0.1"
    assert len(lines[0].getMessage()) < 300
    assert world.calls == [], what
    await goes_on(bystander)


def texts(*packets: str) -> list[tuple[bytes, ...]]:
    return [(frame(packet),) for packet in packets]


# Malformed packets

MALFORMED = [
    *texts("", "0", "00", "2", "2probe", "5", "6", "6x", "7", "8", "9", "a", "\x00", "4", "4a", "47", "48", "49", "44"),
    *texts('44{"message":"x"}', "42", "42[", "42[]", "42{}", "42null", "42[null]", '42[["a"]]', '42[{"a":1}]'),
    *texts('42["a"', '42["a",]', "42['a']", '42["a"]]', "42[a]", '42/["a"', '42/x["a"]', "43", "43[]", "431", "431{}"),
    *texts(
        "42[true]",
        "40[",
        '40{"token"',
        "401{}",
        "40/" + "x" * 256 + ",",
        '41["x"]',
        "411",
        "45-",
        "46",
        "461-[]",
        '4\u0662["a"]',
    ),
    (frame(b"\x00\x01", BINARY),),  # an attachment of nothing
    (frame(b"", BINARY),),
    (frame('42["message"]', BINARY),),
    (frame(f'451-["message",{PLACE % 0}]'), frame('42["message"]')),
    (frame(b"4", TEXT, fin=False), frame(b"\xff", CONTINUATION)),
]


@pytest.mark.checklist("E63")
async def test_malformed_frame_closes_its_connection_only(world, bystander, caplog):
    for frames in MALFORMED:
        await closes(world, caplog, bystander, *frames)
    assert world.sio.counts["closed: protocol violation"] >= len(MALFORMED) - 5


@pytest.mark.checklist("E63")
@pytest.mark.parametrize(
    "body",
    [
        "",
        "a",
        "4",
        "7",
        "2",
        "42[",
        "42[]",
        f"{SEPARATOR}",
        f'42["message"]{SEPARATOR}',
        "b=",
        "b!",
        "bAQI",
        '45["x"]',
        f'451-["message",{PLACE % 0}]{SEPARATOR}42["message"]',
        "bAQID",
        f"bAQID{SEPARATOR}bAQID",
    ],
)
async def test_malformed_polling_body_closes_its_session_only(world, bystander, caplog, body):
    poll = await Poll.member(world.host, world.token("mallory"))
    world.calls.clear()
    caplog.clear()
    assert (await poll.http.post(poll.url(), content=body)).status_code == 400
    await until(lambda: len(world.sio.sessions.active) == 1)
    lines = [one.getMessage() for one in caplog.records if one.name == "roomkey.audit"]
    assert 1 <= len(lines) <= 2  # the session's end, and the request's refusal
    assert all(len(line) < 300 and '"127.0.0.1"' in line for line in lines)
    assert world.calls in ([], [()])  # what stood before the malformed one was whole
    await goes_on(bystander)
    await poll.close()


@pytest.mark.checklist("E64")
async def test_binary_packet_without_a_count_closes(world, bystander, caplog):
    for packet in ("450-", "45", '45["x"]', '450-["x"]', '45-["x"]', "451", '451["x"]', '451-"x"', "460-1[]", "46[]"):
        await closes(world, caplog, bystander, frame(packet))
    for packet in ('4500-["x"]', '451-1-["x"]', '45١-["x"]', '45+1-["x"]', f'4599999999999-["x",{PLACE % 0}]'):
        await closes(world, caplog, bystander, frame(packet))


@pytest.mark.checklist("E65")
async def test_more_than_10_attachments_close_at_the_header(world, bystander, caplog):
    for count in (11, 12, 100, 4294967296, 10**9):
        places = ",".join(PLACE % number for number in range(min(count, 12)))
        await closes(world, caplog, bystander, frame(f'45{count}-["message",{places}]'))
    raw = await attacker(world)
    await raw.text('4510-["message",' + ",".join(PLACE % number for number in range(10)) + "]")
    await raw.send(frame(b"\x01", BINARY) * 10)
    assert (await raw.packet()).startswith('4510-["back"')


@pytest.mark.checklist("E66")
async def test_wrong_number_of_attachments_closes(world, bystander, caplog):
    two = frame(f'452-["message",{PLACE % 0},{PLACE % 1}]')
    one = frame(f'451-["message",{PLACE % 0}]')
    data = frame(b"\x01", BINARY)
    await closes(world, caplog, bystander, two, data, frame('42["message"]'))
    await closes(world, caplog, bystander, two, frame("x"))
    await closes(world, caplog, bystander, two, two)
    await closes(world, caplog, bystander, data)
    world.calls.clear()
    raw = await attacker(world)
    await raw.send(one + data + data)  # the packet is whole, and then there is one too many
    assert await raw.close_code() is not None
    await goes_on(bystander)


@pytest.mark.checklist("E66")
async def test_heartbeat_may_arrive_between_attachments(make_world):
    world = await make_world(prepare=echo, ping_interval=25, ping_timeout=20)
    raw = await attacker(world)
    await raw.text(f'451-["message",{PLACE % 0}]')
    await raw.send(frame(b"", PING))
    assert (await raw.frame()).opcode == 10
    await raw.send(frame(b"\x01", BINARY))
    assert (await raw.packet()).startswith('451-["back"')


NUMBERS = ["-1", '"0"', "1.5", "0.0", "1", "99", "true", "false", "null", "[0]", "{}", "1e0", "18446744073709551616"]


@pytest.mark.checklist("E67")
async def test_placeholder_without_its_attachment_closes(world, bystander, caplog):
    data = frame(b"\x01", BINARY)
    for number in NUMBERS:
        await closes(world, caplog, bystander, frame(f'451-["message",{PLACE % number}]'), data)
    twice = f"{PLACE % 0},{PLACE % 0}"
    for arguments in (twice, '{"_placeholder":true}', "1", '"_placeholder"', '{"_placeholder":1,"num":0}', "{}"):
        await closes(world, caplog, bystander, frame(f'451-["message",{arguments}]'), data)
    await closes(world, caplog, bystander, frame(f"451-[{PLACE % 0}]"), data)  # an event whose name is one
    await closes(world, caplog, bystander, frame(f'452-["message",{twice}]'), data, data)


@pytest.mark.checklist("E68")
async def test_attachments_over_the_limit_close(world, bystander, caplog):
    head = frame(f'4510-["message",{",".join(PLACE % number for number in range(10))}]')
    await closes(world, caplog, bystander, head, *[frame(b"x" * 250_000, BINARY)] * 4)


@pytest.mark.checklist("E68")
async def test_attachments_that_arrive_late_close(world, bystander):
    raw = await attacker(world)
    await raw.text(f'453-["message",{PLACE % 0},{PLACE % 1},{PLACE % 2}]')
    await raw.sync()
    await world.tick(6)
    await raw.send(frame(b"\x01", BINARY))
    await raw.sync()
    await world.tick(3.9)
    assert len(world.sio.sessions.active) == 2
    await world.tick(0.2)  # an attachment now and then does not move the deadline
    assert await raw.close_code() is not None
    await goes_on(bystander)


@pytest.mark.checklist("E68")
async def test_attachment_deadline_restarts_with_each_packet(world):
    raw = await attacker(world)
    for _count in range(3):
        await raw.text(f'451-["message",{PLACE % 0}]')
        await raw.sync()
        await world.tick(6)
        await raw.send(frame(b"\x01", BINARY))
        assert (await raw.packet()).startswith("451-")
        assert (await raw.frame()).payload == b"\x01"
    await world.tick(10.1)
    await goes_on(raw)


# Memory, of a hub that is a process of its own


@pytest.fixture(scope="module")
def process():
    with hub_process(max_anonymous=5000) as hub:
        yield hub


async def _warm(process) -> RawSocket:
    """Connect a first member, so that modules and caches loaded once do not count as growth."""
    member = await RawSocket.member(process.host, process.token())
    for _count in range(3):
        await goes_on(member)
        raw = await RawSocket.member(process.host, process.token("mallory"))
        await raw.text('42["message","' + "x" * 900_000 + '"]')
        await raw.packet()
        await raw.send(frame("x" * 5, TEXT, length=b"\x7f" + (1 << 40).to_bytes(8)))
        assert await raw.close_code() == 1009
    return member


@pytest.mark.checklist("E69")
@pytest.mark.parametrize("size", [1_100_000, 15_000_000, 17_500_000])
@pytest.mark.parametrize("pieces", [1, 100])
async def test_message_over_the_limit_closes_without_being_buffered(process, size, pieces):
    bystander = await _warm(process)
    raw = await RawSocket.member(process.host, process.token("mallory"))
    data = b"4" + b"x" * (size - 1)
    parts = [data[start : start + size // pieces] for start in range(0, size, size // pieces)]
    before = process.memory()
    process.forget_peak()
    sending = asyncio.create_task(
        raw.send(b"".join(frame(part, CONTINUATION if at else TEXT, fin=False) for at, part in enumerate(parts)))
    )
    assert await raw.close_code() == 1009
    with suppress(ConnectionError):
        await sending
    assert process.peak() - before < size
    await goes_on(bystander)


@pytest.mark.checklist("E72")
async def test_compressed_frames_close_without_being_inflated(process):
    """Compression is never negotiated, so a compressed frame is invalid."""
    bystander = await _warm(process)
    bomb = zlib.compressobj(wbits=-15)
    packed = bomb.compress(b"4" + b"x" * 15_900_000) + bomb.flush(zlib.Z_SYNC_FLUSH)
    before = process.memory()
    process.forget_peak()
    for _count in range(20):
        raw = await RawSocket.open(process.host)
        await raw.send(upgrade(process.host, sec_websocket_extensions="permessage-deflate; client_max_window_bits"))
        answer = await raw.answer()
        assert answer.status == 101
        assert "sec-websocket-extensions" not in answer.headers
        await raw.send(frame(packed[:-4], TEXT, rsv=4))
        assert await raw.close_code() == 1002
    assert process.peak() - before < 20_000_000
    await goes_on(bystander)


# Bodies


@pytest.fixture
async def poll(world):
    client = await Poll.member(world.host, world.token("mallory"))
    yield client
    await client.close()


def post(poll: Poll, host: str, *headers: str) -> bytes:
    return "\r\n".join([f"POST {poll.url()} HTTP/1.1", f"Host: {host}", *headers, "", ""]).encode()


async def nothing_is_left(world, raw: RawSocket) -> None:
    await raw.close()
    await until(lambda: not [task for task in asyncio.all_tasks() if "run_asgi" in str(task.get_coro())])
    await world.settle()
    assert world.guard.index.connections == set()


@pytest.mark.checklist("E70")
@pytest.mark.parametrize(
    "length", ["1000001", "17500000", "9" * 18, "9" * 30, "1e3", "-1", "0x10", "1,1", "five", "1 1"]
)
async def test_post_without_a_length_or_over_the_limit_is_rejected(world, poll, length):
    raw = await RawSocket.open(world.host)
    await raw.send(post(poll, world.host, f"Content-Length: {length}") + b"x" * 1000)
    answer = await raw.answer()
    assert answer.status in (400, 413)
    if answer.status == 413:
        await until(lambda: not world.sio.sessions.active)
        await world.tick(1.1)
        await nothing_is_left(world, raw)


@pytest.mark.checklist("E70")
@pytest.mark.parametrize("chunked", [True, False])
async def test_response_arrives_after_a_body_over_the_limit(world, poll, chunked):
    """The response is not lost, although the client reads it only after it has sent everything."""
    raw = await RawSocket.open(world.host)
    if chunked:
        await raw.send(post(poll, world.host, "Transfer-Encoding: chunked"))
        body = (b"186a0\r\n" + b"x" * 100_000 + b"\r\n") * 40 + b"0\r\n\r\n"
    else:
        await raw.send(post(poll, world.host, "Content-Length: 4000000"))
        body = b"x" * 4_000_000
    await raw.send(body)
    assert (await raw.answer()).status == 413
    await until(lambda: not world.sio.sessions.active)
    await raw.send(f"GET /elsewhere HTTP/1.1\r\nHost: {world.host}\r\n\r\n".encode())
    assert (await raw.answer()).status == 404  # the connection stands at the next request
    await nothing_is_left(world, raw)


@pytest.mark.checklist("E70")
async def test_chunks_over_the_limit_are_rejected_before_they_end(world, poll):
    raw = await RawSocket.open(world.host)
    await raw.send(post(poll, world.host, "Transfer-Encoding: chunked") + b"f4241\r\n" + b"x" * 1_000_001)
    assert (await raw.answer()).status == 413
    await nothing_is_left(world, raw)


@pytest.mark.checklist("E70")
async def test_body_shorter_than_its_length_is_closed(world, poll, monkeypatch):
    monkeypatch.setattr(polling_protocol, "REQUEST_SECONDS", 0.1)
    raw = await RawSocket.open(world.host)
    await raw.send(post(poll, world.host, "Content-Length: 100") + b'42["message"]')
    assert (await raw.answer()).status == 408
    assert await raw.ends()
    assert world.calls == []
    await nothing_is_left(world, raw)


@pytest.mark.checklist("E70")
async def test_truncated_body_changes_nothing(world, poll):
    raw = await RawSocket.open(world.host)
    await raw.send(post(poll, world.host, "Content-Length: 100") + b'42["message"]')
    [session] = world.sio.sessions.active.values()
    await until(lambda: session.transport.posting)
    await raw.close()
    await until(lambda: not session.transport.posting)
    assert world.calls == []
    assert (await poll.post('42["message"]')).text == "ok"


@pytest.mark.checklist("E70")
async def test_body_longer_than_its_length_is_not_read(world, poll):
    raw = await RawSocket.open(world.host)
    await raw.send(post(poll, world.host, "Content-Length: 13") + b'42["message"]' + b'42["message"]')
    assert await raw.ends()  # the rest is no request
    assert world.calls in ([], [()])


@pytest.mark.checklist("E70")
async def test_two_content_lengths_are_rejected(world, poll):
    for headers in (["Content-Length: 13", "Content-Length: 14"], ["Content-Length: 13", "Transfer-Encoding: chunked"]):
        raw = await RawSocket.open(world.host)
        await raw.send(post(poll, world.host, *headers) + b'42["message"]')
        assert (await raw.answer()).status in (400, 413)
        await raw.close()
    assert world.calls == []


@pytest.mark.checklist("E70")
async def test_large_bodies_without_a_token_leave_no_task(world):
    tasks = len(asyncio.all_tasks())
    for _count in range(200):
        raw = await RawSocket.open(world.host)
        await raw.send(
            f"POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: {world.host}\r\n"
            "Content-Length: 99999999\r\n\r\n".encode()
        )
        assert (await raw.answer()).status == 400
        await raw.close()
    await until(lambda: len(asyncio.all_tasks()) <= tasks)


@pytest.mark.checklist("E71")
async def test_5000_packets_in_one_body_are_rejected(world, poll, bystander):
    """At most twice the event rate is read. The rest is ignored."""
    assert (await poll.post(*['42["message"]'] * 5000)).status_code == 400
    assert len(world.calls) == 2000  # the rate of an admitted connection begins with its admission
    await until(lambda: len(world.sio.sessions.active) == 1)
    await goes_on(bystander)


@pytest.mark.checklist("E71")
async def test_packets_within_the_rate_are_accepted(world, poll):
    assert (await poll.post(*['42["message"]'] * 1999)).text == "ok"
    assert len(world.calls) == 1999


# Frames


@pytest.mark.checklist("E73")
async def test_tiny_and_endless_fragments_close(world, bystander, caplog):
    one = frame(b"x", CONTINUATION, fin=False)
    await closes(world, caplog, bystander, frame(b"4", TEXT, fin=False), one * 1024)
    await closes(world, caplog, bystander, frame(b"4", TEXT, fin=False), frame(b"", CONTINUATION, fin=False) * 1024)
    big = frame(b"x" * 300_000, CONTINUATION, fin=False)
    await closes(world, caplog, bystander, frame(b"4", TEXT, fin=False), big * 4)


@pytest.mark.checklist("E73")
@pytest.mark.parametrize("opcode", [PING, PONG])
async def test_control_frames_over_their_rate_close(world, caplog, bystander, opcode):
    """A flood of pings or pongs is not read completely. What honest clients send is answered."""
    raw = await attacker(world)
    await raw.send(frame(b"x", opcode) * 50)
    await goes_on(bystander)
    await closes(world, caplog, bystander, frame(b"x" * 125, opcode) * 20_000)
    assert world.sio.counts["closed: protocol violation"] == 1
    await raw.send(frame(b'42["message",1]'))
    while (await raw.frame()).opcode != TEXT:
        pass


async def deaf(world, query: str = "") -> RawSocket:
    """Open a WebSocket with small buffers, for a client that stops reading."""
    address, _, port = world.host.rpartition(":")
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (address, int(port)))
    raw = RawSocket(*await asyncio.open_connection(sock=sock))
    await raw.send(upgrade(world.host, query))
    assert (await raw.answer()).status == 101
    return raw


def stop_reading(raw: RawSocket) -> None:
    raw.writer.transport.pause_reading()


@pytest.mark.checklist("E73")
async def test_ping_flood_of_a_client_that_does_not_read_is_closed(world, bystander):
    raw = await deaf(world)
    await raw.text("40" + json.dumps({"token": world.token()}))
    await until(lambda: len(world.sio.application.rooms.by_sid) == 2)
    stop_reading(raw)
    flood = frame(b"x" * 125, PING) * 1000
    await until_cut(raw, flood)
    assert world.sio.counts["closed: protocol violation"] == 1
    await until(lambda: len(world.sio.sessions.active) == 1)
    await goes_on(bystander)


@pytest.mark.checklist("E73")
async def test_control_frame_flood_during_an_upgrade_is_closed(world, bystander, poll):
    raw = await deaf(world, f"&sid={poll.sid}")
    stop_reading(raw)
    await until_cut(raw, frame(b"x" * 125, PING) * 1000)
    await goes_on(bystander)
    assert (await poll.post('42["message"]')).text == "ok"
    assert await poll.get() == ['42["back"]']


async def until_cut(raw: RawSocket, flood: bytes) -> None:
    async with asyncio.timeout(10):
        while True:
            raw.writer.write(flood)
            try:
                await raw.writer.drain()
            except ConnectionError:
                return


# Slow requests


@pytest.fixture
async def awake():
    async with loop_awake():
        yield


@pytest.fixture
def lose_patience(monkeypatch, awake):
    """Shorten the deadlines of the hub, once everything has arrived that has to be answered."""

    def shorten():
        monkeypatch.setattr(sniffer, "HEAD_SECONDS", 0.2)
        for name in ("HEAD_SECONDS", "STALL_SECONDS", "BODY_SECONDS"):
            monkeypatch.setattr(uvicorn_http, name, 0.2)
        for module in (asgi, polling_protocol):
            monkeypatch.setattr(module, "REQUEST_SECONDS", 0.2)

    return shorten


@pytest.fixture
def impatient(lose_patience):
    """Shorten the deadlines of the hub for the whole test."""
    lose_patience()


POLL = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n"
POST = "POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
SLOW = {
    "nothing": "",
    "half a line": "GET /socket.io/",
    "half a head": POLL,
    "half a handshake": "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nUpgrade: websocket\r\n",
    "no body": POST,
    "half a body": POST + "42",
    "half a body for nobody": "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n42",
    "half a chunk": "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    "a blank line": "\r\n",
}


async def waited_for(host: str, lose_patience: Callable[[], None], again: bool) -> RawSocket:
    """Return a connection whose first or second request must arrive within the shortened deadlines."""
    if not again:
        lose_patience()
    raw = await RawSocket.open(host)
    if again:
        await raw.send(b"GET /elsewhere HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await raw.answer()).status == 404
        lose_patience()
    return raw


first_and_second = pytest.mark.parametrize("again", [False, True], ids=["first request", "second request"])


@pytest.mark.checklist("E74")
@first_and_second
@pytest.mark.parametrize("sent", SLOW)
async def test_unfinished_request_is_closed(world, lose_patience, poll, sent, again):
    raw = await waited_for(world.host, lose_patience, again)
    if again and sent == "nothing":
        return  # uvicorn's own timer for idle connections
    await raw.send(SLOW[sent].format(sid=poll.sid).encode())
    assert await raw.ends()
    await until(lambda: not world.sio.requests.pending)


async def ends_though_it_drips(raw: RawSocket, piece: bytes) -> bool:
    ended = asyncio.create_task(raw.ends())
    while not ended.done():
        await raw.send(piece)
        await asyncio.sleep(0.02)
    return await ended


@pytest.mark.checklist("E74")
@first_and_second
async def test_endless_headers_are_closed(world, lose_patience, again):
    raw = await waited_for(world.host, lose_patience, again)
    await raw.send(POLL.encode())
    assert await ends_though_it_drips(raw, b"X: y\r\n")


@pytest.mark.checklist("E74")
@first_and_second
async def test_request_head_is_bounded(world, again):
    raw = await RawSocket.open(world.host)
    if again:
        await raw.send(b"GET /elsewhere HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await raw.answer()).status == 404
    await raw.send(POLL.encode() + b"X: " + b"y" * 20_000)
    assert await raw.ends()
    if not again:  # behind another request it is uvicorn's, which closes without an answer
        assert world.sio.counts["refused: Bad request"] == 1


@pytest.mark.checklist("E74")
async def test_unfinished_pipelined_request_is_closed(world, lose_patience):
    raw = await RawSocket.open(world.host)
    lose_patience()
    await raw.send(b"GET /elsewhere HTTP/1.1\r\nHost: x\r\n\r\nGET /else")
    assert (await raw.answer()).status == 404
    assert await raw.ends()


@pytest.mark.checklist("E74")
async def test_slow_body_is_closed(world, poll, impatient):
    raw = await RawSocket.open(world.host)
    await raw.send(post(poll, world.host, "Content-Length: 1000"))
    assert await ends_though_it_drips(raw, b"4")
    assert world.calls == []


@pytest.mark.checklist("E74")
async def test_slow_body_within_the_minimum_rate_is_accepted(world, poll, awake, monkeypatch):
    monkeypatch.setattr(uvicorn_http, "HEAD_SECONDS", 0.6)  # less than the whole body takes
    monkeypatch.setattr(uvicorn_http, "STALL_SECONDS", 0.6)
    raw = await RawSocket.open(world.host)
    await raw.send(post(poll, world.host, "Content-Length: 13"))
    for byte in b'42["message"]':
        await raw.send(bytes([byte]))
        await asyncio.sleep(0.05)
    assert (await raw.answer()).body == b"ok"


@pytest.mark.checklist("E74")
async def test_slow_body_of_an_answered_request_is_closed(world, lose_patience, poll):
    raw = await RawSocket.open(world.host)
    lose_patience()
    await raw.send(post(poll, world.host, "Content-Length: 99999999"))
    assert (await raw.answer()).status == 413
    assert await ends_though_it_drips(raw, b"4")


@pytest.mark.checklist("E74")
async def test_waiting_poll_is_not_closed(world, poll, impatient):
    waiting = asyncio.create_task(poll.get())
    await asyncio.sleep(0.5)
    assert not waiting.done()
    await world.sio.emit("news", 1)
    assert await waiting == ['42["news",1]']


# Backpressure


@pytest.mark.checklist("E75")
async def test_client_that_never_reads_is_closed_and_others_are_served(make_world, caplog):
    world = await make_world(prepare=echo, max_unsent=200_000)
    bystander = await RawSocket.member(world.host, world.token("grace"))
    raw = await deaf(world)
    await raw.text("40" + json.dumps({"token": world.token()}))
    await until(lambda: len(world.sio.application.rooms.by_sid) == 2)
    stop_reading(raw)
    sent = 0
    while len(world.sio.sessions.active) == 2 and sent < 1000:
        await world.sio.emit("news", "x" * 10_000)
        assert (await bystander.packet()).startswith('42["news"')
        sent += 1
    assert 20 <= sent < 1000  # not before the bound, and what the system holds besides
    assert world.sio.counts["closed: reads too slowly"] == 1
    told = [json.loads(one.getMessage()) for one in caplog.records if "reads too slowly" in one.getMessage()]
    assert [(line["event"], line["address"], line["max_unsent"]) for line in told] == [("closed", "127.0.0.1", 200_000)]
    await goes_on(bystander)


@pytest.mark.checklist("E75")
async def test_client_that_does_not_poll_is_closed(make_world):
    world = await make_world(prepare=echo, max_unsent=200_000)
    poll = await Poll.member(world.host, world.token())
    for _count in range(19):
        await world.sio.emit("news", "x" * 10_000)
    assert len(world.sio.sessions.active) == 1
    await world.sio.emit("news", "x" * 10_000)
    assert world.sio.sessions.active == {}
    assert world.sio.counts["closed: reads too slowly"] == 1
    await poll.close()


@pytest.mark.checklist("E75")
async def test_client_that_does_not_read_its_poll_is_closed(make_world, lose_patience):
    world = await make_world(prepare=echo, max_unsent=20_000_000)
    poll = await Poll.member(world.host, world.token())
    await world.sio.emit("news", "x" * 15_000_000)
    raw = await RawSocket.open(world.host)
    stop_reading(raw)
    lose_patience()
    raw.writer.write(f"GET {poll.url()} HTTP/1.1\r\nHost: {world.host}\r\n\r\n".encode())
    await asyncio.sleep(1)  # the hub looks twice, with STALL_SECONDS between
    raw.writer.transport.resume_reading()
    read = 0
    with suppress(ConnectionError):
        while data := await raw.reader.read(1 << 20):
            read += len(data)
    assert read < 15_000_000
    await poll.close()


@pytest.mark.checklist("E75")
async def test_client_that_reads_its_poll_slowly_is_served(make_world, awake, monkeypatch):
    monkeypatch.setattr(uvicorn_http, "STALL_SECONDS", 0.5)  # the hub looks twice: less than all pauses together
    world = await make_world(prepare=echo, max_unsent=20_000_000)
    poll = await Poll.member(world.host, world.token())
    await world.sio.emit("news", "x" * 15_000_000)
    raw = await RawSocket.open(world.host)
    await raw.send(f"GET {poll.url()} HTTP/1.1\r\nHost: {world.host}\r\n\r\n".encode())
    read = 0
    for count in range(15):
        while read < 15_000_000 and (data := await raw.reader.read(1 << 20)):
            read += len(data)
            if read // 1_000_000 > count:
                break
        stop_reading(raw)
        await asyncio.sleep(0.1)
        raw.writer.transport.resume_reading()
    assert read >= 15_000_000
    await poll.close()


@pytest.mark.checklist("E75")
async def test_invalid_frame_behind_unread_data_still_closes(make_world):
    world = await make_world(prepare=echo)
    raw = await deaf(world)
    await raw.text("40" + json.dumps({"token": world.token()}))
    await until(lambda: len(world.sio.application.rooms.by_sid) == 1)
    stop_reading(raw)
    [session] = world.sio.sessions.active.values()
    transport = session.transport._transport
    while not transport.get_write_buffer_size():
        await world.sio.emit("news", "x" * 100_000)
    assert world.sio.counts == {}
    await raw.send(frame(b"", 7))
    await until(lambda: not world.sio.sessions.active)
    await until_cut(raw, frame(b"x" * 1000))


# Rates


@pytest.mark.checklist("E76")
async def test_connections_without_a_token_are_bounded_per_address(make_world):
    world = await make_world(prepare=echo, max_anonymous=50)
    held = [await RawSocket.session(world.host) for _ in range(25)]
    polls = []
    async with httpx.AsyncClient(base_url=f"http://{world.host}", verify=False) as http:
        for _count in range(25):
            polls.append(json.loads((await http.get("/socket.io/?EIO=4&transport=polling")).text[1:])["sid"])
        refused = await http.get("/socket.io/?EIO=4&transport=polling")
    assert (refused.status_code, refused.json()) == (429, {"code": 4, "message": "Forbidden"})
    for _count in range(300):
        raw = await RawSocket.open(world.host)
        await raw.send(upgrade(world.host))
        assert (await raw.answer()).status == 429
        await raw.close()
    assert len(world.sio.sessions.active) == len(world.guard.index.connections) == 50
    elsewhere = await RawSocket.open(world.host, local_addr=("127.0.0.2", 0))
    await elsewhere.send(upgrade(world.host))
    assert (await elsewhere.answer()).status == 101
    await held[0].text("40" + json.dumps({"token": world.token()}))
    assert (await held[0].packet()).startswith("40")
    held.append(await RawSocket.session(world.host))  # an admitted connection is not counted
    await held[1].close()
    await until(lambda: len(world.sio.sessions.active) == 51)
    held.append(await RawSocket.session(world.host))
    await world.tick(15.1)
    await until(lambda: len(world.sio.sessions.active) == 1)
    assert world.guard.index.anonymous_from("127.0.0.1") == 0


@pytest.mark.checklist("E77")
async def test_events_over_the_rate_are_rejected_then_closed(make_world):
    world = await make_world(prepare=echo, event_rate=100)
    bystander = await RawSocket.member(world.host, world.token("grace"))
    raw = await attacker(world)
    await raw.send(b"".join(frame(f'42{number}["ask"]') for number in range(150)))
    for number in range(99):  # CONNECT was the first
        assert await raw.packet() == f"43{number}[]"
    for number in range(99, 150):
        told = await raw.packet()
        assert told.startswith(f"43{number}[")
        assert json.loads(told[told.index("[") :])[0]["error"]["reason"] == "too_many_attempts"
    await world.tick(0.8)  # a token comes back each hundredth of a second; 50 were overdrawn
    await raw.text('42["message",1]')
    assert await raw.packet() == '42["back",1]'
    await raw.send(frame('42["message",1]') * 200)
    assert await raw.close_code() is not None
    assert world.sio.counts["refused: too many events"] >= 50
    await goes_on(bystander)


# Input that is slow to parse


@pytest.mark.checklist("E78")
@pytest.mark.parametrize(
    "packet",
    [
        '42["message",' + "[" * 990_000,
        '42["message",' + "[" * 490_000 + "]" * 490_000 + "]",
        '42["message",' + '{"a":' * 190_000,
        '42["message","' + "\\u0041" * 160_000 + '"]',
        '42["message","' + "\\ud800" * 160_000 + '"]',
        '42["message","' + "[" * 990_000 + '"]',
        '42["message","' + '\\"' * 490_000 + '"]',
        '42["message",' + "9" * 4000 + "]",
        '42["message",' + "9" * 990_000 + "]",
        '42["message",1e' + "9" * 990_000 + "]",
        '42["message",{' + ",".join(f'"{number}":1' for number in range(80_000)) + "}]",
        '42["message",{' + ",".join(['"a":1'] * 150_000) + "}]",
        '42["message"' + ",[]" * 300_000 + "]",
        "42" + "1" * 990_000 + '["message"]',
        "45" + "1" * 990_000 + '-["message"]',
        "42/" + "a" * 990_000,
        "42/" + "a," * 490_000,
        "40" + "[" * 990_000,
        "42" + " " * 990_000 + '["message"]',
    ],
    ids=range(19),
)
async def test_packets_that_are_slow_to_parse_are_rejected_quickly(world, bystander, packet):
    raw = await attacker(world)
    loop_was_busy = asyncio.create_task(longest_pause())
    await raw.text(packet)
    answer = await raw.frame()
    assert answer is None or answer.opcode == 8 or answer.payload.startswith(b'42["back"')
    await goes_on(bystander)
    loop_was_busy.cancel()
    assert await loop_was_busy < 1


async def longest_pause() -> float:
    """Measure the longest turn of the event loop, in seconds of this process, which others do not lengthen."""
    longest, before = 0.0, time.process_time()
    with suppress(asyncio.CancelledError):
        while True:
            await asyncio.sleep(0)
            now = time.process_time()
            longest, before = max(longest, now - before), now
    return longest


# Values


@pytest.mark.checklist("E79")
@pytest.mark.parametrize(
    "value", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "nan", "0x1", "01", "1.", ".5", "+1"]
)
async def test_number_that_is_not_json_closes(world, bystander, caplog, value):
    for packet in (f'42["shout",{value}]', f'42["shout",{{"a":[{value}]}}]', f'421["ask",{value}]', f"431[{value}]"):
        await closes(world, caplog, bystander, frame(packet))
    place = PLACE % 0
    await closes(world, caplog, bystander, frame(f'451-["shout",{place},{value}]'), frame(b"\x01", BINARY))
    assert bystander.frames[-1].payload == b'42["back","still here"]'


@pytest.mark.checklist("E79")
async def test_application_cannot_send_a_number_that_is_not_json(world, bystander):
    for value in (float("nan"), float("inf"), {"a": [-float("inf")]}, (1, float("nan"))):
        with pytest.raises(ValueError):
            await world.sio.emit("news", value)
    await goes_on(bystander)


@pytest.mark.checklist("E80")
@pytest.mark.parametrize("text", ["\\ud800", "\\udc00", "a\\ud83dz", "\\ude00\\ud83d"])
async def test_lone_surrogate_is_replaced(world, bystander, poll, text):
    raw = await attacker(world)
    await raw.text(f'42["shout","{text}",{{"{text}":1}}]')
    whole = json.loads(f'"{text}"').encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    for told in (await bystander.packet(), *await poll.get()):
        assert json.loads(told[2:]) == ["said", whole, {whole: 1}]
    await goes_on(bystander)


@pytest.mark.checklist("E80")
@pytest.mark.parametrize(
    "text", ["\u2028\u2029", "\x00", "\x1e\x1f\x7f", "\ufeff", "\U0010ffff", "\ufffe", "</script>"]
)
async def test_unusual_characters_pass_and_break_no_receiver(world, bystander, poll, text):
    raw = await attacker(world)
    await raw.text("42" + json.dumps(["shout", text, {text: text}]))
    told = await bystander.packet()
    assert json.loads(told[2:]) == ["said", text, {text: text}]
    [polled] = await poll.get()  # a record separator within a text would end the packet there
    assert json.loads(polled[2:]) == ["said", text, {text: text}]
    await goes_on(bystander)


@pytest.mark.checklist("E81")
async def test_names_of_javascript_are_plain_data(world, bystander):
    raw = await attacker(world)
    data = {
        "__proto__": {"admin": True},
        "constructor": {"prototype": 1},
        "__class__": "x",
        "_placeholder": True,
        "": [],
    }
    await raw.text("42" + json.dumps(["shout", data]))
    assert json.loads((await bystander.packet())[2:]) == ["said", data]
    for name in ("__proto__", "constructor", "__init__", "__class__", "toString", "hasOwnProperty"):
        await raw.text(f'42["{name}",1]')
    await goes_on(raw)


@pytest.mark.checklist("E82")
async def test_invalid_acknowledgement_ids_close(world, bystander, caplog):
    raw = await attacker(world)
    for number in ("0", "1", "1", "007", "999999999999999"):
        await raw.text(f'42{number}["ask",1]')
        assert await raw.packet() == f"43{int(number)}[1]"
    for number in (str(2**53), "9" * 100, "-1", "1.5", "1e3", "+1"):
        await closes(world, caplog, bystander, frame(f'42{number}["ask",1]'))
        await closes(world, caplog, bystander, frame(f"43{number}[1]"))


@pytest.mark.checklist("E82")
async def test_unexpected_acknowledgement_calls_nothing(world):
    raw, other = await attacker(world), await RawSocket.member(world.host, world.token("grace"))
    [_, sid] = world.sio.application.rooms.by_sid
    answers = []
    await world.sio.emit("question", to=sid, callback=lambda *values: answers.append(values))
    question = await other.packet()
    number = question[2 : question.index("[")]
    for guess in ("0", number, number, "2", "999999999999999"):
        await raw.text(f'43{guess}["forged"]')
    await goes_on(raw)
    assert answers == []
    for _count in range(2):
        await other.text(f'43{number}["mine"]')
    await goes_on(other)
    assert answers == [("mine",)]


# Handlers


@pytest.mark.checklist("E83")
async def test_failing_handler_sends_no_detail_and_the_server_continues(make_world, caplog):
    def prepare(world):
        echo(world)

        @world.sio.event
        async def broken(sid, *arguments):
            raise RuntimeError("secret detail")

        @world.sio.event
        def broken_at_once(sid):
            raise KeyError("secret detail")

        @world.sio.event
        async def unspeakable(sid):
            return object()

    world = await make_world(prepare=prepare)
    raw = await attacker(world)
    for event in ("broken", "broken_at_once", "unspeakable", "broken"):
        await raw.text(f'421["{event}"]')
        assert await raw.packet() == FAILED
    await goes_on(raw)
    assert len([one for one in caplog.records if one.exc_text]) == 4  # a redacting filter may have formatted them
    caplog.clear()  # each is logged once, and nowhere else


@pytest.mark.checklist("E83")
async def test_wrong_number_of_arguments_harms_nobody(make_world, caplog):
    def prepare(world):
        echo(world)
        world.sio.on("two", lambda sid, first, second: None)

    world = await make_world(prepare=prepare)
    raw = await attacker(world)
    for arguments in ("", ",1", ",1,2,3"):
        await raw.text(f'421["two"{arguments}]')
        assert await raw.packet() == FAILED
    await goes_on(raw)
    caplog.clear()


@pytest.mark.checklist("E83")
async def test_handler_that_never_returns_delays_nobody(make_world):
    reached, ended = asyncio.Event(), asyncio.Event()

    def prepare(world):
        echo(world)

        @world.sio.event
        async def forever(sid):
            reached.set()
            await ended.wait()

    world = await make_world(prepare=prepare)
    raw = await attacker(world)
    await raw.text('421["forever"]')
    await reached.wait()
    await goes_on(raw)
    await raw.close()
    await until(lambda: not world.guard.index.connections)
    ended.set()


@pytest.mark.checklist("E83")
async def test_unanswered_call_times_out(world):
    raw = await attacker(world)
    [sid] = world.sio.application.rooms.by_sid
    with pytest.raises(TimeoutError):
        await world.sio.call("question", to=sid, timeout=0.05)
    assert (await raw.packet()).startswith("42")


# Heartbeat and protocol version


@pytest.mark.checklist("E84")
async def test_missing_early_and_repeated_pongs_close(make_world, caplog):
    world = await make_world(prepare=echo, ping_interval=25, ping_timeout=20)
    bystander = await RawSocket.member(world.host, world.token("grace"))
    await closes(world, caplog, bystander, frame("3"))
    await closes(world, caplog, bystander, frame("3") * 500)
    silent = await attacker(world)
    await world.tick(25.1)
    assert await silent.packet() == await bystander.packet() == "2"
    await bystander.text("3")
    await goes_on(bystander)
    await world.tick(20.1)
    assert await silent.close_code() is not None
    await bystander.text("3")
    assert await bystander.close_code() is not None


@pytest.mark.checklist("E84")
async def test_missing_pong_closes_over_polling(make_world):
    world = await make_world(prepare=echo, ping_interval=25, ping_timeout=20)
    poll = await Poll(world.host).open()
    assert (await poll.post("3")).status_code == 400
    await until(lambda: not world.sio.sessions.active)
    await poll.close()


@pytest.mark.checklist("E85")
async def test_protocol_3_client_receives_400_and_the_log_names_the_fix(world, caplog):
    told = {"code": 5, "message": "Unsupported protocol version"}
    for transport in ("polling", "websocket"):
        caplog.clear()
        raw = await RawSocket.open(world.host)
        line = f"GET /socket.io/?EIO=3&transport={transport} HTTP/1.1"
        if transport == "polling":
            await raw.send(f"{line}\r\nHost: {world.host}\r\n\r\n".encode())
        else:
            await raw.send(upgrade(world.host, line=line))
        answer = await raw.answer()
        assert (answer.status, answer.json) == (400, told)
        [line] = [json.loads(one.getMessage()) for one in caplog.records if one.name == "roomkey.audit"]
        assert "upgrade the client to Socket.IO 3 or later" in line["check"]
        assert line["address"] == "127.0.0.1"
        await raw.close()


def test_limits_can_be_configured():
    assert (Limits().payload, Limits().attachments, Limits().fragments) == (1_000_000, 10, 1024)
