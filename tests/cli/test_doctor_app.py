"""``roomkey doctor --app``: small applications, written to files, with one mistake each."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roomkey.core.weak_keys import guessable

SECRET = "kT9vX2mQ8rL4wZ7yB1nC6dF3gH5jP0sA"
NUMBERS = itertools.count()

HEAD = f"""
import socketio
from roomkey import Policy, Verifier
from roomkey.policies import rooms_claim
from roomkey.socketio import AsyncGuard, Authenticate, Handshake

SETTINGS = dict(issuer="https://login.example", audience="chat", max_lifetime=900, require=("exp", "sub", "iat"))
SECRET = "{SECRET}"
verifier = Verifier.hs256(SECRET, **SETTINGS)
policy = Policy()
sio = socketio.AsyncServer(async_mode="asgi")

@sio.event
async def say(sid, text):
    pass
"""
GUARD = """
guard = AsyncGuard(verifier, policy=policy)
guard.attach(sio)
"""
SYNC = """
from roomkey.socketio import Guard
sio = socketio.Server(async_mode="threading")
guard = Guard(verifier, policy=policy)
guard.attach(sio)
"""
FLASK = """
from flask import Flask
from flask_socketio import SocketIO
app = Flask("app")
hosts = SocketIO(app, async_mode="threading")
guard = Guard(verifier, policy=policy)
guard.attach(hosts.server)
"""
FLASK_ROOMKEY = """
from flask import Flask, request  # request is a proxy, which raises an error outside of requests
from flask_socketio import SocketIO
from roomkey.flask import RoomKey, current_identity
flask = Flask("app")
extension = RoomKey(flask, SocketIO(flask, async_mode="threading"), verifier, policy=policy)
"""
HUB = """
from roomkey.hub import Hub, Limits
hub = Hub(verifier, policy=policy)
"""
FASTAPI = """
from fastapi import FastAPI
app = FastAPI()
app.mount("/ws", socketio.ASGIApp(sio))
"""
AIOHTTP = """
from aiohttp import web
sio = socketio.AsyncServer(async_mode="aiohttp")
app = web.Application()
sio.attach(app)
"""


@pytest.fixture
def doctor(roomkey: Callable[..., Any], here: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """``doctor(source, name)``: write an application to a file and inspect it in this process."""
    monkeypatch.setattr(sys, "path", [*sys.path])

    def inspect(source: str, name: str = "sio") -> Any:
        module = f"application_{next(NUMBERS)}"
        (here / f"{module}.py").write_text(source)
        ran = roomkey("doctor", "--app", f"{module}:{name}")
        sys.modules.pop(module, None)
        assert ran.err == ""
        assert SECRET not in ran.out
        return ran

    return inspect


def found(ran: Any, *levels: str) -> list[str]:
    return [line for line in ran.out.splitlines() if line.startswith(levels or ("warn", "fail"))]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (HEAD + GUARD, "sio"),
        (HEAD + GUARD, "guard"),
        (HEAD + GUARD + "asgi = socketio.ASGIApp(sio)", "asgi"),
        (HEAD + GUARD + "asgi = socketio.ASGIApp(sio, other_asgi_app=object())", "asgi"),
        (HEAD + GUARD + FASTAPI, "app"),
        (HEAD + AIOHTTP + GUARD, "app"),
        (HEAD + GUARD + "def make():\n    return socketio.ASGIApp(sio)", "make"),
        (HEAD + GUARD + "async def make():\n    return sio", "make"),
        (HEAD + GUARD + "class Place:\n    inner = sio\n", "Place.inner"),
        (HEAD + SYNC, "sio"),
        (HEAD + SYNC + "wsgi = socketio.WSGIApp(sio)", "wsgi"),
        (HEAD + SYNC + FLASK, "app"),
        (HEAD + SYNC + FLASK, "hosts"),
        (HEAD + SYNC + FLASK_ROOMKEY, "extension"),
        (HEAD + HUB, "hub"),
        (HEAD + HUB, "hub.asgi"),
        (HEAD + HUB, "hub.guard"),
        (HEAD + HUB + FASTAPI + "app.mount('/hub', hub.asgi)", "app"),
    ],
    ids=lambda value: value if len(value) < 20 else "",
)
def test_doctor_finds_the_guard_and_has_nothing_to_say_about_it(doctor: Any, source: str, name: str) -> None:
    ran = doctor(source, name)
    assert (ran.code, found(ran)) == (0, [])
    assert "ok    keys: 1, HS256" in ran.out
    assert any(f"{kind}, roomkey " in ran.out for kind in ("AsyncGuard on AsyncServer", "Guard on Server", "on Hub"))


VERIFIERS = [
    ("verifier = Verifier.hs256(SECRET)", "no max_lifetime", "no issuer", "no audience", "tokens without iat"),
    ("verifier = Verifier.hs256(SECRET, **SETTINGS | {'max_lifetime': 1e6})", "valid for up to 11 d"),
    ("verifier = Verifier.hs256('k9x!Qz7wP', insecure_short_secret=True, **SETTINGS)", "HS256 secret may be guessed"),
    ("verifier = Verifier.hs256('correct-horse-battery-staple-every-day', **SETTINGS)", "it looks like words"),
    ("verifier = Verifier.hs256('abcdefgh' * 8, **SETTINGS)", "it looks like words"),
    ("verifier = Verifier.hs256('01234567' * 4, **SETTINGS)", "it has about 96 bits"),
]


@pytest.mark.parametrize("written", VERIFIERS, ids=lambda written: written[1])
def test_doctor_reports_weak_verifiers(doctor: Any, written: tuple[str, ...]) -> None:
    line, *expected = written
    for ran in (doctor(f"{HEAD}{line}\n{GUARD}"), doctor(f"{HEAD}{line}\n{HUB}", "hub")):
        assert ran.code == 0
        for words in expected:
            assert any(words in text for text in found(ran, "warn")), (words, ran.out)
        if len(expected) > 1:
            assert len(found(ran)) == len(expected)
        assert "correct-horse" not in ran.out


GUARDS = [
    ("guard = AsyncGuard(verifier)", "fail  the guard is not attached", 1),
    (
        "guard = AsyncGuard(verifier, via=Handshake(query='ticket')); guard.attach(sio)",
        "tokens in the query (ticket)",
        0,
    ),
    ("guard = AsyncGuard(verifier, required=False); guard.attach(sio)", "admitted as guests", 0),
    ("guard = AsyncGuard(verifier, grace=900); guard.attach(sio)", "connected for 15 min after expiry", 0),
    (
        "import roomkey.testing as t; guard = AsyncGuard(verifier, clock=t.Clock()); guard.attach(sio)",
        "from a Clock",
        0,
    ),
]


@pytest.mark.parametrize("written", GUARDS, ids=lambda written: written[1])
def test_doctor_reports_weak_guards(doctor: Any, written: tuple[str, str, int]) -> None:
    line, said, code = written
    ran = doctor(HEAD + line, "guard")
    assert ran.code == code
    assert any(said in text for text in found(ran)), ran.out


SERVERS = [
    ("sio = socketio.AsyncServer(async_mode='asgi', cors_allowed_origins='*')", "pages of every origin"),
    ("sio = socketio.AsyncServer(async_mode='asgi', max_http_buffer_size=10**9)", "1,000,000,000 bytes"),
    ("sio = socketio.AsyncServer(async_mode='asgi', ping_interval=600)", "noticed after up to 10 min"),
]


@pytest.mark.parametrize("written", SERVERS, ids=lambda written: written[1])
def test_doctor_reports_weak_servers(doctor: Any, written: tuple[str, str]) -> None:
    line, said = written
    [text] = found(doctor(HEAD + line + GUARD), "warn")
    assert said in text


def test_doctor_reports_a_weak_hub(doctor: Any) -> None:
    source = (
        HEAD + HUB + "hub = Hub(verifier, cors_allowed_origins='*', limits=Limits(payload=10**8), ping_interval=300)"
    )
    texts = found(doctor(source, "hub"), "warn")
    assert [word in text for word, text in zip(("origin", "bytes", "noticed"), texts, strict=True)] == [True] * 3


RULES = [
    ("@policy.namespace('/admin')\ndef rule(who): return True", "namespace /admin never applies"),
    ("@policy.event('delete')\ndef rule(who): return True", "event delete never applies"),
    ("@policy.event('say', namespace='/admin')\ndef rule(who): return True", "event say never applies"),
    ("@policy.room('x', namespace='/admin')\ndef rule(who): return True", "room x never applies"),
    ("policy.room('*')(rooms_claim)\n@policy.room('red')\ndef rule(who): return False", "room red cannot deny alone"),
    (
        "@policy.room('a:{b}')\ndef one(who, b): return True\n@policy.room('a:c')\ndef two(who): return False",
        "room a:c cannot deny alone: the rule for room a:{b}",
    ),
    ("policy.room('*')(rooms_claim)\npolicy.room('*')(rooms_claim)", "2 rules for room *"),
]


@pytest.mark.parametrize("written", RULES, ids=lambda written: written[1])
def test_doctor_reports_rules_that_cannot_apply(doctor: Any, written: tuple[str, str]) -> None:
    rule, said = written
    handler = "\n@hub.event\nasync def say(sid, text):\n    pass\n"
    for ran in (doctor(f"{HEAD}{rule}\n{GUARD}"), doctor(f"{HEAD}{rule}\n{HUB}{handler}", "hub")):
        [text] = found(ran)
        assert said in text


@pytest.mark.parametrize(
    "rule",
    [
        "@policy.event('say')\ndef rule(who): return True",
        "@policy.event('*')\ndef rule(who): return True",
        "@policy.event('join-room')\ndef rule(who): return True",
        "@policy.event('shout')\ndef rule(who): return True",
        "@policy.namespace('/')\ndef rule(who): return True",
        "@policy.room('a:{b}')\ndef one(who, b): return True\n@policy.room('c:{d}')\ndef two(who, d): return True",
        "policy.room('*')(rooms_claim)\n@policy.room('user:{name}')\ndef own(who, name): return False",
        "policy.room('*')(rooms_claim)\n@policy.emit('red')\ndef one(who): return False",
    ],
)
def test_doctor_accepts_rules_that_apply(doctor: Any, rule: str) -> None:
    more = "guard.serve_rooms()\nguard.relay('shout')\n"
    assert found(doctor(f"{HEAD}{rule}\n{GUARD}{more}")) == []
    more = "hub.guard.serve_rooms()\nhub.guard.relay('shout')\n@hub.event\nasync def say(sid): pass\n"
    assert found(doctor(f"{HEAD}{rule}\n{HUB}{more}", "hub")) == []


JOINING = """
@policy.room("team:{team}")
def member(who, team): return True

