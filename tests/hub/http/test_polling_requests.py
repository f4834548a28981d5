"""Requests of long-polling clients and their responses, without a connection."""

from __future__ import annotations

import asyncio
import json

import pytest
from support.live import until

from roomkey import Issuer
from roomkey.hub import Hub
from roomkey.hub.http.polling_requests import Exchange, PollingResponse
from roomkey.hub.http.requests import HttpRequest
from roomkey.hub.refusals import BODY_TOO_LARGE, BODY_TOO_SLOW, Refusal

ISSUER = Issuer.ephemeral(audience="chat")


class Client:
    """A client that keeps what it is asked for."""

    def __init__(self) -> None:
        self.limit = 0
        self.responses: list[PollingResponse] = []
        self.exchange: Exchange

    def read_body(self, limit: int) -> None:
        self.limit = limit

    def respond(self, response: PollingResponse) -> None:
        self.responses.append(response)


@pytest.fixture
async def hub():
    hub = Hub(ISSUER.verifier())

    @hub.event
    async def echo(sid, *data):
        await hub.emit("seen", to=sid)
        return data

    yield hub
    await hub.close()


def ask(hub: Hub, method: str = "GET", sid: str = "", headers: dict[str, str] | None = None) -> Client:
    """Begin a request."""
    query = f"EIO=4&transport=polling{'&sid=' + sid if sid else ''}"
    raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    client = Client()
    client.exchange = hub.polling.begin(HttpRequest(method, hub.path, query, raw, "127.0.0.1"), client)
    return client


def opened(hub: Hub, headers: dict[str, str] | None = None) -> str:
    [response] = ask(hub, headers=headers).responses
    sid: str = json.loads(response.body[1:])["sid"]
    return sid


def post(hub: Hub, sid: str, body: bytes | Refusal) -> PollingResponse:
    client = ask(hub, "POST", sid)
    client.exchange.received(body)
    [response] = client.responses
    return response


async def admitted(hub: Hub) -> str:
    sid = opened(hub)
    assert post(hub, sid, b'40{"token":"%b"}' % ISSUER.issue("ada").encode()).body == b"ok"
    await until(lambda: hub.sessions.active[sid].transport.ready)
    [response] = ask(hub, sid=sid).responses
    assert response.body.startswith(b"40")
    return sid


async def test_open_is_answered_immediately(hub):
    [response] = ask(hub).responses
    assert (response.status, response.closes) == (200, False)
    assert (b"cache-control", b"no-store") in response.headers


async def test_poll_waits_and_has_all_packets_of_a_turn(hub):
    sid = await admitted(hub)
    poll = ask(hub, sid=sid)
    assert not poll.responses
    assert post(hub, sid, b'421["echo",1]').body == b"ok"
    await until(lambda: poll.responses)
    [response] = poll.responses
    assert response.body == b'42["seen"]\x1e431[1]'
    poll.exchange.gone()  # nothing happens: it has its response
    assert hub.sessions.active[sid].alive


async def test_poll_of_a_client_that_left_ends_its_session(hub):
    sid = await admitted(hub)
    poll = ask(hub, sid=sid)
    poll.exchange.gone()
    assert sid not in hub.sessions.active
    assert not poll.responses


async def test_due_poll_of_a_client_that_left_is_not_answered(hub):
    sid = await admitted(hub)
    poll = ask(hub, sid=sid)
    hub.sessions.active[sid].transport.send_packet(b"2")  # the poll is due at the end of the turn
    poll.exchange.gone()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not poll.responses
    assert sid not in hub.sessions.active


async def test_second_poll_ends_the_session(hub):
    sid = await admitted(hub)
    first, second = ask(hub, sid=sid), ask(hub, sid=sid)
    assert second.responses[0].status == 400
    await until(lambda: first.responses)
    assert sid not in hub.sessions.active


async def test_second_post_ends_the_session(hub):
    sid = await admitted(hub)
    first, second = ask(hub, "POST", sid), ask(hub, "POST", sid)
    assert second.responses[0].status == 400
    first.exchange.received(b"3")
    assert first.responses[0].status == 400
    assert sid not in hub.sessions.active


async def test_post_of_a_client_that_left_leaves_the_session(hub):
    sid = await admitted(hub)
    ask(hub, "POST", sid).exchange.gone()
    assert post(hub, sid, b'420["echo"]').body == b"ok"


async def test_body_limit_is_lower_before_admission(hub):
    settings = hub.application.settings
    assert ask(hub, "POST", opened(hub)).limit == settings.body_before_admission
    assert ask(hub, "POST", await admitted(hub)).limit == settings.limits.payload


@pytest.mark.parametrize(("why", "closes"), [(BODY_TOO_LARGE, False), (BODY_TOO_SLOW, True)])
async def test_unread_body_ends_the_session(hub, why: Refusal, closes: bool):
    sid = await admitted(hub)
    response = post(hub, sid, why)
    assert (response.status, response.closes) == (why.status, closes)
    assert sid not in hub.sessions.active


async def test_close_of_the_hub_answers_waiting_polls(hub):
    poll = ask(hub, sid=await admitted(hub))
    await hub.close()
    await until(lambda: poll.responses)
    assert poll.responses[0].status == 400


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE"])
async def test_other_methods_are_refused(hub, method: str):
    assert ask(hub, method, await admitted(hub)).responses[0].status == 400


# A request whose token must be verified first


class Gate:
    """A verifier that waits until the gate is open."""

    def __init__(self) -> None:
        self.verifier = ISSUER.verifier()
        self.open = asyncio.Event()
        self.asked = 0

    async def verify(self, token, now, *, source=""):
        self.asked += 1
        await self.open.wait()
        return self.verifier.verify(token, now, source=source)


@pytest.fixture
async def gate():
    return Gate()


@pytest.fixture
async def gated(gate):
    hub = Hub(gate)
    yield hub
    await hub.close()


def bearer(subject: str) -> dict[str, str]:
    return {"authorization": f"Bearer {ISSUER.issue(subject)}"}


async def test_post_waits_for_the_verifier_before_its_body_is_read(gated, gate):
    client = ask(gated, "POST", opened(gated, bearer("ada")), bearer("ada"))
    await until(lambda: gate.asked)
    assert not client.limit
    gate.open.set()
    await until(lambda: client.limit)
    client.exchange.received(b"3")
    assert client.responses[0].status == 400  # a pong without a ping


async def test_token_of_another_subject_is_refused(gated, gate):
    gate.open.set()
    client = ask(gated, sid=opened(gated, bearer("ada")), headers=bearer("eve"))
    await until(lambda: client.responses)
    assert client.responses[0].status == 403


async def test_verification_ends_when_its_client_leaves(gated, gate):
    sid = opened(gated, bearer("ada"))
    client = ask(gated, sid=sid, headers=bearer("ada"))
    await until(lambda: gate.asked)
    client.exchange.gone()
    gate.open.set()
    await gated.settle()
    assert not client.responses
    assert gated.sessions.active[sid].alive
    assert not gated.sessions.active[sid].transport.busy


async def test_error_of_the_verifier_is_answered(gated, gate, monkeypatch, caplog):
    async def fail(*_arguments: object) -> object:
        raise RuntimeError("the application's")

    sid = opened(gated, bearer("ada"))
    monkeypatch.setattr(gated.requests, "find", fail)
    client = ask(gated, sid=sid, headers=bearer("ada"))
    await until(lambda: client.responses)
    assert (client.responses[0].status, client.responses[0].closes) == (500, True)
    assert "could not answer a long-polling request" in caplog.text
    caplog.clear()
