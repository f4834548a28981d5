"""What was cancelled before its time, in memory (RFC 7009 is the protocol for asking)."""

from __future__ import annotations

from dataclasses import dataclass, field

from roomkey.core.deadlines import Deadlines
from roomkey.core.identity import Identity
from roomkey.errors import ConfigError

FOREVER = float("inf")


@dataclass(slots=True)
class Revocations:
    """Cancelled tokens, sessions and subjects, kept by their names and never by a token's text.

    Attributes:
        epoch: rises with every revocation; a decision that waited for something compares it.
        margin: seconds that a revocation outlives the ``exp`` it is about: more than the leeway of any verifier that
            asks, or a cancelled token would come back to life between ``exp`` and ``exp`` plus leeway.
    """

    epoch: int = 0
    margin: float = 3600.0
    _tokens: dict[str, float] = field(default_factory=dict)
    _sessions: dict[str, float] = field(default_factory=dict)
    _subjects: dict[str, tuple[float, float]] = field(default_factory=dict)
    _forget: Deadlines[tuple[str, str]] = field(default_factory=Deadlines)

    def revoke(
        self,
        *,
        token_id: str | None = None,
        session_id: str | None = None,
        subject: str | None = None,
        issued_before: float | None = None,
        expires_at: float = FOREVER,
        now: float,
    ) -> None:
        """Cancel by exactly one of three names.

        Args:
            token_id: the ``jti`` of one token.
            session_id: the ``sid`` of one login and all tokens refreshed from it.
            subject: everything issued to this ``sub`` up to ``issued_before``, that second included.
            issued_before: seconds since the epoch, not in the future; ``now`` if absent.
            expires_at: the latest ``exp`` of the tokens it is about, after which (and ``margin``) it is forgotten.
            now: seconds since the epoch.

        Raises:
            ConfigError: none or several names, or ``issued_before`` in the future.
        """
        if sum(name is not None for name in (token_id, session_id, subject)) != 1:
            raise ConfigError("revoke takes exactly one of token_id, session_id and subject")
        if issued_before is not None and (subject is None or issued_before > now):
            raise ConfigError("issued_before goes with subject, and never lies in the future")
        self.forget_expired(now)
        self.epoch += 1
        until = expires_at + self.margin
        if token_id is not None:
            self._tokens[token_id] = until = max(until, self._tokens.get(token_id, 0.0))
            self._forget.set(("token", token_id), until)
        elif session_id is not None:
            self._sessions[session_id] = until = max(until, self._sessions.get(session_id, 0.0))
            self._forget.set(("session", session_id), until)
        elif subject is not None:
            before, known_until = self._subjects.get(subject, (0.0, 0.0))
            until = max(until, known_until)
            self._subjects[subject] = (max(before, now if issued_before is None else issued_before), until)
            self._forget.set(("subject", subject), until)

    def is_revoked(self, who: Identity) -> bool:
        """True if the identity's token was cancelled. A token without ``iat`` counts as issued long ago."""
        if who.token_id in self._tokens or who.session_id in self._sessions:
            return True
        cancelled = self._subjects.get(who.subject)
        # Whole seconds: a token of the same second as the revocation is refused.
        return cancelled is not None and int(who.issued_at or 0) <= int(cancelled[0])

    def forget_expired(self, now: float) -> None:
        """Drop what no token can match any more."""
        for kind, name in self._forget.pop_due(now):
            if kind == "token":
                del self._tokens[name]
            elif kind == "session":
                del self._sessions[name]
            else:
                del self._subjects[name]
