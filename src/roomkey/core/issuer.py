"""From a person to a token."""

from __future__ import annotations

import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Unpack

from roomkey.core import strict_json
from roomkey.core.claims import TimeSpan, as_seconds, check_types, one_or_more
from roomkey.core.grants import granted_actions
from roomkey.core.jws import MAX_TOKEN, check_max_token
from roomkey.core.keys import Key, LiveKey
from roomkey.core.names import MAX_NAMES
from roomkey.core.verifier import TOKEN_TYPES, Verifier, VerifierSettings
from roomkey.errors import ClaimError, ConfigError

MAX_TOKEN_LIFETIME = 7 * 86400
"""Seconds: what a login server makes lives no longer, and a revocation is kept as long where nobody says more."""

RESERVED = frozenset({"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "roles", "rooms", "scope"})


class Issuer:
    """Makes tokens.

    Args:
        key: a private key or a shared secret; or what tells which one signs at a time, such as
            :meth:`roomkey.keysets.folder.KeyFolder.signing`, so that keys can be rotated.
        algorithm: one of the key's; its first if absent.
        issuer: ``iss`` of every token, or None for no such claim.
        audience: ``aud`` of every token, one or several, or None for no such claim.
        expires_in: lifetime where :meth:`issue` is not told another: seconds, or a :class:`datetime.timedelta`.
        token_type: the header's ``typ``: ``JWT``, or ``at+jwt`` (RFC 9068).
        max_token: the longest token to make, in bytes; verifiers must accept as much.
        clock: seconds since the epoch.

    Raises:
        ConfigError: a public key, an algorithm that is not the key's, or an issuer or audience that is no name.
    """

    def __init__(
        self,
        key: Key | LiveKey,
        *,
        algorithm: str | None = None,
        issuer: str | None = None,
        audience: str | Iterable[str] | None = None,
        expires_in: float | TimeSpan = 900.0,
        token_type: str = "JWT",  # noqa: S107 - a type, not a password
        max_token: int = MAX_TOKEN,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not isinstance(key, Key) and not callable(key):
            raise ConfigError(
                f"Issuer requires a Key, not {type(key).__name__}; pass Key.from_secret(secret) or "
                "Key.from_pem(private_key)"
            )
        self.clock = clock
        self._source = key
        first = self.key
        self.algorithm = algorithm or first.algorithms[0]
        one_or_more(issuer, "issuer")
        if token_type not in TOKEN_TYPES:
            raise ConfigError(f"token_type is one of {', '.join(TOKEN_TYPES)}, not {token_type!r}")
        self.issuer = issuer
        audiences = one_or_more(audience, "audience")
        self.audience = audience if audience is None or isinstance(audience, str) else list(audiences)
        self.expires_in = as_seconds(expires_in, "expires_in")
        self.max_token = check_max_token(max_token)
        self._token_type = token_type
        self._signs_with = self._headed(first)

    @property
    def key(self) -> Key:
        """The key that signs now."""
        return self._source if isinstance(self._source, Key) else self._source(self.clock())

    def _headed(self, key: Key) -> tuple[Key, bytes]:
        """A key, and the header of the tokens that it signs."""
        if not key.is_private:
            raise ConfigError("an issuer needs a private key or a shared secret; this key is public")
        if self.algorithm not in key.algorithms:
            raise ConfigError(f"key {key.kid} is for {', '.join(key.algorithms)}, not {self.algorithm}")
        return key, _encode({"alg": self.algorithm, "kid": key.kid, "typ": self._token_type})

    @classmethod
    def ephemeral(
        cls,
        *,
        audience: str | None = None,
        issuer: str | None = None,
        expires_in: float | TimeSpan = 900.0,
        algorithm: str = "HS256",
        clock: Callable[[], float] = time.time,
    ) -> Issuer:
        """An issuer with a key of its own that nobody else has: for tests and trials."""
        return cls(Key.generate(algorithm), audience=audience, issuer=issuer, expires_in=expires_in, clock=clock)

    def issue(
        self,
        subject: str,
        *,
        expires_in: float | TimeSpan | None = None,
        roles: Iterable[str] = (),
        rooms: Iterable[str] | Mapping[str, Iterable[str]] = (),
        scopes: Iterable[str] = (),
        claims: Mapping[str, Any] | None = None,
        token_id: str | None = None,
        session_id: str | None = None,
        not_before: float | None = None,
    ) -> str:
        """Make one token.

        Args:
            subject: ``sub``: who it is for, a string of 1 to 255 characters.
            expires_in: lifetime in seconds, or a :class:`datetime.timedelta`; negative makes a token that has expired,
                for tests.
            roles, scopes: left out of the token where empty.
            rooms: names and patterns of rooms, or for each what may be done there: ``{"team-*": ["join"]}``.
            claims: further claims; none that an argument here stands for.
            token_id: ``jti``; 128 random bits if absent.
            session_id: ``sid``: the login that this token belongs to.
            not_before: ``nbf`` in seconds since the epoch.

        Returns:
            The compact form, at most ``max_token`` characters.

        Raises:
            ConfigError: a claim that no verifier would accept, a token over the size limit, or no key that can sign.
        """
        now = int(self.clock())
        lifetime = self.expires_in if expires_in is None else as_seconds(expires_in, "expires_in")
        payload: dict[str, Any] = {
            "iss": self.issuer,
            "sub": subject,
            "aud": self.audience,
            "exp": int(now + lifetime) if float(lifetime).is_integer() else now + lifetime,
            "nbf": not_before,
            "iat": min(now, now + lifetime),
            "jti": token_id or secrets.token_urlsafe(16),
            "sid": session_id,
            "roles": _listed(roles, "roles"),
            "rooms": _grants(rooms),
            "scope": " ".join(_listed(scopes, "scopes", without=" ") or ()) or None,
        }
        taken = RESERVED.intersection(claims or ())
        if taken:
            raise ConfigError(f"claims holds {', '.join(sorted(taken))}; use the argument of that name")
        payload = {name: value for name, value in payload.items() if value is not None or name == "sub"}
        payload |= claims or {}
        try:
            check_types(payload)
            body = _encode(payload)
        except ClaimError as error:
            raise ConfigError(str(error)) from None
        except (TypeError, ValueError) as error:
            raise ConfigError(f"claims must be plain JSON: {error}") from None
        key, header = self._signs_with
        if (current := self.key) is not key:
            key, header = self._signs_with = self._headed(current)
        signing_input = header + b"." + body
        token = signing_input + b"." + _base64url(key.sign(self.algorithm, signing_input))
        if len(token) > self.max_token:
            raise ConfigError(
                f"the token has {len(token)} characters, but max_token is {self.max_token}; remove claims, "
                "or raise max_token here and in every verifier"
            )
        return token.decode("ascii")

    def verifier(self, **settings: Unpack[VerifierSettings]) -> Verifier:
        """A verifier that accepts this issuer's tokens.

        Args:
            settings: further arguments of :class:`Verifier`, such as ``leeway`` or ``max_lifetime``.

        Raises:
            ConfigError: the issuer's key changes, and only where the keys come from is known which were before it.
        """
        if not isinstance(self._source, Key):
            raise ConfigError(
                "this issuer's key changes: make a Verifier of all keys, such as those of KeyFolder.accepted"
            )
        settings = {"issuer": self.issuer, "audience": self.audience, "max_token": self.max_token, **settings}
        return Verifier(self._source.verifying(), algorithms=[self.algorithm], **settings)


def _listed(names: Iterable[str], what: str, without: str | None = None) -> list[str] | None:
    if isinstance(names, str):
        raise ConfigError(f"{what} takes a list: {what}=[{names!r}]")
    listed = list(names)
    if not all(isinstance(name, str) and name for name in listed) or len(listed) > MAX_NAMES:
        raise ConfigError(f"{what} takes a list of at most {MAX_NAMES} strings, none of them empty")
    if without is not None and any(without in name for name in listed):
        raise ConfigError(f"{what}: a name with {without!r} in it would be read as two")
    return listed or None


def _grants(rooms: Iterable[str] | Mapping[str, Iterable[str]]) -> list[str] | dict[str, list[str]] | None:
    if not isinstance(rooms, Mapping):
        return _listed(rooms, "rooms")
    written = {pattern: _listed(actions, f"rooms[{pattern!r}]") or [] for pattern, actions in rooms.items()}
    if rooms and not granted_actions(written):
        raise ConfigError("rooms names for each room what may be done: {'team-*': ['join', 'emit:message']}")
    return written or None


def _encode(members: Mapping[str, Any]) -> bytes:
    text = strict_json.dumps(members)
    strict_json.loads(text)  # whatever a verifier would refuse is refused here
    return _base64url(text.encode())


def _base64url(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")
