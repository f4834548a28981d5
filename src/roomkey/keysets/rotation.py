"""What each key is doing at a time: a key is published before it signs, and accepted until its last token has expired.

    next      published, so that every verifier knows it before it needs it; does not sign yet
    signing   signs new tokens
    retiring  signs no more; published and accepted, because tokens that it signed are still good
    retired   neither published nor accepted

It all follows from one table, the times at which the keys begin to sign, so that nothing has to be done at the right
moment: no job that runs, no state that is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from roomkey.keysets.files import KeyFile, by_age

__all__ = ["LEEWAY", "PUBLISH_BEFORE", "KeyPlan", "State", "plan"]

PUBLISH_BEFORE = 600
"""Seconds from a key's publication to its first signature; who keeps a copy of the JWK Set keeps it half as long."""

LEEWAY = 60.0
"""Seconds that a key is accepted beyond its last token: clocks differ, and a server may see a new key a little late."""


class State(StrEnum):
    """What a key is doing."""

    NEXT = "next"
    SIGNING = "signing"
    RETIRING = "retiring"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class KeyPlan:
    """A key, and what it is doing.

    Attributes:
        file: the key.
        state: at the time of the plan.
        until: when the state ends, in seconds since the epoch; None for never, as far as the keys tell.
    """

    file: KeyFile
    state: State
    until: float | None


def plan(files: Iterable[KeyFile], now: float, lifetime: float, leeway: float = LEEWAY) -> list[KeyPlan]:
    """Say what each key is doing.

    Args:
        files: the keys of one algorithm.
        now: seconds since the epoch.
        lifetime: of the tokens that live longest, in seconds.
        leeway: seconds that a key is accepted beyond that.

    Returns:
        The keys, the one that begins to sign first in front. Exactly one of them is signing: the latest that has
        begun; where none has, the first, because nobody else could (a clock that was set back, a key that was lost).
    """
    ordered = by_age(files)
    signing = max((place for place, file in enumerate(ordered) if file.not_before <= now), default=0)
    planned = []
    for place, (file, successor) in enumerate(zip(ordered, [*ordered[1:], None], strict=False)):
        if place > signing:
            planned.append(KeyPlan(file, State.NEXT, file.not_before))
        elif place == signing:
            planned.append(KeyPlan(file, State.SIGNING, successor.not_before if successor else None))
        else:
            assert successor is not None  # the one that is signing, or an earlier one
            end = successor.signs_from + lifetime + leeway
            planned.append(KeyPlan(file, State.RETIRING, end) if now < end else KeyPlan(file, State.RETIRED, None))
    return planned
