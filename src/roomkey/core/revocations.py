"""Revocations in memory. RFC 7009 defines the protocol for requesting them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import floor
from typing import Any, Literal, NamedTuple

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

RevocationKind = Literal["token", "session", "subject", "rights", "disconnect"]
NOT_REVOKING: frozenset[RevocationKind] = frozenset({"rights", "disconnect"})
"""The kinds that revoke no token."""

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


def check_name(kind: str, name: object) -> None:
    """Check what a revocation or a disconnect names.

    Raises:
        ConfigError: it is not a string, or not a name that a token can have.
    """
    if not is_name(name):
        check_string(kind, name)
        raise ConfigError(f"invalid {kind}: use 1 to 255 characters, without control characters")


class Version(NamedTuple):
    """The order of changes of one subject, which is the same for every server, however late a change arrives.

    Attributes:
        at: microseconds since the epoch, later than every version that the sender knew; a number for JavaScript, too.
        sender: a random name of the process that made the change.
    """

    at: int
    sender: str

    @classmethod
    def of_time(cls, seconds: float) -> Version:
        """Return the earliest version of a time, for a change that has none: its sender is empty."""
        return cls(int(seconds * 1e6), "")

    @property
    def seconds(self) -> float:
        """Its time in seconds since the epoch."""
        return self.at / 1e6


class HybridClock:
    """Makes versions: by the time of day, and never earlier than a version that was seen.

    Args:
        sender: a random name of this process.
    """

    def __init__(self, sender: str) -> None:
        self._sender = sender
        self._last = 0

    def next(self, now: float) -> Version:
        """Return the version of a change that is made now, in seconds since the epoch."""
        self._last = max(Version.of_time(now).at, self._last + 1)
        return Version(self._last, self._sender)

    def saw(self, version: Version) -> None:
        """Note the version of a change by another process."""
        self._last = max(self._last, version.at)


@dataclass(frozen=True, slots=True)
class Revocation:
    """A revoked token, login session or subject. It never contains the text of a token.

    Attributes:
        kind: the meaning of ``name``: ``token`` for a ``jti``, ``session`` for the ``sid`` claim of a login session,
            ``subject`` for a ``sub``. ``rights`` and ``disconnect`` are also about a ``sub`` and revoke nothing: the
            first one changes rights, the second one disconnects the sockets that were connected before.
        name: the value of that claim.
        issuer: the ``iss`` of the tokens; None for all issuers.
        issued_before: for a subject, revoke the tokens issued up to this time, in seconds since the epoch. The whole
            second is included. For ``disconnect``, the time of the call.
        expires_at: the latest ``exp`` of the tokens. After that time, the revocation may be dropped.
        rights: for the kind ``rights``, the claims ``roles``, ``rooms`` or both that override those of the tokens
            issued up to ``issued_before``.
        version: for the kind ``rights``, the order among the changes of this subject. Without it, the last one in the
            store applies.
    """

    kind: RevocationKind
    name: str
    issuer: str | None = None
    issued_before: float = 0.0
    expires_at: float = FOREVER
    rights: Mapping[str, Any] | None = field(default=None, hash=False)
    version: Version | None = None

    @property
    def kept_until(self) -> float | None:
        """``expires_at`` for formats without infinity: None if the revocation is kept forever."""
        return None if self.expires_at == FOREVER else self.expires_at

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
        kind, name = given[0]
        check_name(kind, name)
        if issued_before is not None and (subject is None or not issued_before <= now):
            raise ConfigError("issued_before requires subject, and must not be in the future")
        if expires_at is None:
            expires_at = now + LONGEST_LIFETIME
        if expires_at != expires_at:
            raise ConfigError("expires_at must be seconds since the epoch")
        before = 0.0 if subject is None else now if issued_before is None else issued_before
        return cls(kind, name, issuer, before, expires_at)

    def ends(self, who: Identity) -> bool:
        """Return True if this revokes the token, ticket, login session or code that the identity was read from."""
        if self.issuer not in (None, who.issuer) or self.kind in NOT_REVOKING:
            return False
        if self.kind == "subject":
            return self.name == who.subject and _is_older(who, self.issued_before, self.expires_at)
        return self.name == (who.token_id if self.kind == "token" else who.session_id)


@dataclass(frozen=True, slots=True)
class JournalPart:
    """What a journal returns at once.

    Attributes:
        revocations: the entries after the position that was asked for, in the order of the journal.
        position: where the next part begins.
        more: True if there is more to read now.
        is_another: the journal was lost or replaced, or lost entries. This part begins at its beginning, and the reader
            knows entries that the journal may not contain.
    """

    revocations: Sequence[Revocation]
    position: int
    more: bool = False
    is_another: bool = False


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
    # By issuer and name: the time until which the entry is kept.
    _until: dict[RevocationKind, dict[Key, float]] = field(
        default_factory=lambda: {"token": {}, "session": {}, "subject": {}}
    )
    _issued_before: dict[Key, float] = field(default_factory=dict)  # of the subjects
    # Each entry, by the minute in which it expires.
    _slots: dict[float, set[tuple[RevocationKind, Key]]] = field(default_factory=dict)
    _swept: float = 0.0
    _size: int = 0

    def __len__(self) -> int:
        return self._size

    def add(self, revoked: Revocation, now: float) -> bool:
        """Add a revocation.

        Args:
            revoked: the revocation.
            now: seconds since the epoch, from :class:`roomkey.core.confirmed_time.ConfirmedTime`.

        Returns:
            False if it was already revoked, for at least as long.
        """
        self.forget_expired(now)
        if self.covers(revoked):
            return False
        kind, key, before = revoked.kind, (revoked.issuer, revoked.name), revoked.issued_before
        kept = self._until[kind].get(key)
        until = revoked.expires_at + self.margin
        if kept is not None:
            known = self._issued_before[key] if kind == "subject" else before
            until, before = max(until, kept), max(before, known)
            self._leave_slot(kind, key, kept)
        else:
            self._size += 1
        self._until[kind][key] = until
        if kind == "subject":
            self._issued_before[key] = before
        self._slots.setdefault(until if until == FOREVER else until // SLOT, set()).add((kind, key))
        self.epoch += 1
        if self._size > MAX_REVOCATIONS:
            self._make_room()
        return True

    def covers(self, revoked: Revocation) -> bool:
        """Return True if :meth:`add` would change nothing."""
        key = (revoked.issuer, revoked.name)
        kept = self._until[revoked.kind].get(key)
        if kept is None or kept < revoked.expires_at + self.margin:
            return False
        return revoked.kind != "subject" or self._issued_before[key] >= revoked.issued_before

    def _leave_slot(self, kind: RevocationKind, key: Key, until: float) -> None:
        """Remove an entry from the minute in which it would have expired."""
        slot = until if until == FOREVER else until // SLOT
        self._slots[slot].discard((kind, key))
        if not self._slots[slot]:
            del self._slots[slot]

    def _make_room(self) -> None:
        """Drop the revocations that expire first, because their tokens have the shortest time left."""
        while self._size > MAX_REVOCATIONS:
            self.lost += self._empty(min(self._slots))

    def entries(self) -> Iterator[Revocation]:
        """Return all revocations, as :meth:`add` takes them. Those that are added meanwhile may be missing."""
        for kind, names in self._until.items():
            for (issuer, name), until in list(names.items()):
                before = self._issued_before.get((issuer, name), 0.0) if kind == "subject" else 0.0
                yield Revocation(
                    kind, name, issuer, before, float(floor(until - self.margin)) if until < FOREVER else until
                )

    def is_revoked(self, who: Identity) -> bool:
        """Return True if the identity's token is revoked: if :meth:`Revocation.ends` is true for one of the entries."""
        issuer, until = who.issuer, self._until
        for revoked, name in ((until["token"], who.token_id), (until["session"], who.session_id)):
            if revoked and name is not None and ((issuer, name) in revoked or (None, name) in revoked):
                return True
        for key in ((issuer, who.subject), (None, who.subject)) if self._issued_before else ():
            before = self._issued_before.get(key)
            if before is not None and _is_older(who, before, until["subject"][key] - self.margin):
                return True
        return False

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
            del self._until[kind][key]
            if kind == "subject":
                del self._issued_before[key]
        self._size -= len(ending)
        return len(ending)
