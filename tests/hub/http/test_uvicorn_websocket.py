"""uvicorn's WebSockets with our limits, under python-socketio with the guard."""

from __future__ import annotations

import asyncio

import pytest
import socketio
from support.live import Raw, new_server, serve
from support.rawsocket import BINARY, CONTINUATION, RawSocket, frame, hello

from roomkey import Issuer
from roomkey.hub import runner
from roomkey.hub.http.uvicorn_private.websocket import SLICE, WebSocketProtocol
from roomkey.socketio import AsyncGuard

ISSUER = Issuer.ephemeral(audience="chat")


@pytest.fixture
async def host():
    sio = new_server()
    AsyncGuard(ISSUER.verifier()).attach(sio)
    sio.on("echo", lambda sid, *data: data)
    async with serve(socketio.ASGIApp(sio), ws=runner.UVICORN_SETTINGS["ws"]) as where:
        yield where


@pytest.fixture
def parsed(monkeypatch):
    """The frames that were read."""
    seen = []
    for name in ("handle_text", "handle_bytes"):
        inner = getattr(WebSocketProtocol, name)
        monkeypatch.setattr(
            WebSocketProtocol, name, lambda self, event, inner=inner: (seen.append(event), inner(self, event))
        )
    return seen


@pytest.mark.parametrize(
    "again",
    [frame(b""), frame(b"", BINARY), frame(b"2"), frame(b"3"), frame(b'42["echo","x"]'), frame(b"431[]")],
    ids=["empty text", "empty binary", "ping", "pong", "event", "acknowledgement"],
)
async def test_frames_after_a_closing_frame_are_not_read(host, parsed, again):
    """100,000 frames can arrive before the server answers the first; they must not cost anything."""
    raw = await RawSocket.session(host)
    await raw.send(again * (1_000_000 // len(again)))
    assert await raw.ends()
    assert len(parsed) < 3 * SLICE / len(again)


async def test_large_and_small_messages_arrive_complete_and_in_order(host):
    client = await Raw.open(host)
    assert (await client.ask({"token": ISSUER.issue("ada")})).startswith("40")
    for number, size in enumerate([1, SLICE - 1, SLICE, SLICE + 1, 300_000, 5]):
        await client.event("echo", "x" * size, ack=number)
    for number, size in enumerate([1, SLICE - 1, SLICE, SLICE + 1, 300_000, 5]):
        assert await client.expect_ack(number) == ["x" * size]
    await client.close()
    raw = await RawSocket.session(host)
    await raw.text(hello(ISSUER.issue("bob")))
    await raw.packet()
    await raw.send(b"".join(frame(f'42{number}["echo",{number}]') for number in range(2000)))
    assert [await raw.packet() for _ in range(2000)] == [f"43{number}[{number}]" for number in range(2000)]
    await raw.close()


async def test_client_that_sends_after_the_close_is_disconnected(host, monkeypatch):
    monkeypatch.setattr("roomkey.hub.http.uvicorn_private.websocket.DEAF_SECONDS", 0.05)
    raw = await RawSocket.session(host)
    await raw.send(frame(b'42["echo"]'))
    sending = asyncio.create_task(raw.send(frame(b"x" * 100) * 50_000))
    assert await raw.ends()
    await sending


@pytest.mark.parametrize(
    "sent", [frame(b"\xff"), frame(b"4\xc3", fin=False) + frame(b"\x28", CONTINUATION)], ids=["whole", "in parts"]
)
async def test_text_that_is_not_utf_8_logs_one_line(host, caplog, sent):
    """Any client can send it, even without a token."""
    caplog.set_level("INFO", "uvicorn.error")
    raw = await RawSocket.session(host)
    await raw.send(sent)
    assert await raw.close_code() == 1007
    [line] = [record for record in caplog.records if record.name == "uvicorn.error" and "UTF-8" in record.message]
    assert line.exc_text is None
    assert line.levelname == "INFO"
