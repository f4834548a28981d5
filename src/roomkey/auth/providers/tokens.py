"""The checks of ID tokens and logout tokens (internal).

OpenID Connect Core 1.0 section 3.1.3.7 and OpenID Connect Back-Channel Logout 1.0 section 2.6. A token of one kind is
never accepted as the other one: an ID token has the ``nonce`` of this login, a logout token has ``events`` instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from roomkey.auth.providers.attempts import is_same
from roomkey.auth.providers.config import LoginProvider
from roomkey.core import jws
from roomkey.core.claims import LOGOUT_EVENT, MARKING_CLAIMS, TYPE_CLAIMS, ExpectedClaims
from roomkey.core.printable import printable
from roomkey.errors import ClaimError, MissingClaim, UnknownKey
from roomkey.keysets import RemoteKeySet, verify_waiting

__all__ = ["LOGOUT_SECONDS", "IdToken", "LogoutToken", "ProviderTokens"]

LOGOUT_SECONDS = 600
"""The longest time between a logout at the provider and its logout token, in seconds."""

ID_TYPES = frozenset({"jwt"})
LOGOUT_TYPES = frozenset({"jwt", "logout+jwt", "application/logout+jwt"})
"""The accepted values of ``typ``, without which both kinds are accepted too: older providers write no other type."""

ID_MARKS = frozenset({"id", "id_token", "jwt"})
"""What providers write into an ID token about its type, in a claim of :data:`roomkey.core.claims.TYPE_CLAIMS`."""


@dataclass(frozen=True, slots=True)
class IdToken:
    """What an ID token says.

    Attributes:
        sub: the user.
        session: ``sid``, or an empty string.
        auth_time: when the user entered the password, in seconds since the epoch; 0 if it does not say.
        claims: all claims.
    """

    sub: str
    session: str
    auth_time: int
    claims: dict[str, Any]


@dataclass(frozen=True, slots=True)
class LogoutToken:
    """What a logout token says.

    Attributes:
        sub: the user, or None.
        session: ``sid``, or None: then all sessions of the user have ended.
        token_id: ``jti``.
    """

    sub: str | None
    session: str | None
    token_id: str


class ProviderTokens:
    """Verifies the tokens of one provider.

    Args:
        provider: the provider.
        keys: its keys.
        clock: seconds since the epoch.
    """

    def __init__(self, provider: LoginProvider, keys: RemoteKeySet, clock: Callable[[], float]) -> None:
        self._provider = provider
        self._keys = keys
        self._clock = clock
        self._algorithms = tuple(name for name in provider.algorithms if name in keys.algorithms)

    async def verify_id_token(self, token: object, *, nonce: str, started_at: int) -> IdToken:
        """Verify an ID token.

        Args:
            token: what the token endpoint returned.
            nonce: that of the attempt.
            started_at: when the attempt began, in seconds since the epoch.

        Raises:
            TokenError: the first failed check.
            Unavailable: the provider's keys are not available.
        """
        claims = await self._verified(token, ID_TYPES, ("iss", "sub", "aud", "exp", "iat"))
        check_id_claims(claims, self._provider, nonce, started_at)
        auth_time = claims.get("auth_time", 0)
        is_time = type(auth_time) is int and 0 < auth_time <= self._clock() + self._provider.leeway
        return IdToken(claims["sub"], claims.get("sid", ""), auth_time if is_time else 0, claims)

    async def verify_logout_token(self, token: object) -> LogoutToken:
        """Verify a logout token.

        Raises:
            TokenError: the first failed check.
            Unavailable: the provider's keys are not available.
        """
        claims = await self._verified(token, LOGOUT_TYPES, ("iss", "aud", "exp", "iat", "jti"))
        check_logout_claims(claims, self._clock(), self._provider.leeway)
        return LogoutToken(claims.get("sub"), claims.get("sid"), claims["jti"])

    async def _verified(self, token: object, types: frozenset[str], require: tuple[str, ...]) -> dict[str, Any]:
        """Return the claims of a token that the provider has signed for this server."""
        parts = jws.split_with(partial(jws.parse_header, types=types), token, jws.MAX_TOKEN)
        claims = jws.json_object(parts.payload, "payload")
        expected = ExpectedClaims(
            issuers=(self._provider.issuer,),
            audiences=(self._provider.client_id,),
            leeway=self._provider.leeway,
            require=require,
        )
        # Before the signature, so that a stranger's token does not make this server ask for keys.
        expected.check({name: value for name, value in claims.items() if name not in MARKING_CLAIMS}, self._clock())
        if claims["iat"] > self._clock() + self._provider.leeway:
            raise ClaimError("iat", "issued in the future")
        await verify_waiting(lambda: self._check_signature(parts))
        return claims

    def _check_signature(self, parts: jws.Parts[jws.Header]) -> None:
        known = self._keys(self._clock())
        try:
            jws.check_signature(parts, known, self._algorithms)
        except UnknownKey:
            self._keys.look_up(parts.header.kid, known)  # raises Unavailable if the provider may have it
            raise


def check_id_claims(claims: dict[str, Any], provider: LoginProvider, nonce: str, started_at: int) -> None:
    """Check what only ID tokens have.

    Raises:
        ClaimError: the first failed check.
    """
    for name in TYPE_CLAIMS:
        mark = claims.get(name)
        if isinstance(mark, str) and mark.lower() not in ID_MARKS:
            raise ClaimError(name, f"{name} is {printable(mark)}: not an ID token")
    sent = claims.get("nonce")
    if not isinstance(sent, str) or not is_same(nonce, sent):
        raise ClaimError("nonce", "another nonce than that of this login")
    party, audience = claims.get("azp"), claims["aud"]
    requires_party = "azp" in claims or (isinstance(audience, list) and len(audience) > 1)
    if requires_party and party != provider.client_id:
        raise ClaimError("azp", f"azp is {printable(party)}, expected {provider.client_id}")
    if claims["iat"] < started_at - provider.leeway:
        raise ClaimError("iat", "issued before this login began")


def check_logout_claims(claims: dict[str, Any], now: float, leeway: float) -> None:
    """Check what only logout tokens have.

    Raises:
        ClaimError: the first failed check.
    """
    if claims["iat"] < now - LOGOUT_SECONDS - leeway:
        raise ClaimError("iat", f"issued more than {LOGOUT_SECONDS} s ago")
    if "nonce" in claims:
        raise ClaimError("nonce", "a logout token has no nonce")
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(LOGOUT_EVENT), dict):
        raise ClaimError("events", "not a logout event")
    if "sub" not in claims and "sid" not in claims:
        raise MissingClaim("sub", "neither sub nor sid")
