"""What belongs together leaves in one write."""

from __future__ import annotations

import asyncio

import pytest

from roomkey import Issuer
from roomkey.hub import Hub
from roomkey.hub.http.uvicorn_private.one_write import OneWrite
from roomkey.hub.transports.websocket import WebSocket, WebSockets
from roomkey.wire import Message
from roomkey.wire.websocket import encode_close, encode_frame


class Recorder:
    """A transport that records what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data):
        self.written.append(bytes(data))

    def close(self):
        self.closed = True

    def is_closing(self):
        return self.closed

    def get_extra_info(self, name, default=None):
        return self if name == "socket" else default

    def setsockopt(self, *option): ...

    def set_protocol(self, protocol): ...

    def set_write_buffer_limits(self, high): ...


async def test_head_and_body_are_one_write():
    transport = Recorder()
    response = OneWrite(transport, asyncio.get_running_loop())
    response.write(b"head ")
    response.write(b"body")
    response.write(b"more")
    await asyncio.sleep(0)
    assert transport.written == [b"head body", b"more"]


async def test_head_does_not_wait_for_a_body_that_comes_later():
    transport = Recorder()
    response = OneWrite(transport, asyncio.get_running_loop())
    response.write(b"head")
    await asyncio.sleep(0)
    assert transport.written == [b"head"]
    response.write(b"body")
    assert transport.written == [b"head", b"body"]


async def test_head_without_a_body_is_sent_before_the_close():
    transport = Recorder()
    response = OneWrite(transport, asyncio.get_running_loop())
    response.write(b"head")
    response.close()
    await asyncio.sleep(0)
    assert (transport.written, transport.closed) == ([b"head"], True)


async def test_nothing_is_written_to_a_connection_that_closed_meanwhile():
    transport = Recorder()
    response = OneWrite(transport, asyncio.get_running_loop())
    response.write(b"head")
    transport.close()
    await asyncio.sleep(0)
    assert transport.written == []


@pytest.fixture
async def opened():
    hub = Hub(Issuer.ephemeral(audience="chat").verifier())
    made = WebSocket(WebSockets(hub.requests.settings, hub.guard.clock), None)
    transport = Recorder()
    made.start(transport, "dGhlIHNhbXBsZSBub25jZQ==", b"")
    transport.written.clear()
    return made, transport


async def test_close_leaves_together_with_the_message_before_it(opened):
    websocket, transport = opened
    websocket.send_batched(Message(b'44{"message":"invalid token"}'))
    websocket.close(1000)
    await asyncio.sleep(0)
    [written] = transport.written
    assert written == encode_frame(b'44{"message":"invalid token"}') + encode_close(1000)
