"""Revocations in memory. RFC 7009 defines the protocol for requesting them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from roomkey.core.identity import Identity
from roomkey.core.names import is_name
from roomkey.errors import ConfigError

FOREVER = float("inf")
LONGEST_LIFETIME = 366 * 86400.0
"""The assumed longest lifetime of a token in seconds, if its verifier does not limit it."""

MARGIN = 3600.0
"""Seconds to keep a revocation after its tokens expire: longer than the leeway of any verifier."""

MAX_REVOCATIONS = 1_000_000
"""The most entries in memory; beyond that, those that expire first are dropped."""

RevocationKind = Literal["token", "session", "subject", "rights"]
Key = tuple[str | None, str]
"""An issuer, or None for all issuers, and a name."""

SLOT = 60.0
"""Seconds in which entries that expire are dropped together."""


def check_string(kind: str, name: object) -> None:
    """Check that the name of a token, login session or subject is a string: the subject of ``user_id`` 7 is ``"7"``.

    Raises:
        ConfigError: the name is not a string.
    """
    if not isinstance(name, str):
        raise ConfigError(f"invalid {kind}: it is of type {type(name).__name__}; use a string, such as '7'")


@dataclass(frozen=True, slots=True)
class Revocation:
    """A revoked token, login session or subject. It never contains the text of a token.

    Attributes:
        kind: the meaning of ``name``: ``token`` for a ``jti``, ``session`` for the ``sid`` claim of a login session,
            ``subject`` for a ``sub``. ``rights`` is also about a ``sub``; it revokes nothing, but changes rights.
        name: the value of that claim.
        issuer: the ``iss`` of the tokens; None for all issuers.
        issued_before: for a subject, revoke the tokens issued up to this time, in seconds since the epoch. The whole
            second is included.
        expires_at: the latest ``exp`` of the tokens. After that time, the revocation may be dropped.
        rights: for the kind ``rights``, the claims ``roles``, ``rooms`` or both that override those of the tokens
            issued up to ``issued_before``.
    """

    kind: RevocationKind
    name: str
    issuer: str | None = None
    issued_before: float = 0.0
    expires_at: float = FOREVER
    rights: Mapping[str, Any] | None = field(default=None, hash=False)

    @classmethod
    def of(
        cls,
        *,
        token_id: str | None = None,
        session_id: str | None = None,
        subject: str | None = None,
        issuer: str | None = None,
        issued_before: float | None = None,
        expires_at: float | None = None,
        now: float,
    ) -> Revocation:
        """Create a revocation. Pass exactly one of ``token_id``, ``session_id`` and ``subject``.

        Args:
            token_id: the ``jti`` of a token.
            session_id: the ``sid`` claim of a login session, for all tokens refreshed in it.
            subject: a ``sub``, for all tokens issued to it up to ``issued_before``.
            issuer: only tokens with this ``iss``.
            issued_before: seconds since the epoch, not in the future. Default: ``now``.
            expires_at: the latest ``exp`` of the tokens. Default: :data:`LONGEST_LIFETIME` from now.
            now: seconds since the epoch.

        Raises:
            ConfigError: no name or several, an invalid name, or ``issued_before`` in the future.
        """
        named: dict[RevocationKind, str | None] = {"token": token_id, "session": session_id, "subject": subject}
        given = [(kind, name) for kind, name in named.items() if name is not None]
        if len(given) != 1:
            raise ConfigError("revoke requires exactly one of token_id, session_id and subject")
        check_string(*given[0])
        if not is_name(given[0][1]):
            raise ConfigError(f"invalid {given[0][0]}: use 1 to 255 characters, without control characters")
        if issued_before is not None and (subject is None or not issued_before <= now):
            raise ConfigError("issued_before requires subject, and must not be in the future")
        if expires_at is None:
            expires_at = now + LONGEST_LIFETIME
        if expires_at != expires_at:
            raise ConfigError("expires_at must be seconds since the epoch")
        before = 0.0 if subject is None else now if issued_before is None else issued_before
        return cls(*given[0], issuer, before, expires_at)

    def ends(self, who: Identity) -> bool:
        """Return True if this revokes the token, ticket, login session or code that the identity was read from."""
        if self.issuer not in (None, who.issuer) or self.kind == "rights":
            return False
        if self.kind == "subject":
            return self.name == who.subject and _is_older(who, self.issued_before, self.expires_at)
        return self.name == (who.token_id if self.kind == "token" else who.session_id)


def _is_older(who: Identity, issued_before: float, latest: float) -> bool:
    """Return True if a revocation of the subject includes this identity.

    A token without ``iat`` counts as issued before the revocation, unless it expires after ``latest``, the latest
    ``exp`` of the revoked tokens.
    """
    # Whole seconds: a token issued in the same second as the revocation is revoked.
    if who.issued_at is not None:
        return int(who.issued_at) <= int(issued_before)
    return who.expires_at is None or latest == FOREVER or int(who.expires_at) <= int(latest)


@dataclass(slots=True)
class Revocations:
    """The revoked tokens, login sessions and subjects. Each decision about a token checks them.

    Attributes:
        epoch: number of changes; 0 if nothing was ever revoked.
        margin: seconds to keep a revocation after ``expires_at``. It must be longer than the leeway of the verifiers,
            or a revoked token would be valid again between ``exp`` and ``exp`` plus leeway.
        lost: number of revocations that were dropped too early, because there were more than :data:`MAX_REVOCATIONS`.
    """

    epoch: int = 0
    margin: float = MARGIN
    lost: int = 0
    # By issuer and name: the time until which the entry is kept; for subjects also ``issued_before``, as the first.
    _tokens: dict[Key, float] = field(default_factory=dict)
    _sessions: dict[Key, float] = field(default_factory=dict)
    _subjects: dict[Key, tuple[float, float]] = field(default_factory=dict)
    # Each entry, by the minute in which it expires.
    _slots: dict[float, set[tuple[RevocationKind, Key]]] = field(default_factory=dict)
    _swept: float = 0.0

    def __len__(self) -> int:
        return len(self._tokens) + len(self._sessions) + len(self._subjects)

    def add(self, revoked: Revocation, now: float) -> bool:
        """Add a revocation.

        Args:
            revoked: the revocation.
            now: seconds since the epoch, from :class:`roomkey.core.confirmed_time.ConfirmedTime`.

        Returns:
            False if it was already revoked, for at least as long.
        """
        self.forget_expired(now)
        key = (revoked.issuer, revoked.name)
        until, before = revoked.expires_at + self.margin, revoked.issued_before
        kept = self._until(revoked.kind, key)
        if revoked.kind == "subject":
            known = self._subjects.get(key, (-1.0, 0.0))[0]
            if known >= before and kept >= until:
                return False
            self._subjects[key] = (max(before, known), max(until, kept))
        elif kept >= until:
            return False
        else:
            (self._tokens if revoked.kind == "token" else self._sessions)[key] = until
        self.epoch += 1
        self._file(revoked.kind, key, kept, max(until, kept))
        if len(self) > MAX_REVOCATIONS:
            self._make_room()
        return True

    def _until(self, kind: RevocationKind, key: Key) -> float:
        """Return the time until which an entry is kept; -1 if there is none."""
        if kind == "subject":
            return self._subjects.get(key, (-1.0, -1.0))[1]
        return (self._tokens if kind == "token" else self._sessions).get(key, -1.0)

    def _file(self, kind: RevocationKind, key: Key, before: float, until: float) -> None:
        """Move an entry to the minute in which it expires."""
        old = self._slots.get(_slot(before), set())
        old.discard((kind, key))
        if not old:
            self._slots.pop(_slot(before), None)
        self._slots.setdefault(_slot(until), set()).add((kind, key))

    def _make_room(self) -> None:
        """Drop the revocations that expire first, because their tokens have the shortest time left."""
        while len(self) > MAX_REVOCATIONS:
            self.lost += self._empty(min(self._slots))

    def is_revoked(self, who: Identity) -> bool:
        """Return True if the identity's token is revoked: if :meth:`Revocation.ends` is true for one of the entries."""
        issuer = who.issuer
        for revoked, name in ((self._tokens, who.token_id), (self._sessions, who.session_id)):
            if revoked and name is not None and ((issuer, name) in revoked or (None, name) in revoked):
                return True
        if not self._subjects:
            return False
        entries = (self._subjects.get((issuer, who.subject)), self._subjects.get((None, who.subject)))
        return any(entry is not None and _is_older(who, entry[0], entry[1] - self.margin) for entry in entries)

    def forget_expired(self, now: float) -> None:
        """Drop expired entries, all those of a minute at once."""
        if now < self._swept + SLOT:
            return
        self._swept = now
        for slot in [slot for slot in self._slots if (slot + 1) * SLOT <= now]:
            self._empty(slot)

    def _empty(self, slot: float) -> int:
        """Drop the entries that expire in one minute; return their number."""
        ending = self._slots.pop(slot)
        for kind, key in ending:
            if kind == "subject":
                del self._subjects[key]
            else:
                del (self._tokens if kind == "token" else self._sessions)[key]
        return len(ending)


def _slot(until: float) -> float:
    """Return the minute in which an entry expires; entries that never expire share one."""
    return until if until == FOREVER else until // SLOT
