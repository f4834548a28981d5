"""The judgement of a token's claims (RFC 7519 section 4.1), in one fixed order, with the clock as an argument."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Protocol

from roomkey.core.printable import printable
from roomkey.errors import ClaimError, ConfigError, ExpiredToken, ImmatureToken, MissingClaim

MAX_NAME = 255
LAST_SECOND = 253_402_300_799  # the year 9999; a larger NumericDate is a mistake or an attack
TIMES = ("exp", "nbf", "iat")
NAMES = ("iss", "sub", "jti", "sid")
NO_SUBJECTS = frozenset({*TIMES, "iss", "aud", "jti", "sid", "roles", "rooms", "scope"})
LAST_INTEGER = 2**53 - 1  # the largest that every JSON parser reads alike (RFC 8259 section 6)
KINDS = ("type", "token_type", "token_use", "typ")
"""Claims by which issuers tell their tokens apart; none is registered, each is common."""
NOT_FOR_ACCESS = frozenset({"refresh", "refresh_token", "offline", "id", "id_token"})


class TimeSpan(Protocol):
    """A :class:`datetime.timedelta`, whose module has clocks, and is not imported here."""

    def total_seconds(self) -> float:
        """Its length in seconds."""


@dataclass(frozen=True, slots=True)
class ExpectedClaims:
    """What a verifier expects of the claims.

    Attributes:
        issuers: accepted ``iss``; empty accepts any, also none.
        audiences: accepted ``aud``; empty accepts only tokens without ``aud``.
        leeway: seconds of clock difference that ``exp`` and ``nbf`` (and ``iat``, under ``max_age``) are forgiven.
        require: claims that must be there.
        max_lifetime: the longest ``exp - iat`` in seconds, or None; with it, ``iat`` and ``exp`` are required.
        max_age: the longest time since ``iat`` in seconds, or None; with it, ``iat`` is required and not ahead.
        claims: further claims and the exact value that each must have.
        subject_claim: the claim that names the subject.
        integer_subject: also accept a whole number there, as its decimal text.

    Raises:
        ConfigError: a negative or infinite number of seconds, or a value of a wrong type.
    """

    issuers: tuple[str, ...] = ()
    audiences: tuple[str, ...] = ()
    leeway: float = 30.0
    require: tuple[str, ...] = ("exp", "sub")
    max_lifetime: float | None = None
    max_age: float | None = None
    claims: Mapping[str, str | int | bool] = field(default_factory=dict)
    subject_claim: str = "sub"
    integer_subject: bool = False

    def __post_init__(self) -> None:
        if not is_name(self.subject_claim) or self.subject_claim in NO_SUBJECTS:
            raise ConfigError(f"subject_claim must name a claim that identifies the user, not {self.subject_claim!r}")
        for name, wanted in self.claims.items():
            if not isinstance(name, str) or not isinstance(wanted, (str, int)):
                raise ConfigError(f"claims requires a string or a whole number for {name!r}, not {wanted!r}")
        for name in ("leeway", "max_lifetime", "max_age"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and value >= 0):
                raise ConfigError(f"{name} takes seconds, 0 or more, not {value!r}")

    def check(self, claims: dict[str, Any], now: float) -> str:
        """Judge the claims.

        Args:
            claims: the payload of a token whose signature is verified.
            now: seconds since the epoch.

        Returns:
            The subject; an empty text if the token names none.

        Raises:
            ClaimError: the first check that fails: types, presence, ``nbf``, ``exp``, lifetime, ``iss``, ``aud``, other
                values.
        """
        if self.integer_subject:
            claims = self._with_text(claims)
        check_types(claims)
        for name in self.require:
            if name not in claims:
                hint = "; subject_claim names another claim" if name == self.subject_claim == "sub" else ""
                raise MissingClaim(name, f"claim {name} is missing{hint}")
        subject: str = claims.get(self.subject_claim, "")
        if self.subject_claim != "sub" and self.subject_claim in claims:
            check_name(self.subject_claim, subject)
        self._check_times(claims, now)
        if self.max_lifetime is not None or self.max_age is not None:
            self._check_bounds(claims, now)
        if self.issuers and claims.get("iss") not in self.issuers:
            raise ClaimError(
                "iss",
                f"iss is {printable(claims.get('iss'))}, expected {' or '.join(self.issuers)}",
                message=f"jwt issuer invalid. expected: {' or '.join(self.issuers)}",
            )
        self._check_audience(claims)
        self._check_values(claims)
        return subject

    def _with_text(self, claims: dict[str, Any]) -> dict[str, Any]:
        """The claims with the subject as text; True is no number here, and what JavaScript rounds is nobody's."""
        number = claims.get(self.subject_claim)
        if type(number) is int and abs(number) <= LAST_INTEGER:
            return {**claims, self.subject_claim: str(number)}
        return claims

    def _check_values(self, claims: dict[str, Any]) -> None:
        for name, wanted in self.claims.items():
            found = claims.get(name)
            if type(found) is not type(wanted) or found != wanted:  # True is 1, and no string is a number
                raise ClaimError(name, f"{name} is {printable(found)}, expected {printable(wanted)}")
        for name in KINDS:
            kind = claims.get(name)
            if isinstance(kind, str) and kind.lower() in NOT_FOR_ACCESS and name not in self.claims:
                raise ClaimError(name, f"{name} is {printable(kind)}: not an access token")

    def _check_times(self, claims: dict[str, Any], now: float) -> None:
        not_before, expires, issued = claims.get("nbf"), claims.get("exp"), claims.get("iat")
        # Written as "not within", so that a clock that reads NaN refuses everything.
        if not_before is not None and not now >= not_before - self.leeway:
            raise ImmatureToken("nbf", f"valid in {not_before - now:.0f} s, leeway {self.leeway:g} s", date=not_before)
        if expires is not None:
            if not now <= expires + self.leeway:
                raise ExpiredToken(
                    "exp", f"expired {now - expires:.0f} s ago, leeway {self.leeway:g} s", expired_at=expires
                )
            if issued is not None and expires < issued:
                raise ClaimError("exp", "exp lies before iat")

    def _check_bounds(self, claims: dict[str, Any], now: float) -> None:
        issued = claims.get("iat")
        if issued is None:
            raise MissingClaim("iat", "claim iat is missing, and a lifetime or age is bounded")
        if self.max_age is not None:
            if issued > now + self.leeway:
                raise ClaimError("iat", f"issued in {issued - now:.0f} s, leeway {self.leeway:g} s")
            if now > issued + self.max_age + self.leeway:
                raise ExpiredToken(
                    "iat",
                    f"issued {now - issued:.0f} s ago, at most {self.max_age:g} s",
                    message="maxAge exceeded",
                )
        if self.max_lifetime is not None:
            expires = claims.get("exp")
            if expires is None:
                raise MissingClaim("exp", "claim exp is missing, and max_lifetime is set")
            lifetime = max(expires - issued, expires - now - self.leeway)
            if lifetime > self.max_lifetime:
                raise ClaimError("exp", f"a lifetime of {lifetime:.0f} s, at most {self.max_lifetime:g} s")

    def _check_audience(self, claims: dict[str, Any]) -> None:
        audience = claims.get("aud")
        if isinstance(audience, str):
            if audience in self.audiences:
                return
        elif isinstance(audience, list):
            if any(name in self.audiences for name in audience):
                return
        elif not self.audiences:
            return
        expected = " or ".join(self.audiences) or "none"
        raise ClaimError(
            "aud",
            f"aud is {printable(audience)}, expected {expected}",
            message=f"jwt audience invalid. expected: {expected}",
        )


