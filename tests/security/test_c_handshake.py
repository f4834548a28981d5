"""Security checklist, group C: the handshake and what comes before authentication, on a live guarded server."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
from support.live import Poll, Raw, refused_status, until
from support.tokens import SECRET, hs256
from support.world import BOTH, Gate, clock, engine, make_world

from roomkey import Policy
from roomkey.errors import SubjectMismatch
from roomkey.socketio import Authenticate, Handshake

__all__ = ["clock", "engine", "make_world"]

pytestmark = BOTH

# HTTP statuses as (polling, WebSocket): engineio's own, and those of the Engine.IO protocol as Node gives them, with
# 429 (RFC 6585) where there is too much.
TOO_MANY = {"python-socketio": (401, 403), "hub": (429, 429)}
FOREIGN_ORIGIN = {"python-socketio": (400, 403), "hub": (403, 403)}
JSONP = {"python-socketio": 401, "hub": 400}


@pytest.mark.checklist("C34")
@pytest.mark.parametrize(
    ("auth", "code", "message"),
    [
        (None, "credentials_required", "no token provided"),
        ([], "invalid_token", "invalid token datatype"),
        (["token"], "invalid_token", "invalid token datatype"),
        ("token", "invalid_token", "invalid token datatype"),
        (5, "invalid_token", "invalid token datatype"),
        ({}, "credentials_required", "no token provided"),
        ({"token": None}, "credentials_required", "no token provided"),
        ({"token": 42}, "invalid_token", "invalid token datatype"),
        ({"token": ""}, "credentials_required", "no token provided"),
        ({"nick": "ada"}, "credentials_required", "no token provided"),
        ({"token": "x" * 15_000}, "invalid_token", "jwt malformed"),  # a longer packet closes
    ],
    ids=["nothing", "empty list", "list", "string", "number", "empty", "null", "int", "empty string", "nick", "15 kB"],
)
async def test_connect_without_a_usable_token_is_refused_and_closed(make_world, auth, code, message):
    world = await make_world()
    client = await world.client()
    told = await client.ask_data(auth)
    assert told["message"] == message
    assert told["data"] == told["data"] | {"message": message, "code": code, "type": "UnauthorizedError"}
    assert await client.is_closed()
    assert len(world.refusals) == 1
    await until(lambda: not world.guard.index.connections)


@pytest.mark.checklist("C34")
async def test_null_auth_counts_as_no_token(make_world):
    world = await make_world()
    client = await world.client()
    await client.send("40null")
    assert "no token provided" in str(await client.receive())
    assert await client.is_closed()


@pytest.mark.checklist("C35")
async def test_query_token_is_refused_by_default(make_world):
    world = await make_world()
    client = await world.client(query=f"&token={world.token()}")
    assert (await client.ask_data())["message"] == "no token provided"


@pytest.mark.checklist("C35")
async def test_query_token_is_never_logged(make_world, engine, caplog):
    for name in (None, "socketio.server", "engineio.server"):
        caplog.set_level(logging.DEBUG, logger=name)
    world = await make_world(via=Handshake(query="token"))
    token = world.token()
    client = await world.client(query=f"&token={token}")
    assert (await client.ask()).startswith("40")
    poll = await Poll(world.host).open(f"&token={token}")
    await poll.close()
    own = [
        entry.getMessage()
        for entry in caplog.records
        if entry.name.split(".")[0] not in ("httpx", "httpcore", "websockets")
    ]
    assert any("admitted" in line for line in own)
    assert engine == "hub" or any("Received packet" in line for line in own)
    assert not [line for line in own if token in line or "eyJ" in line]


@pytest.mark.checklist("C36")
async def test_different_tokens_in_auth_and_header_are_refused(make_world):
    world = await make_world()
    client = await world.client(headers={"Authorization": f"Bearer {world.token('eve')}"})
    told = await client.ask_data({"token": world.token("ada")})
    assert (told["message"], told["data"]["code"]) == ("more than one token provided", "credentials_bad_format")


@pytest.mark.checklist("C36")
async def test_same_token_in_auth_and_header_is_accepted(make_world):
    world = await make_world()
    token = world.token()
    client = await world.client(headers={"Authorization": f"Bearer {token}"})
    assert (await client.ask({"token": token})).startswith("40")


@pytest.mark.checklist("C37")
async def test_connection_without_connect_is_closed_at_the_deadline(make_world):
    world = await make_world(connect_timeout=10)
    client = await world.client()
    poll = await Poll(world.host).open()
    await world.tick(10.1)
    assert await client.is_closed()
    await until(lambda: not world.guard.index.connections)
    await poll.close()


@pytest.mark.checklist("C38")
async def test_unauthenticated_client_is_closed_at_the_deadline(make_world):
    world = await make_world(via=Authenticate(timeout=15))
    client = await world.client()
    assert (await client.ask()).startswith("40")
    await world.tick(14.9)
    assert client.inbox.empty()
    await world.tick(0.2)
    [told] = await client.expect_event("unauthorized")
    assert told["data"]["reason"] == told["data"]["code"] == "authentication_timeout"
    assert told["message"] == told["inner"]["message"] == told["data"]["message"]
    assert await client.receive() == "41"
    assert await client.is_closed()


@pytest.mark.checklist("C38")
async def test_bad_token_does_not_stop_the_deadline(make_world):
    world = await make_world(via=Authenticate(timeout=15))
    client = await world.client()
    await client.ask()
    await world.tick(10)
    await client.event("authenticate", {"token": "bad"})
    await client.expect_event("unauthorized")
    await world.tick(5.1)
    [told] = await client.expect_event("unauthorized")
    assert told["data"]["reason"] == "authentication_timeout"
    assert await client.is_closed()


@pytest.mark.checklist("C38")
async def test_unauthenticated_connections_are_bounded_per_address(make_world, engine):
    world = await make_world(max_anonymous=3)
    clients = [await world.client() for _ in range(3)]
    poll = Poll(world.host)
    assert ((await poll.http.get(poll.url())).status_code, await refused_status(world.host)) == TOO_MANY[engine]
    assert (await clients[0].ask({"token": world.token()})).startswith("40")
    await world.client()  # an admitted one is not counted
    await poll.close()


@pytest.mark.checklist("C39")
@pytest.mark.parametrize(
    "packet",
    ['42["message","x"]', '421["message","x"]', '42["join-room","red"]', '431["x"]', "41"],
    ids=["event", "event with ack", "room join", "ack", "disconnect"],
)
@pytest.mark.parametrize("way", [Handshake(), Authenticate()], ids=["handshake", "authenticate"])
async def test_nothing_is_handled_before_authentication(make_world, packet, way):
    def prepare(world):
        world.guard.serve_rooms()
        for name in ("message", "disconnect", "connect"):
            world.sio.on(name, lambda *arguments, name=name: world.calls.append(name))

    world = await make_world(via=way, prepare=prepare)
    client = await world.client()
    if isinstance(way, Authenticate):
        assert (await client.ask()).startswith("40")
    await client.send(packet)
    if packet == "41":  # which a client may do at any time
        await client.sync()
        await world.tick(15.1)
    assert await client.is_closed()
    assert world.calls == []


@pytest.mark.checklist("C39")
async def test_binary_packets_are_not_collected_before_authentication(make_world):
    world = await make_world(via=Authenticate())
    client = await world.client()
    await client.ask()
    await client.send('451-["x",{"_placeholder":true,"num":0}]')
    assert await client.is_closed()
    assert world.refusals[0][0].code == "protocol_violation"


@pytest.mark.checklist("C40")
@pytest.mark.parametrize("way", [Handshake(), Authenticate()], ids=["handshake", "authenticate"])
async def test_broadcasts_do_not_arrive_before_the_decision(make_world, way):
    gate, policy = Gate(), Policy()
    policy.namespace("/")(gate)

    world = await make_world(via=way, policy=policy)
    client = await world.client()
    await client.present(world.token(), way)
    await gate.reached.wait()
    for _count in range(15):
        await world.sio.emit("confidential", "x")
    gate.open.set()
    assert "confidential" not in str(await client.receive())
    await world.sio.emit("news", 1)
    assert await client.expect_event("news") == [1]
    assert not [packet for packet in client.seen if "confidential" in str(packet)]


@pytest.mark.checklist("C41")
async def test_event_in_a_parallel_post_is_not_handled_during_verification(make_world):
    gate, policy = Gate(), Policy()
    policy.namespace("/")(gate)

    def prepare(world):
        world.sio.on("message", lambda *arguments: world.calls.append("message"))

    world = await make_world(policy=policy, prepare=prepare)
    first = await Poll(world.host).open()
    second = Poll(world.host)
    second.sid = first.sid
    asking = asyncio.create_task(first.post("40" + json.dumps({"token": world.token()})))
    await gate.reached.wait()
    await second.post('42["message","x"]')
    gate.open.set()
    await asking
    await world.settle()
    assert world.calls == []
    assert world.guard.index.connections == set()
    await first.close()
    await second.close()


@pytest.mark.checklist("C41")
async def test_event_directly_after_connect_waits_for_the_decision(make_world):
    order = []

    def prepare(world):
        @world.sio.event
        async def connect(sid, environ, auth):
            order.append("connect")

        @world.sio.event
        async def message(sid, data):
            order.append("message")

    world = await make_world(prepare=prepare)
    client = await world.client()
    await client.send("40" + json.dumps({"token": world.token()}))
    await client.send('42["message","x"]')
    await until(lambda: len(order) == 2)
    assert order == ["connect", "message"]


@pytest.mark.checklist("C42")
async def test_simultaneous_tokens_of_two_users_give_one_identity(make_world):
    gate, policy = Gate(), Policy()
    policy.namespace("/")(gate)

    world = await make_world(via=Authenticate(), policy=policy)
    poll = await Poll(world.host).open()
    await poll.post("40")
    await poll.get()
    other = Poll(world.host)
    other.sid = poll.sid
    claims = [{"token": world.token(name, rooms=[f"room-of-{name}"])} for name in ("ada", "eve")]
    posts = [
        asyncio.create_task(one.post(f'42["authenticate",{json.dumps(claim)}]'))
        for one, claim in zip((poll, other), claims, strict=True)
    ]
    await gate.reached.wait()
    [admission] = list(world.guard.index)
    await asyncio.sleep(0.05)
    gate.open.set()
    await asyncio.gather(*posts)
    who = admission.identity
    # The other one's token may come when the first has been admitted: then it is a refresh with somebody else's.
    assert admission.admitted or type(admission.ended_by) is SubjectMismatch
    assert who.rooms == (f"room-of-{who.subject}",)
    await poll.close()
    await other.close()


@pytest.mark.checklist("C43")
async def test_authenticate_at_the_deadline_never_revives_the_socket(make_world):
    gate, policy = Gate(), Policy()
    policy.namespace("/")(gate)

    def prepare(world):
        world.sio.on("connect", lambda *arguments: world.calls.append("connect"))

    world = await make_world(via=Authenticate(timeout=15), policy=policy, prepare=prepare)
    client = await world.client()
    await client.ask()
    await client.event("authenticate", {"token": world.token()})
    await gate.reached.wait()
    world.clock.advance(15.1)
    world.check_deadlines()
    gate.open.set()
    await world.settle()
    assert await client.is_closed()
    assert world.calls == []
    assert not [packet for packet in client.seen if '"authenticated"' in str(packet)]


@pytest.mark.checklist("C46")
async def test_repeated_connect_gives_one_session_and_a_flood_closes(make_world):
    world = await make_world()
    client = await world.member()
    for _count in range(200):
        await client.send("40" + json.dumps({"token": world.token()}))
    assert await client.is_closed()
    assert len([packet for packet in client.seen if str(packet).startswith("40")]) == 1


@pytest.mark.checklist("C47")
async def test_bad_tokens_close_after_the_maximum_attempts(make_world):
    world = await make_world(via=Authenticate(max_attempts=3))
    client = await world.client()
    await client.ask()
    for _count in range(500):
        await client.event("authenticate", {"token": world.token()[:-3] + "AAA"})
    assert await client.is_closed()
    answers = [packet for packet in client.seen if '"unauthorized"' in str(packet)]
    assert len(answers) == 3
    assert len(world.refusals) == 3
    assert client.seen[-1] == "41"


@pytest.mark.checklist("C48")
async def test_unknown_namespaces_are_refused_counted_and_closed(make_world):
    world = await make_world()
    client = await world.client()
    await client.ask({}, "/n0")  # a client that does not read may miss the replies
    for number in range(1, 1000):
        await client.send(f"40/n{number},{{}}")
    assert await client.is_closed()
    answers = [str(packet) for packet in client.seen if str(packet)[0] == "4"]
    assert 1 <= len(answers) <= 3
    assert all("Invalid namespace" in packet for packet in answers)
    await until(lambda: not world.guard.index.connections)
    assert world.is_empty


@pytest.mark.checklist("C48")
async def test_namespaces_of_one_connection_are_bounded(make_world):
    world = await make_world(server={"namespaces": "*"}, max_namespaces=3)
    client = await world.client()
    for number in range(3):
        assert (await client.ask({"token": world.token()}, f"/n{number}")).startswith("40")
    await client.send("40/n4," + json.dumps({"token": world.token()}))
    assert await client.is_closed()


@pytest.mark.checklist("C49")
@pytest.mark.parametrize("name", ["/admin?x=1", "/admin/", "/ADMIN", "//admin", "/adm%69n", "/admin\\u0000", "/admin "])
async def test_other_spelling_of_a_namespace_does_not_bypass_the_guard(make_world, name):
    policy = Policy()
    policy.namespace("/admin")(lambda who: who.has_role("admin"))

    def prepare(world):
        world.sio.on("delete", lambda *arguments: world.calls.append("delete"), namespace="/admin")

    world = await make_world(policy=policy, prepare=prepare)
    client = await world.client()
    told = await client.ask_data({"token": world.token()}, name)
    assert told["message"] in ("Insufficient permissions", "Invalid namespace")
    assert await client.is_closed()
    assert world.calls == []


@pytest.mark.checklist("C50")
@pytest.mark.parametrize(
    "query", ["", "?EIO=3&transport=polling", "?EIO=abc&transport=polling", "?EIO=4&transport=abc"]
)
async def test_invalid_handshake_receives_400(make_world, query):
    world = await make_world()
    poll = Poll(world.host)
    assert (await poll.http.get(f"/socket.io/{query}")).status_code == 400
    assert (await poll.http.put("/socket.io/?EIO=4&transport=polling")).status_code in (400, 405)
    await poll.close()


@pytest.mark.checklist("C51")
@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1.evil.example", "http://127.0.0.1:1"]
)
async def test_foreign_origin_is_refused_on_every_transport(make_world, engine, origin):
    world = await make_world()
    poll = Poll(world.host, headers={"Origin": origin})
    polling = (await poll.http.get(poll.url())).status_code
    assert (polling, await refused_status(world.host, headers={"Origin": origin})) == FOREIGN_ORIGIN[engine]
    assert world.guard.index.connections == set()
    own = await Poll(world.host).open()
    upgrade = await refused_status(world.host, query=f"&sid={own.sid}", headers={"Origin": origin})
    assert upgrade == FOREIGN_ORIGIN[engine][1]
    await own.close()
    await poll.close()


@pytest.mark.checklist("C52")
async def test_without_origin_a_cookie_is_refused_and_a_token_accepted(make_world):
    """Without an ``Origin`` header, a cookie is refused and a token is accepted."""
    world = await make_world(via=Handshake(cookie="session"))
    cookie = {"Cookie": f"session={world.token()}"}
    alone = await world.client(headers=cookie)
    assert (await alone.ask_data())["message"] == "no token provided"
    from_page = await world.client(headers=cookie | {"Origin": f"http://{world.host}"})
    assert (await from_page.ask()).startswith("40")
    without_cookie = await world.client()
    assert (await without_cookie.ask({"token": world.token()})).startswith("40")


@pytest.mark.checklist("C54")
async def test_jsonp_is_refused(make_world, engine):
    world = await make_world()
    poll = Poll(world.host)
    assert (await poll.http.get(poll.url("&j=0"))).status_code == JSONP[engine]
    assert world.guard.index.connections == set()
    await poll.close()


@pytest.mark.checklist("C55")
async def test_cookie_sent_from_another_site_is_refused(make_world):
    world = await make_world(via=Handshake(cookie="session"))
    headers = {"Cookie": f"session={world.token()}", "Origin": "http://evil.example"}
    assert await refused_status(world.host, headers=headers) == 403
    cross = await world.client(headers={"Cookie": headers["Cookie"], "Sec-Fetch-Site": "cross-site"})
    assert (await cross.ask_data())["message"] == "no token provided"


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (hs256({"alg": "none"}, {"sub": "ada"}), "invalid algorithm"),
        (hs256({"alg": "HS256"}, {"sub": "ada", "aud": "chat"}), "invalid exp value"),
        (hs256({"alg": "HS256"}, {"sub": "ada", "exp": "soon", "aud": "chat"}), "invalid exp value"),
        (hs256({"alg": "HS256"}, b'{"sub":"ada","exp":NaN,"aud":"chat"}'), "invalid token"),
        (hs256({"alg": "HS256"}, b'{"sub":"ada","exp":1e999,"aud":"chat"}'), "invalid token"),
        (hs256({"alg": "HS256"}, {"sub": "ada", "exp": 1_900_000_000, "aud": "x"}), "jwt issuer invalid. expected: https://login.example"),
        (hs256({"alg": "HS256"}, {"sub": "ada"}, secret="another secret of thirty-two bytes!"), "invalid signature"),
    ],
    ids=["none", "no exp", "exp string", "exp NaN", "exp infinite", "issuer", "wrong key"],
)  # fmt: skip
async def test_bad_token_ends_the_same_in_both_ways(make_world, token, message):
    assert SECRET not in token
    world = await make_world(via=(Handshake(), Authenticate(max_attempts=1)))
    first, second = await world.client(), await world.client()
    assert (await first.ask_data({"token": token}))["message"] == message
    assert (await second.ask()).startswith("40")
    await second.event("authenticate", {"token": token})
    [told] = await second.expect_event("unauthorized")
    assert told["message"] == message
    assert await first.is_closed()
    assert await second.is_closed()
    assert isinstance(first, Raw)


@pytest.mark.checklist("C44")
@pytest.mark.parametrize("name", ["connect", "disconnect", "connect_error", "__disconnect_final", "newListener"])
@pytest.mark.parametrize("admitted", [True, False])
async def test_reserved_event_name_closes_and_calls_no_handler(make_world, name, admitted):
    def prepare(world):
        world.sio.on("disconnect", lambda sid, *reason: world.calls.append(("disconnect", *reason)))
        world.sio.on("connect", lambda sid, environ, auth: world.calls.append(("connect", auth)))
        world.sio.on("*", lambda event, sid, *arguments: world.calls.append((event, *arguments)))

    world = await make_world(via=(Handshake(), Authenticate()), prepare=prepare)
    client = await world.client()
    await client.ask({"token": world.token()} if admitted else None)
    await client.event(name, {"forged": 1}, {"token": "forged"})
    assert await client.is_closed()
    assert "forged" not in str(world.calls)


@pytest.mark.checklist("C45")
@pytest.mark.parametrize("name", [None, [], {}, True, "", "n" * 10_000, "a\r\nb"])
async def test_invalid_event_name_closes_with_one_bounded_log_line(make_world, name, caplog):
    world = await make_world()
    client = await world.member()
    caplog.clear()
    await client.send("42" + json.dumps([name, "x"]))
    assert await client.is_closed()
    lines = [entry.getMessage() for entry in caplog.records if entry.levelno >= logging.WARNING]
    assert len(lines) == 1
    assert len(lines[0]) < 300
    assert lines[0].isprintable()


@pytest.mark.checklist("E79")
@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e400", '{"a":[NaN]}'])
async def test_number_that_is_not_json_closes_and_is_never_forwarded(make_world, text):
    def prepare(world):
        @world.sio.event
        async def say(sid, data):
            await world.sio.emit("said", data)

    world = await make_world(prepare=prepare)
    other, sender = await world.member("grace"), await world.member()
    await sender.send(f'42["say",{text}]')
    assert await sender.is_closed()
    assert await other.quiet() == []


@pytest.mark.checklist("C36")
@pytest.mark.parametrize("way", [Handshake(), (Handshake(), Authenticate())], ids=["handshake", "both"])
@pytest.mark.parametrize("second", ["eve", "ada", "another scheme"])
async def test_two_authorization_headers_are_refused(make_world, way, second):
    world = await make_world(via=way)
    other = "Basic eDp5" if second == "another scheme" else f"Bearer {world.token(second)}"
    client = await world.client(headers=[("Authorization", f"Bearer {world.token('ada')}"), ("authorization", other)])
    told = await client.ask_data(None)
    assert told["data"]["code"] == "credentials_bad_format"
