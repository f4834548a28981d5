"""``roomkey doctor --app``: what is weak about a guard and its server."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from importlib import metadata
from itertools import pairwise
from typing import Any

from roomkey.cli.doctor_app_guard import Inspected, NotFoundError, inspect_app
from roomkey.cli.doctor_app_rules import join_findings, rule_findings
from roomkey.cli.doctor_cluster import hub_findings, journal_findings
from roomkey.cli.output import span
from roomkey.core.key_set import KeySet
from roomkey.core.verifier import Verifier
from roomkey.guard.base import BaseGuard
from roomkey.guard.clock import SystemClock

__all__ = ["app_findings"]

Finding = tuple[str, str]

LONG_LIFETIME = 86_400.0
LARGE_MESSAGE = 16 * 1024 * 1024
LATE_PING = 120.0
RELEASED = 1_767_225_600
"""2026-01-01, in seconds since the epoch: no correct clock is before it."""

NO_IAT = (
    "tokens without iat are accepted: revoke(subject=…) cannot tell whether such a token is older than the revocation; "
    "let the issuer write iat, and pass require=('exp', 'sub', 'iat')"
)


def app_findings(target: str) -> Iterator[Finding]:
    """Inspect an application and its guard.

    Args:
        target: ``module:name``.
    """
    try:
        inspected = inspect_app(target)
    except NotFoundError as error:
        yield "fail", str(error)
        return
    guard = inspected.guard
    yield "ok", f"{target}: {_kind(inspected)}, {_versions(inspected)}"
    if not guard.is_attached:
        yield "fail", "the guard is not attached: its server is open to everybody; call guard.attach(sio)"
    yield from _clock(guard)
    for verifier in getattr(guard.settings.verifier, "verifiers", (guard.settings.verifier,)):
        yield from _verifier(verifier)
    yield from _sources(guard)
    yield from _revocations(inspected)
    if inspected.server is None:
        yield "warn", "the server of this guard was not found, so its limits are not checked; name the server"
    else:
        if inspected.is_hub:
            yield from hub_findings(inspected.server, _workers())
        yield from _hub(inspected.server) if inspected.is_hub else _python_socketio(inspected.server)
        yield from rule_findings(inspected)
    yield from join_findings(inspected)


def _kind(inspected: Inspected) -> str:
    return f"{type(inspected.guard).__name__} on {type(inspected.server).__name__ if inspected.server else 'no server'}"


def _versions(inspected: Inspected) -> str:
    names = ["roomkey"] if inspected.is_hub else ["roomkey", "python-socketio", "python-engineio"]
    found = []
    for name in names:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            found.append(f"{name} (version unknown)")
    return ", ".join(found)


def _clock(guard: BaseGuard) -> Iterator[Finding]:
    if time.time() < RELEASED:
        yield "fail", f"the clock of this machine is wrong: it is {time.ctime()}, so expired tokens are valid; set it"
    if not isinstance(guard.clock, SystemClock):
        yield (
            "warn",
            f"the guard reads the time from a {type(guard.clock).__name__}; outside of tests, create it without clock",
        )


# Tokens


def _verifier(verifier: Any) -> Iterator[Finding]:
    for text in getattr(verifier, "warnings", ()):
        yield "warn", text
    lifetime = getattr(verifier, "longest_lifetime", None)
    if lifetime is None:
        yield (
            "warn",
            "no max_lifetime: a stolen token is valid for as long as its issuer wrote into it; pass max_lifetime=3600",
        )
    elif lifetime > LONG_LIFETIME:
        yield "warn", f"tokens, even stolen ones, are valid for up to {span(lifetime)}; use a max_lifetime of about 900"
    if not getattr(verifier, "issuers", ()):
        yield "warn", "no issuer: tokens with any iss are accepted; pass issuer='https://login.example'"
    if not isinstance(verifier, Verifier):
        yield "ok", f"the keys and claims of a {type(verifier).__name__} are not checked"
        return
    if not verifier.expected.audiences:
        yield "warn", "no audience: tokens that were not made for this service are accepted; pass audience='chat'"
    if "iat" not in verifier.expected.require:
        yield "warn", NO_IAT
    yield from _keys(verifier)


def _keys(verifier: Verifier) -> Iterator[Finding]:
    if not isinstance(verifier.keys, KeySet):
        yield "ok", f"keys: {type(verifier.keys).__name__}, {', '.join(sorted(verifier.algorithms))}"
        return
    yield "ok", f"keys: {len(verifier.keys)}, {', '.join(sorted(verifier.algorithms))}"
    for key in verifier.keys:
        if (why := key.weakness) is not None:
            yield (
                "warn",
                f"the {', '.join(key.algorithms)} secret may be guessed: {why}; generate one with: python -c 'import "
                "secrets; print(secrets.token_urlsafe(32))'",
            )


def _sources(guard: BaseGuard) -> Iterator[Finding]:
    handshake = guard.settings.handshake
    if handshake is not None and handshake.query is not None:
        yield (
            "warn",
            f"tokens in the query ({handshake.query}) are in the logs of proxies; use auth, or a single-use ticket",
        )
    if not guard.settings.required:
        yield "warn", "clients without a token are admitted as guests; check identity.is_guest in each handler"
    if guard.settings.grace > 300:
        yield "warn", f"sockets stay connected for {span(guard.settings.grace)} after expiry; use a grace of about 25"


def _revocations(inspected: Inspected) -> Iterator[Finding]:
    if inspected.guard.has_store:
        yield "ok", "revocations: in a store"
        store: Any = inspected.guard.settings.revocations
        if type(store).__name__ == "RedisJournal":
            yield from journal_findings(store)
        return
    remedy = "pass a store, such as revocations=SqlRevocations('roomkey.sqlite3')"
    if hasattr(getattr(inspected.server, "manager", None), "channel"):
        yield "fail", f"several nodes, and revocations only in the memory of each: {remedy}"
    elif workers := _workers():
        yield "fail", f"{workers} workers, and revocations only in the memory of each: {remedy}"
    else:
        yield "ok", f"revocations: in the memory of this process; with several workers, {remedy}"


def _workers() -> int:
    """Return the number of workers that the environment sets, if it is more than one; else 0."""
    words = os.environ.get("GUNICORN_CMD_ARGS", "").replace("=", " ").split()
    given = [word for flag, word in pairwise(words) if flag in ("-w", "--workers")]
    counts = [int(text) for text in (*given, os.environ.get("WEB_CONCURRENCY", "")) if text.isdecimal()]
    return max((count for count in counts if count > 1), default=0)


# Servers


def _hub(hub: Any) -> Iterator[Finding]:
    if hub.requests.origins.everybody:
        yield "warn", _every_origin("None")
    yield from _limits(hub.application.settings.limits.payload, hub.application.settings, "limits=Limits(payload=…)")


def _python_socketio(sio: Any) -> Iterator[Finding]:
    from roomkey.socketio.checks import allows_everybody

    if allows_everybody(sio):
        yield "warn", _every_origin("None (the server's own origin) or a list")
    yield from _limits(sio.eio.max_http_buffer_size, sio.eio, "max_http_buffer_size")


def _every_origin(remedy: str) -> str:
    return (
        "web pages of every origin can connect with tokens that they have; set cors_allowed_origins to "
        f"{remedy} to refuse them"
    )


def _limits(largest: int, timing: Any, name: str) -> Iterator[Finding]:
    if largest > LARGE_MESSAGE:
        yield "warn", f"one message can have {largest:,} bytes, which clients can make the server hold; lower {name}"
    late = timing.ping_interval + timing.ping_timeout
    if late > LATE_PING:
        yield "warn", f"a lost client is noticed after up to {span(late)}; lower ping_interval and ping_timeout"
    yield "ok", f"limits: {largest:,} bytes for a message, {late:g} s until a lost client is noticed"
