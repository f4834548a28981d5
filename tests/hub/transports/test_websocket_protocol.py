"""RFC 6455 on a live hub: what it says a server must or should do, over a raw TCP connection.

The comments name the sections. Everything runs on asyncio's event loop and on uvloop: below the frames they differ.
"""

from __future__ import annotations

import asyncio

import pytest
import pytest_asyncio
from support.live import until
from support.rawsocket import (
    ACCEPT,
    BINARY,
    CLOSE,
    CONTINUATION,
    KEY,
    PING,
    PONG,
    TEXT,
    RawSocket,
    close_frame,
    frame,
    upgrade,
)
from support.world import echo

pytestmark = pytest.mark.asyncio(loop_scope="module")

SAY = '42["message",1]'
BACK = '42["back",1]'


application = echo


@pytest_asyncio.fixture(loop_scope="module")
async def member(world):
    raw = await RawSocket.member(world.host, world.token())
    yield raw
    await raw.close()


# 1.3, 4.2.2: the server's handshake


async def test_4_2_2_handshake_response_is_complete(world):
    raw = await RawSocket.open(world.host)
    await raw.send(upgrade(world.host))
    answer = await raw.answer()
    assert answer.status == 101
    assert answer.headers["upgrade"].lower() == "websocket"
    assert answer.headers["connection"].lower() == "upgrade"
    assert answer.headers["sec-websocket-accept"] == ACCEPT


async def test_4_2_2_accept_header_depends_on_the_key(world):
    raw = await RawSocket.open(world.host)
    await raw.send(upgrade(world.host, sec_websocket_key="/" * 21 + "w=="))
    assert (await raw.answer()).headers["sec-websocket-accept"] not in (ACCEPT, None)


@pytest.mark.parametrize("wanted", ["permessage-deflate", "permessage-deflate; client_max_window_bits, x-webkit"])
async def test_4_2_2_extensions_and_subprotocols_are_not_negotiated(world, wanted):
    raw = await RawSocket.open(world.host)
    await raw.send(upgrade(world.host, sec_websocket_extensions=wanted, sec_websocket_protocol="chat, superchat"))
    answer = await raw.answer()
    assert answer.status == 101
    assert not {"sec-websocket-extensions", "sec-websocket-protocol"} & answer.headers.keys()


# 4.2.1: the client's handshake


@pytest.mark.parametrize(
    "headers",
    [
        {"connection": "keep-alive, Upgrade"},
        {"connection": "upgrade,keep-alive"},
        {"connection": "UPGRADE"},
        {"upgrade": "WebSocket"},
        {"upgrade": "WEBSOCKET"},
        {"origin": None, "user_agent": "x" * 4000},
        {"sec_websocket_key": f" {KEY} "},
    ],
    ids=["list", "list without space", "case", "Upgrade case", "Upgrade upper", "long", "white space"],
)
async def test_4_2_1_handshake_in_any_usual_form_is_accepted(world, headers):
    raw = await RawSocket.open(world.host)
    await raw.send(upgrade(world.host, **headers))
    assert (await raw.answer()).status == 101
    assert (await raw.packet()).startswith("0{")


async def test_4_2_1_header_names_are_case_insensitive(world):
    raw = await RawSocket.open(world.host)
    head = upgrade(world.host)
    for name in (b"Upgrade:", b"Connection:", b"Sec-WebSocket-Key:"):
        head = head.replace(name, name.lower())
    await raw.send(head.replace(b"Sec-WebSocket-Version:", b"SEC-WEBSOCKET-VERSION:"))
    assert (await raw.answer()).status == 101


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_websocket_key": None},
        {"sec_websocket_key": ""},
        {"sec_websocket_key": "AAAA"},
        {"sec_websocket_key": KEY[:-2]},
        {"sec_websocket_key": "!" * 22 + "=="},
        {"sec_websocket_key": KEY + KEY},
        {"sec_websocket_key": f"{KEY}\r\nSec-WebSocket-Key: {KEY}"},
        {"host": None},
        {"upgrade": None},
        {"upgrade": "h2c"},
        {"connection": None},
        {"connection": "keep-alive"},
        {"connection": "Upgraded"},
    ],
    ids=[
        "no key",
        "empty key",
        "short key",
        "unpadded key",
        "no base64",
        "long key",
        "two keys",
        "no Host",
        "no Upgrade",
        "another Upgrade",
        "no Connection",
        "no upgrade in it",
        "similar",
    ],
)
async def test_4_2_1_incomplete_handshake_gets_400(world, headers):
    raw = await RawSocket.open(world.host)
    await raw.send(upgrade(world.host, **headers))
    answer = await raw.answer()
    assert answer.status == 400
    assert answer.json == {"code": 3, "message": "Bad request"}
    assert world.sio.sessions.active == {}


