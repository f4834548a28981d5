"""``roomkey doctor``: what it says about logins at a provider."""

from __future__ import annotations

from collections.abc import Iterator

from roomkey.cli.output import needs
from roomkey.errors import ConfigError
from roomkey.server.providers import Provider
from roomkey.server.settings import Settings

__all__ = ["login_findings"]

Finding = tuple[str, str]


def login_findings(name: str, table: Provider, settings: Settings) -> Iterator[Finding]:
    """Check this server's registration at a provider, and ask the provider whether users can log in there."""
    with needs("server"):
        from roomkey.server.provider_logins import browsers_url, login_providers
    where = f"provider {name}"
    try:
        login_providers({name: table})
        secret = f"with the secret in {table.client_secret_file}" if table.client_secret_file else "without a secret"
        yield "ok", f"{where}: logs in as the client {table.client_id!r}, {secret}"
        url = browsers_url(settings) or f"http://localhost:{settings.port}"
    except ConfigError as error:
        yield "fail", f"{where}: {error}"
    else:
        yield "ok", f"{where}: redirect URI to register there: {url}/auth/providers/{name}/callback"
    yield from _offers(where, table.issuer)


def _offers(where: str, issuer: str) -> Iterator[Finding]:
    with needs("server"):
        from roomkey.auth.providers.client import parse_metadata
        from roomkey.keysets.fetching import FetchError, Request, fetch
        from roomkey.keysets.remote_answers import MAX_BYTES, AnswerError, parse_object
    url = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
    try:
        body = fetch(Request(url, MAX_BYTES))
        parse_metadata(body, issuer)
    except (FetchError, AnswerError) as error:
        yield "fail", f"{where}: users cannot log in: {url}: {error}"
        return
    methods = parse_object(body).get("code_challenge_methods_supported")
    if isinstance(methods, list) and "S256" in methods:
        yield "ok", f"{where}: offers logins with PKCE (S256)"
    else:
        yield "warn", f"{where}: does not say that it supports PKCE (S256), which roomkey uses; check its documentation"
