"""DPoP proofs that clients present to a guard: their check, and their single use."""

from __future__ import annotations

from dataclasses import replace

from roomkey.core.credentials import Credential
from roomkey.core.dpop import DPoP, Proof, check_proof
from roomkey.core.identity import Identity
from roomkey.core.used_proofs import UsedProofs
from roomkey.guard.clock import Clock


class Proofs:
    """Verifies proofs, and remembers those that were used.

    Args:
        settings: those of the guard; None ignores proofs, so that tokens that are bound to a key are rejected.
        clock: where to read the time.
    """

    def __init__(self, settings: DPoP | None, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._used = UsedProofs(settings) if settings is not None else None

    @property
    def required(self) -> bool:
        """True if sockets require a token that is bound to a key."""
        return self._settings is not None and self._settings.required

    def check(self, presented: Credential) -> tuple[Credential, Proof | None]:
        """Verify the proof next to a token, and return the credential with the key that it proves.

        Raises:
            InvalidProof: the proof is not valid.
        """
        if self._settings is None or presented.proof is None:
            return presented, None
        proof = check_proof(self._settings, presented.proof, presented.token, self._clock.now())
        return replace(presented, proof=None, proved_key=proof.key), proof

    def use(self, proof: Proof, who: Identity) -> None:
        """Count a proof as used, after everything else about its token was verified.

        Raises:
            InvalidProof: it was used before.
            LimitExceeded, Unavailable: too many proofs are in use.
        """
        if self._used is not None:
            self._used.use(proof, who, self._clock.monotonic())
