"""Settings: defaults < roomkey.toml < ROOMKEY_* < options; errors name the place of the value."""

from __future__ import annotations

from pathlib import Path

import pytest

from roomkey.errors import ConfigError
from roomkey.server.config_file import read_config
from roomkey.server.settings import Settings, check_exposure, is_loopback
from roomkey.server.settings_sources import load_settings

pytestmark = pytest.mark.usefixtures("here")


def test_defaults_are_used_without_a_file() -> None:
    settings = load_settings()
    assert (settings.host, settings.port, settings.algorithm, settings.via) == ("127.0.0.1", 8000, "ES256", "both")
    assert (settings.token_lifetime, settings.grace, settings.cors_origins) == (900, 25.0, ())
    assert settings.engine == "hub"


def test_sources_have_precedence(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "roomkey.toml").write_text(
        'port = 1\nissuer = "toml"\naudience = "toml"\ncors_origins = ["http://a.example"]'
    )
    assert load_settings().port == 1
    monkeypatch.setenv("ROOMKEY_PORT", "2")
    monkeypatch.setenv("ROOMKEY_ISSUER", "env")
    monkeypatch.setenv("ROOMKEY_ENGINE", "python-socketio")
    monkeypatch.setenv("ROOMKEY_CORS_ORIGINS", "http://b.example, http://c.example")
    assert load_settings().port == 2
    assert load_settings().engine == "python-socketio"
    assert load_settings(engine="hub").engine == "hub"
    settings = load_settings(port=3, grace=None)
    assert (settings.port, settings.issuer, settings.audience, settings.grace) == (3, "env", "toml", 25.0)
    assert settings.cors_origins == ("http://b.example", "http://c.example")


def test_config_names_another_file(here: Path) -> None:
    (here / "other.toml").write_text("port = 5")
    assert load_settings(read_config(here / "other.toml")).port == 5
    with pytest.raises(ConfigError, match=r"cannot read .*absent\.toml"):
        read_config(here / "absent.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prot = 1", "roomkey.toml: unknown key 'prot'; did you mean port"),
        ('token_header = "Cookie"', "roomkey.toml: token_header: must be the name of a header"),
        ('auth_member = "dpop"', "roomkey.toml: auth_member: must be the name of a member, but not dpop"),
        ('auth_member = ""', "roomkey.toml: auth_member: "),
        ("zzz = 1", "known keys are: host, port"),
        ('[server]\nport = "1"', "unknown key 'server'"),
        ("port = ", "is not TOML"),
        ('port = "eighty"', "roomkey.toml: port: "),
        ("port = 70000", "roomkey.toml: port: "),
        ("token_lifetime = 0", "token_lifetime"),
        ('algorithm = "none"', "use one of HS256"),
        ('via = "carrier pigeon"', "via"),
        ('engine = "steam"', "'hub' or 'python-socketio'"),
        ('cors_origins = ["*"]', "not an origin"),
        ('cors_origins = ["https://a.example/page"]', "not an origin"),
        ('tls_key = "a.pem"', "tls_cert and tls_key require each other"),
    ],
)
def test_invalid_file_is_one_line(here: Path, text: str, said: str) -> None:
    (here / "roomkey.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_error_names_where_the_value_was_written(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "roomkey.toml").write_text("port = -1")
    with pytest.raises(ConfigError, match=r"^roomkey\.toml: port: "):
        load_settings()
    monkeypatch.setenv("ROOMKEY_PORT", "-1")
    with pytest.raises(ConfigError, match=r"^ROOMKEY_PORT: "):
        load_settings()
    with pytest.raises(ConfigError, match=r"^--port: "):
        load_settings(port=-1)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ada@db.example/rooms", "postgresql://db.example/rooms"),
        ("postgres://ada:hunter2@db.example:5433/rooms?sslmode=require", "postgresql://db.example:5433/rooms"),
        ("postgresql://ada:hunter2@a:1,[::1]:2/rooms", "postgresql://a:1,[::1]:2/rooms"),
        ("postgresql://ada@/rooms?host=/run/postgresql&password=hunter2", "postgresql:///rooms"),
    ],
)
def test_database_url_is_shown_without_credentials(url: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOMKEY_DATABASE", url)
    settings = load_settings()
    assert (settings.database, settings.database_name) == (url, shown)
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    "url", ["redis://ada:hunter2@cache.example/0", "mysql://ada:hunter2@h/db?x", "postgresql://a:b@hunter2@h/db"]
)
def test_database_url_of_another_form_is_shown_by_its_scheme_alone(url: str) -> None:
    """A new kind of database must not show its passwords before somebody adds its form."""
    assert Settings.model_construct(database=url).database_name == f"{url.partition(':')[0]}://…"


