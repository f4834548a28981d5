"""The example with your own user table works: its table, its hashes, a socket."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.live import Raw, serve

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_users"
PASSWORD = "correct horse battery"


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROOMKEY_SECRET", "kT9vX2mQ8rL4wZ7yB1nC6dF3gH5jP0sA")
    monkeypatch.syspath_prepend(EXAMPLE)
    for name in ("users", "add_person"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    names: dict[str, Any] = {"__name__": "server"}
    exec(compile((EXAMPLE / "server.py").read_text(), "server.py", "exec"), names)
    return names


async def test_users_log_in_and_their_hashes_are_upgraded(
    example: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import add_person

    monkeypatch.setattr(sys, "argv", ["add_person.py", "ada@example.com", "red"])
    monkeypatch.setattr(add_person, "getpass", lambda: PASSWORD)
    monkeypatch.setattr(add_person, "ITERATIONS", 1000)
    add_person.main()
    users = example["users"]
    before = await users.find("ADA@example.com")
    assert before.password_hash.startswith("pbkdf2_sha256$1000$")
    transport = httpx.ASGITransport(example["app"])
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        wrong = await http.post("/auth/login", json={"username": "ada@example.com", "password": "wrong"})
        assert wrong.status_code == 400
        assert (await users.find("ada@example.com")).password_hash == before.password_hash
        for typed in ("Ada@Example.com", "ada@example.com"):
            answer = await http.post("/auth/login", json={"username": typed, "password": PASSWORD})
            assert answer.status_code == 200, answer.text
            assert (await users.find("ada@example.com")).password_hash.startswith("$argon2id$")
        refreshed = await http.post("/auth/refresh", json={"refresh_token": answer.json()["refresh_token"]})
    async with serve(example["asgi"]) as host:
        raw = await Raw.open(host)
        assert (await raw.ask({"token": refreshed.json()["access_token"]})).startswith("40")
        for ack, (room, allowed) in enumerate([("team-red", True), ("team-blue", False)]):
            await raw.event("join-room", room, ack=ack)
            assert (await raw.expect_ack(ack))[0]["ok"] is allowed
        await example["logins"].logout_all("ada@example.com")
        assert await raw.is_closed()
        await raw.close()
    await example["hub"].close()
    await example["stores"].close()
