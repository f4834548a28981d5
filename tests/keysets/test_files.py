"""Key files are private, are written completely or not at all, and are never overwritten."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from roomkey import Issuer, Key
from roomkey.errors import ConfigError
from roomkey.keysets.files import (
    KEY,
    environment_key,
    load_key,
    load_key_files,
    load_key_set,
    load_keys,
    load_or_create,
    read_private,
    save_key,
    signing_key,
    write_private,
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "PS384", "ES256", "ES512", "EdDSA"])
def test_load_or_create_creates_a_key_once(tmp_path: Path, algorithm: str) -> None:
    folder = tmp_path / "keys"
    made = load_or_create(folder, algorithm)
    (file,) = folder.iterdir()
    assert mode(folder) == 0o700
    assert mode(file) == 0o600
    again = load_or_create(folder, algorithm)
    assert [key.kid for key in again] == [key.kid for key in made]
    token = Issuer(signing_key(made, algorithm)).issue("ada")
    assert Issuer(signing_key(again, algorithm)).verifier().verify(token, Issuer(signing_key(made, algorithm)).clock())


def test_file_modes_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        load_or_create(tmp_path / "keys", "ES256")
    finally:
        os.umask(before)
    assert mode(tmp_path / "keys") == 0o700
    assert [mode(file) for file in (tmp_path / "keys").iterdir()] == [0o600]


def test_each_algorithm_has_its_own_keys_and_the_newest_signs(tmp_path: Path) -> None:
    load_or_create(tmp_path / "keys", "ES256")
    both = load_or_create(tmp_path / "keys", "RS256")
    assert {key.algorithms for key in both} == {("ES256",), ("RS256",)}
    newer = Key.generate("ES256")
    save_key(newer, tmp_path / "keys" / "newer.jwk")
    os.utime(tmp_path / "keys" / "newer.jwk", (4e9, 4e9))
    assert signing_key(load_or_create(tmp_path / "keys", "ES256"), "ES256").kid == newer.kid


def test_save_key_does_not_overwrite_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jwk"
    save_key(Key.generate("ES256"), path)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="the file exists"):
        save_key(Key.generate("ES256"), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path], "no draft is left behind"


def test_failed_write_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match="No space left"):
        write_private(tmp_path / "a.jwk", b"half a key")
    assert list(tmp_path.iterdir()) == []


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot write .*nowhere"):
        write_private(tmp_path / "nowhere" / "a.jwk", b"x")


@pytest.mark.parametrize("open_to", [0o640, 0o604, 0o660, 0o644])
def test_file_that_others_can_read_is_rejected_with_a_command(tmp_path: Path, open_to: int) -> None:
    folder = tmp_path / "keys"
    load_or_create(folder, "ES256")
    (file,) = folder.iterdir()
    file.chmod(open_to)
    with pytest.raises(ConfigError, match=f"chmod 600 {file}"):
        load_keys(folder)


def test_folder_that_others_can_read_is_rejected(tmp_path: Path) -> None:
    load_or_create(tmp_path / "keys", "ES256")
    (tmp_path / "keys").chmod(0o755)
    with pytest.raises(ConfigError, match="chmod 700"):
        load_or_create(tmp_path / "keys", "ES256")


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"kty":"EC"}', b"\xff\xfe", b"[" * 100_000])
def test_invalid_key_file_is_named(tmp_path: Path, content: bytes) -> None:
    write_private(tmp_path / "bad.jwk", content)
    with pytest.raises(ConfigError, match=r"bad\.jwk"):
        load_key(tmp_path / "bad.jwk")


def test_load_key_rejects_a_public_key(tmp_path: Path) -> None:
    write_private(tmp_path / "public.jwk", json.dumps(Key.generate("ES256").to_jwk()).encode())
    with pytest.raises(ConfigError, match="public key"):
        load_key(tmp_path / "public.jwk")


def test_missing_folder_and_huge_files_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_private(tmp_path / "absent")
    write_private(tmp_path / "huge", b"x" * 300_000)
    with pytest.raises(ConfigError, match="not a key file"):
        read_private(tmp_path / "huge")
    with pytest.raises(ConfigError, match="not a folder"):
        load_keys(tmp_path / "huge")
    assert load_keys(tmp_path / "absent") == []


def test_error_does_not_contain_the_key(tmp_path: Path) -> None:
    jwk = Key.generate("ES256").to_jwk(private=True)
    write_private(tmp_path / "a.jwk", json.dumps(jwk | {"alg": "RS256"}).encode())
    with pytest.raises(ConfigError) as caught:
        load_key(tmp_path / "a.jwk")
    assert jwk["d"] not in str(caught.value)


def test_load_key_set_reads_public_keys_in_every_form(tmp_path: Path) -> None:
    key = Key.generate("RS256")
    forms = {
        "a.jwk": json.dumps(key.to_jwk()).encode(),
        "a.jwks": json.dumps({"keys": [key.to_jwk()]}).encode(),
        "a.pem": key.to_pem(),
    }
    for name, data in forms.items():
        (tmp_path / name).write_bytes(data)
        (tmp_path / name).chmod(0o644)
        (loaded,) = load_key_set(tmp_path / name)
        assert "RS256" in loaded.algorithms


def test_load_key_set_rejects_a_readable_private_key(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_bytes(Key.generate("RS256").to_pem(private=True))
    (tmp_path / "a.pem").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_key_set(tmp_path / "a.pem")


def test_nbf_is_in_the_file_and_is_not_published(tmp_path: Path) -> None:
    key = Key.generate("ES256")
    save_key(key, tmp_path / "a.jwk", not_before=1_800_000_000)
    assert json.loads((tmp_path / "a.jwk").read_text())["nbf"] == 1_800_000_000
    tmp_path.chmod(0o700)
    [file] = load_key_files(tmp_path)
    assert (file.key.kid, file.not_before, file.signs_from) == (key.kid, 1_800_000_000, 1_800_000_000)
    assert "nbf" not in file.key.to_jwk() | file.verifying.to_jwk()
    assert load_key_set(tmp_path / "a.jwk").to_jwks() == {"keys": [key.to_jwk()]}


def test_load_keys_returns_the_signing_key_first(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    starts = {"later": 400, "undated": None, "now": 200, "next": 300, "before": 100}
    for name, start in starts.items():
        save_key(Key.generate("ES256", kid=name), tmp_path / f"{name}.jwk", start)
    assert [key.kid for key in load_keys(tmp_path, 200)] == ["now", "before", "undated", "next", "later"]
    assert load_keys(tmp_path)[0].kid == "later", "by the system's clock"


@pytest.mark.parametrize("wrong", ["1", None, True, -1, 1e300, [5]])
def test_invalid_nbf_is_an_error_that_names_the_file(tmp_path: Path, wrong: object) -> None:
    jwk = Key.generate("ES256").to_jwk(private=True)
    write_private(tmp_path / "a.jwk", json.dumps(jwk | {"nbf": wrong}).encode())
    with pytest.raises(ConfigError, match=r"a\.jwk: nbf must be a time in seconds"):
        load_key(tmp_path / "a.jwk")


def test_two_keys_with_the_same_kid_are_both_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    for name in ("a", "b", "c"):
        save_key(Key.generate("ES256", kid="c" if name == "c" else "same"), tmp_path / f"{name}.jwk")
    with pytest.raises(ConfigError, match=r"[ab]\.jwk and .*[ab]\.jwk have the same kid") as caught:
        load_key_files(tmp_path)
    assert "c.jwk" not in str(caught.value)


@pytest.mark.parametrize("form", ["jwk", "pem"])
def test_environment_key_reads_the_variable(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    key = Key.generate("ES256")
    value = key.to_pem(private=True).decode() if form == "pem" else json.dumps(key.to_jwk(private=True))
    monkeypatch.setenv(KEY, value)
    found = environment_key("ES256")
    assert found is not None
    assert (found.kid, found.is_private) == (key.kid, True)
    with pytest.raises(ConfigError, match=f"the key in {KEY} is for ES256, not RS256"):
        environment_key("RS256")


def test_environment_key_returns_none_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY, raising=False)
    assert environment_key("ES256") is None
    monkeypatch.setenv(KEY, "")
    assert environment_key("ES256") is None


def test_invalid_key_in_the_environment_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    key = Key.generate("ES256")
    jwk = key.to_jwk(private=True)
    pem = key.to_pem(private=True).decode()
    secret = str(jwk["d"])
    for value in (secret, json.dumps(jwk)[:-1], json.dumps(jwk | {"alg": secret}), pem[:-40], pem.replace("M", "!")):
        monkeypatch.setenv(KEY, value)
        with pytest.raises(ConfigError, match=f"^{KEY}: ") as caught:
            environment_key("ES256")
        assert secret not in str(caught.value)
        assert pem.splitlines()[1] not in str(caught.value)
    monkeypatch.setenv(KEY, json.dumps(key.to_jwk()))
    with pytest.raises(ConfigError, match=f"{KEY} contains a public key"):
        environment_key("ES256")


def test_named_pipe_is_rejected_without_blocking(tmp_path: Path) -> None:
    """Nobody writes to it: whoever opened it to read would wait forever."""
    load_or_create(tmp_path / "keys", "ES256")
    pipe = tmp_path / "keys" / "a.jwk"
    os.mkfifo(pipe, 0o600)
    for read in (lambda: load_keys(tmp_path / "keys"), lambda: load_key(pipe), lambda: load_key_set(pipe)):
        with pytest.raises(ConfigError, match="not a regular file"):
            read()


@pytest.mark.parametrize("what", ["file", "folder"])
def test_key_of_another_user_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Its owner can read it, replace it, and give it another mode."""
    folder = tmp_path / "keys"
    load_or_create(folder, "ES256")
    path = folder if what == "folder" else next(folder.iterdir())
    if os.geteuid() == 0:
        os.chown(path, 54321, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(ConfigError, match="belongs to another user"):
        load_keys(folder)


def test_key_of_root_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a container or an administrator provides it."""
    path = tmp_path / "key.jwk"
    save_key(Key.generate("ES256"), path)
    found = os.stat_result([*path.stat()[:4], 0, *path.stat()[5:]])
    monkeypatch.setattr(os, "fstat", lambda _fd: found)
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    assert load_key(path).is_private


def test_pem_file_with_two_keys_yields_two_keys_or_an_error(tmp_path: Path) -> None:
    keys = [Key.generate("ES256"), Key.generate("RS256")]
    path = tmp_path / "keys.pem"
    path.write_bytes(b"".join(key.to_pem() for key in keys))
    assert {key.kid for key in load_key_set(path)} == {key.kid for key in keys}
    secret = tmp_path / "private.pem"
    write_private(secret, b"".join(key.to_pem(private=True) for key in keys))
    with pytest.raises(ConfigError, match="contains 2 keys"):
        load_key(secret)


def test_pem_in_the_environment_may_have_literal_line_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    key = Key.generate("ES256")
    monkeypatch.setenv(KEY, key.to_pem(private=True).decode().replace("\n", "\\n"))
    found = environment_key()
    assert found is not None
    assert found.thumbprint() == key.thumbprint()
