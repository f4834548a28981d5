"""Keys (RFC 7517): each is bound to its algorithms, and weak keys are rejected.

joserfc and cryptography parse and hold the key material; :mod:`roomkey.core.weak_keys` checks it.
"""

from __future__ import annotations

import hmac
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from roomkey.core.algorithms import ALGORITHMS, HMAC_BYTES, HMAC_HASHES, MODELS, suits
from roomkey.core.pem import key_blocks
from roomkey.core.weak_keys import (
    MIN_RSA_BITS,
    OTHER_KEY,
    check_purpose,
    check_rsa,
    check_secret,
    check_size,
    guessable,
)
from roomkey.errors import ConfigError

JoseKey = OctKey | RSAKey | ECKey | OKPKey

KEY_TYPES: dict[str, type[JoseKey]] = {"oct": OctKey, "RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
MAX_KID = 255
PEM_TYPES = (RSAKey, ECKey, OKPKey)


@dataclass(frozen=True, slots=True, eq=False)
class Key:
    """A key with its name and its algorithms.

    Create keys with :meth:`generate`, :meth:`from_secret`, :meth:`from_pem` or :meth:`from_jwk`.

    Attributes:
        kid: the name of the key. Default: its RFC 7638 thumbprint.
        kty: the type of the key: ``oct``, ``RSA``, ``EC`` or ``OKP``.
        algorithms: the algorithms that the key can be used with, the most common first.
        is_private: True if the key can sign.
    """

    kid: str
    kty: str
    algorithms: tuple[str, ...]
    is_private: bool
    _jose: JoseKey = field(repr=False)
    _macs: dict[str, hmac.HMAC] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # A copy of an object that has the secret is faster than each function that begins with the secret.
        macs = {}
        if isinstance(self._jose, OctKey):
            secret = self._jose.raw_value
            macs = {name: hmac.new(secret, digestmod=HMAC_HASHES[name]) for name in self.algorithms}
        object.__setattr__(self, "_macs", macs)

    @property
    def weakness(self) -> str | None:
        """Why a shared secret may be guessed, without the secret; None for other keys."""
        return guessable(self._jose.raw_value) if isinstance(self._jose, OctKey) else None

    @classmethod
    def generate(cls, algorithm: str, *, kid: str | None = None) -> Key:
        """Generate a private key for one algorithm.

        Raises:
            ConfigError: an unknown algorithm.
        """
        if algorithm not in ALGORITHMS:
            raise ConfigError(f"unknown algorithm {algorithm!r}; use one of {', '.join(ALGORITHMS)}")
        kty, curves = ALGORITHMS[algorithm]
        jose: JoseKey
        if kty == "oct":
            jose = OctKey.generate_key(HMAC_BYTES[algorithm] * 8)
        elif kty == "RSA":
            jose = RSAKey.generate_key(MIN_RSA_BITS)
        elif kty == "EC":
            jose = ECKey.generate_key(curves[0])
        else:
            jose = OKPKey.generate_key("Ed448" if curves == ("Ed448",) else "Ed25519")
        return _checked_key(jose, kid=kid, algorithms=(algorithm,))

    @classmethod
    def from_secret(cls, secret: str | bytes, *, algorithm: str = "HS256", kid: str | None = None) -> Key:
        """Create a key from a shared secret, for HS256, HS384 or HS512.

        Args:
            secret: at least 32, 48 or 64 bytes, as the hash (RFC 7518 section 3.2).
            algorithm: the algorithm of the key.
            kid: the name of the key. Default: its RFC 7638 thumbprint.

        Raises:
            ConfigError: the secret is too short, a well-known placeholder, or a public key.
        """
        return _checked_key(_secret(secret, algorithm), kid=kid, algorithms=(algorithm,))

    @classmethod
    def _from_short_secret(cls, secret: str | bytes, *, algorithm: str, kid: str | None = None) -> Key:
        """Create a key from a secret that may be too short. It verifies, but does not sign."""
        jose = _secret(secret, algorithm, any_length=True)
        return replace(_checked_key(jose, kid=kid, algorithms=(algorithm,), any_length=True), is_private=False)

    @classmethod
    def from_pem(
        cls,
        pem: str | bytes,
        *,
        kid: str | None = None,
        algorithms: Iterable[str] | None = None,
        password: str | None = None,
    ) -> Key:
        """Create a key from a private or public key in PEM form (PKCS#8, SPKI, or the older forms of RSA and EC).

        Args:
            pem: the PEM text.
            kid: the name of the key. Default: its RFC 7638 thumbprint.
            algorithms: the algorithms of the key. Default: all that are possible for its type.
            password: the password of an encrypted private key.

        Raises:
            ConfigError: not a key, several keys, a weak key, or a key for none of the algorithms.
        """
        if not isinstance(pem, (str, bytes)):
            raise ConfigError(f"a PEM text must be a str or bytes, not {type(pem).__name__}; is a setting missing?")
        data = pem.encode() if isinstance(pem, str) else pem
        block, *others = key_blocks(data)
        if others:
            raise ConfigError(f"this PEM contains {len(others) + 1} keys; read them with KeySet.from_pem, or keep one")
        for kind in PEM_TYPES:
            try:
                with _quiet():
                    jose = kind.import_key(block, password=password)
            except Exception:  # noqa: S112 - not this type of key; the libraries raise different exceptions
                continue
            return _checked_key(jose, kid=kid, algorithms=algorithms)
        raise ConfigError(
            "no RSA, EC, Ed25519 or Ed448 key in this PEM"
            + ("" if password else "; if it is encrypted, pass its password")
        )

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, Any]) -> Key:
        """Create a key from a JSON Web Key (RFC 7517 section 4).

        If the JWK has ``alg``, the key can be used only with that algorithm. A JWK is rejected if its ``use`` is not
        ``sig``, or if its ``key_ops`` contain neither ``verify`` nor ``sign``.

        Raises:
            ConfigError: not a usable signature key; the text has the reason.
        """
        members = dict(jwk)
        kty = members.get("kty")
        if not isinstance(kty, str) or kty not in KEY_TYPES:
            raise ConfigError(f"kty must be one of {', '.join(KEY_TYPES)}")
        check_purpose(members)
        check_size(members)
        try:
            with _quiet():
                jose = KEY_TYPES[kty].import_key(members)
        except Exception:
            raise ConfigError(f"not a valid {kty} key") from None
        alg = members.get("alg")
        return _checked_key(jose, kid=members.get("kid"), algorithms=None if alg is None else (alg,))

    def verify(self, algorithm: str, signing_input: bytes, signature: bytes) -> bool:
        """Return True if this key signed ``signing_input`` with the signature (RFC 7515 section 5.2)."""
        if algorithm not in self.algorithms:
            return False
        if algorithm in self._macs:
            return hmac.compare_digest(self._mac(algorithm, signing_input), signature)
        return MODELS[algorithm].verify(signing_input, signature, self._jose)

    def sign(self, algorithm: str, signing_input: bytes) -> bytes:
        """Return the signature of ``signing_input`` (RFC 7515 section 5.1).

        Raises:
            ConfigError: the key is public, or not for this algorithm.
        """
        if not self.is_private or algorithm not in self.algorithms:
            raise ConfigError(f"key {self.kid} cannot sign with {algorithm}")
        if algorithm in self._macs:
            return self._mac(algorithm, signing_input)
        return MODELS[algorithm].sign(signing_input, self._jose)

    def _mac(self, algorithm: str, signing_input: bytes) -> bytes:
        """Return the MAC of ``signing_input`` (RFC 7518 section 3.2)."""
        mac = self._macs[algorithm].copy()
        mac.update(signing_input)
        return mac.digest()

    def to_jwk(self, private: bool = False) -> dict[str, Any]:
        """Return the key as a JWK with ``kid``, ``use`` and, if the key has a single algorithm, ``alg``.

        Args:
            private: include the private members.

        Raises:
            ConfigError: the key is public but ``private`` is True, or the key is a shared secret and it is False.
        """
        if self.kty == "oct" and not private:
            raise ConfigError("a shared secret has no public half")
        if private and not self.is_private:
            raise ConfigError(f"key {self.kid} is public")
        # Only the members of its type: other members of the original JWK may not be meant for publication.
        material = {"kty", *self._jose.value_registry}
        members: dict[str, Any] = {k: v for k, v in self._jose.as_dict(private=private).items() if k in material}
        members |= {"kid": self.kid, "use": "sig"}
        if len(self.algorithms) == 1:
            members["alg"] = self.algorithms[0]
        return members

    def thumbprint(self) -> str:
        """Return the RFC 7638 thumbprint, which is the same for both halves of a key pair."""
        with _quiet():
            return self._jose.thumbprint()

    def to_pem(self, private: bool = False) -> bytes:
        """Return the key as PEM: SPKI, or PKCS#8 with ``private``.

        Raises:
            ConfigError: the key is public but ``private`` is True, or the key is a shared secret.
        """
        if isinstance(self._jose, OctKey):
            raise ConfigError("a shared secret has no PEM form")
        if private and not self.is_private:
            raise ConfigError(f"key {self.kid} is public")
        return self._jose.as_pem(private=private)

    def public(self) -> Key:
        """Return the public half of a key pair, with the same ``kid``.

        Raises:
            ConfigError: the key is a shared secret.
        """
        public = KEY_TYPES[self.kty].import_key(self.to_jwk())
        return _checked_key(public, kid=self.kid, algorithms=self.algorithms)

    def verifying(self) -> Key:
        """Return the key that verifies this key's signatures: its public half, or the shared secret itself."""
        return self.public() if self.is_private and self.kty != "oct" else self


