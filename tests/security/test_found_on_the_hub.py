"""Findings of security reviews of the hub."""

from __future__ import annotations

import asyncio
import datetime
import time

import pytest
from support.live import Poll, serve, until
from support.rawsocket import PING, RawSocket, frame, upgrade
from support.world import clock, make_world

from roomkey import Policy
from roomkey.hub import ASGIApp
from roomkey.wire import Decoder, Limits, Violation, json

__all__ = ["clock", "make_world"]

POLL = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture
def engine() -> str:
    return "hub"


async def not_found(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


@pytest.mark.checklist("E74")
@pytest.mark.parametrize("over_asgi", [False, True], ids=["run", "asgi"])
async def test_large_request_head_is_rejected_in_one_piece(make_world, over_asgi):
    world = await make_world()
    async with serve(world.sio.asgi if over_asgi else world.sio) as host:
        raw = await RawSocket.open(host)
        began = time.process_time()  # which other processes do not lengthen
        await raw.send(POLL + b"a:b\r\n" * 10_000 + b"\r\n")
        assert (await raw.answer()).status == 431
        assert world.sio.counts["refused: Bad request"] == 1
        assert time.process_time() - began < 2
        await raw.close()
        assert not world.sio.sessions.active


@pytest.mark.checklist("E75")
async def test_asgi_connection_closes_with_its_session_though_unread(make_world):
    world = await make_world(max_unsent=100_000)
    before = len(asyncio.all_tasks())
    async with serve(world.sio.asgi) as host:
        raw = await RawSocket.websocket(host)
        await until(lambda: world.sio.sessions.active)
        await raw.send(frame(b"x" * 120, PING) * 2000)
        await world.tick(15.1)  # nothing was joined in time
        assert not world.sio.sessions.active
        await until(lambda: len(asyncio.all_tasks()) <= before + 4)
        await raw.close()


@pytest.mark.checklist("C34")
@pytest.mark.parametrize("version", ["1.0", "in two pieces"])
async def test_websocket_of_the_hub_path_never_reaches_the_application(make_world, version):
    world = await make_world()
    async with serve(world.sio, app=not_found, ws="auto") as host:
        raw = await RawSocket.open(host)
        request = upgrade(host)
        if version == "1.0":
            await raw.send(request.replace(b"HTTP/1.1", b"HTTP/1.0"))
        else:
            await raw.send(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await raw.answer()).status == 404
            await raw.send(request[:5])
            await asyncio.sleep(0.05)
            await raw.send(request[5:])
        assert (await raw.answer()).status == 400
        await raw.close()


class Waits:
    """A verifier that never returns."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def verify(self, token, now, *, source=""):
        self.asked.set()
        await asyncio.Event().wait()


@pytest.mark.checklist("I114")
@pytest.mark.parametrize("ends", ["close", "deadline"])
@pytest.mark.parametrize("over_asgi", [False, True], ids=["run", "asgi"])
async def test_upgrade_waiting_for_its_verifier_is_tracked_and_bounded(make_world, over_asgi, ends, monkeypatch):
    """The waiting upgrade is tracked and has a deadline."""
    if ends == "deadline":
        for module in ("sniffer", "asgi_websocket"):
            monkeypatch.setattr(f"roomkey.hub.http.{module}.UPGRADE_SECONDS", 0.1)
    verifier = Waits()
    world = await make_world(verifier=verifier)
    async with serve(ASGIApp(world.sio) if over_asgi else world.sio) as host:
        poll = await Poll(host, headers={"Authorization": f"Bearer {world.token()}"}).open()
        raw = await RawSocket.open(host)
        await raw.send(upgrade(host, f"&sid={poll.sid}", Authorization=f"Bearer {world.token(rooms=['red'])}"))
        await verifier.asked.wait()
        assert len(world.sio.requests.pending) == 1
        if ends == "close":
            await world.sio.close()
        assert await raw.ends()
        assert not world.sio.requests.pending
        await poll.close()


@pytest.mark.checklist("E83")
async def test_handler_that_never_returns_does_not_prevent_a_stop(make_world, monkeypatch):
    monkeypatch.setattr("roomkey.hub.hub.CLOSE_SECONDS", 0.05)
    world = await make_world()
    cancelled = []

    @world.sio.event
    async def wait(sid):
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(sid)

    raw = await world.member()
    await raw.event("wait")
    await until(lambda: world.sio.tasks._running)
    await world.sio.close()
    await until(lambda: cancelled)


@pytest.mark.checklist("E83")
async def test_hanging_event_rule_denies_in_time(make_world):
    policy = Policy()

    @policy.event("slow")
    async def hangs(who):
        await asyncio.Event().wait()
        return True

    world = await make_world(policy=policy)
    raw = await world.member()
    world.guard._authorizer.within = 0.2
    await raw.event("slow", ack=1)
    assert (await raw.expect_ack(1))[0]["ok"] is False
    await until(lambda: not world.sio.tasks._running)


@pytest.mark.checklist("K3")
async def test_refusal_that_is_not_json_still_refuses(make_world, caplog):
    def prepare(world):
        @world.sio.event
        def connect(sid, environ):
            raise ConnectionRefusedError("full", {"until": datetime.datetime.now()})

    world = await make_world(prepare=prepare)
    raw = await world.client()
    told = await raw.ask_data({"token": world.token()})
    assert told["message"] == "full"
    assert await raw.is_closed()
    await until(lambda: not world.guard.index.connections and not world.sio.application.rooms.by_sid)


@pytest.mark.checklist("E78")
def test_packet_of_many_containers_is_rejected_before_parsing():
    packet = b'2["x"' + b",[]" * 330_000 + b"]"
    assert isinstance(Decoder(Limits()).text(packet), Violation)
    assert not isinstance(Decoder(Limits(containers=400_000)).text(packet), Violation)


@pytest.mark.checklist("E78")
def test_null_among_many_values_is_parsed_quickly():
    def cost(count: int) -> float:
        value, times = ["null", None, *([0] * count)], []
        for _ in range(5):
            began = time.thread_time()
            json.dumps(value)
            times.append(time.thread_time() - began)
        return min(times)

    assert cost(80_000) < 10 * cost(20_000), "four times as many cost about four times as much"


@pytest.mark.checklist("D56")
async def test_two_tabs_of_one_browser_keep_their_sessions(make_world):
    world = await make_world(session_binding="cookie")
    first = await Poll(world.host).open()
    second = Poll(world.host)
    second.http.cookies = first.http.cookies
    await second.open()
    for tab in (first, second):
        assert (await tab.post("40")).status_code == 200
        await tab.get()
        await tab.close()


@pytest.mark.checklist("C55")
async def test_image_request_from_another_site_sets_no_cookie(make_world):
    world = await make_world(session_binding="cookie")
    poll = Poll(world.host, headers={"Sec-Fetch-Site": "cross-site"})
    answer = await poll.http.get(poll.url())
    assert "SameSite=Lax" in answer.headers["set-cookie"]
    await poll.close()


@pytest.mark.checklist("D61")
async def test_two_simultaneous_polls_close_the_session(make_world):
    world = await make_world()
    poll = await Poll(world.host).open()
    app = ASGIApp(world.sio)
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/socket.io/",
        "query_string": f"EIO=4&transport=polling&sid={poll.sid}".encode(),
        "headers": [(b"host", b"x")],
        "client": ("127.0.0.1", 1),
        "scheme": "http",
    }
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        await asyncio.Event().wait()

    await asyncio.gather(app(scope, receive, send), app(scope, receive, send))
    assert sorted(message["status"] for message in sent if "status" in message) == [200, 400]
    assert not world.sio.sessions.active
    await poll.close()


@pytest.mark.checklist("C48")
async def test_unknown_namespaces_are_counted_and_not_remembered(make_world):
    world = await make_world(namespaces="*")
    raw = await world.client()
    for number in range(5):
        await raw.ask({"token": world.token()}, f"/n{number}")
    assert len(world.sio.handlers._cache) <= 2
    strict = await make_world()
    raw = await strict.client()
    assert "Invalid namespace" in await raw.ask(None, "/nowhere")
    assert strict.sio.counts["refused: Invalid namespace"] == 1
