"""Decisions about tokens and identities, independent of connections."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar, get_args

from roomkey.audit import token_hash
from roomkey.core.credentials import Credential
from roomkey.core.dpop import check_binding, key_of
from roomkey.core.identity import GUEST, Identity
from roomkey.core.policy import BoundRule, Policy, RuleKind, RuleSet
from roomkey.core.printable import printable
from roomkey.core.requirements import stale_login
from roomkey.core.revocations import LONGEST_LIFETIME
from roomkey.core.rights_overrides import RightsOverrides
from roomkey.errors import (
    AuthError,
    ClaimError,
    ExpiredToken,
    InvalidProof,
    MalformedToken,
    MissingClaim,
    PermissionDenied,
    ReauthenticationRequired,
    RevokedToken,
    SubjectMismatch,
    Unavailable,
)
from roomkey.guard.clock import Clock
from roomkey.guard.proofs import Proofs
from roomkey.guard.revocation_sync import RevocationSync
from roomkey.guard.settings import AnyVerifier, GuardSettings
from roomkey.guard.waiting import Waiting
from roomkey.keysets.waiting import verify_with

T = TypeVar("T")
LOG = logging.getLogger("roomkey.guard")

KINDS: tuple[RuleKind, ...] = get_args(RuleKind)

ABOUT: dict[RuleKind, Callable[[Policy, str, str, str], RuleSet]] = {
    "namespace": lambda policy, name, _namespace, _event: policy.rules_for_namespace(name),
    "room": lambda policy, name, namespace, _event: policy.rules_for_room(name, namespace),
    "emit": lambda policy, name, namespace, event: policy.rules_for_emit(name, event, namespace),
    "presence": lambda policy, name, namespace, _event: policy.rules_for_presence(name, namespace),
    "event": lambda policy, name, namespace, _event: policy.rules_for_event(name, namespace),
}
"""What the policy says, by kind, name, namespace and, for ``emit``, the event."""


VerifyPresented = Callable[[Credential, float], Identity | Awaitable[Identity]]


def _token_alone(verifier: AnyVerifier) -> VerifyPresented:
    return lambda presented, now: verifier.verify(presented.token, now, source=presented.source)


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision about one request, and its reason. It is true if the request is allowed.

    Attributes:
        kind: ``namespace``, ``room`` (to enter it), ``emit`` (to a room) or ``event``.
        name: of the namespace, room or event.
        who: the identity that the rules were given.
        rule: the rule that decided, as the policy's author wrote it; None if no rule matches and the default applies.
        error: the reason for the denial; None if the request is allowed.
    """

    kind: RuleKind
    name: str
    who: Identity
    rule: str | None = None
    error: AuthError | None = None

    def __bool__(self) -> bool:
        return self.error is None

    def __str__(self) -> str:
        verdict = "allowed" if self else f"denied ({self.error})"
        by = ""
        if self.rule is not None:
            by = f" by the rule for {self.rule}"
        elif self.error is None or isinstance(self.error, PermissionDenied):
            by = " by the default, since no rule is about it"
        holder = "a guest" if self.who.is_guest else f"subject {printable(self.who.subject)}"
        roles, rooms = ", ".join(sorted(self.who.roles)) or "none", ", ".join(self.who.rooms) or "none"
        return f"{self.kind} {printable(self.name)}: {verdict}{by}; {holder}, roles: {roles}, rooms: {rooms}"


