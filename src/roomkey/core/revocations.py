"""What was cancelled before its time, in memory (RFC 7009 is the protocol for asking)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from roomkey.core.claims import is_name
from roomkey.core.identity import Identity
from roomkey.errors import ConfigError

FOREVER = float("inf")
Kind = Literal["token", "session", "subject"]

SLOT = 60.0
"""Seconds: entries that end within the same minute are forgotten together."""


@dataclass(frozen=True, slots=True)
class Revocation:
    """One thing that is cancelled; kept by its name and never by a token's text.

    Attributes:
        kind: what ``name`` is: a token's ``jti``, the ``sid`` of one login, or a ``sub``.
        name: of it.
        issuer: the ``iss`` of the tokens it is about; every issuer's if None.
        issued_before: for a subject: tokens issued up to then are cancelled, in seconds since the epoch, that whole
            second included.
        expires_at: the latest ``exp`` of the tokens it is about, after which it may be forgotten.
    """

    kind: Kind
    name: str
    issuer: str | None = None
    issued_before: float = 0.0
    expires_at: float = FOREVER

    @classmethod
    def of(
        cls,
        *,
        token_id: str | None = None,
        session_id: str | None = None,
        subject: str | None = None,
        issuer: str | None = None,
        issued_before: float | None = None,
        expires_at: float = FOREVER,
        now: float,
    ) -> Revocation:
        """Cancel by exactly one of three names.

        Args:
            token_id: the ``jti`` of one token.
            session_id: the ``sid`` of one login and all tokens refreshed from it.
            subject: everything issued to this ``sub`` up to ``issued_before``.
            issuer: only tokens of this ``iss``.
            issued_before: seconds since the epoch, not in the future; ``now`` if absent.
            expires_at: the latest ``exp`` of the tokens it is about.
            now: seconds since the epoch.

        Raises:
            ConfigError: none or several names, or ``issued_before`` in the future.
        """
        named: dict[Kind, str | None] = {"token": token_id, "session": session_id, "subject": subject}
        given = [(kind, name) for kind, name in named.items() if name is not None]
        if len(given) != 1:
            raise ConfigError("revoke takes exactly one of token_id, session_id and subject")
        if not is_name(given[0][1]):
            raise ConfigError(f"no {given[0][0]} has this name: 1 to 255 characters, none of them a control character")
        if issued_before is not None and (subject is None or not issued_before <= now):
            raise ConfigError("issued_before goes with subject, and never lies in the future")
        if expires_at != expires_at:
            raise ConfigError("expires_at takes seconds since the epoch")
        before = 0.0 if subject is None else now if issued_before is None else issued_before
        return cls(*given[0], issuer, before, expires_at)

    def ends(self, who: Identity) -> bool:
        """Return True if this is about the token, ticket, login or code that an identity stands for.

        Whole seconds count: what is of the same second as ``issued_before`` ends. Without ``issued_at`` it is old.
        """
        if self.issuer not in (None, who.issuer):
            return False
        if self.kind == "subject":
            return self.name == who.subject and int(who.issued_at or 0) <= int(self.issued_before)
        return self.name == (who.token_id if self.kind == "token" else who.session_id)


@dataclass(slots=True)
class Revocations:
    """Cancelled tokens, sessions and subjects: what every decision looks into.

    Attributes:
        epoch: rises with every revocation.
        margin: seconds that a revocation outlives the ``exp`` it is about: more than the leeway of any verifier that
            asks, or a cancelled token would come back to life between ``exp`` and ``exp`` plus leeway.
    """

    epoch: int = 0
    margin: float = 3600.0
    # By (issuer or None, name): until when it is kept; a subject's has also up to when its tokens are cancelled.
    _tokens: dict[tuple[str | None, str], float] = field(default_factory=dict)
    _sessions: dict[tuple[str | None, str], float] = field(default_factory=dict)
    _subjects: dict[tuple[str | None, str], tuple[float, float]] = field(default_factory=dict)
    _slots: dict[float, list[Revocation]] = field(default_factory=dict)
    _swept: float = 0.0

    def __len__(self) -> int:
        return len(self._tokens) + len(self._sessions) + len(self._subjects)

    def add(self, revoked: Revocation, now: float) -> bool:
        """Cancel.

        Args:
            now: seconds since the epoch.

        Returns:
            False if it was cancelled already, for at least as long.
        """
        self.forget_expired(now)
        key = (revoked.issuer, revoked.name)
        until = revoked.expires_at + self.margin
        if revoked.kind == "subject":
            before, kept = self._subjects.get(key, (-1.0, 0.0))
            if before >= revoked.issued_before and kept >= until:
                return False
            self._subjects[key] = (max(before, revoked.issued_before), max(until, kept))
        else:
            held = self._tokens if revoked.kind == "token" else self._sessions
            if held.get(key, -1.0) >= until:
                return False
            held[key] = until
        self.epoch += 1
        if until != FOREVER:
            self._slots.setdefault(until // SLOT, []).append(revoked)
        return True

    def is_revoked(self, who: Identity) -> bool:
        """True if the identity's token was cancelled. A token without ``iat`` counts as issued long ago."""
        issuer = who.issuer
        for held, name in ((self._tokens, who.token_id), (self._sessions, who.session_id)):
            if held and name is not None and ((issuer, name) in held or (None, name) in held):
                return True
        if not self._subjects:
            return False
        before = max(
            self._subjects.get((issuer, who.subject), (-1.0, 0.0))[0],
            self._subjects.get((None, who.subject), (-1.0, 0.0))[0],
        )
        # Whole seconds: a token of the same second as the revocation is refused.
        return int(who.issued_at or 0) <= int(before)

    def forget_expired(self, now: float) -> None:
        """Drop what no token can match any more, a minute's worth at a time."""
        if now < self._swept + SLOT:
            return
        self._swept = now
        for slot in [slot for slot in self._slots if (slot + 1) * SLOT <= now]:
            for revoked in self._slots.pop(slot):
                self._forget(revoked, now)

    def _forget(self, revoked: Revocation, now: float) -> None:
        """Drop one entry, unless a later revocation of the same name has made it last longer."""
        key = (revoked.issuer, revoked.name)
        if revoked.kind == "subject":
            if self._subjects.get(key, (0.0, FOREVER))[1] <= now:
                del self._subjects[key]
            return
        held = self._tokens if revoked.kind == "token" else self._sessions
        if held.get(key, FOREVER) <= now:
            del held[key]
