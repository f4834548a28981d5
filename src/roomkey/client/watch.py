"""What a client does about the server's events: pure state, without I/O."""

from __future__ import annotations

import random
from dataclasses import dataclass

from roomkey.client.refusal import Refusal
from roomkey.client.tokens import Presentable, Version
from roomkey.guard import contract

__all__ = ["ConnectionWatch", "End", "Renew", "Step"]

_LONGEST_WAIT = 30.0  # seconds


@dataclass(frozen=True, slots=True)
class Renew:
    """Present a newer token in a namespace, after a delay in seconds."""

    namespace: str
    delay: float = 0


@dataclass(frozen=True, slots=True)
class End:
    """Stop for good, and disconnect if the server has not."""

    refusal: Refusal
    hang_up: bool = True


Step = Renew | End | None


class ConnectionWatch:
    """The tokens that one client has presented, and what the server said about them.

    Args:
        later: True if the client presents its token in the event ``authenticate``, and not in CONNECT.
    """

    def __init__(self, later: bool) -> None:
        self._later = later
        self.spent: Version | None = None
        self.expired: Refusal | None = None  # what the server said about `spent`
        self._failures = 0
        self.begin(None)

    def begin(self, found: Presentable | None) -> None:
        """Forget the last connection; CONNECT presents this token in each namespace."""
        self._connecting = found
        self.refusal: Refusal | None = None  # the first CONNECT_ERROR
        self._presented: dict[str, Presentable] = {}
        self._refusals: dict[str, Refusal] = {}
        self._admitted: set[str] = set()
        self._unanswered: set[str] = set()
        self._disconnected: set[str] = set()

    def is_useless(self, found: Presentable) -> bool:
        """Return True if the server has already called this token expired."""
        return self.expired is not None and found.version == self.spent

    def backoff(self) -> float:
        """Return the seconds until the next attempt: a second, then more, with jitter."""
        delay = min(_LONGEST_WAIT, 2.0 ** min(self._failures, 10))
        self._failures += 1
        return delay * random.uniform(0.5, 1)  # noqa: S311

    def presents(self, namespace: str, found: Presentable) -> bool:
        """Note that a token will be presented; return False if the server already has it."""
        if self._version(namespace) == found.version:
            return False
        self._presented[namespace] = found
        self._unanswered.add(namespace)
        return True

    def observe(self, event: str, namespace: str, argument: object) -> Step:
        """Return what to do about an event of the server."""
        match event:
            case "connect" if self._later:
                return Renew(namespace)
            case "connect":
                if self._connecting is not None:
                    self._presented[namespace] = self._connecting
                self._admit(namespace)
            case contract.AUTHENTICATED:
                self._admit(namespace)
            case contract.TOKEN_EXPIRING if namespace not in self._unanswered:  # else it crossed a newer token
                self.spent = self._version(namespace)
                return Renew(namespace)
            case contract.UNAUTHORIZED:
                return self._rejected(namespace, Refusal.of(argument))
        return None

    def refused(self, refusal: Refusal) -> Step:
        """Return what to do about a CONNECT_ERROR. If it can be tried again, the caller knows when."""
        self.refusal = self.refusal or refusal
        if not refusal.retry:
            return End(refusal)
        if refusal.concerns_token and self._connecting is not None:
            self.spent, self.expired = self._connecting.version, refusal
        return None

    def disconnected(self, namespace: str) -> Step:
        """Return what to do about a DISCONNECT packet: nothing, if the application on the server sent it."""
        self._disconnected.add(namespace)
        refusal = self._refusals.get(namespace)
        return None if refusal is None or refusal.retry else End(refusal, hang_up=False)

    def _version(self, namespace: str) -> Version | None:
        presented = self._presented.get(namespace)
        return None if presented is None else presented.version

    def _admit(self, namespace: str) -> None:
        self._admitted.add(namespace)
        self._unanswered.discard(namespace)
        self._refusals.pop(namespace, None)
        self.expired = None
        self._failures = 0

    def _rejected(self, namespace: str, refusal: Refusal) -> Step:
        if refusal.is_early_packet:
            return None
        self._unanswered.discard(namespace)
        self._refusals[namespace] = refusal
        if refusal.retry:
            if refusal.concerns_token:
                self.spent, self.expired = self._version(namespace), refusal
            self._presented.pop(namespace, None)
            delay = self.backoff()
            return Renew(namespace, 0 if refusal.nonce is not None and self._failures == 1 else delay)
        if namespace in self._disconnected:  # the packets arrived in two threads
            return End(refusal, hang_up=False)
        # A connected socket keeps its older token.
        return None if namespace in self._admitted else End(refusal)
