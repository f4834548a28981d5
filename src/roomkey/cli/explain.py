"""``roomkey doctor --token``: what a token opens by the rules of ``roomkey.toml``, and which of them decides."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

from roomkey import AuthError, ConfigError, Identity, Policy
from roomkey.cli.output import fail, needs
from roomkey.cli.sources import default_source, read_token
from roomkey.server.config_file import read_config

__all__ = ["explain"]

Wish = tuple[str, str, str]  # kind, name, and for an emit its event


def explain(
    file: str, config: Path | None, *, rooms: list[str], events: list[str], emits: list[str], namespace: str
) -> Iterator[tuple[bool, str]]:
    """Verdicts, with why; first of all about the token itself, and then the namespace.

    Args:
        file: with the token; ``-`` is standard input.
        config: the settings file.
        rooms: may it enter them?
        events: may it send them?
        emits: may it emit to these rooms? Written as ``room`` or ``room=event``.
        namespace: where.

    Raises:
        ConfigError: no keys, settings or rules that cannot be read.
    """
    with needs("server"):
        from roomkey.server.backends import rooms_of_tokens
        from roomkey.server.policy_file import load_policy
    config_file = read_config(config)
    source = default_source(config_file)
    if source is None:
        fail("no keys to look at the token with: roomkey keys new makes one")
    policy = load_policy(config_file) or rooms_of_tokens()
    try:
        who = source.verifier().verify(read_token(file), time.time())
    except AuthError as error:
        yield False, f"token: refused, {error}"
        return
    yield True, f"token: good, for {who.subject!a}"
    if who.issued_at is None:
        yield (
            True,
            "token: no iat, so revoking its subject rejects it, unless the revocation names an expiry and the token "
            "expires later",
        )
    wishes: list[Wish] = [("namespace", namespace, "")]
    wishes += [("room", room, "") for room in rooms]
    wishes += [("emit", *_parts(emit)) for emit in emits]
    wishes += [("event", event, "") for event in events]
    yield from asyncio.run(_decide(who, policy, wishes, namespace))


async def _decide(who: Identity, policy: Policy, wishes: list[Wish], namespace: str) -> list[tuple[bool, str]]:
    from roomkey import Issuer
    from roomkey.guard.guard import Guard

    guard = Guard(Issuer.ephemeral(audience="nobody").verifier(), policy=policy)
    found = []
    for kind, name, event in wishes:
        decision = await guard.explain(who, kind, name, namespace=namespace, event=event)  # type: ignore[arg-type]
        found.append((bool(decision), str(decision)))
    return found


def _parts(emit: str) -> tuple[str, str]:
    room, _, event = emit.partition("=")
    if not room:
        raise ConfigError("--emit takes a room, or room=event")
    return room, event or "message"
