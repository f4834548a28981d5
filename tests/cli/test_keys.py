"""``roomkey keys``."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from roomkey import Key

Cli = Callable[..., Any]


def test_new_goes_into_the_servers_folder(roomkey: Cli, here: Path) -> None:
    made = roomkey("keys", "new")
    public = json.loads(made.out)
    assert "d" not in public
    file = here / "keys" / f"{public['kid']}.jwk"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert json.loads(file.read_text())["d"] not in made.out + made.err
    assert f"kid {public['kid']}, private key in keys" in made.err
    assert public["kid"] in roomkey("keys", "list").out


def test_new_into_a_file_and_never_over_one(roomkey: Cli, here: Path) -> None:
    assert roomkey("keys", "new", "--algorithm", "EdDSA", "--out", "a.jwk").code == 0
    before = (here / "a.jwk").read_bytes()
    again = roomkey("keys", "new", "--out", "a.jwk")
    assert (again.code, again.out, again.err.count("\n")) == (1, "", 1)
    assert "not overwritten" in again.err
    assert (here / "a.jwk").read_bytes() == before
    assert not (here / "keys").exists()


def test_pem(roomkey: Cli, here: Path) -> None:
    made = roomkey("keys", "new", "--pem", "--out", "a.pem")
    assert Key.from_pem((here / "a.pem").read_bytes()).is_private
    assert not Key.from_pem(made.out).is_private
    assert stat.S_IMODE((here / "a.pem").stat().st_mode) == 0o600


def test_a_shared_secret_has_no_public_half(roomkey: Cli, here: Path) -> None:
    made = roomkey("keys", "new", "--algorithm", "HS256", "--out", "a.jwk")
    assert (made.code, made.out) == (0, "")
    assert json.loads((here / "a.jwk").read_text())["k"] not in made.err
    assert roomkey("keys", "new", "--algorithm", "HS256", "--pem", "--out", "b.pem").code == 2


def test_mistakes_are_one_line(roomkey: Cli, here: Path) -> None:
    assert roomkey("keys", "new", "--pem").code == 2
    unknown = roomkey("keys", "new", "--algorithm", "none")
    assert (unknown.code, unknown.err.count("\n")) == (1, 1)
    assert "no keys in keys" in roomkey("keys", "list").err
    roomkey("keys", "new")
    (here / "keys").chmod(0o755)
    refused = roomkey("keys", "list")
    assert (refused.code, refused.err) == (1, "keys can be read by others (mode 0755): chmod 700 keys\n")
