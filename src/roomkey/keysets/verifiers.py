"""The named constructors of :class:`roomkey.Verifier` whose keys come from other servers (internal).

Each receives the class to create as ``make``, so that the key sets do not depend on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import TypeVar

from roomkey.core.any_of import TokenVerifier
from roomkey.core.claims import one_or_more
from roomkey.core.key_sources import Keys
from roomkey.core.keys import Key
from roomkey.core.presets import preset_of
from roomkey.core.verifier_settings import VerifierSettings
from roomkey.errors import ConfigError
from roomkey.keysets.introspection import IntrospectionVerifier
from roomkey.keysets.remote import RemoteKeySet

__all__ = ["introspection_verifier", "jwks_verifier", "oidc_verifier"]

V = TypeVar("V", bound=TokenVerifier)
_ABOUT_HEADERS = ("token_type", "tolerate_header")


def jwks_verifier(
    make: Callable[..., V],
    url: str,
    algorithms: Collection[str] | None,
    fetch_timeout: float,
    settings: VerifierSettings,
) -> V:
    """Return the verifier of :meth:`roomkey.Verifier.jwks`."""
    keys = RemoteKeySet(url, algorithms=_algorithms(algorithms, settings), fetch_timeout=fetch_timeout)
    return _verifier(make, keys, one_or_more(settings.pop("issuer", None), "issuer"), settings)


def oidc_verifier(
    make: Callable[..., V],
    issuer: str,
    algorithms: Collection[str] | None,
    fetch_timeout: float,
    settings: VerifierSettings,
) -> V:
    """Return the verifier of :meth:`roomkey.Verifier.oidc`."""
    keys = RemoteKeySet(
        issuer, discover=True, algorithms=_algorithms(algorithms, settings), fetch_timeout=fetch_timeout
    )
    accepted = one_or_more(settings.pop("issuer", None), "issuer") or (issuer,)
    if issuer not in accepted:
        raise ConfigError(f"issuer must contain {issuer!r}: it lists the spellings of iss")
    return _verifier(make, keys, accepted, settings)


def introspection_verifier(
    make: Callable[..., TokenVerifier],
    url: str,
    client: tuple[str, str],
    fetch_timeout: float,
    settings: VerifierSettings,
    clock: Callable[[], float] = time.monotonic,
) -> IntrospectionVerifier:
    """Return the verifier of :meth:`roomkey.Verifier.introspection`."""
    for name in _ABOUT_HEADERS:
        if name in settings:
            raise ConfigError(f"cannot use {name} with introspection: the tokens have no header; remove it")
    # Only for its checks of claims: nobody has the private key.
    claims = make(Key.generate("ES256").public(), algorithms=["ES256"], **settings)
    return IntrospectionVerifier(url, client, claims, fetch_timeout=fetch_timeout, clock=clock)


def _algorithms(algorithms: Collection[str] | None, settings: VerifierSettings) -> Collection[str] | None:
    """Return the accepted algorithms: those of the preset if none are given; None if it names none either."""
    return (preset_of(settings.get("preset")).algorithms or None) if algorithms is None else algorithms


def _verifier(make: Callable[..., V], keys: RemoteKeySet, issuers: tuple[str, ...], settings: VerifierSettings) -> V:
    if len(issuers) > 1:
        by_issuer: dict[str | tuple[str, ...], Keys] = {issuers: keys}
        return make(by_issuer, algorithms=keys.algorithms, **settings)
    settings["issuer"] = issuers or None
    return make(keys, algorithms=keys.algorithms, **settings)
