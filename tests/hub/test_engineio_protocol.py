"""Engine.IO protocol, version 4: what the specification says a server must or should do, on a live hub.

The comments name the document's sections; the last part is what the document's own test suite checks besides.
"""

from __future__ import annotations

import base64
import json

import httpx
import pytest
import pytest_asyncio
from support.live import SEPARATOR, Poll, Raw, begin_poll, until
from support.rawsocket import BINARY, RawSocket, frame, upgrade
from support.world import echo

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEYS = {"sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"}


application = echo


@pytest_asyncio.fixture(loop_scope="module")
async def http(world):
    async with httpx.AsyncClient(base_url=f"http://{world.host}", timeout=5, verify=False) as client:
        yield client


async def polling(world) -> Poll:
    """An admitted client that polls."""
    return await Poll.member(world.host, world.token())


async def probed(world, poll: Poll) -> RawSocket:
    """A WebSocket whose probe was answered."""
    websocket = await RawSocket.websocket(world.host, f"&sid={poll.sid}")
    await websocket.text("2probe")
    assert await websocket.packet() == "3probe"
    return websocket


# Query parameters


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ("transport=polling", 5, "Unsupported protocol version"),
        ("EIO=4", 0, "Transport unknown"),
        ("", 5, "Unsupported protocol version"),
        ("EIO=&transport=polling", 5, "Unsupported protocol version"),
        ("EIO=4&transport=", 0, "Transport unknown"),
    ],
    ids=["EIO", "transport", "both", "EIO empty", "transport empty"],
)
async def test_query_parameters_are_required(world, http, query, code, message):
    answer = await http.get(f"/socket.io/?{query}")
    assert (answer.status_code, answer.json()) == (400, {"code": code, "message": message})
    raw = await RawSocket.open(world.host)
    await raw.send(upgrade(world.host, line=f"GET /socket.io/?{query} HTTP/1.1"))
    refused = await raw.answer()
    assert (refused.status, refused.json) == (400, {"code": code, "message": message})
    assert await raw.ends()


async def test_query_parameters_without_sid_open_a_session(world, http):
    first, second = [await http.get("/socket.io/?EIO=4&transport=polling") for _ in range(2)]
    assert json.loads(first.text[1:])["sid"] != json.loads(second.text[1:])["sid"]
    assert (await http.post("/socket.io/?EIO=4&transport=polling", content="40")).status_code == 400


async def test_path_works_with_and_without_its_slash(world, http):
    for path in ("/socket.io/", "/socket.io"):
        assert (await http.get(f"{path}?EIO=4&transport=polling")).status_code == 200
    assert (await http.get("/engine.io/?EIO=4&transport=polling")).status_code == 404


# Headers


async def test_headers_body_without_content_type_is_plain_text(world):
    poll = await polling(world)
    body = '42["message","é"]'.encode()
    raw = await RawSocket.open(world.host)
    line = f"POST {poll.url()} HTTP/1.1\r\nHost: {world.host}\r\nContent-Length: {len(body)}\r\n\r\n"
    await raw.send(line.encode() + body)
    assert (await raw.answer()).body == b"ok"
    assert await poll.get() == ['42["back","é"]']
    await poll.close()


async def test_headers_of_responses_say_plain_text(world, http):
    opened = await http.get("/socket.io/?EIO=4&transport=polling")
    assert opened.headers["content-type"] == "text/plain; charset=UTF-8"
    assert opened.headers["cache-control"] == "no-store"


# Sending data, receiving data


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("sid", ["unknown", "", "AAAAAAAAAAAAAAAAAAAA", "%00", "%ff", "x" * 5000])
async def test_unknown_session_gets_400_on_get_and_post(world, http, method, sid):
    answer = await http.request(method, f"/socket.io/?EIO=4&transport=polling&sid={sid}", content="40")
    assert (answer.status_code, answer.json()) == (400, {"code": 1, "message": "Session ID unknown"})


async def test_websocket_of_an_unknown_session_is_refused(world):
    raw = await RawSocket.open(world.host)
    await raw.send(upgrade(world.host, "&sid=unknown"))
    answer = await raw.answer()
    assert (answer.status, answer.json) == (400, {"code": 1, "message": "Session ID unknown"})


