"""The issuer: it signs the claims of a user as a token."""

from __future__ import annotations

import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Unpack

from roomkey.core import strict_json
from roomkey.core.claims import TimeSpan, as_seconds, check_types, one_or_more
from roomkey.core.grants import MAX_NAMES, granted_actions
from roomkey.core.jws import MAX_TOKEN, TYPES, check_max_token
from roomkey.core.keys import Key, LiveKey
from roomkey.core.names import MAX_NAME, is_name
from roomkey.core.verifier import TOKEN_TYPES, Verifier
from roomkey.core.verifier_settings import VerifierSettings
from roomkey.errors import ClaimError, ConfigError

MAX_TOKEN_LIFETIME = 7 * 86400
"""The longest lifetime of a login server's tokens in seconds, and the default time to keep a revocation."""

RESERVED = frozenset({"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "roles", "rooms", "scope"})


class Issuer:
    """Issues tokens.

    Args:
        key: a private key or a shared secret; or, for keys that rotate, a function from the time to the signing key,
            such as :meth:`roomkey.keysets.folder.KeyFolder.signing`.
        algorithm: one of the key's algorithms. Default: the first.
        issuer: ``iss`` of all tokens; None omits the claim.
        audience: ``aud`` of all tokens, one or several names; None omits the claim.
        expires_in: default lifetime of a token: seconds, or a :class:`datetime.timedelta`.
        token_type: ``typ`` in the header: ``JWT``, or ``at+jwt`` (RFC 9068).
        max_token: the longest token to issue, in bytes; verifiers must accept tokens of this length.
        clock: returns the seconds since the epoch.

    Raises:
        ConfigError: a public key, an algorithm that is not one of the key's, or an invalid issuer or audience.
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
            raise ConfigError(f"token_type must be one of {', '.join(TOKEN_TYPES)}, not {token_type!r}")
        self.issuer = issuer
        audiences = one_or_more(audience, "audience")
        self.audience = audience if audience is None or isinstance(audience, str) else list(audiences)
        self.expires_in = as_seconds(expires_in, "expires_in")
        self.max_token = check_max_token(max_token)
        self._token_type = token_type
        self._signing = self._with_header(first)

    @property
    def key(self) -> Key:
        """The current signing key."""
        return self._source if isinstance(self._source, Key) else self._source(self.clock())

    def _with_header(self, key: Key) -> tuple[Key, bytes]:
        """Return a key, and the encoded header of the tokens that it signs."""
        if not key.is_private:
            raise ConfigError("an issuer requires a private key or a shared secret; this key is public")
        if self.algorithm not in key.algorithms:
            raise ConfigError(f"key {key.kid} is for {', '.join(key.algorithms)}, not {self.algorithm}")
        text = strict_json.dumps({"alg": self.algorithm, "kid": key.kid, "typ": self._token_type})
        strict_json.loads(text, portable=True)  # rejects a kid that no verifier accepts
        return key, urlsafe_b64encode(text.encode()).rstrip(b"=")

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
        """Create an issuer with a new key that exists only in this process, for tests and experiments."""
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
        """Issue a token.

        Args:
            subject: ``sub``, the user: a string of 1 to 255 characters.
            expires_in: lifetime in seconds, or a :class:`datetime.timedelta`. A negative lifetime issues an expired
                token, for tests.
            roles: ``roles``, names of roles.
            rooms: ``rooms``: names and patterns of rooms, or an object with the actions for each of them, such as
                ``{"team-*": ["join"]}``.
            scopes: ``scope``, names without spaces.
            claims: further claims, except those that have an argument here.
            token_id: ``jti``. Default: 128 random bits.
            session_id: ``sid``, the login session that the token belongs to.
            not_before: ``nbf`` in seconds since the epoch.

        Returns:
            The token in compact form, at most ``max_token`` characters.

        Raises:
            ConfigError: a claim that no verifier would accept, a token longer than ``max_token``, or no signing key.
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
            "roles": None if roles == () else _checked_list(roles, "roles"),
            "rooms": _room_actions(rooms) if isinstance(rooms, Mapping) else _checked_list(rooms, "rooms"),
            "scope": None if scopes == () else " ".join(_checked_list(scopes, "scopes", without=" ") or ()) or None,
        }
        taken = RESERVED.intersection(claims or ())
        if taken:
            raise ConfigError(f"claims contains {', '.join(sorted(taken))}; use the argument of that name")
        payload = {name: value for name, value in payload.items() if value is not None or name == "sub"}
        return self._signed(payload | dict(claims or {}))

    def _signed(self, payload: dict[str, Any]) -> str:
        """Check the claims, encode them and sign the token."""
        try:
            check_types(payload)
            text = strict_json.dumps(payload)
            if not payload.keys() <= RESERVED or isinstance(payload.get("rooms"), dict) or "\\ud" in text:
                # JSON can contain what no verifier accepts: two equal names, from 1 and "1", or half of an emoji.
                strict_json.loads(text, portable=True)
        except ClaimError as error:
            raise ConfigError(str(error)) from None
        except (TypeError, ValueError) as error:
            raise ConfigError(f"claims must be JSON: {error}") from None
        key, header = self._signing
        if key is not self._source and (current := self.key) is not key:
            key, header = self._signing = self._with_header(current)
        signing_input = header + b"." + urlsafe_b64encode(text.encode()).rstrip(b"=")
        signature = key.sign(self.algorithm, signing_input)
        token = signing_input + b"." + urlsafe_b64encode(signature).rstrip(b"=")
        if len(token) > self.max_token:
            raise ConfigError(
                f"the token has {len(token)} characters, but max_token is {self.max_token}; remove claims, "
                "or raise max_token here and in every verifier"
            )
        return token.decode("ascii")

    def sign(self, document: Mapping[str, Any], *, document_type: str) -> str:
        """Sign JSON that is not an access token.

        Args:
            document: the JSON.
            document_type: its ``typ``, by which its reader tells it from a token: a verifier rejects it as one.

        Raises:
            ConfigError: the type is one that access tokens have, or the document is not plain JSON.
        """
        if document_type.lower() in TYPES:
            raise ConfigError(f"{document_type} is the type of access tokens; use another one")
        key = self.key
        header = {"alg": self.algorithm, "kid": key.kid, "typ": document_type}
        try:
            signing_input = _encoded(header) + b"." + _encoded(document)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"the document must be plain JSON: {error}") from None
        signature = urlsafe_b64encode(key.sign(self.algorithm, signing_input)).rstrip(b"=")
        return (signing_input + b"." + signature).decode("ascii")

    def verifier(self, **settings: Unpack[VerifierSettings]) -> Verifier:
        """Create a verifier that accepts this issuer's tokens.

        Args:
            settings: further arguments of :class:`Verifier`, such as ``leeway`` or ``max_lifetime``.

        Raises:
            ConfigError: the issuer's key rotates, so that the issuer does not know the previous keys.
        """
        if not isinstance(self._source, Key):
            raise ConfigError(
                "cannot create a verifier: this issuer's key rotates; pass all keys to Verifier, such as "
                "KeyFolder.accepted"
            )
        settings = {"issuer": self.issuer, "audience": self.audience, "max_token": self.max_token, **settings}
        return Verifier(self._source.verifying(), algorithms=[self.algorithm], **settings)