def check_types(claims: dict[str, Any]) -> None:
    """Registered claims have the types that RFC 7519 gives them: a number is no name, a string is no time.

    Raises:
        ClaimError: a time that is no finite number after 1970 and before the year 10000; a name that is no string
            of 1 to 255 printable characters; an ``aud`` that is neither a string nor a list of strings.
    """
    for name in TIMES:
        value = claims.get(name, 1)
        # By exact type, since True is an int; NaN and the infinities fail the comparison.
        if (type(value) is not int and type(value) is not float) or not 0 < value <= LAST_SECOND:
            raise ClaimError(name, f"{name} is {printable(value)}, not seconds since 1970")
    for name in NAMES:
        value = claims.get(name, "absent")
        # A plain name is printable and short; is_name is asked about the others.
        if not (type(value) is str and value.isprintable() and 0 < len(value) <= MAX_NAME):
            check_name(name, value)
    audience = claims.get("aud", "")
    if type(audience) is not str and not (type(audience) is list and all(isinstance(name, str) for name in audience)):
        raise ClaimError("aud", f"aud is {printable(audience)}, not a string or a list of strings")


def check_name(claim: str, value: object) -> None:
    """Check that a claim is a name.

    Raises:
        ClaimError: it is not.
    """
    if not is_name(value):
        # Of the names, only a subject may be a number.
        hint = "; integer_subject=True accepts whole numbers" if type(value) is int and claim not in NO_SUBJECTS else ""
        raise ClaimError(claim, f"{claim} is {printable(value)}, not a string of 1 to {MAX_NAME} characters{hint}")


def is_name(value: object) -> bool:
    """True for a string of 1 to 255 characters without control characters and unpaired surrogates."""
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME and (value.isprintable() or _is_clean(value))


def _is_clean(value: str) -> bool:
    return all(c >= " " and not "\x7f" <= c <= "\x9f" and not "\ud800" <= c <= "\udfff" for c in value)


def one_or_more(value: str | Iterable[str] | None, what: str) -> tuple[str, ...]:
    """A setting that takes one name or several.

    Raises:
        ConfigError: not strings, an empty one, or one with white space or a line break around it, which no token has.
    """
    if value is None:
        return ()
    names = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Iterable) else ()
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ConfigError(f"{what} takes a string or a list of strings, not {value!r}")
    for name in names:
        if name.strip() != name:
            raise ConfigError(f"{what} begins or ends with white space or a line break: {name[:100]!r}; remove it")
    return names


def as_seconds(value: object, what: str) -> float:
    """A setting that takes a span of time: seconds, or a :class:`datetime.timedelta`.

    Raises:
        ConfigError: neither, or not finite.
    """
    total_seconds = getattr(value, "total_seconds", None)
    if callable(total_seconds):
        value = total_seconds()
    if not _is_number(value):
        raise ConfigError(f"{what} must be seconds or a timedelta, not {value!r}")
    assert isinstance(value, (int, float))
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)
