"""Proofs of possession for tokens that are bound to a key (DPoP, RFC 9449), and the check of ``cnf`` (RFC 7800).

A bound token is useless to a thief: whoever presents it also presents a proof, a short-lived signature by the private
key whose thumbprint the token has in ``cnf.jkt``. A browser cannot set headers on a WebSocket, so the proof travels
next to the token: as ``dpop`` in the CONNECT payload or in ``authenticate``. The packet may arrive by POST or on a
WebSocket. Therefore ``htm`` is always GET, and ``htu`` is the public URL of the Socket.IO path.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, InitVar, dataclass, field
from hashlib import sha256
from hmac import compare_digest
from typing import Any, Literal, NamedTuple, Protocol

from roomkey.core import jws
from roomkey.core.algorithms import ALGORITHMS, SYMMETRIC, check_algorithms
from roomkey.core.claims import check_types, one_or_more
from roomkey.core.identity import Identity
from roomkey.core.keys import Key
from roomkey.core.nonces import Nonces
from roomkey.core.printable import printable
from roomkey.core.urls import is_confidential
from roomkey.errors import ClaimError, ConfigError, InvalidProof, MissingClaim, NonceRequired, TokenError

MAX_PROOF = 4096
"""The longest proof, in bytes; checked before anything is decoded. It also limits the size of RSA keys."""

WINDOW = 60.0
"""The largest difference between a proof's ``iat`` and this clock, in seconds."""

TYPE = "dpop+jwt"
METHOD = "GET"
ASYMMETRIC = tuple(name for name in ALGORITHMS if name not in SYMMETRIC)

_REJECTED_MEMBERS = jws.REJECTED_MEMBERS - {"jwk"}
# The members of a public key, each with its length in bytes by curve; None means any length without a leading zero.
_MATERIAL: dict[str, tuple[str, ...]] = {"RSA": ("n", "e"), "EC": ("x", "y"), "OKP": ("x",)}
_LENGTHS = {"P-256": 32, "P-384": 48, "P-521": 66, "Ed25519": 32, "Ed448": 57}
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")  # the SHA-256 of a key, in base64url

_URL = re.compile(r"(https?)://([A-Za-z0-9._~!$&'()*+,;=:\[\]-]+)(/[^?#]*)?(?:\?[^#]*)?(?:#.*)?", re.IGNORECASE)
_VISIBLE = re.compile(r"[!-~]+")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class ProofStore(Protocol):
    """Where several servers share the proofs that were used. A :class:`roomkey.stores.SingleUseStore` is one."""

    async def add_once(self, kind: Literal["proof"], value_hash: str, expires_at: int) -> bool:
        """Store a proof; of many calls for the same one, on whichever server, exactly one returns True.

        Args:
            kind: separates proofs from the other values in the store.
            value_hash: 64 characters that name the proof.
            expires_at: when the store can forget it, in seconds since the epoch.
        """


@dataclass(frozen=True, eq=False, repr=False)
class DPoP:
    """The settings of a guard for tokens that are bound to a key: ``AsyncGuard(verifier, dpop=DPoP(url))``.

    Args:
        url: the public URL of the Socket.IO path, as clients use it, such as ``https://chat.example/socket.io/``; or
            several. A proof for another URL is rejected.
        required: refuse sockets with tokens that are not bound to a key.
        nonce_secret: a secret of at least 32 bytes, the same on every node. If it is set, a proof must contain a nonce
            of this server, so that nobody can make proofs for later. Default: no nonces.
        algorithms: the accepted algorithms of proofs. Default: all public-key algorithms that roomkey knows.
        max_proofs: the number of used proofs that are remembered. If more are in use at the same time, the guard
            refuses new ones until the oldest expire.
        max_proofs_per_subject: the same, for each subject.
        store: where all servers with this ``url`` share the used proofs, such as
            :class:`roomkey.stores.SqlSingleUseStore`. You open and close it. If it is unavailable, proofs are refused.
            Default: each process remembers the proofs that it has seen.

    Attributes:
        urls: the URLs in normal form.
        accepted: the accepted algorithms.
        nonces: issues and checks the nonces; None without them.

    Raises:
        ConfigError: not the complete URL of a path, with https unless it is on this machine; a weak secret; an
            algorithm for shared secrets; or a number below 1.
    """

    url: InitVar[str | Iterable[str]]
    _: KW_ONLY
    required: bool = False
    nonce_secret: InitVar[str | bytes | None] = None
    algorithms: InitVar[Iterable[str]] = ASYMMETRIC
    max_proofs: int = 100_000
    max_proofs_per_subject: int = 1000
    store: ProofStore | None = None
    urls: frozenset[str] = field(init=False)
    accepted: tuple[str, ...] = field(init=False)
    nonces: Nonces | None = field(init=False)

    def __post_init__(
        self, url: str | Iterable[str], nonce_secret: str | bytes | None, algorithms: Iterable[str]
    ) -> None:
        accepted = check_algorithms(algorithms)
        if SYMMETRIC.intersection(accepted):
            raise ConfigError("algorithms of DPoP proofs must be public-key algorithms, such as ES256")
        if min(self.max_proofs, self.max_proofs_per_subject) < 1:
            raise ConfigError("max_proofs and max_proofs_per_subject must be at least 1")
        if self.store is not None and not callable(getattr(self.store, "add_once", None)):
            raise ConfigError("store must be a store of single-use values, such as SqlSingleUseStore(url)")
        urls = frozenset(_public_url(one) for one in one_or_more(url, "url"))
        if not urls:
            raise ConfigError("url must be the public URL of the Socket.IO path")
        object.__setattr__(self, "urls", urls)
        object.__setattr__(self, "accepted", accepted)
        object.__setattr__(self, "nonces", None if nonce_secret is None else Nonces(nonce_secret))


