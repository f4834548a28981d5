"""Accept the tokens of the providers that ``roomkey.toml`` names, and report on their keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from roomkey import Verifier
from roomkey.core.any_of import TokenVerifier
from roomkey.core.urls import is_confidential
from roomkey.core.verifier_settings import VerifierSettings
from roomkey.errors import ConfigError
from roomkey.keysets.files import read_private
from roomkey.keysets.introspection import IntrospectionVerifier
from roomkey.keysets.remote import RemoteKeySet
from roomkey.keysets.waiting import FetchLookup
from roomkey.server.providers import Provider

__all__ = ["ProviderStatus", "ProviderTokens", "accept_all", "all_tokens", "tokens_of"]


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """What is known about a provider's keys.

    Attributes:
        name: of the table in ``roomkey.toml``.
        keys: ``empty``, ``fresh``, ``stale`` or ``gone``, as for :class:`roomkey.keysets.RemoteStatus`; None if the
            provider's tokens are not verified with keys.
        age: seconds since the last good answer, or None.
        kids: the names of the keys.
        last_error: why the last request to the provider failed; None if it did not.
    """

    name: str
    keys: str | None = None
    age: float | None = None
    kids: tuple[str, ...] = ()
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class ProviderTokens:
    """Verifies the tokens of one provider.

    Attributes:
        name: of the table in ``roomkey.toml``.
        issuer: of the tokens.
        verifiers: one for JSON Web Tokens, one for other tokens, or both.
        keys: the provider's keys, or None.
    """

    name: str
    issuer: str
    verifiers: tuple[TokenVerifier, ...]
    keys: RemoteKeySet | None = field(default=None, repr=False)

    def verifier(self) -> TokenVerifier:
        """Return one verifier for all tokens of the provider."""
        return self.verifiers[0] if len(self.verifiers) == 1 else Verifier.any_of(*self.verifiers)

    def prefetch(self) -> FetchLookup | None:
        """Start to fetch the keys, and return what to wait for."""
        return self.keys.prefetch() if self.keys is not None else None

    def status(self) -> ProviderStatus:
        """Return what is known about the provider's keys."""
        asked = next((one for one in self.verifiers if isinstance(one, IntrospectionVerifier)), None)
        problem = asked.status().last_error if asked is not None else None
        if self.keys is None:
            return ProviderStatus(self.name, age=None if asked is None else asked.status().age, last_error=problem)
        found = self.keys.status()
        return ProviderStatus(self.name, found.state, found.age, found.kids, found.last_error or problem)


def tokens_of(name: str, provider: Provider) -> ProviderTokens:
    """Return what verifies the tokens of a provider.

    Raises:
        ConfigError: a setting is invalid, or the file with the secret cannot be read; the text names the table.
    """
    try:
        keyed = _keyed(provider, _settings(name, provider))
        opaque = _introspection(provider, _settings(name, provider))
    except ConfigError as error:
        raise ConfigError(f"providers.{name}: {error}") from None
    verifiers = tuple(verifier for verifier in (keyed, opaque) if verifier is not None)
    source = keyed.keys if keyed is not None else None
    if isinstance(source, dict):  # several spellings of the issuer have the same keys
        source = next(iter(source.values()))
    return ProviderTokens(name, provider.issuer, verifiers, source if isinstance(source, RemoteKeySet) else None)


def accept_all(own: TokenVerifier, providers: Iterable[ProviderTokens]) -> TokenVerifier:
    """Return a verifier for the server's own tokens and those of all providers.

    Raises:
        ConfigError: two of them have the same issuer.
    """
    others = [verifier for provider in providers for verifier in provider.verifiers]
    return Verifier.any_of(own, *others) if others else own


def _settings(name: str, provider: Provider) -> VerifierSettings:
    prefix = f"{name}:" if provider.subject_prefix is None else provider.subject_prefix
    return {
        "issuer": provider.issuer,
        "audience": provider.audience,
        "leeway": provider.leeway,
        "subject_prefix": prefix,
        **provider.claim_settings,
    }


def _keyed(provider: Provider, settings: VerifierSettings) -> Verifier | None:
    if provider.tolerate_header:
        settings["tolerate_header"] = provider.tolerate_header
    if provider.jwks is not None:
        return Verifier.jwks(provider.jwks, algorithms=provider.algorithms, **settings)
    if is_confidential(provider.issuer):
        return Verifier.oidc(provider.issuer, algorithms=provider.algorithms, **settings)
    return None


def _introspection(provider: Provider, settings: VerifierSettings) -> TokenVerifier | None:
    if provider.introspection is None:
        return None
    return Verifier.introspection(provider.introspection, _client(provider), **settings)


def _client(provider: Provider) -> tuple[str, str]:
    if provider.client_id is None or provider.client_secret_file is None:
        raise ConfigError("introspection requires client_id and client_secret_file")
    try:
        secret = read_private(provider.client_secret_file).decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ConfigError(f"{provider.client_secret_file} does not contain a text") from None
    return provider.client_id, secret


def all_tokens(providers: Mapping[str, Provider]) -> list[ProviderTokens]:
    """Return what verifies the access tokens of each provider whose table has ``audience``, as :func:`tokens_of`."""
    return [tokens_of(name, provider) for name, provider in providers.items() if provider.audience is not None]
