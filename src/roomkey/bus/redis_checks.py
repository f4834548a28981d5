"""What is wrong with the settings of a Redis or Valkey server. The findings are pure functions of its answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from time import perf_counter, time
from typing import Any

from roomkey.bus.redis_connections import AbstractConnection, Connections, ResponseError, call, text_of

__all__ = ["Facts", "Finding", "examine", "facts_of", "findings", "unsuitable"]

Finding = tuple[str, str]
"""``ok``, ``warn`` or ``fail``, and a text."""

OLDEST = (6, 2)
OLDEST_WITH_JOURNAL = OLDEST_CLUSTER = (7, 0)

FULL = 0.9
"""The part of the memory or of the clients above which there is a warning."""

SLOW_SECONDS = 0.1
CLOCK_SECONDS = 2.0

_SETTINGS = ("save", "appendonly", "appendfsync", "maxmemory-policy", "protected-mode", "requirepass", "bind")
_VERSION = re.compile(r"\s*(\d{1,9})\.(\d{1,9})")


@dataclass(frozen=True, slots=True)
class Facts:
    """The answers of a server.

    Attributes:
        info: of INFO.
        config: of CONFIG GET; empty if the user cannot ask.
        cluster: of CLUSTER INFO; empty if it is not a cluster.
    """

    info: Mapping[str, str]
    config: Mapping[str, str] = field(default_factory=dict)
    cluster: Mapping[str, str] = field(default_factory=dict)

    def number(self, name: str) -> int:
        """Return a number of INFO; 0 if it is missing."""
        text = self.info.get(name, "")
        return int(text) if text.isdecimal() else 0

    @property
    def version(self) -> str:
        """Return the name and version for people."""
        valkey = self.info.get("valkey_version")
        return f"Valkey {valkey}" if valkey else f"Redis {self.info.get('redis_version', 'of an unknown version')}"


# Findings


def findings(facts: Facts, *, journal: bool) -> list[Finding]:
    """Return what is wrong, and what is good to know.

    Args:
        facts: the answers of the server.
        journal: True if it also has the journal, which must not be lost.
    """
    checks: list[Callable[[Facts], Iterator[Finding]]] = [_role, _cluster, _full, _exposure]
    if journal:
        checks += [_eviction, _persistence]
    return [*_version(facts, journal=journal), *(found for check in checks for found in check(facts))]


def unsuitable(facts: Facts, *, journal: bool) -> str | None:
    """Return why a server can never be used as it is: it is too old, or deletes the journal. None if it can."""
    checks = [*_version(facts, journal=journal), *(_eviction(facts) if journal else ())]
    return next((text for level, text in checks if level == "fail"), None)


def _version(facts: Facts, *, journal: bool) -> Iterator[Finding]:
    read = _VERSION.match(facts.info.get("redis_version", ""))
    version = (int(read[1]), int(read[2])) if read else (0, 0)
    if not facts.info:
        yield "warn", "cannot check Redis: the user has no permission for INFO; allow +info"
    elif version < OLDEST:
        yield "fail", f"{facts.version} is too old; use Redis 6.2 or later, or Valkey"
    elif journal and version < OLDEST_WITH_JOURNAL:
        yield "fail", f"{facts.version} is too old for the journal; use Redis 7.0 or later, or Valkey"
    elif facts.info.get("cluster_enabled") == "1" and version < OLDEST_CLUSTER:
        yield "fail", f"{facts.version} is too old for a cluster; use Redis 7.0 or later, or Valkey"
    else:
        yield "ok", facts.version


def _role(facts: Facts) -> Iterator[Finding]:
    if facts.info.get("role") == "slave":
        yield "fail", "this Redis server is a replica; use the address of the primary server"
    if facts.info.get("loading") == "1":
        yield "warn", "Redis is loading its data; it does not answer until that is done"


def _cluster(facts: Facts) -> Iterator[Finding]:
    state = facts.cluster.get("cluster_state")
    if state is not None and state != "ok":
        yield "fail", "the Redis cluster does not work: not all slots have a server; run redis-cli --cluster check"


def _full(facts: Facts) -> Iterator[Finding]:
    limit = facts.number("maxmemory")
    if limit and facts.number("used_memory") > limit * FULL:
        yield "warn", "Redis is almost out of memory, and will refuse writes; raise maxmemory"
    limit = facts.number("maxclients")
    if limit and facts.number("connected_clients") > limit * FULL:
        yield "warn", "Redis almost has the most clients that it accepts; raise maxclients"


def _exposure(facts: Facts) -> Iterator[Finding]:
    config = facts.config
    open_to_all = config.get("protected-mode") == "no" and config.get("requirepass") == ""
    only_here = all(name.lstrip("-").startswith(("127.", "::1")) for name in config.get("bind", "*").split())
    if open_to_all and not only_here:
        yield (
            "warn",
            "every host that reaches this Redis server can use it; create users with ACL SETUSER and turn off the "
            "default user",
        )


def _eviction(facts: Facts) -> Iterator[Finding]:
    policy = facts.info.get("maxmemory_policy", "")
    if policy.startswith("allkeys"):
        level, when = ("fail", "") if facts.number("maxmemory") else ("warn", " as soon as maxmemory is set")
        yield level, f"Redis can delete the journal{when} (maxmemory-policy {policy}); set it to noeviction"


def _persistence(facts: Facts) -> Iterator[Finding]:
    info, config = facts.info, facts.config
    if "err" in (info.get("aof_last_write_status"), info.get("rdb_last_bgsave_status")):
        yield "fail", "Redis cannot write to its disk, and may refuse writes; see its log"
    if info.get("aof_enabled") == "1":
        if config.get("appendfsync") == "no":
            yield (
                "warn",
                "Redis leaves it to the system when the journal is written to the disk; set appendfsync everysec",
            )
        else:
            yield "ok", "Redis appends the journal to a file"
    elif "aof_enabled" in info and config.get("save") == "":
        yield "warn", "Redis forgets the journal when it restarts; set appendonly yes"
    elif "aof_enabled" in info:
        yield "warn", "Redis forgets the last minutes of the journal when it restarts; set appendonly yes"


# Questions


def _lines(answer: bytes) -> dict[str, str]:
    return dict(line.split(":", 1) for line in answer.decode("utf-8", "replace").splitlines() if ":" in line)


async def _ask(connection: AbstractConnection, *words: str) -> Any:
    """Return an answer; None if the user has no permission, or the server does not know the command."""
    try:
        return await call(connection, *words)
    except ResponseError:
        return None


async def facts_of(connection: AbstractConnection, *, config: bool) -> Facts:
    """Ask a server. What the user is not permitted to ask is left out.

    Args:
        connection: a connection that is used for nothing else.
        config: True to ask for its settings, too.

    Raises:
        RedisError: the connection is lost.
    """
    info = _lines(await _ask(connection, "INFO") or b"")
    settings: dict[str, str] = {}
    for name in _SETTINGS if config else ():
        answer = await _ask(connection, "CONFIG", "GET", name)
        if answer is None:
            break
        settings |= {text_of(key): text_of(value) for key, value in zip(answer[::2], answer[1::2], strict=True)}
    if settings.get("requirepass"):
        settings["requirepass"] = "set"
    cluster = await _ask(connection, "CLUSTER", "INFO") if info.get("cluster_enabled") == "1" else None
    return Facts(info, settings, _lines(cluster or b""))


async def examine(
    connections: Connections,
    *,
    journal: bool,
    now: Callable[[], float] = time,
    timer: Callable[[], float] = perf_counter,
) -> list[Finding]:
    """Connect to a server, and return its findings, its latency, and how far its clock differs from this one.

    The caller limits the time.

    Args:
        connections: opens the connection.
        journal: as for :func:`findings`.
        now: the time of day, in seconds since the epoch.
        timer: seconds, for the latency.

    Raises:
        RedisError: the server cannot be reached.
    """
    connection = await connections.open()
    try:
        found = findings(await facts_of(connection, config=True), journal=journal)
        latencies = []
        for _ in range(5):
            begun = timer()
            await call(connection, "PING")
            latencies.append(timer() - begun)
        found.append(_latency(sorted(latencies)[2]))
        answer = await _ask(connection, "TIME")
        if answer is not None:
            found.append(_clock(int(answer[0]) + int(answer[1]) / 1e6 - now()))
    finally:
        await connection.disconnect(nowait=True)
    return found


def _latency(seconds: float) -> Finding:
    text = f"Redis answers after {seconds * 1000:.{2 if seconds < 0.001 else 1}f} ms"
    return ("ok", text) if seconds < SLOW_SECONDS else ("warn", f"{text}; place it closer to the nodes")


def _clock(difference: float) -> Finding:
    if abs(difference) < CLOCK_SECONDS:
        return "ok", "the clocks of Redis and of this machine agree"
    return "warn", f"the clocks of Redis and of this machine differ by {abs(difference):.0f} s; run an NTP service"
