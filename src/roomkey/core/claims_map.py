"""Where an issuer's tokens have the subject, the audience and the rights: the setting ``claims_map``.

Issuers name these differently: ``realm_access.roles``, ``cognito:groups``, ``user_id``. The map brings the claims into
standard form (``sub``, ``aud``, ``roles``, …). The checks and the identity read that form, so that there is one set of
rules for every issuer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from roomkey.core.grants import string_list
from roomkey.core.names import is_name
from roomkey.core.strict_json import LAST_INTEGER
from roomkey.errors import ClaimError, ConfigError

Place = str | Iterable[str]
"""A place in the claims: a name, names joined with dots, or a list of names (see :func:`path_of`)."""

STANDARD = {
    "subject": "sub",
    "audience": "aud",
    "session": "sid",
    "roles": "roles",
    "role": "role",
    "rooms": "rooms",
    "scopes": "scope",
}
"""What a map can name, and the claim that has it by default."""

# These claims have a meaning that no issuer changes. A subject read from one of them would not identify a user.
FIXED = frozenset({"exp", "nbf", "iat", "iss", "jti"})
NOT_SUBJECTS = FIXED | {"aud", "sid", "roles", "rooms", "scope"}
CHECKED = frozenset({"sub", "aud", "sid", "scope"})  # an error about roles or rooms is about their value in the token

_ABSENT = object()


def path_of(place: object) -> tuple[str, ...]:
    """Return the names that lead to a place in the claims, the outermost first.

    A name with ``/`` or ``:`` is the name of one claim, as issuers use URLs as names: ``https://example.com/roles``,
    ``cognito:groups``. In other names, a dot leads into an object: ``realm_access.roles``. A list has the names one by
    one, whatever characters they contain: ``["resource_access", "chat.example", "roles"]``, ``["my.roles"]``.

    Raises:
        ConfigError: not a place.
    """
    if isinstance(place, str):
        path = (place,) if "/" in place or ":" in place else tuple(place.split("."))
    else:
        path = tuple(place) if isinstance(place, (list, tuple)) else ()
    if not path or not all(is_name(name) for name in path):
        raise ConfigError(
            f"claims_map: invalid place {place!r}; use the name of a claim, such as 'user_id' or 'realm_access.roles', "
            "or a list of names"
        )
    return path


class ClaimsMap:
    """Brings the claims of one issuer into standard form.

    Args:
        places: where the claims have what :data:`STANDARD` lists.
        integer_subject: an integer as the subject becomes its decimal text.

    Attributes:
        moves_audience: True if the audience is not in ``aud``.

    Raises:
        ConfigError: an unknown name, or an invalid place.
    """

    def __init__(self, places: Mapping[str, Place], *, integer_subject: bool = False) -> None:
        unknown = [name for name in places if name not in STANDARD]
        if unknown:
            raise ConfigError(f"claims_map: unknown name {unknown[0]!r}; use {', '.join(STANDARD)}")
        self._paths = {STANDARD[name]: path_of(place) for name, place in places.items()}
        for claim, path in self._paths.items():
            if len(path) == 1 and path[0] in (NOT_SUBJECTS if claim == "sub" else FIXED):
                raise ConfigError(f"claims_map: the claim {path[0]!r} has a meaning of its own; name another claim")
        self._replaced = set(self._paths)
        if not self._replaced.isdisjoint(("roles", "role")):  # roles come only from where the map says
            self._replaced |= {"roles", "role"}
        self._integer_subject = integer_subject
        self.moves_audience = self._paths.get("aud", ("aud",)) != ("aud",)

    def standard(self, claims: dict[str, Any]) -> dict[str, Any]:
        """Return the claims in standard form. ``claims`` does not change.

        What the map does not name stays. What it names is found at its place or is missing: a claim with the standard
        name does not count then.
        """
        standard = {name: value for name, value in claims.items() if name not in self._replaced}
        for claim, path in self._paths.items():
            value = _at(claims, path)
            if value is not _ABSENT:
                standard[claim] = _scope(value) if claim == "scope" else value
        if self._integer_subject:
            number = whole(standard.get("sub"))
            if number is not None:
                standard["sub"] = str(number)
        return standard

    def located(self, error: ClaimError) -> ClaimError:
        """Return an error about a claim in standard form with the place of that claim in its details."""
        path = self._paths.get(error.claim)
        if path is None or path == (error.claim,) or error.claim not in CHECKED:
            return error
        located = type(error)(error.claim, f"{error} (claims_map: {'.'.join(path)})", message=error.message)
        located.facts = error.facts
        return located


def map_of(places: object, integer_subject: bool, audiences: tuple[str, ...]) -> ClaimsMap | None:
    """Return the map of a verifier, or None if its tokens are in standard form.

    Args:
        places: the setting ``claims_map``.
        integer_subject: the setting ``integer_subject``.
        audiences: the accepted audiences.

    Raises:
        ConfigError: an invalid map, or one with a place for an audience that is not set.
    """
    if not isinstance(places, Mapping):
        raise ConfigError(f"claims_map must be a mapping, such as {{'subject': 'user_id'}}, not {places!r}")
    if not places and not integer_subject:
        return None
    made = ClaimsMap(places, integer_subject=integer_subject)
    if made.moves_audience and not audiences:
        raise ConfigError("claims_map has a place for the audience, but the audience is not set; pass audience=…")
    return made


def whole(value: object) -> int | None:
    """Return an integer that all JSON parsers read exactly, however it is written; None for anything else.

    7, 7.0 and 7e0 are the same number in JSON.
    """
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and abs(value) <= LAST_INTEGER else None


def _at(claims: dict[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = claims
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return _ABSENT
        value = value[name]
    return value


def _scope(value: object) -> object:
    """Return scopes as the claim ``scope`` has them (RFC 8693 section 4.2). Some issuers list them instead."""
    names = string_list(value)
    return " ".join(names) if names and not any(" " in name for name in names) else value
