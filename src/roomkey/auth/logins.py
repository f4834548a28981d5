"""Who may log in, what they are given, and what becomes of it: the login server without its routes."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from dataclasses import replace
from typing import Any

from roomkey import audit
from roomkey.auth.carried import carried, held
from roomkey.auth.ending import LoginEnding
from roomkey.auth.issued_tokens import (
    OWN_CLIENT,
    InvalidGrant,
    InvalidScope,
    IssuedTokens,
    Origin,
    PasswordChanged,
    TokenTooLong,
)
from roomkey.auth.password_check import PasswordCheck, record_login
from roomkey.auth.passwords import Passwords, check_new_password
from roomkey.auth.refresh_tokens import hash_of, looks_like_refresh_token, new_refresh_token, successor
from roomkey.auth.throttle import Throttled
from roomkey.auth.token_authority import StandaloneAuthority, TokenAuthority
from roomkey.core.identity import Identity
from roomkey.core.issuer import MAX_TOKEN_LIFETIME, Issuer
from roomkey.core.names import DELEGATED, scope_names
from roomkey.core.printable import printable
from roomkey.errors import ConfigError, RevokedToken, Unavailable
from roomkey.stores.accounts import Account, Accounts
from roomkey.stores.forgetting import Forgetting
from roomkey.stores.sessions import Found, LoginSession, Outcome, Sessions

__all__ = ["OWN_CLIENT", "InvalidGrant", "InvalidScope", "IssuedTokens", "LoginService", "MoreClaims", "Origin"]

LOG = logging.getLogger("roomkey.auth")

MoreClaims = Callable[[Account], Mapping[str, Any] | Awaitable[Mapping[str, Any]]]

REFRESH_LIFETIME, ROTATION_GRACE = 30 * 86400, 10
MOST_LOGINS = 100
"""Live logins of one account; one more ends the one that was used least lately."""


class LoginService:
    """Logins with a life of their own: refreshed, listed, ended, and with them the live sockets.

    Args:
        accounts: who may log in.
        sessions: where logins are kept.
        issuer: makes the access tokens; its ``expires_in`` is their lifetime.
        live: cancels tokens and ends the sockets they hold open: a guard; nobody's if absent.
        secret: the server's key, from which successors of refresh tokens are derived, at least 32 bytes; a new one if
            absent, so that a used refresh token is answered again only by the process that used it up.
        passwords: how passwords are checked.
        refresh_lifetime: seconds from a login to its end, however often it is refreshed.
        rotation_grace: seconds in which a refresh token that was just used gets the same successor again, so that two
            tabs, or a lost answer, log nobody out.
        more_claims: further claims of an account's tokens; where it raises, there is no token, and the client hears
            that it may try again.
        clock: seconds since the epoch.

    Raises:
        ConfigError: a secret that is too short, or a time out of its range.
    """

    def __init__(
        self,
        accounts: Accounts,
        sessions: Sessions,
        issuer: Issuer,
        live: TokenAuthority | None = None,
        *,
        secret: bytes | None = None,
        passwords: Passwords | None = None,
        refresh_lifetime: int = REFRESH_LIFETIME,
        rotation_grace: int = ROTATION_GRACE,
        more_claims: MoreClaims | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if secret is not None and len(secret) < 32:
            raise ConfigError("the secret of refresh tokens has at least 32 bytes")
        if refresh_lifetime <= 0 or not 0 <= rotation_grace <= 300:
            raise ConfigError("refresh_lifetime takes more than 0 seconds, rotation_grace 0 to 300")
        self.accounts = accounts
        self.issuer = issuer
        self.live: TokenAuthority = live if live is not None else StandaloneAuthority(issuer.verifier(), clock=clock)
        self.passwords = passwords if passwords is not None else Passwords()
        self._password_check = PasswordCheck(accounts, self.passwords)
        self._sessions = sessions
        self._secret = secret if secret is not None else secrets.token_bytes(32)
        self._refresh_lifetime = refresh_lifetime
        self._rotation_grace = rotation_grace
        self._more_claims = more_claims
        self._clock = clock
        self._ending = LoginEnding(sessions, issuer.issuer, clock, lambda login: self._end(login.session_id))
        self.live.follow_revocations(self._ending.follow)
        self._forgetting = Forgetting("logins", lambda now: sessions.forget_expired(int(now)))

    # Giving

    async def check_password(self, username: str, password: str, origin: Origin) -> Account:
        """As :meth:`roomkey.auth.password_check.PasswordCheck.check`."""
        return await self._password_check.check(username, password, origin)

    async def login(
        self, username: str, password: str, origin: Origin, *, max_token: int | None = None
    ) -> IssuedTokens:
        """Begin a login with a password.

        Args:
            max_token: characters that the access token may have at most; as many as it takes if absent.

        Raises:
            InvalidGrant, Throttled, Unavailable: as for :meth:`check_password`.
            TokenTooLong: the access token has more than ``max_token`` characters.
        """
        account = await self.check_password(username, password, origin)
        try:
            granted = await self.begin(account, origin, max_token=max_token)
        except PasswordChanged:  # perhaps only its hash was made anew, by a login on another device
            account = await self.check_password(username, password, origin)
            granted = await self.begin(account, origin, max_token=max_token)
        record_login("granted", account.username, origin, "password")
        return granted

    async def begin(
        self,
        account: Account,
        origin: Origin,
        *,
        client_id: str = OWN_CLIENT,
        first_party: bool = False,
        scope: str = "",
        auth_time: int = 0,
        session_id: str = "",
        refreshed: bool = True,
        max_token: int | None = None,
    ) -> IssuedTokens:
        """Begin a login for somebody whose password was right.

        Args:
            client_id: the OAuth client it is for.
            first_party: True for a client whose tokens carry all roles and rooms; see :mod:`roomkey.auth.carried`.
            scope: what its tokens may.
            auth_time: when the password was given; now if absent.
            session_id: its name; a new one if absent.
            refreshed: False for a client that gets no refresh token: the login ends with its access token.
            max_token: as for :meth:`login`.
        """
        now = int(self._clock())
        self._forgetting.soon(now)
        session = LoginSession(
            session_id=session_id or new_session_id(),
            subject=account.username,
            client_id=client_id,
            auth_time=auth_time or now,
            used_at=now,
            expires_at=now + (self._refresh_lifetime if refreshed else int(self.issuer.expires_in)),
            scope=" ".join(held(scope_names(scope))),
            address=origin.address,
            user_agent=origin.user_agent[:200],
        )
        token = new_refresh_token()
        await self._sessions.begin(session, hash_of(token))
        try:
            granted = await self._grant(account, session, token if refreshed else None, first_party, max_token)
        except TokenTooLong:
            await self._sessions.end(session.session_id, now)  # nobody was given anything of it
            raise
        for old in (await self.sessions_of(account.username))[MOST_LOGINS:]:
            await self._end(old.session_id)
        # Once more, now that there is something to cancel: whoever disables an account, or changes its password, ends
        # the logins that there are, and this one may have begun after that.
        current = await self._holder(session)
        if current.password_hash != account.password_hash:
            raise PasswordChanged(str(await self._stopped(session, "the password was changed meanwhile")))
        return granted

    async def refresh(
        self,
        token: str,
        origin: Origin,
        *,
        client_id: str = OWN_CLIENT,
        first_party: bool = False,
        scope: str = "",
        allowed: Container[str] | None = None,
        max_token: int | None = None,
    ) -> IssuedTokens:
        """Use a refresh token up, and give its successor with a new access token.

        Args:
            client_id: who presents it.
            first_party: as for :meth:`begin`.
            scope: what the access token may, where that is to be less than the login's (RFC 6749 section 6).
            allowed: what the client may have by now, of all that the login has; everything if absent.
            max_token: as for :meth:`login`.

        Raises:
            TokenTooLong: the access token has more than ``max_token`` characters. The refresh token stays as it was.
            InvalidScope: more than the login's. The refresh token stays as it was.
            InvalidGrant: it is nobody's, or another client's, or its login has ended. A used one ends its
                login and the sockets of it.
        """
        found = await self.find_token(token)
        if found is None:  # before anything is locked: whoever guesses disturbs nobody
            record_login("refused", None, origin, "refresh: unknown")
            raise InvalidGrant("refresh token unknown")
        session, following = found.session, successor(self._secret, token)
        _check_presenter(session, client_id, scope)
        # All that may fail or wait is done before the token is used up: an outage wastes none, and whoever ends the
        # login meanwhile wins.
        granted = None
        if found.live:
            account = await self._holder(session)
            names = [name for name in scope_names(scope or session.scope) if allowed is None or name in allowed]
            narrowed = replace(session, scope=" ".join(names))
            granted = await self._grant(account, narrowed, following, first_party, max_token)
            await self._check_revoked(session)
        now = int(self._clock())
        outcome = await self._sessions.rotate(hash_of(token), hash_of(following), now, self._rotation_grace)
        if granted is not None and outcome in (Outcome.ROTATED, Outcome.REPEATED):
            return granted
        record_login("refused", session.subject, origin, f"refresh: {outcome.name.lower()}")
        if outcome is Outcome.REUSED:
            who = _named(session)
            audit.record("refresh_reused", level=logging.WARNING, sub=session.subject, address=origin.address, **who)
            await self._end(session.session_id)
        raise InvalidGrant(f"refresh token {outcome.name.lower()}")

    async def _check_revoked(self, session: LoginSession) -> None:
        """End a login that was revoked where nobody knew of logins.

        Raises:
            InvalidGrant: it was revoked.
            Unavailable: nobody can say.
        """
        if await self._is_revoked(self._ending.holder(session)):
            raise await self._stopped(session, "revoked")

    async def _holder(self, session: LoginSession) -> Account:
        """Whose login it is. One whose account is disabled or gone is ended.

        Raises:
            InvalidGrant: it is.
        """
        account = await self.accounts.find(session.subject)
        if account is None or account.disabled:
            raise await self._stopped(session, "the account is disabled or gone")
        return account

    async def _stopped(self, session: LoginSession, reason: str) -> InvalidGrant:
        record_login("refused", session.subject, Origin(session.address, session.user_agent), reason)
        await self._end(session.session_id)
        return InvalidGrant(reason)

    async def _grant(
        self,
        account: Account,
        session: LoginSession,
        refresh_token: str | None,
        first_party: bool,
        max_token: int | None,
    ) -> IssuedTokens:
        claims = await self._claims(account)
        if self._more_claims is not None:  # it may have waited: rights that were taken meanwhile are not given again
            account = await self._holder(session)
        is_own = session.client_id == OWN_CLIENT
        rights = carried(account, scope_names(session.scope), is_own=is_own, is_first_party=first_party)
        session = replace(session, scope=" ".join(rights.scopes))
        ends_in = session.expires_at - int(self._clock())
        expires_in = min(int(self.issuer.expires_in), ends_in)  # the last access token of a login ends with it
        try:
            token = self.issuer.issue(
                account.username,
                expires_in=expires_in,
                roles=rights.roles,
                rooms=rights.rooms,
                scopes=rights.scopes,
                session_id=session.session_id,
                claims={
                    "name": account.name or account.username,
                    **claims,
                    "client_id": session.client_id,
                    "auth_time": session.auth_time,
                    **({} if is_own or first_party else {DELEGATED: True}),
                },
            )
        except ConfigError as error:  # such as a token over the size limit: the operator has to mend it
            LOG.error("no token could be made for %s: %s", printable(account.username), error)
            raise Unavailable("no token could be made") from None
        if max_token is not None and len(token) > max_token:
            LOG.error(
                "cannot set the cookie of %s: its access token has %d characters, but a cookie keeps at most %d",
                printable(account.username),
                len(token),
                max_token,
            )
            raise TokenTooLong(len(token), max_token)
        return IssuedTokens(token, expires_in, refresh_token, session, ends_in)

    async def _claims(self, account: Account) -> dict[str, Any]:
        """What the application adds to an account's tokens.

        Raises:
            Unavailable: it failed.
        """
        if self._more_claims is None:
            return {}
        try:
            more = self._more_claims(account)
            return dict(more if isinstance(more, Mapping) else await more)
        except Unavailable:
            raise
        except Exception as error:
            LOG.exception("more_claims failed for %s, so there is no token", printable(account.username))
            raise Unavailable(f"more_claims raised {type(error).__name__}") from error

    # Taking back

    async def logout(self, who: Identity) -> int:
        """End the login that a token belongs to; returns how many live sockets that ended. Twice writes nothing."""
        if await self._is_over(who):
            return 0
        if who.session_id is None:
            until = who.expires_at or float("inf")
            if who.token_id is not None:
                return await self.live.revoke(token_id=who.token_id, expires_at=until)
            before = min(who.issued_at or 0, self._clock())
            return await self.live.revoke(
                subject=who.subject, issuer=who.issuer, issued_before=before, expires_at=until
            )
        return await self._end(who.session_id)

    async def is_half_ended(self, who: Identity) -> bool:
        """Return True if a revoked token belongs to somebody with a login that is revoked but has not ended.

        Then the database failed while the login was being ended. The same token may ask for it again.
        """
        if not await self._is_revoked(replace(who, token_id=None)):  # the token alone was revoked: it is for nothing
            return False
        logins = await self.sessions_of(who.subject)
        return any([await self._is_revoked(self._ending.holder(login)) for login in logins])

    async def _is_revoked(self, who: Identity) -> bool:
        try:
            await self.live.check(who)
        except RevokedToken:
            return True
        return False

    async def _is_over(self, who: Identity) -> bool:
        """Return True if a token was logged out before, and nothing of that is left to be done."""
        if self.live.unfinished or not await self._is_revoked(who):
            return False
        # The revocation is kept before the login ends.
        return all(login.session_id != who.session_id for login in await self.sessions_of(who.subject))

    async def logout_all(self, who: Identity) -> int:
        """End every login of a subject, and every token issued to it until now."""
        return await self.end_all(who.subject)

    async def end_all(self, subject: str) -> int:
        """The same, by whoever may say so."""
        # As long as for tokens that were made beside the logins, which may live longer than those.
        until = self._clock() + max(MAX_TOKEN_LIFETIME, self.issuer.expires_in)
        return await self.live.revoke(subject=subject, issuer=self.issuer.issuer, expires_at=until)

    async def forget_token(self, token: str, *, client_id: str = OWN_CLIENT) -> int | None:
        """End the login that a refresh token belongs to, used or not (RFC 7009).

        Returns:
            How many live sockets that ended; None if the token is nobody's, or another client's.
        """
        found = await self.find_token(token)
        if found is None or not found.live or found.session.client_id != client_id:
            return None
        return await self._end(found.session.session_id)

    async def change_password(self, who: Identity, old: str, new: str, origin: Origin) -> int:
        """Change the password, and end the other logins.

        Raises:
            ConfigError: the new one is too short or too long.
            InvalidGrant, Throttled: the old one is not right.
            Unavailable: perhaps it is changed, perhaps not. Ask again with the same two passwords.
        """
        check_new_password(new)
        try:
            account = await self.check_password(who.subject, old, origin)
        except InvalidGrant as error:
            # Perhaps it was changed by the same request before, and the answer was lost in an outage.
            if not await self._is_password(who.subject, new, origin):
                raise error from None
            return await self._end_others(who)
        # Before: if that fails, the old password still allows to ask again.
        ended = await self._end_others(who)
        await self.accounts.set_password(account.username, await self.passwords.hash(new))
        record_login("password_changed", account.username, origin, "by its owner")
        return ended + await self._end_others(who)  # and whoever logged in with the old one meanwhile

    async def _is_password(self, username: str, password: str, origin: Origin) -> bool:
        """Return True if it is; if not, it is an attempt like any other, and is counted."""
        try:
            await self.check_password(username, password, origin)
        except (InvalidGrant, Throttled):
            return False
        return True

    async def _end_others(self, who: Identity) -> int:
        others = [one.session_id for one in await self.sessions_of(who.subject) if one.session_id != who.session_id]
        return sum([await self._end(other) for other in others])  # one after another: others need the store, too

    async def find_token(self, token: str) -> Found | None:
        """The login that a refresh token belongs to, and whether it is good; None if it is nobody's."""
        if not looks_like_refresh_token(token):
            return None
        return await self._sessions.find(hash_of(token), int(self._clock()))

    async def sessions_of(self, subject: str) -> Sequence[LoginSession]:
        """The live logins of a subject, the last used first."""
        return await self._sessions.of(subject, int(self._clock()))

    async def end_session(self, subject: str, session_id: str) -> int | None:
        """End one login of a subject; None if it has none of this name."""
        if all(session.session_id != session_id for session in await self.sessions_of(subject)):
            return None
        return await self._end(session_id)

    async def end_login(self, session_id: str) -> int:
        """End a login, whosever it is; returns how many live sockets that ended."""
        return await self._end(session_id)

    async def _end(self, session_id: str) -> int:
        """End a login with its tokens and sockets; the revocation is kept first, and :class:`LoginEnding` follows."""
        return await self.live.revoke(session_id=session_id, expires_at=self._last_expiry())

    def _last_expiry(self) -> float:
        """When the last access token that was given so far has expired."""
        return self._clock() + self.issuer.expires_in


def new_session_id() -> str:
    """The name of a new login: 128 random bits."""
    return secrets.token_urlsafe(16)


def _check_presenter(session: LoginSession, client_id: str, scope: str) -> None:
    if session.client_id != client_id:
        raise InvalidGrant("the refresh token of another client")
    if not set(scope_names(scope)) <= set(scope_names(session.scope)):
        raise InvalidScope("more scopes than the login has")


def _named(session: LoginSession) -> dict[str, Any]:
    return {"client_id": session.client_id, "user_agent": session.user_agent or None}
