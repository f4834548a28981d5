"""Socket.IO protocol, version 5: what the specification says a server must or should do, on a live hub.

The comments name the document's sections. The application is the one that the document's own test suite asks for,
and the tests run over WebSocket frames; the first ones over polling, too.
"""

from __future__ import annotations

import json

import pytest
import pytest_asyncio
from support.live import SEPARATOR, Poll, until
from support.rawsocket import BINARY, TEXT, RawSocket, frame

pytestmark = pytest.mark.asyncio(loop_scope="module")

ONE, TWO = b"\x01\x02\x03", b"\x04\x05\x06"
PLACE = '{"_placeholder":true,"num":%d}'


def application(world):
    hub = world.sio
    for namespace in ("/", "/custom"):

        @hub.on("connect", namespace=namespace)
        async def connect(sid, environ, auth, namespace=namespace):
            told = {name: value for name, value in (auth or {}).items() if name != "token"}
            await hub.emit("auth", told, to=sid, namespace=namespace)

        @hub.on("message", namespace=namespace)
        async def message(sid, *arguments, namespace=namespace):
            await hub.emit("message-back", arguments, to=sid, namespace=namespace)

        @hub.on("message-with-ack", namespace=namespace)
        def message_with_ack(sid, *arguments):
            return arguments

        @hub.on("ask", namespace=namespace)
        async def ask(sid, *arguments, namespace=namespace):
            def answered(*values):
                world.calls.append(values)

            await hub.emit("question", arguments, to=sid, namespace=namespace, callback=answered)

        @hub.on("leave", namespace=namespace)
        async def leave(sid, namespace=namespace):
            await hub.disconnect(sid, namespace=namespace)


@pytest_asyncio.fixture(loop_scope="module")
async def raw(world):
    """A connection on which no namespace is joined."""
    socket = await RawSocket.session(world.host)
    yield socket
    await socket.close()


@pytest_asyncio.fixture(loop_scope="module")
async def member(world, raw):
    """A member of the main namespace."""
    await raw.text(connect(world))
    assert (await raw.packet()).startswith("40")
    assert await raw.packet() == '42["auth",{}]'
    return raw


def connect(world, namespace: str = "", **auth: object) -> str:
    return f"40{namespace}" + json.dumps({"token": world.token(), **auth})


async def both(world, member: RawSocket) -> None:
    """The member joins /custom as well."""
    await member.text(connect(world, "/custom,"))
    assert (await member.packet()).startswith("40/custom,")
    assert await member.packet() == '42/custom,["auth",{}]'


async def goes_on(member: RawSocket) -> None:
    await member.text('42["message","still here"]')
    assert await member.packet() == '42["message-back","still here"]'


# Connection to a namespace


async def test_connect_returns_the_sid(world, raw):
    await raw.text(connect(world))
    reply = await raw.packet()
    assert reply[:2] == "40"
    told = json.loads(reply[2:])
    assert told.keys() == {"sid"}
    assert isinstance(told["sid"], str)
    assert told["sid"] not in world.sio.sessions.active
    assert await raw.packet() == '42["auth",{}]'


async def test_connect_over_polling_returns_the_sid(world):
    poll = await Poll(world.host).open()
    assert (await poll.post(connect(world))).text == "ok"
    reply, event = await poll.get()
    assert json.loads(reply[2:]).keys() == {"sid"}
    assert event == '42["auth",{}]'
    await poll.close()


async def test_connect_passes_the_payload_to_the_handler(world, raw):
    await raw.text(connect(world, lang="en", list=[1, {"a": None}]))
    await raw.packet()
    assert await raw.packet() == '42["auth",{"lang":"en","list":[1,{"a":null}]}]'


@pytest.mark.parametrize("written", ["/custom,", "/custom"])
async def test_connect_to_a_custom_namespace_succeeds(world, raw, written):
    if written.endswith(","):
        await raw.text(connect(world, written, x=1))
    else:  # without a payload, the comma is optional
        await raw.close()
        raw = await RawSocket.session(world.host, authorization=f"Bearer {world.token()}")
        await raw.text(f"40{written}")
    reply = await raw.packet()
    assert reply.startswith("40/custom,{")
    assert json.loads(reply[10:]).keys() == {"sid"}
    assert await raw.packet() == '42/custom,["auth",%s]' % ('{"x":1}' if written.endswith(",") else "{}")
    await raw.close()


async def test_connect_to_a_custom_namespace_does_not_join_the_main_one(world, raw):
    await raw.text(connect(world, "/custom,"))
    await raw.packet()
    await raw.packet()
    await world.sio.emit("news")
    await raw.text('42/custom,["message"]')
    assert await raw.packet() == '42/custom,["message-back"]'