def test_database_can_be_a_file(here: Path) -> None:
    (here / "roomkey.toml").write_text('database = "var/a.sqlite3"')
    assert load_settings().database == Path("var/a.sqlite3")
    assert load_settings(database="b.sqlite3").database_name == "b.sqlite3"
    assert load_settings(database=Path("c.sqlite3")).database == Path("c.sqlite3")


@pytest.mark.parametrize(
    "url",
    [
        "mysql://ada:hunter2@h/db",
        "postgresql+asyncpg://ada:hunter2@h/db",
        "postgresql://ada:hunter2@h",
        "postgresql://ada:hunter2/db",  # not a host and a port: the host is missing
        "postgresql://ada:hunter2/3@h/db",
        "postgresql://ada:12/hunter2@h/db",
        "postgresql://ada:hunter2#@h/db",
        "postgresql://ada:[hunter2@h/db",
        "postgresql://ada:@hunter2@h/db",
    ],
)
def test_invalid_database_url_is_not_shown(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_settings(database=url)
    assert (
        str(refused.value)
        == "--database: invalid database; use a file, or a URL of the form postgresql://user@host/database"
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "[::1]", "localhost"])
def test_loopback_addresses_can_be_served_without_tls(host: str) -> None:
    assert is_loopback(host)
    check_exposure(Settings(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", "localhost.example.org", ""])
def test_other_addresses_require_tls_or_a_proxy(host: str) -> None:
    with pytest.raises(ConfigError, match="--tls-cert and --tls-key, or --behind-proxy"):
        check_exposure(Settings(host=host))
    check_exposure(Settings(host=host, behind_proxy=True))
    check_exposure(Settings(host=host, tls_cert=Path("a"), tls_key=Path("b")))


BOM = b"\xef\xbb\xbf"


def test_file_can_begin_with_a_byte_order_mark(here: Path) -> None:
    (here / "roomkey.toml").write_bytes(BOM + b"port = 9000\n")
    assert load_settings().port == 9000


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"x = " + b"[" * 5000, "nested too deeply"),
        (b"x = " + b"[" * 5000 + b"]" * 5000, "nested too deeply"),
        (b"x = " + b"{a=" * 5000, "nested too deeply"),
        ("port = 1".encode("utf-16"), "not UTF-8"),
        (b'issuer = "caf\xe9"', "not UTF-8"),
    ],
)
def test_unreadable_file_is_one_line(here: Path, content: bytes, said: str) -> None:
    (here / "roomkey.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=said) as caught:
        load_settings()
    assert str(caught.value).startswith("roomkey.toml is not TOML")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["issuer", "audience", "host", "database", "algorithm", "cors_origins"])
@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_line_break_at_the_end_of_a_setting_is_named(
    here: Path, monkeypatch: pytest.MonkeyPatch, name: str, end: str
) -> None:
    """As a file of another system leaves them in the environment."""
    monkeypatch.setenv(f"ROOMKEY_{name.upper()}", f"https://a.example{end}")
    with pytest.raises(ConfigError, match="line break") as caught:
        load_settings()
    assert str(caught.value).startswith(f"ROOMKEY_{name.upper()}: ")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "text",
    [
        'issuer = "https://a.example\\n"',
        'audience = "chat\\r"',
        'audience = " chat"',
        'cors_origins = ["https://a.example\\r\\n"]',
    ],
)
def test_line_break_in_the_file_is_named(here: Path, text: str) -> None:
    (here / "roomkey.toml").write_text(text)
    with pytest.raises(ConfigError, match="line break") as caught:
        load_settings()
    assert str(caught.value).startswith(f"roomkey.toml: {text.split()[0]}: ")
    assert str(caught.value).isprintable()