class Proof(NamedTuple):
    """A verified proof.

    Attributes:
        key: the RFC 7638 thumbprint of the key that signed it.
        id: its ``jti``.
        issued_at: its ``iat``, in seconds since the epoch.
    """

    key: str
    id: str
    issued_at: float

    def hash(self) -> bytes:
        """Return 32 bytes that name it. A key signs with its own IDs: another client cannot use up this one's."""
        return sha256(f"{self.key} {self.id}".encode()).digest()


class _Header(NamedTuple):
    algorithm: str
    key: Key


def check_proof(settings: DPoP, proof: object, token: str, now: float) -> Proof:
    """Verify a proof for a token (RFC 9449 section 4.3), except that it was not used before.

    Args:
        settings: the URL, the algorithms and the nonces.
        proof: what the client presented, of any type.
        token: the token that the proof is for.
        now: seconds since the epoch.

    Raises:
        InvalidProof: the first failed check; ``str(error)`` has the details.
        NonceRequired: the proof is valid otherwise.
    """
    try:
        parts = jws.split_with(_parse_header, proof, MAX_PROOF)
        _check_signature(parts, settings)
        claims = jws.json_object(parts.payload, "payload")
        check_types(claims)
        _check_claims(claims, settings, token, now)
    except TokenError as error:
        raise InvalidProof(f"DPoP proof: {error}") from None
    if settings.nonces is not None and not settings.nonces.accepts(claims.get("nonce"), now):
        raise NonceRequired(settings.nonces.issue(now), "DPoP proof: no nonce, or not one that is valid now")
    return Proof(parts.header.key.thumbprint(), claims["jti"], claims["iat"])


def check_binding(claims: Mapping[str, Any], proved_key: str | None) -> None:
    """Check that a token is presented by the owner of the key in ``cnf`` (RFC 7800 section 3.1, RFC 9449 section 6.1).

    Args:
        claims: the verified claims of the token.
        proved_key: the thumbprint of the key whose possession the client proved; None without a proof.

    Raises:
        InvalidProof: the token is bound to a key, and there is no proof.
        ClaimError: ``cnf`` is not exactly a thumbprint, or is that of another key. Other members, such as
            ``x5t#S256``, demand a proof that roomkey cannot check.
        MissingClaim: there is a proof, but the token is not bound (RFC 9449 section 7.1).
    """
    if "cnf" not in claims:
        if proved_key is not None:
            raise MissingClaim("cnf", "a DPoP proof, but the token is not bound to a key")
        return
    cnf = claims["cnf"]
    bound_to = cnf.get("jkt") if isinstance(cnf, dict) and cnf.keys() == {"jkt"} else None
    if not isinstance(bound_to, str) or _THUMBPRINT.fullmatch(bound_to) is None:
        raise ClaimError("cnf", "cnf is not a thumbprint in jkt alone, so the binding of the token cannot be checked")
    if proved_key is None:
        raise InvalidProof(
            "the token is bound to a key (cnf.jkt), and no DPoP proof was checked: only sockets can present one, next "
            "to the token, and only if the guard has the setting dpop=DPoP('https://chat.example/socket.io/')",
            message=InvalidProof.PROOF_MISSING,
        )
    if bound_to != proved_key:
        raise ClaimError("cnf", "the DPoP proof is by another key than the token's")


def key_of(who: Identity) -> str | None:
    """Return the thumbprint of the key to which an identity's token is bound, or None."""
    cnf = who.claims.get("cnf")
    return cnf.get("jkt") if isinstance(cnf, dict) else None


def normal_url(url: str) -> str | None:
    """Return the normal form of an http or https URL, without query and fragment.

    Its scheme and host are in lower case, its default port is left out, and its path is percent-encoded as little as
    possible (RFC 9449 section 4.3, RFC 3986 section 6.2).

    Returns:
        The URL; None if it is not an absolute URL, has a user name, or has a spelling that clients may resolve
        differently, such as ``..`` in its path.
    """
    found = _URL.fullmatch(url) if _VISIBLE.fullmatch(url) else None
    if found is None:
        return None
    scheme, authority, path = found[1].lower(), found[2].lower(), found[3] or "/"
    authority = authority.removesuffix(_DEFAULT_PORTS[scheme]).removesuffix(":")
    path = _ESCAPE.sub(_decode_unreserved, path)
    is_strange = "%" in _ESCAPE.sub("", path) or "\\" in path or {".", ".."} & set(path.split("/"))
    return None if is_strange or not authority else f"{scheme}://{authority}{path}"


