"""Strict parsing of signed tokens in compact form (RFC 7515 section 7.1), and the check of their signatures.

Libraries accept padding, white space, non-zero trailing bits, duplicate members and header members that change what
a signature means. With each of these, two readers of one token disagree. Therefore this module parses the form itself;
a library only verifies the signature (joserfc's algorithm models, with cryptography's keys).
"""

from __future__ import annotations

from binascii import Error as BinasciiError
from binascii import a2b_base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, NamedTuple, TypeVar

from roomkey.core import strict_json
from roomkey.core.key_set import KeySet
from roomkey.core.keys import MAX_KID, Key
from roomkey.core.printable import printable
from roomkey.errors import AlgorithmNotAllowed, BadSignature, ConfigError, MalformedToken, UnknownKey

MAX_TOKEN = 8192
"""Default limit for the length of a token, in bytes; checked before anything is decoded."""

LONGEST_TOKEN = 65_536
"""The highest limit that a verifier can have, in bytes."""

# `crit` and `b64` change what a signature means, `jwk`, `jku`, `x5u` and `x5c` contain a key that the sender chose,
# `zip` and `enc` belong to encryption, `cty: JWT` nests a token. Other members are ignored (RFC 7515 section 4).
REJECTED_MEMBERS = frozenset({"crit", "b64", "jwk", "jku", "x5u", "x5c", "zip", "enc", "cty"})
TOLERABLE_MEMBERS = frozenset({"jku", "x5u", "x5c"})
"""Members that a verifier can be told to ignore. They only say where the key is, and roomkey never follows them."""
TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})  # RFC 7519 section 5.1, RFC 9068 section 4

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
# base64url to base64; every other byte becomes one that a strict decoder rejects.
_STANDARD = bytes(
    b"+/"[b"-_".index(byte)] if byte in b"-_" else byte if byte in _ALPHABET else 0 for byte in range(256)
)
# The last character has 4 or 2 unused bits. They must be zero, or one token could be written in several ways.
_LAST = {2: b"AQgw", 3: b"AEIMQUYcgkosw048"}
_PADDING = {0: b"", 2: b"==", 3: b"="}


@dataclass(frozen=True, slots=True)
class Header:
    """A checked JOSE header (RFC 7515 section 4)."""

    algorithm: str
    kid: str | None
    type: str | None


HeaderT = TypeVar("HeaderT")


class Parts(NamedTuple, Generic[HeaderT]):
    """The parts of a token. Nothing in them is verified."""

    header: HeaderT
    signing_input: bytes
    payload: bytes
    signature: bytes