def _encoded(members: Mapping[str, Any]) -> bytes:
    text = strict_json.dumps(members)
    strict_json.loads(text, portable=True)  # rejects what a verifier would reject
    return urlsafe_b64encode(text.encode()).rstrip(b"=")


def _checked_list(names: Iterable[str], what: str, without: str | None = None) -> list[str] | None:
    if isinstance(names, str):
        raise ConfigError(f"{what} must be a list: {what}=[{names!r}]")
    listed = list(names)
    if not all(is_name(name) for name in listed) or len(listed) > MAX_NAMES:
        raise ConfigError(
            f"{what} must be a list of at most {MAX_NAMES} names: each 1 to {MAX_NAME} characters, without control, "
            "format and private characters"
        )
    if without is not None and any(without in name for name in listed):
        raise ConfigError(f"{what}: a name that contains {without!r} would be read as two names")
    return listed or None


def _room_actions(rooms: Mapping[str, Iterable[str]]) -> dict[str, list[str]] | None:
    claim = {pattern: _checked_list(actions, f"rooms[{pattern!r}]") or [] for pattern, actions in rooms.items()}
    if rooms and not granted_actions(claim):
        raise ConfigError("rooms must list the actions for each room: {'team-*': ['join', 'emit:message']}")
    return claim or None