async def test_sending_gets_200_and_ok(world):
    poll = await polling(world)
    answer = await poll.post('42["message"]')
    assert (answer.status_code, answer.text) == (200, "ok")
    await poll.close()


async def test_sending_two_posts_at_once_closes_the_session(world):
    poll = await polling(world)
    slow = await RawSocket.open(world.host)
    await slow.send(f"POST {poll.url()} HTTP/1.1\r\nHost: {world.host}\r\nContent-Length: 12\r\n\r\n42".encode())
    [session] = world.sio.sessions.active.values()
    await until(lambda: session.transport.posting)
    assert (await poll.post('42["message"]')).status_code == 400
    await slow.send(b'["message"]')
    assert (await slow.answer()).status == 400
    assert world.sio.sessions.active == {}
    assert (await poll.http.get(poll.url())).status_code == 400
    await poll.close()


@pytest.mark.parametrize("why", ["silence", "violation", "two polls"])
async def test_session_that_ended_badly_is_unknown_immediately(world, why):
    """Even if a ping or an event was waiting to be fetched."""
    poll = await polling(world)
    await world.sio.emit("news", 1)
    if why == "silence":
        await world.tick(25)
        await world.tick(20)
    elif why == "violation":
        assert (await poll.post("abc")).status_code == 400
    else:
        await poll.get()
        waiting = await begin_poll(world.sio, poll.http.get(poll.url()))
        assert (await poll.http.get(poll.url())).status_code == 400
        assert (await waiting).text == "1"
    await until(lambda: not world.sio.sessions.active)
    answer = await poll.http.get(poll.url())
    assert (answer.status_code, answer.json()["code"]) == (400, 1)
    assert (await poll.post('42["message"]')).status_code == 400
    await poll.close()


async def test_receiving_waits_for_a_packet(world):
    poll = await polling(world)
    waiting = await begin_poll(world.sio, poll.get())
    assert not waiting.done()
    await world.sio.emit("news", 1)
    assert await waiting == ['42["news",1]']
    await poll.close()


async def test_receiving_is_in_order_and_16_packets_at_a_time(world):
    """python-socketio's client does not accept more (``engineio.payload.Payload.max_decode_packets``)."""
    poll = await polling(world)
    for number in range(20):
        await world.sio.emit("news", number)
    await world.sio.emit("file", [b"x"] * 20)
    answers = [await poll.get() for _ in range(3)]
    assert [len(packets) for packets in answers] == [16, 16, 9]
    assert answers[0] + answers[1][:4] == [f'42["news",{number}]' for number in range(20)]
    assert answers[1][4].startswith('4520-["file",')
    assert answers[1][5:] + answers[2] == ["b" + base64.b64encode(b"x").decode()] * 20
    await poll.close()


async def test_upgrade_sends_unfetched_packets_in_order(world):
    """Even if a response ended in the middle of a packet with attachments."""
    poll = await polling(world)
    await world.sio.emit("file", [b"x"] * 20)
    await world.sio.emit("news", 1)
    assert len(await poll.get()) == 16
    socket = await probed(world, poll)
    await socket.text("5")
    assert [(await socket.frame())[:2] for _ in range(5)] == [(BINARY, b"x")] * 5
    assert await socket.packet() == '42["news",1]'
    await poll.close()


async def test_sending_many_events_in_one_body_delivers_all(world):
    """A client sends everything that it emits in one turn in one body; the server announces the limit in bytes."""
    poll = await polling(world)
    assert (await poll.post(*[f'42["message",{number}]' for number in range(300)])).text == "ok"
    answers = [packet for _ in range(19) for packet in await poll.get()]
    assert answers == [f'42["back",{number}]' for number in range(300)]
    await poll.close()


async def test_receiving_with_two_gets_closes_the_session(world):
    poll = await polling(world)
    waiting = await begin_poll(world.sio, poll.http.get(poll.url()))
    second = await poll.http.get(poll.url())
    assert (second.status_code, second.json()["code"]) == (400, 3)
    first = await waiting
    assert (first.status_code, first.text) == (200, "1")
    assert (await poll.http.get(poll.url())).status_code == 400
    await poll.close()


