"""What ``roomkey doctor`` and ``roomkey token inspect`` say about providers and their keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import typer

from roomkey.cli.doctor_provider_login import login_findings
from roomkey.cli.output import fail, needs
from roomkey.core.printable import printable
from roomkey.core.urls import is_endpoint
from roomkey.errors import ConfigError
from roomkey.server.config_file import ConfigFile
from roomkey.server.providers import load_providers
from roomkey.server.settings import Settings

if TYPE_CHECKING:
    from roomkey.core.key_set import KeySet
    from roomkey.server.provider_tokens import ProviderTokens

__all__ = ["describe_issuer", "key_facts", "likely_preset", "provider_findings", "provider_of"]

PATIENCE = 12.0
"""Seconds to wait for a provider: longer than a fetch takes."""

PRESETS_OF_HOSTS = (
    (r"https://accounts\.google\.com", "google"),
    (r"https://securetoken\.google\.com/.+", "firebase"),
    (r"https://cognito-idp\.[^/]+\.amazonaws\.com/.+", "cognito"),
    (r"https://login\.microsoftonline\.com/.+", "entra"),
    (r"https://[^/]+\.auth0\.com/", "auth0"),
    (r"https://[^/]+\.supabase\.co/auth/v1", "supabase"),
    (r"https://([^/]+\.clerk\.accounts\.dev|clerk\.[^/]+)", "clerk"),
    (r"https?://.+/application/o/[^/]+/", "authentik"),
    (r"https?://.+/realms/[^/]+", "keycloak"),
)
"""The preset for an issuer, by the form of its URL."""

OFFERS = (
    ("id_token_signing_alg_values_supported", "algorithms"),
    ("introspection_endpoint", "introspection"),
    ("authorization_endpoint", "login"),
    ("code_challenge_methods_supported", "PKCE"),
    ("authorization_response_iss_parameter_supported", "iss in responses"),
    ("backchannel_logout_supported", "back-channel logout"),
    ("dpop_signing_alg_values_supported", "DPoP"),
)
"""What a discovery document can offer: the member, and a word for it."""


def provider_findings(file: ConfigFile, settings: Settings) -> Iterator[tuple[str, str]]:
    """Ask each provider of the settings file for its keys, check its login, and return what was found."""
    try:
        tables = load_providers(file)
        if not tables:
            return
        with needs("remote"):
            from roomkey.server.provider_tokens import tokens_of
        for name, table in tables.items():
            yield from _finding(tokens_of(name, table))
            if table.login:
                yield from login_findings(name, table, settings)
    except ConfigError as error:
        yield "fail", str(error)


def _finding(provider: ProviderTokens) -> Iterator[tuple[str, str]]:
    where = f"provider {provider.name}"
    if provider.keys is None:
        yield "ok", f"{where}: its tokens are verified by introspection"
        return
    _wait(provider)
    found = provider.keys.status()
    if found.last_error is not None:
        yield "fail", f"{where}: cannot fetch the keys of {found.url}: {found.last_error}"
        return
    yield "ok", f"{where}: {len(found.kids)} key(s) at {found.url}: {', '.join(map(printable, found.kids))}"
    for kid, reason in found.refused:
        yield "warn", f"{where}: key {printable(kid)} is left out: {reason}"


def provider_of(issuer: object, file: ConfigFile) -> ProviderTokens | None:
    """Return the provider in the settings file that issued a token, after its keys were fetched; None if there is none.

    Raises:
        ConfigError: a table is invalid.
    """
    for name, table in load_providers(file).items():
        if table.issuer == issuer:
            with needs("remote"):
                from roomkey.server.provider_tokens import tokens_of
            found = tokens_of(name, table)
            _wait(found)
            return found
    return None


def key_facts(provider: ProviderTokens) -> dict[str, Any]:
    """Return what is known about a provider's keys, for JSON."""
    found = provider.status()
    return {
        "provider": found.name,
        "keys": found.keys,
        "seconds_since_answer": None if found.age is None else round(found.age, 1),
        "kids": list(found.kids),
        "last_error": found.last_error,
    }


def _wait(provider: ProviderTokens) -> None:
    lookup = provider.prefetch()
    if lookup is not None:
        lookup.wait_blocking(PATIENCE)


def describe_issuer(issuer: str) -> None:
    """Print what a provider offers, and the settings to accept its tokens. Exit with 1 if it cannot be used."""
    with needs("remote"):
        from roomkey.keysets.fetching import FetchError, Request, check_issuer, fetch
        from roomkey.keysets.remote import ASYMMETRIC
        from roomkey.keysets.remote_answers import (
            MAX_BYTES,
            AnswerError,
            parse_discovery,
            parse_key_set,
            parse_object,
        )
    url = ""
    try:
        url = f"{check_issuer(issuer).rstrip('/')}/.well-known/openid-configuration"
        body = fetch(Request(url, MAX_BYTES))
        discovered, members = parse_discovery(body, issuer), parse_object(body)
        url = discovered.jwks_uri
        keys = parse_key_set(fetch(Request(url, MAX_BYTES)), ASYMMETRIC, discovered.algorithms)
    except (FetchError, AnswerError) as error:
        fail(f"cannot use {issuer}: {url}: {error}")
    except ConfigError as error:
        fail(str(error), 2)
    typer.echo(f"{issuer}\n  {'keys':20}{discovered.jwks_uri}")
    _print_keys(keys)
    for member, words in OFFERS:
        typer.echo(f"  {words:20}{_offer(members.get(member))}")
    _print_settings(issuer, members)


def _print_keys(keys: KeySet) -> None:
    for key in keys:
        typer.echo(f"  {'':20}{printable(key.kid)} ({', '.join(key.algorithms)})")
    for kid, reason in keys.refused:
        typer.echo(f"  {'':20}{printable(kid)} is left out: {reason}")


def _offer(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(one if isinstance(one, str) and one.isidentifier() else printable(one) for one in value)
    if isinstance(value, str) and value.isascii() and value.isprintable():
        return value[:200]
    return "yes" if value is True else "no"


def likely_preset(issuer: str) -> str | None:
    """Return the preset for an issuer, if the form of its URL tells."""
    return next((name for form, name in PRESETS_OF_HOSTS if re.fullmatch(form, issuer)), None)


def _print_settings(issuer: str, members: dict[str, Any]) -> None:
    """Print a table for roomkey.toml, and the same in code."""
    preset = likely_preset(issuer)
    first = (urlsplit(issuer).hostname or "").split(".")[0]
    name = first if re.fullmatch(r"[a-z][a-z0-9-]{0,31}", first) else "provider"
    lines = [
        f"[providers.{name}]",
        f'issuer = "{issuer}"',
        'audience = "…"  # aud of the access tokens for this server',
    ]
    if preset is not None:
        lines.append(f'preset = "{preset}"')
    introspection = members.get("introspection_endpoint")
    # It becomes a line of a settings file: it must not contain a line break, nor end the text in which it is.
    if is_endpoint(introspection, issuer) and not set(str(introspection)) & set('"\\'):
        lines += [
            "# for tokens that only the provider can read:",
            f'# introspection = "{introspection}"',
            '# client_id = "…"',
            f'# client_secret_file = "{name}.secret"',
        ]
    chosen = f', preset="{preset}"' if preset else ""
    typer.echo("\nIn roomkey.toml:\n")
    for line in lines:
        typer.echo(f"    {line}")
    typer.echo(f'\nIn Python:\n\n    Verifier.oidc("{issuer}", audience="…"{chosen})')
