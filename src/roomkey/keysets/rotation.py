"""The state of each key: a key is published before it signs, and accepted until its last token has expired.

    next      published, so that every verifier has it before it is used; does not sign yet
    signing   signs new tokens
    retiring  does not sign any more; published and accepted, because tokens that it signed are still valid
    retired   neither published nor accepted

All states follow from one table, the times at which the keys begin to sign. No job has to run at the right moment, and
no state has to be stored.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from roomkey.keysets.files import KeyFile, in_signing_order

__all__ = ["LEEWAY", "PUBLISH_BEFORE", "KeyPlan", "KeyState", "plan"]

PUBLISH_BEFORE = 600
"""Seconds from a key's publication to its first signature. Copies of the JWK Set may be cached for half of this."""

LEEWAY = 60.0
"""Seconds for which a key is accepted after its last token: clocks differ, and a server may see a new key late."""


class KeyState(StrEnum):
    """What a key is used for."""

    NEXT = "next"
    SIGNING = "signing"
    RETIRING = "retiring"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class KeyPlan:
    """A key and its state.

    Attributes:
        file: the key.
        state: its state at the time of the plan.
        until: when the state ends, in seconds since the epoch; None if no key of the folder ends it.
    """

    file: KeyFile
    state: KeyState
    until: float | None


def plan(files: Iterable[KeyFile], now: float, lifetime: float, leeway: float = LEEWAY) -> list[KeyPlan]:
    """Return the state of each key.

    Args:
        files: the keys of one algorithm.
        now: seconds since the epoch.
        lifetime: the maximum lifetime of the tokens, in seconds.
        leeway: seconds for which a key is accepted after its last token has expired.

    Returns:
        The keys in the order in which they begin to sign. Exactly one of them signs: the last whose time has come. If
        no key's time has come (the clock was set back, or a key was lost), the first one signs.
    """
    ordered = in_signing_order(files)
    signing = max((place for place, file in enumerate(ordered) if file.not_before <= now), default=0)
    planned = []
    for place, (file, successor) in enumerate(zip(ordered, [*ordered[1:], None], strict=False)):
        if place > signing:
            planned.append(KeyPlan(file, KeyState.NEXT, file.not_before))
        elif place == signing:
            planned.append(KeyPlan(file, KeyState.SIGNING, successor.not_before if successor else None))
        else:
            assert successor is not None  # only the last key has none, and it is not before the signing key
            end = successor.signs_from + lifetime + leeway
            planned.append(
                KeyPlan(file, KeyState.RETIRING, end) if now < end else KeyPlan(file, KeyState.RETIRED, None)
            )
    return planned