def check_max_token(value: object) -> int:
    """Check the setting ``max_token``.

    Raises:
        ConfigError: not a whole number of bytes from 1 to :data:`LONGEST_TOKEN`.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LONGEST_TOKEN:
        raise ConfigError(f"max_token must be a number of bytes from 1 to {LONGEST_TOKEN}, not {value!r}")
    return value


def check_tolerated(names: object) -> frozenset[str]:
    """Check the setting ``tolerate_header``.

    Raises:
        ConfigError: not a list, or it contains a member that cannot be ignored.
    """
    listed = frozenset(names) if isinstance(names, Iterable) and not isinstance(names, str) else None
    if listed is None or not listed <= TOLERABLE_MEMBERS:
        raise ConfigError(f"tolerate_header can list {', '.join(sorted(TOLERABLE_MEMBERS))}, not {names!r}")
    return listed


def split(token: object, max_token: int = MAX_TOKEN, tolerated: frozenset[str] = frozenset()) -> Parts[Header]:
    """Split a token into its parts.

    Args:
        token: the value that a client presented, of any type.
        max_token: the longest accepted token, in bytes.
        tolerated: header members to ignore, from :func:`check_tolerated`.

    Returns:
        The parts; the payload is JSON text that is not parsed yet.

    Raises:
        MalformedToken: not in strict compact form, or a header that roomkey rejects.
        BadSignature: the signature is empty.
        AlgorithmNotAllowed: the header has no ``alg``.
    """
    if tolerated:
        return split_with(lambda header: parse_header(header, tolerated), token, max_token)
    return split_with(parse_header, token, max_token)


def split_with(parse: Callable[[bytes], HeaderT], token: object, max_token: int) -> Parts[HeaderT]:
    """Split a token as :func:`split` does, with another function that parses its header."""
    if not isinstance(token, str):
        raise MalformedToken(f"a {type(token).__name__} instead of a string", message=MalformedToken.WRONG_TYPE)
    if not token:
        raise MalformedToken("empty", message=MalformedToken.JWT_MISSING)
    if len(token) > max_token:
        raise MalformedToken(f"{len(token)} characters, at most {max_token}", message=MalformedToken.JWT_MALFORMED)
    try:
        raw = token.encode("ascii")
    except UnicodeEncodeError:
        raise MalformedToken("characters outside ASCII", message=MalformedToken.JWT_MALFORMED) from None
    parts = raw.split(b".", 3)
    if len(parts) != 3:
        raise MalformedToken(_not_three(raw.count(b".") + 1), message=MalformedToken.JWT_MALFORMED)
    header, payload, signature = parts
    if not signature:
        raise BadSignature("no signature", message=BadSignature.SIGNATURE_MISSING)
    signing_input = raw[: -len(signature) - 1]
    return Parts(parse(header), signing_input, *decode_parts(payload, signature))


def decode_parts(*parts: bytes) -> list[bytes]:
    """Decode parts in base64url without padding (RFC 7515 section 2).

    Raises:
        MalformedToken: another alphabet, an impossible length or non-zero trailing bits.
    """
    decoded = []
    for part in parts:
        rest = len(part) % 4
        if rest == 1 or (rest and part[-1] not in _LAST[rest]):
            raise MalformedToken("base64url with stray bits")
        try:
            decoded.append(a2b_base64(part.translate(_STANDARD) + _PADDING[rest], strict_mode=True))
        except BinasciiError:
            raise MalformedToken("characters outside base64url") from None
    return decoded


@lru_cache(maxsize=256)  # all tokens of one key share one header
def parse_header(part: bytes, tolerated: frozenset[str] = frozenset(), *, types: frozenset[str] = TYPES) -> Header:
    """Parse the header of a token, without the tolerated members.

    Args:
        part: the header in base64url.
        tolerated: members to ignore, from :func:`check_tolerated`.
        types: the accepted values of ``typ``, in lower case. A token without ``typ`` is accepted too.

    Raises:
        MalformedToken: not a JSON object, or it has a rejected member or a member of the wrong type.
        AlgorithmNotAllowed: ``alg`` is missing or is not a string.
    """
    (data,) = decode_parts(part)
    members = json_object(data, "header")
    rejected = (members.keys() & REJECTED_MEMBERS) - tolerated
    if rejected:
        raise MalformedToken(f"header member {min(rejected)} is not accepted")
    algorithm, kid, typ = members.get("alg"), members.get("kid"), members.get("typ")
    if not isinstance(algorithm, str):
        raise AlgorithmNotAllowed("the header has no alg")
    if "kid" in members and not (isinstance(kid, str) and 0 < len(kid) <= MAX_KID):
        raise MalformedToken(f"kid must be a string of 1 to {MAX_KID} characters")
    if "typ" in members and not (isinstance(typ, str) and typ.lower() in types):
        accepted = "JWT or at+jwt" if types is TYPES else " or ".join(sorted(types))
        raise MalformedToken(f"typ {printable(typ)} is not {accepted}")
    return Header(algorithm, kid, typ.lower() if isinstance(typ, str) else None)


def json_object(data: bytes, what: str) -> dict[str, Any]:
    """Parse a JSON object strictly.

    Raises:
        MalformedToken: not UTF-8, not strict JSON, or not an object.
    """
    try:
        value = strict_json.loads(data, portable=True)
    except ValueError as error:
        raise MalformedToken(f"{what}: {_reason(error)}") from None
    if not isinstance(value, dict):
        raise MalformedToken(f"{what}: a {type(value).__name__} instead of an object")
    return value


def check_signature(parts: Parts[Header], keys: KeySet, algorithms: tuple[str, ...]) -> Key:
    """Find the key of a token and check the signature.

    Each key is bound to its algorithms; the header only selects one of them.

    Args:
        parts: the token, from :func:`split`.
        keys: the verifier's keys.
        algorithms: the algorithms that the verifier accepts.

    Returns:
        The key that signed the token.

    Raises:
        AlgorithmNotAllowed: the verifier does not accept the algorithm, or the key is not for it.
        UnknownKey: no key has this ``kid``, or the token has no ``kid`` and several keys are for the algorithm.
        BadSignature: the signature is not valid.
    """
    header = parts.header
    algorithm = header.algorithm
    if algorithm not in algorithms:
        raise AlgorithmNotAllowed(f"alg {printable(algorithm)}, accepted: {', '.join(algorithms)}")
    fitting = [key for key in keys.named(header.kid) if algorithm in key.algorithms]
    if len(fitting) != 1:
        raise _no_key(header, keys, len(fitting))
    key = fitting[0]
    check_signed_with(key, algorithm, parts, f"key {key.kid}")
    return key


def check_signed_with(key: Key, algorithm: str, parts: Parts[Any], name: str) -> None:
    """Check a signature with one key, which is for this algorithm.

    Args:
        key: the key.
        algorithm: the algorithm.
        parts: the token.
        name: of the key, for the log.

    Raises:
        BadSignature: the signature is not valid.
    """
    try:
        valid = key.verify(algorithm, parts.signing_input, parts.signature)
    except Exception as error:  # a signature that the libraries cannot read is not valid
        raise BadSignature(f"the signature could not be checked ({type(error).__name__})") from None
    if not valid:
        raise BadSignature(f"the signature is not that of {name}")


def _no_key(header: Header, keys: KeySet, fitting: int) -> UnknownKey | AlgorithmNotAllowed:
    """Return the error for a header that does not select exactly one key."""
    named = keys.named(header.kid)
    if not named:
        return UnknownKey(f"no key with kid {printable(header.kid)}")
    if fitting:
        return UnknownKey(f"no kid, but {fitting} keys fit {header.algorithm}")
    usable = sorted({name for key in named for name in key.algorithms})
    which = f"key {named[0].kid} is" if len(named) == 1 else f"these {len(named)} keys are"
    return AlgorithmNotAllowed(f"alg {header.algorithm}, but {which} for {', '.join(usable)}")


def _not_three(parts: int) -> str:
    if parts > 1:
        return f"{parts} parts instead of 3"
    return "not a JSON Web Token; to verify opaque tokens, ask their issuer (introspection)"


def decode_unverified(token: object) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the header and the claims of a token **without verifying them**, for display only.

    Headers that :func:`split` rejects are returned too.

    Raises:
        MalformedToken: not a compact token, or its header or payload is not a JSON object.
    """
    if not isinstance(token, str) or len(token) > LONGEST_TOKEN:
        raise MalformedToken(f"over {LONGEST_TOKEN} characters", message=MalformedToken.JWT_MALFORMED)
    if token.count(".") != 2:
        raise MalformedToken(_not_three(token.count(".") + 1), message=MalformedToken.JWT_MALFORMED)
    try:
        header, payload = decode_parts(*token.encode("ascii").split(b".")[:2])
        return json_object(header, "header"), json_object(payload, "payload")
    except UnicodeEncodeError:
        raise MalformedToken("characters outside ASCII", message=MalformedToken.JWT_MALFORMED) from None


def _reason(error: ValueError) -> str:
    return "not UTF-8" if isinstance(error, UnicodeError) else str(error).split(":")[0][:60]
