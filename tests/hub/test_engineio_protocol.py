"""Engine.IO protocol, version 4: what its document says a server must or should do, on a live hub.

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
    """A client that polls, and is admitted."""
    return await Poll.member(world.host, world.token())


async def probed(world, poll: Poll) -> RawSocket:
    """A WebSocket that has had the answer to its probe."""
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
async def test_query_parameters_a_missing_one_is_a_400(world, http, query, code, message):
    answer = await http.get(f"/socket.io/?{query}")
    assert (answer.status_code, answer.json()) == (400, {"code": code, "message": message})
    raw = await RawSocket.open(world.host)
    await raw.send(upgrade(world.host, line=f"GET /socket.io/?{query} HTTP/1.1"))
    refused = await raw.answer()
    assert (refused.status, refused.json) == (400, {"code": code, "message": message})
    assert await raw.ends()


async def test_query_parameters_without_a_sid_it_is_a_new_session(world, http):
    first, second = [await http.get("/socket.io/?EIO=4&transport=polling") for _ in range(2)]
    assert json.loads(first.text[1:])["sid"] != json.loads(second.text[1:])["sid"]
    assert (await http.post("/socket.io/?EIO=4&transport=polling", content="40")).status_code == 400


async def test_query_parameters_the_path_stands_with_and_without_its_slash(world, http):
    for path in ("/socket.io/", "/socket.io"):
        assert (await http.get(f"{path}?EIO=4&transport=polling")).status_code == 200
    assert (await http.get("/engine.io/?EIO=4&transport=polling")).status_code == 404


# Headers


async def test_headers_a_body_without_a_content_type_is_plain_text(world):
    poll = await polling(world)
    body = '42["message","é"]'.encode()
    raw = await RawSocket.open(world.host)
    line = f"POST {poll.url()} HTTP/1.1\r\nHost: {world.host}\r\nContent-Length: {len(body)}\r\n\r\n"
    await raw.send(line.encode() + body)
    assert (await raw.answer()).body == b"ok"
    assert await poll.get() == ['42["back","é"]']
    await poll.close()


async def test_headers_answers_are_plain_text_because_binary_packets_are_base64(world, http):
    opened = await http.get("/socket.io/?EIO=4&transport=polling")
    assert opened.headers["content-type"] == "text/plain; charset=UTF-8"
    assert opened.headers["cache-control"] == "no-store"


# Sending data, receiving data


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("sid", ["unknown", "", "AAAAAAAAAAAAAAAAAAAA", "%00", "%ff", "x" * 5000])
async def test_sending_and_receiving_an_unknown_session_is_a_400(world, http, method, sid):
    answer = await http.request(method, f"/socket.io/?EIO=4&transport=polling&sid={sid}", content="40")
    assert (answer.status_code, answer.json()) == (400, {"code": 1, "message": "Session ID unknown"})


async def test_websocket_an_unknown_session_is_refused(world):
    raw = await RawSocket.open(world.host)
    await raw.send(upgrade(world.host, "&sid=unknown"))
    answer = await raw.answer()
    assert (answer.status, answer.json) == (400, {"code": 1, "message": "Session ID unknown"})


async def test_sending_success_is_a_200_with_ok(world):
    poll = await polling(world)
    answer = await poll.post('42["message"]')
    assert (answer.status_code, answer.text) == (200, "ok")
    await poll.close()


async def test_sending_two_posts_at_once_close_the_session(world):
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
async def test_a_session_that_ended_badly_is_unknown_at_once(world, why):
    """Whatever waited to be fetched: a ping, or an event."""
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


async def test_receiving_waits_until_there_is_a_packet(world):
    poll = await polling(world)
    waiting = await begin_poll(world.sio, poll.get())
    assert not waiting.done()
    await world.sio.emit("news", 1)
    assert await waiting == ['42["news",1]']
    await poll.close()


async def test_receiving_what_waits_comes_in_order_and_in_answers_of_16_packets(world):
    """python-socketio's client accepts no more (``engineio.payload.Payload.max_decode_packets``)."""
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


async def test_upgrading_what_was_not_fetched_yet_follows_in_order(world):
    """Even where an answer ended in the midst of a packet with attachments."""
    poll = await polling(world)
    await world.sio.emit("file", [b"x"] * 20)
    await world.sio.emit("news", 1)
    assert len(await poll.get()) == 16
    socket = await probed(world, poll)
    await socket.text("5")
    assert [(await socket.frame())[:2] for _ in range(5)] == [(BINARY, b"x")] * 5
    assert await socket.packet() == '42["news",1]'
    await poll.close()