@sio.event
async def connect(sid, environ, auth):
    await sio.enter_room(sid, "lobby")
    await sio.enter_room(sid, "team:red")
    await sio.enter_room(sid, room="team:" + sid)
    await guard.enter_room(sid, "team:blue")
"""


def test_doctor_lists_the_joins_of_the_application(doctor: Any) -> None:
    ran = doctor(HEAD + JOINING + GUARD)
    [denied] = found(ran)
    assert "joins lobby itself, but no rule matches" in denied
    assert len([line for line in found(ran, "ok") if "and the policy decides" in line]) == 2
    allowed = doctor(HEAD + JOINING + GUARD.replace("(sio)", "(sio, own_joins='allow')"))
    assert found(allowed) == []
    assert len([line for line in found(allowed, "ok") if "the policy does not decide" in line]) == 3


def test_doctor_fails_without_a_store_for_several_workers(doctor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "ok    revocations: in the memory of this process" in doctor(HEAD + GUARD).out
    for name, value, number in (("WEB_CONCURRENCY", "4", 4), ("GUNICORN_CMD_ARGS", "-b :80 --workers=3", 3)):
        monkeypatch.setenv(name, value)
        ran = doctor(HEAD + GUARD)
        assert ran.code == 1
        assert f"fail  {number} workers, and revocations only in the memory of each" in ran.out
        stored = GUARD.replace("policy=policy", "revocations=SqlRevocations('r.sqlite3')")
        ran = doctor(HEAD + "from roomkey.stores import SqlRevocations" + stored)
        assert (ran.code, "ok    revocations: in a store" in ran.out) == (0, True)
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("source", "name", "said"),
    [
        (HEAD, "sio", "this AsyncServer has no guard, so it is open to everybody"),
        (HEAD, "policy", "no guard found at"),
        (HEAD, "nothing", ": there is no nothing; name a guard, a hub, "),
        (HEAD + "socketio.Nothing", "sio", "AttributeError: module 'socketio' has no attribute 'Nothing'; start"),
        ("raise ValueError('the secret is hunter2')", "sio", "cannot load application_"),
        ("raise SystemExit(3)", "sio", "SystemExit; start the application yourself"),
        ("import os\nos.environ['MY_SECRET']", "sio", "the environment variable MY_SECRET is not set; set it as for"),
        ("{}['hunter2']", "sio", "KeyError; start the application yourself"),
        ("import no_such_module", "sio", "ModuleNotFoundError: No module named 'no_such_module'"),
        (HEAD + "verifier = Verifier.hs256('short')", "sio", ": the HS256 secret has 5 bytes"),
        ("def (", "sio", "SyntaxError"),
    ],
)
def test_doctor_fails_without_a_guard(doctor: Any, source: str, name: str, said: str) -> None:
    ran = doctor(source, name)
    assert ran.code == 1
    [text] = found(ran)
    assert text.startswith("fail  ")
    assert said in text
    assert "hunter2" not in ran.out
    assert ran.out.splitlines() == [text]


def test_doctor_names_a_missing_module(roomkey: Callable[..., Any]) -> None:
    ran = roomkey("doctor", "--app", "no_such_module.server:app")
    assert ran.code == 1
    [text] = found(ran)
    assert "there is no module no_such_module here; run the command in the directory that contains it" in text


@pytest.mark.parametrize(
    "arguments",
    [("server",), (":sio",), ("server:",), ("a:b", "--token", "-"), ("a:b", "--issuer", "https://x.example")],
)
def test_doctor_rejects_wrong_usage(roomkey: Callable[..., Any], arguments: tuple[str, ...]) -> None:
    ran = roomkey("doctor", "--app", *arguments)
    assert (ran.code, ran.out) == (2, "")


@pytest.mark.parametrize(
    ("secret", "weak"),
    [(b"correct horse battery staple now", True), (b"Summer-holidays-in-the-north2024!", True), (b"0123" * 16, False)],
)
def test_guessable_secrets_are_found(secret: bytes, weak: bool) -> None:
    assert (guessable(secret) is not None) is weak
    assert guessable(SECRET.encode()) is guessable(b"5f8e1c0b9a7d3264e1f0a9b8c7d6e5f4") is None


@pytest.mark.long
def test_doctor_inspects_an_application_in_a_process_of_its_own(here: Path) -> None:
    (here / "package").mkdir()
    (here / "package" / "__init__.py").touch()
    (here / "package" / "server.py").write_text(HEAD + "verifier = Verifier.hs256(SECRET)" + GUARD + FASTAPI)
    command = [sys.executable, "-m", "roomkey", "doctor", "--app", "package.server:app"]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ok    package.server:app: AsyncGuard on AsyncServer, roomkey ")
    assert done.stdout.count("\nwarn  ") == 4
    assert SECRET not in done.stdout