LiveKey = Callable[[float], Key]
"""A function from the time, in seconds since the epoch, to the signing key."""


class _quiet(warnings.catch_warnings):
    """Suppress joserfc's warnings: roomkey rejects the keys that joserfc warns about."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")


def _secret(secret: str | bytes, algorithm: str, *, any_length: bool = False) -> OctKey:
    """Import a shared secret from a setting."""
    if algorithm not in HMAC_BYTES:
        raise ConfigError(f"a shared secret signs with {', '.join(HMAC_BYTES)}, not {algorithm!r}")
    if not isinstance(secret, (str, bytes)):
        raise ConfigError(f"a shared secret must be a str or bytes, not {type(secret).__name__}; is a setting missing?")
    raw = secret.encode() if isinstance(secret, str) else secret
    check_secret(raw, algorithm, typed=True, any_length=any_length)
    with _quiet():
        try:
            return OctKey.import_key(raw)
        except ValueError:  # joserfc rejects it as another type of key
            raise ConfigError(OTHER_KEY) from None


def _checked_key(jose: JoseKey, *, kid: object, algorithms: Iterable[str] | None, any_length: bool = False) -> Key:
    """Check a key, and add its algorithms and its name."""
    if isinstance(jose, RSAKey):
        check_rsa(jose.public_key)
    curve = None if isinstance(jose, (OctKey, RSAKey)) else _curve(jose)
    fitting = [name for name in ALGORITHMS if suits(name, jose.key_type, curve)]
    if isinstance(jose, OctKey) and not any_length:
        fitting = [name for name in fitting if len(jose.raw_value) >= HMAC_BYTES[name]]
    chosen = tuple(fitting if algorithms is None else [name for name in algorithms if name in fitting])
    if not chosen:
        wanted = "" if algorithms is None else f" for {', '.join(map(str, algorithms))}"
        raise ConfigError(f"this {jose.key_type} key{' on ' + curve if curve else ''} is not usable{wanted}")
    if isinstance(jose, OctKey):
        check_secret(jose.raw_value, chosen[0], any_length=any_length)
    if kid is not None and not (isinstance(kid, str) and 0 < len(kid) <= MAX_KID):
        raise ConfigError(f"kid must be a string of 1 to {MAX_KID} characters")
    with _quiet():
        return Key(
            kid=kid if isinstance(kid, str) else jose.thumbprint(),
            kty=jose.key_type,
            algorithms=chosen,
            is_private=jose.is_private,
            _jose=jose,
        )


def _curve(jose: ECKey | OKPKey) -> str:
    try:
        return str(jose.curve_name)
    except KeyError:
        raise ConfigError(f"this {jose.key_type} key is on a curve that roomkey does not know") from None
