"""The steps of a login at an OpenID provider, and its back-channel logout, without routes (internal).

1. :meth:`ProviderLogins.begin`: the browser gets a cookie, and goes to the provider.
2. :meth:`ProviderLogins.complete`: the browser comes back with a code. If everything is right, it gets a second cookie:
   a value that says once, and for some minutes, who the user is.
3. :meth:`ProviderLogins.start_session`: the page exchanges that value for tokens, so that no URL contains any. Or
   :meth:`ProviderLogins.take`: the user has consented to an OAuth client, which gets a code.

4. :meth:`ProviderLogins.end`: the provider says that a session has ended.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from roomkey import audit
from roomkey.auth.ending import last_expiry
from roomkey.auth.issued_tokens import ClientInfo, InvalidGrant, IssuedTokens, ProviderUser
from roomkey.auth.login_service import LoginService
from roomkey.auth.password_auth import record_login
from roomkey.auth.providers.accounts import ProviderAccounts, ProviderLogin
from roomkey.auth.providers.attempts import (
    ATTEMPT_SECONDS,
    Attempt,
    is_local_path,
    is_same,
    new_attempt,
    read_attempt,
)
from roomkey.auth.providers.client import Metadata, ProviderClient
from roomkey.auth.providers.config import LoginProvider, by_name
from roomkey.auth.providers.tokens import LOGOUT_SECONDS, IdToken, ProviderTokens
from roomkey.auth.refresh_tokens import hash_of
from roomkey.auth.signed_values import is_signed_value, new_signed_value
from roomkey.auth.token_authority import RevocationTarget
from roomkey.core.names import is_name
from roomkey.errors import AuthError, TokenError, Unavailable
from roomkey.keysets import RemoteKeySet
from roomkey.stores import Account, SingleUseStore
from roomkey.stores.cleanup import Cleanup

__all__ = ["HANDOVER_SECONDS", "ProviderLogins"]

LOG = logging.getLogger("roomkey.auth")

HANDOVER_SECONDS = 300
"""Seconds from the provider's redirect to the page's request for tokens, or to the user's consent to a client."""

MAX_CODE = 2048

# RFC 6749 section 4.1.2.1, OpenID Connect Core 1.0 section 3.1.2.6. Other texts are not written to the log.
ERRORS = frozenset(
    {
        "access_denied",
        "account_selection_required",
        "consent_required",
        "interaction_required",
        "invalid_request",
        "invalid_scope",
        "login_required",
        "server_error",
        "temporarily_unavailable",
        "unauthorized_client",
        "unsupported_response_type",
    }
)


@dataclass(frozen=True, slots=True)
class _Party:
    """A provider, and what talks to it."""

    provider: LoginProvider
    client: ProviderClient
    tokens: ProviderTokens


@dataclass(frozen=True, slots=True)
class _Handover:
    """A completed login, as it is stored until the page asks for the tokens. Times are seconds since the epoch."""

    provider: str
    username: str
    user: dict[str, str | int]
    logged_in_at: int


@dataclass(frozen=True, slots=True)
class Begun:
    """A login that has begun.

    Attributes:
        url: where the browser goes.
        cookie: what the browser keeps meanwhile.
    """

    url: str
    cookie: str


@dataclass(frozen=True, slots=True)
class Completed:
    """A login that the provider has confirmed.

    Attributes:
        value: what the browser keeps until the page asks for the tokens.
        return_to: the path where the browser goes.
    """

    value: str
    return_to: str


@dataclass(frozen=True, slots=True)
class Taken:
    """A completed login, of which a login session or a code is made.

    Attributes:
        provider: the provider's name.
        account: the user's account.
        user: who the user is at the provider.
        logged_in_at: seconds since the epoch.
    """

    provider: str
    account: Account
    user: ProviderUser
    logged_in_at: int


