"""The named constructors of :class:`roomkey.Verifier` whose keys come from other servers (internal)."""

from __future__ import annotations

from collections.abc import Collection

from roomkey.core.any_of import TokenVerifier
from roomkey.core.claims import one_or_more
from roomkey.core.key_sources import Keys
from roomkey.core.presets import preset_of
from roomkey.core.verifier import Verifier, VerifierSettings
from roomkey.errors import ConfigError
from roomkey.keysets.introspection import IntrospectionVerifier
from roomkey.keysets.remote import RemoteKeySet

__all__ = ["introspection_verifier", "jwks_verifier", "oidc_verifier"]


def jwks_verifier(
    url: str, algorithms: Collection[str] | None, fetch_timeout: float, settings: VerifierSettings
) -> Verifier:
    """Return the verifier of :meth:`roomkey.Verifier.jwks`."""
    keys = RemoteKeySet(url, algorithms=_algorithms(algorithms, settings), fetch_timeout=fetch_timeout)
    return _verifier(keys, one_or_more(settings.pop("issuer", None), "issuer"), settings)


def oidc_verifier(
    issuer: str, algorithms: Collection[str] | None, fetch_timeout: float, settings: VerifierSettings
) -> Verifier:
    """Return the verifier of :meth:`roomkey.Verifier.oidc`."""
    keys = RemoteKeySet(
        issuer, discover=True, algorithms=_algorithms(algorithms, settings), fetch_timeout=fetch_timeout
    )
    accepted = one_or_more(settings.pop("issuer", None), "issuer") or (issuer,)
    if issuer not in accepted:
        raise ConfigError(f"issuer must contain {issuer!r}: it lists the spellings of iss")
    return _verifier(keys, accepted, settings)


def introspection_verifier(
    url: str, client: tuple[str, str], fetch_timeout: float, settings: VerifierSettings
) -> TokenVerifier:
    """Return the verifier of :meth:`roomkey.Verifier.introspection`."""
    return IntrospectionVerifier(url, client, fetch_timeout=fetch_timeout, **settings)


def _algorithms(algorithms: Collection[str] | None, settings: VerifierSettings) -> Collection[str] | None:
    """Return the accepted algorithms: those of the preset if none are given; None if it names none either."""
    return (preset_of(settings.get("preset")).algorithms or None) if algorithms is None else algorithms


def _verifier(keys: RemoteKeySet, issuers: tuple[str, ...], settings: VerifierSettings) -> Verifier:
    if len(issuers) > 1:
        by_issuer: dict[str | tuple[str, ...], Keys] = {issuers: keys}
        return Verifier(by_issuer, algorithms=keys.algorithms, **settings)
    settings["issuer"] = issuers or None
    return Verifier(keys, algorithms=keys.algorithms, **settings)
