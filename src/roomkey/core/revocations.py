"""What was cancelled before its time, in memory (RFC 7009 is the protocol for asking)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from roomkey.core.claims import is_name
from roomkey.core.identity import Identity
from roomkey.errors import ConfigError

FOREVER = float("inf")
LONGEST_LIFETIME = 366 * 86400.0
"""Seconds that a token may live at most, where nothing else is known of it."""

MARGIN = 3600.0
"""Seconds that a revocation outlives the tokens it is about: more than the leeway of any verifier."""

MAX_REVOCATIONS = 1_000_000
"""Entries in memory; beyond that, those that end first are forgotten."""

RevocationKind = Literal["token", "session", "subject", "rights"]
Key = tuple[str | None, str]
"""An issuer, or None for every one, and a name."""

SLOT = 60.0
"""Seconds: entries that end within the same minute are forgotten together."""


def check_string(kind: str, name: object) -> None:
    """Check that a program names a token, login or subject by its text: the subject of ``user_id`` 7 is ``"7"``.

    Raises:
        ConfigError: the name is not a string.
    """
    if not isinstance(name, str):
        raise ConfigError(f"invalid {kind}: it is of type {type(name).__name__}; use a string, such as '7'")


@dataclass(frozen=True, slots=True)
class Revocation:
    """One thing that is cancelled; kept by its name and never by a token's text.

    Attributes:
        kind: what ``name`` is: a token's ``jti``, the ``sid`` of one login, or a ``sub``. With ``rights`` it is a
            ``sub``, too, and nothing is cancelled: its tokens are read with other rights.
        name: of it.
        issuer: the ``iss`` of the tokens it is about; every issuer's if None.
        issued_before: for a subject: tokens issued up to then are cancelled, in seconds since the epoch, that whole
            second included.
        expires_at: the latest ``exp`` of the tokens it is about, after which it may be forgotten.
        rights: of kind ``rights``: the ``roles``, the ``rooms`` or both, as claims, that tokens issued up to
            ``issued_before`` are read with.
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
        """Cancel by exactly one of three names.

        Args:
            token_id: the ``jti`` of one token.
            session_id: the ``sid`` of one login and all tokens refreshed from it.
            subject: everything issued to this ``sub`` up to ``issued_before``.
            issuer: only tokens of this ``iss``.
            issued_before: seconds since the epoch, not in the future; ``now`` if absent.
            expires_at: the latest ``exp`` of the tokens it is about. Default: :data:`LONGEST_LIFETIME` from now.
            now: seconds since the epoch.

        Raises:
            ConfigError: none or several names, or ``issued_before`` in the future.
        """
        named: dict[RevocationKind, str | None] = {"token": token_id, "session": session_id, "subject": subject}
        given = [(kind, name) for kind, name in named.items() if name is not None]
        if len(given) != 1:
            raise ConfigError("revoke takes exactly one of token_id, session_id and subject")
        check_string(*given[0])
        if not is_name(given[0][1]):
            raise ConfigError(f"no {given[0][0]} has this name: 1 to 255 characters, none of them a control character")
        if issued_before is not None and (subject is None or not issued_before <= now):
            raise ConfigError("issued_before goes with subject, and never lies in the future")
        if expires_at is None:
            expires_at = now + LONGEST_LIFETIME
        if expires_at != expires_at:
            raise ConfigError("expires_at takes seconds since the epoch")
        before = 0.0 if subject is None else now if issued_before is None else issued_before
        return cls(*given[0], issuer, before, expires_at)

    def ends(self, who: Identity) -> bool:
        """Return True if this is about the token, ticket, login or code that an identity stands for."""
        if self.issuer not in (None, who.issuer) or self.kind == "rights":
            return False
        if self.kind == "subject":
            return self.name == who.subject and _is_older(who, self.issued_before, self.expires_at)
        return self.name == (who.token_id if self.kind == "token" else who.session_id)