async def test_sending_many_events_in_one_body(world):
    """A client puts all that it emits in one turn into one body: it is told how many bytes that may have."""
    poll = await polling(world)
    assert (await poll.post(*[f'42["message",{number}]' for number in range(300)])).text == "ok"
    answers = [packet for _ in range(19) for packet in await poll.get()]
    assert answers == [f'42["back",{number}]' for number in range(300)]
    await poll.close()


async def test_receiving_two_gets_at_once_close_the_session(world):
    poll = await polling(world)
    waiting = await begin_poll(world.sio, poll.http.get(poll.url()))
    second = await poll.http.get(poll.url())
    assert (second.status_code, second.json()["code"]) == (400, 3)
    first = await waiting
    assert (first.status_code, first.text) == (200, "1")
    assert (await poll.http.get(poll.url())).status_code == 400
    await poll.close()


# WebSocket


async def test_websocket_each_packet_is_a_message_of_its_own(world):
    member = await RawSocket.member(world.host, world.token())
    for number in range(20):
        await world.sio.emit("news", number)
    for number in range(20):
        read = await member.frame()
        assert (read.opcode, read.fin, read.payload) == (1, True, b'42["news",%d]' % number)


@pytest.mark.parametrize("when", ["offered", "probed", "upgraded"])
async def test_websocket_a_second_one_for_a_session_is_closed_and_the_first_goes_on(world, when):
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


async def test_websocket_a_session_that_began_on_one_takes_no_second(world):
    first = await RawSocket.member(world.host, world.token())
    [eio_sid] = world.sio.sessions.active
    second = await RawSocket.websocket(world.host, f"&sid={eio_sid}")
    assert await second.close_code() is not None
    await first.text('42["message",1]')
    assert await first.packet() == '42["back",1]'


# Handshake


async def test_handshake_polling_is_answered_with_an_open_packet(world, http):
    answer = await http.get("/socket.io/?EIO=4&transport=polling")
    assert answer.status_code == 200
    assert answer.text[0] == "0"
    told = json.loads(answer.text[1:])
    assert told.keys() == KEYS
    assert isinstance(told.pop("sid"), str)
    assert told == {"upgrades": ["websocket"], "pingInterval": 25000, "pingTimeout": 20000, "maxPayload": 1000000}


async def test_handshake_websocket_is_answered_with_an_open_packet(world):
    raw = await RawSocket.websocket(world.host)
    packet = await raw.packet()
    assert packet[0] == "0"
    told = json.loads(packet[1:])
    assert told.keys() == KEYS
    assert isinstance(told.pop("sid"), str)
    assert told == {"upgrades": [], "pingInterval": 25000, "pingTimeout": 20000, "maxPayload": 1000000}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "HEAD", "TRACE"])
async def test_handshake_is_a_get(world, http, method):
    answer = await http.request(method, "/socket.io/?EIO=4&transport=polling")
    assert answer.status_code == 400
    if method != "HEAD":
        assert answer.json() == {"code": 2, "message": "Bad handshake method"}
    assert world.sio.sessions.active == {}


# Heartbeat


async def test_heartbeat_websocket_a_ping_each_interval_and_a_pong_keeps_it_open(world):
    raw = await RawSocket.member(world.host, world.token())
    for _count in range(3):
        await world.tick(24.9)
        await raw.text('42["message"]')
        assert await raw.packet() == '42["back"]'  # nothing came before it
        await world.tick(0.2)
        assert await raw.packet() == "2"
        await raw.text("3")
        await raw.text('42["message"]')
        assert await raw.packet() == '42["back"]'


async def test_heartbeat_websocket_no_pong_closes(world):
    raw = await RawSocket.member(world.host, world.token())
    await world.tick(25.1)
    assert await raw.packet() == "2"
    await raw.text('42["message"]')  # any other packet is no pong
    assert await raw.packet() == '42["back"]'
    await world.tick(19.8)
    assert len(world.sio.sessions.active) == 1
    await world.tick(0.3)
    assert await raw.close_code() is not None
    assert world.sio.sessions.active == {}


async def test_heartbeat_polling_a_ping_each_interval_and_a_pong_keeps_it_open(world):
    poll = await polling(world)
    for _count in range(3):
        await world.tick(25.1)
        assert await poll.get() == ["2"]
        assert (await poll.post("3")).text == "ok"
    await poll.close()


