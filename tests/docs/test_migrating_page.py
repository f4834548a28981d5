"""The code on the page about migrations, with the tokens and the clients of the libraries before."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from roomkey.errors import BadSignature
from roomkey.testing import Refused, assert_refused, connect

PAGE = (Path(__file__).parents[2] / "docs" / "migrating.md").read_text()
SECRET = "kT9vX2mQ8rL4wZ7yB1nC6dF3gH5jP0sA"
SECTIONS = re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
pytestmark = pytest.mark.filterwarnings("ignore:The HMAC key is")


@pytest.fixture
def code(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that runs the page's code up to a section, and returns its names."""
    monkeypatch.setenv("ROOMKEY_SECRET", SECRET)

    def run(last: str) -> dict[str, Any]:
        names: dict[str, Any] = {"__name__": "page"}
        for title, text in SECTIONS:
            for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
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
    names = code("Checks with PyJWT in connect")
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
