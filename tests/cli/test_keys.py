"""``roomkey keys``."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roomkey import Key
from roomkey.cli.keys import findings
from roomkey.keysets.files import KEY, load_key_files, save_key
from roomkey.server.settings_sources import load_settings

Cli = Callable[..., Any]


def test_new_key_is_written_to_the_servers_folder(roomkey: Cli, here: Path) -> None:
    made = roomkey("keys", "new")
    public = json.loads(made.out)
    assert "d" not in public
    file = here / "keys" / f"{public['kid']}.jwk"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert json.loads(file.read_text())["d"] not in made.out + made.err
    assert f"kid {public['kid']}, private key in keys" in made.err
    assert public["kid"] in roomkey("keys", "list").out


def test_new_key_does_not_overwrite_a_file(roomkey: Cli, here: Path) -> None:
    assert roomkey("keys", "new", "--algorithm", "EdDSA", "--out", "a.jwk").code == 0
    before = (here / "a.jwk").read_bytes()
    again = roomkey("keys", "new", "--out", "a.jwk")
    assert (again.code, again.out, again.err.count("\n")) == (1, "", 1)
    assert "the file exists" in again.err
    assert (here / "a.jwk").read_bytes() == before
    assert not (here / "keys").exists()


def test_new_key_can_be_written_as_pem(roomkey: Cli, here: Path) -> None:
    made = roomkey("keys", "new", "--pem", "--out", "a.pem")
    assert Key.from_pem((here / "a.pem").read_bytes()).is_private
    assert not Key.from_pem(made.out).is_private
    assert stat.S_IMODE((here / "a.pem").stat().st_mode) == 0o600


def test_new_shared_secret_is_not_printed(roomkey: Cli, here: Path) -> None:
    made = roomkey("keys", "new", "--algorithm", "HS256", "--out", "a.jwk")
    assert (made.code, made.out) == (0, "")
    assert json.loads((here / "a.jwk").read_text())["k"] not in made.err
    assert roomkey("keys", "new", "--algorithm", "HS256", "--pem", "--out", "b.pem").code == 2


def test_wrong_usage_is_one_line(roomkey: Cli, here: Path) -> None:
    assert roomkey("keys", "new", "--pem").code == 2
    unknown = roomkey("keys", "new", "--algorithm", "none")
    assert (unknown.code, unknown.err.count("\n")) == (1, 1)
    assert "no keys in keys" in roomkey("keys", "list").err
    roomkey("keys", "new")
    (here / "keys").chmod(0o755)
    refused = roomkey("keys", "list")
    assert (refused.code, refused.err) == (1, "others can read keys (mode 0755); run: chmod 700 keys\n")


NOW = 1_800_000_000


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the clock of the commands."""

    def move(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: NOW + seconds)

    move(0)
    return move


def states(roomkey: Cli) -> list[str]:
    return [row["state"] for row in json.loads(roomkey("keys", "list", "--json").out)]


def test_new_refuses_a_second_key_for_the_algorithm(roomkey: Cli, here: Path) -> None:
    assert roomkey("keys", "new").code == 0
    again = roomkey("keys", "new")
    assert (again.code, again.out) == (1, "")
    assert "keys already has a key for ES256; create the next one with `roomkey keys rotate`" in again.err
    assert roomkey("keys", "new", "--algorithm", "RS256").code == 0
    assert len(list((here / "keys").iterdir())) == 2


def test_rotate_publishes_a_key_before_it_signs(roomkey: Cli, here: Path, at: Callable[[float], None]) -> None:
    old = json.loads(roomkey("keys", "new").out)["kid"]
    made = roomkey("keys", "rotate")
    new = json.loads(made.out)
    assert "d" not in new
    file = here / "keys" / f"{new['kid']}.jwk"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text())["d"] not in made.out + made.err
    assert "it signs from 2027-01-15T08:10:00Z (in 10 min)" in made.err
    assert "older" not in made.err
    listed = json.loads(roomkey("keys", "list", "--json").out)
    assert listed == [
        {"kid": old, "algorithm": "ES256", "state": "signing", "until": "2027-01-15T08:10:00Z"},
        {"kid": new["kid"], "algorithm": "ES256", "state": "next", "until": "2027-01-15T08:10:00Z"},
    ]
    again = roomkey("keys", "rotate")
    assert (again.code, again.out) == (1, "")
    assert f"the next key, {new['kid']}, exists already and signs in 600 s" in again.err
    at(600)
    listed = json.loads(roomkey("keys", "list", "--json").out)
    assert [(row["state"], row["until"]) for row in listed] == [
        ("retiring", "2027-01-15T08:26:00Z"),
        ("signing", None),
    ]
    shown = roomkey("keys", "list").out.splitlines()
    assert shown == [
        f"{old}  ES256  retiring  accepted until 2027-01-15T08:26:00Z (in 16 min)",
        f"{new['kid']}  ES256  signing",
    ]
    at(600 + 960)
    assert states(roomkey) == ["retired", "signing"]