@pytest.mark.parametrize("line", ["POST {} HTTP/1.1", "GET {} HTTP/1.0"])
async def test_4_2_1_handshake_requires_get_and_http_1_1(world, line):
    raw = await RawSocket.open(world.host)
    await raw.send(upgrade(world.host, line=line.format("/socket.io/?EIO=4&transport=websocket")))
    assert (await raw.answer()).status == 400
    assert world.sio.sessions.active == {}


@pytest.mark.parametrize("version", ["8", "12", "14", "13, 8", "", None])
async def test_4_4_other_version_gets_the_supported_one(world, version):
    raw = await RawSocket.open(world.host)
    await raw.send(upgrade(world.host, sec_websocket_version=version))
    answer = await raw.answer()
    assert answer.status == 426
    assert answer.headers["sec-websocket-version"] == "13"
    assert await raw.ends()


@pytest.mark.parametrize("size", [1, 7, 100])
async def test_4_head_in_pieces_is_read(world, size):
    raw = await RawSocket.open(world.host)
    head = upgrade(world.host)
    for start in range(0, len(head), size):
        raw.writer.write(head[start : start + size])
        await asyncio.sleep(0)
    assert (await raw.answer()).status == 101
    assert (await raw.packet()).startswith("0{")


@pytest.mark.parametrize("cut", [1, 3, 20])
async def test_4_frames_after_the_request_are_read(world, cut):
    raw = await RawSocket.open(world.host)
    early = frame(f'40{{"token":"{world.token()}"}}') + frame(SAY)
    await raw.send(upgrade(world.host) + early[:-cut])
    assert (await raw.answer()).status == 101
    assert (await raw.packet()).startswith("0{")
    await raw.send(early[-cut:])
    assert (await raw.packet()).startswith("40")
    assert await raw.packet() == BACK


async def test_4_handshake_can_follow_another_request(world):
    raw = await RawSocket.open(world.host)
    await raw.send(f"GET /elsewhere HTTP/1.1\r\nHost: {world.host}\r\n\r\n".encode())
    assert (await raw.answer()).status == 404
    await raw.send(upgrade(world.host) + frame(f'40{{"token":"{world.token()}"}}'))
    assert (await raw.answer()).status == 101
    assert (await raw.packet()).startswith("0{")
    assert (await raw.packet()).startswith("40")


async def test_4_pipelined_handshake_opens_nothing(world):
    raw = await RawSocket.open(world.host)
    await raw.send(f"GET /elsewhere HTTP/1.1\r\nHost: {world.host}\r\n\r\n".encode() + upgrade(world.host))
    assert (await raw.answer()).status == 404
    assert (await raw.answer()).status == 400
    assert world.sio.sessions.active == {}


@pytest.mark.parametrize(
    "target", ["//[", "http://[::1", "/socket.io/%", "*", "http://x", "?EIO=4&transport=websocket", "/\x7f", "//", "é"]
)
async def test_4_invalid_target_gets_a_response(world, target):
    raw = await RawSocket.open(world.host)
    await raw.send(upgrade(world.host, line=f"GET {target} HTTP/1.1"))
    assert (await raw.answer()).status in (400, 404)
    await raw.close()


# 5.1, 5.3: masking


async def test_5_1_unmasked_frame_closes(member):
    await member.send(frame(SAY, mask=None))
    assert await member.close_code() == 1002


@pytest.mark.parametrize("mask", [bytes(4), b"\xff\xff\xff\xff", b"\x01\x02\x03\x04"])
async def test_5_3_any_mask_is_removed(member, mask):
    await member.send(frame(SAY, mask=mask))
    assert await member.packet() == BACK


async def test_5_1_server_does_not_mask(member):
    await member.text(SAY)
    assert await member.frame()  # RawSocket.frame() checks the bit


# 5.2: frames