# WebSocket


async def test_websocket_has_one_message_for_each_packet(world):
    member = await RawSocket.member(world.host, world.token())
    for number in range(20):
        await world.sio.emit("news", number)
    for number in range(20):
        read = await member.frame()
        assert (read.opcode, read.fin, read.payload) == (1, True, b'42["news",%d]' % number)


@pytest.mark.parametrize("when", ["offered", "probed", "upgraded"])
async def test_websocket_candidate_does_not_replace_an_earlier_one(world, when):
    poll = await polling(world)
    first = await RawSocket.websocket(world.host, f"&sid={poll.sid}")
    if when != "offered":
        await first.text("2probe")
        assert await first.packet() == "3probe"
    if when == "upgraded":
        await first.text("5")
        await until(lambda: next(iter(world.sio.sessions.active.values())).upgraded)
    second = await RawSocket.websocket(world.host, f"&sid={poll.sid}")
    assert await second.close_code() is not None
    if when == "offered":
        await first.text("2probe")
        assert await first.packet() == "3probe"
    if when != "upgraded":
        await first.text("5")
    await first.text('42["message",1]')
    assert await first.packet() == '42["back",1]'
    await poll.close()


@pytest.mark.parametrize("then", ["upgrade", "lost", "late"])
async def test_refusal_during_an_upgrade_reaches_the_client(world, http, then, monkeypatch):
    """Between its probe and its upgrade, a client fetches nothing, and takes a closed WebSocket for a lost one."""
    if then == "late":
        monkeypatch.setattr("roomkey.hub.engine_session.UPGRADE_AT_END_SECONDS", 0.0)
    poll = await Poll(world.host).open()
    websocket = await probed(world, poll)
    await poll.post('40{"token":"rubbish"}')
    if then == "upgrade":
        assert (await poll.post('42["message",1]')).status_code == 200  # dropped: it is about to be closed
        await websocket.text("5")
        assert (await websocket.packet()).startswith('44{"message":"jwt malformed"')
        assert await websocket.close_code() == 1000
    else:
        if then == "lost":
            await websocket.close()
        await until(lambda: not world.sio.sessions.active)
        assert (await poll.get())[0].startswith('44{"message":"jwt malformed"')
    await until(lambda: not world.sio.sessions.active)
    await poll.close()


async def test_websocket_session_rejects_a_second_websocket(world):
    first = await RawSocket.member(world.host, world.token())
    [eio_sid] = world.sio.sessions.active
    second = await RawSocket.websocket(world.host, f"&sid={eio_sid}")
    assert await second.close_code() is not None
    await first.text('42["message",1]')
    assert await first.packet() == '42["back",1]'


# Handshake


async def test_handshake_over_polling_returns_an_open_packet(world, http):
    answer = await http.get("/socket.io/?EIO=4&transport=polling")
    assert answer.status_code == 200
    assert answer.text[0] == "0"
    told = json.loads(answer.text[1:])
    assert told.keys() == KEYS
    assert isinstance(told.pop("sid"), str)
    assert told == {"upgrades": ["websocket"], "pingInterval": 25000, "pingTimeout": 20000, "maxPayload": 1000000}


async def test_handshake_over_websocket_returns_an_open_packet(world):
    raw = await RawSocket.websocket(world.host)
    packet = await raw.packet()
    assert packet[0] == "0"
    told = json.loads(packet[1:])
    assert told.keys() == KEYS
    assert isinstance(told.pop("sid"), str)
    assert told == {"upgrades": [], "pingInterval": 25000, "pingTimeout": 20000, "maxPayload": 1000000}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "HEAD", "TRACE"])
async def test_handshake_requires_get(world, http, method):
    answer = await http.request(method, "/socket.io/?EIO=4&transport=polling")
    assert answer.status_code == 400
    if method != "HEAD":
        assert answer.json() == {"code": 2, "message": "Bad handshake method"}
    assert world.sio.sessions.active == {}


# Heartbeat


async def test_heartbeat_over_websocket_keeps_the_session_open(world):
    raw = await RawSocket.member(world.host, world.token())
    for _count in range(3):
        await world.tick(24.9)
        await raw.text('42["message"]')
        assert await raw.packet() == '42["back"]'  # it is the first packet
        await world.tick(0.2)
        assert await raw.packet() == "2"
        await raw.text("3")
        await raw.text('42["message"]')
        assert await raw.packet() == '42["back"]'


