"""DPoP proofs that clients present to a guard: their check, and their single use."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from roomkey.core.credentials import Credential
from roomkey.core.dpop import WINDOW, DPoP, Proof, ProofStore, check_proof
from roomkey.core.identity import Identity
from roomkey.core.used_proofs import USED_BEFORE, UsedProofs
from roomkey.errors import AuthError, InvalidProof
from roomkey.guard.clock import Clock
from roomkey.guard.waiting import Waiting
from roomkey.stores.cleanup import Cleanup
from roomkey.stores.patience import answer_within

STORE_SECONDS = 2.0
"""How long the store of used proofs can take to answer."""

KEPT_SECONDS = 2 * WINDOW
"""How long after its ``iat`` a store keeps a proof: while it is valid, and as long again because clocks differ."""


class Proofs:
    """Verifies proofs, and remembers those that were used.

    Args:
        settings: those of the guard; None ignores proofs, so that tokens that are bound to a key are rejected.
        clock: where to read the time.
        background: waits for the store that several servers share.
    """

    def __init__(self, settings: DPoP | None, clock: Clock, background: Waiting) -> None:
        self._settings = settings
        self._clock = clock
        self._background = background
        self._used = UsedProofs(settings) if settings is not None else None
        delete_expired = getattr(settings.store, "delete_expired", None) if settings is not None else None
        self._cleanup = Cleanup("DPoP proofs", delete_expired, clock=clock.monotonic) if delete_expired else None

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

    async def use(self, proof: Proof, who: Identity) -> bool:
        """Count a proof as used, after everything else about its token was verified.

        Returns:
            True if this waited for the store.

        Raises:
            InvalidProof: it was used before.
            LimitExceeded, Unavailable: too many proofs are in use, or the store is unavailable.
        """
        if self._settings is None or self._used is None:
            return False
        self._used.use(proof, who, self._clock.monotonic())  # first: it limits what one subject can store
        if self._settings.store is None:
            return False
        if not await self._background.on_loop(self._is_first(self._settings.store, proof)):
            raise InvalidProof(USED_BEFORE)
        return True

    async def _is_first(self, store: ProofStore, proof: Proof) -> bool:
        """Store a proof for all servers; return False if one of them has seen it.

        Raises:
            Unavailable: the store does not respond. The proof counts as used.
        """
        adding = store.add_once("proof", proof.hash().hex(), ceil(proof.issued_at + KEPT_SECONDS))
        is_first = await answer_within(adding, STORE_SECONDS, what="the store of used proofs", passes=AuthError)
        if is_first and self._cleanup is not None:
            self._cleanup.start_if_due(self._clock.now())
        return is_first
