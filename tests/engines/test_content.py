"""Text of users never closes a connection and never breaks a receiver, whatever characters it contains."""

from __future__ import annotations

import asyncio
import json

import pytest
from support.live import Poll, until
from support.world import World

HALF = "\\ud83c"  # of an emoji, as "party 🎉".slice(0, 7) leaves it and JSON.stringify writes it
REPLACED = "\ufffd"


def content(world: World) -> None:
    @world.sio.event
    async def message(sid, *arguments):
        await world.sio.emit("back", arguments, to=sid)
        return arguments

    @world.sio.event
    async def connect(sid, environ, auth):
        world.calls.append(("connect", auth.get("nick")))

    for name in (REPLACED, f"/{REPLACED}", "5", "5.5", "👨‍👩‍👧", "\u2028"):
        world.sio.on(name, lambda sid, *arguments, name=name: world.calls.append((name, *arguments)))


@pytest.fixture
async def world(make_world):
    return await make_world(prepare=content)


@pytest.mark.checklist("E80")
async def test_half_an_emoji_is_accepted_over_websocket(world):
    """In a value, a key, an event name, next to bytes, in an acknowledgement and in ``auth``."""
    client = await world.client()
    await client.send(f'40{{"token":"{world.token()}","nick":"{HALF}"}}')
    assert str(await client.receive()).startswith("40")
    await client.send(f'427["message","party {HALF}",{{"{HALF}":["\\udf89"]}}]')
    assert await client.expect_event("back") == [f"party {REPLACED}", {REPLACED: [REPLACED]}]
    assert await client.expect_ack(7) == [f"party {REPLACED}", {REPLACED: [REPLACED]}]
    await client.send(f'451-["{HALF}",{{"_placeholder":true,"num":0}},"{HALF}"]')
    await client.send(b"bytes")
    await until(lambda: world.calls[1:] == [(REPLACED, b"bytes", REPLACED)])
    calling = asyncio.create_task(world.sio.call("ask", to=world.sid()))
    assert str(await client.receive()).startswith("42")
    await client.send(f'431["{HALF}"]')
    assert await calling == REPLACED
    assert world.calls[0] == ("connect", REPLACED)


@pytest.mark.checklist("E80")
async def test_half_an_emoji_is_accepted_over_polling(world):
    poll = await Poll.member(world.host, json.dumps(world.token())[1:-1])
    world.calls.clear()
    assert (await poll.post(f'42["{HALF}","{HALF}"]')).status_code == 200
    await until(lambda: world.calls == [(REPLACED, REPLACED)])
    await poll.close()


@pytest.mark.checklist("E80")
async def test_half_an_emoji_from_the_application_is_replaced(world):
    """In emits of the application, with and without bytes, and in its acknowledgements."""
    client, poll = await world.member(), await Poll.member(world.host, world.token("grace"))
    await world.sio.emit("news", {"\ud83c": ("x\udf89", "🎉")})
    await world.sio.emit("news", [b"bytes", "\ud83c"], to=world.sid("ada"))
    assert await client.expect_event("news") == [{REPLACED: [f"x{REPLACED}", "🎉"]}]
    text, data = await client.receive(), await client.receive()
    assert json.loads(str(text)[4:]) == ["news", [{"_placeholder": True, "num": 0}, REPLACED]]
    assert data == b"bytes"
    assert json.loads((await poll.get())[0][2:]) == ["news", {REPLACED: [f"x{REPLACED}", "🎉"]}]
    await poll.close()


@pytest.mark.parametrize(("name", "handled"), [("5", "5"), ("5.0", "5"), ("5.5", "5.5")])
async def test_numeric_event_name_calls_the_handler_of_its_text(world, name, handled):
    client = await world.member()
    world.calls.clear()
    await client.send(f'42[{name},"x"]')
    await client.send(f'451-[{name},{{"_placeholder":true,"num":0}}]')
    await client.send(b"y")
    await until(lambda: world.calls == [(handled, "x"), (handled, b"y")])


@pytest.mark.checklist("E80")
@pytest.mark.parametrize("name", ["👨‍👩‍👧", "\u2028"])
async def test_event_name_may_contain_any_character(world, name):
    client = await world.member()
    world.calls.clear()
    await client.event(name, name)
    await until(lambda: world.calls == [(name, name)])


@pytest.mark.checklist("E79")
@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e400"])
async def test_number_that_is_not_json_next_to_half_an_emoji_closes(world, number):
    client = await world.member()
    await client.send(f'42["message","{HALF}",{number}]')
    assert await client.is_closed()