def _is_older(who: Identity, issued_before: float, latest: float) -> bool:
    """Return True for what a revocation of its subject ends.

    A token without ``iat`` counts as issued before the revocation, unless it expires later than all tokens that the
    revocation is about (``latest``).
    """
    # Whole seconds: a token of the same second as the revocation is refused.
    if who.issued_at is not None:
        return int(who.issued_at) <= int(issued_before)
    return who.expires_at is None or latest == FOREVER or int(who.expires_at) <= int(latest)


@dataclass(slots=True)
class Revocations:
    """Cancelled tokens, sessions and subjects: what every decision looks into.

    Attributes:
        epoch: rises with every revocation.
        margin: seconds that a revocation outlives the ``exp`` it is about: more than the leeway of any verifier that
            asks, or a cancelled token would come back to life between ``exp`` and ``exp`` plus leeway.
        lost: how many had to be forgotten before their time, because there were more than :data:`MAX_REVOCATIONS`.
    """

    epoch: int = 0
    margin: float = MARGIN
    lost: int = 0
    # By (issuer or None, name): until when it is kept; a subject's has also up to when its tokens are cancelled.
    _tokens: dict[Key, float] = field(default_factory=dict)
    _sessions: dict[Key, float] = field(default_factory=dict)
    _subjects: dict[Key, tuple[float, float]] = field(default_factory=dict)
    _slots: dict[float, set[tuple[RevocationKind, Key]]] = field(
        default_factory=dict
    )  # each entry stands in one of them
    _swept: float = 0.0

    def __len__(self) -> int:
        return len(self._tokens) + len(self._sessions) + len(self._subjects)

    def add(self, revoked: Revocation, now: float) -> bool:
        """Cancel.

        Args:
            now: seconds since the epoch; no later than :class:`roomkey.core.confirmed_time.ConfirmedTime` says.

        Returns:
            False if it was cancelled already, for at least as long.
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
        """Until when an entry is kept; -1 if there is none."""
        if kind == "subject":
            return self._subjects.get(key, (-1.0, -1.0))[1]
        return (self._tokens if kind == "token" else self._sessions).get(key, -1.0)

    def _file(self, kind: RevocationKind, key: Key, before: float, until: float) -> None:
        """Move an entry to the minute in which it ends."""
        old = self._slots.get(_slot(before), set())
        old.discard((kind, key))
        if not old:
            self._slots.pop(_slot(before), None)
        self._slots.setdefault(_slot(until), set()).add((kind, key))

    def _make_room(self) -> None:
        """Forget those that end first: their tokens have the shortest time left."""
        while len(self) > MAX_REVOCATIONS:
            self.lost += self._empty(min(self._slots))

    def is_revoked(self, who: Identity) -> bool:
        """True if the identity's token was cancelled: if :meth:`Revocation.ends` says so of one of them."""
        issuer = who.issuer
        for held, name in ((self._tokens, who.token_id), (self._sessions, who.session_id)):
            if held and name is not None and ((issuer, name) in held or (None, name) in held):
                return True
        if not self._subjects:
            return False
        entries = (self._subjects.get((issuer, who.subject)), self._subjects.get((None, who.subject)))
        return any(entry is not None and _is_older(who, entry[0], entry[1] - self.margin) for entry in entries)

    def forget_expired(self, now: float) -> None:
        """Drop what no token can match any more, a minute's worth at a time."""
        if now < self._swept + SLOT:
            return
        self._swept = now
        for slot in [slot for slot in self._slots if (slot + 1) * SLOT <= now]:
            self._empty(slot)

    def _empty(self, slot: float) -> int:
        """Forget what ends in the same minute; returns how much that was."""
        ending = self._slots.pop(slot)
        for kind, key in ending:
            if kind == "subject":
                del self._subjects[key]
            else:
                del (self._tokens if kind == "token" else self._sessions)[key]
        return len(ending)


def _slot(until: float) -> float:
    """The minute in which something ends; all that never ends stands together."""
    return until if until == FOREVER else until // SLOT
