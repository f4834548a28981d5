"""What other servers answer, without I/O: key sets (RFC 7517), discovery documents (OpenID Connect Discovery 1.0)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from roomkey.core import strict_json
from roomkey.core.key_set import KeySet
from roomkey.core.keys import Key
from roomkey.core.printable import printable
from roomkey.core.urls import is_endpoint
from roomkey.errors import ConfigError

__all__ = ["MAX_BYTES", "MAX_KEYS", "AnswerError", "Discovered", "parse_discovery", "parse_key_set", "parse_object"]

MAX_BYTES = 262_144
"""The longest accepted answer, in bytes."""
MAX_KEYS = 100
"""The number of keys that a key set may have."""


class AnswerError(Exception):
    """Raised when an answer is not what it must be. The text is for the operator's log."""


@dataclass(frozen=True, slots=True)
class Discovered:
    """The part of a discovery document that a verifier needs.

    Attributes:
        jwks_uri: the URL of the keys.
        algorithms: the algorithms that the provider says it signs with; None if it does not say.
    """

    jwks_uri: str
    algorithms: tuple[str, ...] | None = None


def parse_object(body: bytes) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        AnswerError: something else.
    """
    try:
        value = strict_json.loads(body, portable=True)
    except ValueError:
        raise AnswerError("not JSON") from None
    if not isinstance(value, dict):
        raise AnswerError("not a JSON object")
    return value


def parse_discovery(body: bytes, issuer: str) -> Discovered:
    """Parse the discovery document of an issuer.

    Raises:
        AnswerError: not such a document, or that of another issuer (section 4.3).
    """
    members = parse_object(body)
    named = members.get("issuer")
    if named != issuer:
        raise AnswerError(
            f"the discovery document is that of the issuer {printable(named)}; configure exactly this issuer"
        )
    uri = members.get("jwks_uri")
    if not is_endpoint(uri, issuer):
        raise AnswerError(f"jwks_uri is {printable(uri)}, not an https:// URL")
    offered = members.get("id_token_signing_alg_values_supported")
    names = tuple(name for name in offered if isinstance(name, str)) if isinstance(offered, list) else ()
    return Discovered(str(uri), names or None)


def parse_key_set(body: bytes, algorithms: Collection[str], offered: Collection[str] | None = None) -> KeySet:
    """Parse a key set. Keys that the verifier cannot use are left out, and listed in ``refused``.

    Args:
        body: the answer.
        algorithms: the algorithms that the verifier accepts.
        offered: the algorithms that the discovery document names, which limit keys without ``alg``. They never add one.

    Raises:
        AnswerError: not a key set, too many keys, or no usable key.
    """
    members = parse_object(body)
    listed = members.get("keys")
    if not isinstance(listed, list):
        raise AnswerError('not a JWK Set: it has no list "keys"')
    if len(listed) > MAX_KEYS:
        raise AnswerError(f"{len(listed)} keys, at most {MAX_KEYS}")
    try:
        found = KeySet.from_jwks(members, allow_private=False)
        refused = list(found.refused)
        usable = []
        for key in found:
            # A key with ``alg`` has one algorithm, which the discovery document need not repeat.
            limits = (algorithms, offered) if offered is not None and len(key.algorithms) > 1 else (algorithms,)
            limited = _limited(key, *limits)
            if limited is None:
                refused.append((key.kid, f"it is for {', '.join(key.algorithms)}, which the verifier does not accept"))
            else:
                usable.append(limited)
        return KeySet(usable, refused=refused)
    except ConfigError as error:
        raise AnswerError(str(error)[:300]) from None


def _limited(key: Key, *limits: Collection[str]) -> Key | None:
    """Return the key for those of its algorithms that are in all limits, or None if there are none."""
    names = tuple(name for name in key.algorithms if all(name in limit for limit in limits))
    if names == key.algorithms:
        return key
    return replace(key, algorithms=names) if names else None
