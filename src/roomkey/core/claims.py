"""Checks of a token's claims (RFC 7519 section 4.1), in a fixed order, with the time as an argument."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Any, Protocol

from roomkey.core.claims_map import whole
from roomkey.core.names import MAX_NAME, is_name
from roomkey.core.printable import printable
from roomkey.errors import ClaimError, ConfigError, ExpiredToken, ImmatureToken, MissingClaim

LAST_SECOND = 253_402_300_799  # the end of the year 9999; a later NumericDate is a mistake or an attack
TIMES = ("exp", "nbf", "iat")
NAMES = ("iss", "sub", "jti", "sid")
TYPE_CLAIMS = ("type", "token_type", "token_use", "typ")
"""Claims with which issuers mark the type of a token; none is registered, but each is common."""
NOT_FOR_ACCESS = frozenset({"refresh", "refresh_token", "offline", "id", "id_token"})
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
"""The member of ``events`` that makes a token a logout token (OpenID Connect Back-Channel Logout 1.0 section 2.4)."""
MARKING_CLAIMS = (*TYPE_CLAIMS, "events")
"""All claims that can say that a token is not an access token."""

ExactValue = str | int | bool
ExactClaims = Mapping[str, ExactValue | Iterable[ExactValue | None]]
"""Claims, each with the value that it must have, or with several; None among several means that it may be missing."""


class TimeSpan(Protocol):
    """A :class:`datetime.timedelta`. Its module has clocks, so it is not imported here."""

    def total_seconds(self) -> float:
        """Return the duration in seconds."""


@dataclass(frozen=True, slots=True)
class ExpectedClaims:
    """The claims that a verifier accepts.

    Attributes:
        issuers: accepted values of ``iss``; if empty, any value is accepted and ``iss`` may be missing.
        audiences: accepted values of ``aud``; if empty, only tokens without ``aud`` are accepted.
        leeway: tolerated clock difference in seconds, for ``exp`` and ``nbf`` (and for ``iat`` with ``max_age``).
        require: claims that must be present.
        max_lifetime: the longest ``exp - iat`` in seconds, or None. If set, ``iat`` and ``exp`` are required.
        max_age: the longest time since ``iat`` in seconds, or None. If set, ``iat`` is required and not in the future.
        claims: further claims, each with its accepted values (see :func:`exact_claims`).

    Raises:
        ConfigError: a negative or infinite number of seconds, or a value of the wrong type.
    """

    issuers: tuple[str, ...] = ()
    audiences: tuple[str, ...] = ()
    leeway: float = 30.0
    require: tuple[str, ...] = ("exp", "sub")
    max_lifetime: float | None = None
    max_age: float | None = None
    claims: Mapping[str, tuple[ExactValue | None, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("leeway", "max_lifetime", "max_age"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and value >= 0):
                raise ConfigError(f"{name} must be seconds, 0 or more, not {value!r}")

    def check(self, claims: dict[str, Any], now: float, original: dict[str, Any] | None = None) -> None:
        """Check the claims of a token.

        Args:
            claims: the payload of a token whose signature is verified, in standard form.
            now: seconds since the epoch.
            original: the payload, if it is not in standard form: the values of further claims are those in it.

        Raises:
            ClaimError: the first failed check, in this order: types, required claims, ``nbf``, ``exp``, lifetime,
                ``iss``, ``aud``, other claims.
        """
        check_types(claims)
        for name in self.require:
            if name not in claims:
                hint = "; claims_map={'subject': 'user_id'} names another claim" if name == "sub" else ""
                raise MissingClaim(name, f"claim {name} is missing{hint}")
        expires = claims.get("exp", inf)
        # Written as "not within", so that a clock that returns NaN rejects all tokens.
        is_current = claims.get("nbf", -inf) - self.leeway <= now <= expires + self.leeway
        if not is_current or expires < claims.get("iat", -inf):
            raise self._time_error(claims, now)
        if self.max_lifetime is not None or self.max_age is not None:
            self._check_bounds(claims, now)
        if self.issuers and claims.get("iss") not in self.issuers:
            raise ClaimError(
                "iss",
                f"iss is {printable(claims.get('iss'))}, expected {' or '.join(self.issuers)}",
                message=ClaimError.ISSUER_INVALID.replace("…", " or ".join(self.issuers)),
            )
        audience = claims.get("aud")
        if type(audience) is not str or audience not in self.audiences:
            self.check_audience(audience)
        if self.claims or not claims.keys().isdisjoint(MARKING_CLAIMS):
            self._check_values(claims if original is None else original)

    def _check_values(self, claims: dict[str, Any]) -> None:
        for name, wanted in self.claims.items():
            found = claims.get(name)
            if not any(_is_same(found, value) for value in wanted):
                expected = " or ".join("missing" if value is None else printable(value) for value in wanted)
                raise ClaimError(name, f"{name} is {printable(found)}, expected {expected}")
        for name in TYPE_CLAIMS:
            token_type = claims.get(name)
            if isinstance(token_type, str) and token_type.lower() in NOT_FOR_ACCESS and name not in self.claims:
                raise ClaimError(name, f"{name} is {printable(token_type)}: not an access token")
        events = claims.get("events")
        if isinstance(events, dict) and LOGOUT_EVENT in events:
            raise ClaimError("events", "a logout token, not an access token")

    def _time_error(self, claims: dict[str, Any], now: float) -> ClaimError:
        """Return the error for a token that is not valid at this time, or never is."""
        not_before, expires = claims.get("nbf"), claims.get("exp")
        if not_before is not None and not now >= not_before - self.leeway:
            return ImmatureToken("nbf", f"valid in {not_before - now:.0f} s, leeway {self.leeway:g} s", date=not_before)
        if expires is None:
            return ExpiredToken("exp", "the clock returned no time")
        if not now <= expires + self.leeway:
            return ExpiredToken(
                "exp", f"expired {now - expires:.0f} s ago, leeway {self.leeway:g} s", expired_at=expires
            )
        return ClaimError("exp", "exp is before iat")

    def _check_bounds(self, claims: dict[str, Any], now: float) -> None:
        issued = claims.get("iat")
        if issued is None:
            raise MissingClaim("iat", "claim iat is missing, and max_lifetime or max_age is set")
        if self.max_age is not None:
            if issued > now + self.leeway:
                raise ClaimError("iat", f"issued in {issued - now:.0f} s, leeway {self.leeway:g} s")
            if now > issued + self.max_age + self.leeway:
                raise ExpiredToken(
                    "iat",
                    f"issued {now - issued:.0f} s ago, at most {self.max_age:g} s",
                    message=ExpiredToken.TOO_OLD,
                )
        if self.max_lifetime is not None:
            expires = claims.get("exp")
            if expires is None:
                raise MissingClaim("exp", "claim exp is missing, and max_lifetime is set")
            lifetime = max(expires - issued, expires - now - self.leeway)
            if lifetime > self.max_lifetime:
                raise ClaimError("exp", f"a lifetime of {lifetime:.0f} s, at most {self.max_lifetime:g} s")

    def check_audience(self, audience: object) -> None:
        """Check the value of ``aud``; None if it is missing.

        Raises:
            ClaimError: no accepted value, or a value without being asked for one.
        """
        if isinstance(audience, str):
            if audience in self.audiences:
                return
        elif isinstance(audience, list):
            if any(name in self.audiences for name in audience):
                return
        elif audience is None and not self.audiences:
            return
        expected = " or ".join(self.audiences) or "none"
        raise ClaimError(
            "aud",
            f"aud is {printable(audience)}, expected {expected}",
            message=ClaimError.AUDIENCE_INVALID.replace("…", expected),
        )


def check_types(claims: dict[str, Any]) -> None:
    """Check that the registered claims have the types that RFC 7519 defines.

    Raises:
        ClaimError: a time is not a finite number after 1970 and before the year 10000; a name is not a string of 1 to
            255 characters without control characters; or ``aud`` is not a string or a list of strings.
    """
    for name in TIMES:
        value = claims.get(name, 1)
        # The exact type, because True is an int; NaN and the infinities fail the comparison.
        if (type(value) is not int and type(value) is not float) or not 0 < value <= LAST_SECOND:
            raise ClaimError(name, f"{name} is {printable(value)}, not seconds since 1970")
    for name in NAMES:
        value = claims.get(name, "absent")
        # Most names are printable and short; check_name decides about the others.
        if not (type(value) is str and value.isprintable() and 0 < len(value) <= MAX_NAME):
            check_name(name, value)
    audience = claims.get("aud", "")
    if type(audience) is not str and not (type(audience) is list and all(isinstance(name, str) for name in audience)):
        raise ClaimError("aud", f"aud is {printable(audience)}, not a string or a list of strings")


def check_name(claim: str, value: object) -> None:
    """Check that the value of a claim is a name.

    Raises:
        ClaimError: the value is not a name.
    """
    if not is_name(value):
        hint = "; integer_subject=True accepts integers" if type(value) is int and claim == "sub" else ""
        raise ClaimError(claim, f"{claim} is {printable(value)}, not a string of 1 to {MAX_NAME} characters{hint}")


def one_or_more(value: str | Iterable[str] | None, what: str) -> tuple[str, ...]:
    """Return the names in a setting that is one name or several.

    Raises:
        ConfigError: not strings, an empty string, or a string that begins or ends with white space.
    """
    if value is None:
        return ()
    names = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Iterable) else ()
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ConfigError(f"{what} must be a string or a list of strings, not {value!r}")
    for name in names:
        if name.strip() != name:
            raise ConfigError(f"{what} begins or ends with white space or a line break: {name[:100]!r}; remove it")
    return names


def as_seconds(value: object, what: str) -> float:
    """Return the seconds of a setting that is a number or a :class:`datetime.timedelta`.

    Raises:
        ConfigError: the value is neither, or is not finite.
    """
    total_seconds = getattr(value, "total_seconds", None)
    if callable(total_seconds):
        value = total_seconds()
    if not _is_number(value):
        raise ConfigError(f"{what} must be seconds or a timedelta, not {value!r}")
    assert isinstance(value, (int, float))
    return value


def exact_claims(claims: object) -> dict[str, tuple[ExactValue | None, ...]]:
    """Return the setting ``claims`` with the accepted values of each claim.

    Raises:
        ConfigError: not a mapping of names to values, or a list without a value.
    """
    if not isinstance(claims, Mapping):
        raise ConfigError(f"claims must be a mapping, such as {{'token_type': 'access'}}, not {claims!r}")
    accepted = {}
    for name, wanted in claims.items():
        values = tuple(wanted) if isinstance(wanted, (list, tuple)) else (wanted,)
        named = [value for value in values if value is not None]
        if not isinstance(name, str) or not named or not all(isinstance(value, (str, int)) for value in named):
            raise ConfigError(f"claims requires a string or an integer for {name!r}, or a list of them, not {wanted!r}")
        accepted[name] = values
    return accepted


def _is_same(found: object, wanted: ExactValue | None) -> bool:
    """Return True if a claim has this value. True is not 1, and a string is not a number."""
    if type(wanted) is int:
        return whole(found) == wanted
    return type(found) is type(wanted) and found == wanted


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)