async def test_connect_to_several_namespaces_succeeds(world, member):
    await both(world, member)
    assert len({socket.sid for socket in world.sio.application.rooms.by_sid.values()}) == 2
    await member.text('42/custom,["message",1]')
    await member.text('42["message",2]')
    assert await member.packet() == '42/custom,["message-back",1]'
    assert await member.packet() == '42["message-back",2]'
    await world.sio.emit("news", 3, namespace="/custom")
    assert await member.packet() == '42/custom,["news",3]'


@pytest.mark.parametrize("namespace", ["/random", "/Custom", "/custom/", "/random,"])
async def test_connect_to_an_unknown_namespace_fails(world, raw, namespace):
    await raw.text(f"40{namespace}")
    reply = await raw.packet()
    head, _, data = reply.partition(",")
    assert head == "44" + namespace.rstrip(",")
    told = json.loads(data)
    assert told["message"] == "Invalid namespace"


async def test_refused_connect_gets_connect_error_with_a_message(world, raw):
    await raw.text("40")
    reply = await raw.packet()
    assert reply.startswith('44{"message":"no token provided"')
    assert isinstance(json.loads(reply[2:]), dict)


NO_CONNECT = ['42["message"]', "431[]", '44{"message":"x"}', '42/custom,["message"]', '421["x"]']


@pytest.mark.parametrize(
    "packet", [*NO_CONNECT, f'451-["x",{PLACE % 0}]', f"461-1[{PLACE % 0}]", "45", "4", "47", "4abc"]
)
async def test_packet_before_connect_closes_the_connection(world, raw, packet):
    await raw.text(packet)
    assert await raw.close_code() is not None
    assert [read.opcode for read in raw.frames if read.opcode == TEXT] == [TEXT]  # only the OPEN packet


@pytest.mark.parametrize("packet", NO_CONNECT)
async def test_packet_before_connect_closes_a_polling_session(world, packet):
    poll = await Poll(world.host).open()
    await poll.post(packet)
    await until(lambda: not world.sio.sessions.active)
    await poll.close()


async def test_second_connect_is_ignored(world, member):
    await member.text(connect(world))
    await goes_on(member)
    assert len(world.sio.application.rooms.by_sid) == 1


@pytest.mark.parametrize("auth", ["[1]", '"x"', "5x", "{", '{"token":"a"}{}'])
async def test_connect_payload_must_be_an_object(world, raw, auth):
    await raw.text("40" + auth)
    assert await raw.close_code() is not None
    assert [read.payload[:3] for read in raw.frames[1:-1]] in ([], [b"44{"])
    assert world.sio.application.rooms.by_sid == {}


# Sending and receiving data


@pytest.mark.parametrize(
    "arguments",
    ['1,"2",{"3":[true]}', "", "null", '[],{},""', "1.5,-0.0,1e300", '"\\u20ac","é"', "9007199254740993"],
)
async def test_event_delivers_its_arguments(member, arguments):
    await member.text(f'42["message"{"," * bool(arguments)}{arguments}]')
    assert json.loads((await member.packet())[2:]) == ["message-back", *json.loads(f"[{arguments}]")]


@pytest.mark.parametrize(
    "payload", ["", "[]", "{}", '{"0":"message"}', '"message"', "null", "true", "[null]", "[true]"]
)
async def test_event_without_a_list_closes_the_connection(member, payload):
    await member.text("42" + payload)
    assert await member.close_code() is not None


@pytest.mark.parametrize(
    "payload", ['["message"', '["message"]]', "[message]", "['message']", '["message",]', '["a"]x']
)
async def test_event_with_invalid_json_closes_the_connection(member, payload):
    await member.text("42" + payload)
    assert await member.close_code() is not None


async def test_event_without_a_handler_is_ignored(member):
    await member.text('42["unheard-of",1]')
    await goes_on(member)


async def test_event_for_another_namespace_is_ignored(member):
    await member.text('42/custom,["message",1]')
    await member.text('42/random,["message",1]')
    await goes_on(member)


async def test_binary_event_works_both_ways(member):
    await member.text(f'452-["message",{PLACE % 0},{PLACE % 1}]')
    await member.send(frame(ONE, BINARY) + frame(TWO, BINARY))
    assert await member.packet() == f'452-["message-back",{PLACE % 0},{PLACE % 1}]'
    read = [await member.frame(), await member.frame()]
    assert [(one.opcode, one.payload) for one in read] == [(BINARY, ONE), (BINARY, TWO)]


