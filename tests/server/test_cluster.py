"""The cluster of ``roomkey serve``: which bus, which secret, which addresses."""

from __future__ import annotations

import secrets
import subprocess
from pathlib import Path
from typing import Any

import pytest

from roomkey.bus import ClusterSecrets, RedisBus
from roomkey.bus.unix import UnixBus
from roomkey.errors import ConfigError
from roomkey.server.cluster import how_to_create, make_cluster, read_cluster_secrets
from roomkey.server.settings import Settings, missing_on_other_machines

ONE, OTHER = secrets.token_hex(), secrets.token_hex()


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    return folder


def write(path: Path, *lines: str, mode: int = 0o600) -> None:
    path.write_text("\n".join(lines) + "\n")
    path.chmod(mode)


def test_single_process_has_no_cluster(keys: Path) -> None:
    assert make_cluster(Settings(keys=keys)) is None
    assert list(keys.iterdir()) == []


def test_workers_share_a_secret_that_is_created_once(keys: Path) -> None:
    settings, folder = Settings(keys=keys, workers=2), Path("/tmp/rk-short")
    one, other = make_cluster(settings, folder, 0), make_cluster(settings, folder, 1)
    assert one is not None
    assert other is not None
    assert isinstance(one.bus, UnixBus)
    assert one.directory == folder
    assert one.address is None
    assert isinstance(one.secrets, ClusterSecrets)
    assert isinstance(other.secrets, ClusterSecrets)
    assert one.secrets.keys("message") == other.secrets.keys("message")
    assert (keys / "cluster.secret").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("address", "slot", "own"),
    [
        (None, 3, None),
        ("10.0.0.5:7400", 0, "10.0.0.5:7400"),
        ("10.0.0.5:7400", 3, "10.0.0.5:7403"),
        ("[fd00::5]:7400", 1, "[fd00::5]:7401"),
    ],
)
def test_each_worker_has_a_port_of_its_own_for_other_machines(
    keys: Path, address: str | None, slot: int, own: str | None
) -> None:
    write(keys / "cluster.secret", ONE)
    settings = Settings(keys=keys, workers=4, redis="redis://127.0.0.1:1", node_address=address)
    cluster = make_cluster(settings, Path("/tmp/rk-short"), slot)
    assert cluster is not None
    assert isinstance(cluster.bus, RedisBus)
    assert cluster.address == own


def test_port_that_is_too_large_is_an_error(keys: Path) -> None:
    write(keys / "cluster.secret", ONE)
    settings = Settings(keys=keys, redis="redis://127.0.0.1:1", node_address="10.0.0.5:65535")
    with pytest.raises(ConfigError, match="greater than 65535"):
        make_cluster(settings, Path("/tmp/rk-short"), 1)


def test_secret_of_several_machines_is_not_created(keys: Path) -> None:
    with pytest.raises(ConfigError, match=r"cluster\.secret is missing; create it once .*openssl rand"):
        make_cluster(Settings(keys=keys, redis="redis://127.0.0.1:1"))
    assert list(keys.iterdir()) == []


def test_command_that_creates_the_secret_works_without_a_folder(tmp_path: Path) -> None:
    secret = tmp_path / "new" / "keys" / "cluster.secret"
    command = how_to_create(secret).partition("(")[2].rpartition(")")[0]
    subprocess.run(["sh", "-c", command], check=True)
    assert secret.stat().st_mode & 0o077 == 0
    read_cluster_secrets(Settings(keys=secret.parent, redis="redis://127.0.0.1:1"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, []),
        ({"workers": 4}, []),
        ({"redis": "redis://h"}, ["use PostgreSQL", "no node_address"]),
        ({"redis": "redis://h", "node_address": "10.0.0.5:7400"}, ["use PostgreSQL"]),
        ({"redis": "redis://h", "node_address": "10.0.0.5:7400", "database": "postgresql://h/d"}, []),
    ],
)
def test_what_other_machines_lack_is_found(settings: dict[str, Any], words: list[str]) -> None:
    found = list(missing_on_other_machines(Settings(**settings)))
    assert len(found) == len(words)
    assert all(word in text for word, text in zip(words, found, strict=True))


def test_two_secrets_are_accepted_during_a_rotation(keys: Path, tmp_path: Path) -> None:
    write(tmp_path / "secrets", ONE, OTHER)
    settings = Settings(keys=keys, workers=2, cluster_secret=tmp_path / "secrets")
    assert read_cluster_secrets(settings).keys("sid") == ClusterSecrets([ONE, OTHER]).keys("sid")


@pytest.mark.parametrize(
    ("lines", "mode", "said"),
    [
        (["short"], 0o600, "invalid cluster secret"),
        ([], 0o600, "must have one secret"),
        ([ONE, OTHER, secrets.token_hex()], 0o600, "must have one secret"),
        (["größer" * 10], 0o600, "not ASCII"),
        ([ONE], 0o644, "others can read"),
    ],
)
def test_unusable_secret_is_an_error_that_names_the_file(keys: Path, lines: list[str], mode: int, said: str) -> None:
    write(keys / "cluster.secret", *lines, mode=mode)
    with pytest.raises(ConfigError, match=rf"cluster\.secret.*{said}|{said}.*cluster\.secret") as caught:
        read_cluster_secrets(Settings(keys=keys, workers=2))
    assert not any(line in str(caught.value) for line in lines)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"redis": "http://localhost"}, "invalid Redis URL"),
        ({"redis": "redis://"}, "invalid Redis URL"),
        ({"redis": "redis://host:99999"}, "invalid Redis URL"),
        ({"node_address": "10.0.0.5:7400"}, "node_address requires redis"),
        ({"cluster_secret": "cluster.secret"}, "cluster_secret is for several nodes; set workers or redis"),
        ({"redis": "redis://r", "node_address": "10.0.0.5"}, "invalid address of a node"),
        ({"redis": "redis://r", "engine": "python-socketio"}, "redis requires the hub"),
        ({"workers": 2, "engine": "python-socketio"}, "workers requires the hub"),
        ({"workers": 0}, "greater than or equal to 1"),
        ({"workers": 65}, "less than or equal to 64"),
        ({"drain_delay": 6, "drain_period": 5}, "drain_timeout must be more"),
    ],
)
def test_settings_that_contradict_each_other_are_errors(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Settings(**settings)


def test_url_of_redis_is_never_shown() -> None:
    assert "geheim" not in repr(Settings(redis="redis://user:geheim@host"))
    with pytest.raises(ValueError, match="invalid Redis URL") as caught:
        Settings(redis="http://user:geheim@host")
    assert "geheim" not in str(caught.value)
