"""Keys and sets of keys (RFC 7517): each key says which algorithms it may be used with, and weak keys are refused.

Key material is read and held by joserfc and cryptography; the judgement of it is in :mod:`roomkey.core.weak_keys`.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from roomkey.core.algorithms import ALGORITHMS, HMAC_BYTES, MODELS, suits
from roomkey.core.pem import key_blocks
from roomkey.core.weak_keys import MIN_RSA_BITS, OTHER_KEY, check_purpose, check_rsa, check_secret, check_size
from roomkey.errors import ConfigError

JoseKey = OctKey | RSAKey | ECKey | OKPKey

KEY_TYPES: dict[str, type[JoseKey]] = {"oct": OctKey, "RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
MAX_KID = 255
PEM_TYPES = (RSAKey, ECKey, OKPKey)


@dataclass(frozen=True, slots=True, eq=False)
class Key:
    """One key, with its name and what it may be used for.

    Make one with :meth:`generate`, :meth:`from_secret`, :meth:`from_pem` or :meth:`from_jwk`.

    Attributes:
        kid: the key's name: as given, else its RFC 7638 thumbprint.
        kty: ``oct``, ``RSA``, ``EC`` or ``OKP``.
        algorithms: what it may be used with, most usual first.
        is_private: True if it can sign.
    """

    kid: str
    kty: str
    algorithms: tuple[str, ...]
    is_private: bool
    _jose: JoseKey = field(repr=False)

    @classmethod
    def generate(cls, algorithm: str, *, kid: str | None = None) -> Key:
        """Make a new private key for one algorithm.

        Raises:
            ConfigError: no such algorithm.
        """
        if algorithm not in ALGORITHMS:
            raise ConfigError(f"no algorithm {algorithm!r}; take one of {', '.join(ALGORITHMS)}")
        kty, curves = ALGORITHMS[algorithm]
        made: JoseKey
        if kty == "oct":
            made = OctKey.generate_key(HMAC_BYTES[algorithm] * 8)
        elif kty == "RSA":
            made = RSAKey.generate_key(MIN_RSA_BITS)
        elif kty == "EC":
            made = ECKey.generate_key(curves[0])
        else:
            made = OKPKey.generate_key("Ed448" if curves == ("Ed448",) else "Ed25519")
        return _judged(made, kid=kid, algorithms=(algorithm,))

    @classmethod
    def from_secret(cls, secret: str | bytes, *, algorithm: str = "HS256", kid: str | None = None) -> Key:
        """A shared secret for HS256, HS384 or HS512.

        Args:
            secret: at least as long as the hash: 32, 48 or 64 bytes (RFC 7518 section 3.2).

        Raises:
            ConfigError: too short, a well-known placeholder, or a public key.
        """
        if algorithm not in HMAC_BYTES:
            raise ConfigError(f"a shared secret signs with {', '.join(HMAC_BYTES)}, not {algorithm!r}")
        if not isinstance(secret, (str, bytes)):
            raise ConfigError(f"a shared secret is a str or bytes, not {type(secret).__name__}: is a setting missing?")
        raw = secret.encode() if isinstance(secret, str) else secret
        check_secret(raw, algorithm, typed=True)
        with _quiet():
            try:
                made = OctKey.import_key(raw)
            except ValueError:  # joserfc's own idea of a key that is not a secret
                raise ConfigError(OTHER_KEY) from None
        return _judged(made, kid=kid, algorithms=(algorithm,))

    @classmethod
    def from_pem(
        cls,
        pem: str | bytes,
        *,
        kid: str | None = None,
        algorithms: Iterable[str] | None = None,
        password: str | None = None,
    ) -> Key:
        """A private or public key in PEM form (PKCS#8, SPKI, or the older forms of RSA and EC).

        Args:
            kid: the key's name; its RFC 7638 thumbprint if absent.
            algorithms: narrows what it may be used with; all that suit its type if absent.
            password: for an encrypted private key.

        Raises:
            ConfigError: not a key, several keys, a weak key, or none of the algorithms suits it.
        """
        if not isinstance(pem, (str, bytes)):
            raise ConfigError(f"a PEM file is a str or bytes, not {type(pem).__name__}: is a setting missing?")
        data = pem.encode() if isinstance(pem, str) else pem
        block, *others = key_blocks(data)
        if others:
            raise ConfigError(f"this PEM contains {len(others) + 1} keys; read them with KeySet.from_pem, or keep one")
        for kind in PEM_TYPES:
            try:
                with _quiet():
                    made = kind.import_key(block, password=password)
            except Exception:  # noqa: S112 - not of this kind, whatever a library says about it
                continue
            return _judged(made, kid=kid, algorithms=algorithms)
        raise ConfigError(
            "no RSA, EC, Ed25519 or Ed448 key in this PEM" + ("" if password else " (encrypted? give its password)")
        )

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, Any]) -> Key:
        """A JSON Web Key (RFC 7517 section 4).

        Its ``alg`` narrows what it may be used with; ``use`` other than ``sig`` and ``key_ops`` without ``verify``
        or ``sign`` refuse it.

        Raises:
            ConfigError: not a usable signature key; the text says why.
        """
        members = dict(jwk)
        kty = members.get("kty")
        if not isinstance(kty, str) or kty not in KEY_TYPES:
            raise ConfigError(f"kty must be one of {', '.join(KEY_TYPES)}")
        check_purpose(members)
        check_size(members)
        try:
            with _quiet():
                made = KEY_TYPES[kty].import_key(members)
        except Exception:
            raise ConfigError(f"not a valid {kty} key") from None
        alg = members.get("alg")
        return _judged(made, kid=members.get("kid"), algorithms=None if alg is None else (alg,))

    def verify(self, algorithm: str, signing_input: bytes, signature: bytes) -> bool:
        """True if the signature is this key's over ``signing_input`` (RFC 7515 section 5.2)."""
        return algorithm in self.algorithms and MODELS[algorithm].verify(signing_input, signature, self._jose)

    def sign(self, algorithm: str, signing_input: bytes) -> bytes:
        """Sign (RFC 7515 section 5.1).

        Raises:
            ConfigError: the key is public, or not for this algorithm.
        """
        if not self.is_private or algorithm not in self.algorithms:
            raise ConfigError(f"key {self.kid} cannot sign with {algorithm}")
        return MODELS[algorithm].sign(signing_input, self._jose)

    def to_jwk(self, private: bool = False) -> dict[str, Any]:
        """The key as a JWK with ``kid``, ``use`` and, if it is bound to one algorithm, ``alg``.

        Raises:
            ConfigError: ``private`` of a public key, or a shared secret without ``private``.
        """
        if self.kty == "oct" and not private:
            raise ConfigError("a shared secret has no public half")
        if private and not self.is_private:
            raise ConfigError(f"key {self.kid} is public")
        # The key's own members only: what else its JWK carried may not be meant for publication.
        material = {"kty", *self._jose.value_registry}
        told: dict[str, Any] = {k: v for k, v in self._jose.as_dict(private=private).items() if k in material}
        told |= {"kid": self.kid, "use": "sig"}
        if len(self.algorithms) == 1:
            told["alg"] = self.algorithms[0]
        return told

    def thumbprint(self) -> str:
        """The RFC 7638 thumbprint of the key material, the same for both halves of a key pair."""
        with _quiet():
            return self._jose.thumbprint()

    def to_pem(self, private: bool = False) -> bytes:
        """The key as PEM: SPKI, or PKCS#8 with ``private``.

        Raises:
            ConfigError: ``private`` of a public key, or a shared secret, which has no PEM form.
        """
        if isinstance(self._jose, OctKey):
            raise ConfigError("a shared secret has no PEM form")
        if private and not self.is_private:
            raise ConfigError(f"key {self.kid} is public")
        return self._jose.as_pem(private=private)

    def public(self) -> Key:
        """The public half of a key pair, under the same ``kid``; a shared secret has none.

        Raises:
            ConfigError: a shared secret.
        """
        public = KEY_TYPES[self.kty].import_key(self.to_jwk())
        return _judged(public, kid=self.kid, algorithms=self.algorithms)

    def verifying(self) -> Key:
        """What this key's signatures are verified with: its public half, or the shared secret itself."""
        return self.public() if self.is_private and self.kty != "oct" else self


class KeySet:
    """Keys by ``kid`` and algorithm.

    A ``kid`` may name several keys, as long as the algorithm of a token tells them apart. The same key twice is one
    key, for the algorithms of both.

    Args:
        keys: the keys.

    Attributes:
        refused: what :meth:`from_jwks` left out, as (kid or None, why).

    Raises:
        ConfigError: no key, or two different keys with one ``kid`` and a common algorithm.
    """

    def __init__(self, keys: Iterable[Key], *, refused: Iterable[tuple[str | None, str]] = ()) -> None:
        held, ambiguous = _told_apart(keys)
        self.refused = tuple(refused)
        if ambiguous:
            raise ConfigError(f"two keys have the kid {ambiguous[0].kid} and a common algorithm; give each its own kid")
        self._keys = held
        self._named: dict[str, tuple[Key, ...]] = {}
        for key in held:
            self._named[key.kid] = (*self._named.get(key.kid, ()), key)
        if not held:
            why = "; ".join(f"{kid}: {reason}" for kid, reason in self.refused)
            raise ConfigError("a key set needs at least one usable key" + (f" ({why})" if why else ""))

    @classmethod
    def from_jwks(cls, jwks: Mapping[str, Any], *, allow_symmetric: bool = False) -> KeySet:
        """A JWK Set (RFC 7517 section 5). A bad key is refused and listed in ``refused``; the others stay.

        Each entry is judged for itself: one that cannot verify signatures does not spoil another one of its ``kid``.

        Args:
            allow_symmetric: let ``oct`` keys in: never for a set that was fetched from somewhere.

        Raises:
            ConfigError: not a JWK Set, or no usable key in it.
        """
        listed = jwks.get("keys") if isinstance(jwks, Mapping) else None
        if not isinstance(listed, list):
            raise ConfigError('a JWK Set is an object with a list "keys"')
        made: list[Key] = []
        refused: list[tuple[str | None, str]] = []
        for jwk in listed:
            try:
                made.append(_of_set(jwk, allow_symmetric))
            except ConfigError as error:
                kid = jwk.get("kid") if isinstance(jwk, Mapping) else None
                refused.append((kid if isinstance(kid, str) else None, str(error)))
        held, ambiguous = _told_apart(made)
        refused += [(key.kid, "another key has this kid and algorithm") for key in ambiguous]
        return cls(held, refused=refused)

    @classmethod
    def from_pem(cls, *pems: str | bytes, algorithms: Iterable[str] | None = None) -> KeySet:
        """A set of PEM keys, named by their thumbprints; one PEM may contain several.

        Raises:
            ConfigError: as :meth:`Key.from_pem`.
        """
        return cls(
            Key.from_pem(block, algorithms=algorithms)
            for pem in pems
            for block in key_blocks(pem.encode() if isinstance(pem, str) else pem)
        )

    def get(self, kid: str) -> Key | None:
        """The first key of this name, or None."""
        return next(iter(self._named.get(kid, ())), None)

    def named(self, kid: str | None) -> tuple[Key, ...]:
        """The keys of this name; all keys if it is None."""
        return self._keys if kid is None else self._named.get(kid, ())

    def only(self) -> Key | None:
        """The key, if there is exactly one."""
        return self._keys[0] if len(self._keys) == 1 else None

    def to_jwks(self, private: bool = False) -> dict[str, Any]:
        """The set as a JWK Set; without ``private``, shared secrets are left out."""
        return {"keys": [key.to_jwk(private) for key in self if private or key.kty != "oct"]}

    def __iter__(self) -> Iterator[Key]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


LiveKey = Callable[[float], Key]
"""The key that signs at a time, in seconds since the epoch."""

LiveKeySet = Callable[[float], KeySet]
"""The keys that are trusted at a time, in seconds since the epoch."""


def _told_apart(keys: Iterable[Key]) -> tuple[tuple[Key, ...], tuple[Key, ...]]:
    """Divide keys into those that the ``kid`` and ``alg`` of a token find, and those that they cannot tell apart."""
    merged: dict[tuple[str, str], Key] = {}
    for key in keys:
        same = (key.kid, key.thumbprint())
        merged[same] = _united(merged[same], key) if same in merged else key
    uses = Counter((key.kid, name) for key in merged.values() for name in key.algorithms)
    ambiguous = {key for key in merged.values() if any(uses[key.kid, name] > 1 for name in key.algorithms)}
    return (
        tuple(key for key in merged.values() if key not in ambiguous),
        tuple(key for key in merged.values() if key in ambiguous),
    )


def _united(one: Key, other: Key) -> Key:
    """The same key, listed twice: the private half if there is one, for the algorithms of both."""
    algorithms = (*one.algorithms, *(name for name in other.algorithms if name not in one.algorithms))
    return replace(other if other.is_private else one, algorithms=algorithms)


def _of_set(jwk: object, allow_symmetric: bool) -> Key:
    """A key of a JWK Set, which is there to verify with."""
    if not isinstance(jwk, Mapping):
        raise ConfigError("not an object")
    if jwk.get("kty") == "oct" and not allow_symmetric:
        raise ConfigError("a shared secret in a public set")
    key = Key.from_jwk(jwk)
    if "verify" not in jwk.get("key_ops", ["verify"]):
        raise ConfigError("key_ops does not allow verify")
    return key


class _quiet(warnings.catch_warnings):
    """joserfc warns where roomkey refuses; the refusal is enough."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore")


def _judged(made: JoseKey, *, kid: object, algorithms: Iterable[str] | None) -> Key:
    """Refuse a weak key, settle its algorithms and its name."""
    if isinstance(made, RSAKey):
        check_rsa(made.public_key)
    curve = None if isinstance(made, (OctKey, RSAKey)) else _curve(made)
    fitting = [name for name in ALGORITHMS if suits(name, made.key_type, curve)]
    if isinstance(made, OctKey):
        fitting = [name for name in fitting if len(made.raw_value) >= HMAC_BYTES[name]]
    chosen = tuple(fitting if algorithms is None else [name for name in algorithms if name in fitting])
    if not chosen:
        wanted = "" if algorithms is None else f" for {', '.join(map(str, algorithms))}"
        raise ConfigError(f"this {made.key_type} key{' on ' + curve if curve else ''} is not usable{wanted}")
    if isinstance(made, OctKey):
        check_secret(made.raw_value, chosen[0])
    if kid is not None and not (isinstance(kid, str) and 0 < len(kid) <= MAX_KID):
        raise ConfigError(f"kid must be a string of 1 to {MAX_KID} characters")
    with _quiet():
        return Key(
            kid=kid if isinstance(kid, str) else made.thumbprint(),
            kty=made.key_type,
            algorithms=chosen,
            is_private=made.is_private,
            _jose=made,
        )


def _curve(made: ECKey | OKPKey) -> str:
    try:
        return str(made.curve_name)
    except KeyError:
        raise ConfigError(f"this {made.key_type} key is on a curve that roomkey does not know") from None
