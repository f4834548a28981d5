"""From a token to an identity, or to exactly one error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any, TypedDict, Unpack

from roomkey.core import jws
from roomkey.core.algorithms import check_algorithms
from roomkey.core.claims import LAST_SECOND, ExpectedClaims, one_or_more
from roomkey.core.identity import Identity
from roomkey.core.keys import Key, KeySet, LiveKeySet
from roomkey.core.printable import printable
from roomkey.core.weak_keys import is_address
from roomkey.errors import BadSignature, ConfigError, MalformedToken, UnknownKey

TOKEN_TYPES = ("JWT", "at+jwt")

Keys = KeySet | Key | Iterable[Key] | LiveKeySet
"""The keys of one issuer, as a verifier takes them."""


class VerifierSettings(TypedDict, total=False):
    """The optional arguments of :class:`Verifier`."""

    issuer: str | Iterable[str] | None
    audience: str | Iterable[str] | None
    leeway: float
    require: Iterable[str]
    max_lifetime: float | None
    max_age: float | None
    token_type: str | None
    claims: Mapping[str, str | int | bool]
    subject_claim: str
    integer_subject: bool
    max_token: int


class Verifier:
    """Decides whether a token is acceptable. It does no I/O, holds no state and reads no clock.

    Args:
        keys: the keys it trusts: a :class:`KeySet`, or :class:`Key` objects; or what tells those of a time, such as
            :meth:`roomkey.keysets.folder.KeyFolder.accepted`, so that keys can be rotated. For several issuers, a
            mapping from each ``iss`` (or a tuple of its spellings) to that issuer's keys: a key verifies the tokens
            of its own issuer only.
        algorithms: the accepted algorithms; never taken from a token (RFC 8725 section 3.1).
        issuer: the accepted ``iss``, one or several; None accepts any. Several need one key, or a mapping as ``keys``.
        audience: the accepted ``aud``, one or several; None accepts only tokens without ``aud``.
        leeway: seconds of clock difference to forgive.
        require: claims that must be there; by default ``exp`` and the subject's.
        max_lifetime: the longest accepted ``exp - iat`` in seconds; None sets no bound.
        max_age: the longest accepted time since ``iat`` in seconds; None sets no bound.
        token_type: ``"at+jwt"`` to demand an access token by its ``typ`` (RFC 9068 section 4), ``"JWT"`` to demand
            that one, None for either or none.
        claims: further claims and the exact value that each must have, such as ``{"token_type": "access"}``. By
            default a token that calls itself a refresh or ID token is rejected; a claim that is named here is not
            looked at for that.
        subject_claim: the claim that names the subject, such as ``"user_id"``, where it is not ``sub``.
        integer_subject: also accept a whole number there: 7 becomes the subject ``"7"``.
        max_token: the longest token to look at, in bytes, at most 65536.

    Raises:
        ConfigError: settings under which it could accept what it should not, or nothing at all.
    """

    def __init__(
        self,
        keys: Keys | Mapping[str | tuple[str, ...], Keys],
        *,
        algorithms: Iterable[str],
        issuer: str | Iterable[str] | None = None,
        audience: str | Iterable[str] | None = None,
        leeway: float = 30.0,
        require: Iterable[str] | None = None,
        max_lifetime: float | None = None,
        max_age: float | None = None,
        token_type: str | None = None,
        claims: Mapping[str, str | int | bool] | None = None,
        subject_claim: str = "sub",
        integer_subject: bool = False,
        max_token: int = jws.MAX_TOKEN,
    ) -> None:
        issuers = one_or_more(issuer, "issuer")
        self.keys: KeySet | LiveKeySet | dict[str, KeySet | LiveKeySet]
        self.max_token = jws.check_max_token(max_token)
        if isinstance(keys, Mapping) and not _is_jwk(keys):
            if issuers:
                raise ConfigError("cannot use issuer with a mapping as keys, which names the issuers; remove issuer")
            self.keys = _by_issuer(keys)
            issuers = tuple(self.keys)
        else:
            self.keys = _key_source(keys)
            if len(issuers) > 1 and not (isinstance(self.keys, KeySet) and self.keys.only()):
                raise ConfigError(
                    "cannot tell which keys belong to which issuer; "
                    "pass a mapping of each issuer to its keys: Verifier({'https://a.example': keys_of_a, …})"
                )
        self._previous: tuple[KeySet, float] | None = None
        self.algorithms = check_algorithms(algorithms)
        for source in self.keys.values() if isinstance(self.keys, dict) else (self.keys,):
            if isinstance(source, KeySet) and not any(set(key.algorithms) & set(self.algorithms) for key in source):
                raise ConfigError(f"no key is usable with {', '.join(self.algorithms)}")
        if token_type is not None and token_type not in TOKEN_TYPES:
            raise ConfigError(f"token_type is one of {', '.join(TOKEN_TYPES)}, not {token_type!r}")
        self.token_type = token_type
        self.expected = ExpectedClaims(
            issuers=issuers,
            audiences=one_or_more(audience, "audience"),
            leeway=leeway,
            require=_required(require, subject_claim),
            max_lifetime=max_lifetime,
            max_age=max_age,
            claims=dict(claims or {}),
            subject_claim=subject_claim,
            integer_subject=integer_subject,
        )

    @property
    def requires_subject(self) -> bool:
        """True if every token that it accepts says whose it is."""
        return self.expected.subject_claim in self.expected.require

    @property
    def longest_lifetime(self) -> float | None:
        """The longest time in seconds that an accepted token may live, or None if the settings do not bound it."""
        bounds = [bound for bound in (self.expected.max_lifetime, self.expected.max_age) if bound is not None]
        return min(bounds, default=None)

    @classmethod
    def hs256(
        cls,
        secret: str | bytes,
        *,
        kid: str | None = None,
        previous: tuple[str | bytes, float] | None = None,
        **settings: Unpack[VerifierSettings],
    ) -> Verifier:
        """A verifier for tokens signed with HS256, as PyJWT's ``jwt.encode(payload, SECRET)`` makes them.

        Args:
            secret: at least 32 bytes.
            kid: the name of the key in the tokens' headers, where they carry one of their own.
            previous: the secret before this one, and the time in seconds since the epoch from which its tokens are
                refused: when the last of them has expired.
            settings: as for :class:`Verifier`.

        Raises:
            ConfigError: a short or placeholder secret, the same secret twice, or a time that is none.
        """
        return cls._hmac("HS256", secret, kid, previous, settings)

    @classmethod
    def hs384(
        cls,
        secret: str | bytes,
        *,
        kid: str | None = None,
        previous: tuple[str | bytes, float] | None = None,
        **settings: Unpack[VerifierSettings],
    ) -> Verifier:
        """As :meth:`hs256`, with HS384 and a secret of at least 48 bytes."""
        return cls._hmac("HS384", secret, kid, previous, settings)

    @classmethod
    def hs512(
        cls,
        secret: str | bytes,
        *,
        kid: str | None = None,
        previous: tuple[str | bytes, float] | None = None,
        **settings: Unpack[VerifierSettings],
    ) -> Verifier:
        """As :meth:`hs256`, with HS512 and a secret of at least 64 bytes."""
        return cls._hmac("HS512", secret, kid, previous, settings)

    @classmethod
    def _hmac(
        cls,
        algorithm: str,
        secret: str | bytes,
        kid: str | None,
        previous: tuple[str | bytes, float] | None,
        settings: VerifierSettings,
    ) -> Verifier:
        made = cls(Key.from_secret(secret, algorithm=algorithm, kid=kid), algorithms=[algorithm], **settings)
        if previous is not None:
            made._previous = _previous(algorithm, secret, previous, kid)
        return made

    @classmethod
    def pem(
        cls,
        public_key: str | bytes,
        *,
        algorithms: Iterable[str],
        kid: str | None = None,
        **settings: Unpack[VerifierSettings],
    ) -> Verifier:
        """A verifier for tokens signed with a key pair.

        Args:
            public_key: PEM.
            kid: the name of the key in the tokens' headers, where it is not its RFC 7638 thumbprint.
            settings: as for :class:`Verifier`.

        Raises:
            ConfigError: not a PEM public key, or not one for these algorithms.
        """
        chosen = check_algorithms(algorithms)
        if isinstance(public_key, str) and is_address(public_key):
            raise ConfigError(f"Verifier.pem requires the text of a PEM file; {_remedy(public_key)}")
        return cls(
            Key.from_pem(public_key, kid=kid, algorithms=chosen),
            algorithms=chosen,
            **settings,
        )

    def verify(self, token: object, now: float, *, source: str = "") -> Identity:
        """Decide on one token.

        Args:
            token: what was presented; anything but a well-formed string is refused.
            now: seconds since the epoch.
            source: where it was presented, kept on the identity.

        Returns:
            Who holds it.

        Raises:
            TokenError: the first check that fails; ``str(error)`` says what was found and by how much.
        """
        parts = jws.split(token, self.max_token)
        self._check_signature(parts, now)
        if self.token_type is not None:
            self._check_type(parts.header.type)
        claims = jws.json_object(parts.payload, "payload")
        return self.identify(claims, now, source=source)

    def identify(self, claims: dict[str, Any], now: float, *, source: str = "") -> Identity:
        """Decide on the claims of a token whose signature was verified.

        Args:
            claims: its payload; taken over, not copied.
            now: seconds since the epoch.
            source: where the token was presented.

        Raises:
            ClaimError: the first check that fails.
        """
        return Identity.from_claims(claims, source, subject=self.expected.check(claims, now))

    def _check_signature(self, parts: jws.Parts, now: float) -> None:
        keys = self._keys_of(parts, now)
        try:
            jws.check_signature(parts, keys, self.algorithms)
        except (BadSignature, UnknownKey) as error:
            if self._previous is None or not now < self._previous[1]:
                raise
            try:
                jws.check_signature(parts, self._previous[0], self.algorithms)
            except (BadSignature, UnknownKey):
                raise error from None

    def _keys_of(self, parts: jws.Parts, now: float) -> KeySet:
        source = self.keys
        if isinstance(source, dict):
            # The claim only chooses among the keys, as `kid` does; it is believed after the signature is verified.
            issuer = jws.json_object(parts.payload, "payload").get("iss")
            if not isinstance(issuer, str) or issuer not in source:
                raise UnknownKey(f"no key of the issuer {printable(issuer)}")
            source = source[issuer]
        return source if isinstance(source, KeySet) else source(now)

    def _check_type(self, found: str | None) -> None:
        if found is None or found.removeprefix("application/") != str(self.token_type).lower():
            raise MalformedToken(f"typ is {found}, expected {self.token_type}")


def _required(require: Iterable[str] | None, subject_claim: str) -> tuple[str, ...]:
    if require is None:
        return ("exp", subject_claim)
    return one_or_more(require, "require") if require else ()


def _is_jwk(keys: Mapping[Any, Any]) -> bool:
    """True for what is not a mapping of issuers, but a JWK or a JWK Set."""
    return "kty" in keys or isinstance(keys.get("keys"), list)


def _key_source(keys: object) -> KeySet | LiveKeySet:
    if isinstance(keys, KeySet):
        return keys
    if callable(keys):
        live: LiveKeySet = keys
        return live
    if isinstance(keys, (str, bytes, PurePath, Mapping)):
        raise ConfigError(f"a verifier requires keys; {_remedy(keys)}")
    held = [keys] if isinstance(keys, Key) else list(keys) if isinstance(keys, Iterable) else None
    if held is None or not all(isinstance(key, Key) for key in held):
        raise ConfigError("a verifier requires a KeySet or Key objects, such as Key.from_pem(public_key)")
    return KeySet(held)


def _remedy(keys: str | bytes | PurePath | Mapping[Any, Any]) -> str:
    """What to write instead of something that is no key; it may be a secret, so it is not shown."""
    if isinstance(keys, Mapping):
        return "read the JWK Set with KeySet.from_jwks(…), or the JWK with Key.from_jwk(…)"
    if isinstance(keys, PurePath):
        return f"read the file: Verifier.pem(Path({str(keys)!r}).read_bytes(), algorithms=[…])"
    text = keys.decode("utf-8", "replace") if isinstance(keys, bytes) else keys
    if is_address(text):
        return "download the JWK Set from this URL, and pass KeySet.from_jwks(downloaded)"
    if "-----BEGIN" in text:
        return "use Verifier.pem(public_key, algorithms=[…])"
    return "use Verifier.hs256(secret) for a shared secret"


def _by_issuer(keys: Mapping[str | tuple[str, ...], Keys]) -> dict[str, KeySet | LiveKeySet]:
    """The keys of each issuer, under each spelling of its ``iss``."""
    bound: dict[str, KeySet | LiveKeySet] = {}
    for issuers, source in keys.items():
        for issuer in one_or_more(issuers, "an issuer in keys"):
            if issuer in bound:
                raise ConfigError(f"keys names the issuer {issuer!r} twice")
            bound[issuer] = _key_source(source)
    if not bound:
        raise ConfigError("keys is empty; name at least one issuer and its keys")
    return bound


def _previous(algorithm: str, secret: str | bytes, previous: object, kid: str | None) -> tuple[KeySet, float]:
    """The secret that is on its way out, as a key, and until when."""
    if not isinstance(previous, tuple) or len(previous) != 2:
        raise ConfigError("previous takes two values: the old secret, and a time in seconds since the epoch")
    old, until = previous
    if isinstance(until, bool) or not isinstance(until, (int, float)) or not 0 <= until <= LAST_SECOND:
        raise ConfigError("previous takes the old secret first, and then a time in seconds since the epoch")
    key = Key.from_secret(old, algorithm=algorithm)
    if key.kid == Key.from_secret(secret, algorithm=algorithm).kid:  # thumbprints
        raise ConfigError("previous holds the secret that is in use: it takes the one before it")
    return KeySet([key if kid is None else Key.from_secret(old, algorithm=algorithm, kid=kid)]), until