@pytest.mark.parametrize("rsv", [1, 2, 4, 7])
@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, PONG, CLOSE])
async def test_5_2_reserved_bit_closes(member, rsv, opcode):
    payload = SAY if opcode == TEXT else b"\x03\xe8" if opcode == CLOSE else b""
    await member.send(frame(payload, opcode, rsv=rsv))
    assert await member.close_code() == 1002
    assert [read.opcode for read in member.frames[2:]] == [CLOSE]


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
async def test_5_2_unknown_opcode_closes(member, opcode):
    await member.send(frame(b"", opcode))
    assert await member.close_code() == 1002


@pytest.mark.parametrize(
    "length",
    [b"\x7e\x00\x0f", b"\x7f" + bytes(7) + b"\x0f", b"\x7f\x80" + bytes(6) + b"\x0f"],
    ids=["16 bits for less than 126", "64 bits for less than 65536", "the highest bit"],
)
async def test_5_2_invalid_length_closes(member, length):
    await member.send(frame(SAY, length=length))
    assert await member.close_code() == 1002


@pytest.mark.parametrize("size", [125, 126, 127, 65535, 65536, 70000])
async def test_5_2_all_forms_of_length_are_supported(member, size):
    filler = "x" * (size - len('42["message",""]'))
    await member.text(f'42["message","{filler}"]')
    assert await member.packet() == f'42["back","{filler}"]'


async def test_5_2_frames_in_pieces_are_read(member):
    for byte in frame(SAY) + frame("x" * 300, PING, length=b"\x00")[:6]:
        member.writer.write(bytes([byte]))
        await asyncio.sleep(0)
    assert await member.packet() == BACK


# 5.4: fragmentation


async def test_5_4_fragmented_message_is_joined(member):
    for at, char in enumerate(SAY):
        await member.send(frame(char, CONTINUATION if at else TEXT, fin=at == len(SAY) - 1))
    assert await member.packet() == BACK


async def test_5_4_empty_fragments_are_accepted(member):
    await member.send(frame(b"", TEXT, fin=False) + frame(SAY, CONTINUATION, fin=False) + frame(b"", CONTINUATION))
    assert await member.packet() == BACK


async def test_5_4_fragmented_binary_message_is_joined(member):
    await member.text('451-["message",{"_placeholder":true,"num":0}]')
    await member.send(frame(b"\x01", BINARY, fin=False) + frame(b"\x02", CONTINUATION))
    assert await member.packet() == '451-["back",{"_placeholder":true,"num":0}]'
    assert (await member.frame()).payload == b"\x01\x02"


async def test_5_4_control_frames_between_fragments_are_handled(member):
    await member.send(frame(SAY[:5], TEXT, fin=False) + frame("p", PING) + frame(b"", PONG))
    answer = await member.frame()
    assert (answer.opcode, answer.payload) == (PONG, b"p")  # before the message is complete
    await member.send(frame(SAY[5:], CONTINUATION))
    assert await member.packet() == BACK


async def test_5_4_close_between_fragments_is_handled(member):
    await member.send(frame(SAY[:5], TEXT, fin=False) + close_frame())
    assert await member.close_code() == 1000


@pytest.mark.parametrize(
    "frames",
    [
        frame(SAY, CONTINUATION),
        frame("", CONTINUATION, fin=False),
        frame("4", TEXT, fin=False) + frame("2", TEXT, fin=False),
        frame("4", TEXT, fin=False) + frame(SAY),
        frame("4", BINARY, fin=False) + frame(SAY, BINARY),
        frame(SAY[:5], TEXT, fin=False) + frame(SAY[5:], CONTINUATION) + frame("", CONTINUATION),
    ],
    ids=["nothing begun", "nothing begun, more to come", "begun twice", "whole within", "binary", "after its end"],
)
async def test_5_4_fragments_out_of_order_close_the_connection(member, frames):
    await member.send(frames)
    assert await member.close_code() == 1002


# 5.5: control frames


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
async def test_5_5_long_control_frame_closes(member, opcode):
    await member.send(frame(b"\x03\xe8" + b"x" * 124, opcode))
    assert await member.close_code() == 1002


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
async def test_5_5_fragmented_control_frame_closes(member, opcode):
    await member.send(frame(b"\x03\xe8", opcode, fin=False))
    assert await member.close_code() == 1002


@pytest.mark.parametrize("payload", [b"", b"x", bytes(range(125))])
async def test_5_5_2_ping_gets_a_pong_with_its_data(member, payload):
    await member.send(frame(payload, PING))
    answer = await member.frame()
    assert (answer.opcode, answer.payload, answer.fin) == (PONG, payload, True)


