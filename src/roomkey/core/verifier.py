"""From a token to an identity, or to exactly one error."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict, Unpack

from roomkey.core import jws
from roomkey.core.algorithms import check_algorithms
from roomkey.core.claims import Expected, one_or_more
from roomkey.core.identity import Identity
from roomkey.core.keys import Key, KeySet
from roomkey.errors import ConfigError, MalformedToken

TOKEN_TYPES = ("JWT", "at+jwt")


class VerifierSettings(TypedDict, total=False):
    """The optional arguments of :class:`Verifier`."""

    issuer: str | Iterable[str] | None
    audience: str | Iterable[str] | None
    leeway: float
    require: Iterable[str]
    max_lifetime: float | None
    max_age: float | None
    token_type: str | None


class Verifier:
    """Decides whether a token is acceptable. It does no I/O, holds no state and reads no clock.

    Args:
        keys: the keys it trusts: a :class:`KeySet`, or :class:`Key` objects.
        algorithms: the accepted algorithms; never taken from a token (RFC 8725 section 3.1).
        issuer: the accepted ``iss``, one or several; None accepts any.
        audience: the accepted ``aud``, one or several; None accepts only tokens without ``aud``.
        leeway: seconds of clock difference to forgive.
        require: claims that must be there.
        max_lifetime: the longest accepted ``exp - iat`` in seconds; None sets no bound.
        max_age: the longest accepted time since ``iat`` in seconds; None sets no bound.
        token_type: ``"at+jwt"`` to demand an access token by its ``typ`` (RFC 9068 section 4), ``"JWT"`` to demand
            that one, None for either or none.

    Raises:
        ConfigError: settings under which it could accept what it should not, or nothing at all.
    """

    def __init__(
        self,
        keys: KeySet | Key | Iterable[Key],
        *,
        algorithms: Iterable[str],
        issuer: str | Iterable[str] | None = None,
        audience: str | Iterable[str] | None = None,
        leeway: float = 30.0,
        require: Iterable[str] = ("exp", "sub"),
        max_lifetime: float | None = None,
        max_age: float | None = None,
        token_type: str | None = None,
    ) -> None:
        self.keys = keys if isinstance(keys, KeySet) else KeySet([keys] if isinstance(keys, Key) else keys)
        self.algorithms = check_algorithms(algorithms)
        if not any(set(key.algorithms).intersection(self.algorithms) for key in self.keys):
            raise ConfigError(f"no key is usable with {', '.join(self.algorithms)}")
        if token_type is not None and token_type not in TOKEN_TYPES:
            raise ConfigError(f"token_type is one of {', '.join(TOKEN_TYPES)}, not {token_type!r}")
        self.token_type = token_type
        self.expected = Expected(
            issuers=one_or_more(issuer, "issuer"),
            audiences=one_or_more(audience, "audience"),
            leeway=leeway,
            require=one_or_more(require, "require") if require else (),
            max_lifetime=max_lifetime,
            max_age=max_age,
        )

    @classmethod
    def hs256(
        cls,
        secret: str | bytes,
        *,
        kid: str | None = None,
        **settings: Unpack[VerifierSettings],
    ) -> Verifier:
        """A verifier for tokens signed with a shared secret, as PyJWT's ``jwt.encode(payload, SECRET)`` makes them.

        Args:
            secret: at least 32 bytes.
            kid: the name of the key in the tokens' headers, where they carry one of their own.
            settings: as for :class:`Verifier`.

        Raises:
            ConfigError: a short or placeholder secret.
        """
        return cls(
            Key.from_secret(secret, kid=kid),
            algorithms=["HS256"],
            **settings,
        )

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
        parts = jws.split(token)
        jws.check_signature(parts, self.keys, self.algorithms)
        if self.token_type is not None:
            self._check_type(parts.header.type)
        claims = jws.json_object(parts.payload, "payload")
        self.expected.check(claims, now)
        return Identity.from_claims(claims, source)

    def _check_type(self, found: str | None) -> None:
        if found is None or found.removeprefix("application/") != str(self.token_type).lower():
            raise MalformedToken(f"typ is {found}, expected {self.token_type}")
