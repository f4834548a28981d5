"""``roomkey client``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]


def listed(roomkey: Cli) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(roomkey("client", "list", "--json").out)
    return found


def test_a_service_gets_a_secret_that_is_shown_once(roomkey: Cli, here: Path) -> None:
    added = roomkey("client", "add", "bot", "--scope", "chat", "--role", "bot", "--room", "lobby")
    secret = added.out.strip()
    assert (added.code, len(secret)) == (0, 43)
    (client,) = listed(roomkey)
    assert (client["kind"], client["grants"], client["scopes"]) == ("confidential", ["client_credentials"], ["chat"])
    database = b"".join(path.read_bytes() for path in here.glob("roomkey.sqlite3*"))
    assert secret.encode() not in database
    assert hashlib.sha256(secret.encode()).hexdigest().encode() in database
    assert "bot" in roomkey("client", "list").out


def test_an_app_has_redirects_and_no_secret(roomkey: Cli) -> None:
    added = roomkey("client", "add", "app", "--public", "--redirect-uri", "https://app.example/callback")
    assert (added.code, added.out) == (0, "")
    (client,) = listed(roomkey)
    assert (client["kind"], client["grants"]) == ("public", ["authorization_code", "refresh_token"])


def test_it_is_disabled_and_enabled(roomkey: Cli) -> None:
    roomkey("client", "add", "bot")
    for command, disabled in (("disable", True), ("enable", False)):
        assert roomkey("client", command, "bot").code == 0
        assert listed(roomkey)[0]["disabled"] is disabled


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("add", "bot", "--public"), 2, "needs a secret"),
        (("add", "b ot"), 1, "no spaces"),
        (("add", "app", "--redirect-uri", "/callback"), 1, "redirect URI"),
        (("add", "taken"), 1, "already"),
        (("disable", "nobody"), 1, "roomkey client list"),
    ],
)
def test_mistakes_say_what_to_do(roomkey: Cli, arguments: tuple[str, ...], code: int, words: str) -> None:
    roomkey("client", "add", "taken")
    ran = roomkey("client", *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert words in ran.err


def test_no_clients_yet(roomkey: Cli) -> None:
    assert "roomkey client add" in roomkey("client", "list").err
