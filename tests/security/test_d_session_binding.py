"""Security checklist, group D: who owns a session, on the hub. A session ID alone is not a credential."""

from __future__ import annotations

import asyncio
import base64
import json
import logging

import pytest
from support.calm import calm
from support.live import SEPARATOR, begin_poll, until
from support.rawsocket import Answer, RawSocket, upgrade
from support.world import clock, make_world

from roomkey.errors import ConfigError
from roomkey.hub import Handshake, Hub
from roomkey.hub.engine_session import UPGRADE_AT_END_SECONDS

__all__ = ["calm", "clock", "make_world"]

pytestmark = pytest.mark.usefixtures("calm")

ELSEWHERE = ("127.0.0.2", 0)
FORBIDDEN = (403, {"code": 4, "message": "Forbidden"})
UNKNOWN = (400, {"code": 1, "message": "Session ID unknown"})


@pytest.fixture
def engine() -> str:
    return "hub"


def carried(place: str, token: str | None, host: str) -> tuple[str, dict[str, str]]:
    """Return a query and headers with a token in one of them."""
    if place == "query":
        return (f"&token={token}" if token is not None else ""), {}
    name, value = ("Cookie", f"session={token}") if place == "cookie" else ("Authorization", f"Bearer {token}")
    return "", {"Origin": f"http://{host}"} | ({name: value} if token is not None else {})


