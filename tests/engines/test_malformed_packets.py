"""Packets that no client library sends: each closes its own connection and no other."""

from __future__ import annotations

import pytest
from support.live import until

MALFORMED = {
    "type 4 from a client": '44{"message":"x"}',
    "type 7": '47["x"]',
    "type letter": "4x",
    "empty": "4",
    "event without data": "42",
    "event that is an object": "42{}",
    "event with an empty list": "42[]",
    "cut JSON": '42["x"',
    "name null": "42[null]",
    "name a boolean": "42[true]",
    "name a list": "42[[]]",
    "name an object": "42[{}]",
    "name empty": '42[""]',
    "name with a line break": '42["a\\r\\nb"]',
    "name of 10 kB": '42["' + "n" * 10_000 + '"]',
    "ack without id": '43["x"]',
    "ack without list": '431{"a":1}',
    "binary without attachments": '45["x"]',
    "binary with a dash alone": "450-",
    "JSON object as message": '4{"a":1}',
    "JSON list as message": "4[1]",
    "JSON true as message": "4true",
    "nested 100 000 deep": '42["x",' + "[" * 100_000,
    "5 000 digits": '42["x",' + "1" * 5000 + "]",
    "id of 200 digits": "42" + "1" * 200 + '["x"]',
}


@pytest.mark.checklist("K19")
async def test_duplicate_member_is_rejected_or_the_last_one_counts(make_world, engine):
    """RFC 8259 section 4 does not define it. The hub reads it as Node does, and nothing parses it a second time."""

    def prepare(world):
        world.sio.on("x", lambda sid, data: world.calls.append(data))

    world = await make_world(prepare=prepare)
    client = await world.member()
    await client.send('42["x",{"a":1,"a":2}]')
    if engine == "hub":
        await until(lambda: world.calls == [{"a": 2}])
    else:
        assert await client.is_closed()


@pytest.mark.checklist("K19", "E63")
@pytest.mark.parametrize("packet", MALFORMED.values(), ids=MALFORMED)
async def test_malformed_packet_closes_the_connection(make_world, packet, caplog):
    world = await make_world()
    client = await world.member()
    other = await world.member("grace")
    await client.send(packet)
    assert await client.is_closed()
    assert world.refusals[-1][0].code == "protocol_violation"
    assert "Traceback" not in caplog.text
    await other.sync()
    assert other.ws.close_code is None


@pytest.mark.checklist("K19", "E66")
@pytest.mark.parametrize("followed_by", ['42["x"]', "4", "2probe"])
async def test_text_instead_of_an_attachment_closes(make_world, followed_by):
    world = await make_world()
    client = await world.member()
    await client.send('451-["x",{"_placeholder":true,"num":0}]')
    await client.send(followed_by if followed_by != "2probe" else "41")
    assert await client.is_closed()


@pytest.mark.checklist("K19", "E66")
async def test_bytes_without_a_packet_close(make_world):
    world = await make_world()
    client = await world.member()
    await client.send(b"\x00\x01")
    assert await client.is_closed()
