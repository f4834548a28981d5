"""The interfaces of the stores (internal; import them from :mod:`roomkey.stores`).

Implement them to keep records elsewhere, such as in your own user table. Every method raises
:class:`roomkey.errors.Unavailable` if the store does not respond.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from roomkey.core.revocations import JournalPart, Revocation
from roomkey.stores.records import (
    Account,
    Client,
    Consumed,
    LoginSession,
    RotationResult,
    SingleUseKind,
    StoredRefreshToken,
)

__all__ = [
    "Accounts",
    "Clients",
    "ManagedAccounts",
    "ManagedClients",
    "ProviderLinks",
    "RevocationStore",
    "Sessions",
    "SingleUseStore",
    "Store",
]


class Store(Protocol):
    """A store that holds connections or files."""

    async def open(self) -> None:
        """Prepare the store. The store also opens automatically on first use, and may be opened again."""

    async def close(self) -> None:
        """Release open resources."""


class Accounts(Protocol):
    """The accounts that the login server reads. Implement these two methods for your own user table."""

    async def find(self, username: str) -> Account | None:
        """Return the account with exactly this name, or None.

        The comparison is case-sensitive and ignores nothing. No text is an error: if no account can have the name, for
        example because it contains NUL, return None.

        Args:
            username: what a user typed, of any length and form, or an ``Account.username`` that was returned before.
        """

    async def set_password(self, username: str, password_hash: str) -> None:
        """Replace the password hash; raise :class:`AccountNotFound` if there is no such account."""


class ManagedAccounts(Accounts, Store, Protocol):
    """Accounts that the command line and the admin API can also change."""

    async def add(self, account: Account) -> None:
        """Add an account. If its ``created_at`` is 0, set it to the current time.

        Raises:
            AccountExists: the username is taken.
            ConfigError: :func:`roomkey.stores.records.check_name` rejects the username, a role or a room.
        """

    async def set_disabled(self, username: str, disabled: bool) -> None:
        """Disable (True) or enable (False) logins; raise :class:`AccountNotFound` if there is no such account."""

    async def set_rights(
        self, username: str, *, roles: Sequence[str] | None = None, rooms: Sequence[str] | None = None
    ) -> None:
        """Replace the roles, the rooms, or both; None leaves them.

        Raises:
            AccountNotFound: there is no such account.
            ConfigError: :func:`roomkey.stores.records.check_name` rejects a role or a room.
        """

    async def all(self) -> Sequence[Account]:
        """Return every account, sorted by name."""


class Clients(Protocol):
    """The OAuth clients that the login server reads."""

    async def find(self, client_id: str) -> Client | None:
        """Return the client with exactly this name, or None. As for accounts, no text is an error."""


class ManagedClients(Clients, Store, Protocol):
    """OAuth clients that the command line can also change. Methods raise :class:`ClientNotFound` for unknown names."""

    async def add(self, client: Client) -> None:
        """Add a client. If its ``created_at`` is 0, set it to the current time.

        Raises:
            ClientExists: the name is taken.
        """

    async def set_disabled(self, client_id: str, disabled: bool) -> None:
        """Disable (True) or enable (False) a client."""

    async def set_secret(self, client_id: str, secret_hash: str) -> None:
        """Replace the secret of a confidential client, by its SHA-256 in hexadecimal.

        Raises:
            ClientNotFound: there is no such client.
            ConfigError: it is a public client, which has no secret.
        """

    async def remove(self, client_id: str) -> None:
        """Delete a client."""

    async def all(self) -> Sequence[Client]:
        """Return every client, sorted by name."""


class Sessions(Store, Protocol):
    """The login sessions, and the hashes of their refresh tokens. Times are seconds since the epoch."""

    async def add(self, session: LoginSession, token_hash: str) -> None:
        """Store a new session with the hash of its first refresh token."""

    async def rotate(self, token_hash: str, next_hash: str, now: int, reuse_interval: int) -> RotationResult:
        """Consume a refresh token in one transaction: of many concurrent calls, exactly one rotates.

        Args:
            token_hash: hash of the token that was presented.
            next_hash: hash of the token's successor. The same token always has the same successor.
            now: the time.
            reuse_interval: for how many seconds after its use the token may be presented again; 0 forbids it.

        Returns:
            ``ROTATED`` if the token is unused and its session active: the token is now used, the successor is stored,
            and the session's ``used_at`` is ``now``. Otherwise nothing changes, and the result is:

            - ``UNKNOWN`` if no session has the token.
            - ``ENDED`` or ``EXPIRED`` if its session has ended or expired.
            - ``REPEATED`` if ``reuse_interval`` is more than 0, the token was used at most ``reuse_interval`` seconds
              ago, and the successor is stored and unused. A use up to 1 second in the future also counts: the clocks
              of two servers differ.
            - ``REUSED`` for every other used token, even within the interval. The caller ends the session.
        """

    async def find(self, token_hash: str, now: int) -> StoredRefreshToken | None:
        """Return a refresh token; None if it was never issued, or its session was deleted."""

    async def list_for(self, subject: str, now: int) -> Sequence[LoginSession]:
        """Return the active sessions of a subject, the most recently used first."""

    async def list_for_client(self, client_id: str, now: int) -> Sequence[LoginSession]:
        """Return the active sessions of an OAuth client, the most recently used first."""

    async def list_for_provider(
        self, issuer: str | None, now: int, *, subject: str | None = None, session: str | None = None
    ) -> Sequence[LoginSession]:
        """Return the active sessions of an OpenID provider's user or session, the most recently used first.

        Args:
            issuer: the provider's ``iss``; None for all providers.
            now: the time.
            subject: as ``LoginSession.provider_subject``. Pass exactly one of subject and session.
            session: as ``LoginSession.provider_session``, not empty.
        """

    async def end(self, session_id: str, now: int) -> LoginSession | None:
        """End a session and return it; None if there is no such active session."""

    async def delete_expired(self, now: int) -> None:
        """Delete expired sessions."""


class SingleUseStore(Store, Protocol):
    """Authorization codes, connection tickets, logins, logout tokens and DPoP proofs, which can be used once.

    Values are named by their hashes alone.
    """

    async def key(self) -> bytes:
        """Return a secret of 32 bytes that all servers on this store share; it authenticates the values."""

    async def store(self, kind: SingleUseKind, value_hash: str, data: Mapping[str, Any], expires_at: int) -> None:
        """Store data under the hash of the value that the client gets."""

    async def consume(self, kind: SingleUseKind, value_hash: str, now: int) -> Consumed | None:
        """Consume a value in one transaction: of many concurrent calls, exactly one is the first.

        Returns:
            None if there is no such value, or it has expired.
        """

    async def add_once(self, kind: SingleUseKind, value_hash: str, expires_at: int) -> bool:
        """Store a value that another server created, such as the ``jti`` of a logout token.

        Returns:
            True the first time; of many concurrent calls, exactly one returns it. False if the value is known already.
        """

    async def is_known(self, kind: SingleUseKind, value_hash: str) -> bool:
        """Return True if a value is stored, used or not."""

    async def annotate(self, value_hash: str, note: str) -> None:
        """Add a note to a value, which later calls of :meth:`consume` return."""

    async def delete_expired(self, now: int) -> None:
        """Delete expired values."""


class ProviderLinks(Store, Protocol):
    """Which account an OpenID provider's user has. A user is named by the provider's ``iss`` and the user's ``sub``."""

    async def find(self, issuer: str, subject: str) -> str | None:
        """Return the username of a provider's user, or None. Both texts are compared exactly."""

    async def add(self, issuer: str, subject: str, username: str) -> None:
        """Link a provider's user to an account. An account can have several links.

        Raises:
            LinkExists: the user is linked to another account.
        """

    async def remove(self, issuer: str, subject: str) -> bool:
        """Remove a link; return False if there is none."""

    async def all(self) -> Sequence[tuple[str, str, str]]:
        """Return issuer, subject and username of every link, sorted by username."""


