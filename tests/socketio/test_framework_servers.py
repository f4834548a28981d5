"""Servers that a framework creates: with a JSON module, a serializer and origins that the application cannot change."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import engineio
import jwt
import pytest
import socketio
from support.live import Poll, new_server, until
from support.world import Gate

from roomkey import ConfigError, Issuer, Policy, Verifier
from roomkey.socketio import AsyncGuard, Guard, Handshake
from roomkey.socketio.content_json import CheckedJson
from roomkey.testing import assert_refused, connect_blocking

APP, EVIL = "https://app.example", "https://evil.example"
COOKIE = Handshake(cookie="session")


class LaxJson:
    """A JSON module as a framework brings one: it knows more types, and reads what is not JSON."""

    def __init__(self):
        self.read = []

    def loads(self, text, **options):
        self.read.append(text)
        return json.loads(text, parse_float=Decimal, **options)

    def dumps(self, value, **options):
        return json.dumps(value, default=float, ensure_ascii=False, **options)


@pytest.fixture
def module(monkeypatch):
    """Return a JSON module. python-socketio keeps it in its classes, so that later tests would have it, too."""
    monkeypatch.setattr(socketio.packet.Packet, "json", socketio.packet.Packet.json)
    monkeypatch.setattr(engineio.packet.Packet, "json", engineio.packet.Packet.json)
    return LaxJson()


class JsonOnlyPacket(socketio.packet.Packet):
    """A serializer that only changes what handlers receive."""

    uses_binary_events = False
    json = json

    @classmethod
    def reconstruct_binary(cls, data, attachments):
        return super().reconstruct_binary(data, [list(attachment) for attachment in attachments])


def unattached(**settings):
    return AsyncGuard(Issuer.ephemeral(audience="chat").verifier(), **settings)


def hear(world):
    """Keep the arguments of each ``message``."""

    @world.sio.event
    async def message(sid, *arguments):
        world.calls.append(arguments)
        return "kept"


async def test_json_module_of_the_server_reads_and_writes_packets(make_world, module):
    world = await make_world(server={"json": module}, prepare=hear)
    client = await world.member()
    await client.send('420["message",1.5]')
    assert await client.receive() == '430["kept"]'
    assert world.calls == [(Decimal("1.5"),)]
    await world.sio.emit("price", Decimal("2.5"))
    assert await client.receive() == '42["price",2.5]'


@pytest.mark.parametrize(
    "text",
    [
        "NaN",
        "-Infinity",
        "1e400",
        '{"a":1,"a":2}',
        "[" * 100_000 + "]" * 100_000,
    ],
)
async def test_text_that_is_not_strict_json_does_not_reach_the_json_module(make_world, module, text):
    world = await make_world(server={"json": module}, prepare=hear)
    client = await world.member()
    module.read.clear()
    await client.send(f'42["message",{text}]')
    assert await client.is_closed()
    other = await world.member("eve")
    module.read.clear()
    await other.send(f'4{{"message":{text}}}')  # engineio itself reads it
    assert await other.is_closed()
    assert module.read == []
    assert world.calls == []


async def test_half_an_emoji_reaches_the_json_module_as_a_replacement(make_world, module):
    world = await make_world(server={"json": module}, prepare=hear)
    client = await world.member()
    await client.send('420["message","\\ud83d"]')
    assert await client.receive() == '430["kept"]'
    assert world.calls == [("\ufffd",)]


@pytest.mark.checklist("K17")
async def test_nan_that_the_json_module_writes_is_never_sent(make_world, module):
    world = await make_world(server={"json": module})
    client = await world.member()
    for value in (float("nan"), {"a": [float("inf")]}):
        with pytest.raises(ValueError, match="is not JSON"):
            await world.sio.emit("price", value)
    await world.sio.emit("price", "NaN")
    assert await client.receive() == '42["price","NaN"]'
    await world.sio.emit("text", "half an emoji: \ud83d")
    assert await client.receive() == '42["text","half an emoji: \ufffd"]'


@pytest.mark.parametrize(
    "broken",
    [
        SimpleNamespace(loads=json.loads),
        SimpleNamespace(loads=json.loads, dumps=lambda value: json.dumps(value)),
        SimpleNamespace(loads=json.loads, dumps=lambda value, **_: json.dumps(value).encode()),
        SimpleNamespace(loads=lambda text: {}, dumps=json.dumps),
        SimpleNamespace(loads=json.loads, dumps=lambda value, **_: repr(value)),
    ],
)
def test_attach_rejects_a_json_module_of_another_format(module, broken):
    with pytest.raises(ConfigError, match="create the server without json"):
        unattached().attach(new_server(json=broken))


def test_checked_json_keeps_options():
    checked = CheckedJson(json)
    assert checked.loads('{"a": 1.5}', parse_float=str) == {"a": "1.5"}
    assert checked.dumps({"b": 1, "a": "NaN"}, sort_keys=True) == '{"a": "NaN", "b": 1}'


async def test_serializer_of_the_same_format_keeps_what_it_changes(make_world, module):
    world = await make_world(server={"serializer": JsonOnlyPacket}, prepare=hear)
    client = await world.member()
    await client.send('451-0["message",{"_placeholder":true,"num":0}]')
    await client.send(b"\x01\x02")
    assert await client.receive() == '430["kept"]'
    assert world.calls == [([1, 2],)]
    await client.send('452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]')
    await client.send(b"1")
    await client.send(b"2")
    assert await client.is_closed()
    assert len(world.calls) == 1


@pytest.mark.parametrize("name", ["decode", "encode", "add_attachment", "__init__"])
def test_attach_rejects_a_serializer_of_another_format(name):
    class Other(socketio.packet.Packet):
        pass

    setattr(Other, name, lambda self, *_: None)
    sio = new_server()
    sio.packet_class = Other
    with pytest.raises(ConfigError, match="those of Other; create the server without serializer"):
        unattached().attach(sio)


@pytest.mark.parametrize("everybody", ["*", [], ["*"], (APP, "*")])
def test_attach_rejects_cookies_with_every_origin_and_names_the_line(everybody):
    with pytest.raises(ConfigError, match=r"guard\.attach\(sio, allowed_origins=\['https://app\.example'\]\)"):
        unattached(via=COOKIE).attach(new_server(cors_allowed_origins=everybody))
    unattached(via=COOKIE).attach(new_server(cors_allowed_origins=everybody), allowed_origins=[])


@pytest.mark.parametrize("wrong", ["*", ["https://*.example"], ["app.example"], ["wss://app.example"], [5]])
def test_attach_rejects_what_is_not_an_origin(wrong):
    with pytest.raises(ConfigError, match="is not an origin"):
        unattached(via=COOKIE).attach(new_server(cors_allowed_origins="*"), allowed_origins=wrong)


@pytest.mark.checklist("C55")
@pytest.mark.parametrize("everybody", ["*", []])
async def test_cookie_counts_only_from_the_named_pages(make_world, everybody):
    world = await make_world(via=COOKIE, server={"cors_allowed_origins": everybody}, attach={"allowed_origins": APP})
    cookie = {"Cookie": f"session={world.token()}"}
    own = f"http://{world.host}"
    proxied = {"Origin": f"https://{world.host}", "X-Forwarded-Proto": "https"}  # uvicorn trusts proxies on loopback
    for page in ({"Origin": own}, {"Origin": APP}, {"Sec-Fetch-Site": "same-origin"}, proxied):
        client = await world.client(headers=cookie | page)
        assert (await client.ask()).startswith("40"), page
    for page in (
        {},
        {"Origin": EVIL},
        {"Origin": "null"},
        {"Origin": f"https://{world.host}"},
        {"Origin": EVIL, "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        client = await world.client(headers=cookie | page)
        assert (await client.ask_data())["data"]["code"] == "credentials_required", page
    client = await world.client(headers=cookie | {"Origin": EVIL})  # a token that a page has is no cookie's
    assert (await client.ask({"token": world.token()})).startswith("40")
    await until(lambda: len(world.guard.index.connections) >= 4)


async def undecided(make_world):
    """A server with ``always_connect``, a client that a rule has not decided about, and the gate at which it waits."""
    gate = Gate()
    policy = Policy()
    policy.namespace("/")(gate)
    world = await make_world(server={"always_connect": True}, policy=policy, prepare=hear)
    client = await world.client()
    await client.send("40" + json.dumps({"token": world.token()}))
    await gate.reached.wait()
    return world, client, gate


@pytest.mark.checklist("K9")
async def test_always_connect_does_not_reply_before_the_decision(make_world):
    """python-socketio would admit every client first, and JavaScript clients would then reconnect without end."""
    world, client, gate = await undecided(make_world)
    await world.sio.emit("news", 1)
    assert client.inbox.empty()
    gate.open.set()
    assert str(await client.receive()).startswith("40")
    await client.send('420["message",1]')
    assert await client.receive() == '430["kept"]'
    refused = await world.client()
    assert str(await refused.ask({"token": "a.b.c"})).startswith("44")
    assert await refused.is_closed()
    assert world.calls == [(1,)]


async def test_always_connect_does_not_keep_a_client_that_the_handler_refuses(make_world):
    def prepare(world):
        @world.sio.event
        async def connect(sid, environ, auth):
            return False

    world = await make_world(server={"always_connect": True}, prepare=prepare)
    client = await world.client()
    assert (await client.ask({"token": world.token()})).startswith("44")
    assert await client.is_closed()
    assert world.is_empty


@pytest.mark.checklist("K9")
async def test_packets_before_the_decision_are_rejected_under_always_connect(make_world):
    world, client, gate = await undecided(make_world)
    await client.send('42["message",1]')
    assert await client.is_closed()
    gate.open.set()
    await world.settle()
    assert world.calls == []


@dataclass
class Shape:
    """A server as one of the frameworks in docs/guard.md creates it, and the settings of that page's table."""

    server: dict[str, Any]
    guard: dict[str, Any] = field(default_factory=dict)
    attach: dict[str, Any] = field(default_factory=dict)
    claims_map: dict[str, str] = field(default_factory=dict)
    namespace: str = "/"
    place: str = "auth"
    transports: tuple[str, ...] = ("polling", "websocket")


