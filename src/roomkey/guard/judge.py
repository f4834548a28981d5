"""The decisions: is this token good, and may its holder do this. No connection is known here."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Sequence
from typing import Protocol, TypeVar

from roomkey.core.credentials import Presented
from roomkey.core.identity import Identity
from roomkey.core.policy import Policy, Question
from roomkey.core.revocations import Revocations
from roomkey.errors import (
    AuthError,
    ExpiredToken,
    MalformedToken,
    PermissionDenied,
    RevokedToken,
    SubjectMismatch,
    Unavailable,
)
from roomkey.guard.clock import Clock

T = TypeVar("T")
LOG = logging.getLogger("roomkey.guard")


class AnyVerifier(Protocol):
    """What a guard needs of a verifier; one that has to fetch keys returns something to await."""

    def verify(self, token: object, now: float, *, source: str = "") -> Identity | Awaitable[Identity]:
        """Return the identity or raise exactly one :class:`AuthError`."""


class Judge:
    """One decision path: verify, not revoked, may connect; then the policy for every room and event.

    Args:
        verifier: decides about tokens.
        policy: decides about namespaces, rooms and events.
        revocations: what was cancelled.
        grace: seconds after ``exp`` in which a live socket stays.
        clock: where to read the time.
        within: seconds for one decision; a verifier or a rule that takes longer refuses.
    """

    def __init__(
        self,
        verifier: AnyVerifier,
        policy: Policy,
        revocations: Revocations,
        grace: float,
        clock: Clock,
        within: float,
    ) -> None:
        self.verifier = verifier
        self.policy = policy
        self.revocations = revocations
        self.grace = grace
        self.clock = clock
        self.within = within

    async def identify(self, presented: Presented, namespace: str) -> Identity:
        """From a presented token to who may connect to a namespace.

        Raises:
            AuthError: why not; whatever else goes wrong is :class:`Unavailable`.
        """
        who = await self.verify(presented)
        questions = self.policy.about_namespace(namespace)
        if questions is not None:
            if not await self._in_time(self._all_allow(questions, who)):
                raise PermissionDenied(f"namespace {namespace} is not open to this identity")
            self.check_still_valid(who)  # a rule may have waited
        return who

    async def verify(self, presented: Presented) -> Identity:
        """From a presented token to whose it is, wherever they may connect.

        Raises:
            AuthError: why it is not good; whatever else goes wrong is :class:`Unavailable`.
        """
        try:
            who = self.verifier.verify(presented.token, self.clock.now(), source=presented.source)
            if not isinstance(who, Identity):
                who = await self._in_time(who)
        except AuthError:
            raise
        except Exception as error:
            LOG.exception("the verifier failed, so the token is refused")
            raise Unavailable(f"the verifier raised {type(error).__name__}") from error
        self.check_still_valid(who)
        return who

    def check_still_valid(self, who: Identity) -> None:
        """Not revoked, and not so late inside the verifier's leeway that the socket would end at once.

        Raises:
            RevokedToken, ExpiredToken: it is.
        """
        if self.revocations.is_revoked(who):
            raise RevokedToken("revoked")
        if who.expires_at is not None and self.clock.now() >= who.expires_at + self.grace:
            raise ExpiredToken("exp", "expired, and the grace is over", expired_at=who.expires_at)

    def check_refresh(self, old: Identity | None, new: Identity) -> None:
        """A live socket is renewed by a later token of the same person.

        Raises:
            SubjectMismatch: somebody else's token.
            MalformedToken: it does not expire later.
        """
        if old is None or new.subject != old.subject or new.issuer != old.issuer:
            raise SubjectMismatch("a refresh with the token of somebody else")
        if old.expires_at is None or new.expires_at is None or new.expires_at <= old.expires_at:
            raise MalformedToken("a refresh needs a token that expires later")

    async def may_enter(self, who: Identity, room: object, namespace: str) -> bool:
        """True if some rule lets the identity into the room."""
        for question in self.policy.about_room(room, namespace):
            if await self._allows(question, who):
                return not self.revocations.is_revoked(who)
        return False

    async def may_send(self, who: Identity | None, event: str, namespace: str) -> bool:
        """True if the identity may send the event: every rule about it allows."""
        questions = self.policy.about_event(event, namespace)
        return questions is None or (who is not None and await self._all_allow(questions, who))

    async def _all_allow(self, questions: Sequence[Question], who: Identity) -> bool:
        for question in questions:
            if not await self._allows(question, who):
                return False
        return bool(questions)

    async def _allows(self, question: Question, who: Identity) -> bool:
        """Ask one rule. Only ``True`` itself allows; a rule that fails denies."""
        try:
            answer = question.ask(who)
            if inspect.isawaitable(answer):
                answer = await self._in_time(answer)
        except Exception:
            LOG.exception("the rule for %s failed, so it denies", question.name)
            return False
        if not isinstance(answer, bool):
            LOG.error("the rule for %s returned a %s, so it denies: return True or False", question.name, type(answer))
        return answer is True

    async def _in_time(self, decision: Awaitable[T]) -> T:
        """Wait for a decision, and not for ever.

        Raises:
            Unavailable: it took too long.
        """
        try:
            async with asyncio.timeout(self.within):
                return await decision
        except TimeoutError:
            raise Unavailable(f"no decision within {self.within:g} s") from None