async def test_heartbeat_over_websocket_closes_without_a_pong(world):
    raw = await RawSocket.member(world.host, world.token())
    await world.tick(25.1)
    assert await raw.packet() == "2"
    await raw.text('42["message"]')  # other packets do not count as a pong
    assert await raw.packet() == '42["back"]'
    await world.tick(19.8)
    assert len(world.sio.sessions.active) == 1
    await world.tick(0.3)
    assert await raw.close_code() is not None
    assert world.sio.sessions.active == {}


async def test_heartbeat_over_polling_keeps_the_session_open(world):
    poll = await polling(world)
    for _count in range(3):
        await world.tick(25.1)
        assert await poll.get() == ["2"]
        assert (await poll.post("3")).text == "ok"
    await poll.close()


async def test_heartbeat_over_polling_closes_without_a_pong(world):
    poll = await polling(world)
    waiting = await begin_poll(world.sio, poll.get())
    await world.tick(25.1)
    assert await waiting == ["2"]
    await world.tick(20.1)
    assert world.sio.sessions.active == {}
    assert (await poll.post("3")).status_code == 400
    await poll.close()


async def test_heartbeat_without_a_pong_answers_the_poll_with_unknown(world):
    """After the packet CLOSE, python-socketio's client would not reconnect, and it may only have been slow."""
    poll = await polling(world)
    await world.tick(25.1)
    assert await poll.get() == ["2"]
    waiting = await begin_poll(world.sio, poll.answer())
    await world.tick(20.1)
    assert await waiting == (400, '{"code":1,"message":"Session ID unknown"}')
    assert await poll.answer() == (400, '{"code":1,"message":"Session ID unknown"}')
    await poll.close()


async def test_heartbeat_continues_after_the_upgrade(world):
    poll = await polling(world)
    await world.tick(25.1)
    websocket = await probed(world, poll)
    await websocket.text("5")
    assert await websocket.packet() == "2"  # it was not fetched, so it is sent here
    await websocket.text("3")
    await websocket.text('42["message"]')
    assert await websocket.packet() == '42["back"]'
    await world.tick(25.1)
    assert await websocket.packet() == "2"
    await poll.close()


# Upgrade


async def test_upgrade_probe_releases_the_waiting_get_with_a_noop(world):
    poll = await polling(world)
    waiting = await begin_poll(world.sio, poll.get())
    websocket = await probed(world, poll)
    assert await waiting == ["6"]
    await websocket.text("5")
    await websocket.text('42["message",1]')
    assert await websocket.packet() == '42["back",1]'
    assert world.sio.transport(next(iter(world.sio.application.rooms.by_sid))) == "websocket"
    await poll.close()


async def test_upgrade_answers_a_get_after_the_probe_immediately(world):
    poll = await polling(world)
    websocket = await probed(world, poll)
    assert await poll.get() == ["6"]
    await websocket.text("5")
    await websocket.text('42["message"]')
    assert await websocket.packet() == '42["back"]'
    await poll.close()


async def test_upgrade_keeps_all_packets_in_order(world):
    poll = await polling(world)
    await world.sio.emit("news", 1)
    assert await poll.get() == ['42["news",1]']
    await world.sio.emit("news", 2)
    websocket = await probed(world, poll)
    await world.sio.emit("news", (3, b"\x01\x02"))
    assert (await poll.post('42["message","by polling"]')).text == "ok"
    await websocket.text("5")
    await websocket.text('42["message","by WebSocket"]')
    read = [await websocket.frame() for _ in range(5)]
    assert [one.payload for one in read] == [
        b'42["news",2]',
        b'451-["news",3,{"_placeholder":true,"num":0}]',
        b"\x01\x02",
        b'42["back","by polling"]',
        b'42["back","by WebSocket"]',
    ]
    await poll.close()