class ProviderLogins:
    """Logins at OpenID providers.

    Args:
        logins: starts and ends the login sessions.
        providers: the providers.
        accounts: finds the accounts of their users.
        single_use: stores what can be used once.

    Raises:
        ConfigError: two providers have the same name or issuer.
    """

    def __init__(
        self,
        logins: LoginService,
        providers: Iterable[LoginProvider],
        accounts: ProviderAccounts,
        single_use: SingleUseStore,
    ) -> None:
        self._logins = logins
        self._accounts = accounts
        self._store = single_use
        self._clock = logins.issuer.clock
        self._throttle = logins.throttles.providers
        self._parties = {
            name: _Party(provider, ProviderClient(provider), self._tokens_of(provider))
            for name, provider in by_name(tuple(providers)).items()
        }
        self._cleanup = Cleanup("logins at providers", lambda now: single_use.delete_expired(int(now)))

    def _tokens_of(self, provider: LoginProvider) -> ProviderTokens:
        keys = RemoteKeySet(provider.issuer, discover=True, algorithms=provider.algorithms)
        return ProviderTokens(provider, keys, self._clock)

    @property
    def providers(self) -> tuple[LoginProvider, ...]:
        """The providers, in the order in which they were listed."""
        return tuple(party.provider for party in self._parties.values())

    def find(self, name: str) -> LoginProvider | None:
        """Return the provider of this name, or None."""
        party = self._parties.get(name)
        return None if party is None else party.provider

    async def begin(self, name: str, return_to: str, redirect_uri: str, *, fresh: bool) -> Begun:
        """Begin a login.

        Args:
            name: the name of a provider.
            return_to: the path where the browser goes in the end.
            redirect_uri: where the provider sends the browser back.
            fresh: True to let the user enter the password again.

        Raises:
            InvalidGrant: ``return_to`` is not a path of this server.
            Unavailable: the provider, or the store, does not respond.
        """
        if not is_local_path(return_to):
            raise InvalidGrant("return_to is not a path of this server")
        party = self._parties[name]
        attempt = new_attempt(await self._store.key(), name, return_to, int(self._clock()))
        try:
            metadata = await party.client.metadata()
        except Unavailable as error:
            LOG.warning("cannot begin a login at the provider %s: %s", name, error)
            raise
        return Begun(party.client.authorization_url(metadata, attempt, redirect_uri, fresh=fresh), attempt.cookie)

    async def complete(
        self, name: str, sent: Mapping[str, str], cookie: str, redirect_uri: str, info: ClientInfo
    ) -> Completed:
        """Check what the provider's redirect contains, and store the login for the page.

        Args:
            name: the provider to whose redirect URI the browser came.
            sent: the parameters of the redirect.
            cookie: the browser's cookie from :meth:`begin`.
            redirect_uri: as in :meth:`begin`.
            info: the browser.

        Raises:
            InvalidGrant: something is wrong, or the user may not log in. The log has the reason.
            Throttled: too many logins from this address failed.
            Unavailable: the provider, or a store, does not respond.
        """
        party = self._parties[name]
        try:
            self._throttle.check(name, info.address, time.monotonic())
            attempt = await self._attempt_of(party, sent, cookie)
            return await self._confirm(party, attempt, sent["code"], redirect_uri, info)
        except (InvalidGrant, TokenError) as error:
            record_login("refused", None, info, f"provider {name}: {error}")
            raise error if isinstance(error, InvalidGrant) else InvalidGrant(str(error)) from None
        except Unavailable as error:
            LOG.warning("a login at the provider %s failed: %s", name, error)
            raise

    async def _attempt_of(self, party: _Party, sent: Mapping[str, str], cookie: str) -> Attempt:
        """Return the attempt to which a redirect belongs.

        Raises:
            InvalidGrant: there is none in this browser, or the provider refused.
        """
        name, now = party.provider.name, self._clock()
        attempt = read_attempt(await self._store.key(), cookie, name, now)
        if attempt is None or not is_same(attempt.state, sent.get("state", "")):
            raise InvalidGrant("no login with this state is under way in this browser")
        issuer = sent.get("iss")
        if issuer is None and (await party.client.metadata()).names_itself:
            raise InvalidGrant("iss is missing")
        if issuer is not None and issuer != party.provider.issuer:
            raise InvalidGrant("iss is that of another provider")
        if "error" in sent:
            error = sent["error"]
            raise InvalidGrant(f"the provider refused: {error if error in ERRORS else 'another error'}")
        if not 0 < len(sent.get("code", "")) <= MAX_CODE:
            raise InvalidGrant("no code")
        if not await self._store.add_once("login", hash_of(attempt.state), int(now) + ATTEMPT_SECONDS + 1):
            raise InvalidGrant("this login was completed before")
        return attempt

    async def _confirm(
        self, party: _Party, attempt: Attempt, code: str, redirect_uri: str, info: ClientInfo
    ) -> Completed:
        """Exchange the code, and find the account."""
        name = party.provider.name
        self._throttle.begin(name, info.address, time.monotonic())
        try:
            metadata = await party.client.metadata()
            token = await self._id_token(party, metadata, attempt, code, redirect_uri)
        except (InvalidGrant, TokenError):
            self._throttle.failed(name, info.address, time.monotonic())
            raise
        except BaseException:  # a canceled request, too: it proves no wrong secret
            self._throttle.withdraw(name, info.address)
            raise
        self._throttle.succeeded(name, info.address)
        return await self._hand_over(party.provider, token, attempt.return_to)

    async def _id_token(
        self, party: _Party, metadata: Metadata, attempt: Attempt, code: str, redirect_uri: str
    ) -> IdToken:
        token = await party.client.exchange(metadata, code, attempt, redirect_uri)
        return await party.tokens.verify_id_token(token, nonce=attempt.nonce, started_at=attempt.started_at)

    async def _hand_over(self, provider: LoginProvider, token: IdToken, return_to: str) -> Completed:
        subject, now = provider.subject_of(token.sub), int(self._clock())
        if not is_name(subject):
            raise InvalidGrant("the subject is too long")
        account = await self._accounts.account_of(
            ProviderLogin(provider.name, provider.issuer, token.sub, subject, token.claims)
        )
        if account.disabled:
            raise InvalidGrant("the account is disabled")
        self._cleanup.start_if_due(now)
        user = ProviderUser(provider.issuer, subject, token.session, token.auth_time)
        handover = _Handover(provider.name, account.username, asdict(user), now)
        value = new_signed_value(await self._store.key(), "login", now + HANDOVER_SECONDS)
        await self._store.store("login", hash_of(value), asdict(handover), now + HANDOVER_SECONDS)
        return Completed(value, return_to)

    async def start_session(self, value: str, info: ClientInfo, *, max_token: int | None = None) -> IssuedTokens:
        """Start the login session of a completed login. The value is consumed, even if this fails.

        Args:
            value: from :meth:`complete`.
            info: the browser.
            max_token: the greatest length of the access token, in characters. Default: no limit.

        Raises:
            InvalidGrant: as for :meth:`take`, or the provider's session has ended.
            TokenTooLong: the access token has more than ``max_token`` characters.
            Unavailable: a store does not respond.
        """
        taken = await self.take(value)
        issued = await self._logins.start_session(
            taken.account, info, auth_time=taken.logged_in_at, max_token=max_token, provider=taken.user
        )
        record_login("granted", taken.account.username, info, f"provider {taken.provider}")
        return issued

    async def take(self, value: str) -> Taken:
        """Return who completed a login. The value is consumed, even if this fails.

        Args:
            value: from :meth:`complete`.

        Raises:
            InvalidGrant: the value is unknown, expired or already used; or the account is disabled.
            Unavailable: a store does not respond.
        """
        now = int(self._clock())
        is_ours = is_signed_value(await self._store.key(), "login", value, now)
        consumed = await self._store.consume("login", hash_of(value), now) if is_ours else None
        if consumed is None or consumed.already_used or not consumed.data:
            raise InvalidGrant("no such login")
        handover = _Handover(**consumed.data)
        account = await self._logins.accounts.find(handover.username)
        if account is None or account.disabled:
            raise InvalidGrant("the account is disabled or gone")
        user = ProviderUser(**handover.user)  # type: ignore[arg-type]
        return Taken(handover.provider, account, user, handover.logged_in_at)

    async def end(self, name: str, logout_token: str) -> int:
        """End what a provider's logout token names: login sessions, tokens of the provider, and their sockets.

        Args:
            name: the name of a provider.
            logout_token: what it sent.

        Returns:
            The number of sockets that were disconnected.

        Raises:
            InvalidGrant: the token is not valid, or was sent before.
            Unavailable: the provider's keys, or a store, are not available. The same token can be sent again.
        """
        provider = self._parties[name].provider
        try:
            token = await self._parties[name].tokens.verify_logout_token(logout_token)
        except Unavailable:
            raise
        except AuthError as error:
            raise _rejected_logout(name, str(error)) from None
        now = self._clock()
        used = hashlib.sha256(f"{provider.issuer}\0{token.token_id}".encode()).hexdigest()
        if await self._store.is_known("logout", used):
            raise _rejected_logout(name, "the logout token was sent before")
        revoked: RevocationTarget = {"issuer": provider.issuer, "expires_at": last_expiry(now)}
        if token.session is not None:
            revoked["session_id"] = token.session
        elif is_name(subject := provider.subject_of(token.sub or "")):
            revoked["subject"] = subject
        else:
            raise _rejected_logout(name, "no subject can have this name")
        ended = await self._logins.authority.revoke(**revoked)
        # In the end, so that the provider can repeat what failed. Doing it twice at once does no harm.
        kept = int(now + LOGOUT_SECONDS + 2 * provider.leeway) + 1
        await self._store.add_once("logout", used, kept)
        audit.record("provider_logout", outcome="granted", provider=name, sub=token.sub, sockets=ended)
        return ended


def _rejected_logout(name: str, reason: str) -> InvalidGrant:
    audit.record("provider_logout", level=logging.WARNING, outcome="refused", provider=name, reason=reason)
    return InvalidGrant(reason)
