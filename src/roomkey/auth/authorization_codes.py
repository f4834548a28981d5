"""Authorization codes with proof of possession: RFC 6749 section 4.1 and RFC 7636 (internal).

A code determines the ID of the login session that it will start. So if a code is presented twice, the second request
knows which session to end, even while the first one is still running. The first one starts the session, and then
checks for a second request. The second one leaves a note, and then looks for the session. One of them always notices
the other.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from base64 import urlsafe_b64encode
from dataclasses import asdict, dataclass
from typing import Any

from roomkey import audit
from roomkey.auth.ending import identity_of_login
from roomkey.auth.issued_tokens import ClientInfo, InvalidGrant, IssuedTokens, ProviderUser
from roomkey.auth.login_service import LoginService, new_session_id
from roomkey.auth.refresh_tokens import hash_of
from roomkey.auth.signed_values import is_signed_value, new_signed_value
from roomkey.errors import RevokedToken
from roomkey.stores import Account, Client, SingleUseStore
from roomkey.stores.cleanup import Cleanup

__all__ = ["CODE_LIFETIME", "AuthorizationCodes", "is_challenge"]

CODE_LIFETIME = 60
"""Seconds from the user's consent to the client's request for tokens."""

STORED_SECONDS = 3600
"""Seconds in which presenting a code again ends its login session, because a thief may be late."""

_REPLAYED = "replayed"
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


@dataclass(frozen=True, slots=True)
class _Consent:
    """The user's consent, as it is stored with a code. Times are seconds since the epoch.

    ``password`` is a hash of the account's password hash: changing the password invalidates the code.
    """

    client_id: str
    redirect_uri: str
    challenge: str
    subject: str
    password: str
    scope: str
    auth_time: int
    session_id: str
    address: str
    user_agent: str
    expires_at: int
    provider: dict[str, Any] | None = None


def is_challenge(text: str) -> bool:
    """Return True for the form of an S256 challenge: a SHA-256 in base64url (RFC 7636 section 4.2)."""
    return _CHALLENGE.fullmatch(text) is not None


class AuthorizationCodes:
    """Issues authorization codes, and exchanges them for tokens.

    Args:
        store: stores the codes, by their hashes.
        logins: starts the login sessions.
    """

    def __init__(self, store: SingleUseStore, logins: LoginService) -> None:
        self._store = store
        self._logins = logins
        self._cleanup = Cleanup("codes", lambda now: store.delete_expired(int(now)))

    def _now(self) -> int:
        return int(self._logins.issuer.clock())

    async def issue(
        self,
        account: Account,
        info: ClientInfo,
        client: Client,
        *,
        redirect_uri: str,
        scope: str,
        challenge: str,
        provider: ProviderUser | None = None,
        auth_time: int | None = None,
    ) -> str:
        """Return a code for a client, after the user has entered the password and consented.

        Args:
            account: the user.
            info: the user's browser.
            client: the OAuth client.
            redirect_uri: where the code is sent.
            scope: the scopes that the user allowed, separated by spaces.
            challenge: the S256 ``code_challenge``.
            provider: who the user is at an OpenID provider; None after a password.
            auth_time: when the user logged in here, in seconds since the epoch. Default: now.
        """
        now = self._now()
        self._cleanup.start_if_due(now)
        consent = _Consent(
            client_id=client.client_id,
            redirect_uri=redirect_uri,
            challenge=challenge,
            subject=account.username,
            password=hash_of(account.password_hash),
            scope=scope,
            auth_time=now if auth_time is None else auth_time,
            session_id=new_session_id(),
            address=info.address,
            user_agent=info.user_agent[:200],
            expires_at=now + CODE_LIFETIME,
            provider=None if provider is None else asdict(provider),
        )
        code = new_signed_value(await self._store.key(), "code", now + STORED_SECONDS)
        await self._store.store("code", hash_of(code), asdict(consent), now + STORED_SECONDS)
        return code

    async def exchange(self, code: str, client: Client, *, redirect_uri: str, verifier: str) -> IssuedTokens:
        """Start the login session of a code, and return its tokens. The code is consumed, even if this fails.

        Args:
            code: the code.
            client: the client, which was authenticated.
            redirect_uri: as in the authorization request.
            verifier: the ``code_verifier`` (RFC 7636).

        Raises:
            InvalidGrant: the code is unknown, expired or another client's; the redirect URI or the code verifier is
                wrong; the account is disabled, its password was changed, or all its sessions were ended. If the code
                was presented before, its login session ends.
            Unavailable: a store does not respond.
        """
        code_hash, now = hash_of(code), self._now()
        is_ours = is_signed_value(await self._store.key(), "code", code, now)
        consumed = await self._store.consume("code", code_hash, now) if is_ours else None
        if consumed is None:
            raise InvalidGrant("no such code")
        consent = _Consent(**consumed.data)
        if consumed.already_used:
            await self._store.annotate(code_hash, _REPLAYED)
            await self._end_session(consent)
            raise InvalidGrant("the code was presented before")
        account = await self._check(consent, client, redirect_uri, verifier, now)
        issued = await self._logins.start_session(
            account,
            ClientInfo(consent.address, consent.user_agent),
            client_id=client.client_id,
            first_party=client.first_party,
            scope=consent.scope,
            auth_time=consent.auth_time,
            session_id=consent.session_id,
            refreshable="refresh_token" in client.grants,
            provider=None if consent.provider is None else ProviderUser(**consent.provider),
        )
        seen = await self._store.consume("code", code_hash, now)
        if seen is None or seen.note == _REPLAYED:
            await self._end_session(consent)
            raise InvalidGrant("the code was presented twice at once")
        return issued

    async def _check(self, consent: _Consent, client: Client, redirect_uri: str, verifier: str, now: int) -> Account:
        """Return the account that a code is for.

        Raises:
            InvalidGrant: the code is not valid (any more).
        """
        account = await self._logins.accounts.find(consent.subject)
        reason = _rejection_reason(consent, client, redirect_uri, verifier, now)
        if account is None or reason:
            raise InvalidGrant(reason or "the account is gone")
        if hash_of(account.password_hash) != consent.password:
            raise InvalidGrant("the password was changed meanwhile")
        issuer = self._logins.issuer.issuer
        who = identity_of_login(consent.subject, issuer, consent.auth_time, consent.session_id)
        try:
            await self._logins.authority.check(who)
        except RevokedToken:
            raise InvalidGrant("everything of the user was revoked meanwhile") from None
        return account

    async def _end_session(self, consent: _Consent) -> None:
        audit.record("code_reused", level=logging.WARNING, sub=consent.subject, client_id=consent.client_id)
        await self._logins.end_session_of(consent.subject, consent.session_id)


def _rejection_reason(consent: _Consent, client: Client, redirect_uri: str, verifier: str, now: int) -> str | None:
    reasons = {
        "the code is too old": consent.expires_at <= now,
        # The clock was set back, so the age of the code is unknown. Two servers may differ by one second.
        "the code was issued in the future": consent.auth_time > now + 1,
        "the code of another client": consent.client_id != client.client_id,
        "another redirect URI": consent.redirect_uri != redirect_uri,
        "the wrong code verifier": not _matches(verifier, consent.challenge),
    }
    return next((reason for reason, applies in reasons.items() if applies), None)


def _matches(verifier: str, challenge: str) -> bool:
    """Return True if a code verifier matches a challenge (RFC 7636 section 4.6, S256)."""
    if _VERIFIER.fullmatch(verifier) is None:
        return False
    digest = hashlib.sha256(verifier.encode()).digest()
    return hmac.compare_digest(urlsafe_b64encode(digest).rstrip(b"=").decode(), challenge)