async def test_upgrade_handles_each_packet_of_a_segment(world):
    poll = await polling(world)
    raw = await RawSocket.open(world.host)
    packets = b"".join(map(frame, ("2probe", "5", '42["message",1]')))
    await raw.send(upgrade(world.host, f"&sid={poll.sid}") + packets)
    assert (await raw.answer()).status == 101
    assert await raw.packet() == "3probe"
    assert await raw.packet() == '42["back",1]'
    await poll.close()


@pytest.mark.parametrize(
    "packet",
    ["5", "2", "2probe2", "2PROBE", "3probe", "40", '42["message"]', "", "6", "1", "probe", "é"],
)
async def test_upgrade_without_a_probe_closes_the_websocket(world, packet):
    poll = await polling(world)
    websocket = await RawSocket.websocket(world.host, f"&sid={poll.sid}")
    await websocket.text(packet)
    assert await websocket.close_code() is not None
    assert (await poll.post('42["message",1]')).text == "ok"
    assert await poll.get() == ['42["back",1]']
    await poll.close()


@pytest.mark.parametrize("sent", [frame("2probe"), frame("3"), frame('42["message"]'), frame(b"5", BINARY)])
async def test_upgrade_without_an_upgrade_packet_closes_the_websocket(world, sent):
    poll = await polling(world)
    websocket = await probed(world, poll)
    await websocket.send(sent)
    assert await websocket.close_code() is not None
    assert (await poll.post('42["message",1]')).text == "ok"
    assert await poll.get() == ['42["back",1]']
    again = await probed(world, poll)
    await again.text("5")
    await again.text('42["message",2]')
    assert await again.packet() == '42["back",2]'
    await poll.close()


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_upgrade_ends_polling(world, method):
    poll = await polling(world)
    websocket = await probed(world, poll)
    await websocket.text("5")
    await until(lambda: next(iter(world.sio.sessions.active.values())).upgraded)
    answer = await poll.http.request(method, poll.url(), content='42["message","forged"]')
    assert (answer.status_code, answer.json()) == (400, {"code": 3, "message": "Bad request"})
    await websocket.text('42["message",1]')
    assert await websocket.packet() == '42["back",1]'
    await poll.close()


# Message, packet encoding


async def test_encoding_of_a_polling_body_has_several_packets(world):
    poll = await polling(world)
    assert (await poll.post('42["message",1]', '42["message",2]', '42["message",3]')).text == "ok"
    assert await poll.get() == ['42["back",1]', '42["back",2]', '42["back",3]']
    await poll.close()


async def test_encoding_of_binary_packets_over_polling_is_base64(world):
    poll = await polling(world)
    answer = await poll.post('451-["message",{"_placeholder":true,"num":0}]', "bAQIDBA==")
    assert answer.text == "ok"
    assert await poll.get() == ['451-["back",{"_placeholder":true,"num":0}]', "bAQIDBA=="]
    await poll.close()


async def test_encoding_of_binary_packets_over_websocket_is_raw(world):
    raw = await RawSocket.member(world.host, world.token())
    await raw.text('451-["message",{"_placeholder":true,"num":0}]')
    await raw.send(frame(bytes(range(256)), BINARY))
    assert await raw.packet() == '451-["back",{"_placeholder":true,"num":0}]'
    read = await raw.frame()
    assert (read.opcode, read.payload) == (BINARY, bytes(range(256)))


@pytest.mark.parametrize("text", ["héllo", "€亜Б", "\U0001f511", "\u2028\x7f"])
async def test_encoding_is_utf_8_on_both_transports(world, text):
    packet = json.dumps(["message", text], ensure_ascii=False)
    raw = await RawSocket.member(world.host, world.token())
    await raw.text("42" + packet)
    poll = await polling(world)
    assert (await poll.post("42" + packet)).text == "ok"
    assert json.loads((await raw.packet())[2:]) == json.loads((await poll.get())[0][2:]) == ["back", text]
    await poll.close()


async def test_max_payload_limits_a_polling_body(world):
    poll = await polling(world)
    filler = "x" * (1_000_000 - len('42["message",""]'))
    assert (await poll.post(f'42["message","{filler}"]')).text == "ok"
    [packet] = await poll.get()
    assert len(packet) == len('42["back",""]') + len(filler)
    assert (await poll.post(f'42["message","{filler}x"]')).status_code == 413
    await until(lambda: not world.sio.sessions.active)
    await poll.close()


