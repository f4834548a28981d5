"""A secret is created once, and only its owner can read it."""

from __future__ import annotations

import stat

import pytest

from roomkey import ConfigError
from roomkey.keysets.secrets import load_or_create_secret


def test_secret_is_created_once(tmp_path):
    path = tmp_path / "keys" / "refresh.secret"
    made = load_or_create_secret(path)
    assert len(made) == 32
    assert load_or_create_secret(path) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_create_secret(tmp_path / "other") != made


@pytest.mark.parametrize("content", [b"", b"zz", b"00" * 31, b"00" * 33, b"\xff"])
def test_invalid_secret_is_rejected(tmp_path, content):
    path = tmp_path / "refresh.secret"
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="move it away"):
        load_or_create_secret(path)


def test_secret_that_others_can_read_is_rejected(tmp_path):
    path = tmp_path / "refresh.secret"
    load_or_create_secret(path)
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_or_create_secret(path)
