"""The guard of the contract tests, with every host in Python."""

from __future__ import annotations

from typing import Any

from hosts.host import Options
from support.clock import FakeClock

from roomkey import Policy
from roomkey.policies import rooms_claim
from roomkey.socketio import Authenticate, Handshake, SubjectLimits

__all__ = ["guard_settings"]


def guard_settings(options: Options, clock: FakeClock) -> dict[str, Any]:
    """Return the arguments of a guard in Python."""
    policy = Policy()
    policy.namespace("/admin")(lambda who: who.has_role("admin"))
    policy.room("*")(rooms_claim)
    policy.event("vote")(lambda who: who.has_role("voter"))
    handshake, authenticate = Handshake(), Authenticate(options.authenticate_timeout, options.max_attempts)
    ways: dict[str, Any] = {"handshake": handshake, "authenticate": authenticate, "both": (handshake, authenticate)}
    sockets = options.sockets_per_subject
    return {
        "via": ways[options.via],
        "policy": policy,
        "clock": clock,
        "subject_limits": None if sockets is None else SubjectLimits(sockets=sockets),
        "connect_timeout": options.connect_timeout,
        "grace": options.grace,
        "warn_before": options.warn_before,
        "max_refusals": options.max_refusals,
        "max_anonymous": options.max_anonymous,
        "max_bad_tokens": options.max_bad_tokens,
    }