def _decode_unreserved(escape: re.Match[str]) -> str:
    character = chr(int(escape[1], 16))
    return character if _UNRESERVED.fullmatch(character) else escape[0].upper()


def _public_url(url: str) -> str:
    """Return the normal form of the setting.

    Raises:
        ConfigError: not the complete URL of a path.
    """
    normal = normal_url(url)
    parts = url.split("/", 3)
    if normal is None or "?" in url or "#" in url or len(parts) < 4:
        raise ConfigError(
            f"url must be the public URL of the Socket.IO path, https://chat.example/socket.io/, not {url!r}"
        )
    if not is_confidential(normal):
        raise ConfigError(f"url must use https, unless it is on this machine, not {url!r}")
    return normal


def _parse_header(part: bytes) -> _Header:
    """Parse the header of a proof. It is not cached, because each client has a key of its own.

    Raises:
        TokenError: not exactly what RFC 9449 section 4.2 demands.
    """
    (data,) = jws.decode_parts(part)
    members = jws.json_object(data, "header")
    rejected = members.keys() & _REJECTED_MEMBERS
    if rejected:
        raise TokenError(f"header member {min(rejected)} is not accepted")
    if members.get("typ") != TYPE:
        raise TokenError(f"typ is {printable(members.get('typ'))}, not {TYPE}")
    algorithm, jwk = members.get("alg"), members.get("jwk")
    if not isinstance(algorithm, str):
        raise TokenError("the header has no alg")
    if not isinstance(jwk, dict):
        raise TokenError("the header has no jwk")
    return _Header(algorithm, _public_key(jwk))


def _public_key(jwk: dict[str, Any]) -> Key:
    """Return the key of a proof.

    Its members must be in canonical form: otherwise, one key could have several thumbprints.

    Raises:
        TokenError: not a public key, or not a key that roomkey accepts.
    """
    material = _MATERIAL.get(jwk["kty"]) if isinstance(jwk.get("kty"), str) else None
    if material is None or not _PRIVATE.isdisjoint(jwk):
        raise TokenError("jwk is not a public key")
    curve = jwk.get("crv")
    length = _LENGTHS.get(curve) if isinstance(curve, str) and jwk["kty"] != "RSA" else None
    for name in material:
        value = jwk.get(name)
        if not isinstance(value, str) or not value.isascii():
            raise TokenError(f"jwk has no {name}")
        (raw,) = jws.decode_parts(value.encode())
        if len(raw) != length if length is not None else not raw or raw[0] == 0:
            raise TokenError(f"{name} in jwk is not canonical")
    try:
        return Key.from_jwk(jwk)
    except ConfigError as error:
        raise TokenError(f"jwk: {error}") from None


def _check_signature(parts: jws.Parts[_Header], settings: DPoP) -> None:
    algorithm, key = parts.header
    if algorithm not in settings.accepted or algorithm not in key.algorithms:
        raise TokenError(f"alg {printable(algorithm)} is not accepted, or not for this key")
    jws.check_signed_with(key, algorithm, parts, "jwk")


def _check_claims(claims: dict[str, Any], settings: DPoP, token: str, now: float) -> None:
    for name in ("jti", "iat", "htm", "htu", "ath"):
        if name not in claims:
            raise TokenError(f"{name} is missing")
    if claims["htm"] != METHOD:
        raise TokenError(f"htm is {printable(claims['htm'])}, not {METHOD}")
    url = normal_url(claims["htu"]) if isinstance(claims["htu"], str) else None
    if url not in settings.urls:
        raise TokenError(f"htu is {printable(claims['htu'])}, not {' or '.join(sorted(settings.urls))}")
    if not (isinstance(claims["ath"], str) and compare_digest(claims["ath"].encode(), hash_of(token).encode())):
        raise TokenError("ath is not the hash of the token")
    # Written as "not within", so that a clock that returns NaN rejects all proofs.
    if not -WINDOW <= now - claims["iat"] <= WINDOW:
        raise TokenError(f"issued {now - claims['iat']:.0f} s ago, at most {WINDOW:.0f} s before or after")
    if not claims.get("nbf", now) - WINDOW <= now <= claims.get("exp", now) + WINDOW:
        raise TokenError("expired, or not yet valid")


def hash_of(token: str) -> str:
    """Return the ``ath`` of a token: its SHA-256 in base64url (RFC 9449 section 4.2)."""
    return urlsafe_b64encode(sha256(token.encode(errors="replace")).digest()).rstrip(b"=").decode()
