"""``roomkey doctor --token``: what a token allows under the rules of ``roomkey.toml``, and which rule decides."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

from roomkey import AuthError, ConfigError, Identity, Policy
from roomkey.cli.output import fail, needs
from roomkey.cli.provider import provider_of
from roomkey.cli.sources import claimed_issuer, default_source, read_token
from roomkey.core.any_of import TokenVerifier
from roomkey.keysets import verify_blocking
from roomkey.server.config_file import ConfigFile, read_config

__all__ = ["explain"]

Question = tuple[str, str, str]  # kind, name and, for an emit, its event


def explain(
    file: str,
    config: Path | None,
    *,
    rooms: list[str],
    events: list[str],
    emits: list[str],
    presence: list[str],
    namespace: str,
) -> Iterator[tuple[bool, str]]:
    """Return verdicts with their reasons: about the token, then about the namespace, rooms, emits, presence and
    events.

    Args:
        file: the file with the token; ``-`` is standard input.
        config: the settings file.
        rooms: rooms to join.
        events: events to send.
        emits: rooms to emit to, each written as ``room`` or ``room=event``.
        presence: rooms to ask who is in them.
        namespace: the namespace.

    Raises:
        ConfigError: keys, settings or rules cannot be read.
    """
    with needs("server"):
        from roomkey.server.backends import rooms_of_tokens
        from roomkey.server.policy_file import load_policy
    config_file = read_config(config)
    presented = read_token(file)
    verifier = _verifier(presented, config_file)
    policy = load_policy(config_file) or rooms_of_tokens()
    try:
        who = verify_blocking(lambda: verifier.verify(presented, time.time()))
    except AuthError as error:
        yield False, f"token: rejected, {error}"
        return
    yield True, f"token: valid, for {who.subject!a}"
    if who.issued_at is None:
        yield (
            True,
            "token: no iat, so revoking its subject rejects it, unless the revocation names an expiry and the token "
            "expires later",
        )
    questions: list[Question] = [("namespace", namespace, "")]
    questions += [("room", room, "") for room in rooms]
    questions += [("emit", *_parts(emit)) for emit in emits]
    questions += [("presence", room, "") for room in presence]
    questions += [("event", event, "") for event in events]
    yield from asyncio.run(_decide(who, policy, questions, namespace))


def _verifier(token: str, file: ConfigFile) -> TokenVerifier:
    """Return the verifier of the provider that issued a token, else one with the server's own keys."""
    provider = provider_of(claimed_issuer(token), file)
    if provider is not None:
        return provider.verifier()
    source = default_source(file)
    if source is None:
        fail("no key to verify the token; create one with `roomkey keys new`")
    return source.verifier()


async def _decide(who: Identity, policy: Policy, questions: list[Question], namespace: str) -> list[tuple[bool, str]]:
    from roomkey import Issuer
    from roomkey.guard.guard import AsyncioGuard

    guard = AsyncioGuard(Issuer.ephemeral(audience="roomkey").verifier(), policy=policy)
    found = []
    for kind, name, event in questions:
        decision = await guard.explain(who, kind, name, namespace=namespace, event=event)  # type: ignore[arg-type]
        found.append((bool(decision), str(decision)))
    return found


def _parts(emit: str) -> tuple[str, str]:
    room, _, event = emit.partition("=")
    if not room:
        raise ConfigError("--emit must be a room, or room=event")
    return room, event or "message"
