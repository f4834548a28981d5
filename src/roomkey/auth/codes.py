"""Authorization codes with proof of possession: RFC 6749 section 4.1 and RFC 7636.

The name of the login that will come of a code is decided together with the code. So whoever presents a code again knows
which login to end, even while the first is still at it: the first looks, after it has begun the login, whether there
was a second; the second says that it was there, before it looks for the login. One of them sees the other.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from base64 import urlsafe_b64encode
from dataclasses import asdict, dataclass

from roomkey import audit
from roomkey.auth.ending import holder_of
from roomkey.auth.logins import InvalidGrant, IssuedTokens, LoginService, Origin, new_session_id
from roomkey.auth.refresh_tokens import hash_of
from roomkey.auth.sealed import is_sealed, seal
from roomkey.errors import RevokedToken
from roomkey.stores.accounts import Account
from roomkey.stores.clients import Client
from roomkey.stores.forgetting import Forgetting
from roomkey.stores.single_use import SingleUseStore

__all__ = ["CODE_LIFETIME", "Codes", "is_challenge"]

CODE_LIFETIME = 60
"""Seconds from the person's yes to the client's request for tokens."""

REMEMBERED = 3600
"""Seconds in which a code that is presented again ends the login that came of it: a thief may be late."""

_REPLAYED = "replayed"
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


@dataclass(frozen=True, slots=True)
class _Allowed:
    """What somebody allowed, and in which circumstances. Times are seconds since the epoch.

    ``password`` is a hash of the account's password hash: a code is good only as long as the password it was given for.
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


def is_challenge(text: str) -> bool:
    """True for what S256 makes: a SHA-256 in base64url (RFC 7636 section 4.2)."""
    return _CHALLENGE.fullmatch(text) is not None


class Codes:
    """Gives codes out and takes them in.

    Args:
        store: where they are kept, by their hashes.
        logins: begins the logins that come of them.
    """

    def __init__(self, store: SingleUseStore, logins: LoginService) -> None:
        self._store = store
        self._logins = logins
        self._forgetting = Forgetting("codes", lambda now: store.forget_expired(int(now)))

    def _now(self) -> int:
        return int(self._logins.issuer.clock())

    async def make(
        self, account: Account, origin: Origin, client: Client, *, redirect_uri: str, scope: str, challenge: str
    ) -> str:
        """A code for a client, because somebody has just given their password and said yes.

        Args:
            challenge: the S256 ``code_challenge``.
        """
        now = self._now()
        self._forgetting.soon(now)
        allowed = _Allowed(
            client_id=client.client_id,
            redirect_uri=redirect_uri,
            challenge=challenge,
            subject=account.username,
            password=hash_of(account.password_hash),
            scope=scope,
            auth_time=now,
            session_id=new_session_id(),
            address=origin.address,
            user_agent=origin.user_agent[:200],
            expires_at=now + CODE_LIFETIME,
        )
        code = seal(await self._store.key(), "code", now + REMEMBERED)
        await self._store.put("code", hash_of(code), asdict(allowed), now + REMEMBERED)
        return code

    async def exchange(self, code: str, client: Client, *, redirect_uri: str, verifier: str) -> IssuedTokens:
        """Begin the login that a code stands for.

        Raises:
            InvalidGrant: nobody was given it, or it is too late, or it is another client's, or was sent elsewhere,
                or this is not the ``code_verifier``, or the account is disabled or its password was changed, or it was
                presented before: then the login that came of it ends. Whatever the reason, it is used up.
        """
        name, now = hash_of(code), self._now()
        sealed = is_sealed(await self._store.key(), "code", code, now)
        taken = await self._store.take("code", name, now) if sealed else None
        if taken is None:
            raise InvalidGrant("no such code")
        allowed = _Allowed(**taken.data)
        if taken.again:
            await self._store.became(name, _REPLAYED)
            await self._end(allowed)
            raise InvalidGrant("the code was presented before")
        account = await self._logins.accounts.find(allowed.subject)
        reason = _refusal(allowed, client, redirect_uri, verifier, now)
        if account is None or reason:
            raise InvalidGrant(reason or "the account is gone")
        if hash_of(account.password_hash) != allowed.password:
            raise InvalidGrant("the password was changed meanwhile")
        try:
            issuer = self._logins.issuer.issuer
            whose = holder_of(allowed.subject, issuer, allowed.auth_time, allowed.session_id)
            await self._logins.live.check(whose)
        except RevokedToken:
            raise InvalidGrant("everything of the person was ended meanwhile") from None
        granted = await self._logins.begin(
            account,
            Origin(allowed.address, allowed.user_agent),
            client_id=client.client_id,
            first_party=client.first_party,
            scope=allowed.scope,
            auth_time=allowed.auth_time,
            session_id=allowed.session_id,
            refreshed="refresh_token" in client.grants,
        )
        seen = await self._store.take("code", name, now)
        if seen is None or seen.became == _REPLAYED:
            await self._end(allowed)
            raise InvalidGrant("the code was presented twice at once")
        return granted

    async def _end(self, allowed: _Allowed) -> None:
        audit.record("code_reused", level=logging.WARNING, sub=allowed.subject, client_id=allowed.client_id)
        await self._logins.end_session(allowed.subject, allowed.session_id)


def _refusal(allowed: _Allowed, client: Client, redirect_uri: str, verifier: str, now: int) -> str | None:
    reasons = {
        "the code is too old": allowed.expires_at <= now,
        # The clock was set back, so that nobody knows how old it is; two servers may differ by a second.
        "the code was issued in the future": allowed.auth_time > now + 1,
        "the code of another client": allowed.client_id != client.client_id,
        "another redirect URI": allowed.redirect_uri != redirect_uri,
        "the wrong code verifier": not _proves(verifier, allowed.challenge),
    }
    return next((reason for reason, applies in reasons.items() if applies), None)


def _proves(verifier: str, challenge: str) -> bool:
    """RFC 7636 section 4.6, S256."""
    if _VERIFIER.fullmatch(verifier) is None:
        return False
    digest = hashlib.sha256(verifier.encode()).digest()
    return hmac.compare_digest(urlsafe_b64encode(digest).rstrip(b"=").decode(), challenge)
