"""The login server without its routes: logins, refreshes, logouts and password changes (internal)."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Container, Sequence
from dataclasses import asdict, replace
from typing import Any

from roomkey import audit
from roomkey.auth.ending import SessionEnding, last_expiry
from roomkey.auth.issued_tokens import (
    OWN_CLIENT,
    ClientInfo,
    InvalidGrant,
    InvalidScope,
    IssuedTokens,
    PasswordChanged,
    ProviderUser,
    TokenTooLong,
)
from roomkey.auth.password_auth import PasswordAuthenticator, record_login
from roomkey.auth.passwords import Passwords, check_new_password
from roomkey.auth.refresh_tokens import hash_of, looks_like_refresh_token, new_refresh_token, successor
from roomkey.auth.throttle import Throttled, Throttles
from roomkey.auth.token_authority import StandaloneAuthority, TokenAuthority
from roomkey.auth.token_rights import without_reserved
from roomkey.auth.user_tokens import ExtraClaims, UserTokens
from roomkey.core.identity import Identity
from roomkey.core.issuer import Issuer
from roomkey.core.names import scope_names
from roomkey.errors import ConfigError, RevokedToken
from roomkey.stores import Account, Accounts, LoginSession, RotationResult, Sessions, StoredRefreshToken
from roomkey.stores.cleanup import Cleanup

__all__ = ["LoginService", "new_session_id"]

REFRESH_LIFETIME, REFRESH_REUSE_INTERVAL = 30 * 86400, 10
MAX_SESSIONS = 100
"""Active login sessions of one account. One more ends the one that was not used for the longest time."""


class LoginService:
    """Login sessions: started with a password, refreshed, listed and ended, together with their sockets.

    Args:
        accounts: the users who can log in.
        sessions: the login sessions.
        issuer: issues the access tokens; its ``expires_in`` is their lifetime.
        authority: revokes tokens and disconnects their sockets: a guard. Default: there are no sockets.
        secret: the server's key of at least 32 bytes, from which successors of refresh tokens are derived. Default: a
            random one, so that only this process can return the same successor again.
        passwords: hashes and verifies passwords.
        refresh_lifetime: seconds until a login session ends, however often it is refreshed.
        refresh_reuse_interval: seconds in which a used refresh token returns the same successor again, so that two
            tabs, or a lost response, do not log the user out. 0 to 300.
        extra_claims: returns further claims of an account's tokens. If it raises, the client gets no token, and an
            error that says to try again.
        clock: seconds since the epoch.

    Attributes:
        password_authenticator: verifies the passwords of accounts.
        throttles: delay attempts after wrong ones.

    Raises:
        ConfigError: the secret is too short, or a time is out of range.
    """

    def __init__(
        self,
        accounts: Accounts,
        sessions: Sessions,
        issuer: Issuer,
        authority: TokenAuthority | None = None,
        *,
        secret: bytes | None = None,
        passwords: Passwords | None = None,
        refresh_lifetime: int = REFRESH_LIFETIME,
        refresh_reuse_interval: int = REFRESH_REUSE_INTERVAL,
        extra_claims: ExtraClaims | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if secret is not None and len(secret) < 32:
            raise ConfigError(f"secret has {len(secret)} bytes; use at least 32 bytes")
        if refresh_lifetime <= 0 or not 0 <= refresh_reuse_interval <= 300:
            raise ConfigError("refresh_lifetime must be more than 0 seconds, refresh_reuse_interval 0 to 300 seconds")
        self.accounts = accounts
        self.issuer = issuer
        self.authority = authority if authority is not None else StandaloneAuthority(issuer.verifier(), clock=clock)
        self.passwords = passwords if passwords is not None else Passwords()
        self.throttles = Throttles.create()
        self.password_authenticator = PasswordAuthenticator(accounts, self.passwords, self.throttles.passwords)
        self._tokens = UserTokens(issuer, extra_claims, self._account_of, clock)
        self._sessions = sessions
        self._secret = secret if secret is not None else secrets.token_bytes(32)
        self._refresh_lifetime = refresh_lifetime
        self._refresh_reuse_interval = refresh_reuse_interval
        self._clock = clock
        self._ending = SessionEnding(
            sessions, issuer.issuer, clock, lambda session: self.end_session(session.session_id)
        )
        self.authority.follow_revocations(self._ending.apply)
        self._cleanup = Cleanup("logins", lambda now: sessions.delete_expired(int(now)))

    # Issuing tokens

    async def login(
        self, username: str, password: str, info: ClientInfo, *, max_token: int | None = None
    ) -> IssuedTokens:
        """Start a login session with a password.

        Args:
            username: as the user typed it.
            password: as the user typed it.
            info: the client that asks.
            max_token: the greatest length of the access token, in characters. Default: no limit.

        Raises:
            InvalidGrant, Throttled, Unavailable: as for :meth:`PasswordAuthenticator.authenticate`.
            TokenTooLong: the access token has more than ``max_token`` characters.
        """
        account = await self.password_authenticator.authenticate(username, password, info)
        try:
            issued = await self.start_session(account, info, max_token=max_token)
        except PasswordChanged:  # perhaps a login on another device only replaced the hash by a stronger one
            account = await self.password_authenticator.authenticate(username, password, info)
            issued = await self.start_session(account, info, max_token=max_token)
        record_login("granted", account.username, info, "password")
        return issued

    async def start_session(
        self,
        account: Account,
        info: ClientInfo,
        *,
        client_id: str = OWN_CLIENT,
        first_party: bool = False,
        scope: str = "",
        auth_time: int = 0,
        session_id: str = "",
        refreshable: bool = True,
        max_token: int | None = None,
        provider: ProviderUser | None = None,
    ) -> IssuedTokens:
        """Start a login session for a user whose password was verified, or who logged in at a provider.

        Args:
            account: the user.
            info: the client that asks.
            client_id: the OAuth client that the session is for.
            first_party: True for a client whose tokens contain all roles and rooms; see :func:`rights_for`.
            scope: the scopes of its tokens, separated by spaces.
            auth_time: when the user logged in here, in seconds since the epoch. Default: now.
            session_id: its ID. Default: a new one.
            refreshable: False for a client that gets no refresh token: the session ends with its access token.
            max_token: as for :meth:`login`.
            provider: who the user is at an OpenID provider; None after a password.

        Raises:
            InvalidGrant: meanwhile the account was disabled, its password changed, or the provider's session ended.
            TokenTooLong: the access token has more than ``max_token`` characters.
            Unavailable: a store does not respond.
        """
        now = int(self._clock())
        self._cleanup.start_if_due(now)
        lifetime = self._refresh_lifetime if refreshable else int(self.issuer.expires_in)
        session = LoginSession(
            session_id=session_id or new_session_id(),
            subject=account.username,
            client_id=client_id,
            auth_time=auth_time or now,
            used_at=now,
            expires_at=now + lifetime,
            scope=" ".join(without_reserved(scope_names(scope))),
            address=info.address,
            user_agent=info.user_agent[:200],
            **_names_at(provider),
        )
        token = new_refresh_token()
        await self._sessions.add(session, hash_of(token))
        try:
            issued = await self._tokens.issue(
                account, session, token if refreshable else None, first_party=first_party, max_token=max_token
            )
        except TokenTooLong:
            await self._sessions.end(session.session_id, now)  # the client has no token of the session
            raise
        for old in (await self.list_sessions(account.username))[MAX_SESSIONS:]:
            await self.end_session(old.session_id)
        await self._check_again(account, session)
        return issued

    async def _check_again(self, account: Account, session: LoginSession) -> None:
        """Check an account again, now that its new session can be found.

        Disabling an account, changing its password, or a logout at the provider ends the sessions that exist. This one
        may have started later.

        Raises:
            InvalidGrant: the account was disabled, its password changed, or the provider's session ended. The session
                ended.
        """
        current = await self._account_of(session)
        if current.password_hash != account.password_hash:
            raise PasswordChanged(str(await self._end_rejected(session, "the password was changed meanwhile")))
        at_provider = self._ending.identity_at_provider(session)
        if at_provider is not None and await self._is_revoked(at_provider):
            raise await self._end_rejected(session, "the provider's session has ended")

    async def refresh(
        self,
        token: str,
        info: ClientInfo,
        *,
        client_id: str = OWN_CLIENT,
        first_party: bool = False,
        scope: str = "",
        allowed: Container[str] | None = None,
        max_token: int | None = None,
    ) -> IssuedTokens:
        """Consume a refresh token, and return its successor with a new access token.

        Args:
            token: the refresh token.
            info: the client that asks.
            client_id: the OAuth client that presents the token.
            first_party: as for :meth:`start_session`.
            scope: the scopes of the access token, if it should have fewer than the session (RFC 6749 section 6).
            allowed: the scopes that the client can have now. Default: all scopes of the session.
            max_token: as for :meth:`login`.

        Raises:
            TokenTooLong: the access token has more than ``max_token`` characters. The refresh token remains valid.
            InvalidScope: the session does not have a scope. The refresh token remains valid.
            InvalidGrant: the token is unknown, belongs to another client, or its session has ended. A token that was
                already used ends its session and the sockets of the session.
            Unavailable: a store does not respond. The refresh token remains valid.
        """
        found = await self.find_refresh_token(token)
        if found is None:  # before anything is locked, so that guesses do not delay others
            record_login("refused", None, info, "refresh: unknown")
            raise InvalidGrant("refresh token unknown")
        session, following = found.session, successor(self._secret, token)
        _check_presenter(session, client_id, scope)
        # Everything that can fail or wait comes before the token is consumed: an outage does not consume a refresh
        # token, and a session that is ended meanwhile stays ended.
        issued = None
        if found.active:
            account = await self._account_of(session)
            names = [name for name in scope_names(scope or session.scope) if allowed is None or name in allowed]
            narrowed = replace(session, scope=" ".join(names))
            issued = await self._tokens.issue(
                account, narrowed, following, first_party=first_party, max_token=max_token
            )
            if await self._is_session_revoked(session):
                raise await self._end_rejected(session, "revoked")
        now = int(self._clock())
        result = await self._sessions.rotate(hash_of(token), hash_of(following), now, self._refresh_reuse_interval)
        if issued is not None and result in (RotationResult.ROTATED, RotationResult.REPEATED):
            return issued
        raise await self._failed_refresh(session, result, info)

    async def _failed_refresh(self, session: LoginSession, result: RotationResult, info: ClientInfo) -> InvalidGrant:
        """Record a failed refresh. End the session if its refresh token was copied."""
        record_login("refused", session.subject, info, f"refresh: {result.name.lower()}")
        if result is RotationResult.REUSED:
            facts = {"client_id": session.client_id, "user_agent": session.user_agent or None}
            audit.record("refresh_reused", level=logging.WARNING, sub=session.subject, address=info.address, **facts)
            await self.end_session(session.session_id)
        return InvalidGrant(f"refresh token {result.name.lower()}")

    async def _account_of(self, session: LoginSession) -> Account:
        """Return the account of a session. If it is disabled or gone, the session ends.

        Raises:
            InvalidGrant: the account is disabled or gone.
        """
        account = await self.accounts.find(session.subject)
        if account is None or account.disabled:
            raise await self._end_rejected(session, "the account is disabled or gone")
        return account

    async def _end_rejected(self, session: LoginSession, reason: str) -> InvalidGrant:
        """Record why a session cannot continue, end it, and return the error to raise."""
        record_login("refused", session.subject, ClientInfo(session.address, session.user_agent), reason)
        await self.end_session(session.session_id)
        return InvalidGrant(reason)

    async def find_refresh_token(self, token: str) -> StoredRefreshToken | None:
        """Return the session and state of a refresh token; None if it is unknown."""
        if not looks_like_refresh_token(token):
            return None
        return await self._sessions.find(hash_of(token), int(self._clock()))

    # Ending sessions. Each method returns the number of sockets that it disconnected.

    async def end_session(self, session_id: str) -> int:
        """End a login session with its tokens and sockets. The revocation is stored first."""
        # Until the last access token that was issued has expired.
        until = self._clock() + self.issuer.expires_in
        return await self.authority.revoke(session_id=session_id, expires_at=until)

    async def end_session_of(self, subject: str, session_id: str) -> int | None:
        """End one session of a subject; return None if the subject has no such session."""
        if all(session.session_id != session_id for session in await self.list_sessions(subject)):
            return None
        return await self.end_session(session_id)

    async def _end_other_sessions(self, who: Identity) -> int:
        sessions = await self.list_sessions(who.subject)
        others = [session.session_id for session in sessions if session.session_id != who.session_id]
        return sum([await self.end_session(other) for other in others])  # one by one: others need the store, too

    async def logout(self, who: Identity) -> int:
        """End the session that an access token belongs to. A second call writes nothing."""
        if await self._is_logged_out(who):
            return 0
        if who.session_id is not None:
            return await self.end_session(who.session_id)
        until = who.expires_at or float("inf")
        if who.token_id is not None:
            return await self.authority.revoke(token_id=who.token_id, expires_at=until)
        before = min(who.issued_at or 0, self._clock())
        return await self.authority.revoke(
            subject=who.subject, issuer=who.issuer, issued_before=before, expires_at=until
        )

    async def logout_with_refresh_token(self, token: str, *, client_id: str = OWN_CLIENT) -> int | None:
        """End the session that a refresh token belongs to, even if the token was already used (RFC 7009).

        Returns:
            The number of sockets that were disconnected; None if the token is unknown or another client's.
        """
        found = await self.find_refresh_token(token)
        if found is None or not found.active or found.session.client_id != client_id:
            return None
        return await self.end_session(found.session.session_id)

    async def logout_all(self, subject: str) -> int:
        """End every session of a subject, and revoke every token that was issued to it until now."""
        until = last_expiry(self._clock(), self.issuer.expires_in)
        return await self.authority.revoke(subject=subject, issuer=self.issuer.issuer, expires_at=until)

    async def is_half_ended(self, who: Identity) -> bool:
        """Return True if a revoked token belongs to a user with a session that is revoked but has not ended.

        Then the database failed while the session was being ended. The same token can be used to try again.
        """
        if not await self._is_revoked(replace(who, token_id=None)):  # only the token was revoked: it is useless
            return False
        sessions = await self.list_sessions(who.subject)
        return any([await self._is_session_revoked(session) for session in sessions])

    async def _is_session_revoked(self, session: LoginSession) -> bool:
        at_provider = self._ending.identity_at_provider(session)
        if at_provider is not None and await self._is_revoked(at_provider):
            return True
        return await self._is_revoked(self._ending.identity_of(session))

    async def _is_revoked(self, who: Identity) -> bool:
        try:
            await self.authority.check(who)
        except RevokedToken:
            return True
        return False

    async def _is_logged_out(self, who: Identity) -> bool:
        """Return True if a token was logged out before, and nothing of that remains to be done."""
        if self.authority.unfinished or not await self._is_revoked(who):
            return False
        # The revocation is stored before the session ends.
        return all(session.session_id != who.session_id for session in await self.list_sessions(who.subject))

    async def list_sessions(self, subject: str) -> Sequence[LoginSession]:
        """Return the active sessions of a subject, the most recently used first."""
        return await self._sessions.list_for(subject, int(self._clock()))

    # Passwords

    async def change_password(self, who: Identity, old: str, new: str, info: ClientInfo) -> int:
        """Change the password, and end the user's other sessions.

        Returns:
            The number of sockets that were disconnected.

        Raises:
            ConfigError: the new password is too short or too long.
            InvalidGrant, Throttled: the old password is wrong.
            Unavailable: the password may or may not be changed. Call again with the same two passwords.
        """
        check_new_password(new)
        try:
            account = await self.password_authenticator.authenticate(who.subject, old, info)
        except InvalidGrant as error:
            # Perhaps the same request changed it before, and the response was lost in an outage.
            if not await self._is_password(who.subject, new, info):
                raise error from None
            return await self._end_other_sessions(who)
        # Before the change: if this fails, the old password still allows the user to try again.
        ended = await self._end_other_sessions(who)
        await self.accounts.set_password(account.username, await self.passwords.hash(new))
        record_login("password_changed", account.username, info, "by its owner")
        return ended + await self._end_other_sessions(who)  # and those that started with the old one meanwhile

    async def _is_password(self, username: str, password: str, info: ClientInfo) -> bool:
        """Return True if the password is right. If not, it counts as a failed attempt like any other."""
        try:
            await self.password_authenticator.authenticate(username, password, info)
        except (InvalidGrant, Throttled):
            return False
        return True


def new_session_id() -> str:
    """Return the ID of a new session: 128 random bits."""
    return secrets.token_urlsafe(16)


def _names_at(provider: ProviderUser | None) -> dict[str, Any]:
    """Return the fields of a login session that say where the user logged in."""
    return {} if provider is None else {f"provider_{name}": value for name, value in asdict(provider).items()}


def _check_presenter(session: LoginSession, client_id: str, scope: str) -> None:
    if session.client_id != client_id:
        raise InvalidGrant("the refresh token of another client")
    if not set(scope_names(scope)) <= set(scope_names(session.scope)):
        raise InvalidScope("more scopes than the login has")
