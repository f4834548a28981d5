"""The effect of a revocation on logins: the only place that decides which login sessions end (internal).

A revocation can come from a route, the admin API, the command line or ``guard.revoke``. One method decides,
:meth:`roomkey.core.revocations.Revocation.ends`, about one type, ``Identity``. A socket, an access token and a ticket
have the identity of their token. A login session, with its refresh tokens, and an authorization code have one that
contains the time of the login. So everything that is older than the revocation ends, and nothing else. A login session
that began at an OpenID provider has a second identity: that of the provider's tokens. Whatever revokes those, such as
the provider's logout, ends the session too.

A guard calls :meth:`SessionEnding.apply` for each revocation that it has stored. A refresh and the exchange of a code
check again, for revocations that were stored by programs that do not know login sessions.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from roomkey import audit
from roomkey.auth.issued_tokens import OWN_CLIENT
from roomkey.core.identity import Identity
from roomkey.core.issuer import MAX_TOKEN_LIFETIME
from roomkey.core.revocations import Revocation
from roomkey.stores import LoginSession, Sessions, Stores

__all__ = ["SessionEnding", "StoredRevocations", "identity_of_login", "last_expiry"]


def identity_of_login(subject: str, issuer: str | None, auth_time: int, session_id: str) -> Identity:
    """Return the identity of a login session or an authorization code, for decisions about revocations.

    Args:
        subject: ``sub`` of its tokens.
        issuer: ``iss`` of its tokens.
        auth_time: when the user logged in, in seconds since the epoch.
        session_id: ``sid`` of its tokens.
    """
    return Identity(subject, issuer=issuer, issued_at=auth_time, session_id=session_id)


def last_expiry(now: float, lifetime: float = 0.0) -> float:
    """Return when the last token of a subject expires at the latest, in seconds since the epoch.

    Args:
        now: seconds since the epoch.
        lifetime: seconds of the access tokens of logins. Other programs may issue tokens that live longer.
    """
    return now + max(MAX_TOKEN_LIFETIME, lifetime)


class SessionEnding:
    """Ends the login sessions that a revocation is about.

    Args:
        sessions: the login sessions.
        issuer: ``iss`` of their tokens.
        clock: seconds since the epoch.
        revoke: stores a revocation of one session, ends its sockets and applies it; returns the number of sockets.
    """

    def __init__(
        self,
        sessions: Sessions,
        issuer: str | None,
        clock: Callable[[], float],
        revoke: Callable[[LoginSession], Awaitable[int]],
    ) -> None:
        self._sessions = sessions
        self._issuer = issuer
        self._clock = clock
        self._revoke = revoke

    def identity_of(self, session: LoginSession) -> Identity:
        """Return the identity of a session. An existing session began before now, even if its clock was ahead."""
        began = min(session.auth_time, int(self._clock()))
        return identity_of_login(session.subject, self._issuer, began, session.session_id)

    def identity_at_provider(self, session: LoginSession) -> Identity | None:
        """Return the identity of a session at the OpenID provider where it began; None if it began with a password."""
        if not session.provider_issuer:
            return None
        began = min(session.auth_time, int(self._clock()))
        sid = session.provider_session or None
        return Identity(session.provider_subject, issuer=session.provider_issuer, issued_at=began, session_id=sid)

    async def apply(self, revoked: Revocation) -> int:
        """End the sessions that a stored revocation is about.

        The tokens of each session are revoked by its ID before the session ends. If one fails, the session can still
        be found, and the revocation repeated.

        Returns:
            The number of further sockets that were disconnected.

        Raises:
            Unavailable: some of the sessions have not ended. Call again.
        """
        if revoked.kind not in ("session", "subject"):
            return 0
        ended = 0
        if revoked.issuer in (None, self._issuer):
            if revoked.kind == "session" and await self._end(revoked.name):
                return 0  # its sockets are those of the revocation itself
            if revoked.kind == "subject":
                sessions = await self._sessions.list_for(revoked.name, int(self._clock()))
                ended += await self._revoke_those(sessions, revoked, self.identity_of)
        if revoked.issuer is None or revoked.issuer != self._issuer:
            sessions = await self._sessions.list_for_provider(
                revoked.issuer, int(self._clock()), **{revoked.kind: revoked.name}
            )
            ended += await self._revoke_those(sessions, revoked, self.identity_at_provider)
        return ended

    async def _revoke_those(
        self,
        sessions: Sequence[LoginSession],
        revoked: Revocation,
        identity: Callable[[LoginSession], Identity | None],
    ) -> int:
        """Revoke those of some sessions that a revocation is about."""
        # One after another: other requests need the store, too. By session ID: a session that is older than
        # `issued_before` may have newer tokens.
        theirs = [(one, identity(one)) for one in sessions]
        return sum([await self._revoke(one) for one, who in theirs if who is not None and revoked.ends(who)])

    async def _end(self, session_id: str) -> bool:
        """End a session; return False if there is no such active session."""
        ended = await self._sessions.end(session_id, int(self._clock()))
        if ended is not None:
            audit.record(
                "logged_out", sub=ended.subject, client_id=ended.client_id, user_agent=ended.user_agent or None
            )
        return ended is not None


class StoredRevocations:
    """Revokes in the stores alone, for programs without sockets, such as the command line. Running servers follow.

    Args:
        stores: the stores of the servers.
        issuer: ``iss`` of the servers' tokens.
        clock: seconds since the epoch.
    """

    def __init__(self, stores: Stores, issuer: str | None, *, clock: Callable[[], float] = time.time) -> None:
        self._stores = stores
        self._issuer = issuer
        self._clock = clock

    async def revoke(self, revoked: Revocation) -> None:
        """Store a revocation and end its login sessions; otherwise a refresh would issue a new access token."""
        await self._stores.revocations.add(revoked)

        async def revoke_session(session: LoginSession) -> int:
            # Of any issuer: no two login sessions have the same ID.
            await self.revoke(Revocation("session", session.session_id, expires_at=revoked.expires_at))
            return 0

        await SessionEnding(self._stores.sessions, self._issuer, self._clock, revoke_session).apply(revoked)

    async def revoke_subject(self, subject: str, issuer: str | None = None) -> None:
        """Revoke all tokens that were issued to a subject, and end its login sessions.

        Args:
            subject: the subject.
            issuer: ``iss`` of the tokens, such as that of an OpenID provider. Default: the servers' own.
        """
        revoked = self._everything_of(subject)
        await self.revoke(revoked if issuer is None else replace(revoked, issuer=issuer))

    async def set_rights(self, username: str, roles: Sequence[str] | None, rooms: Sequence[str] | None) -> None:
        """Replace the roles or rooms of an account, and of its issued tokens; None leaves them.

        Raises:
            AccountNotFound: there is no such account.
        """
        await self._stores.accounts.set_rights(username, roles=roles, rooms=rooms)
        now = self._clock()
        rights = {name: list(names) for name, names in (("roles", roles), ("rooms", rooms)) if names is not None}
        await self._stores.revocations.add(Revocation("rights", username, None, now, last_expiry(now), rights))

    async def disable_client(self, client_id: str) -> None:
        """Disable an OAuth client, revoke its own tokens, and end the login sessions that users have through it.

        Raises:
            ClientNotFound: there is no such client.
        """
        await self._stores.clients.set_disabled(client_id, True)
        own_tokens = self._everything_of(client_id)
        # Without applying it to login sessions: sessions with this subject belong to a user.
        await self._stores.revocations.add(own_tokens)
        if client_id == OWN_CLIENT:
            return  # the sessions with this client_id were started with a password, without a client
        # Repeat until there is none: a request that was running when the client was disabled may have started one.
        while sessions := await self._stores.sessions.list_for_client(client_id, int(self._clock())):
            for session in sessions:
                await self.revoke(Revocation("session", session.session_id, expires_at=own_tokens.expires_at))

    def _everything_of(self, subject: str) -> Revocation:
        """Return the revocation of all tokens that this issuer has issued to a subject until now."""
        now = self._clock()
        return Revocation.of(subject=subject, issuer=self._issuer, expires_at=last_expiry(now), now=now)