async def test_heartbeat_polling_no_pong_closes(world):
    poll = await polling(world)
    waiting = await begin_poll(world.sio, poll.get())
    await world.tick(25.1)
    assert await waiting == ["2"]
    await world.tick(20.1)
    assert world.sio.sessions.active == {}
    assert (await poll.post("3")).status_code == 400
    await poll.close()


async def test_heartbeat_polling_no_pong_answers_the_waiting_poll_with_unknown(world):
    """The packet CLOSE would be the end of all for python-socketio's client, which may only have been slow."""
    poll = await polling(world)
    await world.tick(25.1)
    assert await poll.get() == ["2"]
    waiting = await begin_poll(world.sio, poll.answer())
    await world.tick(20.1)
    assert await waiting == (400, '{"code":1,"message":"Session ID unknown"}')
    assert await poll.answer() == (400, '{"code":1,"message":"Session ID unknown"}')
    await poll.close()


async def test_heartbeat_goes_on_after_the_upgrade(world):
    poll = await polling(world)
    await world.tick(25.1)
    websocket = await probed(world, poll)
    await websocket.text("5")
    assert await websocket.packet() == "2"  # it was not fetched, so it moved along
    await websocket.text("3")
    await websocket.text('42["message"]')
    assert await websocket.packet() == '42["back"]'
    await world.tick(25.1)
    assert await websocket.packet() == "2"
    await poll.close()


# Upgrade


async def test_upgrade_a_waiting_get_is_released_with_a_noop_and_the_probe_answered(world):
    poll = await polling(world)
    waiting = await begin_poll(world.sio, poll.get())
    websocket = await probed(world, poll)
    assert await waiting == ["6"]
    await websocket.text("5")
    await websocket.text('42["message",1]')
    assert await websocket.packet() == '42["back",1]'
    assert world.sio.transport(next(iter(world.sio.sockets.by_sid))) == "websocket"
    await poll.close()


async def test_upgrade_a_get_after_the_probe_is_answered_at_once(world):
    poll = await polling(world)
    websocket = await probed(world, poll)
    assert await poll.get() == ["6"]
    await websocket.text("5")
    await websocket.text('42["message"]')
    assert await websocket.packet() == '42["back"]'
    await poll.close()


async def test_upgrade_no_packet_is_lost_and_their_order_stays(world):
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


async def test_upgrade_packets_of_one_segment_are_each_handled(world):
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
async def test_upgrade_begins_with_a_probe_or_the_websocket_is_closed(world, packet):
    poll = await polling(world)
    websocket = await RawSocket.websocket(world.host, f"&sid={poll.sid}")
    await websocket.text(packet)
    assert await websocket.close_code() is not None
    assert (await poll.post('42["message",1]')).text == "ok"
    assert await poll.get() == ['42["back",1]']
    await poll.close()


@pytest.mark.parametrize("sent", [frame("2probe"), frame("3"), frame('42["message"]'), frame(b"5", BINARY)])
async def test_upgrade_ends_with_an_upgrade_packet_or_the_websocket_is_closed(world, sent):
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
async def test_upgrade_polling_is_over_after_it(world, method):
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


async def test_encoding_polling_several_packets_in_one_body(world):
    poll = await polling(world)
    assert (await poll.post('42["message",1]', '42["message",2]', '42["message",3]')).text == "ok"
    assert await poll.get() == ['42["back",1]', '42["back",2]', '42["back",3]']
    await poll.close()


async def test_encoding_polling_binary_packets_are_base64_both_ways(world):
    poll = await polling(world)
    answer = await poll.post('451-["message",{"_placeholder":true,"num":0}]', "bAQIDBA==")
    assert answer.text == "ok"
    assert await poll.get() == ['451-["back",{"_placeholder":true,"num":0}]', "bAQIDBA=="]
    await poll.close()


async def test_encoding_websocket_binary_packets_stand_as_they_are(world):
    raw = await RawSocket.member(world.host, world.token())
    await raw.text('451-["message",{"_placeholder":true,"num":0}]')
    await raw.send(frame(bytes(range(256)), BINARY))
    assert await raw.packet() == '451-["back",{"_placeholder":true,"num":0}]'
    read = await raw.frame()
    assert (read.opcode, read.payload) == (BINARY, bytes(range(256)))