class Person:
    """A client that speaks HTTP to the hub, with a connection for each request."""

    def __init__(self, world, *, query: str = "", headers: dict[str, str] | None = None, address=None) -> None:
        self.world, self.query, self.headers, self.address = world, query, dict(headers or {}), address
        self.sid = ""

    async def connection(self) -> RawSocket:
        return await RawSocket.open(self.world.host, local_addr=self.address)

    async def request(self, method: str, body: str = "", sid: str | None = None) -> Answer:
        raw = await self.connection()
        sid = self.sid if sid is None else sid
        data = body.encode()
        lines = [
            f"{method} /socket.io/?EIO=4&transport=polling{'&sid=' + sid if sid else ''}{self.query} HTTP/1.1",
            f"Host: {self.world.host}",
            f"Content-Length: {len(data)}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        await raw.send("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
        try:
            return await raw.answer()
        finally:
            await raw.close()

    async def upgrade(self, sid: str | None = None) -> tuple[RawSocket, Answer]:
        raw = await self.connection()
        sid = self.sid if sid is None else sid
        headers = {name.lower().replace("-", "_"): value for name, value in self.headers.items()}
        await raw.send(upgrade(self.world.host, f"&sid={sid}{self.query}", **headers))
        return raw, await raw.answer()

    async def open(self) -> Person:
        answer = await self.request("GET", sid="")
        assert answer.status == 200, answer
        self.sid = json.loads(answer.body[1:])["sid"]
        return self

    async def join(self, token: str | None = None) -> Person:
        payload = json.dumps({"token": token}) if token is not None else ""
        assert (await self.request("POST", f"40{payload}")).body == b"ok"
        assert (await self.packets())[0].startswith("40")
        return self

    async def packets(self) -> list[str]:
        answer = await self.request("GET")
        assert answer.status == 200, answer
        return answer.body.decode().split(SEPARATOR)

    async def goes_on(self) -> None:
        """Assert that the session works as before."""
        assert (await self.request("POST", '42["say",1]')).body == b"ok"
        assert await self.packets() == ['42["said",1]']


def prepare(world) -> None:
    @world.sio.event
    async def say(sid, data):
        world.calls.append(data)
        await world.sio.emit("said", data, to=sid)


async def attack(thief: Person, victim: Person) -> list[tuple[int, object]]:
    """Poll, post and upgrade with a stolen session ID."""
    answers = [await thief.request("GET", sid=victim.sid)]
    answers.append(await thief.request("POST", '42["say","forged"]', sid=victim.sid))
    raw, answer = await thief.upgrade(victim.sid)
    await raw.close()
    return [(one.status, one.json) for one in [*answers, answer]]


# Polling sessions


@pytest.mark.checklist("D56")
@pytest.mark.parametrize("theirs", ["nothing", "another's token", "no token", "an expired one of the victim's"])
@pytest.mark.parametrize("place", ["header", "cookie", "query"])
async def test_stolen_session_id_is_refused_without_its_token(make_world, caplog, place, theirs):
    world = await make_world(prepare=prepare, via=Handshake(cookie="session", query="token"))
    query, headers = carried(place, world.token("victim"), world.host)
    victim = await Person(world, query=query, headers=headers).open()
    await victim.join()
    wrong = {
        "nothing": None,
        "another's token": world.token("thief"),
        "no token": "not.a.token",
        "an expired one of the victim's": world.token("victim", expires_in=-120),
    }[theirs]
    query, headers = carried(place, wrong, world.host)
    thief = Person(world, query=query, headers=headers, address=ELSEWHERE)
    caplog.clear()
    assert await attack(thief, victim) == [FORBIDDEN] * 3
    lines = [json.loads(one.getMessage()) for one in caplog.records if one.name == "roomkey.audit"]
    told = [line for line in lines if line["check"] == "a session ID without the session's token"]
    assert [(line["event"], line["address"]) for line in told] == [("refused", ELSEWHERE[0])] * 3
    assert world.sio.counts["refused: not the owner of the session"] == 3
    await victim.goes_on()
    assert world.calls == [1]


@pytest.mark.checklist("D56")
@pytest.mark.parametrize("place", ["header", "cookie", "query"])
async def test_newer_token_of_the_same_subject_owns_the_session(make_world, place):
    world = await make_world(prepare=prepare, via=Handshake(cookie="session", query="token"))
    query, headers = carried(place, world.token("victim"), world.host)
    victim = await Person(world, query=query, headers=headers).open()
    await victim.join()
    world.clock.advance(1)
    victim.query, victim.headers = carried(place, world.token("victim"), world.host)
    await victim.goes_on()
    raw, answer = await victim.upgrade()
    assert answer.status == 101
    await raw.close()


@pytest.mark.checklist("D56")
async def test_token_from_another_source_owns_the_session(make_world):
    world = await make_world(prepare=prepare, via=Handshake(query="token"))
    token = world.token("victim")
    victim = await Person(world, headers={"Authorization": f"Bearer {token}"}).open()
    await victim.join()
    victim.headers, victim.query = {}, f"&token={token}"
    await victim.goes_on()


@pytest.mark.checklist("D56")
async def test_cookie_from_a_foreign_page_does_not_own_the_session(make_world):
    world = await make_world(prepare=prepare, via=Handshake(cookie="session"))
    _, headers = carried("cookie", world.token("victim"), world.host)
    victim = await Person(world, headers=headers).open()
    await victim.join()
    foreign = {"Cookie": headers["Cookie"], "Sec-Fetch-Site": "cross-site"}
    assert await attack(Person(world, headers=foreign), victim) == [FORBIDDEN] * 3
    await victim.goes_on()


@pytest.mark.checklist("D56")
@pytest.mark.parametrize("theirs", ["", "roomkey-session=", "roomkey-session=AAAA", "another=x"])
async def test_session_can_be_bound_to_a_cookie(make_world, theirs):
    world = await make_world(prepare=prepare, session_binding="cookie")
    victim = Person(world)
    opened = await victim.request("GET")
    victim.sid = json.loads(opened.body[1:])["sid"]
    pair, *attributes = [one.strip() for one in opened.headers["set-cookie"].split(";")]
    assert attributes == ["Path=/", "HttpOnly", "SameSite=Lax"]
    assert victim.sid not in pair
    thief = Person(world, headers={"Cookie": theirs} if theirs else {})
    assert await attack(thief, victim) == [FORBIDDEN] * 3
    victim.headers = {"Cookie": f"first=1; {pair}; last=2"}
    await victim.join(world.token())
    await victim.goes_on()
    assert "set-cookie" not in (await victim.request("POST", '42["say",2]')).headers
    raw, answer = await victim.upgrade()
    assert answer.status == 101
    await raw.close()
    assert world.calls == [1, 2]


@pytest.mark.checklist("D56")
async def test_each_session_has_its_own_cookie(make_world):
    world = await make_world(session_binding="cookie")
    cookies = {(await Person(world).request("GET")).headers["set-cookie"].split(";")[0] for _ in range(5)}
    assert len(cookies) == 5
    assert all(len(base64.urlsafe_b64decode(cookie.partition("=")[2])) == 24 for cookie in cookies)


@pytest.mark.checklist("D56")
async def test_session_can_be_bound_to_its_address(make_world):
    world = await make_world(prepare=prepare, session_binding="address")
    token = world.token()
    victim = await Person(world, headers={"Authorization": f"Bearer {token}"}).open()
    await victim.join()
    thief = Person(world, headers=victim.headers, address=ELSEWHERE)  # an attacker who has stolen the token as well
    assert await attack(thief, victim) == [FORBIDDEN] * 3
    await victim.goes_on()
    assert world.calls == [1]


@pytest.mark.checklist("D56")
def test_unknown_session_binding_is_rejected(verifier):
    with pytest.raises(ConfigError):
        Hub(verifier, session_binding="token")


@pytest.mark.checklist("D56")
async def test_stolen_session_id_is_refused_while_the_owner_polls(make_world):
    world = await make_world(prepare=prepare)
    victim = await Person(world, headers={"Authorization": f"Bearer {world.token('victim')}"}).open()
    await victim.join()
    waiting = await begin_poll(world.sio, victim.packets())
    assert await attack(Person(world, address=ELSEWHERE), victim) == [FORBIDDEN] * 3
    assert not waiting.done()
    await world.sio.emit("news", 1)
    assert await waiting == ['42["news",1]']


# Upgraded sessions


@pytest.mark.checklist("D57")
@pytest.mark.parametrize("bound", [True, False])
async def test_stolen_session_id_is_refused_after_an_upgrade(make_world, bound):
    world = await make_world(prepare=prepare)
    headers = {"Authorization": f"Bearer {world.token('victim')}"} if bound else {}
    victim = await Person(world, headers=headers).open()
    await victim.join(None if bound else world.token("victim"))
    websocket, answer = await victim.upgrade()
    assert answer.status == 101
    await websocket.text("2probe")
    assert await websocket.packet() == "3probe"
    await websocket.text("5")
    await until(lambda: next(iter(world.sio.sessions.active.values())).upgraded)
    thief = Person(world, address=ELSEWHERE)
    for method in ("GET", "POST"):
        answer = await thief.request(method, '42["say","forged"]', sid=victim.sid)
        assert answer.status == (403 if bound else 400)
    raw, answer = await thief.upgrade(victim.sid)
    if bound:
        assert answer.status == 403
    else:
        assert await raw.close_code() is not None
        assert raw.frames[:-1] == []
    await raw.close()
    await websocket.text('42["say",1]')
    assert await websocket.packet() == '42["said",1]'
    assert world.calls == [1]


@pytest.mark.checklist("D57")
async def test_owner_cannot_poll_after_an_upgrade(make_world):
    world = await make_world(prepare=prepare)
    victim = await Person(world).open()
    await victim.join(world.token())
    websocket, _ = await victim.upgrade()
    await websocket.text("2probe")
    await websocket.packet()
    await websocket.text("5")
    await until(lambda: next(iter(world.sio.sessions.active.values())).upgraded)
    for method in ("GET", "POST"):
        assert (await victim.request(method, '42["say","late"]')).json == {"code": 3, "message": "Bad request"}
    await websocket.text('42["say",1]')
    assert await websocket.packet() == '42["said",1]'
    assert world.calls == [1]


# Random session IDs


@pytest.mark.checklist("D58")
async def test_session_ids_have_120_random_bits(make_world):
    world = await make_world()
    sids = set()
    for _count in range(300):
        raw = await RawSocket.websocket(world.host)
        sids.add(json.loads((await raw.packet())[1:])["sid"])
        await raw.close()
    assert len(sids) == 300
    assert {len(base64.urlsafe_b64decode(sid)) for sid in sids} == {15}
    for place in range(20):  # all bytes vary
        assert len({sid[place] for sid in sids}) > 40


@pytest.mark.checklist("D58")
async def test_guessed_session_id_is_unknown(make_world):
    world = await make_world()
    thief = Person(world)
    for guess in ("A" * 20, "0", "-1", "*", "__proto__", "../x", "%2e", "a" * 1000):
        assert await attack(thief, _named(world, guess)) == [UNKNOWN] * 3
    assert world.sio.sessions.active == {}


def _named(world, sid: str) -> Person:
    person = Person(world)
    person.sid = sid
    return person


# Logs


@pytest.mark.checklist("D59")
async def test_session_ids_and_tokens_are_not_in_logs_responses_or_counts(make_world, caplog):
    for name in (None, "roomkey", "roomkey.audit", "uvicorn", "uvicorn.error", "uvicorn.access", "asyncio"):
        caplog.set_level(logging.DEBUG, logger=name)
    world = await make_world(prepare=prepare, via=Handshake(query="token"))
    token = world.token("victim")
    victim = await Person(world, query=f"&token={token}").open()
    await victim.join()
    [namespace_sid] = world.sio.application.rooms.by_sid
    secrets = [victim.sid, namespace_sid, token, token.split(".")[2], "eyJ"]
    said: list[str] = []
    for thief in (Person(world), Person(world, query=f"&token={world.token('thief')}")):
        for method in ("GET", "POST", "PUT", "OPTIONS"):
            answer = await thief.request(method, f'42["{victim.sid}"', sid=victim.sid)
            said.append(f"{answer}")
        raw, answer = await thief.upgrade(victim.sid)
        said.append(f"{answer}")
        await raw.close()
    await victim.goes_on()
    for bad in (f"4{victim.sid}", f"42[{token}"):
        answer = await victim.request("POST", bad)
        said.append(f"{answer}")
    await until(lambda: not world.sio.sessions.active)
    said.append(str((await victim.request("POST", '42["say",1]')).body))
    await world.settle()
    written = [
        f"{one.name} {one.getMessage()} {one.exc_text or ''}"
        for one in caplog.records
        if one.name.split(".")[0] not in ("websockets", "httpx", "httpcore")
    ]
    assert any("a session ID without the session's token" in line for line in written)
    for secret in secrets:
        assert not [line for line in [*said, *written, *world.sio.counts] if secret in line]


# Unfinished upgrades


@pytest.mark.checklist("D60")
@pytest.mark.parametrize("probe", [True, False])
async def test_unfinished_upgrade_is_closed_and_the_session_continues(make_world, probe):
    world = await make_world(prepare=prepare)
    victim = await Person(world).open()
    await victim.join(world.token())
    raw, answer = await victim.upgrade()
    assert answer.status == 101
    if probe:
        await raw.text("2probe")
        assert await raw.packet() == "3probe"
    await world.tick(9.9)
    assert not raw.reader.at_eof()
    await world.tick(0.2)
    assert await raw.close_code() == 1002
    await victim.goes_on()
    again, _ = await victim.upgrade()
    await again.text("2probe")
    assert await again.packet() == "3probe"
    await again.text("5")
    await again.text('42["say",2]')
    assert await again.packet() == '42["said",2]'
    await world.tick(10.1)
    await again.text('42["say",3]')  # the deadline ends with the upgrade
    assert await again.packet() == '42["said",3]'


@pytest.mark.checklist("D60")
@pytest.mark.parametrize("probe", [True, False])
async def test_session_continues_after_an_upgrade_that_is_cut(make_world, probe):
    world = await make_world(prepare=prepare)
    victim = await Person(world).open()
    await victim.join(world.token())
    raw, _ = await victim.upgrade()
    if probe:
        await raw.text("2probe")
        assert await raw.packet() == "3probe"
    await world.sio.emit("news", 1)
    await raw.close()
    [session] = world.sio.sessions.active.values()
    await until(lambda: not session.upgrading)
    assert await victim.packets() == ['42["news",1]']  # nothing was lost
    await victim.goes_on()


@pytest.mark.checklist("D60")
async def test_second_probe_during_an_upgrade_is_refused(make_world):
    world = await make_world(prepare=prepare)
    victim = await Person(world).open()
    await victim.join(world.token())
    (first, one), (second, two) = await asyncio.gather(victim.upgrade(), victim.upgrade())
    assert (one.status, two.status) == (101, 101)
    for raw in (first, second):
        await raw.text("2probe")
    read = await asyncio.gather(first.frame(), second.frame())
    assert sorted(frame.payload for frame in read) in ([b"3probe", b"\x03\xe8"], [b"\x03\xe8", b"3probe"])
    winner = first if read[0].payload == b"3probe" else second
    await winner.text("5")
    await winner.text('42["say",1]')
    assert await winner.packet() == '42["said",1]'


@pytest.mark.checklist("D60")
@pytest.mark.parametrize("sends", ["5", None], ids=["upgrades", "silent"])
async def test_upgrade_of_a_session_that_ends_is_closed(make_world, sends):
    """The session waits for the upgrade, to tell the reason. Until then, it neither hears nor says anything else."""
    world = await make_world(prepare=prepare)
    victim = await Person(world).open()
    await victim.join(world.token("victim"))
    raw, _ = await victim.upgrade()
    await raw.text("2probe")
    assert await raw.packet() == "3probe"
    await world.guard.revoke(subject="victim")
    assert world.guard.sockets() == []
    await world.sio.emit("message", "for members")
    if sends is not None:
        await raw.text(sends)
        assert (await raw.packet()).startswith('42["unauthorized"')
        assert await raw.packet() == "41"
    else:
        await world.tick(UPGRADE_AT_END_SECONDS)
    assert await raw.close_code() is not None
    assert world.sio.sessions.active == {}


# Simultaneous and canceled polls


@pytest.mark.checklist("D61")
async def test_second_poll_closes_the_session(make_world):
    world = await make_world(prepare=prepare)
    victim = await Person(world).open()
    await victim.join(world.token())
    waiting = await begin_poll(world.sio, victim.packets())
    answer = await victim.request("GET")
    assert (answer.status, answer.json["code"]) == (400, 3)
    assert await waiting == ["1"]
    assert (await victim.request("GET")).json == UNKNOWN[1]
    await world.settle()
    assert world.guard.index.connections == set()


@pytest.mark.checklist("D61")
async def test_canceled_poll_closes_the_session(make_world):
    world = await make_world(prepare=prepare)
    victim = await Person(world).open()
    await victim.join(world.token())
    waiting = await begin_poll(world.sio, victim.packets())
    waiting.cancel()
    await until(lambda: not world.guard.index.connections)
    assert world.sio.sessions.active == {}
    assert (await victim.request("POST", '42["say",1]')).status == 400
    assert world.calls == []


# After a disconnect


@pytest.mark.checklist("D62")
async def test_old_session_id_is_refused_after_a_disconnect(make_world):
    """Until the client has fetched why, POST gets ``ok``, so that it polls again; its packets are dropped."""
    world = await make_world(prepare=prepare)
    victim = await Person(world).open()
    await victim.join(world.token("victim"))
    await world.guard.revoke(subject="victim")
    for packet in ('42["say",1]', "40" + json.dumps({"token": world.token("eve")}), '42["say",2]', "3", "nonsense"):
        answer = await victim.request("POST", packet)
        assert (answer.status, answer.body) == (200, b"ok")
    raw, answer = await victim.upgrade()
    assert answer.status == 400 or await raw.close_code() is not None
    told, disconnected = await victim.packets()
    assert "token_revoked" in told
    assert disconnected == "41"
    assert await attack(victim, victim) == [UNKNOWN] * 3
    await world.settle()
    assert world.calls == []
    assert world.is_empty


@pytest.mark.checklist("D62")
async def test_last_packets_of_an_ended_session_are_for_its_owner(make_world):
    world = await make_world(prepare=prepare)
    victim = await Person(world, headers={"Authorization": f"Bearer {world.token('victim')}"}).open()
    await victim.join()
    await world.guard.revoke(subject="victim")
    assert await attack(Person(world, address=ELSEWHERE), victim) == [FORBIDDEN] * 3
    assert world.calls == []


@pytest.mark.checklist("D62")
async def test_unfetched_packets_are_dropped_after_a_disconnect(make_world):
    world = await make_world(prepare=prepare)
    victim = await Person(world).open()
    await victim.join(world.token("victim"))
    await world.guard.revoke(subject="victim")
    assert len(world.sio.sessions.lingering) == 1
    await world.tick(1.1)
    assert world.sio.sessions.lingering == {}
    assert await attack(victim, victim) == [UNKNOWN] * 3


@pytest.mark.checklist("D62")
async def test_old_websocket_session_id_is_refused_after_a_disconnect(make_world):
    world = await make_world(prepare=prepare)
    websocket = await RawSocket.member(world.host, world.token("victim"))
    [eio_sid] = world.sio.sessions.active
    await world.guard.revoke(subject="victim")
    assert await websocket.close_code() is not None
    assert await attack(Person(world), _named(world, eio_sid)) == [UNKNOWN] * 3