def lax():
    return SimpleNamespace(loads=staticmethod(json.loads), dumps=staticmethod(lambda value, **_: json.dumps(value)))


OWN_PAGES: dict[str, Any] = {"allowed_origins": []}
SHAPES = {
    "chainlit": lambda: Shape(
        {"cors_allowed_origins": []},
        {"via": Handshake(auth=False, cookie="access_token")},
        OWN_PAGES,
        {"subject": "identifier"},
        place="chunks",
    ),
    "nicegui": lambda: Shape({"cors_allowed_origins": "*", "json": lax()}, {"via": COOKIE}, OWN_PAGES, place="cookie"),
    "reflex": lambda: Shape(
        {
            "cors_allowed_origins": "*",
            "cors_credentials": True,
            "json": lax(),
            "allow_upgrades": False,
            "transports": ["websocket"],
            "async_handlers": False,
        },
        {"via": COOKIE},
        OWN_PAGES,
        namespace="/_event",
        place="cookie",
        transports=("websocket",),
    ),
    "open-webui": lambda: Shape(
        {
            "cors_allowed_origins": "*",
            "json": lax(),
            "serializer": JsonOnlyPacket,
            "allow_upgrades": False,
            "transports": ["polling"],
            "always_connect": True,
        },
        claims_map={"subject": "id"},
        transports=("polling",),
    ),
}