@pytest.mark.parametrize("text", ["héllo", "€亜Б", "\U0001f511", "\u2028\x7f"])
async def test_encoding_is_utf_8_on_either_transport(world, text):
    packet = json.dumps(["message", text], ensure_ascii=False)
    raw = await RawSocket.member(world.host, world.token())
    await raw.text("42" + packet)
    poll = await polling(world)
    assert (await poll.post("42" + packet)).text == "ok"
    assert json.loads((await raw.packet())[2:]) == json.loads((await poll.get())[0][2:]) == ["back", text]
    await poll.close()


async def test_max_payload_is_a_body_that_is_still_taken_and_no_larger_one(world):
    poll = await polling(world)
    filler = "x" * (1_000_000 - len('42["message",""]'))
    assert (await poll.post(f'42["message","{filler}"]')).text == "ok"
    [packet] = await poll.get()
    assert len(packet) == len('42["back",""]') + len(filler)
    assert (await poll.post(f'42["message","{filler}x"]')).status_code == 413
    await until(lambda: not world.sio.sessions.active)
    await poll.close()


async def test_max_payload_is_a_websocket_message_that_is_still_taken(world):
    raw = await RawSocket.member(world.host, world.token())
    filler = "x" * (1_000_000 - len('42["message",""]'))
    await raw.text(f'42["message","{filler}"]')
    assert len(await raw.packet()) == len('42["back",""]') + len(filler)
    await raw.text(f'42["message","{filler}x"]')
    assert await raw.close_code() == 1009


# What the test suite of the protocol checks besides

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
async def test_suite_polling_an_invalid_packet_closes_the_session(world, body):
    poll = await polling(world)
    assert (await poll.http.post(poll.url(), content=body)).status_code == 400
    await until(lambda: not world.sio.sessions.active)
    await poll.close()


@pytest.mark.parametrize("packet", ["abc", "", "7", "4abc", "bAQIDBA==", "0", "2", "2probe", "5", "6", "3x", "1x", "b"])
async def test_suite_websocket_an_invalid_packet_closes_the_session(world, packet):
    raw = await RawSocket.member(world.host, world.token())
    await raw.text(packet)
    assert await raw.close_code() is not None
    assert world.sio.sessions.active == {}


async def test_suite_polling_close_releases_the_waiting_get_and_ends_the_session(world):
    poll = await polling(world)
    waiting = await begin_poll(world.sio, poll.get())
    assert (await poll.post("1")).status_code == 200
    assert await waiting == ["6"]
    assert (await poll.http.get(poll.url())).status_code == 400
    await poll.close()


async def test_suite_websocket_close_ends_the_session(world):
    raw = await RawSocket.member(world.host, world.token())
    await raw.text("1")
    assert await raw.close_code() is not None
    assert world.sio.sessions.active == {}


async def test_suite_a_cancelled_get_ends_the_session(world):
    poll = await polling(world)
    raw = await RawSocket.open(world.host)
    await raw.send(f"GET {poll.url()} HTTP/1.1\r\nHost: {world.host}\r\n\r\n".encode())
    [session] = world.sio.sessions.active.values()
    await until(lambda: session.transport.busy)
    await raw.close()
    await until(lambda: not session.alive)
    assert (await poll.http.get(poll.url())).status_code == 400
    await poll.close()


async def test_suite_a_session_that_never_polls_ends_by_its_heartbeat(world):
    poll = await polling(world)
    await world.tick(25.1)
    await world.tick(20.1)
    assert world.sio.sessions.active == {}
    await poll.close()


async def test_an_ended_session_is_remembered_for_its_last_words_and_not_twice(world):
    """Beyond the document: a client that is refused while it does not poll still hears why, once."""
    poll = await Poll(world.host).open()
    await poll.post('40{"token":"bad"}')
    await until(lambda: not world.sio.sessions.active)
    [packet] = await poll.get()
    assert packet.startswith("44")
    assert (await poll.http.get(poll.url())).status_code == 400
    await poll.close()


async def test_a_stock_client_finds_all_of_it_usable(world):
    """The helper of the other tests answers pings by itself and knows nothing of frames."""
    raw = await Raw.open(world.host)
    assert (await raw.ask({"token": world.token()})).startswith("40")
    await world.tick(25.1)
    await raw.sync()
    await world.tick(20.1)
    await raw.event("message", 1)
    assert await raw.expect_event("back") == [1]
    await raw.close()
