"""The cluster of ``roomkey serve``: its workers on this machine, and other machines on the same Redis."""

from __future__ import annotations

from pathlib import Path

from roomkey.bus import Cluster, ClusterSecrets
from roomkey.bus.peers import join_address, split_address
from roomkey.bus.unix import UnixBus
from roomkey.errors import ConfigError
from roomkey.keysets.files import read_private
from roomkey.keysets.secrets import create_secret
from roomkey.server.settings import Settings

__all__ = ["how_to_create", "make_cluster", "read_cluster_secrets"]


def make_cluster(settings: Settings, folder: Path | None = None, slot: int = 0) -> Cluster | None:
    """Return the cluster to which this process belongs, or None if it is alone.

    The journal is the database, which all nodes share.

    Args:
        settings: the settings.
        folder: a private folder of the workers of this machine; None for a single process.
        slot: the number of this process among those of the machine, from 0; each has a port of its own for other
            machines.

    Raises:
        ConfigError: the secret or a setting is not usable.
    """
    if settings.redis is None and folder is None:
        return None
    secrets = read_cluster_secrets(settings)
    if settings.redis is None:
        assert folder is not None
        return Cluster(UnixBus(folder), secrets=secrets, directory=folder)
    from roomkey.bus.redis import RedisBus  # requires an extra

    address = None if settings.node_address is None else _own_address(settings.node_address, slot)
    return Cluster(RedisBus(settings.redis), secrets=secrets, address=address, directory=folder)


def _own_address(address: str, slot: int) -> str:
    host, port = split_address(address)
    if port + slot > 65535:
        raise ConfigError("node_address: the ports of the workers would be greater than 65535; use a smaller port")
    return join_address(host, port + slot)


def how_to_create(secret: Path) -> str:
    """Return what to do if the file is missing, for the end of a message."""
    command = f"umask 077; mkdir -p {secret.parent}; openssl rand -hex 32 > {secret}"
    return f"create it once ({command}) and copy it to all machines, like the signing keys"


def read_cluster_secrets(settings: Settings) -> ClusterSecrets:
    """Read the file with the cluster's secrets: one line, or two while the secret is being rotated.

    Without Redis, only the workers of this machine use it, and it is created if it is missing.

    Raises:
        ConfigError: it is missing, others can read it, or it does not contain secrets.
    """
    path = settings.cluster_secret_file
    if not path.exists():
        if settings.redis is not None:
            raise ConfigError(f"the nodes of a cluster share a secret, but {path} is missing; {how_to_create(path)}")
        create_secret(path)
    try:
        lines = read_private(path).decode("ascii").split()
        return ClusterSecrets(lines)
    except ValueError as error:  # includes UnicodeDecodeError and ConfigError
        text = error if isinstance(error, ConfigError) else "it is not ASCII text"
        raise ConfigError(f"{path}: {text}" if str(path) not in str(text) else str(text)) from None
