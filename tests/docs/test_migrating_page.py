"""The code on the page about migrations, with the tokens and the clients of the libraries before."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import socketio
from werkzeug.serving import make_server

from roomkey.errors import BadSignature
from roomkey.testing import Refused, assert_refused, connect

PAGE = (Path(__file__).parents[2] / "docs" / "migrating.md").read_text()
SECRET = "kT9vX2mQ8rL4wZ7yB1nC6dF3gH5jP0sA"
SECTIONS = re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
pytestmark = pytest.mark.filterwarnings("ignore:The HMAC key is")


@pytest.fixture
def code(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that runs the page's code up to a block of a section, and returns its names."""
    monkeypatch.setenv("ROOMKEY_SECRET", SECRET)

    def run(last: str, blocks: int | None = None) -> dict[str, Any]:
        names: dict[str, Any] = {"__name__": "page"}
        for title, text in SECTIONS:
            found = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
            for block in found[:blocks] if title == last else found:
                exec(compile(block, "<migrating.md>", "exec"), names)
            if title == last:
                return names
        raise AssertionError(f"no section {last}")

    return run


def token(secret: str = SECRET, **claims: Any) -> str:
    now = int(time.time())
    return jwt.encode({"iat": now, "exp": now + 600} | claims, secret, algorithm="HS256")


def test_short_secret_is_accepted_until_its_end(code: Any) -> None:
    names = code("Short secrets")
    verifier, last = names["verifier"], names["LAST"]
    old = jwt.encode({"sub": "ada", "exp": int(last) + 600}, names["OLD"], algorithm="HS256")
    assert verifier.verify(old, time.time()).subject == "ada"
    assert verifier.verify(token(sub="ada"), time.time()).subject == "ada"
    with pytest.raises(BadSignature):
        verifier.verify(old, last)


async def test_clients_of_socketio_jwt_are_admitted_in_both_ways(code: Any) -> None:
    names = code("socketio-jwt")
    sent = token(id=7, email="ada@chat.example")
    late = await connect(names["sio"])
    assert "expires_in" in await late.authenticate(sent)
    assert names["guard"].identity(late.sid).subject == "7"
    early = await connect(names["sio"], token=sent)
    assert names["guard"].identity(early.sid).claim("email") == "ada@chat.example"
    wrong = await connect(names["sio"])
    await wrong.emit("authenticate", {"token": token(secret="x" * 16 + SECRET, id=7)})
    told = await wrong.receive("unauthorized")
    assert told["data"] | {"type": "UnauthorizedError", "code": "invalid_token"} == told["data"]
    assert told["inner"] == {"message": "invalid signature"}


async def test_checks_with_pyjwt_become_a_guard(code: Any) -> None:
    names = code("Checks with PyJWT in connect", 1)
    ada = await connect(names["sio"], token=token(sub="ada", aud="chat"))
    await ada.emit("message", "hello")
    assert await ada.receive("message") == {"from": "ada", "text": "hello"}
    await names["notify"]("ada", "lunch")
    assert await ada.receive("notice") == "lunch"
    for sent in (None, token(sub="ada"), token(sub="ada", aud="chat", exp=int(time.time()) - 60)):
        with pytest.raises(Refused):
            await connect(names["sio"], token=sent)


async def test_tokens_of_simplejwt_are_accepted(code: Any) -> None:
    names = code("djangorestframework-simplejwt")
    access = token(token_type="access", user_id=7, jti="a")
    client = await connect(names["sio"], token=access)
    assert (await names["sio"].get_session(client.sid))["user"] == 7
    with assert_refused(code="invalid_token"):
        await connect(names["sio"], token=token(token_type="refresh", user_id=7, jti="r"))


@contextmanager
def served(app: Any) -> Iterator[str]:
    """Serve a WSGI application in threads, and return its URL."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def sync_client(url: str, transport: str, auth: dict[str, str]) -> Any:
    client = socketio.SimpleClient(reconnection=False)
    client.connect(url, auth=auth, transports=[transport], wait_timeout=10)
    return client


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_synchronous_servers_get_the_same_guard(code: Any, transport: str) -> None:
    names = code("Checks with PyJWT in connect")
    with served(socketio.WSGIApp(names["server"])) as url:
        ada = sync_client(url, transport, {"token": token(sub="ada", aud="chat")})
        ada.emit("message", "hello")
        assert ada.receive(timeout=10) == ["message", {"from": "ada", "text": "hello"}]
        with pytest.raises(socketio.exceptions.ConnectionError):
            sync_client(url, transport, {"token": token(sub="ada")})
        ada.disconnect()
        names["guard"].close()


async def messages_and_profiles(names: dict[str, Any], good: str, bad: str, auth: str = "") -> None:
    with served(names["app"]) as url:
        query = f"?token={good}" if auth == "query" else ""
        client = socketio.SimpleClient(reconnection=False)
        client.connect(url + query, auth=None if query else {"token": good}, transports=["polling"])
        client.disconnect()
        with pytest.raises(socketio.exceptions.ConnectionError):
            sync_client(url, "polling", {"token": bad})
        for sent, status in ((good, 200), (bad, 401)):
            answer = httpx.get(f"{url}/profile", headers={"Authorization": f"Bearer {sent}"})
            assert answer.status_code == status
            assert status == 401 or answer.json() == {"user": "ada"}
        names["roomkey"].guard.close()


async def test_tokens_of_flask_jwt_extended_are_accepted(code: Any) -> None:
    access, refresh = (
        token(sub="ada", type=kind, jti=kind, fresh=False, nbf=int(time.time())) for kind in ("access", "refresh")
    )
    await messages_and_profiles(code("flask-jwt-extended"), access, refresh)


async def test_tokens_in_the_url_are_accepted_as_with_flask_httpauth(code: Any) -> None:
    await messages_and_profiles(code("Flask-HTTPAuth"), token(sub="ada"), token(sub="ada", exp=1), "query")