def test_issue_uses_the_signing_key_at_that_time(roomkey: Cli, here: Path, at: Callable[[float], None]) -> None:
    roomkey("keys", "new")
    roomkey("keys", "rotate")
    files = {file.key.kid: file for file in load_key_files(here / "keys")}
    used = []
    for now in (0, 600):
        at(now)
        told = roomkey("token", "inspect", stdin=roomkey("token", "issue", "ada").out).out
        used.append(next(kid for kid in files if kid in told))
    assert [files[kid].not_before for kid in used] == [0, NOW + 600]


def test_rotate_without_delay_signs_immediately(roomkey: Cli, here: Path, at: Callable[[float], None]) -> None:
    first = roomkey("keys", "rotate", "--publish-before", "0")
    assert "signs from now on" in first.err
    assert "older" not in first.err, "no verifier has an older set"
    made = roomkey("keys", "rotate", "--publish-before", "0")
    assert "it signs from now on" in made.err
    assert "a verifier with an older JWK Set rejects its tokens until it fetches the set again" in made.err
    assert states(roomkey) == ["retiring", "signing"]


def test_retired_keys_are_deleted_only_on_request(roomkey: Cli, here: Path, at: Callable[[float], None]) -> None:
    old = json.loads(roomkey("keys", "new").out)["kid"]
    roomkey("keys", "new", "--algorithm", "RS256")
    roomkey("keys", "rotate")
    at(5000)
    roomkey("keys", "rotate")
    assert states(roomkey) == ["retired", "signing", "next", "unused"]
    at(10_000)
    made = roomkey("keys", "rotate", "--remove-retired")
    assert f"deleted keys/{old}.jwk" in made.err
    assert made.err.count("deleted") == 2
    assert states(roomkey) == ["signing", "next", "unused"]


def test_rotated_shared_secret_is_not_printed(roomkey: Cli, here: Path, at: Callable[[float], None]) -> None:
    (here / "roomkey.toml").write_text('algorithm = "HS256"')
    roomkey("keys", "rotate")
    made = roomkey("keys", "rotate", "--publish-before", "5")
    assert (made.code, made.out) == (0, "")
    assert "JWK Set" not in made.err
    for file in load_key_files(here / "keys"):
        assert file.key.algorithms == ("HS256",)
        assert str(file.key.to_jwk(private=True)["k"]) not in made.err + roomkey("keys", "list").out
    assert states(roomkey) == ["signing", "next"]


@pytest.mark.parametrize("wait", ["-1", "31d", "soon"])
def test_rotate_rejects_an_invalid_delay(roomkey: Cli, here: Path, wait: str) -> None:
    assert roomkey("keys", "rotate", f"--publish-before={wait}").code == 2
    assert not (here / "keys").exists()


def test_findings_describe_the_keys_of_the_folder(roomkey: Cli, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(now: float = NOW) -> list[tuple[str, str]]:
        return list(findings(load_settings(), now))

    assert [level for level, _ in said()] == ["warn"]
    monkeypatch.setattr(time, "time", lambda: NOW)
    old = json.loads(roomkey("keys", "new").out)["kid"]
    assert said() == [("ok", f"1 key(s) in keys; {old} signs with ES256")]
    new = json.loads(roomkey("keys", "rotate").out)["kid"]
    assert [text for _, text in said()] == [
        f"2 key(s) in keys; {old} signs with ES256",
        f"key {new} is next: signs from 2027-01-15T08:10:00Z (in 10 min)",
    ]
    assert [text.partition(":")[0] for _, text in said(NOW + 600)] == [
        f"key {old} is retiring",
        f"2 key(s) in keys; {new} signs with ES256",
    ]
    assert any("--remove-retired" in text for _, text in said(NOW + 5000))
    save_key(Key.generate("ES256"), here / "keys" / "open.jwk")
    (here / "keys" / "open.jwk").chmod(0o644)
    [(level, text)] = said()
    assert (level, "chmod 600 keys/open.jwk" in text, "keeps using the keys that it has read" in text) == (
        "fail",
        True,
        True,
    )


def test_findings_describe_a_key_in_the_environment(roomkey: Cli, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = Key.generate("ES256")
    monkeypatch.setenv(KEY, json.dumps(key.to_jwk(private=True)))
    [(level, text)] = findings(load_settings(), NOW)
    assert (level, text) == ("ok", f"the key in {KEY}, {key.kid}, signs with ES256")
    monkeypatch.setenv(KEY, str(key.to_jwk(private=True)["d"]))
    [(level, text)] = findings(load_settings(), NOW)
    assert level == "fail"
    assert str(key.to_jwk(private=True)["d"]) not in text
