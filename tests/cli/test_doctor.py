"""``roomkey doctor``."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from roomkey.cli import doctor
from roomkey.server.settings import Settings

Cli = Callable[..., Any]


def test_doctor_accepts_an_empty_folder(roomkey: Cli) -> None:
    ran = roomkey("doctor")
    assert (ran.code, ran.err) == (0, "")
    assert "127.0.0.1 port 8000 can be reached by this machine only" in ran.out
    assert "no key for ES256" in ran.out
    for limit in ("session id alone continues", "WebSocket compression", "oversized polling POST", "Redis"):
        assert limit in ran.out


def test_doctor_lists_the_libraries_of_the_engine(roomkey: Cli, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = roomkey("doctor")
    assert f"ok    engine hub: orjson {metadata.version('orjson')}, uvicorn " in ran.out
    (here / "roomkey.toml").write_text('engine = "python-socketio"\n')
    assert f"engine python-socketio: python-socketio {metadata.version('python-socketio')}, " in roomkey("doctor").out
    monkeypatch.setattr(doctor, "LIBRARIES", {"python-socketio": ("uvicorn", "no-such-library")})
    ran = roomkey("doctor")
    assert "warn  engine python-socketio: no-such-library missing" in ran.out
    assert "pip install 'roomkey[server]'" in ran.out


def test_doctor_reports_a_server_in_use(roomkey: Cli, here: Path) -> None:
    roomkey("keys", "new")
    roomkey("user", "add", "ada", "--password-stdin", stdin="correct horse battery")
    (here / "roomkey.toml").write_text("token_lifetime = 604800\n")
    ran = roomkey("doctor")
    assert ran.code == 0
    for words in (
        "settings: roomkey.toml",
        "1 key(s) in keys",
        "1 account(s) in roomkey.sqlite3",
        "warn  tokens, even stolen ones, are valid for",
    ):
        assert words in ran.out


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ('host = "0.0.0.0"', "passwords and tokens would travel unencrypted"),
        ("prot = 1", "unknown key 'prot'"),
        ('trusted_proxies = ["*"]', "name the proxies"),
        ('tls_cert = "a.pem"', "require each other"),
        ('issuer = "https://a.example\\n"', "fail  roomkey.toml: issuer: the value begins or ends with a line break"),
        ('cors_origins = ["https://a.example\\r"]', "fail  roomkey.toml: cors_origins: "),
        ('cors_origins = ["https://*.a.example"]', "wildcards have no effect"),
        ('public_url = "http://chat.example"', "public_url: must be an https:// URL"),
        ('public_url = "https://chat.example?x"', "public_url: must be an https:// URL"),
        (f"x = {'[' * 5000}", "fail  roomkey.toml is not TOML"),
    ],
)
def test_doctor_fails_for_unsafe_settings(roomkey: Cli, here: Path, settings: str, said: str) -> None:
    (here / "roomkey.toml").write_text(settings)
    ran = roomkey("doctor")
    assert (ran.code, said in ran.out) == (1, True)


def test_doctor_fails_for_files_that_others_can_read(roomkey: Cli, here: Path) -> None:
    roomkey("keys", "new")
    roomkey("user", "add", "ada", "--password-stdin", stdin="correct horse battery")
    (here / "roomkey.sqlite3").chmod(0o644)
    assert "chmod 600 roomkey.sqlite3" in roomkey("doctor").out
    (here / "keys").chmod(0o750)
    ran = roomkey("doctor")
    assert (ran.code, "chmod 700 keys" in ran.out) == (1, True)


def test_doctor_warns_about_a_misspelled_variable_and_a_bypassed_proxy(
    roomkey: Cli, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROOMKEY_PROT", "80")
    (here / "roomkey.toml").write_text('host = "0.0.0.0"\nbehind_proxy = true\n')
    ran = roomkey("doctor")
    assert ran.code == 0
    assert "ROOMKEY_PROT is not a setting; did you mean ROOMKEY_PORT?" in ran.out
    assert "other machines can bypass the proxy" in ran.out


def test_doctor_reports_a_broken_database_and_one_without_accounts(roomkey: Cli, here: Path) -> None:
    database = here / "roomkey.sqlite3"
    database.write_text("not a database")
    database.chmod(0o600)
    ran = roomkey("doctor")
    assert ran.code == 1
    assert "fail  cannot read the accounts" in ran.out


def test_doctor_fails_if_postgresql_is_unavailable(roomkey: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOMKEY_DATABASE", "postgresql://roomkey:hunter2@127.0.0.1:1/db?user=sesame")
    ran = roomkey("doctor")
    assert ran.code == 1
    said = (
        "fail  cannot read the accounts in postgresql://127.0.0.1:1/db: the database failed: ConnectionRefusedError; "
        "no server listens there"
    )
    assert said in ran.out
    assert not any(word in ran.out + ran.err for word in ("hunter2", "sesame", "unencrypted"))


@pytest.mark.parametrize(
    ("find", "replace", "remedy"),
    [
        (r"/[^/?]+\?", "/missing?", "the database does not exist: run createdb"),
        (r"//roomkey@", "//stranger@", "the server refuses this user: run createuser"),
        (r"host=[^&]+", "host=/nonexistent", "there is no Unix socket"),
    ],
)
def test_doctor_suggests_a_remedy_for_postgresql(
    roomkey: Cli, monkeypatch: pytest.MonkeyPatch, postgres: Any, find: str, replace: str, remedy: str
) -> None:
    url, changed = re.subn(find, replace, postgres.database())
    monkeypatch.setenv("ROOMKEY_DATABASE", url)
    ran = roomkey("doctor")
    assert (changed, ran.code) == (1, 1)
    assert remedy in ran.out


@pytest.mark.parametrize(
    ("options", "warned"), [("", True), ("?sslmode=require", True), ("?sslmode=verify-full", False)]
)
def test_doctor_warns_about_an_unverified_postgresql_connection(
    roomkey: Cli, monkeypatch: pytest.MonkeyPatch, options: str, warned: bool
) -> None:
    monkeypatch.setattr(doctor, "_count_postgresql", lambda *_: 1)
    monkeypatch.setenv("ROOMKEY_DATABASE", f"postgresql://roomkey@db.example/db{options}")
    ran = roomkey("doctor")
    assert ("add ?sslmode=verify-full" in ran.out) == warned
    assert "ok    1 account(s) in postgresql://db.example/db" in ran.out


@pytest.mark.parametrize(
    "secret", ["short", "0123456789abcdefghijklmnopqrstuvwxyz\r", "-----begin public key-----" * 2]
)
def test_doctor_fails_for_an_unusable_secret(roomkey: Cli, monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    monkeypatch.setenv("ROOMKEY_SECRET", secret)
    for command in (["doctor"], ["token", "issue", "ada"]):
        ran = roomkey(*command)
        assert ran.code == 1
        assert "ROOMKEY_SECRET: " in ran.out + ran.err
        assert secret not in ran.out + ran.err


def test_doctor_does_not_take_every_url_for_postgresql() -> None:
    settings = Settings.model_construct(database="redis://ada:hunter2@cache.example/0")
    assert list(doctor._database(settings)) == [
        ("warn", "cannot check redis://…: doctor checks only SQLite files and PostgreSQL")
    ]


def test_doctor_accepts_a_byte_order_mark(roomkey: Cli, here: Path) -> None:
    (here / "roomkey.toml").write_bytes(b"\xef\xbb\xbfport = 9000\n")
    assert "port 9000" in roomkey("doctor").out


def test_doctor_tells_whether_tokens_can_be_bound_to_a_key(roomkey: Cli, here: Path) -> None:
    assert "DPoP" not in roomkey("doctor").out
    provider = '[providers.sso]\nissuer = "https://sso.example.com"\naudience = "chat"\n'
    (here / "roomkey.toml").write_text(provider)
    assert "warn  tokens that a provider binds to a key (DPoP) are rejected" in roomkey("doctor").out
    (here / "roomkey.toml").write_text(f'public_url = "https://chat.example"\n{provider}')
    assert "htu of proofs is https://chat.example/socket.io/" in roomkey("doctor").out
