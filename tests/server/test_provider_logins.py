"""The settings of logins at providers."""

from __future__ import annotations

from pathlib import Path

import pytest

from roomkey import ConfigError, Key, KeySet
from roomkey.server.app import build
from roomkey.server.provider_logins import login_providers
from roomkey.server.providers import Provider
from roomkey.server.settings import Settings
from roomkey.stores import Stores

TABLE = {"issuer": "https://sso.example", "client_id": "chat", "login": True}


def secret_file(folder: Path, data: bytes, mode: int = 0o600) -> Path:
    path = folder / "sso.secret"
    path.write_bytes(data)
    path.chmod(mode)
    return path


def test_secret_is_read_from_its_file(tmp_path):
    path = secret_file(tmp_path, b"s3cret with spaces\n")
    tables = {"sso": Provider(**TABLE, client_secret_file=path), "api": Provider(issuer="https://a", audience="x")}
    [provider] = login_providers(tables)
    assert (provider.name, provider.client_secret) == ("sso", "s3cret with spaces")
    assert "s3cret" not in repr(provider)


@pytest.mark.parametrize(
    ("data", "mode", "text"),
    [
        (b"", 0o600, "write the secret on one line"),
        (b"\n", 0o600, "write the secret on one line"),
        (b"two\nlines", 0o600, "write the secret on one line"),
        ("sécret".encode(), 0o600, "write the secret on one line"),
        (b"secret", 0o644, "others can read"),
    ],
)
def test_unusable_secret_is_an_error_that_does_not_show_it(tmp_path, data, mode, text):
    path = secret_file(tmp_path, data, mode)
    with pytest.raises(ConfigError, match=text) as raised:
        login_providers({"sso": Provider(**TABLE, client_secret_file=path)})
    assert "cret" not in str(raised.value).replace("sso.secret", "").replace("secret", "")


@pytest.mark.parametrize(
    "settings", [{"host": "0.0.0.0", "behind_proxy": True}, {"tls_cert": "c.pem", "tls_key": "k.pem"}]
)
def test_server_that_others_reach_requires_its_url(settings):
    keys = KeySet([Key.generate("ES256")])
    with pytest.raises(ConfigError, match="set public_url"):
        build(Settings(**settings), Stores.at(), keys, providers={"sso": Provider(**TABLE)})
    for name in ("issuer", "public_url"):
        known = Settings(**settings, **{name: "https://chat.example"})
        build(known, Stores.at(), keys, providers={"sso": Provider(**TABLE)})


def test_two_tables_of_one_issuer_are_an_error():
    keys = KeySet([Key.generate("ES256")])
    with pytest.raises(ConfigError, match="the same name or the same issuer"):
        build(Settings(), Stores.at(), keys, providers={"a": Provider(**TABLE), "b": Provider(**TABLE)})
