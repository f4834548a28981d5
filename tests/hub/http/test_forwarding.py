"""Requests that reach another node than the one with their session."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.lag import seconds_awake
from support.live import Poll, Raw, begin_poll, serve, until
from support.nodes import SECRET
from support.short_directory import short_directory
from websockets.exceptions import InvalidStatus

from roomkey import Issuer
from roomkey.bus import Cluster, MemoryBus, MemoryNetwork
from roomkey.bus.peer_link import REQUEST, STREAM
from roomkey.hub import Hub, Limits
from roomkey.hub.http.forwarding import OtherNodesClient, decode_head, decode_response, encode_head, encode_response
from roomkey.hub.http.polling_requests import PollingResponse
from roomkey.hub.http.requests import HttpRequest
from roomkey.stores import MemoryRevocations

__all__ = ["short_directory"]

ISSUER = Issuer.ephemeral(audience="chat")


def pack(*head: Any) -> bytes:
    """Return the payload of a forwarded request."""
    packed = json.dumps(head).encode()
    return len(packed).to_bytes(4, "big") + packed


UNKNOWN = '{"code":1,"message":"Session ID unknown"}'


class Node(NamedTuple):
    hub: Hub
    host: str


def application(**settings: Any) -> Hub:
    hub = Hub(ISSUER.verifier(), **settings)

    @hub.event
    async def echo(sid, *data):
        return data

    @hub.event
    async def flood(sid, size, count):
        for _ in range(count):
            await hub.emit("data", "x" * size, to=sid)

    @hub.event
    async def environ(sid):
        return hub.get_environ(sid)["REMOTE_ADDR"]

    return hub


def is_uvloop() -> bool:
    return type(asyncio.get_running_loop()).__module__.startswith("uvloop")


MakeNodes = Callable[..., Any]


@pytest.fixture
async def make_nodes(short_directory: Path) -> AsyncIterator[MakeNodes]:
    """``await make_nodes(2, **hub_settings)``: nodes that listen and forward, with each event loop in another way."""
    network = MemoryNetwork()
    where: dict[str, Any] = {"directory": short_directory} if is_uvloop() else {"listen": "127.0.0.1:0"}
    async with AsyncExitStack() as stack:

        async def make(count: int = 2, **settings: Any) -> list[Node]:
            nodes = []
            for _ in range(count):
                cluster = Cluster(MemoryBus(network), secrets=[SECRET], **where)
                hub = application(cluster=cluster, revocations=MemoryRevocations(), **settings)
                nodes.append(Node(hub, await stack.enter_async_context(serve(hub))))
                await hub.open()
                stack.push_async_callback(hub.close)
            await until(lambda: all(len(node.hub.application.cluster.node.live) >= count - 1 for node in nodes))
            return nodes

        yield make


async def upgraded(owner: Node, front: Node, client: Poll) -> Raw:
    """Upgrade a session to a WebSocket through another node."""
    raw = await Raw.upgrade(front.host, client.sid)
    await until(lambda: owner.hub.sessions.active[client.sid].upgraded)
    return raw


class Elsewhere(Poll):
    """A polling client whose connections go to another node after the first request."""

    @classmethod
    async def of(cls, owner: Node, front: Node, **arguments: Any) -> Elsewhere:
        """Open a session on one node, and join the main namespace through another."""
        opened = await Poll(owner.host, **arguments).open()
        await opened.close()
        client = cls(front.host, **arguments)
        client.sid = opened.sid
        return client

    async def join(self, token: str | None = None) -> None:
        answer = await self.post("40" + json.dumps({"token": token or ISSUER.issue("ada")}))
        assert (answer.status_code, answer.text) == (200, "ok")
        packets = await self.get()
        assert packets[0].startswith("40"), packets


async def test_polls_and_posts_are_answered_by_the_owner(make_nodes):
    owner, front = await make_nodes()
    client = await Elsewhere.of(owner, front)
    await client.join()
    assert (await client.post('421["echo",1,"ä"]', '422["echo",{"a":[]}]')).text == "ok"
    assert await client.get() == ['431[1,"ä"]', '432[{"a":[]}]']
    assert owner.hub.forwarding.counts["answered: requests"] == 4
    assert front.hub.forwarding.counts["forwarded: requests"] == 4
    assert front.hub.sessions.active == {}
    assert front.hub.forwarding.peers.counts["links opened"] == 1
    await client.close()


async def test_poll_waits_on_the_owner(make_nodes):
    owner, front = await make_nodes()
    client = await Elsewhere.of(owner, front)
    await client.join()
    poll = await begin_poll(owner.hub, client.get())
    await owner.hub.emit("news", 1)
    assert await poll == ['42["news",1]']
    await client.close()


@pytest.mark.parametrize("origin", [None, "http://app.example", "http://evil.example"])
async def test_forwarded_response_has_the_same_headers(make_nodes, origin):
    owner, front = await make_nodes(2, cors_allowed_origins=["http://app.example"])
    client, own = await Elsewhere.of(owner, front), await Poll(owner.host).open()
    headers = {"origin": origin} if origin is not None else {}
    connect = "40" + json.dumps({"token": ISSUER.issue("ada")})
    for method, body in (("POST", connect), ("GET", None), ("OPTIONS", None), ("POST", "9")):
        both = [await one.http.request(method, one.url(), content=body, headers=headers) for one in (client, own)]
        assert both[0].status_code == both[1].status_code
        names = [{name: value for name, value in answer.headers.items() if name != "date"} for answer in both]
        assert names[0] == names[1]
    await client.close()
    await own.close()


async def test_disconnected_client_ends_its_session_on_the_owner(make_nodes):
    owner, front = await make_nodes()
    client = await Elsewhere.of(owner, front)
    await client.join()
    poll = await begin_poll(owner.hub, client.get())
    poll.cancel()
    await until(lambda: not owner.hub.sessions.active)
    for node in (owner, front):
        peers = node.hub.forwarding.peers
        assert not [link for link in (*peers._links.values(), *peers._accepted) if link.conversations]
    await client.close()


async def test_second_poll_on_any_node_ends_the_session(make_nodes):
    owner, front, third = await make_nodes(3)
    client = await Elsewhere.of(owner, front)
    await client.join()
    await begin_poll(owner.hub, client.answer())
    other = Elsewhere(third.host)
    other.sid = client.sid
    assert (await other.answer())[0] == 400
    assert not owner.hub.sessions.active
    await client.close()
    await other.close()


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_session_of_a_dead_node_is_unknown_without_a_wait(make_nodes, method):
    owner, front = await make_nodes()
    client = await Elsewhere.of(owner, front)
    await client.join()
    await owner.hub.forwarding.close()
    with seconds_awake() as seconds:
        answer = await client.http.request(method, client.url(), content=b"3" if method == "POST" else None)
    assert seconds() < 0.9
    assert (answer.status_code, answer.text) == (400, UNKNOWN)
    await client.close()


async def test_long_session_ids_are_not_remembered(make_nodes):
    [node] = await make_nodes(1)
    remembered = node.hub.forwarding._node_of.cache_info
    client = Poll(node.host)
    for sid, entries in (("x" * 10_000, 0), ("x" * 41, 1)):
        client.sid = sid
        assert (await client.answer()) == (400, UNKNOWN)
        assert remembered().currsize == entries
    await client.close()


async def test_owner_that_dies_during_a_poll_makes_the_session_unknown(make_nodes):
    owner, front = await make_nodes()
    client = await Elsewhere.of(owner, front)
    await client.join()
    poll = await begin_poll(owner.hub, client.answer())
    [link] = owner.hub.forwarding.peers._accepted
    link._transport.abort()
    assert await poll == (400, UNKNOWN)
    await until(lambda: not owner.hub.sessions.active)  # the poll may have lost packets
    await client.close()


async def test_unknown_session_of_a_live_node_is_unknown(make_nodes):
    owner, front = await make_nodes()
    client = await Elsewhere.of(owner, front)
    owner.hub.sessions.close_all()
    assert await client.answer() == (400, UNKNOWN)
    assert await client.answer() == (400, UNKNOWN)
    client.sid = owner.hub.application.new_sid()
    assert await client.answer() == (400, UNKNOWN)
    await client.close()


@pytest.mark.parametrize("sid", ["", "abc", "A" * 20, f"{'A' * 20}.{'B' * 20}"])
async def test_invented_session_is_not_forwarded(make_nodes, sid):
    _owner, front = await make_nodes()
    client = Elsewhere(front.host)
    answer = await client.http.get(f"{client.url()}&sid={sid}")
    assert (answer.status_code, answer.text) == (400, UNKNOWN)
    assert front.hub.forwarding.counts["forwarded: requests"] == 0
    await client.close()


async def test_limits_of_bodies_are_those_of_the_owner(make_nodes):
    owner, front = await make_nodes(2, limits=Limits(payload=100_000))
    client = await Elsewhere.of(owner, front)
    await client.join()
    large = "x" * 90_000
    assert (await client.post(f'421["echo","{large}"]')).text == "ok"
    assert await client.get() == [f'431["{large}"]']
    assert (await client.post("4" + "x" * 100_001)).status_code == 413
    assert not owner.hub.sessions.active
    await client.close()


@pytest.mark.parametrize("chunked", [False, True])
async def test_large_body_before_admission_is_refused(make_nodes, chunked):
    owner, front = await make_nodes()
    client = await Elsewhere.of(owner, front)
    body = b"x" * (owner.hub.requests.settings.body_before_admission + 1)

    async def pieces() -> AsyncIterator[bytes]:
        yield body

    answer = await client.http.post(client.url(), content=pieces() if chunked else body)
    assert answer.status_code == 413
    assert not owner.hub.sessions.active
    await client.close()


async def test_cookie_of_the_session_is_checked_by_the_owner(make_nodes):
    owner, front = await make_nodes(2, session_binding="cookie")
    opened = Poll(owner.host)
    await opened.open()
    client = Elsewhere(front.host)
    client.sid = opened.sid
    assert (await client.answer())[0] == 403
    client.http.cookies = opened.http.cookies
    await client.join()
    await client.close()
    await opened.close()


async def test_session_is_bound_to_its_token_on_every_node(make_nodes):
    owner, front = await make_nodes()
    token = ISSUER.issue("ada")
    client = await Elsewhere.of(owner, front, headers={"authorization": f"Bearer {token}"})
    await client.join(token)
    client.http.headers["authorization"] = f"Bearer {ISSUER.issue('eve')}"
    assert (await client.answer())[0] == 403
    client.http.headers["authorization"] = f"Bearer {ISSUER.issue('ada', roles=['x'])}"
    assert (await client.post('421["environ"]')).text == "ok"
    assert await client.get() == ['431["127.0.0.1"]']
    await client.close()


async def test_hub_in_another_asgi_server_forwards_polls_but_not_upgrades(make_nodes):
    owner, front = await make_nodes()
    async with serve(front.hub.asgi) as host:
        client = await Elsewhere.of(owner, Node(front.hub, host))
        await client.join()
        poll = await begin_poll(owner.hub, client.get())
        await owner.hub.emit("news", 1)
        assert await poll == ['42["news",1]']
        assert (await client.post('421["echo",1]')).text == "ok"
        assert await client.get() == ["431[1]"]
        with pytest.raises(InvalidStatus, match="400"):
            await Raw.upgrade(host, client.sid)
        poll = await begin_poll(owner.hub, client.get())
        poll.cancel()
        await until(lambda: not owner.hub.sessions.active)
        await client.close()


async def test_owner_never_forwards(make_nodes):
    owner, front, third = await make_nodes(3)
    client = await Elsewhere.of(owner, front)
    front.hub.forwarding._node_of = lambda _sid: third.hub.forwarding.peers.node.id  # as if it were mistaken
    assert await client.answer() == (400, UNKNOWN)
    assert third.hub.forwarding.counts == {"answered: requests": 1}
    assert owner.hub.forwarding.counts == {}
    await client.close()


HEADER = st.text(alphabet=st.characters(max_codepoint=255), max_size=40)


@given(
    query=HEADER,
    address=st.text(max_size=40).filter(lambda text: text.isprintable()),
    headers=st.dictionaries(HEADER, HEADER, max_size=5),
    whole=st.booleans(),
)
def test_head_of_a_request_arrives_unchanged(query, address, headers, whole):
    request = HttpRequest("POST", "/elsewhere", query, (), address, "https")
    request.headers = headers
    arrived, follows = decode_head(encode_head(request, whole=whole), "/socket.io/")
    names = ("method", "query", "address", "scheme", "headers")
    assert [getattr(arrived, name) for name in names] == [getattr(request, name) for name in names]
    assert (arrived.path, follows) == ("/socket.io/", whole)


@given(
    status=st.integers(200, 599),
    headers=st.lists(
        st.tuples(*[st.binary(max_size=20).filter(lambda text: b"\n" not in text)] * 2), min_size=1, max_size=4
    ),
    body=st.binary(max_size=100),
    closes=st.booleans(),
)
def test_response_arrives_unchanged(status, headers, body, closes):
    response = PollingResponse(status, tuple(headers), body, closes)
    assert decode_response(encode_response(response)) == response


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\0\0\0\x02[]",
        b"\0\0\0\xff[]",
        b"\0\0\0\x04null",
        pack("PUT", "", "", "", {}, False),
        pack("GET", 1, "", "", {}, False),
        pack("GET", "", "", "", {"a": 1}, False),
        pack("GET", "", "", "", [], False),
        pack("GET", "", "", "", {}),
        b"[" * 100_000,
    ],
    ids=range(10),
)
@pytest.mark.parametrize("kind", [REQUEST, STREAM])
async def test_malformed_request_of_a_node_is_refused(make_nodes, payload, kind, caplog):
    owner, front = await make_nodes()
    link = front.hub.forwarding.peers.link(owner.hub.forwarding.peers.node.id)
    lost = asyncio.Event()
    conversation = Mock(lost=lost.set)
    link.send(kind, link.open(conversation), payload if kind == REQUEST else payload[4:])
    await asyncio.wait_for(lost.wait(), 20)
    assert owner.hub.forwarding.counts == {"refused: malformed": 1}
    assert not owner.hub.sessions.active


async def test_malformed_response_of_a_node_lets_the_client_start_over(make_nodes, monkeypatch, caplog):
    owner, front = await make_nodes()
    client = await Elsewhere.of(owner, front)
    monkeypatch.setattr("roomkey.hub.http.forwarding.encode_response", lambda _response: b"\0")
    answer = await client.post("3")
    assert (answer.status_code, answer.text) == (400, UNKNOWN)
    assert "could not handle a frame" in caplog.text
    caplog.clear()
    await client.close()


def test_request_ends_if_its_body_cannot_be_asked_for() -> None:
    """The link is full, so it is lost as soon as the owner sends something."""
    link, polling, exchange = Mock(), Mock(), Mock()
    client = OtherNodesClient(link, 1, None)
    link.send.side_effect = lambda *frame: client.lost()

    def begin(request: HttpRequest, asking: OtherNodesClient) -> Mock:
        asking.read_body(100)
        return exchange

    polling.begin = begin
    client.begin(polling, Mock())
    exchange.gone.assert_called_once_with()
    client.lost()
    exchange.gone.assert_called_once_with()


async def test_node_cannot_open_a_session_on_another(make_nodes):
    owner, front = await make_nodes()
    client = Elsewhere(front.host)
    client.sid = owner.hub.application.new_sid()
    link = front.hub.forwarding.peers.link(owner.hub.forwarding.peers.node.id)
    answers: list[tuple[int, bytes]] = []
    conversation = Mock(arrived=lambda kind, payload: answers.append((kind, payload)))
    link.send(REQUEST, link.open(conversation), pack("GET", "EIO=4&transport=polling", "1.2.3.4", "http", {}, False))
    await until(lambda: answers)
    assert decode_response(answers[0][1]).status == 400
    assert not owner.hub.sessions.active
    await client.close()


# WebSockets of polling sessions


async def test_upgrade_through_another_node_continues_the_session(make_nodes):
    owner, front = await make_nodes()
    client = await Elsewhere.of(owner, front)
    await client.join()
    await owner.hub.emit("before", 1)
    raw = await Raw.upgrade(front.host, client.sid)
    assert await raw.expect_event("before") == [1]
    for number in range(20):
        await raw.event("echo", number, ack=number)
    for number in range(20):
        assert await raw.expect_ack(number) == [number]
    [session] = owner.hub.sessions.active.values()
    assert session.upgraded
    await owner.hub.emit("after", 2)
    assert await raw.expect_event("after") == [2]
    assert front.hub.forwarding.counts["forwarded: streams"] == 1
    await raw.close()
    await until(lambda: not owner.hub.sessions.active)
    for node in (owner, front):
        peers = node.hub.forwarding.peers
        assert not [link for link in (*peers._links.values(), *peers._accepted) if link.conversations]
        assert not node.hub.requests.pending
    await client.close()


@pytest.mark.parametrize("count", [1, 40])
async def test_large_messages_pass_in_both_directions(make_nodes, count):
    owner, front = await make_nodes(2, max_unsent=1 << 24)
    client = await Elsewhere.of(owner, front)
    await client.join()
    raw = await Raw.upgrade(front.host, client.sid)
    text = "x" * 400_000
    await raw.event("echo", text, ack=1)
    assert await raw.expect_ack(1) == [text]
    await raw.event("flood", 100_000, count)
    for _ in range(count):
        assert await raw.expect_event("data") == ["x" * 100_000]
    await raw.close()
    await client.close()


async def test_close_codes_of_the_owner_reach_the_client(make_nodes):
    owner, front = await make_nodes()
    client = await Elsewhere.of(owner, front)
    await client.join()
    raw = await Raw.upgrade(front.host, client.sid)
    await raw.send("9")
    assert await raw.is_closed()
    assert raw.ws.close_code == 1008
    await until(lambda: not owner.hub.sessions.active)
    await client.close()


async def test_revocation_ends_an_upgraded_session_at_once(make_nodes):
    owner, front = await make_nodes()
    client = await Elsewhere.of(owner, front)
    await client.join()
    raw = await upgraded(owner, front, client)
    assert await owner.hub.guard.revoke(subject="ada") == 1
    assert await raw.is_closed()
    await client.close()


@pytest.mark.parametrize("dies", ["owner", "front"])
async def test_websocket_closes_when_a_node_dies(make_nodes, dies):
    owner, front = await make_nodes()
    client = await Elsewhere.of(owner, front)
    await client.join()
    raw = await upgraded(owner, front, client)
    await (owner if dies == "owner" else front).hub.forwarding.close()
    assert await raw.is_closed()
    await until(lambda: not owner.hub.sessions.active)
    await client.close()


async def test_stop_of_the_front_closes_forwarded_websockets(make_nodes):
    owner, front = await make_nodes()
    client = await Elsewhere.of(owner, front)
    await client.join()
    raw = await upgraded(owner, front, client)
    await front.hub.close()
    assert await raw.is_closed()
    await until(lambda: not owner.hub.sessions.active)
    await client.close()


async def test_client_that_does_not_read_is_closed(make_nodes):
    owner, front = await make_nodes(2, max_unsent=200_000)
    client = await Elsewhere.of(owner, front)
    await client.join()
    raw = await upgraded(owner, front, client)
    raw.ws.transport.pause_reading()
    while owner.hub.sessions.active:
        await owner.hub.emit("data", "x" * 20_000)
        await asyncio.sleep(0)
    assert owner.hub.counts["closed: reads too slowly"] == 1
    raw.ws.transport.resume_reading()
    assert await raw.is_closed()
    await client.close()


async def test_upgrade_of_an_unknown_session_is_refused(make_nodes):
    owner, front = await make_nodes()
    for sid in (owner.hub.application.new_sid(), "A" * 20):
        with pytest.raises(InvalidStatus, match="400"):
            await Raw.upgrade(front.host, sid)
    await owner.hub.forwarding.close()
    with pytest.raises(InvalidStatus, match="400"):
        await Raw.upgrade(front.host, owner.hub.application.new_sid())
