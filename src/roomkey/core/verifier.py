"""Verification of tokens: the result is an identity, or exactly one error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Unpack

from roomkey.core import jws
from roomkey.core.algorithms import check_algorithms
from roomkey.core.any_of import AnyOf, TokenVerifier
from roomkey.core.claims import ExactClaims, ExpectedClaims, check_name, exact_claims, one_or_more
from roomkey.core.claims_map import Place, map_of
from roomkey.core.credentials import Credential
from roomkey.core.dpop import check_binding
from roomkey.core.identity import Identity
from roomkey.core.key_set import KeySet, LiveKeySet
from roomkey.core.key_sources import (
    Keys,
    bound_keys,
    check_usable,
    keys_of_issuer,
    previous_secret,
    remedy,
    short_secret_warning,
)
from roomkey.core.keys import Key
from roomkey.core.names import is_name
from roomkey.core.presets import preset_of
from roomkey.core.verifier_settings import VerifierSettings
from roomkey.core.weak_keys import is_address
from roomkey.errors import (
    AuthError,
    BadSignature,
    ClaimError,
    ConfigError,
    ExpiredToken,
    InvalidProof,
    MalformedToken,
    Unavailable,
    UnknownKey,
)

TOKEN_TYPES = ("JWT", "at+jwt")


class Verifier:
    """Verifies tokens. A verifier does no I/O, has no state and reads no clock.

    Args:
        keys: the trusted keys: a :class:`KeySet` or :class:`Key` objects; or, for keys that rotate, a function from the
            time to a key set, such as :meth:`roomkey.keysets.folder.KeyFolder.accepted`. For several issuers, a mapping
            from each ``iss`` (or a tuple of its spellings) to the keys of that issuer. A key verifies only the tokens
            of its own issuer.
        algorithms: the accepted algorithms. They never come from a token (RFC 8725 section 3.1).
        issuer: one or several accepted values of ``iss``; None accepts any. Several issuers require a single key, or a
            mapping as ``keys``.
        audience: one or several accepted values of ``aud``; None accepts only tokens without ``aud``.
        leeway: tolerated clock difference in seconds.
        require: claims that must be present. ``sub`` is the subject, wherever it is. Default: ``exp`` and ``sub``.
        max_lifetime: the longest accepted ``exp - iat`` in seconds; None accepts any.
        max_age: the longest accepted time since ``iat`` in seconds; None accepts any.
        token_type: the required ``typ``: ``"at+jwt"`` for access tokens (RFC 9068 section 4), or ``"JWT"``; None
            accepts either, and tokens without ``typ``.
        claims: further claims, each with the exact value that it must have, such as ``{"token_type": "access"}``, or
            with a list of values; None in a list accepts tokens without the claim. By default, the verifier rejects
            tokens that are marked as refresh tokens, ID tokens or logout tokens. It does not check the claims named
            here for such a mark.
        claims_map: where the tokens have the ``subject``, ``audience``, ``session``, ``roles`` (a list), ``role`` (one
            string), ``rooms`` and ``scopes``: for example ``{"subject": "user_id", "roles": "realm_access.roles"}``.
            :func:`roomkey.core.claims_map.path_of` explains the form of a place. If the map names ``roles`` or
            ``role``, roles come only from there.
        integer_subject: also accept an integer as the subject: 7 becomes the subject ``"7"``.
        preset: the name of a common issuer, such as ``"keycloak"``, for its settings: see
            :mod:`roomkey.core.presets`. Other arguments win over it.
        max_token: the longest accepted token, in bytes; at most 65536.
        tolerate_header: header members to ignore, of ``jku``, ``x5u`` and ``x5c``, for an issuer that sends them. By
            default, tokens with these members are rejected. In no case are they followed.
        subject_prefix: begins the subject of every identity, so that issuers cannot have users of the same name.

    Attributes:
        warnings: what is insecure about the settings, without secrets. Guards log it.

    Raises:
        ConfigError: with these settings, the verifier could accept wrong tokens, or could accept none.
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
        claims: ExactClaims | None = None,
        claims_map: Mapping[str, Place] | None = None,
        integer_subject: bool | None = None,
        preset: str | None = None,
        max_token: int = jws.MAX_TOKEN,
        tolerate_header: Iterable[str] = (),
        subject_prefix: str = "",
    ) -> None:
        self.max_token = jws.check_max_token(max_token)
        self._tolerated = jws.check_tolerated(tolerate_header)
        if subject_prefix and not is_name(subject_prefix):
            raise ConfigError(f"subject_prefix must be a name, such as 'sso:', not {subject_prefix!r}")
        self._prefix = subject_prefix
        self.keys, issuers = bound_keys(keys, one_or_more(issuer, "issuer"))
        self._previous: tuple[KeySet, float] | None = None
        self.warnings: tuple[str, ...] = ()
        self.algorithms = check_algorithms(algorithms)
        check_usable(self.keys, self.algorithms)
        if token_type is not None and token_type not in TOKEN_TYPES:
            raise ConfigError(f"token_type must be one of {', '.join(TOKEN_TYPES)}, not {token_type!r}")
        self.token_type = token_type
        chosen = preset_of(preset).under(
            audience=audience, require=require, claims=claims, claims_map=claims_map, integer_subject=integer_subject
        )
        self.expected = ExpectedClaims(
            issuers=issuers,
            audiences=one_or_more(chosen.audience, "audience"),
            leeway=leeway,
            require=_required(chosen.require),
            max_lifetime=max_lifetime,
            max_age=max_age,
            claims=exact_claims(chosen.claims),
        )
        self._map = map_of(chosen.claims_map, chosen.integer_subject, self.expected.audiences)

    @property
    def issuers(self) -> tuple[str, ...]:
        """The accepted values of ``iss``; empty if any is accepted."""
        return self.expected.issuers

    @property
    def requires_subject(self) -> bool:
        """True if all accepted tokens have a subject."""
        return "sub" in self.expected.require

    @property
    def longest_lifetime(self) -> float | None:
        """The longest lifetime of an accepted token in seconds, or None if the settings do not limit it."""
        bounds = [bound for bound in (self.expected.max_lifetime, self.expected.max_age) if bound is not None]
        return min(bounds, default=None)

    @classmethod
    def hs256(
        cls,
        secret: str | bytes,
        *,
        kid: str | None = None,
        previous: tuple[str | bytes, float] | None = None,
        insecure_short_secret: bool = False,
        **settings: Unpack[VerifierSettings],
    ) -> Verifier:
        """Create a verifier for tokens signed with HS256, such as those of PyJWT's ``jwt.encode(payload, SECRET)``.

        Args:
            secret: the shared secret, at least 32 bytes.
            kid: the ``kid`` in the headers of the tokens, if it is not the key's RFC 7638 thumbprint.
            previous: the secret that was used before, and the time in seconds since the epoch from which its tokens are
                rejected. Choose the time at which the last of them expires.
            insecure_short_secret: accept a secret of any length, while you replace it. With ``previous``, this is the
                previous secret; ``secret`` must be long. Each guard logs a warning.
            settings: the optional arguments of :class:`Verifier`.

        Raises:
            ConfigError: the secret is short, a placeholder or the same as the previous one, or the time is invalid.
        """
        return cls._hmac("HS256", secret, kid, previous, insecure_short_secret, settings)

    @classmethod
    def hs384(
        cls,
        secret: str | bytes,
        *,
        kid: str | None = None,
        previous: tuple[str | bytes, float] | None = None,
        insecure_short_secret: bool = False,
        **settings: Unpack[VerifierSettings],
    ) -> Verifier:
        """Create a verifier as :meth:`hs256` does, for HS384 and a secret of at least 48 bytes."""
        return cls._hmac("HS384", secret, kid, previous, insecure_short_secret, settings)

    @classmethod
    def hs512(
        cls,
        secret: str | bytes,
        *,
        kid: str | None = None,
        previous: tuple[str | bytes, float] | None = None,
        insecure_short_secret: bool = False,
        **settings: Unpack[VerifierSettings],
    ) -> Verifier:
        """Create a verifier as :meth:`hs256` does, for HS512 and a secret of at least 64 bytes."""
        return cls._hmac("HS512", secret, kid, previous, insecure_short_secret, settings)

    @classmethod
    def _hmac(
        cls,
        algorithm: str,
        secret: str | bytes,
        kid: str | None,
        previous: tuple[str | bytes, float] | None,
        insecure_short_secret: bool,
        settings: VerifierSettings,
    ) -> Verifier:
        if not isinstance(insecure_short_secret, bool):
            raise ConfigError("insecure_short_secret must be True or False")
        any_length = Key._from_short_secret if insecure_short_secret else Key.from_secret
        make = any_length if previous is None else Key.from_secret
        verifier = cls(make(secret, algorithm=algorithm, kid=kid), algorithms=[algorithm], **settings)
        warning = short_secret_warning(secret, algorithm, "the secret")
        if previous is not None:
            verifier._previous = previous_secret(algorithm, secret, previous, kid, any_length)
            warning = short_secret_warning(previous[0], algorithm, "the previous secret")
        verifier.warnings = (warning,) if warning is not None else ()
        return verifier

    @classmethod
    def pem(
        cls,
        public_key: str | bytes,
        *,
        algorithms: Iterable[str],
        kid: str | None = None,
        **settings: Unpack[VerifierSettings],
    ) -> Verifier:
        """Create a verifier for tokens signed with a private key.

        Args:
            public_key: the public key as PEM text.
            algorithms: the accepted algorithms.
            kid: the ``kid`` in the headers of the tokens, if it is not the key's RFC 7638 thumbprint.
            settings: the optional arguments of :class:`Verifier`.

        Raises:
            ConfigError: not a public key in PEM form, or not a key for these algorithms.
        """
        chosen = check_algorithms(algorithms)
        if isinstance(public_key, str) and is_address(public_key):
            raise ConfigError(f"Verifier.pem requires the text of a PEM file; {remedy(public_key)}")
        return cls(
            Key.from_pem(public_key, kid=kid, algorithms=chosen),
            algorithms=chosen,
            **settings,
        )

    @classmethod
    def jwks(
        cls,
        url: str,
        *,
        algorithms: Iterable[str] | None = None,
        fetch_timeout: float = 2.0,
        **settings: Unpack[VerifierSettings],
    ) -> Verifier:
        """Create a verifier for tokens of another server, which publishes its keys as a JWK Set.

        The verifier fetches the keys when tokens need them: see :class:`roomkey.keysets.RemoteKeySet`. Requires the
        extra ``remote``.

        Args:
            url: where the keys are: an ``https`` URL, or ``http`` on this machine.
            algorithms: the accepted algorithms. Default: those of the preset, or all asymmetric ones.
            fetch_timeout: the longest time that a token waits for the keys, in seconds.
            settings: the optional arguments of :class:`Verifier`, such as ``issuer`` and ``audience``.

        Raises:
            ConfigError: an invalid URL or setting.
        """
        from roomkey.keysets.verifiers import jwks_verifier  # importing roomkey loads no network

        return jwks_verifier(cls, url, _listed(algorithms), fetch_timeout, settings)

    @classmethod
    def oidc(
        cls,
        issuer: str,
        /,
        *,
        algorithms: Iterable[str] | None = None,
        fetch_timeout: float = 2.0,
        **settings: Unpack[VerifierSettings],
    ) -> Verifier:
        """Create a verifier for access tokens of an OpenID provider (OpenID Connect Discovery 1.0).

        The verifier finds the keys in the issuer's discovery document, and fetches them as :meth:`jwks` does.

        Args:
            issuer: the issuer, exactly as in its discovery document and in ``iss``.
            algorithms: the accepted algorithms. Default: those of the preset, or all asymmetric ones; of a key without
                ``alg``, only those that the discovery document names.
            fetch_timeout: the longest time that a token waits for the keys, in seconds.
            settings: the optional arguments of :class:`Verifier`, such as ``audience``. If the tokens have another
                spelling of ``iss``, list all spellings as ``issuer``.

        Raises:
            ConfigError: an invalid issuer or setting.
        """
        from roomkey.keysets.verifiers import oidc_verifier  # importing roomkey loads no network

        return oidc_verifier(cls, issuer, _listed(algorithms), fetch_timeout, settings)

    @staticmethod
    def introspection(
        url: str, client: tuple[str, str], *, fetch_timeout: float = 2.0, **settings: Unpack[VerifierSettings]
    ) -> TokenVerifier:
        """Create a verifier that asks the server that issued a token (RFC 7662), for tokens that only it can read.

        A positive answer is used for at most 60 seconds and never past ``exp``, a negative one for 10 seconds. Requires
        the extra ``remote``.

        Args:
            url: the introspection endpoint: an ``https`` URL, or ``http`` on this machine.
            client: the name and the secret of this server at the endpoint.
            fetch_timeout: the longest time that a token waits for the answer, in seconds.
            settings: the optional arguments of :class:`Verifier` about claims, such as ``audience``. By default, the
                answer must have ``exp`` and ``sub``; to accept an answer without one of them, pass ``require``.

        Raises:
            ConfigError: an invalid URL or setting.
        """
        from roomkey.keysets.verifiers import introspection_verifier  # importing roomkey loads no network

        return introspection_verifier(Verifier, url, client, fetch_timeout, settings)

    @staticmethod
    def any_of(*verifiers: TokenVerifier) -> AnyOf:
        """Create a verifier for the tokens of several issuers, each with its own keys and settings.

        The claim ``iss`` of a token selects the verifier before a key is tried. One of the verifiers can be that of
        :meth:`introspection`: it gets the tokens that are not JSON Web Tokens.

        Args:
            verifiers: one verifier for each issuer, and one for introspection.

        Raises:
            ConfigError: fewer than two verifiers, two for the same issuer, or one for any issuer.
        """
        return AnyOf(*verifiers)

    def verify(self, token: object, now: float, *, source: str = "", proved_key: str | None = None) -> Identity:
        """Verify a token.

        Args:
            token: the value that a client presented; only a well-formed string can be accepted.
            now: seconds since the epoch.
            source: where the client presented the token; the identity has it as ``source``.
            proved_key: the thumbprint of the key whose possession the client proved for this token; None rejects
                tokens that are bound to a key.

        Returns:
            The identity of the token's user.

        Raises:
            TokenError: the first failed check; ``str(error)`` has the details.
            InvalidProof: the token is bound to a key, and there is no proof.
            Unavailable: the keys are those of another server, and the token's key is not known yet. See
                :func:`roomkey.keysets.verify_waiting`.
        """
        parts = jws.split(token, self.max_token, self._tolerated)
        claims = None
        keys = self.keys
        if isinstance(keys, dict):
            claims = jws.json_object(parts.payload, "payload")
            keys = keys_of_issuer(keys, claims)
        known = keys if isinstance(keys, KeySet) else self._known(keys, parts, now, proved_key)
        try:
            jws.check_signature(parts, known, self.algorithms)
        except (BadSignature, UnknownKey):
            if not self._is_signed_with_previous(parts, now):
                self._look_up(keys, known, parts, now, proved_key)
                raise
        if self.token_type is not None:
            self._check_type(parts.header.type)
        if claims is None:
            claims = jws.json_object(parts.payload, "payload")
        return self.identify(claims, now, source=source, proved_key=proved_key)

    def verify_presented(self, presented: Credential, now: float) -> Identity:
        """Verify a token as :meth:`verify` does, as a client presented it to a guard."""
        return self.verify(presented.token, now, source=presented.source, proved_key=presented.proved_key)

    def identify(
        self, claims: dict[str, Any], now: float, *, source: str = "", proved_key: str | None = None
    ) -> Identity:
        """Check the claims of a token whose signature is already verified.

        Args:
            claims: the token's payload; the identity keeps it without a copy.
            now: seconds since the epoch.
            source: where the client presented the token.
            proved_key: as for :meth:`verify`.

        Raises:
            ClaimError: the first failed check.
            InvalidProof: the token is bound to a key, and there is no proof.
        """
        if self._map is None:
            self.expected.check(claims, now)
            who = Identity.from_claims(claims, source)
        else:
            who = self._identify_mapped(claims, now, source)
        if proved_key is not None or "cnf" in claims:
            check_binding(claims, proved_key)
        return self._prefixed(who) if self._prefix and who.subject else who

    def _prefixed(self, who: Identity) -> Identity:
        subject = self._prefix + who.subject
        check_name("sub", subject)  # nobody could revoke the tokens of a longer one
        return replace(who, subject=subject)

    def _identify_mapped(self, claims: dict[str, Any], now: float, source: str) -> Identity:
        assert self._map is not None
        standard = self._map.standard(claims)
        try:
            self.expected.check(standard, now, claims)
        except ClaimError as error:
            raise self._map.located(error) from None
        if self._map.moves_audience and "aud" in claims:  # the token is for those whom it names there, and no others
            self.expected.check_audience(claims["aud"])
        return Identity.from_claims(standard, source, original=claims)

    def _known(self, keys: LiveKeySet, parts: jws.Parts[jws.Header], now: float, proved_key: str | None) -> KeySet:
        """Return the keys of a time.

        Raises:
            UnknownKey: there are none now, and the token would be rejected anyway. The signature is not verified, so
                the client does not learn which claim is the reason.
            Unavailable: there are none now. An expired token also gets this error, because its client must not stop: it
                gets a new token when the keys are known. So does one whose proof is missing: its client can send one.
        """
        try:
            return keys(now)
        except Unavailable:
            try:
                self.identify(jws.json_object(parts.payload, "payload"), now, proved_key=proved_key)
            except (ExpiredToken, InvalidProof):
                pass
            except AuthError as error:
                raise UnknownKey(f"the keys are unknown, and the token is not acceptable: {error}") from None
            raise

    def _look_up(
        self,
        keys: KeySet | LiveKeySet,
        known: KeySet,
        parts: jws.Parts[jws.Header],
        now: float,
        proved_key: str | None,
    ) -> None:
        """Raise :class:`Unavailable` if another server may have the key of a token.

        Only tokens that would be accepted otherwise, perhaps with a proof, make this process ask.
        """
        look_up = getattr(keys, "look_up", None)
        named = parts.header.kid
        if look_up is None or (named is not None and known.named(named)):
            return
        try:
            self.identify(jws.json_object(parts.payload, "payload"), now, proved_key=proved_key)
        except InvalidProof:
            pass
        except AuthError:
            return
        look_up(named, known)

    def _is_signed_with_previous(self, parts: jws.Parts[jws.Header], now: float) -> bool:
        if self._previous is None or not now < self._previous[1]:
            return False
        try:
            jws.check_signature(parts, self._previous[0], self.algorithms)
        except (BadSignature, UnknownKey):
            return False
        return True

    def _check_type(self, found: str | None) -> None:
        if found is None or found.removeprefix("application/") != str(self.token_type).lower():
            raise MalformedToken(f"typ is {found}, expected {self.token_type}")


def _listed(algorithms: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if algorithms is None else check_algorithms(algorithms)


def _required(require: Iterable[str] | None) -> tuple[str, ...]:
    if require is None:
        return ("exp", "sub")
    return one_or_more(require, "require") if require else ()