class RevocationStore(Store, Protocol):
    """A journal of revocations. Each has a position, so that a reader can ask for the later ones."""

    async def add(self, revoked: Revocation) -> None:
        """Store a revocation. When this returns, it survives crashes and power loss, as far as the store can.

        Raises:
            Unavailable: the revocation may or may not be stored. Call again.
        """

    async def since(self, position: int) -> tuple[Sequence[Revocation], int]:
        """Return the revocations after a position (0 is the beginning), and the new position.

        The result may be only a part. If it is empty, there are no more.
        """

    async def delete_expired(self, now: float) -> None:
        """Delete revocations that no token can match any more: an hour after ``expires_at``."""


class LosableJournal(RevocationStore, Protocol):
    """A journal that can lose entries and that does not have to be polled, such as one in Redis.

    A guard that follows it notices a loss, reads everything again and writes back what is missing.
    """

    async def read(self, position: int) -> JournalPart:
        """Return a part of the journal, for the one guard that has this object.

        Args:
            position: the ``position`` of the last part; 0 is the beginning.

        Raises:
            Unavailable: the journal is out of reach, or cannot be written.
        """

    async def wait(self, seconds: float) -> None:
        """Wait until there may be more after the last part, for so many seconds at most."""

    async def add_all(self, revoked: Sequence[Revocation]) -> None:
        """Store several entries at once, with the versions that they have.

        Raises:
            Unavailable: some of them may be stored. Call again.
        """