async def test_binary_event_works_over_polling(world):
    poll = await Poll(world.host).open()
    await poll.post(connect(world))
    await poll.get()
    await poll.post(f'452-["message",{PLACE % 0},{PLACE % 1}]', "bAQID", "bBAUG")
    assert await poll.get() == [f'452-["message-back",{PLACE % 0},{PLACE % 1}]', "bAQID", "bBAUG"]
    await poll.close()


async def test_binary_event_accepts_attachments_in_a_later_post(world):
    poll = await Poll(world.host).open()
    await poll.post(connect(world))
    await poll.get()
    await poll.post(f'451-["message",{PLACE % 0}]')
    await poll.post("bAQID")
    assert await poll.get() == [f'451-["message-back",{PLACE % 0}]', "bAQID"]
    await poll.close()


async def test_attachments_are_placed_by_their_number(member):
    await member.text(f'452-["message",{{"a":[{PLACE % 1}]}},{PLACE % 0}]')
    await member.send(frame(ONE, BINARY) + frame(TWO, BINARY))
    assert await member.packet() == f'452-["message-back",{{"a":[{PLACE % 0}]}},{PLACE % 1}]'
    assert [(await member.frame()).payload for _ in range(2)] == [TWO, ONE]


async def test_binary_packets_of_the_server_are_not_interleaved(world, member):
    for number in range(10):
        await world.sio.emit("news", (number, ONE, TWO))
    for number in range(10):
        assert await member.packet() == f'452-["news",{number},{PLACE % 0},{PLACE % 1}]'
        assert [(await member.frame()).payload for _ in range(2)] == [ONE, TWO]


# Acknowledgement


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        ('42456["message-with-ack",1,"2",{"3":[false]}]', '43456[1,"2",{"3":[false]}]'),
        ('4212["message-with-ack"]', "4312[]"),
        ('420["message-with-ack",null]', "430[null]"),
        ('42999999999999999["message-with-ack",1]', "43999999999999999[1]"),
    ],
    ids=["values", "none", "id 0", "15 digits"],
)
async def test_ack_has_the_id_of_its_event(member, sent, answer):
    await member.text(sent)
    assert await member.packet() == answer


async def test_ack_in_a_custom_namespace_names_it(world, member):
    await both(world, member)
    await member.text('42/custom,13["message-with-ack","bar"]')
    assert await member.packet() == '43/custom,13["bar"]'


async def test_ack_can_be_binary(member):
    await member.text(f'451-789["message-with-ack",{PLACE % 0}]')
    await member.send(frame(ONE, BINARY))
    assert await member.packet() == f"461-789[{PLACE % 0}]"
    assert (await member.frame()).payload == ONE


async def test_event_without_an_id_gets_no_ack(member):
    await member.text('42["message-with-ack",1]')
    await goes_on(member)


@pytest.mark.parametrize(
    ("answer", "values"),
    [("[]", ()), ('["bar"]', ("bar",)), ('[1,{"a":[2]},null]', (1, {"a": [2]}, None))],
)
@pytest.mark.parametrize("namespace", ["", "/custom,"])
async def test_client_ack_reaches_the_callback(world, member, namespace, answer, values):
    if namespace:
        await both(world, member)
    await member.text(f'42{namespace}["ask","q"]')
    question = await member.packet()
    head = f"42{namespace}"
    assert question.startswith(head)
    number = question[len(head) : question.index("[")]
    assert question == f'{head}{number}["question","q"]'
    await member.text(f"43{namespace}{number}{answer}")
    await goes_on(member)
    assert world.calls == [values]


async def test_binary_client_ack_reaches_the_callback(world, member):
    await member.text('42["ask"]')
    question = await member.packet()
    await member.text(f'461-{question[2 : question.index("[")]}["bar",{PLACE % 0}]')
    await member.send(frame(ONE, BINARY))
    await goes_on(member)
    assert world.calls == [("bar", ONE)]


@pytest.mark.parametrize("packet", ["431", "431{}", '431"x"', "431null", "43[]", "43", "431[", "43-1[]", "431.5[]"])
async def test_malformed_ack_closes_the_connection(member, packet):
    await member.text(packet)
    assert await member.close_code() is not None


# Disconnection from a namespace


@pytest.mark.parametrize("written", ["/custom,", "/custom"])
async def test_disconnect_from_one_namespace_keeps_the_others(world, member, written):
    await both(world, member)
    await member.text(f"41{written}")
    await member.text('42/custom,["message",1]')
    await goes_on(member)  # and the DISCONNECT got no answer
    await until(lambda: len(world.sio.application.rooms.by_sid) == 1)
    await world.sio.emit("news", namespace="/custom")
    await goes_on(member)