class Authorizer:
    """Decides in one path: verifies tokens, checks revocations and the namespace, and applies the policy to requests.

    Args:
        settings: the verifier, the grace period, and ``connect_timeout``, the most time for one decision.
        policy: the rules for namespaces, rooms and events.
        revocation_sync: knows the revocations.
        clock: where to read the time.
        background: waits for what a decision requires.

    Attributes:
        changed: the rights that changed after tokens were issued.
        longest_lifetime: the longest lifetime of a token in seconds, if the verifier limits it.
        has_undated: True after a token without ``iat`` was accepted. It is unknown whether such a token is older than a
            revocation.
    """

    def __init__(
        self,
        settings: GuardSettings,
        policy: Policy,
        revocation_sync: RevocationSync,
        clock: Clock,
        background: Waiting,
    ) -> None:
        verifier = settings.verifier
        self.verifier = verifier
        self._verify: VerifyPresented = getattr(verifier, "verify_presented", None) or _token_alone(verifier)
        self._proofs = Proofs(settings.dpop, clock, background)
        self.policy = policy
        self.revocations = revocation_sync.revocations
        self._revocation_sync = revocation_sync
        self._background = background
        self.horizon = revocation_sync.horizon
        self.longest_lifetime: float = getattr(verifier, "longest_lifetime", None) or LONGEST_LIFETIME
        self.changed = RightsOverrides(self.longest_lifetime)
        self.has_undated = False
        self.grace = settings.grace
        self.clock = clock
        self.within = settings.connect_timeout

    async def identify(self, presented: Credential, namespace: str) -> Identity:
        """Return the identity of a presented token, if it can connect to a namespace.

        Raises:
            AuthError: the identity cannot connect. If the decision itself failed, the error is :class:`Unavailable`.
        """
        who = Identity.guest() if presented.source == GUEST else await self.verify(presented)
        return await self.may_connect(who, namespace)

    async def may_connect(self, who: Identity, namespace: str) -> Identity:
        """Return an identity with its current rights, if they allow the namespace.

        Raises:
            AuthError: its rights do not allow it.
        """
        if self._proofs.required and key_of(who) is None and not who.is_guest:
            raise InvalidProof("the token is not bound to a key", message=InvalidProof.PROOF_MISSING)
        while True:
            latest = self.changed.changes.get(who.subject)
            who = self.with_rights_of_now(who)
            rule_set = self.policy.rules_for_namespace(namespace)
            if not rule_set.rules and rule_set.default:
                return who
            decision = await self.decide(who, "namespace", namespace, namespace)
            if decision.error is not None:
                raise decision.error
            self.check_still_valid(who)  # a rule may have waited
            if (
                self.changed.changes.get(who.subject) is latest
            ):  # otherwise the rule was asked about rights that have changed
                return who

    async def verify(self, presented: Credential) -> Identity:
        """Verify a presented token and return its identity, for any namespace.

        Raises:
            AuthError: the token is not valid. If the verification itself failed, the error is :class:`Unavailable`.
        """
        if self._revocation_sync.has_store:
            await self._revocation_sync.check()
        try:
            presented, proof = self._proofs.check(presented)
            try:
                found = await self._background.ask(self._verify, presented, self.clock.now())
                later = found if isinstance(found, Identity) else self._background.on_loop(found)
            except Unavailable as error:
                if error.lookup is None:
                    raise
                later = self._wait_and_verify(presented)
            if isinstance(later, Identity):
                who = later
            else:
                who = await self.in_time(later)
                await self._revocation_sync.check()  # the verifier may have waited
        except AuthError:
            raise
        except Exception as error:
            LOG.exception("rejected a token: the verifier failed")
            raise Unavailable(f"the verifier raised {type(error).__name__}") from error
        if not who.subject:  # only the application's own verifier can return this
            raise MissingClaim("sub", "the verifier returned no subject")
        check_binding(who.claims, presented.proved_key)  # the application's own verifier may not have
        self.has_undated = self.has_undated or who.issued_at is None
        if who.token_id is None:
            who = who.with_token_hash(token_hash(presented.token))
        self.check_still_valid(who)
        if proof is not None and await self._proofs.use(proof, who):
            self.check_still_valid(who)
        return who

    async def _wait_and_verify(self, presented: Credential) -> Identity:
        """Verify a token after the keys of another server have been fetched."""
        who = await verify_with(lambda: self._verify(presented, self.clock.now()), self._background.look_up)
        return who if isinstance(who, Identity) else await self._background.on_loop(who)

    def with_rights_of_now(self, who: Identity) -> Identity:
        """Return the identity with rights that changed after its token was issued, and with included roles."""
        if self.changed.changes:
            who = self.changed.apply(who, self.clock.now())
        return self.policy.expand_roles(who) if self.policy.roles.includes else who

    def check_still_valid(self, who: Identity) -> None:
        """Check that a token is not revoked, and that its grace period has not ended.

        Raises:
            RevokedToken, ExpiredToken: one of the checks failed.
        """
        if self.revocations.epoch and self.revocations.is_revoked(who):
            undated = who.issued_at is None and not who.is_guest
            raise RevokedToken("revoked; it has no iat, and counts as issued before" if undated else "revoked")
        if who.expires_at is not None and self.clock.now() >= who.expires_at + self.grace:
            raise ExpiredToken("exp", "expired, and the grace is over", expired_at=who.expires_at)

    def check_renewal(self, old: Identity | None, new: Identity) -> bool:
        """Check that a token can renew a connected socket: a newer token of the same subject; for a guest, any token.

        Returns:
            False if the socket has this token already: not a mistake, since the answer to the first may have been lost,
            but there is nothing to renew.

        Raises:
            SubjectMismatch: the token belongs to another subject.
            ClaimError: the current token is bound to a key, and the new one is not bound to the same key.
            MalformedToken: the token expires earlier, or was issued earlier, than the current one.
        """
        if old is not None and old.is_guest:
            return True
        if old is None or new.subject != old.subject or new.issuer != old.issuer:
            raise SubjectMismatch("a renewal with the token of another subject")
        if key_of(old) not in (None, key_of(new)):
            raise ClaimError("cnf", "a renewal with a token that is not bound to the socket's key")
        if old.expires_at is None or new.expires_at is None or new.expires_at < old.expires_at:
            raise MalformedToken("the new token expires earlier than the current one")
        if (new.issued_at or 0) < (old.issued_at or 0):
            raise MalformedToken("the new token was issued earlier than the current one")
        return new.token_id is None or (new.token_id, new.expires_at) != (old.token_id, old.expires_at)

    async def decide(
        self, who: Identity, kind: RuleKind, name: str, namespace: str, *, event: str = "", again: bool = False
    ) -> Decision:
        """Ask the policy.

        Args:
            kind: what the request is about.
            name: of the namespace, room or event.
            namespace: where.
            event: what is emitted, for the kind ``emit``.
            again: it was allowed before, so it stays allowed during the grace period.
        """
        rule_set = ABOUT[kind](self.policy, name, namespace, event)
        error: AuthError | None = None if again else self._too_late(who, kind, rule_set)
        rule = None
        if error is None:
            allowed, rule = await self._ask(rule_set, who)
            if not allowed:
                error = PermissionDenied(f"{kind} not allowed")
            elif self.revocations.is_revoked(who):  # a rule may have waited
                error = RevokedToken("revoked while it was decided")
            else:
                error = self._too_stale(who, rule_set) or (None if again else self._too_late(who, kind, rule_set))
        return Decision(kind, name, who, rule, error)

    def _too_late(self, who: Identity, kind: RuleKind, rule_set: RuleSet) -> ExpiredToken | None:
        """Return the error for a new request in the grace period; existing rights are not affected."""
        if who.expires_at is None or self.clock.now() < who.expires_at:
            return None
        if kind == "room" or any(rule.max_auth_age is not None for rule in rule_set.rules):
            return ExpiredToken("exp", "expired: refresh the token first", expired_at=who.expires_at)
        return None

    def _too_stale(self, who: Identity, rule_set: RuleSet) -> ReauthenticationRequired | None:
        """Return the error for a login that is not recent enough, or None."""
        limits = [rule.max_auth_age for rule in rule_set.rules if rule.max_auth_age is not None]
        return stale_login(who, min(limits), self.clock.now()) if limits else None

    async def _ask(self, rule_set: RuleSet, who: Identity) -> tuple[bool, str | None]:
        """Return whether the rules allow it, and which of them decided."""
        if not rule_set.rules:
            return rule_set.default, None
        for rule in rule_set.rules:
            if await self._allows(rule, who) is not rule_set.require_all:
                return not rule_set.require_all, rule.name
        return rule_set.require_all, rule_set.rules[-1].name

    async def _allows(self, rule: BoundRule, who: Identity) -> bool:
        """Call one rule. Only ``True`` allows; if the rule raises an exception, the decision is a denial."""
        try:
            answer = await self._background.ask(rule.ask, who)
            if inspect.isawaitable(answer):
                answer = await self.in_time(self._background.on_loop(answer))
        except Exception:
            LOG.exception("denied: the rule for %s failed", rule.name)
            return False
        if not isinstance(answer, bool):
            LOG.error("denied: the rule for %s returned a %s; return True or False", rule.name, type(answer))
        return answer is True

    async def in_time(self, decision: Awaitable[T]) -> T:
        """Wait for a decision, for a limited time.

        Raises:
            Unavailable: it took too long.
        """
        try:
            async with self._background.deadline(self.within):
                return await decision
        except TimeoutError:
            raise Unavailable(f"no decision within {self.within:g} s") from None