async def test_max_payload_allows_a_websocket_message_of_that_size(world):
    raw = await RawSocket.member(world.host, world.token())
    filler = "x" * (1_000_000 - len('42["message",""]'))
    await raw.text(f'42["message","{filler}"]')
    assert len(await raw.packet()) == len('42["back",""]') + len(filler)
    await raw.text(f'42["message","{filler}x"]')
    assert await raw.close_code() == 1009


# More checks of the protocol's own test suite

MALFORMED = [
    "abc",
    "",
    "7",
    "4abc",
    SEPARATOR,
    f"3{SEPARATOR}",
    "b",
    "bAQIDBA",
    "b!!!!",
    "9:4hello",
    "2",
    "0",
    "5",
    "6",
]


@pytest.mark.parametrize("body", MALFORMED)
async def test_suite_invalid_packet_over_polling_closes_the_session(world, body):
    poll = await polling(world)
    assert (await poll.http.post(poll.url(), content=body)).status_code == 400
    await until(lambda: not world.sio.sessions.active)
    await poll.close()


@pytest.mark.parametrize("packet", ["abc", "", "7", "4abc", "bAQIDBA==", "0", "2", "2probe", "5", "6", "3x", "1x", "b"])
async def test_suite_invalid_packet_over_websocket_closes_the_session(world, packet):
    raw = await RawSocket.member(world.host, world.token())
    await raw.text(packet)
    assert await raw.close_code() is not None
    assert world.sio.sessions.active == {}


async def test_suite_close_over_polling_releases_the_get(world):
    poll = await polling(world)
    waiting = await begin_poll(world.sio, poll.get())
    assert (await poll.post("1")).status_code == 200
    assert await waiting == ["6"]
    assert (await poll.http.get(poll.url())).status_code == 400
    await poll.close()


async def test_suite_close_over_websocket_ends_the_session(world):
    raw = await RawSocket.member(world.host, world.token())
    await raw.text("1")
    assert await raw.close_code() is not None
    assert world.sio.sessions.active == {}


async def test_suite_cancelled_get_ends_the_session(world):
    poll = await polling(world)
    raw = await RawSocket.open(world.host)
    await raw.send(f"GET {poll.url()} HTTP/1.1\r\nHost: {world.host}\r\n\r\n".encode())
    [session] = world.sio.sessions.active.values()
    await until(lambda: session.transport.busy)
    await raw.close()
    await until(lambda: not session.alive)
    assert (await poll.http.get(poll.url())).status_code == 400
    await poll.close()


async def test_suite_session_without_polls_ends_by_its_heartbeat(world):
    poll = await polling(world)
    await world.tick(25.1)
    await world.tick(20.1)
    assert world.sio.sessions.active == {}
    await poll.close()


async def test_ended_session_delivers_its_last_packets_once(world):
    """Not in the specification: a client that is refused while it does not poll still receives the reason, once."""
    poll = await Poll(world.host).open()
    await poll.post('40{"token":"bad"}')
    await until(lambda: not world.sio.sessions.active)
    [packet] = await poll.get()
    assert packet.startswith("44")
    assert (await poll.http.get(poll.url())).status_code == 400
    await poll.close()


async def test_post_to_an_ended_session_leaves_its_last_packets_to_the_client(world):
    """A client that sends at the moment in which it is disconnected still receives the reason."""
    poll = await Poll(world.host).open()
    await poll.post('40{"token":"bad"}')
    await until(lambda: not world.sio.sessions.active)
    assert (await poll.http.post(poll.url(), content="3")).text == "ok"
    [packet] = await poll.get()
    assert packet.startswith("44")
    assert (await poll.http.post(poll.url(), content="3")).status_code == 400
    await poll.close()


async def test_official_client_works_on_both_transports(world):
    """The client of the other tests answers pings itself, and does not show frames."""
    raw = await Raw.open(world.host)
    assert (await raw.ask({"token": world.token()})).startswith("40")
    await world.tick(25.1)
    await raw.sync()
    await world.tick(20.1)
    await raw.event("message", 1)
    assert await raw.expect_event("back") == [1]
    await raw.close()
