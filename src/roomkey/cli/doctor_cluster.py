"""``roomkey doctor``: the workers of a machine, and the machines of a cluster."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from roomkey.bus.overhearing import Heard, overhear
from roomkey.bus.peers import split_address
from roomkey.bus.secrets import ClusterSecrets
from roomkey.cli.output import needs
from roomkey.core.key_set import KeySet
from roomkey.errors import ConfigError, Unavailable
from roomkey.guard.clock import SystemClock
from roomkey.keysets import KeyFolder, environment_key
from roomkey.server.settings import Settings, is_loopback, missing_on_other_machines
from roomkey.server.shared_keys import fingerprint, fingerprint_of

if TYPE_CHECKING:
    from roomkey.bus.cluster import Cluster
    from roomkey.bus.journal import RedisJournal
    from roomkey.bus.redis import RedisBus

__all__ = ["clock_finding", "cluster_findings", "hub_findings", "journal_findings"]

Finding = tuple[str, str]

REDIS_SECONDS = 5.0
REACH_SECONDS = 2.0
"""How long Redis, and the address of a node, can take to answer."""

CLOCK_SECONDS = 2.0
"""The difference of two clocks above which there is a warning. Nodes drop messages if it is several times as large."""


def cluster_findings(settings: Settings) -> Iterator[Finding]:
    """Check what several processes or machines need. Nothing is created or changed."""
    yield from _workers(settings.workers)
    if settings.workers == 1 and settings.redis is None:
        return
    from roomkey.server.cluster import how_to_create, read_cluster_secrets  # the other commands do not wait for it

    path = settings.cluster_secret_file
    secrets = None
    if path.exists():
        try:
            secrets = read_cluster_secrets(settings)
            yield "ok", f"cluster secret: {path}"
        except ConfigError as error:
            yield "fail", str(error)
    elif settings.redis is None:
        yield "ok", f"cluster secret: the first start creates {path}"
    else:
        yield "fail", f"no cluster secret {path}; {how_to_create(path)}"
    if settings.redis is not None:
        yield from _several_machines(settings, secrets)


def _workers(number: int) -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if number > cores:
        yield "warn", f"workers: {number} on {cores} core(s); more workers than cores only use more memory"
    elif number > 1:
        yield "ok", f"workers: {number} on {cores} cores"


def _several_machines(settings: Settings, secrets: ClusterSecrets | None) -> Iterator[Finding]:
    assert settings.redis is not None
    yield from (("warn", text) for text in missing_on_other_machines(settings))
    if settings.node_address is not None:
        yield node_address_finding(settings.node_address)
    with needs("redis"):
        from roomkey.bus.redis import RedisBus

    yield from redis_findings(RedisBus(settings.redis), secrets, journal=False, own_keys=_own_keys(settings))


def _own_keys(settings: Settings) -> str | None:
    """Return the fingerprint of the signing keys of this machine; None if there are none, or they cannot be read."""
    try:
        if (key := environment_key(settings.algorithm)) is not None:
            return fingerprint(KeySet([key]))
        return fingerprint(KeyFolder(settings.keys, settings.algorithm, settings.token_lifetime).accepted(time.time()))
    except ConfigError:  # reported with the other findings about keys
        return None


def node_address_finding(address: str) -> Finding:
    """Try to connect to the address at which a node accepts what other nodes forward."""
    host, port = split_address(address)
    if is_loopback(host):
        return "warn", f"node_address {address} can be reached by this machine only; use its address in the network"
    try:
        with socket.create_connection((host, port), REACH_SECONDS):
            return "ok", f"node_address {address}: accepts connections"
    except OSError as error:
        reason = error.strerror or type(error).__name__
        return "warn", f"node_address {address} cannot be reached ({reason}); start the server, or open the port"


def redis_findings(
    bus: RedisBus,
    secrets: ClusterSecrets | None,
    *,
    journal: bool,
    prefix: str = "roomkey",
    own_keys: str | None = None,
) -> Iterator[Finding]:
    """Check a Redis server, and which nodes are alive on it.

    Args:
        bus: uses the server, and is not open.
        secrets: the secrets of the cluster; None if they are not known, so that no node can be heard.
        journal: True if the server also has the journal.
        prefix: the name of the cluster.
        own_keys: the fingerprint of the signing keys of this machine.
    """
    from roomkey.bus.redis_checks import examine
    from roomkey.bus.redis_connections import RedisError

    async def look() -> tuple[list[Finding], Heard | None]:
        async with asyncio.timeout(REDIS_SECONDS):
            found = await examine(bus.connections, journal=journal)
        heard = None if secrets is None else await overhear(bus, secrets, SystemClock(), prefix=prefix)
        return found, heard

    try:
        found, heard = asyncio.run(look())
    except ConfigError as error:
        yield "fail", str(error)
    except (RedisError, OSError, TimeoutError) as error:
        yield _unreachable(error)
    else:
        yield from found
        yield from () if heard is None else _nodes(heard, own_keys)


def _unreachable(error: Exception) -> Finding:
    return "fail", f"cannot reach Redis ({type(error).__name__}): start it, or correct the URL, user and password"


def journal_findings(journal: RedisJournal) -> Iterator[Finding]:
    """Check the Redis server of a guard that has its journal there. Nothing is written.

    Args:
        journal: the journal, which is not open.
    """
    from roomkey.bus.redis_checks import examine
    from roomkey.bus.redis_connections import RedisError

    async def look() -> tuple[list[Finding], bool]:
        async with asyncio.timeout(REDIS_SECONDS):
            found = await examine(journal.connections, journal=True)
        try:
            return found, await journal.has_foreign_entries()
        except Unavailable:  # no permission: what is known is enough
            return found, False
        finally:
            await journal.close()

    try:
        found, has_foreign = asyncio.run(look())
    except (RedisError, OSError, TimeoutError) as error:
        yield _unreachable(error)
        return
    yield from found
    if has_foreign:
        yield (
            "fail",
            "other servers sign the journal with another secret, so this one ignores their revocations; give all "
            "servers the same secrets",
        )


def _nodes(heard: Heard, own_keys: str | None = None) -> Iterator[Finding]:
    if not heard.connected:
        yield (
            "fail",
            "the bus cannot be used: Redis does not accept the subscription; allow +subscribe and the channels",
        )
        return
    yield "ok", f"nodes that are alive: {len(heard.nodes)}"
    for name, one in sorted(heard.nodes.items()):
        if abs(one.ahead) >= CLOCK_SECONDS:
            yield clock_finding(f"node {name}{f' at {one.hello.address}' if one.hello.address else ''}", one.ahead)
    yield from _signing_keys(heard, own_keys)
    if heard.dropped["bad signature"]:
        yield (
            "fail",
            "nodes with another cluster secret use the same Redis; give all nodes of a cluster the same secrets",
        )
    if heard.dropped["stale"]:
        yield "fail", "a node's clock differs by more than 30 s, so its messages are dropped; run an NTP service"


def _signing_keys(heard: Heard, own: str | None) -> Iterator[Finding]:
    """Compare the signing keys of the nodes and of this machine by their fingerprints."""
    nodes: dict[str, list[str]] = {}
    for name, one in sorted(heard.nodes.items()):
        if (told := fingerprint_of(one.hello.info)) is not None:
            nodes.setdefault(told, []).append(one.hello.address or name)
    if nodes and own is not None:
        nodes.setdefault(own, []).append("this machine")
    if len(nodes) == 1:
        yield "ok", "the nodes have the same signing keys"
    elif nodes:
        groups = " | ".join(", ".join(sorted(names)) for names in nodes.values())
        yield (
            "fail",
            f"nodes have different signing keys, so tokens of one are rejected by the other ({groups}); copy the "
            "folder of the keys from one machine to all others",
        )


def clock_finding(where: str, ahead: float) -> Finding:
    """Compare a clock with that of this machine.

    Args:
        where: whose clock it is.
        ahead: how many seconds it is ahead.
    """
    if abs(ahead) < CLOCK_SECONDS:
        return "ok", f"the clocks of {where} and of this machine agree"
    return "warn", f"the clocks of {where} and of this machine differ by {abs(ahead):.0f} s; run an NTP service"


def hub_findings(hub: Any, processes: int) -> Iterator[Finding]:
    """Check the cluster of a hub in an application.

    Args:
        hub: the hub.
        processes: how many the environment asks for; 0 if it does not.
    """
    cluster: Cluster | None = hub.application.settings.cluster
    if cluster is None:
        if processes:
            yield (
                "fail",
                f"{processes} workers without a cluster: each sends to its own clients only; pass "
                "cluster=Cluster(bus, secrets=[…])",
            )
        return
    yield "ok", f"cluster {cluster.name!r} on a {type(cluster.bus).__name__}"
    bus: Any = cluster.bus
    if type(bus).__name__ == "RedisBus" and isinstance(cluster.secrets, ClusterSecrets):
        journal = type(cluster.journal).__name__ == "RedisJournal"
        yield from redis_findings(bus, cluster.secrets, journal=journal, prefix=cluster.name)