async def test_disconnect_from_the_main_namespace_keeps_a_custom_one(world, member):
    await both(world, member)
    await member.text("41")
    await member.text('42/custom,["message",1]')
    assert await member.packet() == '42/custom,["message-back",1]'


async def test_namespace_can_be_joined_again(world, member):
    await both(world, member)
    await member.text("41/custom,")
    await member.text(connect(world, "/custom,"))
    assert (await member.packet()).startswith("40/custom,{")
    assert await member.packet() == '42/custom,["auth",{}]'


async def test_server_disconnects_one_namespace(world, member):
    await both(world, member)
    await member.text('42/custom,["leave"]')
    assert await member.packet() == "41/custom,"
    await goes_on(member)


async def test_server_disconnects_the_last_namespace_and_closes(member):
    await member.text('42["leave"]')
    assert await member.packet() == "41"
    assert await member.close_code() is not None


@pytest.mark.parametrize("packet", ["41{}", "411", '41["x"]', "41/custom,{}", "41/custom,1"])
async def test_disconnect_with_data_or_id_closes_the_connection(member, packet):
    await member.text(packet)
    assert await member.close_code() is not None


# Packet encoding: the specification's examples, as the server writes and reads them


@pytest.mark.parametrize(
    ("where", "arguments", "frames"),
    [
        ({}, ("foo", None), ['42["foo"]']),
        ({"namespace": "/custom"}, ("bar", None), ['42/custom,["bar"]']),
        ({}, ("baz", b"\x01\x02\x03\x04"), [f'451-["baz",{PLACE % 0}]', b"\x01\x02\x03\x04"]),
        (
            {"namespace": "/custom"},
            ("baz", (b"\x01\x02", b"\x03\x04")),
            [f'452-/custom,["baz",{PLACE % 0},{PLACE % 1}]', b"\x01\x02", b"\x03\x04"],
        ),
    ],
    ids=["event", "custom namespace", "binary", "binary in a custom namespace"],
)
async def test_encoding_written_by_the_server_matches_the_protocol(world, member, where, arguments, frames):
    await both(world, member)
    await world.sio.emit(*arguments, **where)
    for wanted in frames:
        read = await member.frame()
        assert read.payload == (wanted.encode() if isinstance(wanted, str) else wanted)


@pytest.mark.parametrize(
    ("packet", "answer"),
    [
        ('42["message"]', '42["message-back"]'),
        ('42/custom,["message"]', '42/custom,["message-back"]'),
        ('4212["message-with-ack"]', "4312[]"),
        ('42/custom,13["message-with-ack"]', "43/custom,13[]"),
        ('42/,["message"]', '42["message-back"]'),
        ('42 ["message"]', '42["message-back"]'),
    ],
    ids=["event", "custom namespace", "id", "id in a custom namespace", "the main namespace by name", "white space"],
)
async def test_encoding_read_by_the_server_matches_the_protocol(world, member, packet, answer):
    await both(world, member)
    await member.text(packet)
    assert await member.packet() == answer


@pytest.mark.parametrize(
    "packet",
    ["42/custom", "42/custom,", "42/custom[", '42-["message"]', '42x["message"]', "4/custom,2", '42,["message"]'],
)
async def test_encoding_that_is_invalid_closes_the_connection(member, packet):
    await member.text(packet)
    assert await member.close_code() is not None


async def test_sample_session_of_the_protocol_works(world):
    """From the first poll to the close, in the order of the specification's example."""
    poll = await Poll(world.host).open()
    assert (await poll.post(connect(world))).text == "ok"
    assert (await poll.get())[0].startswith("40{")
    assert (await poll.post('42["message","hello"]', '42["message","world"]')).text == "ok"
    assert await poll.get() == ['42["message-back","hello"]', '42["message-back","world"]']
    upgraded = await RawSocket.websocket(world.host, f"&sid={poll.sid}")
    await upgraded.text("2probe")
    assert await upgraded.packet() == "3probe"
    await upgraded.text("5")
    await upgraded.text('42["message","hello"]')
    assert await upgraded.packet() == '42["message-back","hello"]'
    await upgraded.text(connect(world, "/custom,"))
    assert (await upgraded.packet()).startswith("40/custom,{")
    assert (await upgraded.packet()).startswith("42/custom,")
    await upgraded.text(f'451-/custom,1["message-with-ack",{PLACE % 0}]')
    await upgraded.send(frame(ONE, BINARY))
    assert await upgraded.packet() == f"461-/custom,1[{PLACE % 0}]"
    assert (await upgraded.frame()).payload == ONE
    await upgraded.text("1")
    assert await upgraded.close_code() is not None
    assert SEPARATOR not in str(upgraded.frames)
    await poll.close()
