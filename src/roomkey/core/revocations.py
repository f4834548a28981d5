"""What was cancelled before its time, in memory (RFC 7009 is the protocol for asking)."""

from __future__ import annotations

from dataclasses import dataclass, field

from roomkey.core.identity import Identity
from roomkey.errors import ConfigError

FOREVER = float("inf")


@dataclass(slots=True)
class Revocations:
    """Cancelled tokens, sessions and subjects, kept by their names and never by a token's text.

    Attributes:
        epoch: rises with every revocation; a decision that waited for something compares it.
    """

    epoch: int = 0
    _tokens: dict[str, float] = field(default_factory=dict)
    _sessions: dict[str, float] = field(default_factory=dict)
    _subjects: dict[str, tuple[float, float]] = field(default_factory=dict)

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
            expires_at: when the tokens it is about have expired anyway, so that it can be forgotten.
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
        if token_id is not None:
            self._tokens[token_id] = max(expires_at, self._tokens.get(token_id, 0.0))
        elif session_id is not None:
            self._sessions[session_id] = max(expires_at, self._sessions.get(session_id, 0.0))
        elif subject is not None:
            before, until = self._subjects.get(subject, (0.0, 0.0))
            self._subjects[subject] = (
                max(before, now if issued_before is None else issued_before),
                max(until, expires_at),
            )

    def is_revoked(self, who: Identity) -> bool:
        """True if the identity's token was cancelled. A token without ``iat`` counts as issued long ago."""
        if who.token_id in self._tokens or who.session_id in self._sessions:
            return True
        cancelled = self._subjects.get(who.subject)
        # Whole seconds: a token of the same second as the revocation is refused.
        return cancelled is not None and int(who.issued_at or 0) <= int(cancelled[0])

    def forget_expired(self, now: float) -> None:
        """Drop what no token can match any more."""
        for held in (self._tokens, self._sessions):
            for name in [name for name, until in held.items() if until <= now]:
                del held[name]
        for name in [name for name, (_, until) in self._subjects.items() if until <= now]:
            del self._subjects[name]
