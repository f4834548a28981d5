"""What a revocation ends, by whatever door it comes: a route, the admin API, the command line, ``guard.revoke``.

One question decides, :meth:`roomkey.core.revocations.Revocation.ends`, about one kind of value, an ``Identity``. A
socket, an access token and a ticket have that of their token. A login with its refresh tokens and an authorization code
have one that says when the password was given. So what is older than the revocation ends, and nothing else.

Whoever holds the sockets calls :meth:`LoginEnding.follow` for each revocation it has kept. A refresh and the exchange
of a code ask once more, for revocations that were kept where nobody knew of logins.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from roomkey import audit
from roomkey.core.identity import Identity
from roomkey.core.revocations import Revocation
from roomkey.stores.sessions import LoginSession, Sessions

__all__ = ["LoginEnding", "holder_of"]


def holder_of(subject: str, issuer: str | None, auth_time: int, session_id: str) -> Identity:
    """Return the identity that stands for a login or a code.

    Args:
        issuer: ``iss`` of the tokens that come of it.
        auth_time: when the password was given, in seconds since the epoch.
    """
    return Identity(subject, issuer=issuer, issued_at=auth_time, session_id=session_id)


class LoginEnding:
    """Ends the logins that a revocation is about.

    Args:
        sessions: where logins are kept.
        issuer: ``iss`` of their tokens.
        clock: seconds since the epoch.
        revoke: keeps a revocation of one login by its name, ends its sockets and follows it; returns how many sockets.
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

    def holder(self, session: LoginSession) -> Identity:
        """Return the identity that stands for a login; what is there now was begun by now, whatever it says."""
        begun = min(session.auth_time, int(self._clock()))
        return holder_of(session.subject, self._issuer, begun, session.session_id)

    async def follow(self, revoked: Revocation) -> int:
        """End what a revocation is about, after it was kept.

        The tokens of each login are revoked by its name before the login ends. If one fails, the login can still be
        found, and the revocation repeated.

        Returns:
            How many further sockets that ended.

        Raises:
            Unavailable: not all of them are ended. Call again.
        """
        if revoked.issuer not in (None, self._issuer):
            return 0
        if revoked.kind == "session":
            await self._end(revoked.name)
        if revoked.kind != "subject":
            return 0
        theirs = await self._sessions.of(revoked.name, int(self._clock()))
        # One after another: others need the store, too. By name: a token may have been refreshed since `issued_before`.
        return sum([await self._revoke(login) for login in theirs if revoked.ends(self.holder(login))])

    async def _end(self, session_id: str) -> None:
        ended = await self._sessions.end(session_id, int(self._clock()))
        if ended is not None:
            audit.record(
                "logged_out", sub=ended.subject, client_id=ended.client_id, user_agent=ended.user_agent or None
            )