@pytest.mark.parametrize(
    ("name", "transport"), [(name, way) for name, make in SHAPES.items() for way in make().transports]
)
async def test_server_shaped_like_a_framework_refuses_admits_and_closes_on_expiry(
    make_world, clock, module, name, transport
):
    shape = SHAPES[name]()
    secret, calls = "kT9vX2mQ8rL4wZ7yB1nC6dF3gH5jP0sA", []

    def prepare(world):
        class Everything(socketio.AsyncNamespace):
            async def on_connect(self, sid, environ, auth=None):
                calls.append(world.guard.identity(sid).subject)
                await self.save_session(sid, {"user": "ada"})

            async def on_message(self, sid, *arguments):
                calls.append(arguments)

        world.sio.register_namespace(Everything(shape.namespace))

    verifier = Verifier.hs256(secret, claims_map=shape.claims_map)
    world = await make_world(
        server=shape.server, attach=shape.attach, verifier=verifier, prepare=prepare, grace=0, **shape.guard
    )
    claims = {shape.claims_map.get("subject", "sub"): "ada", "exp": int(clock.now()) + 60, "pad": "x" * 3000}
    token = jwt.encode(claims, secret, algorithm="HS256")
    parts = {"auth": {}, "cookie": {"session": token}}.get(
        shape.place, {f"access_token_{at // 3000}": token[at : at + 3000] for at in range(0, len(token), 3000)}
    )
    auth = {"token": token} if shape.place == "auth" else {}
    headers = {"Origin": f"http://{world.host}", "Cookie": "; ".join(f"{key}={value}" for key, value in parts.items())}
    evil = headers | {"Origin": EVIL}
    connect = "40" if shape.namespace == "/" else f"40{shape.namespace},"
    packets = {
        "stranger": (connect + "{}", {}, "44"),
        "another page": (connect + "{}", evil, "44"),
        "member": (connect + json.dumps(auth), headers, "40"),
    }
    for packet, sent, answer in packets.values():
        if transport == "websocket":
            client = await world.client(headers=sent)
            await client.send(packet)
            assert str(await client.receive()).startswith(answer)
        else:
            poll = await Poll(world.host, sent).open()
            await poll.post(packet)
            assert (await poll.get())[0].startswith(answer)
    assert calls == ["ada"]
    if transport == "polling":
        waiting = asyncio.create_task(poll.get())
        await until(lambda: any(session.queue._getters for session in world.sio.eio.sockets.values()))
    await world.tick(61)
    if transport == "websocket":
        assert "token_expired" in str(await client.receive())
        assert await client.is_closed()
    else:
        assert any("token_expired" in packet for packet in await waiting)
    await until(lambda: not world.guard.index.connections)


