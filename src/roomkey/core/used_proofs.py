"""The proofs that were used, so that each is used once (RFC 9449 section 11.1)."""

from __future__ import annotations

from collections import Counter, deque
from math import inf
from typing import NamedTuple

from roomkey.core.dpop import WINDOW, DPoP, Proof
from roomkey.core.identity import Identity
from roomkey.errors import InvalidProof, LimitExceeded, Unavailable

LIFETIME = 2 * WINDOW
"""Seconds for which a proof can be valid, counted from its use: its ``iat`` may be in the future."""

USED_BEFORE = "DPoP proof: it was used before; create one for each CONNECT and each authenticate"

Subject = tuple[str | None, str]


class _Use(NamedTuple):
    until: float
    name: bytes
    subject: Subject
    issued_at: float


class UsedProofs:
    """Remembers each used proof until it is no longer valid.

    Only valid proofs of valid tokens count, so that strangers cannot fill it. One subject can fill only its own part.
    While it is full, new proofs are refused; a proof that is still valid is never forgotten.

    Args:
        settings: the numbers of proofs to remember.
    """

    def __init__(self, settings: DPoP) -> None:
        self._most = settings.max_proofs
        self._most_per_subject = settings.max_proofs_per_subject
        self._names: set[bytes] = set()
        self._uses: deque[_Use] = deque()  # the oldest first
        self._by_subject: Counter[Subject] = Counter()
        # The newest proof that was forgotten. If the time of day is set back, it seems to be valid again.
        self._newest_forgotten = -inf

    def __len__(self) -> int:
        return len(self._names)

    def use(self, proof: Proof, who: Identity, monotonic: float) -> None:
        """Count a proof as used.

        Args:
            proof: the proof, which is valid now.
            who: the identity of its token.
            monotonic: seconds on a monotonic clock.

        Raises:
            InvalidProof: it was used before, or may have been.
            LimitExceeded: too many proofs of the subject are in use.
            Unavailable: too many proofs are in use.
        """
        self._forget_expired(monotonic)
        name = proof.hash()
        subject = (who.issuer, who.subject)
        if name in self._names or proof.issued_at <= self._newest_forgotten:
            raise InvalidProof(USED_BEFORE)
        if self._by_subject[subject] >= self._most_per_subject:
            raise LimitExceeded(
                "proofs", f"{self._most_per_subject} DPoP proofs of one subject within {LIFETIME:.0f} s"
            )
        if len(self._names) >= self._most:
            raise Unavailable(f"{self._most} DPoP proofs within {LIFETIME:.0f} s")
        self._names.add(name)
        self._by_subject[subject] += 1
        self._uses.append(_Use(monotonic + LIFETIME, name, subject, proof.issued_at))

    def _forget_expired(self, monotonic: float) -> None:
        while self._uses and self._uses[0].until < monotonic:
            use = self._uses.popleft()
            self._names.discard(use.name)
            self._newest_forgotten = max(self._newest_forgotten, use.issued_at)
            self._by_subject[use.subject] -= 1
            if not self._by_subject[use.subject]:
                del self._by_subject[use.subject]