async def test_5_5_3_unsolicited_pong_is_ignored(member):
    await member.send(frame(b"unasked", PONG))
    await member.text(SAY)
    assert await member.packet() == BACK


@pytest.mark.parametrize("code", [None, 1000, 1001, 1008, 3000, 4999])
async def test_5_5_1_close_gets_a_close_and_ends_the_connection(world, member, code):
    await member.send(close_frame(code, "" if code is None else "going home"))
    assert await member.close_code() == 1000
    await until(lambda: not world.sio.sessions.active)


async def test_5_5_1_frames_after_a_close_are_ignored(world, member):
    await member.send(close_frame() + frame(SAY) + frame(b"p", PING))
    assert await member.close_code() == 1000
    assert member.frames[-1].opcode == CLOSE
    await until(lambda: not world.sio.sessions.active)


@pytest.mark.parametrize("behind", [close_frame(), close_frame(0), frame(b"", 3), b"\xff\xff"], ids=repr)
async def test_5_5_1_frames_after_a_close_in_its_segment_are_ignored(world, member, behind):
    violations = world.sio.counts["closed: protocol violation"]
    await member.send(close_frame() + behind)
    assert await member.close_code() == 1000
    await until(lambda: not world.sio.sessions.active)
    assert world.sio.counts["closed: protocol violation"] == violations


async def test_5_5_1_server_sends_nothing_after_its_close(world, member):
    """A client that has received the Close frame, and has not closed yet."""
    [session] = world.sio.sessions.active.values()
    session.transport.close()
    await world.sio.emit("news", 1)
    session.transport.send_packet(b"6")
    assert await member.close_code() == 1000
    assert member.frames[-1].opcode == CLOSE


@pytest.mark.parametrize("payload", [b"\x03", b"\x03\xe8\xff\xfe"], ids=["half a code", "a reason that is no UTF-8"])
async def test_5_5_1_malformed_close_is_a_protocol_error(member, payload):
    await member.send(frame(payload, CLOSE))
    assert await member.close_code() in (1002, 1007)


@pytest.mark.parametrize("code", [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535])
async def test_7_4_reserved_close_code_is_a_protocol_error(member, code):
    await member.send(close_frame(code))
    assert await member.close_code() == 1002


# 7: closing


async def test_7_1_1_server_closes_without_an_answer(world, member):
    [session] = world.sio.sessions.active.values()
    session.end("test")
    assert await member.close_code(answer=False) == 1000


async def test_7_1_1_reset_connection_ends_the_session(world, member):
    await member.close()
    await until(lambda: not world.sio.sessions.active)


async def test_7_1_1_half_closed_connection_ends_the_session(world, member):
    member.writer.write_eof()
    await until(lambda: not world.sio.sessions.active)


# 8.1: text is UTF-8


@pytest.mark.parametrize(
    "packet",
    [
        b'42["message","\xff"]',
        b'42["message","\xc3"]',
        b'42["message","\xed\xa0\x80"]',
        b'42["message","\xc0\x80"]',
        b"42/\xff,[]",
        b"4\xff",
        b"\xff",
        b"3\xff",
        b'40{"token":"\xf5"}',
    ],
)
async def test_8_1_text_that_is_not_utf_8_closes(world, member, packet):
    await member.text(packet)
    assert await member.close_code() == 1007
    await until(lambda: not world.sio.sessions.active)


async def test_8_1_character_can_span_fragments(member):
    packet = '42["message","é"]'.encode()
    await member.send(frame(packet[:14], TEXT, fin=False) + frame(packet[14:], CONTINUATION))
    assert await member.packet() == '42["back","é"]'


# 10.4: limits of the implementation


async def test_10_4_frame_over_the_limit_closes_at_its_head(member):
    await member.send(frame(b"", TEXT, length=b"\x7f" + (1_000_001).to_bytes(8)))
    assert await member.close_code() == 1009


async def test_10_4_fragments_over_the_limit_close(member):
    await member.send(frame(b"4" + b"x" * 599_999, TEXT, fin=False) + frame(b"x" * 400_001, CONTINUATION, fin=False))
    assert await member.close_code() == 1009


async def test_10_4_endless_fragments_close(member):
    await member.send(frame(b"4", TEXT, fin=False) + frame(b"", CONTINUATION, fin=False) * 1024)
    assert await member.close_code() == 1009