class BlockingApp:
    """A synchronous server as a framework creates it, with a guard."""

    def __init__(self, module, **settings):
        self.calls = []
        self.issuer = Issuer.ephemeral(audience="chat")
        self.guard = Guard(self.issuer.verifier(), **settings)
        self.sio = socketio.Server(
            async_mode="threading",
            cors_allowed_origins="*",
            json=module,
            serializer=JsonOnlyPacket,
            always_connect=True,
        )
        self.guard.attach(self.sio, allowed_origins=APP)

        @self.sio.event
        def message(sid, *arguments):
            self.calls.append(arguments)
            return "kept"


def test_synchronous_server_of_a_framework_refuses_and_admits(module):
    app = BlockingApp(module)
    with assert_refused(code="credentials_required"):
        connect_blocking(app.sio)
    with assert_refused(code="invalid_token"):
        connect_blocking(app.sio, token="a.b.c")
    client = connect_blocking(app.sio, token=app.issuer.issue("ada"))
    assert client.call("message", 1.5) == "kept"
    assert app.calls == [(Decimal("1.5"),)]
    assert isinstance(app.sio.packet_class.json, CheckedJson)
    with pytest.raises(ValueError, match="is not JSON"):
        app.sio.emit("price", float("nan"))
    client.disconnect()


def test_synchronous_server_accepts_cookies_from_the_named_pages_only(module):
    app = BlockingApp(module, via=COOKIE)
    token = app.issuer.issue("ada")
    cookie = {"Cookie": f"session.0={token[:30]}; session.1={token[30:]}"}
    connect_blocking(app.sio, headers=cookie | {"Origin": APP}).disconnect()
    for page in ({}, {"Origin": EVIL}, {"Sec-Fetch-Site": "cross-site"}):
        with assert_refused(code="credentials_required"):
            connect_blocking(app.sio, headers=cookie | page)


def test_synchronous_guard_rejects_what_the_asynchronous_one_rejects(module):
    def server(**settings):
        return socketio.Server(async_mode="threading", **settings)

    def guard(**settings):
        return Guard(Issuer.ephemeral(audience="chat").verifier(), **settings)

    with pytest.raises(ConfigError, match="create the server without serializer"):
        guard().attach(server(serializer=type("Other", (socketio.packet.Packet,), {"encode": None})))
    with pytest.raises(ConfigError, match="allowed_origins"):
        guard(via=COOKIE).attach(server(cors_allowed_origins="*"))
    with pytest.raises(ConfigError, match="create the server without json"):
        guard().attach(server(json=SimpleNamespace(loads=json.loads)))


@pytest.mark.parametrize("place", ["X-Token", "jwt"])
def test_synchronous_guard_accepts_tokens_in_places_of_other_names(module, place):
    app = BlockingApp(module, via=Handshake(auth="jwt", header="X-Token"))
    token = app.issuer.issue("ada")
    sent = {"headers": {"X-Token": token}} if place == "X-Token" else {"auth": {"jwt": token}}
    connect_blocking(app.sio, **sent).disconnect()
    with assert_refused(code="credentials_required"):
        connect_blocking(app.sio, headers={"Authorization": f"Bearer {token}"}, auth={"token": token})
